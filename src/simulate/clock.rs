//! Simulated time.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// The zone the region lives in.
pub(crate) const ZONE: Tz = chrono_tz::Asia::Almaty;

/// Tells the simulated instant.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    start: DateTime<Utc>,
    began_at: DateTime<Utc>,
    speed: f64,
    frozen_at: Option<DateTime<Utc>>,
}

impl Clock {
    /// A clock that stood at `start` when the real time was `began_at` and runs `speed`
    /// times as fast as it; or one that stands still at `frozen_at`.
    pub(crate) fn new(
        start: DateTime<Utc>,
        began_at: DateTime<Utc>,
        speed: f64,
        frozen_at: Option<DateTime<Utc>>,
    ) -> Self {
        Self { start, began_at, speed, frozen_at }
    }

    /// The simulated instant, in seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        match self.frozen_at {
            Some(instant) => instant.timestamp(),
            None => {
                let elapsed_ms = (Utc::now() - self.began_at).num_milliseconds().max(0) as f64;
                self.start.timestamp() + (elapsed_ms * self.speed / 1000.0) as i64
            }
        }
    }
}

/// The local day of an instant.
pub(crate) fn local_day(at: i64) -> NaiveDate {
    local(at).date_naive()
}

/// The instant at which a local day begins.
pub(crate) fn day_start(day: NaiveDate) -> i64 {
    let midnight = day.and_time(NaiveTime::MIN);
    ZONE.from_local_datetime(&midnight).earliest().map_or_else(|| midnight.and_utc().timestamp(), |at| at.timestamp())
}

/// Local time without a zone, as most systems of record write it: `2026-03-01 09:30:00`.
pub(crate) fn zoneless(at: i64) -> String {
    local(at).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Local time with its offset: `2026-03-01T09:30:00+05:00`.
pub(crate) fn with_offset(at: i64) -> String {
    local(at).format("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// UTC: `2026-03-01T04:30:00Z`.
pub(crate) fn utc(at: i64) -> String {
    DateTime::<Utc>::from_timestamp(at, 0).unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads what [`zoneless`], [`with_offset`] and [`utc`] write, and plain dates.
pub(crate) fn read(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp());
    }
    let naive = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| day.and_time(NaiveTime::MIN)))?;
    ZONE.from_local_datetime(&naive).earliest().map(|at| at.timestamp())
}

fn local(at: i64) -> DateTime<Tz> {
    DateTime::<Utc>::from_timestamp(at, 0).unwrap_or_default().with_timezone(&ZONE)
}
