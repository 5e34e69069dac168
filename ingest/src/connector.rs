//! The pull contract: what a connector promises and what it must not do.

use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::Advice;
use ahual_schemas::record::JSON;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// Reads one page after a cursor.
///
/// It never sleeps, retries, publishes or stores its position, has no clock of its
/// own, and makes at most one request of the network per page, so that one runner
/// can do all that for every door alike.
#[async_trait]
pub trait Connector: Send + Sync {
    /// What kind of door this is.
    fn describe(&self) -> Description;

    /// The page after `cursor` (from the beginning when absent). Asked twice with one
    /// cursor it gives the same records again, as far as the source still has them.
    /// `now` bounds time windows.
    async fn next_page(&mut self, cursor: Option<&Cursor>, now: DateTime<Utc>) -> Result<Page, ConnectorError>;

    /// Where a cursor stands, in words for an operator.
    fn summarise(&self, cursor: &Cursor) -> String;
}

/// What a door can and cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Connector name as in the configuration (`files`, `rest`, `open311`).
    pub kind: &'static str,
    /// What the source can give again.
    pub replay: Replay,
    /// Whether more may come after it was drained.
    pub endless: bool,
}

/// What the source can give again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The same bytes at the same place, from any cursor.
    Exact,
    /// What the source holds now; places shift while it changes.
    Latest,
}

/// A position in a source, opaque to everybody but its connector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Version of the shape of `position`.
    pub version: u32,
    /// The position.
    pub position: serde_json::Value,
}

impl Cursor {
    /// A cursor of shape `version` holding `position`.
    pub fn of<T: Serialize>(version: u32, position: &T) -> Result<Self, ConnectorError> {
        match serde_json::to_value(position) {
            Ok(position) => Ok(Self { version, position }),
            Err(cause) => Err(ConnectorError::Position { what: "cannot be written".to_owned(), source: Some(cause) }),
        }
    }

    /// The position, when the cursor has shape `version`.
    pub fn position<T: serde::de::DeserializeOwned>(&self, version: u32) -> Result<T, ConnectorError> {
        if self.version != version {
            return Err(ConnectorError::Position {
                what: format!("has shape {}, this connector knows shape {version}", self.version),
                source: None,
            });
        }
        T::deserialize(&self.position).map_err(|cause| ConnectorError::Position {
            what: "cannot be read by this connector; was the kind of the source changed under one name?".to_owned(),
            source: Some(cause),
        })
    }
}

/// What one reading gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Records and what could not be taken, in the source's order.
    pub items: Vec<Item>,
    /// Where to go on. Equal to the cursor asked with when nothing moved.
    pub cursor: Cursor,
    /// Whether more is there already; `false` means drained for now.
    pub more: bool,
}

/// One thing found on a page.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A record.
    Record(Found),
    /// Something that could not be taken as one.
    SetAside(Refused),
}

impl Item {
    /// What a source gave as one JSON value: a record where it is an object. `identity` is
    /// another than the profile's.
    pub fn of_json(payload: Bytes, delivery: String, identity: Option<Arc<Identity>>) -> Self {
        if payload.first() == Some(&b'{') {
            Self::Record(Found { payload, content_type: JSON, delivery, occurrence: 1, place: None, identity })
        } else {
            Self::SetAside(Refused { reason: "it is JSON but not an object".to_owned(), delivery, bytes: payload })
        }
    }
}

/// A record as the source said it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Content, unchanged. A table row is a JSON object of its cells.
    pub payload: Bytes,
    /// Media type of `payload`.
    pub content_type: &'static str,
    /// Where this copy was found.
    pub delivery: String,
    /// 1 for the first record of this content in its file, 2 for the next exact repeat.
    pub occurrence: u32,
    /// File and row, where the source has rows.
    pub place: Option<String>,
    /// Identity other than the profile's, for records of a second shape.
    pub identity: Option<Arc<Identity>>,
}

/// What could not be taken, with its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Why, in words a person can act on.
    pub reason: String,
    /// Where it was found.
    pub delivery: String,
    /// The bytes as they came.
    pub bytes: Bytes,
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The source does not let us in, or says that the question is wrong.
    #[error("{what} refused with HTTP {status}; {hint}")]
    Denied {
        /// Address without secrets.
        what: String,
        /// HTTP status.
        status: u16,
        /// What to change.
        hint: &'static str,
    },
    /// The source asks us to come later.
    #[error("{what} is busy: HTTP {status}")]
    Busy {
        /// Address without secrets.
        what: String,
        /// HTTP status.
        status: u16,
        /// What its Retry-After says.
        after: Option<Duration>,
    },
    /// The source failed on its side.
    #[error("{what} failed with HTTP {status}")]
    Failed {
        /// Address without secrets.
        what: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer, or one that broke off.
    #[error("{what} gave no whole answer: {how}")]
    Broken {
        /// Address without secrets.
        what: String,
        /// How it broke off.
        how: &'static str,
        /// Cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// An answer that is not what the contract says.
    #[error("{what} answered with {found} instead of {expected}")]
    Unreadable {
        /// Address without secrets.
        what: String,
        /// What came.
        found: String,
        /// What should have come.
        expected: &'static str,
    },
    /// An error of the source said in an otherwise fine answer.
    #[error("{what} answered with an error of its own: {said}")]
    Said {
        /// Address without secrets.
        what: String,
        /// Its words, shortened.
        said: String,
    },
    /// A body over the cap that cannot be stepped past.
    #[error(
        "{what} answered with {size}, over the cap of {cap_bytes} bytes; ask for smaller pages or raise limits.max_body_bytes"
    )]
    TooLarge {
        /// Address without secrets.
        what: String,
        /// What it claims or how much came.
        size: String,
        /// The cap.
        cap_bytes: u64,
        /// What had come when reading was given up.
        head: Bytes,
    },
    /// The input is not what the configuration says it is.
    #[error("{place}: {what}")]
    Input {
        /// File or address.
        place: String,
        /// What is wrong and what to change.
        what: String,
    },
    /// The file system failed.
    #[error("cannot {doing} {place}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// File or folder.
        place: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A stored cursor is not understood.
    #[error("the stored cursor {what}; remove the source's cursor to read it from the beginning")]
    Position {
        /// What is wrong with it.
        what: String,
        /// Cause.
        #[source]
        source: Option<serde_json::Error>,
    },
}

impl ConnectorError {
    /// What the runner should do. A delay of zero leaves it to the runner's backoff.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Busy { after, .. } => Advice::RetryAfter(after.unwrap_or(Duration::ZERO)),
            Self::Failed { .. }
            | Self::Broken { .. }
            | Self::Unreadable { .. }
            | Self::Said { .. }
            | Self::Io { .. } => Advice::RetryAfter(Duration::ZERO),
            Self::Denied { .. } | Self::TooLarge { .. } | Self::Input { .. } | Self::Position { .. } => Advice::Stop,
        }
    }
}
