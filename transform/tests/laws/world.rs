//! A small world for the laws: a mapping, random streams of records, a log in memory,
//! and a job on a folder of its own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::event::Event;
use ahual_schemas::log::{Bounds, DEAD_LETTERS, TopicKind, partition_of, raw_topic};
use ahual_schemas::record::{JSON, SetAside};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::{At, Day, Log, LogError, LogReader, NewRecord, RawRecord, StoredRecord, TopicPartition};
use ahual_transform::catalog::{Catalog, Moment};
use ahual_transform::figures::Metrics;
use ahual_transform::index::Index;
use ahual_transform::job::{Job, JobParts};
use ahual_transform::mapping::{ColumnsConfig, DueCompare, Mapping, MappingConfig, TerritoryCode};
use ahual_transform::reference::Reference;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use proptest::prelude::*;
use tokio::sync::watch;

pub(crate) const ZONE: chrono_tz::Tz = chrono_tz::Asia::Almaty;
/// 2026-03-01T00:00:00Z, five in the morning in the zone: streams cross several midnights.
pub(crate) const START_MS: i64 = 1_772_323_200_000;
pub(crate) const MONTH_LATER: At = At((START_MS + 31 * 86_400_000) * 1000);
pub(crate) const YEAR_LATER: At = At((START_MS + 365 * 86_400_000) * 1000);

const SOURCE: &str = "door";
const PARTITIONS: u32 = 3;
const COLUMNS: [&str; 15] = [
    "version",
    "received",
    "assigned",
    "responded",
    "paused",
    "resumed",
    "closed",
    "reopened",
    "photographed",
    "due",
    "body",
    "category",
    "outcome",
    "withdrawn",
    "arrived",
];

pub(crate) fn sealer() -> Sealer {
    Sealer::new("test", b"not a secret")
}

pub(crate) fn reference() -> Arc<Reference> {
    Reference::built_in().unwrap()
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// A stamp among few, twelve hours apart.
pub(crate) fn stamp(nth: i64) -> At {
    At((START_MS + nth * 43_200_000) * 1000)
}

/// A row of `core.events` that says nothing yet.
pub(crate) fn row(record: &str, content: &str, delivery: &str, nth: i64) -> Event {
    Event {
        event_id: format!("{record}/{content}"),
        case_id: "door:1".into(),
        kind: "updated".into(),
        occurred_at: stamp(nth),
        occurred_on: Day(0),
        appended_at: stamp(nth),
        source: SOURCE.into(),
        regime: Some("request_109".into()),
        record_id: record.into(),
        content_id: content.into(),
        delivery_id: delivery.into(),
        occurrence: 1,
        topic: raw_topic(SOURCE),
        offset: nth,
        ..Event::default()
    }
}

/// What a record says; times are hours after the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) id: u8,
    pub(crate) case: u8,
    pub(crate) version: Option<i64>,
    pub(crate) received: Option<i64>,
    pub(crate) closed: Option<i64>,
    pub(crate) outcome: Option<&'static str>,
    /// Column → hours, for the rest.
    pub(crate) hours: BTreeMap<&'static str, i64>,
    /// Column → word.
    pub(crate) words: BTreeMap<&'static str, String>,
    /// A time that nobody can read.
    pub(crate) poison: bool,
}

impl Said {
    fn payload(&self) -> String {
        let mut json = serde_json::Map::new();
        let mut put = |name: &str, value: String| json.insert(name.to_owned(), value.into());
        put("id", self.id.to_string());
        let hours = [("received", self.received), ("closed", self.closed)];
        for (name, at) in hours.into_iter().filter_map(|(n, at)| at.map(|at| (n, at))).chain(self.hours.clone()) {
            let at = chrono::DateTime::from_timestamp_millis(START_MS + at * 3_600_000).unwrap();
            put(name, at.to_rfc3339());
        }
        if self.poison {
            put("assigned", "the day before yesterday".to_owned());
        }
        if let Some(version) = self.version {
            put("version", version.to_string());
        }
        if let Some(outcome) = self.outcome {
            put("outcome", outcome.to_owned());
        }
        for (name, word) in &self.words {
            put(name, word.clone());
        }
        serde_json::Value::Object(json).to_string()
    }
}

/// Kind, column of its time, and what else it says.
fn mapping_sql() -> String {
    let kinds = [
        ("received", "received", "body, category"),
        ("assigned", "assigned", "body, NULL"),
        ("first_response", "responded", "NULL, NULL"),
        ("paused", "paused", "NULL, NULL"),
        ("resumed", "resumed", "NULL, NULL"),
        ("closed", "closed", "NULL, NULL"),
        ("reopened", "reopened", "NULL, NULL"),
        ("withdrawn", "withdrawn", "NULL, NULL"),
        ("photographed", "photographed", "NULL, category"),
    ];
    let mut parts: Vec<String> = kinds
        .iter()
        .map(|(kind, time, rest)| {
            let outcome = if *kind == "closed" { "outcome" } else { "NULL" };
            format!(
                "SELECT _record, '{kind}' AS kind, parse_when({time}, 'UTC') AS occurred_at, \
                 TRY_CAST(version AS BIGINT) AS version, {outcome} AS outcome, {rest}, NULL AS due_at, \
                 NULL AS part_id, NULL AS status FROM raw"
            )
        })
        .collect();
    // Only the first SELECT of a union names the columns.
    parts[0] = parts[0].replace("body, category,", "body AS body, category AS category,");
    parts.push(
        "SELECT _record, 'deadline_set', parse_when(received, 'UTC'), TRY_CAST(version AS BIGINT), NULL, NULL, NULL, \
         parse_when(due, 'UTC'), NULL, NULL FROM raw WHERE due IS NOT NULL"
            .to_owned(),
    );
    parts.push(
        "SELECT _record, 'stage', parse_when(arrived, 'UTC'), TRY_CAST(version AS BIGINT), NULL, body, NULL, NULL, \
         coalesce(body, 'unit'), 'on_scene' FROM raw"
            .to_owned(),
    );
    parts.join(" UNION ALL ")
}

async fn mapping() -> Mapping {
    let config = MappingConfig {
        sql: "door.sql".into(),
        regime: ahual_schemas::Regime::Request109,
        time_zone: ZONE,
        due_compare: DueCompare::Instant,
        territory: TerritoryCode::Own,
        columns: ColumnsConfig::Names(COLUMNS.map(str::to_owned).to_vec()),
        rename: BTreeMap::new(),
    };
    Mapping::new(SOURCE, &config, "door.sql".into(), mapping_sql(), &sealer(), &reference()).await.unwrap()
}

fn said() -> impl Strategy<Value = Said> {
    let hour = || proptest::option::weighted(0.4, 0..48_i64);
    (
        (0..10_u8, proptest::option::of(0..3_i64), proptest::bool::weighted(0.06)),
        (proptest::option::weighted(0.8, 0..6_i64), proptest::option::weighted(0.5, 5..60_i64)),
        proptest::collection::btree_map(
            proptest::sample::select(vec![
                "assigned",
                "responded",
                "paused",
                "resumed",
                "reopened",
                "photographed",
                "due",
                "arrived",
            ]),
            0..48_i64,
            0..5,
        ),
        proptest::option::weighted(0.08, 0..48_i64),
        (hour(), 0..3_u8, 0..2_u8, proptest::sample::select(vec!["resolved", "rejected", "enquiry"])),
    )
        .prop_map(
            |((id, version, poison), (received, closed), mut hours, withdrawn, (_, body, category, outcome))| {
                hours.extend(withdrawn.map(|at| ("withdrawn", at)));
                let mut words = BTreeMap::new();
                if body > 0 {
                    words.insert("body", format!("body {body}"));
                }
                if category > 0 {
                    words.insert("category", "roads".to_owned());
                }
                // A record belongs to one case for ever; a case has several records.
                Said {
                    id,
                    case: id % 6,
                    version,
                    received,
                    closed,
                    outcome: closed.map(|_| outcome),
                    hours,
                    words,
                    poison,
                }
            },
        )
}

/// How a record comes to be in the log.
#[derive(Debug, Clone)]
enum Comes {
    /// Something new, or a correction.
    New(Said),
    /// The same again, found in another place.
    Again(prop::sample::Index),
    /// The same again from the same place: a pull said twice.
    Twice(prop::sample::Index),
    /// Something the door could not take.
    Refused,
}

/// Records as the log holds them.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) records: Vec<StoredRecord>,
    photographed: bool,
}

impl Stream {
    /// These contents, each delivered once, in this order.
    pub(crate) fn of(said: Vec<Said>) -> Self {
        Self::build(said.into_iter().map(|s| (Comes::New(s), 1)).collect())
    }

    fn build(comes: Vec<(Comes, i64)>) -> Self {
        let sealer = sealer();
        let mut known: Vec<(Said, String)> = Vec::new();
        let mut records = Vec::new();
        let mut now = START_MS;
        for (nth, (comes, hours)) in comes.into_iter().enumerate() {
            now += hours * 3_600_000;
            let (said, delivery) = match comes {
                Comes::New(said) => (said, format!("page {nth}")),
                Comes::Again(index) if !known.is_empty() => (index.get(&known).0.clone(), format!("page {nth}")),
                Comes::Twice(index) if !known.is_empty() => index.get(&known).clone(),
                _ => {
                    let refused = SetAside {
                        source: SOURCE.into(),
                        reason: "no id: column id is missing or blank".into(),
                        delivery: format!("page {nth}"),
                        payload: "{}".into(),
                    };
                    records.push(stored(DEAD_LETTERS, refused.seal(&sealer).unwrap(), now));
                    continue;
                }
            };
            known.push((said.clone(), delivery.clone()));
            let record = RawRecord {
                source: SOURCE.into(),
                record_id: said.id.to_string(),
                case_key: said.case.to_string(),
                delivery,
                occurrence: 1,
                content_type: JSON.into(),
                payload: said.payload().into(),
            };
            records.push(stored(&raw_topic(SOURCE), record.seal(&sealer).unwrap(), now));
        }
        let photographed = known.iter().any(|(said, _)| said.taken() && said.hours.contains_key("photographed"));
        Self { records, photographed }.with_offsets()
    }

    /// Gives every record the next offset of its partition; the stamps stay.
    fn with_offsets(mut self) -> Self {
        let mut next: HashMap<TopicPartition, u64> = HashMap::new();
        for record in &mut self.records {
            let slot = next.entry(record.at.clone()).or_default();
            record.offset = *slot;
            *slot += 1;
        }
        self
    }

    /// Whether an event of a kind nobody knows was said by a record that could be taken.
    pub(crate) fn photographed(&self) -> bool {
        self.photographed
    }
}

impl Said {
    /// Whether the mapping takes it.
    fn taken(&self) -> bool {
        let backwards = self.received.zip(self.closed).is_some_and(|(received, closed)| closed < received);
        !self.poison && !backwards
    }
}

fn stored(topic: &str, record: NewRecord, now_ms: i64) -> StoredRecord {
    StoredRecord {
        at: TopicPartition { topic: topic.to_owned(), partition: partition_of(&record.key, PARTITIONS) },
        offset: 0,
        appended_at_ms: now_ms,
        key: record.key,
        headers: record.headers,
        payload: record.payload,
    }
}

/// Records, corrections, duplicates, repeated pulls and poison, some in the same millisecond.
pub(crate) fn stream() -> impl Strategy<Value = Stream> {
    let comes = prop_oneof![
        6 => said().prop_map(Comes::New),
        2 => any::<prop::sample::Index>().prop_map(Comes::Again),
        1 => any::<prop::sample::Index>().prop_map(Comes::Twice),
        1 => Just(Comes::Refused),
    ];
    proptest::collection::vec((comes, 0..3_i64), 30..60).prop_map(Stream::build)
}

/// A stream, and the same records with the same stamps in another order.
pub(crate) fn stream_and_shuffle() -> impl Strategy<Value = (Stream, Stream)> {
    stream().prop_flat_map(|stream| {
        let shuffled = Just(stream.records.clone()).prop_shuffle();
        (Just(stream), shuffled).prop_map(|(stream, records)| {
            let shuffled = Stream { records, ..stream.clone() }.with_offsets();
            (stream, shuffled)
        })
    })
}

/// A job on a folder of its own.
pub(crate) struct World {
    pub(crate) data: PathBuf,
    pub(crate) metrics: Metrics,
    pub(crate) job: Job,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap(), &[], 1000).await
    }

    /// Opens the job on what `folder` holds, beside a log that holds `records`.
    pub(crate) async fn open(folder: tempfile::TempDir, records: &[StoredRecord], batch_records: usize) -> Self {
        let metrics = Metrics::built_in(&sealer(), &reference()).unwrap();
        Self::open_with(folder, records, batch_records, metrics).await
    }

    /// The same with other metrics.
    pub(crate) async fn open_with(
        folder: tempfile::TempDir,
        records: &[StoredRecord],
        batch_records: usize,
        metrics: Metrics,
    ) -> Self {
        let parts = JobParts {
            log: Arc::new(MemoryLog { records: records.to_vec() }),
            data_dir: folder.path().to_owned(),
            mappings: BTreeMap::from([(SOURCE.to_owned(), mapping().await)]),
            metrics: metrics.clone(),
            sealer: sealer(),
            zone: ZONE,
            batch_records,
        };
        Self { data: folder.path().to_owned(), metrics, job: Job::open(parts).await.unwrap(), folder }
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        self.job.index()
    }

    pub(crate) async fn batch(&mut self, records: &[StoredRecord]) {
        self.job.batch(records.to_vec()).await.unwrap();
    }

    /// Runs until nothing is left in the log.
    pub(crate) async fn drain(&mut self) {
        let (_running, stop) = watch::channel(false);
        let (_done, upstream_done) = watch::channel(true);
        self.job.run(stop, upstream_done).await.unwrap();
    }

    /// Ends the job; its folder stays.
    pub(crate) fn close(self) -> tempfile::TempDir {
        self.folder
    }
}

pub(crate) async fn rows_of(world: &World, sql: &str) -> RecordBatch {
    let catalog = Catalog::new(&world.data, world.metrics.clone(), ZONE);
    let session = catalog.session(Moment::default()).await.unwrap();
    let frame = session.sql(sql).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    arrow::compute::concat_batches(&schema, &frame.collect().await.unwrap()).unwrap()
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), &target).map(|_| ()).unwrap()
        }
    }
}

/// A log in memory that is only read.
struct MemoryLog {
    records: Vec<StoredRecord>,
}

#[async_trait]
impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }
    async fn create_topic(&self, _: &str, _: TopicKind) -> Result<(), LogError> {
        Ok(())
    }
    async fn topics(&self) -> Result<Vec<String>, LogError> {
        Ok(vec![DEAD_LETTERS.to_owned(), raw_topic(SOURCE)])
    }
    async fn append(&self, topic: &str, _: Vec<NewRecord>) -> Result<(), LogError> {
        Err(LogError::UnknownTopic(topic.to_owned()))
    }
    async fn reader(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError> {
        let queues = from
            .into_iter()
            .map(|(at, first)| self.records.iter().filter(|r| r.at == at && r.offset >= first).cloned().rev().collect())
            .collect();
        Ok(Box::new(MemoryReader { queues }))
    }
    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        // Tests that hand over batches themselves leave the log empty.
        let next = self.records.iter().filter(|r| r.at == *at).count() as u64;
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

/// Takes a record of every partition in turn, as a fair reader does.
struct MemoryReader {
    queues: Vec<Vec<StoredRecord>>,
}

#[async_trait]
impl LogReader for MemoryReader {
    async fn next(&mut self, max_records: usize, _: usize, _: Duration) -> Result<Vec<StoredRecord>, LogError> {
        let mut taken = Vec::new();
        while taken.len() < max_records && self.queues.iter().any(|q| !q.is_empty()) {
            taken.extend(self.queues.iter_mut().filter_map(Vec::pop));
        }
        Ok(taken)
    }
}
