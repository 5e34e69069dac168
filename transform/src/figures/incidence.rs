//! Cumulative incidence: the probability of ending in one way, where others compete.
//!
//! The Aalen–Johansen estimate (O. O. Aalen, S. Johansen, "An empirical transition matrix for
//! non-homogeneous Markov chains based on censored observations", Scandinavian Journal of
//! Statistics 5, 1978) in the case of competing risks: CIF(t) = Σ S(tᵢ−)·dᵢ/nᵢ over the times
//! tᵢ ≤ t at which the ending occurred, S being the Kaplan–Meier estimate of not having ended
//! in any way, nᵢ those at risk (a duration censored at tᵢ is). Without censoring it is the
//! plain share of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;

/// Durations and how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endings {
    /// Duration → ended this way, ended another way, censored.
    counts: BTreeMap<i64, [i64; 3]>,
}

impl Endings {
    /// Adds `n` durations; `this_way` is none where they are censored.
    pub fn add(&mut self, duration_us: i64, this_way: Option<bool>, n: i64) {
        let slot = match this_way {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        };
        self.counts.entry(duration_us).or_default()[slot] += n;
    }

    /// The cumulative incidence at `at_us`; none without any duration.
    #[allow(clippy::cast_precision_loss)]
    pub fn incidence(&self, at_us: i64) -> Option<f64> {
        let mut at_risk: i64 = self.counts.values().flatten().sum();
        if at_risk == 0 {
            return None;
        }
        let (mut surviving, mut incidence) = (1.0_f64, 0.0_f64);
        for (_, [this, other, censored]) in self.counts.range(..=at_us) {
            let ended = this + other;
            incidence += surviving * *this as f64 / at_risk as f64;
            surviving *= (at_risk - ended) as f64 / at_risk as f64;
            at_risk -= ended + censored;
            if at_risk == 0 {
                break;
            }
        }
        Some(incidence)
    }
}

/// Registers `cumulative_incidence(duration_us, cause, n, of_cause, at_us)`: `cause` is how a
/// duration ended, null where it was censored.
pub fn register(session: &SessionContext) {
    // Text may come in any of its representations, which an exact signature would refuse.
    let signature = Signature::any(5, Volatility::Immutable);
    session.register_udaf(AggregateUDF::from(Incidence { signature }));
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Incidence {
    signature: Signature,
}

impl AggregateUDFImpl for Incidence {
    fn name(&self) -> &str {
        "cumulative_incidence"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }
    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(IncidenceState::default()))
    }
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let item = Field::new_list_field(DataType::Int64, true);
        Ok(vec![
            Arc::new(Field::new(format!("{}[endings]", args.name), DataType::List(Arc::new(item)), true)),
            Arc::new(Field::new(format!("{}[at]", args.name), DataType::Int64, true)),
        ])
    }
}

#[derive(Debug, Default)]
struct IncidenceState {
    endings: Endings,
    at_us: Option<i64>,
}

impl IncidenceState {
    fn to_list(&self) -> ScalarValue {
        let flat: Vec<ScalarValue> = self
            .endings
            .counts
            .iter()
            .flat_map(|(t, [this, other, censored])| [*t, *this, *other, *censored])
            .map(|v| ScalarValue::Int64(Some(v)))
            .collect();
        ScalarValue::List(ScalarValue::new_list(&flat, &DataType::Int64, true))
    }
}

impl Accumulator for IncidenceState {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [duration, cause, n, of_cause, at] = values else {
            return Err(DataFusionError::Internal("cumulative_incidence takes five arguments".to_owned()));
        };
        let number = |array: &ArrayRef| arrow::compute::cast(array, &DataType::Int64);
        let text = |array: &ArrayRef| arrow::compute::cast(array, &DataType::Utf8);
        let (duration, n, at) = (number(duration)?, number(n)?, number(at)?);
        let (cause, of_cause) = (text(cause)?, text(of_cause)?);
        let (duration, n, at) =
            (duration.as_primitive::<Int64Type>(), n.as_primitive::<Int64Type>(), at.as_primitive::<Int64Type>());
        let (cause, of_cause) = (cause.as_string::<i32>(), of_cause.as_string::<i32>());
        for row in 0..duration.len() {
            if at.is_valid(row) {
                self.at_us = Some(at.value(row));
            }
            if duration.is_valid(row) && n.is_valid(row) && of_cause.is_valid(row) {
                let this_way = cause.is_valid(row).then(|| cause.value(row) == of_cause.value(row));
                self.endings.add(duration.value(row), this_way, n.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [lists, at] = states else {
            return Err(DataFusionError::Internal("cumulative_incidence has two states".to_owned()));
        };
        let at = at.as_primitive::<Int64Type>();
        let lists = lists.as_list::<i32>();
        for row in 0..lists.len() {
            if at.is_valid(row) {
                self.at_us = Some(at.value(row));
            }
            if lists.is_null(row) {
                continue;
            }
            let flat = lists.value(row);
            for quadruple in flat.as_primitive::<Int64Type>().values().chunks_exact(4) {
                if let [t, this, other, censored] = quadruple {
                    self.endings.add(*t, Some(true), *this);
                    self.endings.add(*t, Some(false), *other);
                    self.endings.add(*t, None, *censored);
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.at_us.and_then(|at| self.endings.incidence(at))))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.to_list(), ScalarValue::Int64(self.at_us)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.endings.counts.len() * 56
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// (duration, cause): 1 and 2 are ways to end, 0 is censored.
    fn endings(of: u8, all: &[(i64, u8)]) -> Endings {
        let mut endings = Endings::default();
        for (t, cause) in all {
            endings.add(*t, (*cause != 0).then_some(*cause == of), 1);
        }
        endings
    }

    #[test]
    fn without_censoring_it_is_the_share_of_all() {
        let all = [(1, 1), (2, 2), (3, 1), (4, 2), (5, 2)];
        assert_eq!(endings(1, &all).incidence(3), Some(0.4));
        assert!((endings(2, &all).incidence(9).unwrap() - 0.6).abs() < 1e-15);
        assert_eq!(Endings::default().incidence(3), None);
    }

    #[test]
    fn competing_endings_and_survival_add_up_to_one() {
        let all = [(1, 1), (2, 0), (3, 2), (3, 1), (5, 0), (6, 2), (8, 0)];
        for t in 0..9 {
            let (one, two) = (endings(1, &all).incidence(t).unwrap(), endings(2, &all).incidence(t).unwrap());
            let any: Vec<(i64, u8)> = all.iter().map(|(t, c)| (*t, (*c).min(1))).collect();
            let ended = endings(1, &any).incidence(t).unwrap();
            assert!((one + two - ended).abs() < 1e-12, "at {t}");
        }
    }

    #[test]
    fn agrees_with_the_estimate_by_hand() {
        // At risk 6: 1 at t=1 (5/6 left); censored at 2; at risk 4: 2 at 3; at risk 3: 1 at 4.
        let all = [(1, 1), (2, 0), (3, 2), (4, 1), (5, 0), (7, 2)];
        let one = 1.0 / 6.0 + 5.0 / 6.0 * 3.0 / 4.0 * 1.0 / 3.0;
        assert!((endings(1, &all).incidence(4).unwrap() - one).abs() < 1e-15);
        let two = 5.0 / 6.0 / 4.0;
        assert!((endings(2, &all).incidence(6).unwrap() - two).abs() < 1e-15);
    }
}
