//! The log: where what a door said becomes durable.
//!
//! Two implementations stand behind [`Log`]: Apache Kafka, and an embedded log
//! on local disk. The trait is kept so narrow that an engine can be swapped, and
//! one conformance suite runs on both.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Largest record (key + headers + payload) either log accepts, in bytes.
pub const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// Topic that holds what could not be taken, with its bytes and the reason.
pub const DEAD_LETTERS: &str = "dead-letters";

/// The topic that carries the raw records of `source`.
pub fn raw_topic(source: &str) -> String {
    format!("raw.{source}")
}

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number, from 0.
    pub partition: u32,
}

/// What the topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicKind {
    /// Every record until retention removes it.
    Stream,
    /// At least the newest record of each key (feeds).
    Compacted,
}

/// A record on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Decides the partition; the case key for raw records.
    pub key: Bytes,
    /// Names and values, in the order given. Names may repeat.
    pub headers: Vec<(String, Bytes)>,
    /// Content, opaque to the log.
    pub payload: Bytes,
}

impl NewRecord {
    /// Bytes this record counts against [`MAX_RECORD_BYTES`].
    pub fn size(&self) -> usize {
        self.key.len() + self.payload.len() + self.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }
}

/// A record as the log gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it lies.
    pub at: TopicPartition,
    /// Its place in the partition, from 0, without gaps as appended (retention
    /// and, on Kafka, control records may leave gaps).
    pub offset: u64,
    /// The append stamp: milliseconds since the Unix epoch, UTC, given once by
    /// the log when the record was appended.
    pub appended_at_ms: i64,
    /// As appended.
    pub key: Bytes,
    /// As appended.
    pub headers: Vec<(String, Bytes)>,
    /// As appended.
    pub payload: Bytes,
}

impl StoredRecord {
    /// Value of the first header called `name`, when it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| std::str::from_utf8(v).ok())
    }
}

/// First offset still held and the offset the next record will get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Oldest offset that can be read.
    pub first: u64,
    /// One past the newest.
    pub next: u64,
}

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Try the same again, no sooner than this.
    RetryAfter(Duration),
    /// This piece cannot be taken: set it aside with its reason and go on.
    SetAside,
    /// Nobody but a person can help: stop.
    Stop,
}

/// Why the log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The reader asked for records that retention has removed.
    #[error(
        "reader of {topic}/{partition} fell behind retention: asked for offset {asked}, the oldest held is {first}"
    )]
    FellBehind {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// Offset asked for.
        asked: u64,
        /// Oldest offset held.
        first: u64,
    },
    /// The record is over [`MAX_RECORD_BYTES`].
    #[error("record of {bytes} bytes for {topic} is over the limit of {MAX_RECORD_BYTES}")]
    TooLarge {
        /// Topic.
        topic: String,
        /// Size of the record.
        bytes: usize,
    },
    /// A topic that nobody created.
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    /// The log cannot be reached or is busy; the same call may work later.
    #[error("log is not available while trying to {doing}")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Only one process may own an embedded log.
    #[error("another process owns the embedded log {file}; stop it first, or try later")]
    Owned {
        /// File of the log.
        file: String,
    },
    /// The process that owns the embedded log, and did this one's work on it, is gone.
    #[error("the process that owns the embedded log does not answer any more at {socket}; try again later")]
    Gone {
        /// Its socket.
        socket: String,
        /// How the line broke.
        #[source]
        source: std::io::Error,
    },
    /// What lies on disk is not what was written, or settings contradict it.
    #[error("log is damaged or misconfigured: {what}")]
    Broken {
        /// What was found.
        what: String,
        /// Cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl LogError {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Unavailable { .. } => Advice::RetryAfter(Duration::from_secs(1)),
            Self::TooLarge { .. } => Advice::SetAside,
            Self::FellBehind { .. }
            | Self::UnknownTopic(_)
            | Self::Owned { .. }
            | Self::Gone { .. }
            | Self::Broken { .. } => Advice::Stop,
        }
    }
}

/// A durable, partitioned, append-only log.
///
/// Every topic has the same number of partitions, fixed once per deployment.
/// A key always lies in partition [`partition_of`]`(key, partitions)`, on both
/// implementations.
#[async_trait]
pub trait Log: Send + Sync {
    /// How many partitions each topic has.
    fn partitions(&self) -> u32;

    /// Makes `topic` exist. Calling it again changes nothing.
    async fn create_topic(&self, topic: &str, kind: TopicKind) -> Result<(), LogError>;

    /// Topics that exist, sorted.
    async fn topics(&self) -> Result<Vec<String>, LogError>;

    /// Appends `records` in order and returns once **all** of them are durable.
    /// On an error none, some or all may have been appended: the caller appends
    /// again (delivery into the log is at least once). A record that is too large
    /// is refused before anything is appended.
    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<(), LogError>;

    /// A reader that starts at the given offsets, one per partition listed.
    async fn reader(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError>;

    /// What the partition holds now.
    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError>;

    /// Offset of the first record held that was appended at `appended_at_ms` or later; the
    /// next offset where there is none. This reads on from the oldest record; a log that
    /// finds its way by stamps does better.
    async fn first_since(&self, at: &TopicPartition, appended_at_ms: i64) -> Result<u64, LogError> {
        let bounds = self.bounds(at).await?;
        let mut next = bounds.first;
        let mut reader = self.reader(vec![(at.clone(), next)]).await?;
        while next < bounds.next {
            let records = reader.next(1_000, 1 << 20, Duration::from_secs(1)).await?;
            if let Some(found) = records.iter().find(|record| record.appended_at_ms >= appended_at_ms) {
                return Ok(found.offset);
            }
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
        }
        Ok(bounds.next)
    }

    /// Remembers for `group` that everything before `next_offset` is done with.
    async fn commit(&self, group: &str, at: &TopicPartition, next_offset: u64) -> Result<(), LogError>;

    /// What [`Log::commit`] last remembered.
    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError>;

    /// Allows records before `first` to be removed. They are never delivered again.
    async fn retain_from(&self, at: &TopicPartition, first: u64) -> Result<(), LogError>;
}

/// Reads on from where it stands; never delivers a record twice.
#[async_trait]
pub trait LogReader: Send {
    /// Up to about `max_records` records and `max_bytes` bytes (at least one record
    /// if there is one). Waits up to `wait` for the first; an empty answer means
    /// none came. Records of one partition come in offset order.
    async fn next(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        wait: Duration,
    ) -> Result<Vec<StoredRecord>, LogError>;
}

/// The partition a key belongs to: FNV-1a (64 bit) modulo `partitions`.
///
/// Ours rather than a client library's, so that a case lies in the same
/// partition whichever log carries it.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    u32::try_from(hash % u64::from(partitions.max(1))).unwrap_or(0)
}
