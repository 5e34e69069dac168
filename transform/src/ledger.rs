//! The delivery ledger as it is summed up: counts per source and day.

use std::collections::BTreeMap;

use ahual_schemas::table::Day;
use ahual_schemas::tables::LedgerRow;

/// Pulled, stored, set aside, duplicates, repeats.
pub type Counts = [i64; 5];

/// Counts per source and day. Counts that come to nothing are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<(String, Day), Counts>);

impl Ledger {
    /// Adds rows, `sign` times.
    pub fn add(&mut self, rows: &[LedgerRow], sign: i64) {
        for row in rows {
            self.add_counts((row.source.clone(), row.day), row.counts().map(|count| sign * count));
        }
    }

    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        for (key, counts) in &other.0 {
            self.add_counts(key.clone(), *counts);
        }
    }

    fn add_counts(&mut self, key: (String, Day), added: Counts) {
        let counts = self.0.entry(key.clone()).or_default();
        counts.iter_mut().zip(added).for_each(|(total, count)| *total += count);
        if *counts == Counts::default() {
            self.0.remove(&key);
        }
    }

    /// Counts by source and day, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&(String, Day), &Counts)> {
        self.0.iter()
    }

    /// What is counted for a source on a day.
    pub fn get(&self, key: &(String, Day)) -> Counts {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// The rows of `ops.ledger`.
    pub fn rows(&self, folded_version: i64) -> Vec<LedgerRow> {
        self.iter()
            .map(|((source, day), counts)| LedgerRow::of(source.clone(), *day, *counts, folded_version))
            .collect()
    }
}
