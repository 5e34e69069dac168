//! Opening hours of a body, and the working time that follows from them.

use chrono::{Datelike, NaiveDateTime, Offset, TimeZone, Weekday};
use chrono_tz::Tz;

use super::calendar::{Calendar, DayKind, date};

const MINUTE_US: i64 = 60_000_000;

/// Minutes of a local day, from and to; 24:00 is 1440.
pub(super) type Span = (u32, u32);

/// The hours of a week.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Week {
    /// Hours by weekday from Monday, ordered, apart from each other.
    pub(super) days: [Vec<Span>; 7],
    /// Hours by weekday that hold on days off as well.
    pub(super) on_days_off: [Vec<Span>; 7],
}

impl Week {
    /// Hours of a day of that kind.
    fn of(&self, kind: &DayKind, weekday: Weekday) -> &[Span] {
        let at = |weekday: Weekday| weekday.num_days_from_monday() as usize;
        match kind {
            DayKind::Ordinary => &self.days[at(weekday)],
            DayKind::Off => &self.on_days_off[at(weekday)],
            // Who is open on that weekday anyway keeps its hours.
            DayKind::Worked(_) if !self.days[at(weekday)].is_empty() => &self.days[at(weekday)],
            DayKind::Worked(like) => &self.days[at(*like)],
        }
    }
}

/// Every opening of the covered years as UTC instants, with the time worked before each.
#[derive(Debug, Default)]
pub(super) struct Opening {
    spans: Vec<(i64, i64)>,
    /// Microseconds worked before each span, and one more: all of them.
    before: Vec<i64>,
}

impl Opening {
    pub(super) fn new(calendar: &Calendar, week: &Week) -> Self {
        let mut opening = Self { spans: Vec::new(), before: vec![0] };
        let mut worked = 0;
        for day in calendar.days() {
            let Some(day) = date(day) else { continue };
            let hours = week.of(&calendar.kind(day), day.weekday());
            if hours.is_empty() {
                continue;
            }
            for (from, to) in clock_spans(day.and_time(chrono::NaiveTime::MIN), hours, calendar.zone()) {
                worked += to - from;
                match opening.spans.last_mut() {
                    Some(last) if last.1 == from => {
                        last.1 = to;
                        opening.before.pop();
                    }
                    _ => opening.spans.push((from, to)),
                }
                opening.before.push(worked);
            }
        }
        opening
    }

    /// Microseconds worked before `at`.
    pub(super) fn until(&self, at: i64) -> i64 {
        let nth = self.spans.partition_point(|(from, _)| *from <= at);
        let Some((from, to)) = nth.checked_sub(1).and_then(|last| self.spans.get(last)) else { return 0 };
        self.before[nth - 1] + at.min(*to) - from
    }

    /// The first instant by which `worked` microseconds have been worked; none where that
    /// never happens.
    pub(super) fn instant(&self, worked: i64) -> Option<i64> {
        let nth = self.before.partition_point(|before| *before < worked);
        let span = nth.checked_sub(1)?;
        let (from, _) = self.spans.get(span)?;
        Some(from + worked - self.before[span])
    }
}

/// The instants at which the wall clock of a local day shows `hours`, in order.
fn clock_spans(midnight: NaiveDateTime, hours: &[Span], zone: Tz) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let shown = |minute: u32| midnight + chrono::Duration::minutes(i64::from(minute));
    for (start_us, end_us, offset_us) in offsets(midnight, zone) {
        for (from, to) in hours {
            let utc = |minute: u32| shown(minute).and_utc().timestamp_micros() - offset_us;
            let (from, to) = (utc(*from).max(start_us), utc(*to).min(end_us));
            if from < to {
                spans.push((from, to));
            }
        }
    }
    spans
}

/// The stretches of a local day in which the offset from UTC stays the same: from, to and
/// offset, microseconds.
fn offsets(midnight: NaiveDateTime, zone: Tz) -> Vec<(i64, i64, i64)> {
    let offset = |at: i64| {
        chrono::DateTime::from_timestamp_micros(at).map_or(0, |at| {
            i64::from(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) * 1_000_000
        })
    };
    let start = |at: NaiveDateTime| crate::functions::at_local(at, zone).unwrap_or_default();
    let (start_us, end_us) = (start(midnight), start(midnight + chrono::Duration::days(1)));
    let (first, last) = (offset(start_us), offset(end_us - 1));
    if first == last {
        return vec![(start_us, end_us, first)];
    }
    // The minute at which it changes.
    let (mut before, mut after) = (0, (end_us - start_us) / MINUTE_US);
    while after - before > 1 {
        let middle = i64::midpoint(before, after);
        if offset(start_us + middle * MINUTE_US) == first { before = middle } else { after = middle }
    }
    let change = start_us + after * MINUTE_US;
    if change >= end_us {
        vec![(start_us, end_us, first)]
    } else {
        vec![(start_us, change, first), (change, end_us, last)]
    }
}
