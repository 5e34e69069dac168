//! What goes wrong on demand. All rates are probabilities in 0..=1 and 0 by default.
//!
//! Faults of the wire (429, 500, HTML, truncation, slowness) are drawn per request of a
//! door, from the seed and the request's number; faults of the data (late records,
//! poison) are drawn per record, so they are the same however often it is asked for.

use serde::{Deserialize, Serialize};

use super::dice::Dice;

/// Rates of what goes wrong.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Faults {
    /// Everything wrong now and then, as in a bad week; other fault rates are then ignored
    #[arg(long = "fault-rough")]
    pub rough: bool,
    /// Share of requests answered 429 with Retry-After
    #[arg(long = "fault-too-many", value_name = "RATE", default_value_t = 0.0)]
    pub too_many: f64,
    /// Seconds a 429 asks to wait
    #[arg(long = "fault-retry-after", value_name = "SECONDS", default_value_t = 1)]
    pub retry_after_seconds: u32,
    /// Share of requests answered 500
    #[arg(long = "fault-server-error", value_name = "RATE", default_value_t = 0.0)]
    pub server_error: f64,
    /// Share of requests answered with an HTML page and status 200
    #[arg(long = "fault-html", value_name = "RATE", default_value_t = 0.0)]
    pub html: f64,
    /// Share of answers cut in the middle, every other one with an honest length
    #[arg(long = "fault-truncated", value_name = "RATE", default_value_t = 0.0)]
    pub truncated: f64,
    /// Share of answers that come late
    #[arg(long = "fault-slow", value_name = "RATE", default_value_t = 0.0)]
    pub slow: f64,
    /// How late a slow answer comes, milliseconds
    #[arg(long = "fault-slow-ms", value_name = "MS", default_value_t = 2_000)]
    pub slow_ms: u64,
    /// Share of items that a page says twice
    #[arg(long = "fault-duplicate", value_name = "RATE", default_value_t = 0.0)]
    pub duplicate: f64,
    /// Share of later pages that begin up to three items early
    #[arg(long = "fault-page-drift", value_name = "RATE", default_value_t = 0.0)]
    pub page_drift: f64,
    /// Share of record versions that a door shows only some time after its own stamp
    #[arg(long = "fault-late", value_name = "RATE", default_value_t = 0.0)]
    pub late: f64,
    /// Longest delay of a late record, simulated minutes
    #[arg(long = "fault-late-minutes", value_name = "MINUTES", default_value_t = 30)]
    pub late_minutes: u32,
    /// Extra spoilt rows (no id, unreadable time) for each honest record
    #[arg(long = "fault-poison", value_name = "RATE", default_value_t = 0.0)]
    pub poison: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rough: false,
            too_many: 0.0,
            retry_after_seconds: 1,
            server_error: 0.0,
            html: 0.0,
            truncated: 0.0,
            slow: 0.0,
            slow_ms: 2_000,
            duplicate: 0.0,
            page_drift: 0.0,
            late: 0.0,
            late_minutes: 30,
            poison: 0.0,
        }
    }
}

/// How a row is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poison {
    /// Its time cannot be read.
    UnreadableTime,
    /// It has no id.
    MissingId,
}

/// What happens to one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireFault {
    TooMany,
    ServerError,
    Html,
    Truncated,
    Slow,
}

impl Faults {
    /// The rates that hold: those given, or a bad week's.
    pub(crate) fn in_force(&self) -> Self {
        if !self.rough {
            return self.clone();
        }
        Self {
            rough: true,
            too_many: 0.05,
            server_error: 0.05,
            html: 0.02,
            truncated: 0.03,
            slow: 0.02,
            slow_ms: 300,
            duplicate: 0.02,
            page_drift: 0.1,
            late: 0.02,
            poison: 0.005,
            ..Self::default()
        }
    }

    /// The first setting that makes no sense, in words.
    pub(crate) fn wrong(&self) -> Option<String> {
        let rates = [
            ("too_many", self.too_many),
            ("server_error", self.server_error),
            ("html", self.html),
            ("truncated", self.truncated),
            ("slow", self.slow),
            ("duplicate", self.duplicate),
            ("page_drift", self.page_drift),
            ("late", self.late),
            ("poison", self.poison),
        ];
        if let Some((name, rate)) = rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Some(format!("fault rate {name} is {rate}; give a share between 0 and 1"));
        }
        let wire: f64 = rates[..5].iter().map(|(_, rate)| rate).sum();
        (wire > 1.0).then(|| {
            format!("fault rates too_many, server_error, html, truncated and slow add up to {wire}; keep them within 1")
        })
    }

    /// What happens to request number `n` of `door`.
    pub(crate) fn on_wire(&self, seed: u64, door: &str, n: u64) -> Option<WireFault> {
        let mut draw = Dice::new(seed, &format!("wire/{door}/{n}")).unit();
        for (fault, rate) in [
            (WireFault::TooMany, self.too_many),
            (WireFault::ServerError, self.server_error),
            (WireFault::Html, self.html),
            (WireFault::Truncated, self.truncated),
            (WireFault::Slow, self.slow),
        ] {
            draw -= rate;
            if draw < 0.0 {
                return Some(fault);
            }
        }
        None
    }

    /// How many seconds late the next version is.
    pub(crate) fn lateness(&self, dice: &mut Dice) -> i64 {
        let late = dice.chance(self.late);
        let by = dice.between(60, (i64::from(self.late_minutes) * 60).max(60));
        if late { by } else { 0 }
    }
}
