//! A log in memory: the trait's promises without the disk, and failures on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use ahual_schemas::log::{Bounds, LogReader, MAX_RECORD_BYTES, TopicKind, partition_of};
use ahual_schemas::{Log, LogError, NewRecord, StoredRecord, TopicPartition};
use async_trait::async_trait;

const PARTITIONS: u32 = 4;

/// What the next append does instead of working.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// The log is away; the same call may work later.
    Away,
    /// The log is broken.
    Broken,
}

#[derive(Default)]
pub(crate) struct MemoryLog {
    topics: Mutex<BTreeMap<String, Vec<Vec<StoredRecord>>>>,
    refusals: Mutex<VecDeque<Refusal>>,
    commits: Mutex<BTreeMap<(String, TopicPartition), u64>>,
}

impl MemoryLog {
    pub(crate) fn refuse(&self, refusals: &[Refusal]) {
        self.refusals.lock().unwrap().extend(refusals);
    }

    /// Everything in `topic`, partition by partition.
    pub(crate) fn all(&self, topic: &str) -> Vec<StoredRecord> {
        self.topics.lock().unwrap().get(topic).into_iter().flatten().flatten().cloned().collect()
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    async fn create_topic(&self, topic: &str, _kind: TopicKind) -> Result<(), LogError> {
        let empty = || vec![Vec::new(); PARTITIONS as usize];
        self.topics.lock().unwrap().entry(topic.to_owned()).or_insert_with(empty);
        Ok(())
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        Ok(self.topics.lock().unwrap().keys().cloned().collect())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<(), LogError> {
        match self.refusals.lock().unwrap().pop_front() {
            Some(Refusal::Away) => {
                return Err(LogError::Unavailable { doing: "append", source: "told to be away".into() });
            }
            Some(Refusal::Broken) => {
                return Err(LogError::Broken { what: "told to be broken".to_owned(), source: None });
            }
            None => {}
        }
        if let Some(bytes) = records.iter().map(NewRecord::size).find(|bytes| *bytes > MAX_RECORD_BYTES) {
            return Err(LogError::TooLarge { topic: topic.to_owned(), bytes });
        }
        let mut topics = self.topics.lock().unwrap();
        let held = topics.get_mut(topic).ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
        for record in records {
            let partition = partition_of(&record.key, PARTITIONS);
            let records = &mut held[partition as usize];
            records.push(StoredRecord {
                at: TopicPartition { topic: topic.to_owned(), partition },
                offset: records.len() as u64,
                appended_at_ms: 0,
                key: record.key,
                headers: record.headers,
                payload: record.payload,
            });
        }
        Ok(())
    }

    async fn reader(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError> {
        let topics = self.topics.lock().unwrap();
        let mut records = VecDeque::new();
        for (at, offset) in from {
            let held = topics.get(&at.topic).ok_or_else(|| LogError::UnknownTopic(at.topic.clone()))?;
            records.extend(held[at.partition as usize].iter().filter(|record| record.offset >= offset).cloned());
        }
        Ok(Box::new(Held(records)))
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        let topics = self.topics.lock().unwrap();
        let held = topics.get(&at.topic).ok_or_else(|| LogError::UnknownTopic(at.topic.clone()))?;
        Ok(Bounds { first: 0, next: held[at.partition as usize].len() as u64 })
    }

    async fn commit(&self, group: &str, at: &TopicPartition, next_offset: u64) -> Result<(), LogError> {
        self.commits.lock().unwrap().insert((group.to_owned(), at.clone()), next_offset);
        Ok(())
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        Ok(self.commits.lock().unwrap().get(&(group.to_owned(), at.clone())).copied())
    }

    async fn retain_from(&self, _at: &TopicPartition, _first: u64) -> Result<(), LogError> {
        Ok(())
    }
}

struct Held(VecDeque<StoredRecord>);

#[async_trait]
impl LogReader for Held {
    async fn next(
        &mut self,
        max_records: usize,
        _max_bytes: usize,
        _wait: Duration,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let take = self.0.len().min(max_records.max(1));
        Ok(self.0.drain(..take).collect())
    }
}
