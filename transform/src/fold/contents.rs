//! Which content of each record counts, and the ledger of how contents were delivered.

use std::collections::BTreeMap;

use ahual_schemas::event::{Event, FIRST_OBSERVED, Kind};
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::LedgerRow;

use super::FoldRule;
use crate::functions::local_day;

/// One content of one record.
struct Content<'a> {
    id: &'a str,
    version: Option<i64>,
    occurrence: i32,
    set_aside: bool,
    source: &'a str,
    /// Delivery → earliest append stamp.
    deliveries: BTreeMap<&'a str, At>,
    /// Events by ordinal.
    events: BTreeMap<i32, &'a Event>,
}

impl Content<'_> {
    fn first_stamp(&self) -> At {
        self.deliveries.values().min().copied().unwrap_or(At(i64::MAX))
    }
    fn last_stamp(&self) -> At {
        self.deliveries.values().max().copied().unwrap_or(At(i64::MIN))
    }
}

fn is_first_observed(event: &Event) -> bool {
    event.time_rule.as_deref() == Some(FIRST_OBSERVED)
}

/// An event that counts.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) event: &'a Event,
    /// When it happened: by its content, or by the first that said so where that is asked for.
    pub(super) at: At,
    /// The local day of that.
    pub(super) on: Day,
    /// When we first had its content.
    pub(super) appended_at: At,
}

/// Contents by record and content.
pub(super) struct Contents<'a>(BTreeMap<(&'a str, &'a str), Content<'a>>);

impl<'a> Contents<'a> {
    /// The contents known by `known_at`.
    pub(super) fn known(rows: &'a [Event], known_at: Option<At>) -> Self {
        let mut contents: BTreeMap<(&str, &str), Content<'a>> = BTreeMap::new();
        for row in rows {
            let content = contents.entry((&row.record_id, &row.content_id)).or_insert_with(|| Content {
                id: &row.content_id,
                version: None,
                occurrence: row.occurrence,
                set_aside: false,
                source: &row.source,
                deliveries: BTreeMap::new(),
                events: BTreeMap::new(),
            });
            let stamp = content.deliveries.entry(&row.delivery_id).or_insert(row.appended_at);
            *stamp = (*stamp).min(row.appended_at);
            match Kind::from(row.kind.as_str()) {
                Kind::SeenAgain => {}
                Kind::SetAside => content.set_aside = true,
                _ => {
                    content.version = content.version.max(row.version);
                    content.events.insert(row.ordinal, row);
                }
            }
        }
        if let Some(known_at) = known_at {
            for content in contents.values_mut() {
                content.deliveries.retain(|_, stamp| *stamp <= known_at);
            }
            contents.retain(|_, content| !content.deliveries.is_empty());
        }
        Self(contents)
    }

    /// The events of each record's content in force.
    pub(super) fn in_force(&self) -> Vec<Said<'a>> {
        let mut records: BTreeMap<&str, Vec<&Content<'a>>> = BTreeMap::new();
        for ((record, _), content) in &self.0 {
            if !content.events.is_empty() {
                records.entry(record).or_default().push(content);
            }
        }
        let mut said = Vec::new();
        for mut contents in records.into_values() {
            contents.sort_by_key(|c| std::cmp::Reverse((c.version, c.last_stamp(), c.id)));
            let Some((newest, older)) = contents.split_first() else { continue };
            let appended_at = newest.first_stamp();
            for event in newest.events.values() {
                let first = if is_first_observed(event) { first_observed(event, older) } else { event };
                said.push(Said { event, at: first.occurred_at, on: first.occurred_on, appended_at });
            }
        }
        said
    }

    /// What the contents add to the delivery ledger.
    pub(super) fn ledger(&self, rule: &FoldRule<'_>) -> Vec<LedgerRow> {
        let mut rows: BTreeMap<(String, Day), LedgerRow> = BTreeMap::new();
        for content in self.0.values() {
            let mut deliveries: Vec<_> = content.deliveries.iter().map(|(d, stamp)| (*stamp, *d)).collect();
            deliveries.sort_unstable();
            for (nth, (stamp, _)) in deliveries.into_iter().enumerate() {
                let day = Day(local_day(stamp.0, rule.zone).unwrap_or_default());
                let row = rows.entry((content.source.to_owned(), day)).or_insert_with(|| LedgerRow {
                    source: content.source.to_owned(),
                    day,
                    pulled: 0,
                    stored: 0,
                    set_aside: 0,
                    duplicates: 0,
                    repeats: 0,
                    folded_version: rule.folded_version,
                });
                row.pulled += 1;
                if content.set_aside && content.events.is_empty() {
                    row.set_aside += 1;
                } else if nth == 0 {
                    row.stored += 1;
                    row.repeats += i64::from(content.occurrence > 1);
                } else {
                    row.duplicates += 1;
                }
            }
        }
        rows.into_values().collect()
    }
}

/// The event as the oldest of the superseded contents (newest first) said it that said it
/// without a break: a content that says nothing of the kind (the case was open again) ends
/// the run.
fn first_observed<'a>(event: &'a Event, older: &[&Content<'a>]) -> &'a Event {
    older
        .iter()
        .map_while(|content| {
            let same = |e: &&'a Event| e.kind == event.kind && e.part_id == event.part_id && is_first_observed(e);
            content.events.values().copied().find(same)
        })
        .last()
        .unwrap_or(event)
}
