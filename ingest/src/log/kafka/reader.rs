//! Reads topics from given offsets, as a consumer that joins no group.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahual_schemas::log::Bounds;
use ahual_schemas::{LogError, LogReader, StoredRecord, TopicPartition};
use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};

use super::{Inner, Telling, broken, told, wire_offset, wire_partition};

/// Reader of the log on Kafka.
pub(super) struct KafkaReader {
    state: Arc<Mutex<State>>,
}

struct State {
    inner: Arc<Inner>,
    consumer: BaseConsumer<Telling>,
    /// Next offset to take from the client, by partition.
    positions: HashMap<TopicPartition, u64>,
    /// Taken from the client and not yet delivered: what a caller that gave up left.
    pending: VecDeque<StoredRecord>,
    /// Met by the client and not yet told.
    error: Option<LogError>,
    /// Whether the client stopped reading a partition because its offset is gone. It
    /// says so once; we say so until someone opens another reader.
    lost: bool,
}

impl KafkaReader {
    /// Blocks.
    pub(super) fn open(inner: Arc<Inner>, from: Vec<(TopicPartition, u64)>) -> Result<Self, LogError> {
        // A group id is asked for even of a consumer that joins none and commits nothing.
        let group = format!("{}reader", inner.config.topic_prefix);
        let consumer: BaseConsumer<Telling> =
            inner.config.consumer(&group)?.create_with_context(Telling).map_err(|e| told("read", "", e))?;
        let mut list = TopicPartitionList::with_capacity(from.len());
        for (at, position) in &from {
            list.add_partition_offset(&inner.wire(&at.topic), wire_partition(at.partition), wire_offset(*position))
                .map_err(|e| told("read", &at.topic, e))?;
        }
        consumer.assign(&list).map_err(|e| told("read", "", e))?;
        let positions = from.into_iter().collect();
        let state = State { inner, consumer, positions, pending: VecDeque::new(), error: None, lost: false };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }
}

#[async_trait]
impl LogReader for KafkaReader {
    async fn next(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        wait: Duration,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(told) = state.fill(max_records.max(1), max_bytes, wait) {
                state.error = Some(told);
            }
        })
        .await
        .map_err(|lost| LogError::Unavailable { doing: "read", source: Box::new(lost) })?;
        // Records and errors leave the state only here, after the last await: a caller
        // that gives up earlier finds them there next time.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pending.is_empty()
            && let Some(told) = state.error.take()
        {
            return Err(told);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(record) = state.pending.front() {
            bytes += size(record);
            if !records.is_empty() && (records.len() >= max_records || bytes > max_bytes) {
                break;
            }
            records.extend(state.pending.pop_front());
        }
        Ok(records)
    }
}

impl State {
    /// Polls until there is enough, or nothing more at hand, or `wait` is over.
    fn fill(&mut self, max_records: usize, max_bytes: usize, wait: Duration) -> Result<(), LogError> {
        if self.error.is_some() {
            return Ok(());
        }
        if self.lost && self.pending.is_empty() {
            return Err(self.out_of_range());
        }
        let deadline = Instant::now().checked_add(wait);
        let mut bytes: usize = self.pending.iter().map(size).sum();
        while self.pending.len() < max_records && (bytes < max_bytes || self.pending.is_empty()) {
            let patience = if self.pending.is_empty() {
                deadline.map(|d| d.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            match self.consumer.poll(patience) {
                Some(Ok(message)) => {
                    let Some(record) = taken(&self.inner, &message)? else { continue };
                    let Some(position) = self.positions.get_mut(&record.at) else { continue };
                    if record.offset < *position {
                        continue;
                    }
                    *position = record.offset + 1;
                    bytes += size(&record);
                    self.pending.push_back(record);
                }
                Some(Err(error)) => {
                    let code = error.rdkafka_error_code();
                    match code {
                        // The client dials again by itself; only all brokers gone is news.
                        Some(
                            RDKafkaErrorCode::BrokerTransportFailure
                            | RDKafkaErrorCode::OperationTimedOut
                            | RDKafkaErrorCode::Resolve,
                        ) => {}
                        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                            self.lost = true;
                            return Err(self.out_of_range());
                        }
                        _ => return Err(told("read", "", error)),
                    }
                }
                None => {
                    let over = deadline.is_some_and(|d| Instant::now() >= d);
                    if over || !self.pending.is_empty() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Which partition a refused offset belongs to; the client does not say.
    fn out_of_range(&self) -> LogError {
        for (at, position) in &self.positions {
            let checked = self.inner.bounds(at).and_then(|bounds| check_position(at, *position, bounds));
            if let Err(told) = checked {
                return told;
            }
        }
        told("read", "", KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetOutOfRange))
    }
}

/// Refuses to start where retention has been, and where nothing was ever appended.
pub(super) fn check_position(at: &TopicPartition, asked: u64, bounds: Bounds) -> Result<(), LogError> {
    if asked < bounds.first {
        return Err(LogError::FellBehind {
            topic: at.topic.clone(),
            partition: at.partition,
            asked,
            first: bounds.first,
        });
    }
    if asked > bounds.next {
        return Err(broken(format!(
            "{}/{} ends at offset {}, and a reader asks for {asked}: the log is not the one this position was taken \
             from",
            at.topic, at.partition, bounds.next
        )));
    }
    Ok(())
}

/// The record in `message`; none where the topic is not ours.
fn taken(inner: &Inner, message: &impl Message) -> Result<Option<StoredRecord>, LogError> {
    let Some(topic) = message.topic().strip_prefix(inner.config.topic_prefix.as_str()) else { return Ok(None) };
    let (Ok(partition), Ok(offset)) = (u32::try_from(message.partition()), u64::try_from(message.offset())) else {
        return Ok(None);
    };
    let appended_at_ms = message
        .timestamp()
        .to_millis()
        .ok_or_else(|| broken(format!("{topic}/{partition} offset {offset} has no append stamp")))?;
    let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice).unwrap_or_default();
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), copy(header.value))).collect()
    });
    Ok(Some(StoredRecord {
        at: TopicPartition { topic: topic.to_owned(), partition },
        offset,
        appended_at_ms,
        key: copy(message.key()),
        headers,
        payload: copy(message.payload()),
    }))
}

fn size(record: &StoredRecord) -> usize {
    record.key.len() + record.payload.len() + record.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
}
