//! The log on Apache Kafka.
//!
//! A record is durable when every replica in sync has it (`acks=all`, idempotence
//! on, so that a retry inside the client neither repeats nor reorders). We choose
//! the partition and the append stamp ourselves; topics are made with the number of
//! partitions of the deployment and never grown, since a case would then move.
//!
//! Positions are offsets committed for a group that no consumer joins. A broker
//! forgets those of a group unheard of for `offsets.retention.minutes` (a week by
//! default); the lake, not the broker, knows how far the work has come.

mod config;
mod error;
mod reader;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahual_schemas::log::{Bounds, MAX_RECORD_BYTES, TopicKind, partition_of};
use ahual_schemas::{Log, LogError, LogReader, NewRecord, TopicPartition};
use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

pub use config::{KafkaConfig, KafkaSasl, KafkaSecurity, KafkaTls, SaslMechanism};

use super::embedded::Clock;
use super::rules;
use error::{broken, told, unknown};
use reader::KafkaReader;

/// Largest batch a topic takes: one record of [`MAX_RECORD_BYTES`] and its framing.
const MESSAGE_MAX_BYTES: usize = MAX_RECORD_BYTES + MAX_RECORD_BYTES / 2;

/// A [`Log`] on Apache Kafka.
pub struct KafkaLog {
    inner: Arc<Inner>,
    admin: AdminClient<Telling>,
    clock: Clock,
    /// Stamp of the newest append. Held while a call's records are queued, so that
    /// the order of stamps is the order of records.
    queueing: tokio::sync::Mutex<i64>,
    groups: Mutex<HashMap<String, Arc<BaseConsumer<Telling>>>>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("brokers", &self.inner.config.brokers).finish_non_exhaustive()
    }
}

struct Inner {
    config: KafkaConfig,
    partitions: u32,
    timeout: Duration,
    producer: FutureProducer<Telling>,
    /// Topics seen to exist, by our name, with their number of partitions.
    known: Mutex<BTreeMap<String, usize>>,
}

/// Passes what librdkafka says on to our log.
#[derive(Debug, Clone)]
struct Telling;

impl ClientContext for Telling {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as L;
        match level {
            L::Emerg | L::Alert | L::Critical | L::Error => {
                tracing::error!(target: "librdkafka", facility, "{message}")
            }
            L::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            L::Notice | L::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
            L::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Telling {}

impl KafkaLog {
    /// Connects, and asks the brokers for their topics so that a wrong address is
    /// told now.
    pub async fn connect(config: KafkaConfig, partitions: u32) -> Result<Self, LogError> {
        Self::connect_with_clock(config, partitions, Arc::new(rules::now_ms)).await
    }

    /// As [`KafkaLog::connect`], with append stamps taken from `clock`. A clock that
    /// goes back does not take the stamps of this process back with it.
    pub async fn connect_with_clock(config: KafkaConfig, partitions: u32, clock: Clock) -> Result<Self, LogError> {
        rules::check_partitions(partitions)?;
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(broken(problem));
        }
        let timeout = Duration::from_secs(config.timeout_seconds.into());
        let producer = config.producer()?.create_with_context(Telling).map_err(|e| told("connect", "", e))?;
        let admin = config.producer()?.create_with_context(Telling).map_err(|e| told("connect", "", e))?;
        let inner = Arc::new(Inner { config, partitions, timeout, producer, known: Mutex::default() });
        inner.clone().blocking("connect", |inner| inner.look()).await?;
        Ok(Self { inner, admin, clock, queueing: tokio::sync::Mutex::new(i64::MIN), groups: Mutex::default() })
    }

    /// Waits until every partition of a topic is led by a broker that knows it leads.
    /// Brokers list a new topic a moment before they serve it.
    async fn settle(&self, topic: &str) -> Result<(), LogError> {
        let deadline = Instant::now() + self.inner.timeout;
        loop {
            let asked = topic.to_owned();
            if self.inner.clone().blocking("create a topic", move |inner| inner.serves(&asked)).await? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LogError::Unavailable {
                    doing: "create a topic",
                    source: format!("{topic} has partitions without a leader").into(),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn group(&self, group: &str) -> Result<Arc<BaseConsumer<Telling>>, LogError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consumer) = groups.get(group) {
            return Ok(consumer.clone());
        }
        let name = format!("{}{group}", self.inner.config.topic_prefix);
        let consumer: BaseConsumer<Telling> = self
            .inner
            .config
            .consumer(&name)?
            .create_with_context(Telling)
            .map_err(|e| told("commit a position", group, e))?;
        let consumer = Arc::new(consumer);
        groups.insert(group.to_owned(), consumer.clone());
        Ok(consumer)
    }
}

/// What the brokers say of a topic.
struct Seen {
    partitions: usize,
    led: usize,
}

impl Inner {
    fn wire(&self, topic: &str) -> String {
        format!("{}{topic}", self.config.topic_prefix)
    }

    /// Runs a call of librdkafka that blocks.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        doing: &'static str,
        call: impl FnOnce(&Self) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        tokio::task::spawn_blocking(move || call(&self))
            .await
            .map_err(|lost| LogError::Unavailable { doing, source: Box::new(lost) })?
    }

    /// Asks the brokers which topics of ours there are. Never makes one, whatever the
    /// brokers' setting: only asking for a topic by name may do that.
    fn look(&self) -> Result<BTreeMap<String, Seen>, LogError> {
        let metadata = self
            .producer
            .client()
            .fetch_metadata(None, self.timeout)
            .map_err(|e| told("ask the brokers for their topics", "", e))?;
        let mut seen = BTreeMap::new();
        for topic in metadata.topics() {
            let Some(name) = topic.name().strip_prefix(self.config.topic_prefix.as_str()) else { continue };
            // Kafka's own topics.
            if topic.name().starts_with("__") || topic.error().is_some() {
                continue;
            }
            let led = topic.partitions().iter().filter(|p| p.leader() >= 0).count();
            seen.insert(name.to_owned(), Seen { partitions: topic.partitions().len(), led });
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = seen.iter().map(|(name, seen)| (name.clone(), seen.partitions)).collect();
        Ok(seen)
    }

    /// Whether every partition of the topic answers.
    fn serves(&self, topic: &str) -> Result<bool, LogError> {
        if self.look()?.get(topic).is_none_or(|seen| seen.led < seen.partitions) {
            return Ok(false);
        }
        for partition in 0..self.partitions {
            match self.watermarks(&TopicPartition { topic: topic.to_owned(), partition }) {
                Ok(_) => {}
                Err(KafkaError::MetadataFetch(
                    RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownPartition,
                )) => return Ok(false),
                Err(error) => return Err(told("create a topic", topic, error)),
            }
        }
        Ok(true)
    }

    fn known(&self, topic: &str) -> Option<usize> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// Refuses topics that do not exist or have another number of partitions.
    fn check(&self, topic: &str) -> Result<(), LogError> {
        let found = match self.known(topic) {
            Some(found) => found,
            None => self.look()?.get(topic).map(|seen| seen.partitions).ok_or_else(|| unknown(topic))?,
        };
        if found != self.partitions as usize {
            return Err(broken(format!(
                "topic {topic} has {found} partitions on the brokers and the configuration says {}; the number is \
                 fixed once per deployment, set it back to {found}",
                self.partitions
            )));
        }
        Ok(())
    }

    fn check_at(&self, at: &TopicPartition) -> Result<(), LogError> {
        self.check(&at.topic)?;
        rules::check_partition(at, self.partitions)
    }

    fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        let (low, high) = self.watermarks(at).map_err(|e| told("ask for the bounds of a partition", &at.topic, e))?;
        Ok(Bounds { first: u64::try_from(low).unwrap_or(0), next: u64::try_from(high).unwrap_or(0) })
    }

    fn watermarks(&self, at: &TopicPartition) -> Result<(i64, i64), KafkaError> {
        let client = self.producer.client();
        client.fetch_watermarks(&self.wire(&at.topic), wire_partition(at.partition), self.timeout)
    }

    fn list(&self, at: &TopicPartition, offset: u64) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.wire(&at.topic), wire_partition(at.partition), wire_offset(offset))
            .map_err(|e| told("name an offset", &at.topic, e))?;
        Ok(list)
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn partitions(&self) -> u32 {
        self.inner.partitions
    }

    async fn create_topic(&self, topic: &str, kind: TopicKind) -> Result<(), LogError> {
        let name = self.inner.wire(topic);
        rules::check_topic(&name)?;
        let asked = topic.to_owned();
        let there = self
            .inner
            .clone()
            .blocking("create a topic", move |inner| match inner.look()?.contains_key(&asked) {
                true => inner.check(&asked).map(|()| true),
                false => Ok(false),
            })
            .await?;
        if !there {
            let config = &self.inner.config;
            let retention = config.retention_hours.map_or(-1, |hours| i64::from(hours) * 3_600_000).to_string();
            let (largest, insync) = (MESSAGE_MAX_BYTES.to_string(), config.min_insync().to_string());
            let policy = match kind {
                TopicKind::Stream => "delete",
                // With `compact` alone the broker refuses to remove records on request.
                TopicKind::Compacted => "compact,delete",
            };
            let copies = TopicReplication::Fixed(i32::from(config.replication_factor));
            let new = NewTopic::new(&name, wire_partition(self.inner.partitions), copies)
                .set("cleanup.policy", policy)
                .set("max.message.bytes", &largest)
                .set("message.timestamp.type", "CreateTime")
                .set("min.insync.replicas", &insync)
                .set("retention.bytes", "-1")
                .set("retention.ms", &retention);
            let options = self.options().operation_timeout(Some(self.inner.timeout));
            let made =
                self.admin.create_topics([&new], &options).await.map_err(|e| told("create a topic", topic, e))?;
            for answer in made {
                match answer {
                    Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                    Err((_, code)) => return Err(told("create a topic", topic, KafkaError::AdminOp(code))),
                }
            }
        }
        self.settle(topic).await?;
        let topic = topic.to_owned();
        self.inner.clone().blocking("create a topic", move |inner| inner.check(&topic)).await
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        let seen = self.inner.clone().blocking("list topics", |inner| inner.look()).await?;
        Ok(seen.into_keys().collect())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<(), LogError> {
        if self.inner.known(topic) != Some(self.inner.partitions as usize) {
            let topic = topic.to_owned();
            self.inner.clone().blocking("append", move |inner| inner.check(&topic)).await?;
        }
        rules::check_records(topic, &records)?;
        let name = self.inner.wire(topic);
        let mut waiting: VecDeque<DeliveryFuture> = VecDeque::with_capacity(records.len());
        {
            let mut newest = self.queueing.lock().await;
            *newest = (*newest).max((self.clock)());
            let stamp = *newest;
            for record in &records {
                let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
                for (key, value) in &record.headers {
                    headers = headers.insert(Header { key, value: Some(value.as_ref()) });
                }
                let mut queued = FutureRecord::to(&name)
                    .partition(wire_partition(partition_of(&record.key, self.inner.partitions)))
                    .timestamp(stamp)
                    .key(record.key.as_ref())
                    .payload(record.payload.as_ref())
                    .headers(headers);
                loop {
                    match self.inner.producer.send_result(queued) {
                        Ok(delivery) => break waiting.push_back(delivery),
                        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                            queued = back;
                            match waiting.pop_front() {
                                Some(oldest) => delivered(topic, oldest).await?,
                                // The queue is full of what other calls sent.
                                None => tokio::time::sleep(Duration::from_millis(5)).await,
                            }
                        }
                        Err((error, _)) => return Err(told("append", topic, error)),
                    }
                }
            }
        }
        for delivery in waiting {
            delivered(topic, delivery).await?;
        }
        Ok(())
    }

    async fn reader(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError> {
        rules::check_once(&from)?;
        let opened = self.inner.clone().blocking("read", |inner| {
            for (at, position) in &from {
                inner.check_at(at)?;
                reader::check_position(at, *position, inner.bounds(at)?)?;
            }
            Ok(from)
        });
        let from = opened.await?;
        let inner = self.inner.clone();
        let reader = self.inner.clone().blocking("read", move |_| KafkaReader::open(inner, from)).await?;
        Ok(Box::new(reader))
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        let at = at.clone();
        let ask = move |inner: &Inner| {
            inner.check_at(&at)?;
            inner.bounds(&at)
        };
        self.inner.clone().blocking("ask for the bounds of a partition", ask).await
    }

    async fn first_since(&self, at: &TopicPartition, appended_at_ms: i64) -> Result<u64, LogError> {
        let (consumer, at) = (self.group("reader")?, at.clone());
        let look = move |inner: &Inner| {
            inner.check_at(&at)?;
            let told = |e| told("find a moment", &at.topic, e);
            // Where an offset is wanted, the question carries the stamp.
            let mut stamps = TopicPartitionList::with_capacity(1);
            let stamp = Offset::Offset(appended_at_ms.max(0));
            stamps.add_partition_offset(&inner.wire(&at.topic), wire_partition(at.partition), stamp).map_err(told)?;
            let found = consumer.offsets_for_times(stamps, inner.timeout).map_err(told)?;
            let elements = found.elements();
            let element = elements.first().ok_or_else(|| broken("the broker told no offset of a moment".to_owned()))?;
            element.error().map_err(told)?;
            match element.offset() {
                Offset::Offset(offset) => Ok(u64::try_from(offset).unwrap_or(0)),
                _ => Ok(inner.bounds(&at)?.next),
            }
        };
        self.inner.clone().blocking("find a moment", look).await
    }

    async fn commit(&self, group: &str, at: &TopicPartition, next_offset: u64) -> Result<(), LogError> {
        let (consumer, at) = (self.group(group)?, at.clone());
        let commit = move |inner: &Inner| {
            inner.check_at(&at)?;
            consumer
                .commit(&inner.list(&at, next_offset)?, CommitMode::Sync)
                .map_err(|e| told("commit a position", &at.topic, e))
        };
        self.inner.clone().blocking("commit a position", commit).await
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        let (consumer, at) = (self.group(group)?, at.clone());
        let look = move |inner: &Inner| {
            inner.check_at(&at)?;
            let found = consumer
                .committed_offsets(inner.list(&at, 0)?, inner.timeout)
                .map_err(|e| told("read a position", &at.topic, e))?;
            let elements = found.elements();
            let Some(element) = elements.first() else { return Ok(None) };
            element.error().map_err(|e| told("read a position", &at.topic, e))?;
            Ok(match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).ok(),
                _ => None,
            })
        };
        self.inner.clone().blocking("read a position", look).await
    }

    async fn retain_from(&self, at: &TopicPartition, first: u64) -> Result<(), LogError> {
        let bounds = self.bounds(at).await?;
        let first = first.min(bounds.next);
        if first <= bounds.first {
            return Ok(());
        }
        let list = self.inner.list(at, first)?;
        let failed = |e| told("remove old records", &at.topic, e);
        let done = self.admin.delete_records(&list, &self.options()).await.map_err(failed)?;
        for element in done.elements() {
            element.error().map_err(failed)?;
        }
        Ok(())
    }
}

impl KafkaLog {
    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.inner.timeout))
    }
}

async fn delivered(topic: &str, delivery: DeliveryFuture) -> Result<(), LogError> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(told("append", topic, error)),
        Err(_) => Err(told("append", topic, KafkaError::Canceled)),
    }
}

// Both fit: `check_partitions` keeps partitions within i32, and Kafka's offsets are i64.
fn wire_partition(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn wire_offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}
