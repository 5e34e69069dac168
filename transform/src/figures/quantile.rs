//! Quantiles from exact multisets of durations.
//!
//! One quantile everywhere: the smallest observed t with F(t) ≥ q. Closed-only, F is
//! the share of ended durations (nearest rank). With censored durations, F = 1 − S
//! where S is the Kaplan–Meier estimate (E. L. Kaplan, P. Meier, "Nonparametric
//! estimation from incomplete observations", JASA 53, 1958): S(t) = Π (1 − dᵢ/nᵢ) over
//! event times up to t, a duration censored at t being at risk at t. Null = not reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;

/// Rounding of a product of up to a few million factors stays far below this.
const TOLERANCE: f64 = 1e-12;

/// Durations (µs) and how often each was observed to end, and censored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    counts: BTreeMap<i64, (i64, i64)>,
}

impl Durations {
    /// Adds `n` durations.
    pub fn add(&mut self, duration_us: i64, observed: bool, n: i64) {
        let slot = self.counts.entry(duration_us).or_default();
        if observed {
            slot.0 += n;
        } else {
            slot.1 += n;
        }
    }

    /// The smallest ended duration whose rank reaches `q` of all ended ones.
    pub fn nearest_rank(&self, q: f64) -> Option<i64> {
        let total: i64 = self.counts.values().map(|(ended, _)| ended).sum();
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let reached = |rank: i64| rank as f64 / total as f64 >= q - TOLERANCE;
        let mut rank = 0;
        self.counts.iter().find_map(|(t, (ended, _))| {
            rank += ended;
            (*ended > 0 && reached(rank)).then_some(*t)
        })
    }

    /// The smallest ended duration at which the Kaplan–Meier F reaches `q`.
    pub fn kaplan_meier(&self, q: f64) -> Option<i64> {
        let mut at_risk: i64 = self.counts.values().map(|(ended, censored)| ended + censored).sum();
        let mut surviving = 1.0_f64;
        for (t, (ended, censored)) in &self.counts {
            if *ended > 0 {
                #[allow(clippy::cast_precision_loss)]
                let share = (at_risk - ended) as f64 / at_risk as f64;
                surviving *= share;
                if 1.0 - surviving >= q - TOLERANCE {
                    return Some(*t);
                }
            }
            at_risk -= ended + censored;
        }
        None
    }

    fn to_list(&self) -> ScalarValue {
        let flat: Vec<ScalarValue> = self
            .counts
            .iter()
            .flat_map(|(t, (ended, censored))| [*t, *ended, *censored])
            .map(|v| ScalarValue::Int64(Some(v)))
            .collect();
        ScalarValue::List(ScalarValue::new_list(&flat, &DataType::Int64, true))
    }
}

/// Registers `nearest_rank(duration_us, observed, n, q)` and `km_quantile(…)`.
pub fn register(session: &SessionContext) {
    session.register_udaf(AggregateUDF::from(Quantile::new("nearest_rank", Durations::nearest_rank)));
    session.register_udaf(AggregateUDF::from(Quantile::new("km_quantile", Durations::kaplan_meier)));
}

type Pick = fn(&Durations, f64) -> Option<i64>;

#[derive(Debug)]
struct Quantile {
    name: &'static str,
    signature: Signature,
    pick: Pick,
}

impl Quantile {
    fn new(name: &'static str, pick: Pick) -> Self {
        let arguments = vec![DataType::Int64, DataType::Boolean, DataType::Int64, DataType::Float64];
        Self { name, signature: Signature::exact(arguments, Volatility::Immutable), pick }
    }
}

impl PartialEq for Quantile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Quantile {}

impl std::hash::Hash for Quantile {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Quantile {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }
    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(QuantileState { durations: Durations::default(), q: None, pick: self.pick }))
    }
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let item = Field::new_list_field(DataType::Int64, true);
        Ok(vec![
            Arc::new(Field::new(format!("{}[durations]", args.name), DataType::List(Arc::new(item)), true)),
            Arc::new(Field::new(format!("{}[q]", args.name), DataType::Float64, true)),
        ])
    }
}

#[derive(Debug)]
struct QuantileState {
    durations: Durations,
    q: Option<f64>,
    pick: Pick,
}

impl Accumulator for QuantileState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [duration, observed, n, q] = values else {
            return Err(DataFusionError::Internal("a quantile takes four arguments".to_owned()));
        };
        let duration = duration.as_primitive::<Int64Type>();
        let observed = observed.as_boolean();
        let n = n.as_primitive::<Int64Type>();
        let q = q.as_primitive::<Float64Type>();
        for row in 0..duration.len() {
            if q.is_valid(row) {
                self.q = Some(q.value(row));
            }
            if duration.is_valid(row) && observed.is_valid(row) && n.is_valid(row) {
                self.durations.add(duration.value(row), observed.value(row), n.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [lists, q] = states else {
            return Err(DataFusionError::Internal("a quantile has two states".to_owned()));
        };
        let q = q.as_primitive::<Float64Type>();
        let lists = lists.as_list::<i32>();
        for row in 0..lists.len() {
            if q.is_valid(row) {
                self.q = Some(q.value(row));
            }
            if lists.is_null(row) {
                continue;
            }
            let flat = lists.value(row);
            let flat = flat.as_primitive::<Int64Type>();
            for triple in flat.values().chunks_exact(3) {
                if let [t, ended, censored] = triple {
                    self.durations.add(*t, true, *ended);
                    self.durations.add(*t, false, *censored);
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(self.q.and_then(|q| (self.pick)(&self.durations, q))))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.durations.to_list(), ScalarValue::Float64(self.q)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.durations.counts.len() * 48
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn durations(ended: &[i64], censored: &[i64]) -> Durations {
        let mut d = Durations::default();
        ended.iter().for_each(|t| d.add(*t, true, 1));
        censored.iter().for_each(|t| d.add(*t, false, 1));
        d
    }

    #[test]
    fn nearest_rank_is_an_observed_value() {
        let d = durations(&[1, 2, 3, 4], &[100]);
        assert_eq!(d.nearest_rank(0.5), Some(2));
        assert_eq!(d.nearest_rank(0.75), Some(3));
        assert_eq!(d.nearest_rank(0.76), Some(4));
        assert_eq!(d.nearest_rank(1.0), Some(4));
        assert_eq!(durations(&[], &[5]).nearest_rank(0.5), None);
    }

    #[test]
    fn without_censoring_kaplan_meier_is_nearest_rank() {
        let ended: Vec<i64> = (1..=1000).collect();
        let d = durations(&ended, &[]);
        for q in [0.001, 0.1, 0.25, 0.5, 0.9, 0.95, 0.999] {
            assert_eq!(d.kaplan_meier(q), d.nearest_rank(q), "q = {q}");
        }
    }

    #[test]
    fn agrees_with_the_textbook_example() {
        // Kaplan & Meier's own example: deaths 0.8, 3.1, 5.4, 9.2; losses 1.0, 2.7, 7.0, 12.1.
        let d = durations(&[8, 31, 54, 92], &[10, 27, 70, 121]);
        // S: 7/8 = 0.875, ·4/5 = 0.7, ·3/4 = 0.525, ·1/2 = 0.2625
        assert_eq!(d.kaplan_meier(0.12), Some(8));
        assert_eq!(d.kaplan_meier(0.30), Some(31));
        assert_eq!(d.kaplan_meier(0.475), Some(54));
        assert_eq!(d.kaplan_meier(0.5), Some(92));
        assert_eq!(d.kaplan_meier(0.75), None, "not reached");
    }
}
