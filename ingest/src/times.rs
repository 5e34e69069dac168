//! Times as a source writes them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;

use crate::identity::Picked;

/// How a source writes times.
#[derive(Debug, Clone)]
pub(crate) struct TimeShape {
    pub(crate) format: String,
    pub(crate) zone: Tz,
}

impl TimeShape {
    /// Microseconds since the epoch of a time in a record.
    pub(crate) fn read(&self, value: &Picked) -> Option<i64> {
        let Picked::Text(text) = value else { return None };
        let text = text.trim();
        match self.format.as_str() {
            "unix" => return number(text, 1_000_000.0),
            "unix_ms" => return number(text, 1_000.0),
            _ => {}
        }
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Some(at.timestamp_micros());
        }
        if let Ok(at) = DateTime::parse_from_str(text, &self.format) {
            return Some(at.timestamp_micros());
        }
        let naive = [self.format.as_str(), "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .or_else(|| {
                let day = NaiveDate::parse_from_str(text, &self.format)
                    .or_else(|_| NaiveDate::parse_from_str(text, "%Y-%m-%d"));
                day.ok().and_then(|day| day.and_hms_opt(0, 0, 0))
            })?;
        // The earlier of two readings: what is asked for again is merely met again.
        self.zone.from_local_datetime(&naive).earliest().map(|at| at.timestamp_micros())
    }

    /// A time as a parameter.
    pub(crate) fn write(&self, at_us: i64) -> String {
        let at = DateTime::<Utc>::from_timestamp_micros(at_us).unwrap_or_default();
        match self.format.as_str() {
            "rfc3339" => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            "unix" => at.timestamp().to_string(),
            "unix_ms" => at.timestamp_millis().to_string(),
            format => at.with_timezone(&self.zone).format(format).to_string(),
        }
    }
}

fn number(text: &str, us: f64) -> Option<i64> {
    let value: f64 = text.parse().ok()?;
    let at = value * us;
    // Within the range chrono can say.
    (at.abs() < 8.0e18).then_some(at as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(format: &str, zone: Tz, text: &str) -> Option<String> {
        let shape = TimeShape { format: format.to_owned(), zone };
        let rfc = TimeShape { format: "rfc3339".to_owned(), zone };
        shape.read(&Picked::Text(text.to_owned())).map(|at| rfc.write(at))
    }

    #[test]
    fn times_are_read_in_their_zone_and_written_back() {
        let almaty = chrono_tz::Asia::Almaty;
        assert_eq!(read("%Y-%m-%d %H:%M:%S", almaty, "2024-03-02 05:00:00").unwrap(), "2024-03-02T00:00:00Z");
        assert_eq!(read("%Y-%m-%d %H:%M:%S", almaty, "2024-02-01 06:00:00").unwrap(), "2024-02-01T00:00:00Z");
        assert_eq!(read("rfc3339", almaty, "2024-02-01T06:00:00.5+06:00").unwrap(), "2024-02-01T00:00:00.500Z");
        assert_eq!(read("unix_ms", almaty, "1700000000123").unwrap(), "2023-11-14T22:13:20.123Z");
        assert_eq!(read("rfc3339", almaty, "yesterday"), None);
    }
}
