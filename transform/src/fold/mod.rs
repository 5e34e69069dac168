//! The fold: from the *set* of a case's event rows to its current state.
//!
//! A pure function. Processing order and repetition never matter; no clock is read.
//!
//! 1. Each record's contents are found, and for each content the append stamps of its
//!    distinct deliveries (a delivery said twice counts once, at its earliest stamp).
//! 2. `known_at` cuts deliveries by append stamp.
//! 3. Of each record one content is chosen: the highest source version; where that is
//!    equal or absent, the latest append stamp. All events of a record's chosen content
//!    supersede those of its others, so a corrected close is not a reopening. An event
//!    whose mapping asks for it keeps the time at which it was first observed.
//! 4. `as_of` cuts what is left by the time it happened.
//! 5. The remaining events, in order of occurrence, are folded: `state` the case itself,
//!    `custody` who held it, `terms` its due dates and `parts`.

mod contents;
mod custody;
mod parts;
mod state;
mod terms;

use ahual_schemas::event::{Event, Kind};
use ahual_schemas::table::At;
use ahual_schemas::tables::{Case, Deadline, LedgerRow, Part, Segment};
use chrono_tz::Tz;

use crate::reference::Reference;
use contents::{Contents, Said};
use state::State;

/// What the fold is told besides the events.
#[derive(Debug, Clone, Copy)]
pub struct FoldRule<'a> {
    /// What had happened by then.
    pub as_of: Option<At>,
    /// What was known by then.
    pub known_at: Option<At>,
    /// Zone of ledger days.
    pub zone: Tz,
    /// Version of `core.events` being folded; stands in every row.
    pub folded_version: i64,
    /// Calendars and rules. Of the calendars' versions those count that were known by
    /// `as_of` and `known_at`.
    pub reference: &'a Reference,
}

/// What one case becomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded {
    /// The case; none when nothing about it had happened or was known.
    pub case: Option<Case>,
    /// Who held it.
    pub segments: Vec<Segment>,
    /// Every due date.
    pub deadlines: Vec<Deadline>,
    /// Units and the like.
    pub parts: Vec<Part>,
    /// What it adds to the delivery ledger.
    pub ledger: Vec<LedgerRow>,
}

/// Folds the rows of one case.
pub fn fold(rows: &[Event], rule: &FoldRule<'_>) -> Folded {
    let contents = Contents::known(rows, rule.known_at);
    let ledger = contents.ledger(rule);
    let mut said = contents.in_force();
    if let Some(as_of) = rule.as_of {
        said.retain(|s| s.at <= as_of);
    }
    said.sort_by(|a, b| order(a).cmp(&order(b)));
    let Some(first) = said.first() else {
        return Folded { ledger, ..Folded::default() };
    };
    let mut state = State::new(first.event, rule);
    for said in &said {
        state.take(said);
    }
    Folded { ledger, ..state.finish() }
}

/// Order of events in time. Among simultaneous ones the kinds that open come before
/// those that close, then the source's own version and order decide.
fn order<'a>(said: &Said<'a>) -> (At, u8, Option<i64>, Option<At>, &'a str, i32) {
    let event = said.event;
    let rank = match Kind::from(event.kind.as_str()) {
        Kind::Received => 0,
        Kind::Registered => 1,
        Kind::DeadlineSet => 2,
        Kind::Assigned => 3,
        Kind::Reopened => 4,
        Kind::Closed => 8,
        Kind::Confirmed
        | Kind::Rejected
        | Kind::Feedback
        | Kind::Merged
        | Kind::Split
        | Kind::Withdrawn
        | Kind::Disappeared => 9,
        _ => 5,
    };
    (said.at, rank, event.version, event.recorded_at, &event.record_id, event.ordinal)
}
