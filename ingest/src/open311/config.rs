//! `[source.open311]`.

use serde::Deserialize;

use crate::http::AuthConfig;

/// A GeoReport v2 endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open311Config {
    /// Base address, to which `/requests.json` is added.
    pub url: String,
    /// `json`, or `xml` where the endpoint has only that.
    #[serde(default)]
    pub format: Wire,
    /// `jurisdiction_id`, where the endpoint serves several.
    pub jurisdiction_id: Option<String>,
    /// How a request shows who asks (`query = "api_key"` at most endpoints).
    pub auth: Option<AuthConfig>,
    /// Whether to ask for the endpoint's own fields (`extensions=true`).
    #[serde(default)]
    pub extensions: bool,
    /// First `requested_datetime` asked for, RFC 3339; 90 days before the first reading
    /// when absent.
    pub start: Option<String>,
    /// Days one window spans at most.
    #[serde(default = "ninety")]
    pub window_days: u32,
    /// Seconds before the last reading that are asked for again, for requests published late.
    #[serde(default = "day")]
    pub overlap_s: u32,
    /// Answers with this many requests are taken to be cut, and their window is split.
    #[serde(default = "thousand")]
    pub page_cap: u64,
    /// Page size, where the endpoint has `page` and `page_size`; windows are not split then.
    pub page_size: Option<u64>,
    /// How open requests are looked at again.
    #[serde(default)]
    pub rescan: Rescan,
    /// Requests asked for by id at once.
    #[serde(default = "fifty")]
    pub rescan_batch: usize,
    /// Days back that `rescan = "window"` asks for.
    #[serde(default = "ninety")]
    pub rescan_days: u32,
    /// Whether to read the extension `servicerequestupdates`.
    #[serde(default)]
    pub updates: bool,
    /// Requests remembered so that unchanged ones are not taken again at every poll.
    #[serde(default = "remember")]
    pub remember: usize,
}

/// Wire format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// JSON.
    #[default]
    Json,
    /// XML.
    Xml,
}

impl Wire {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xml => "xml",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml, text/xml",
        }
    }
}

/// How open requests are looked at again: the protocol cannot ask for what changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rescan {
    /// By their ids.
    #[default]
    Ids,
    /// By windows of `rescan_days`.
    Window,
    /// Not at all.
    None,
}

fn ninety() -> u32 {
    90
}

fn day() -> u32 {
    86_400
}

fn thousand() -> u64 {
    1_000
}

fn fifty() -> usize {
    50
}

fn remember() -> usize {
    20_000
}
