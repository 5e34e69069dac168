//! What lies in the file: tables, and how storage errors read to a caller.

use ahual_schemas::LogError;
use redb::TableDefinition;

/// `format` and `partitions`.
pub(super) const SETTINGS: TableDefinition<&str, u64> = TableDefinition::new("settings");
/// Topic name → id, kind (0 stream, 1 compacted).
pub(super) const TOPICS: TableDefinition<&str, (u32, u8)> = TableDefinition::new("topics");
/// Topic id, partition, first offset → page.
pub(super) const PAGES: TableDefinition<(u32, u32, u64), &[u8]> = TableDefinition::new("pages");
/// Topic id, partition → first offset held, next offset, last append stamp.
pub(super) const ENDS: TableDefinition<(u32, u32), (u64, u64, i64)> = TableDefinition::new("ends");
/// Group, topic id, partition → next offset.
pub(super) const POSITIONS: TableDefinition<(&str, u32, u32), u64> = TableDefinition::new("positions");

/// Name of the file in the log's folder.
pub(in crate::log) const FILE: &str = "log.redb";
/// Format of this file.
pub(super) const FORMAT: u64 = 1;

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// Oldest offset that can be read.
    pub(super) first: u64,
    /// One past the newest.
    pub(super) next: u64,
    /// Stamp of the newest record; the next is never below it.
    pub(super) stamp: i64,
}

impl Ends {
    /// A partition nothing was ever appended to.
    pub(super) const EMPTY: Self = Self { first: 0, next: 0, stamp: i64::MIN };
}

/// A failed storage call, told to each of the callers that shared it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    damaged: bool,
    text: String,
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        // An I/O error may pass (a full disk is emptied); everything else stays as it is.
        Self { damaged: !matches!(error, redb::Error::Io(_)), text: error.to_string() }
    }
}

impl Failure {
    /// The error for a caller who was `doing` something.
    pub(super) fn told(&self, doing: &'static str) -> LogError {
        if self.damaged {
            LogError::Broken {
                what: format!("embedded log failed to {doing}; restart, and if it fails again restore the folder"),
                source: Some(self.text.clone().into()),
            }
        } else {
            LogError::Unavailable { doing, source: self.text.clone().into() }
        }
    }
}

/// `error` as told to a caller who was `doing` something.
pub(super) fn failed(doing: &'static str, error: redb::Error) -> LogError {
    Failure::from(error).told(doing)
}

/// An error for settings or content that cannot be.
pub(super) fn broken(what: String) -> LogError {
    LogError::Broken { what, source: None }
}
