//! `[source.egov]`.

use serde::Deserialize;

use crate::secret::SecretRef;

/// A data set of the open data portal, by its API v4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgovConfig {
    /// Address of the portal, without `/api/v4`.
    pub url: String,
    /// Name of the data set, as in its address.
    pub dataset: String,
    /// Version of the data set.
    #[serde(default = "first_version")]
    pub version: String,
    /// Where the key lies that the portal gave for an account (`apiKey`).
    pub key: SecretRef,
    /// Field that says when a row was changed, `YYYY-MM-DD HH:MM:SS` without a zone.
    #[serde(default = "modified")]
    pub modified: String,
    /// Whether the set has no such field: it is then read whole at every look.
    #[serde(default)]
    pub whole: bool,
    /// Zone the portal writes its times in.
    #[serde(default = "almaty")]
    pub zone: String,
    /// First `modified` asked for, in the portal's own time.
    #[serde(default = "beginning")]
    pub start: String,
    /// Rows one answer may have; the portal itself gives at most 10,000.
    #[serde(default = "thousand")]
    pub page_size: u64,
    /// Seconds asked for again before the last look, for rows that appear late.
    #[serde(default = "hour")]
    pub overlap_s: u32,
    /// Seconds the end of a window stays behind the clock, so that a second is over when
    /// it is asked for.
    #[serde(default = "ten_seconds")]
    pub lag_s: u32,
    /// Rows remembered so that unchanged ones are not taken again at every look.
    #[serde(default = "remember")]
    pub remember: usize,
}

fn first_version() -> String {
    "v1".to_owned()
}

fn modified() -> String {
    "modified".to_owned()
}

fn almaty() -> String {
    "Asia/Almaty".to_owned()
}

fn beginning() -> String {
    "2010-01-01 00:00:00".to_owned()
}

fn thousand() -> u64 {
    1_000
}

fn hour() -> u32 {
    3_600
}

fn ten_seconds() -> u32 {
    10
}

fn remember() -> usize {
    20_000
}
