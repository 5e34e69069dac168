//! One version of a working calendar, resolved: every local day it covers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ahual_schemas::At;
use chrono::{Datelike, NaiveDate, Weekday};
use chrono_tz::Tz;

use super::hours::{Opening, Week};
use crate::functions::{at_local, local_day};

/// What a local day is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DayKind {
    /// What its weekday makes it.
    Ordinary,
    /// Off: a holiday, or a day off moved here.
    Off,
    /// Worked although its weekday is off, with the hours of the given weekday.
    Worked(Weekday),
}

/// A day that is not what its weekday says, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// What it is.
    pub kind: DayKind,
    /// The holiday, or what was moved.
    pub name: String,
    /// The act behind it; `not found` where no source that was read names it.
    pub act: String,
}

/// A moment or day that a calendar says nothing about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("calendar {calendar} does not cover {year}")]
pub struct NotCovered {
    /// `name@version`.
    pub calendar: String,
    /// The year asked about.
    pub year: i32,
}

/// One version of a working calendar.
#[derive(Debug)]
pub struct Calendar {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) known_from: NaiveDate,
    pub(super) zone: Tz,
    pub(super) first_year: i32,
    pub(super) last_year: i32,
    pub(super) weekend: Vec<Weekday>,
    pub(super) exceptions: BTreeMap<NaiveDate, Exception>,
    /// Hours by body; the empty name stands for whoever has none of its own.
    weeks: BTreeMap<String, Week>,
    openings: BTreeMap<String, OnceLock<Opening>>,
    first_day: i32,
    /// First and last instant covered; the latter begins the day after the last.
    bounds: (i64, i64),
    /// Working days before each covered day, and one more: all of them.
    worked_before: Vec<u32>,
}

/// What a calendar is made of.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) known_from: NaiveDate,
    pub(super) zone: Tz,
    pub(super) years: (i32, i32),
    pub(super) weekend: Vec<Weekday>,
    pub(super) exceptions: BTreeMap<NaiveDate, Exception>,
    pub(super) weeks: BTreeMap<String, Week>,
}

impl Calendar {
    pub(super) fn new(parts: Parts) -> Self {
        let mut calendar = Self {
            id: format!("{}@{}", parts.name, parts.version),
            name: parts.name,
            version: parts.version,
            known_from: parts.known_from,
            zone: parts.zone,
            first_year: parts.years.0,
            last_year: parts.years.1,
            weekend: parts.weekend,
            exceptions: parts.exceptions,
            openings: parts.weeks.keys().map(|body| (body.clone(), OnceLock::new())).collect(),
            weeks: parts.weeks,
            first_day: 0,
            bounds: (i64::MIN, i64::MAX),
            worked_before: Vec::new(),
        };
        let mut worked = 0;
        let mut day = NaiveDate::from_ymd_opt(calendar.first_year, 1, 1).unwrap_or_default();
        calendar.first_day = number(day);
        while day.year() <= calendar.last_year {
            calendar.worked_before.push(worked);
            worked += u32::from(calendar.is_worked(day));
            let Some(next) = day.succ_opt() else { break };
            day = next;
        }
        calendar.worked_before.push(worked);
        let start = |day| calendar.day_start(day);
        if let (Some(first), Some(end)) = (start(calendar.first_day), start(calendar.end_day())) {
            calendar.bounds = (first, end);
        }
        calendar
    }

    /// `name@version`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Name, the same for all versions.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Zone of its days and hours.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// First and last year covered.
    pub fn years(&self) -> (i32, i32) {
        (self.first_year, self.last_year)
    }

    /// When it became known: the first instant of that local day.
    pub fn known_from(&self) -> At {
        At(at_local(self.known_from.and_time(chrono::NaiveTime::MIN), self.zone).unwrap_or(i64::MIN))
    }

    /// Days that are not what their weekday says, in order.
    pub fn exceptions(&self) -> impl Iterator<Item = (NaiveDate, &Exception)> {
        self.exceptions.iter().map(|(day, exception)| (*day, exception))
    }

    /// What a day is.
    pub fn kind(&self, day: NaiveDate) -> DayKind {
        self.exceptions.get(&day).map_or(DayKind::Ordinary, |e| e.kind.clone())
    }

    /// Whether a local day, in days since 1970-01-01, is worked.
    pub fn is_working_day(&self, day: i32) -> Result<bool, NotCovered> {
        let index = self.index(day)?;
        Ok(self.worked_before[index + 1] > self.worked_before[index])
    }

    /// Working days from the local day `from` to the day before `to`; negative where `to`
    /// is the earlier.
    pub fn working_days(&self, from: i32, to: i32) -> Result<i32, NotCovered> {
        let count = |day: i32| match self.index(day) {
            Ok(index) => Ok(self.worked_before[index]),
            // The day after the last covered one ends what is covered.
            Err(_) if day == self.end_day() => Ok(self.total()),
            Err(e) => Err(e),
        };
        Ok(signed(count(to)?) - signed(count(from)?))
    }

    /// The local day that is `n` working days after `day`: for 1 the next working day, for
    /// 0 the day itself or, where it is off, the working day before it.
    pub fn add_working_days(&self, day: i32, n: i32) -> Result<i32, NotCovered> {
        let index = self.index(day)?;
        let wanted = signed(self.worked_before[index + 1]) + n - 1;
        let outside = |year| NotCovered { calendar: self.id.clone(), year };
        let wanted = u32::try_from(wanted).map_err(|_| outside(self.first_year - 1))?;
        if wanted >= self.total() {
            return Err(outside(self.last_year + 1));
        }
        // The first day after which more than `wanted` days have been worked.
        let after = self.worked_before.partition_point(|worked| *worked <= wanted);
        Ok(self.first_day + i32::try_from(after).unwrap_or(i32::MAX) - 1)
    }

    /// Working microseconds from `start` to `end` in the hours of `body`; negative where
    /// `end` is the earlier. Working time is what the wall clock shows within opening
    /// hours: an hour that occurs twice counts twice, one that is skipped not at all.
    pub fn working_us(&self, start: At, end: At, body: Option<&str>) -> Result<i64, NotCovered> {
        let opening = self.opening(body);
        self.covered(start)?;
        self.covered(end)?;
        Ok(opening.until(end.0) - opening.until(start.0))
    }

    /// The instant at which `worked_us` working microseconds after `start` have passed.
    pub fn add_working_us(&self, start: At, worked_us: i64, body: Option<&str>) -> Result<At, NotCovered> {
        self.covered(start)?;
        let opening = self.opening(body);
        match opening.instant(opening.until(start.0) + worked_us) {
            Some(at) => Ok(At(at)),
            None => Err(NotCovered { calendar: self.id.clone(), year: self.last_year + 1 }),
        }
    }

    /// Bodies that have hours of their own.
    pub fn bodies(&self) -> impl Iterator<Item = &str> {
        self.weeks.keys().map(String::as_str).filter(|body| !body.is_empty())
    }

    pub(super) fn weeks(&self) -> &BTreeMap<String, Week> {
        &self.weeks
    }

    fn covered(&self, at: At) -> Result<(), NotCovered> {
        if (self.bounds.0..=self.bounds.1).contains(&at.0) {
            return Ok(());
        }
        let year = local_day(at.0, self.zone).and_then(date).map_or(i32::MAX, |day| day.year());
        Err(NotCovered { calendar: self.id.clone(), year })
    }

    fn opening(&self, body: Option<&str>) -> &Opening {
        static CLOSED: OnceLock<Opening> = OnceLock::new();
        let named = body.filter(|body| self.weeks.contains_key(*body)).unwrap_or_default();
        match (self.openings.get(named), self.weeks.get(named)) {
            (Some(slot), Some(week)) => slot.get_or_init(|| Opening::new(self, week)),
            _ => CLOSED.get_or_init(Opening::default),
        }
    }

    /// The days it covers, as days since 1970-01-01.
    pub(super) fn days(&self) -> std::ops::Range<i32> {
        self.first_day..self.end_day()
    }

    /// The first instant of a local day.
    pub(super) fn day_start(&self, day: i32) -> Option<i64> {
        at_local(date(day)?.and_time(chrono::NaiveTime::MIN), self.zone)
    }

    fn end_day(&self) -> i32 {
        self.first_day + i32::try_from(self.worked_before.len()).unwrap_or(i32::MAX) - 1
    }

    fn total(&self) -> u32 {
        self.worked_before.last().copied().unwrap_or_default()
    }

    fn index(&self, day: i32) -> Result<usize, NotCovered> {
        match usize::try_from(day.saturating_sub(self.first_day)) {
            Ok(index) if index + 1 < self.worked_before.len() => Ok(index),
            _ => {
                let year = date(day).map_or(i32::MAX, |d| d.year());
                Err(NotCovered { calendar: self.id.clone(), year })
            }
        }
    }

    fn is_worked(&self, day: NaiveDate) -> bool {
        match self.kind(day) {
            DayKind::Ordinary => !self.weekend.contains(&day.weekday()),
            DayKind::Off => false,
            DayKind::Worked(_) => true,
        }
    }
}

/// A day as days since 1970-01-01.
pub(super) fn number(day: NaiveDate) -> i32 {
    let epoch = NaiveDate::default();
    i32::try_from(day.signed_duration_since(epoch).num_days()).unwrap_or(i32::MAX)
}

/// A day from days since 1970-01-01.
pub(super) fn date(day: i32) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(chrono::Duration::days(i64::from(day)))
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
