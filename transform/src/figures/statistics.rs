//! Statistics of shares, as SQL functions.
//!
//! | Function | What |
//! |---|---|
//! | `rate_of(numerator, denominator, minimum)` | the share, or null below the minimum: insufficient data |
//! | `wilson_low(numerator, denominator, z)`, `wilson_high(…)` | the Wilson score interval of the share |
//! | `metres_between(longitude, latitude, longitude, latitude)` | the great-circle distance |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::SessionContext;

/// Mean radius of the Earth (IUGG).
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Registers the functions.
pub fn register(session: &SessionContext) {
    session.register_udf(function("rate_of", |[numerator, denominator, minimum]| {
        (denominator > 0.0 && denominator >= minimum).then(|| numerator / denominator)
    }));
    session.register_udf(function("wilson_low", |[numerator, denominator, z]| {
        wilson(numerator, denominator, z).map(|(low, _)| low)
    }));
    session.register_udf(function("wilson_high", |[numerator, denominator, z]| {
        wilson(numerator, denominator, z).map(|(_, high)| high)
    }));
    session.register_udf(function("metres_between", |[a_longitude, a_latitude, b_longitude, b_latitude]| {
        Some(metres_between(a_longitude, a_latitude, b_longitude, b_latitude))
    }));
}

/// The score interval of a share (E. B. Wilson, "Probable inference, the law of succession,
/// and statistical inference", JASA 22, 1927): for p = numerator / n,
/// (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n). `z` is 1.96 for 95 %. None for an empty
/// denominator or a share outside 0–1.
pub fn wilson(numerator: f64, denominator: f64, z: f64) -> Option<(f64, f64)> {
    if denominator <= 0.0 || !(0.0..=denominator).contains(&numerator) {
        return None;
    }
    let (n, p, zz) = (denominator, numerator / denominator, z * z);
    let middle = p + zz / (2.0 * n);
    let reach = z * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
    let scale = 1.0 + zz / n;
    // At 0 and n the bound is exactly 0 and 1; rounding must not pass them.
    Some((((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0)))
}

/// Great-circle distance between two points in degrees, by the haversine formula
/// (R. W. Sinnott, "Virtues of the haversine", Sky and Telescope 68, 1984).
pub fn metres_between(a_longitude: f64, a_latitude: f64, b_longitude: f64, b_latitude: f64) -> f64 {
    let half = |a: f64, b: f64| ((b - a).to_radians() / 2.0).sin().powi(2);
    let h = half(a_latitude, b_latitude)
        + a_latitude.to_radians().cos() * b_latitude.to_radians().cos() * half(a_longitude, b_longitude);
    2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
}

/// A function of numbers; null where any of them is.
fn function<const N: usize>(name: &str, body: impl Fn([f64; N]) -> Option<f64> + Send + Sync + 'static) -> ScalarUDF {
    let evaluate = move |args: &[ColumnarValue]| -> Result<ColumnarValue> {
        let arrays: Vec<ArrayRef> = ColumnarValue::values_to_arrays(args)?;
        let columns: Vec<&Float64Array> = arrays.iter().map(|a| a.as_primitive::<Float64Type>()).collect();
        let rows = columns.first().map_or(0, |c| c.len());
        let out: Float64Array = (0..rows)
            .map(|row| {
                let mut values = [0.0; N];
                for (value, column) in values.iter_mut().zip(&columns) {
                    if column.is_null(row) {
                        return None;
                    }
                    *value = column.value(row);
                }
                body(values)
            })
            .collect();
        if columns.len() == N {
            Ok(ColumnarValue::Array(Arc::new(out)))
        } else {
            Err(DataFusionError::Internal(format!("a function of {N} numbers was given {}", columns.len())))
        }
    };
    create_udf(name, vec![DataType::Float64; N], DataType::Float64, Volatility::Immutable, Arc::new(evaluate))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_wilson_interval_is_the_published_one() {
        // R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics
        // in Medicine 17, 1998, table I, method 3.
        for (numerator, denominator, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let (found_low, found_high) = wilson(numerator, denominator, 1.959_964).unwrap();
            assert!((found_low - low).abs() < 5e-5 && (found_high - high).abs() < 5e-5, "{found_low} {found_high}");
        }
        assert_eq!(wilson(0.0, 0.0, 1.96), None);
        assert_eq!(wilson(3.0, 2.0, 1.96), None);
        assert!((wilson(20.0, 20.0, 1.96).unwrap().1 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_degree_of_latitude_is_about_111_kilometres() {
        assert!((metres_between(73.0, 49.0, 73.0, 50.0) - 111_195.08).abs() < 0.1);
        let east = metres_between(73.0, 60.0, 74.0, 60.0);
        assert!((east - 55_597.0).abs() < 5.0, "{east}");
        assert_eq!(metres_between(73.1, 49.8, 73.1, 49.8), 0.0);
    }

    #[tokio::test]
    async fn below_the_minimum_there_is_no_rate() {
        let session = SessionContext::new();
        register(&session);
        let sql = "SELECT rate_of(3, 4, 30) IS NULL AS few, rate_of(15, 30, 30) AS enough, \
                   wilson_low(NULL, 4, 1.96) IS NULL AS unknown";
        let batch = session.sql(sql).await.unwrap().collect().await.unwrap().remove(0);
        assert!(batch.column(0).as_boolean().value(0) && batch.column(2).as_boolean().value(0));
        assert_eq!(batch.column(1).as_primitive::<Float64Type>().value(0), 0.5);
    }
}
