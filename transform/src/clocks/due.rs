//! When a term ends.

use ahual_schemas::At;
use chrono::Datelike;

use super::calendar::{Calendar, NotCovered, date};
use super::rule::{CountedFrom, Counting, ExtensionLimit, LastDay, Rule, Term};
use crate::functions::local_day;

const MINUTE_US: i64 = 60_000_000;

/// A due date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The instant; of a term in days the last microsecond of its last day.
    pub at: At,
    /// Its local day, in days since 1970-01-01.
    pub day: i32,
}

/// When the term of `rule`, begun at `start`, ends by `calendar` and, where it is counted
/// in opening hours, by those of `body`. Stretches in which the clock stood, apart from
/// each other, make the term longer: in days by the days (working days) from the day after
/// the pause began to the day it ended, in hours by the time itself.
pub fn due(
    start: At,
    rule: &Rule,
    calendar: &Calendar,
    body: Option<&str>,
    stood: &[(At, At)],
) -> Result<Due, NotCovered> {
    let local = |at: At| local_day(at.0, calendar.zone()).ok_or_else(|| calendar.nowhere());
    match rule.term {
        Term::WorkingDays(days) => {
            let mut days = days;
            for (from, to) in stood {
                days += calendar.working_days(local(*from)? + 1, local(*to)? + 1)?;
            }
            let received = local(start)?;
            let first_counts = rule.counting == Counting::DayOfReceipt && calendar.is_working_day(received)?;
            let last = calendar.add_working_days(received, days - i32::from(first_counts))?;
            calendar.end_of(last)
        }
        Term::CalendarDays(days) => {
            let mut last = local(start)? + days - i32::from(rule.counting == Counting::DayOfReceipt);
            for (from, to) in stood {
                last += local(*to)? - local(*from)?;
            }
            if rule.last_day == LastDay::NextWorkingDay && !calendar.is_working_day(last)? {
                last = calendar.add_working_days(last, 1)?;
            }
            calendar.end_of(last)
        }
        Term::WorkingMinutes(minutes) => {
            let mut worked_us = minutes * MINUTE_US;
            for (from, to) in stood {
                worked_us += calendar.working_us(*from, *to, body)?;
            }
            let at = calendar.add_working_us(start, worked_us, body)?;
            Ok(Due { at, day: local(at)? })
        }
        Term::Minutes(minutes) => {
            let stood: i64 = stood.iter().map(|(from, to)| to.since(*from)).sum();
            let at = At(start.0.saturating_add(minutes * MINUTE_US).saturating_add(stood));
            Ok(Due { at, day: local(at)? })
        }
    }
}

/// The last local day to which a term may be extended: months after the due day the rule
/// gave, or after the day of receipt.
pub fn latest_extension(limit: &ExtensionLimit, received: i32, due: i32) -> Option<i32> {
    let from = match limit.counted_from {
        CountedFrom::Due => due,
        CountedFrom::Receipt => received,
    };
    let last = date(from)?.checked_add_months(chrono::Months::new(limit.at_most_months))?;
    Some(super::calendar::number(last))
}

impl Calendar {
    /// The end of a local day.
    fn end_of(&self, day: i32) -> Result<Due, NotCovered> {
        let next = self.day_start(day + 1).ok_or_else(|| self.nowhere())?;
        Ok(Due { at: At(next - 1), day })
    }

    /// For a moment that no calendar can name.
    fn nowhere(&self) -> NotCovered {
        NotCovered { calendar: self.id().to_owned(), year: chrono::NaiveDate::MAX.year() }
    }
}
