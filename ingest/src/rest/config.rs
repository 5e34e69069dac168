//! `[source.rest]`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::http::AuthConfig;

/// A JSON API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// Base address, `http://` or `https://`.
    pub url: String,
    /// Path below the base address.
    #[serde(default)]
    pub path: String,
    /// Query parameters sent with every request.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// How a request shows who asks.
    pub auth: Option<AuthConfig>,
    /// Path to the array of records in the answer; the answer itself when absent.
    pub records: Option<String>,
    /// How one page follows another.
    #[serde(default)]
    pub paging: PagingConfig,
    /// How many records a page is to have.
    pub page_size: Option<u64>,
    /// Parameter that says so.
    pub page_size_param: Option<String>,
    /// Asking only for what changed since a time.
    pub window: Option<WindowConfig>,
    /// Statuses besides 429 and 503 that mean *come later* at this source.
    #[serde(default)]
    pub busy_statuses: Vec<u16>,
    /// Records remembered so that unchanged ones are not taken again at every poll.
    #[serde(default = "remember")]
    pub remember: usize,
    /// Pages of one cycle after which paging is taken not to end.
    #[serde(default = "most_pages")]
    pub max_pages: u64,
}

fn remember() -> usize {
    20_000
}

fn most_pages() -> u64 {
    100_000
}

/// `[source.rest.paging]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PagingConfig {
    /// One page is all.
    #[default]
    None,
    /// Numbered pages, until one is empty or repeats the one before.
    Page {
        /// Parameter of the page number.
        #[serde(default = "page_param")]
        param: String,
        /// Number of the first page.
        #[serde(default = "first_page")]
        first: u64,
    },
    /// A number of records to pass over, until a page is empty.
    Offset {
        /// Parameter of the offset.
        #[serde(default = "offset_param")]
        param: String,
        /// Records read again with each page, against records that shift meanwhile.
        #[serde(default)]
        overlap: u64,
    },
    /// A token in the answer that names the next page, until there is none.
    Cursor {
        /// Parameter of the token.
        #[serde(default = "cursor_param")]
        param: String,
        /// Path to the token (or to the address of the next page) in the answer.
        next: String,
    },
    /// A `Link: <…>; rel="next"` header, until there is none.
    Link,
    /// Each page starts at the time of the last record of the one before, until a page
    /// is not full. The source gives records in order of that time.
    Time,
}

fn page_param() -> String {
    "page".to_owned()
}

fn first_page() -> u64 {
    1
}

fn offset_param() -> String {
    "offset".to_owned()
}

fn cursor_param() -> String {
    "cursor".to_owned()
}

/// `[source.rest.window]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Path in a record to the time it is asked for by.
    pub field: String,
    /// Parameter of the start, inclusive.
    pub from_param: String,
    /// Parameter of the end; without it there is none.
    pub to_param: Option<String>,
    /// First start, RFC 3339; everything when absent.
    pub start: Option<String>,
    /// Seconds asked for again before the newest record, for late commits and ties.
    #[serde(default = "minute")]
    pub overlap_s: u32,
    /// Seconds the end stays behind the clock.
    #[serde(default)]
    pub lag_s: u32,
    /// Seconds one window spans at most; needs `to_param` and `start`.
    pub span_s: Option<u32>,
    /// How times are written in parameters: `rfc3339`, `unix`, `unix_ms`, or a strftime
    /// pattern. Records are read in it too, and as RFC 3339 where they are not in it.
    #[serde(default = "rfc3339")]
    pub format: String,
    /// Zone of times written without one.
    #[serde(default = "utc")]
    pub zone: String,
}

fn minute() -> u32 {
    60
}

fn rfc3339() -> String {
    "rfc3339".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}
