//! The feed on a compacted topic of the log, for readers that live on Kafka.
//!
//! # Law
//!
//! - One record per feed entry: key [`FeedEntry::key`], value the entry as JSON, headers in
//!   CloudEvents names, `ce_id` the entry's position.
//! - Delivery is at least once, in feed order per key. A crash repeats at most one page.
//!   An entry carries the full totals of its cell, so applying it twice changes nothing, and
//!   compaction may drop all but the newest of a key.
//! - A reader that must not go back, even for a moment, ignores an entry whose position is
//!   not after the last one it applied for that key.
//!
//! # Where it resumes
//!
//! No position is stored beside the topic, for it could disagree with it. Each record
//! carries `ce_after`, the position its page was read after. A page is appended only once
//! the page before it is durable: everything up to any `ce_after` found is on the topic.
//! Reading on from the highest one at the ends of the partitions leaves nothing out.

use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::log::{Advice, Log, LogError, NewRecord, StoredRecord, TopicKind, TopicPartition};
use ahual_schemas::record::{JSON, header};
use ahual_transform::reading::{ReadError, Reading};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{SinkError, chain};

/// Topic the feed is published to.
pub const FIGURES: &str = "figures";

/// `ce_type` of a feed entry.
pub const FIGURE_TYPE: &str = "ahual.figure.v1";

/// Header: the position the page of this entry was read after; `0-0` for the first.
pub const AFTER: &str = "ce_after";

const SINK: &str = "sinks.feed_topic";
const BEGINNING: FeedPosition = FeedPosition { version: 0, ordinal: 0 };

/// Records looked back over for the newest of a partition: logs may leave gaps.
const TAIL: u64 = 64;

/// `[sinks.feed_topic]`: the feed on a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedTopicConfig {
    /// Topic; made compacted when it does not exist.
    pub topic: String,
    /// Entries appended at once, and repeated at most after a crash.
    pub page: usize,
}

impl Default for FeedTopicConfig {
    fn default() -> Self {
        Self { topic: FIGURES.to_owned(), page: 1_000 }
    }
}

impl FeedTopicConfig {
    /// What cannot work, each text naming the key and what to change. No I/O.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.topic.is_empty() {
            faults.push(format!("{SINK}.topic: it is empty; name a topic such as {FIGURES}"));
        }
        if self.page == 0 {
            faults.push(format!("{SINK}.page: 0 would publish nothing; give at least 1"));
        }
        faults
    }
}

/// Finds where publishing stands and goes on from there until `stop`. The task ends with an
/// error when nobody but a person can help.
pub async fn publish(
    config: FeedTopicConfig,
    reading: Arc<dyn Reading>,
    log: Arc<dyn Log>,
    stop: CancellationToken,
) -> Result<JoinHandle<Result<(), SinkError>>, SinkError> {
    let faults = config.validate();
    if !faults.is_empty() {
        return Err(SinkError::Config { sink: SINK, faults });
    }
    let failed = |source| SinkError::Log { topic: config.topic.clone(), source };
    log.create_topic(&config.topic, TopicKind::Compacted).await.map_err(failed)?;
    let after = resume(log.as_ref(), &config.topic).await.map_err(failed)?;
    tracing::info!(topic = config.topic, after = %after.unwrap_or(BEGINNING), "publishing the feed");
    let publisher = Publisher { config, reading, log, after };
    Ok(tokio::spawn(publisher.run(stop)))
}

/// The position to read on from: nothing when the topic is empty.
async fn resume(log: &dyn Log, topic: &str) -> Result<Option<FeedPosition>, LogError> {
    let mut newest: Option<FeedPosition> = None;
    for partition in 0..log.partitions() {
        let at = TopicPartition { topic: topic.to_owned(), partition };
        let bounds = log.bounds(&at).await?;
        let mut next = bounds.next.saturating_sub(TAIL).max(bounds.first);
        if next >= bounds.next {
            continue;
        }
        let mut reader = log.reader(vec![(at, next)]).await?;
        while next < bounds.next {
            let records = reader.next(usize::try_from(TAIL).unwrap_or(64), 1 << 20, Duration::from_secs(2)).await?;
            // Only gaps are left.
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            for record in &records {
                newest = newest.max(Some(after(record)?));
            }
        }
    }
    Ok(newest.filter(|after| *after != BEGINNING))
}

fn after(record: &StoredRecord) -> Result<FeedPosition, LogError> {
    record.header(AFTER).and_then(|text| text.parse().ok()).ok_or_else(|| LogError::Broken {
        what: format!(
            "{}/{} offset {} is no feed entry of ours: its {AFTER} is missing; publish to a topic of its own",
            record.at.topic, record.at.partition, record.offset
        ),
        source: None,
    })
}

struct Publisher {
    config: FeedTopicConfig,
    reading: Arc<dyn Reading>,
    log: Arc<dyn Log>,
    after: Option<FeedPosition>,
}

impl Publisher {
    async fn run(mut self, stop: CancellationToken) -> Result<(), SinkError> {
        let mut head = self.reading.feed_head();
        loop {
            // Taken before the page is read: what is published in between wakes us.
            head.borrow_and_update();
            // A page is not broken off: it would only be repeated.
            let wait = match self.page().await {
                Ok(true) => {
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(false) => None,
                Err(error) => match error.advice() {
                    Advice::RetryAfter(wait) => {
                        tracing::warn!(error = %chain(&error), "publishing the feed waits");
                        Some(wait)
                    }
                    Advice::SetAside | Advice::Stop => return Err(error),
                },
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                changed = head.changed(), if wait.is_none() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Publishes the next page; says whether there was one.
    async fn page(&mut self) -> Result<bool, SinkError> {
        let page = match self.reading.feed_after(self.after, self.config.page).await {
            Ok(page) => page,
            Err(ReadError::NotPublished) => return Ok(false),
            Err(error) => return Err(SinkError::Feed(error)),
        };
        let Some(last) = page.entries.last().map(|entry| entry.position) else { return Ok(false) };
        let after = self.after.unwrap_or(BEGINNING);
        let records = page.entries.iter().map(|entry| record(entry, after)).collect::<Result<Vec<_>, _>>();
        let records = records.map_err(|source| SinkError::Serve { sink: SINK, source: Box::new(source) })?;
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.log
            .append(&self.config.topic, records)
            .await
            .map_err(|source| SinkError::Log { topic: self.config.topic.clone(), source })?;
        metrics::counter!("ahual_feed_topic_entries_total").increment(count);
        self.after = Some(last);
        Ok(true)
    }
}

fn record(entry: &FeedEntry, after: FeedPosition) -> Result<NewRecord, serde_json::Error> {
    let text = |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    Ok(NewRecord {
        key: Bytes::from(entry.key()),
        headers: vec![
            text(header::SPECVERSION, "1.0"),
            text(header::ID, &entry.position.to_string()),
            text(header::SOURCE, &entry.source),
            text(header::TYPE, FIGURE_TYPE),
            text(header::SUBJECT, &entry.metric),
            text(AFTER, &after.to_string()),
            text(header::CONTENT_TYPE, JSON),
        ],
        payload: Bytes::from(serde_json::to_vec(entry)?),
    })
}
