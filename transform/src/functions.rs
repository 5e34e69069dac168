//! SQL functions that mappings use. Stateless and named; whatever they need comes as
//! an argument, so they run on any executor.
//!
//! An unreadable time is never silently null: [`parse_when`] marks it with
//! [`UNREADABLE`], and the mapping stage sets the record aside with the reason.

use std::sync::Arc;

use ahual_schemas::sealing::Sealer;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;

use crate::clocks;
use crate::reference::Reference;

/// Marks a time that stood in the record but could not be read (microseconds).
pub const UNREADABLE: i64 = i64::MIN;

/// Registers every function with `session`. `sealer` gives `keyed_hash` its key,
/// `reference` what is looked up in calendars and other tables.
pub fn register(session: &SessionContext, sealer: &Sealer, reference: &Arc<Reference>) {
    for udf in all(sealer, reference) {
        session.register_udf(udf);
    }
}

/// All functions.
pub fn all(sealer: &Sealer, reference: &Arc<Reference>) -> Vec<ScalarUDF> {
    let mut functions = own(sealer);
    functions.extend(clocks::functions::all(reference));
    functions.extend(crate::territory::functions::all(reference));
    functions.extend(crate::reference::functions::all(reference));
    functions
}

/// The type of instants.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn own(sealer: &Sealer) -> Vec<ScalarUDF> {
    let hash_key = sealer.clone();
    vec![
        function("parse_when", &[2, 3], timestamp(), |args, rows| {
            let (text, zone) = (texts(&args[0])?, texts(&args[1])?);
            let format = args.get(2).map(texts).transpose()?;
            let mut last_zone: Option<(String, Tz)> = None;
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                if text.is_null(row) || text.value(row).trim().is_empty() {
                    out.push(None);
                    continue;
                }
                let tz = match &last_zone {
                    Some((name, tz)) if !zone.is_null(row) && name == zone.value(row) => *tz,
                    _ => {
                        let name = if zone.is_null(row) { "" } else { zone.value(row) };
                        let tz = parse_zone(name)?;
                        last_zone = Some((name.to_owned(), tz));
                        tz
                    }
                };
                let format = format.as_ref().filter(|f| !f.is_null(row)).map(|f| f.value(row));
                out.push(Some(parse_when(text.value(row), tz, format).unwrap_or(UNREADABLE)));
            }
            Ok(Arc::new(TimestampMicrosecondArray::from(out).with_timezone("UTC")))
        }),
        function("local_date", &[2], DataType::Date32, |args, rows| {
            let at = arrow::compute::cast(&args[0], &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            let at = at.as_primitive::<TimestampMicrosecondType>();
            let zone = texts(&args[1])?;
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                out.push(if at.is_null(row) || zone.is_null(row) || at.value(row) == UNREADABLE {
                    None
                } else {
                    local_day(at.value(row), parse_zone(zone.value(row))?)
                });
            }
            Ok(Arc::new(Date32Array::from(out)))
        }),
        function("keyed_hash", &[1], DataType::Utf8, move |args, _| {
            let text = texts(&args[0])?;
            let hashed: StringArray = text.iter().map(|t| t.map(|t| hash_key.keyed_hash(t))).collect();
            Ok(Arc::new(hashed))
        }),
        function("json_text", &[2], DataType::Utf8, |args, rows| {
            let (json, path) = (texts(&args[0])?, texts(&args[1])?);
            let found: StringArray = (0..rows)
                .map(|row| {
                    (!json.is_null(row) && !path.is_null(row))
                        .then(|| crate::decode::json_text(json.value(row), path.value(row)))
                        .flatten()
                })
                .collect();
            Ok(Arc::new(found))
        }),
        json_object(),
        function("elapsed_us", &[2], DataType::Int64, |args, rows| {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            let (from, to) = (arrow::compute::cast(&args[0], &utc)?, arrow::compute::cast(&args[1], &utc)?);
            let (from, to) =
                (from.as_primitive::<TimestampMicrosecondType>(), to.as_primitive::<TimestampMicrosecondType>());
            let elapsed: arrow::array::Int64Array = (0..rows)
                .map(|row| {
                    (from.is_valid(row) && to.is_valid(row)).then(|| to.value(row).saturating_sub(from.value(row)))
                })
                .collect();
            Ok(Arc::new(elapsed))
        }),
        function("lv95_longitude", &[2], DataType::Float64, |args, _| lv95(args, |e, n| lv95_to_wgs84(e, n).0)),
        function("lv95_latitude", &[2], DataType::Float64, |args, _| lv95(args, |e, n| lv95_to_wgs84(e, n).1)),
    ]
}

/// Reads a time in `zone` as UTC microseconds. Without a format: ISO 8601 with or
/// without offset, `YYYY-MM-DD HH:MM[:SS[.f]]`, or a date (its local midnight). An
/// ambiguous local time is the earlier one; one in a gap is read as if the offset
/// before the gap still held.
pub fn parse_when(text: &str, zone: Tz, format: Option<&str>) -> Option<i64> {
    let text = text.trim();
    let local = match format {
        Some(format) => NaiveDateTime::parse_from_str(text, format)
            .ok()
            .or_else(|| NaiveDate::parse_from_str(text, format).ok().map(|d| d.and_time(NaiveTime::MIN)))?,
        None => {
            if let Some(at) = with_offset(text) {
                return Some(at);
            }
            let t = text.replacen('T', " ", 1);
            NaiveDateTime::parse_from_str(&t, "%Y-%m-%d %H:%M:%S%.f")
                .or_else(|_| NaiveDateTime::parse_from_str(&t, "%Y-%m-%d %H:%M"))
                .ok()
                .or_else(|| NaiveDate::parse_from_str(&t, "%Y-%m-%d").ok().map(|d| d.and_time(NaiveTime::MIN)))?
        }
    };
    at_local(local, zone)
}

fn with_offset(text: &str) -> Option<i64> {
    if !text.is_ascii() || text.len() < 17 {
        return None;
    }
    let tail = &text[10..];
    if !(tail.ends_with('Z') || tail.ends_with('z') || tail.contains('+') || tail[1..].contains('-')) {
        return None;
    }
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%z"))
        .ok()
        .map(|at| at.timestamp_micros())
}

/// UTC microseconds of a local time; see [`parse_when`] for gaps and repeats.
pub fn at_local(local: NaiveDateTime, zone: Tz) -> Option<i64> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.timestamp_micros()),
        LocalResult::None => {
            let before = local.checked_sub_signed(chrono::Duration::hours(3))?;
            let offset = zone.from_local_datetime(&before).earliest()?;
            let shift = before.and_utc().timestamp_micros() - offset.timestamp_micros();
            Some(local.and_utc().timestamp_micros() - shift)
        }
    }
}

/// Local day of an instant, as days since 1970-01-01.
pub fn local_day(at_us: i64, zone: Tz) -> Option<i32> {
    let local = DateTime::from_timestamp_micros(at_us)?.with_timezone(&zone).date_naive();
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(local.signed_duration_since(epoch).num_days()).ok()
}

/// A zone of the tz database by name.
pub fn parse_zone(name: &str) -> Result<Tz> {
    name.parse().map_err(|_| {
        DataFusionError::Execution(format!("'{name}' is no time zone of the tz database; write one like 'Asia/Almaty'"))
    })
}

/// Swiss LV95 (EPSG:2056) to WGS 84 longitude and latitude in degrees, by swisstopo's
/// published approximation ("Approximate formulas for the transformation between Swiss
/// projection coordinates and WGS84"), good to about a metre.
pub fn lv95_to_wgs84(east_m: f64, north_m: f64) -> (f64, f64) {
    let y = (east_m - 2_600_000.0) / 1_000_000.0;
    let x = (north_m - 1_200_000.0) / 1_000_000.0;
    let longitude = 2.677_909_4 + 4.728_982 * y + 0.791_484 * y * x + 0.1306 * y * x * x - 0.0436 * y * y * y;
    let latitude =
        16.902_389_2 + 3.238_272 * x - 0.270_978 * y * y - 0.002_528 * x * x - 0.0447 * y * y * x - 0.0140 * x * x * x;
    (longitude * 100.0 / 36.0, latitude * 100.0 / 36.0)
}

fn lv95(args: &[ArrayRef], pick: impl Fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let east = arrow::compute::cast(&args[0], &DataType::Float64)?;
    let north = arrow::compute::cast(&args[1], &DataType::Float64)?;
    let (east, north) = (east.as_primitive::<Float64Type>(), north.as_primitive::<Float64Type>());
    let out: Float64Array = east
        .iter()
        .zip(north.iter())
        .map(|(e, n)| match (e, n) {
            (Some(e), Some(n)) => Some(pick(e, n)),
            _ => None,
        })
        .collect();
    Ok(Arc::new(out))
}

/// A column as text.
pub(crate) fn texts(array: &ArrayRef) -> Result<StringArray> {
    let array = arrow::compute::cast(array, &DataType::Utf8)?;
    Ok(array.as_string::<i32>().clone())
}

/// `json_object(k, v, …)`: a JSON object as text; pairs whose value is null are left out.
fn json_object() -> ScalarUDF {
    ScalarUDF::from(Function {
        name: "json_object",
        signature: Signature::new(TypeSignature::VariadicAny, Volatility::Immutable),
        returns: DataType::Utf8,
        body: Box::new(|args, rows| {
            if args.is_empty() || args.len() % 2 != 0 {
                return exec_err!("json_object takes pairs of key and value");
            }
            let mut columns = Vec::with_capacity(args.len());
            for arg in args {
                columns.push((arg.data_type().clone(), arg.clone(), texts(arg)?));
            }
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                let mut object = serde_json::Map::new();
                for pair in columns.chunks(2) {
                    let [(_, _, key), (kind, raw, value)] = pair else { continue };
                    if key.is_null(row) || value.is_null(row) {
                        continue;
                    }
                    let value = match kind {
                        DataType::Boolean => raw.as_boolean().value(row).into(),
                        k if k.is_integer() => {
                            value.value(row).parse::<i64>().map_or_else(|_| value.value(row).into(), Into::into)
                        }
                        _ => value.value(row).into(),
                    };
                    object.insert(key.value(row).to_owned(), value);
                }
                out.push((!object.is_empty()).then(|| serde_json::Value::Object(object).to_string()));
            }
            Ok(Arc::new(StringArray::from(out)))
        }),
    })
}

type Body = Box<dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync>;

struct Function {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    body: Body,
}

/// A function of some numbers of arguments.
pub(crate) fn function(
    name: &'static str,
    arities: &[usize],
    returns: DataType,
    body: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let arities = arities.iter().map(|n| TypeSignature::Any(*n)).collect();
    ScalarUDF::from(Function {
        name,
        signature: Signature::new(TypeSignature::OneOf(arities), Volatility::Immutable),
        returns,
        body: Box::new(body),
    })
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array((self.body)(&arrays, rows)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ALMATY: Tz = chrono_tz::Asia::Almaty;
    const BOSTON: Tz = chrono_tz::America::New_York;

    fn utc(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn reads_times_in_the_zone_of_the_source() {
        assert_eq!(parse_when("2011-07-01 01:32:33", BOSTON, None), Some(utc("2011-07-01T05:32:33Z")));
        assert_eq!(parse_when("2016-02-29T01:16", ALMATY, None), Some(utc("2016-02-28T19:16:00Z")));
        assert_eq!(parse_when("2011-12-06 13:41:31.788000+01:00", ALMATY, None), Some(utc("2011-12-06T12:41:31.788Z")));
        assert_eq!(
            parse_when("29/2/2016 01:16", chrono_tz::UTC, Some("%d/%m/%Y %H:%M")),
            Some(utc("2016-02-29T01:16:00Z"))
        );
        assert_eq!(
            parse_when("04/07/2020 11:53:08 PM", chrono_tz::America::Los_Angeles, Some("%m/%d/%Y %I:%M:%S %p")),
            Some(utc("2020-04-08T06:53:08Z"))
        );
        assert_eq!(parse_when("2016-06-27", chrono_tz::Europe::Zurich, None), Some(utc("2016-06-26T22:00:00Z")));
    }

    #[test]
    fn karaganda_changed_its_offset_on_2024_03_01_and_an_hour_came_twice() {
        assert_eq!(parse_when("2024-02-29 22:59", ALMATY, None), Some(utc("2024-02-29T16:59:00Z")));
        assert_eq!(parse_when("2024-02-29 23:30", ALMATY, None), Some(utc("2024-02-29T17:30:00Z")));
        assert_eq!(parse_when("2024-03-01 00:00", ALMATY, None), Some(utc("2024-02-29T19:00:00Z")));
    }

    #[test]
    fn a_time_in_a_gap_keeps_the_offset_before_it() {
        assert_eq!(parse_when("2011-03-13 02:30:00", BOSTON, None), Some(utc("2011-03-13T07:30:00Z")));
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in ["soon", "2011-13-01", "2011-02-30 10:00", "31/12/2011"] {
            assert_eq!(parse_when(text, BOSTON, None), None, "{text}");
        }
    }

    #[test]
    fn lv95_agrees_with_the_published_control_point() {
        // swisstopo's worked example: E 2 700 000, N 1 100 000 is 8°43'49.79" E, 46°02'38.86" N.
        let (longitude, latitude) = lv95_to_wgs84(2_700_000.0, 1_100_000.0);
        assert!((longitude - (8.0 + 43.0 / 60.0 + 49.79 / 3600.0)).abs() < 2.0 / 77_000.0, "{longitude}");
        assert!((latitude - (46.0 + 2.0 / 60.0 + 38.86 / 3600.0)).abs() < 2.0 / 111_000.0, "{latitude}");
    }
}
