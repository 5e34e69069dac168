//! The feed on a topic, over a log in memory that can fail half-way.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahual_schemas::feed::FeedEntry;
use ahual_schemas::log::{
    Bounds, Log, LogError, LogReader, NewRecord, StoredRecord, TopicKind, TopicPartition, partition_of,
};
use ahual_sinks::SinkError;
use ahual_sinks::feed_topic::{FeedTopicConfig, publish};
use async_trait::async_trait;
use bytes::Bytes;
use fake::Fake;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 3;

#[derive(Default)]
struct Memory {
    records: Mutex<BTreeMap<u32, Vec<StoredRecord>>>,
    created: Mutex<Vec<(String, TopicKind)>>,
    /// Appends that stop after so many records, with advice to stop.
    breaks_after: Mutex<Option<usize>>,
    /// Appends that fail once, having written everything.
    doubtful: Mutex<bool>,
    appended: Notify,
}

impl Memory {
    fn entries(&self) -> Vec<FeedEntry> {
        let records = self.records.lock().unwrap();
        records.values().flatten().map(|record| serde_json::from_slice(&record.payload).unwrap()).collect()
    }

    /// What a reader of the compacted topic ends up with.
    fn newest_by_key(&self) -> BTreeMap<Bytes, FeedEntry> {
        let records = self.records.lock().unwrap();
        let read = |record: &StoredRecord| serde_json::from_slice(&record.payload).unwrap();
        records.values().flatten().map(|record| (record.key.clone(), read(record))).collect()
    }

    async fn until(&self, count: usize) {
        let enough = async {
            loop {
                let notified = self.appended.notified();
                if self.entries().len() >= count {
                    return;
                }
                notified.await;
            }
        };
        timeout(PATIENCE, enough).await.expect("too few entries were published");
    }
}

#[async_trait]
impl Log for Memory {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    async fn create_topic(&self, topic: &str, kind: TopicKind) -> Result<(), LogError> {
        self.created.lock().unwrap().push((topic.to_owned(), kind));
        Ok(())
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        Ok(vec!["figures".into()])
    }

    async fn append(&self, topic: &str, new: Vec<NewRecord>) -> Result<(), LogError> {
        let breaks_after = self.breaks_after.lock().unwrap().take();
        let mut partitions = self.records.lock().unwrap();
        for (index, record) in new.into_iter().enumerate() {
            if breaks_after == Some(index) {
                return Err(LogError::Broken { what: "half a page was written".into(), source: None });
            }
            let partition = partition_of(&record.key, PARTITIONS);
            let records = partitions.entry(partition).or_default();
            records.push(StoredRecord {
                at: TopicPartition { topic: topic.to_owned(), partition },
                offset: records.len() as u64,
                appended_at_ms: 0,
                key: record.key,
                headers: record.headers,
                payload: record.payload,
            });
        }
        self.appended.notify_waiters();
        if std::mem::take(&mut *self.doubtful.lock().unwrap()) {
            return Err(LogError::Unavailable { doing: "acknowledge", source: "the line went dead".into() });
        }
        Ok(())
    }

    async fn reader(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError> {
        let partitions = self.records.lock().unwrap();
        let records = from
            .into_iter()
            .flat_map(|(at, offset)| partitions[&at.partition].clone().into_iter().skip(offset as usize))
            .collect();
        Ok(Box::new(Reader(records)))
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        let next = self.records.lock().unwrap().get(&at.partition).map_or(0, Vec::len) as u64;
        Ok(Bounds { first: 0, next })
    }

    async fn commit(&self, _: &str, _: &TopicPartition, _: u64) -> Result<(), LogError> {
        Ok(())
    }

    async fn committed(&self, _: &str, _: &TopicPartition) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    async fn retain_from(&self, _: &TopicPartition, _: u64) -> Result<(), LogError> {
        Ok(())
    }
}

struct Reader(Vec<StoredRecord>);

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, records: usize, _: usize, _: Duration) -> Result<Vec<StoredRecord>, LogError> {
        let take = records.min(self.0.len());
        Ok(self.0.drain(..take).collect())
    }
}

async fn run_until(fake: &Arc<Fake>, log: &Arc<Memory>, count: usize) {
    let stop = CancellationToken::new();
    let task = publish(FeedTopicConfig::default(), fake.clone(), log.clone(), stop.clone()).await.unwrap();
    log.until(count).await;
    stop.cancel();
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

fn positions(log: &Memory) -> Vec<String> {
    let mut all: Vec<_> = log.entries().into_iter().map(|entry| entry.position).collect();
    all.sort();
    all.into_iter().map(|position| position.to_string()).collect()
}

#[tokio::test]
async fn every_entry_is_published_once_and_a_restart_repeats_at_most_a_page() {
    let fake = Fake::new();
    fake.publish(1, 7);
    let log = Arc::new(Memory::default());
    run_until(&fake, &log, 7).await;
    assert_eq!(positions(&log), fake.positions());
    assert_eq!(*log.created.lock().unwrap(), [("figures".to_owned(), TopicKind::Compacted)]);
    fake.publish(2, 4);
    run_until(&fake, &log, 7 + 4 + 1).await;
    let mut published = positions(&log);
    // The fake gives pages of three: the last one of the first run had one entry.
    assert_eq!(published.len(), 7 + 4 + 1);
    published.dedup();
    assert_eq!(published, fake.positions());
}

#[tokio::test]
async fn a_record_says_what_it_is() {
    let fake = Fake::new();
    fake.publish(1, 1);
    let log = Arc::new(Memory::default());
    run_until(&fake, &log, 1).await;
    let records = log.records.lock().unwrap();
    let record = records.values().flatten().next().unwrap();
    let entry: FeedEntry = serde_json::from_slice(&record.payload).unwrap();
    assert_eq!(record.key, entry.key().as_bytes());
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "1-0"),
        ("ce_type", "ahual.figure.v1"),
        ("ce_source", "call-centre"),
        ("ce_after", "0-0"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(record.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_page_half_written_is_published_again_whole() {
    for broken_after in 1..3 {
        let fake = Fake::new();
        fake.publish(1, 3);
        let log = Arc::new(Memory::default());
        run_until(&fake, &log, 3).await;
        fake.publish(2, 3);
        *log.breaks_after.lock().unwrap() = Some(broken_after);
        // The restart repeats the first page; this append is the one that breaks.
        let stop = CancellationToken::new();
        let task = publish(FeedTopicConfig::default(), fake.clone(), log.clone(), stop).await.unwrap();
        let error = timeout(PATIENCE, task).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, SinkError::Log { .. }), "{error}");
        fake.publish(3, 2);
        let written = log.entries().len();
        run_until(&fake, &log, written + 8).await;
        let mut published = positions(&log);
        published.dedup();
        assert_eq!(published, fake.positions());
        for (key, entry) in log.newest_by_key() {
            let last = fake::entry(if entry.body.as_deref() == Some("body-2") { 2 } else { 3 }, entry.position.ordinal);
            assert_eq!(entry.position, last.position, "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_doubtful_append_is_repeated() {
    let fake = Fake::new();
    fake.publish(1, 2);
    let log = Arc::new(Memory::default());
    *log.doubtful.lock().unwrap() = true;
    run_until(&fake, &log, 4).await;
    let mut published = positions(&log);
    published.dedup();
    assert_eq!(published, fake.positions());
}

#[tokio::test]
async fn a_topic_with_other_records_is_refused() {
    let log = Arc::new(Memory::default());
    let stray = NewRecord { key: Bytes::from("k"), headers: Vec::new(), payload: Bytes::from("{}") };
    log.append("figures", vec![stray]).await.unwrap();
    let stop = CancellationToken::new();
    let error = publish(FeedTopicConfig::default(), Fake::new(), log, stop).await.unwrap_err();
    assert!(matches!(error, SinkError::Log { .. }), "{error}");
}
