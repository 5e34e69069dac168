//! What a run did, and how a source is doing.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// Source.
    pub name: String,
    /// Pages read.
    pub pages: u64,
    /// Records made durable.
    pub records: u64,
    /// Things set aside with a reason.
    pub set_aside: u64,
    /// Whether the source had nothing more when the run ended.
    pub drained: bool,
}

/// How a source is doing, for `ops.sources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Source.
    pub name: String,
    /// Connector.
    pub kind: &'static str,
    /// How records are named: `columns`, `content` or `row`.
    pub identity: &'static str,
    /// What it is doing, in words.
    pub state: String,
    /// Last time a page was read and made durable (an empty one counts).
    pub last_success_at: Option<DateTime<Utc>>,
    /// Pages read by this process.
    pub pages: u64,
    /// Records made durable by this process.
    pub records: u64,
    /// Things set aside by this process.
    pub set_aside: u64,
    /// Failures in a row.
    pub failures: u32,
    /// What went wrong last; empty again after a success.
    pub error: Option<String>,
    /// Whether the last page was the last there was.
    pub drained: bool,
    /// Where the source stands, in words.
    pub cursor: Option<String>,
}
