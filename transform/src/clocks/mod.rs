//! Clocks: working calendars, rules of terms, and what follows from both.
//!
//! A *calendar* says which local days are worked and in which hours; it is versioned,
//! because governments move days off, also in mid-year. A *rule* says how long something
//! may take and how it is counted. Both are files (see `docs/calendars.md`), both are
//! named `name@version` in every result, and neither guesses: what a calendar does not
//! cover has no answer, with the reason.

mod calendar;
mod calendars;
mod due;
pub(crate) mod functions;
mod hours;
mod rule;

pub use calendar::{Calendar, DayKind, Exception, NotCovered};
pub use calendars::Calendars;
pub use due::{Due, due, latest_extension};
pub use rule::{CountedFrom, Counting, ExtensionLimit, LastDay, Rule, Rules, Term};
