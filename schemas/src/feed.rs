//! Feed entries: what changed in the figures.

use serde::{Deserialize, Serialize};

/// Position of a feed entry: the version of `core.events` that caused it and its
/// ordinal within that version. Derived from durable positions, so the same entry
/// has the same position after a crash. Written `version-ordinal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedPosition {
    /// Version of `core.events`.
    pub version: i64,
    /// Ordinal within the version, from 0.
    pub ordinal: u32,
}

impl std::fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.version, self.ordinal)
    }
}

impl std::str::FromStr for FeedPosition {
    type Err = BadPosition;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadPosition(text.to_owned());
        let (version, ordinal) = text.split_once('-').ok_or_else(bad)?;
        Ok(Self { version: version.parse().map_err(|_| bad())?, ordinal: ordinal.parse().map_err(|_| bad())? })
    }
}

/// A text that is no feed position.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a feed position; it reads like 12-0 (version-ordinal)")]
pub struct BadPosition(pub String);

/// One cell of one metric changed. The numbers are the cell's new totals over cases
/// that are no longer open, so that applying an entry twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// Where it stands in the feed.
    pub position: FeedPosition,
    /// Metric.
    pub metric: String,
    /// Source.
    pub source: String,
    /// Responsible body.
    pub body: Option<String>,
    /// Category.
    pub category: Option<String>,
    /// Territory code.
    pub territory: Option<String>,
    /// Local day, ISO 8601.
    pub day: Option<String>,
    /// Numerator of the cell.
    pub numerator: i64,
    /// Denominator of the cell.
    pub denominator: i64,
    /// How many contributions the cell has.
    pub n: i64,
}

impl FeedEntry {
    /// Key on a compacted topic: metric and dimensions.
    pub fn key(&self) -> String {
        let part = |v: &Option<String>| v.clone().unwrap_or_default();
        [
            self.metric.clone(),
            self.source.clone(),
            part(&self.body),
            part(&self.category),
            part(&self.territory),
            part(&self.day),
        ]
        .join("|")
    }
}
