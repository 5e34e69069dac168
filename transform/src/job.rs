//! The job: log → events → cases → figures, one batch after another.
//!
//! A batch is: the sealed records (`raw.records`), then the events with the log
//! positions they came from (`core.events`, one commit, the truth of progress), then
//! what the fold makes of them (derived tables, index), then the published epoch.
//! After a crash at any point the job asks the tables where it was, folds what was
//! committed and not folded, and reads on from the committed positions; doing any
//! step again changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::event::{Event, Kind};
use ahual_schemas::feed::FeedPosition;
use ahual_schemas::log::{DEAD_LETTERS, TopicPartition, raw_topic};
use ahual_schemas::record;
use ahual_schemas::sealing::{Sealer, SealingError};
use ahual_schemas::table::{At, ShapeError};
use ahual_schemas::tables::{Case, CellRow, Deadline, LedgerRow, Part, RawRow, Segment};
use ahual_schemas::{Advice, Log, LogError, StoredRecord};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use tokio::sync::watch;

use crate::by_case::ByCaseError;
use crate::envelope::{Envelope, raw_row};
use crate::figures::{Bag, MetricError, Metrics, Subject};
use crate::fold::{FoldRule, Folded, fold};
use crate::index::{Change, Index, IndexError, Progress};
use crate::lake::{CommitEntry, Epoch, Lake, LakeError, LakeRoot};
use crate::mapping::{Mapping, MappingError, Opened};

/// Why the job stopped.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The log.
    #[error("reading the log")]
    Log(#[from] LogError),
    /// The lake.
    #[error("writing the lake")]
    Lake(#[from] LakeError),
    /// The index.
    #[error("keeping the index; it may be deleted (folder 'index') and is then rebuilt")]
    Index(#[from] IndexError),
    /// A mapping.
    #[error("mapping records")]
    Mapping(#[from] MappingError),
    /// A metric.
    #[error("keeping figures")]
    Metric(#[from] MetricError),
    /// A key.
    #[error("opening sealed records")]
    Sealing(#[from] SealingError),
    /// Rows do not fit their table.
    #[error("shaping rows")]
    Shape(#[from] ShapeError),
    /// Rows do not fit their table.
    #[error("shaping rows")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A query of ours.
    #[error("compacting")]
    Query(#[from] datafusion::error::DataFusionError),
    /// Events could not be read back.
    #[error("building the index from the lake")]
    Rebuild(#[from] ByCaseError),
    /// The log has fewer records than the table says were taken from it.
    #[error(
        "{topic}/{partition}: the lake has taken records up to offset {taken}, the log ends at {next}; this --data directory belongs to another log"
    )]
    AnotherLog {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// Offset taken.
        taken: u64,
        /// End of the log.
        next: u64,
    },
}

impl JobError {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Log(e) => e.advice(),
            Self::Lake(e) => e.advice(),
            _ => Advice::Stop,
        }
    }
}

/// What the job is made of.
pub struct JobParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Folder of all durable state.
    pub data_dir: PathBuf,
    /// Source → mapping.
    pub mappings: BTreeMap<String, Mapping>,
    /// Metrics.
    pub metrics: Metrics,
    /// Opens payloads.
    pub sealer: Sealer,
    /// Zone of ledger days.
    pub zone: Tz,
    /// Most records in a batch.
    pub batch_records: usize,
}

/// What is published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The epoch; none before the first batch.
    pub epoch: Option<Epoch>,
    /// Newest feed position.
    pub feed_head: Option<FeedPosition>,
    /// Records taken from the log so far by this process.
    pub records: u64,
    /// Everything before these places of the log is folded, and synced in the lake.
    pub folded: Vec<(TopicPartition, u64)>,
}

/// The job, opened.
pub struct Job {
    pub(crate) parts: JobParts,
    pub(crate) lake: Lake,
    pub(crate) index: Arc<Index>,
    pub(crate) progress: Progress,
    pub(crate) raw_positions: BTreeMap<String, i64>,
    /// Table → version of `core.events` folded into it.
    pub(crate) derived: HashMap<&'static str, i64>,
    /// Versions and rows folded since the index's last checkpoint.
    unchecked: (u32, usize),
    /// Places not yet noted in the log.
    unnoted: BTreeMap<TopicPartition, u64>,
    published: watch::Sender<Published>,
}

pub(crate) const DERIVED: [&str; 5] = [Case::TABLE, Segment::TABLE, Deadline::TABLE, Part::TABLE, LedgerRow::TABLE];
pub(crate) const FOLD: &str = "fold";
/// Group under which the job notes in the log how far it has folded.
pub const FOLDED: &str = "transform";
const BATCH_BYTES: usize = 64 * 1024 * 1024;
/// Superseded rows that are worth a compaction while running.
const COMPACT_ROWS: i64 = 200_000;
/// Rows of kept cells appended that are worth summing up while running.
const COMPACT_CELLS: i64 = 1_000_000;
/// After so many versions or rows the index is made durable: what a crash may make the
/// next start fold again.
const CHECKPOINT_VERSIONS: u32 = 32;
const CHECKPOINT_ROWS: usize = 100_000;

impl Job {
    /// Opens lake and index and folds what was committed and not folded.
    pub async fn open(parts: JobParts) -> Result<Self, JobError> {
        let mut lake = Lake::open(LakeRoot::under(&parts.data_dir)).await?;
        let index = Arc::new(Index::open(&parts.data_dir.join("index").join("index.redb"))?);
        let known = index.progress()?.filter(|p| p.metrics == parts.metrics.fingerprint());
        let mut derived = HashMap::new();
        for name in DERIVED {
            derived.insert(name, lake.table(name)?.transaction_version(FOLD).await?.unwrap_or(-1));
        }
        let (published, _) = watch::channel(Published::default());
        let progress = known.clone().unwrap_or_default();
        let raw_positions = BTreeMap::new();
        let mut job = Self {
            parts,
            lake,
            index,
            progress,
            raw_positions,
            derived,
            unchecked: (0, 0),
            unnoted: BTreeMap::new(),
            published,
        };
        let app = job.cells_app();
        let cells = job.lake.table(CellRow::TABLE)?.transaction_version(&app).await?;
        job.derived.insert(CellRow::TABLE, cells.unwrap_or(-1));
        if known.is_some() && cells.is_some() {
            job.raw_positions = job.raw_positions().await?;
        } else {
            job.rebuild().await?;
        }
        job.catch_up().await?;
        job.checkpoint()?;
        job.publish(0)?;
        Ok(job)
    }

    /// Under this name `ops.kept_cells` says what it has folded, by which definitions.
    pub(crate) fn cells_app(&self) -> String {
        format!("{FOLD}/{}", self.parts.metrics.fingerprint())
    }

    /// The index, for readers in the same process.
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index)
    }

    /// What is published, as it changes.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Folds event versions that were committed and not folded.
    async fn catch_up(&mut self) -> Result<(), JobError> {
        let head = self.lake.table(Event::TABLE)?.version();
        for version in self.progress.folded_version + 1..=head {
            let table = self.lake.table(Event::TABLE)?;
            let entry = table.commit_entry(version).await?.ok_or_else(|| LakeError::Damaged {
                what: format!(
                    "commit {version} of {} is gone, so it cannot be folded; delete the folder 'index' to build it anew",
                    Event::TABLE
                ),
            })?;
            let mut rows = Vec::new();
            for batch in table.read_added(&entry)? {
                rows.extend(Event::from_batch(&batch)?);
            }
            let raw_version = self.progress.raw_version;
            tracing::info!(version, rows = rows.len(), "folding a committed batch again");
            self.apply(version, rows, None, &entry.transactions, raw_version).await?;
        }
        advance(&mut self.raw_positions, &self.progress.positions.clone().into_iter().collect::<Vec<_>>());
        Ok(())
    }

    /// How far `raw.records` has got: what its commits since the last known version say.
    async fn raw_positions(&mut self) -> Result<BTreeMap<String, i64>, JobError> {
        let mut positions = self.progress.positions.clone();
        let raw = self.lake.table(RawRow::TABLE)?;
        for version in self.progress.raw_version + 1..=raw.version() {
            match raw.commit_entry(version).await? {
                Some(CommitEntry { transactions, .. }) => advance(&mut positions, &transactions),
                None => {
                    return Err(LakeError::Damaged { what: format!("commit {version} of raw.records is gone") }.into());
                }
            }
        }
        Ok(positions)
    }

    /// Topics the job reads.
    fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.parts.mappings.keys().map(|s| raw_topic(s)).collect();
        topics.push(DEAD_LETTERS.to_owned());
        topics
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let partitions = self.parts.log.partitions();
        self.topics()
            .into_iter()
            .flat_map(|topic| (0..partitions).map(move |partition| TopicPartition { topic: topic.clone(), partition }))
            .collect()
    }

    fn position(&self, at: &TopicPartition) -> u64 {
        let position = self.progress.positions.get(&app_id(&at.topic, at.partition)).copied().unwrap_or(0);
        u64::try_from(position).unwrap_or(0)
    }

    /// Reads and folds until `stop`, or, once `upstream_done` is true, until nothing is left.
    pub async fn run(
        &mut self,
        mut stop: watch::Receiver<bool>,
        upstream_done: watch::Receiver<bool>,
    ) -> Result<(), JobError> {
        let log = Arc::clone(&self.parts.log);
        let mut from = Vec::new();
        for at in self.partitions() {
            let taken = self.position(&at);
            let bounds = log.bounds(&at).await?;
            if taken > bounds.next {
                return Err(JobError::AnotherLog {
                    topic: at.topic,
                    partition: at.partition,
                    taken,
                    next: bounds.next,
                });
            }
            from.push((at, taken));
        }
        // A note that a crash kept from being made, or one made for another lake, is set right.
        self.note(from.iter().cloned()).await?;
        let mut reader = log.reader(from).await?;
        loop {
            if *stop.borrow() {
                break;
            }
            // Looked at before reading: what was appended before upstream ended is then seen.
            let upstream_was_done = *upstream_done.borrow();
            let wait = if upstream_was_done { Duration::from_millis(50) } else { Duration::from_millis(500) };
            let records = tokio::select! {
                records = reader.next(self.parts.batch_records, BATCH_BYTES, wait) => records?,
                _ = stop.wait_for(|s| *s) => break,
            };
            if records.is_empty() {
                if upstream_was_done && self.caught_up().await? {
                    self.compact().await?;
                    break;
                }
                if !self.unnoted.is_empty() {
                    self.note(std::iter::empty()).await?;
                }
                continue;
            }
            self.batch(records).await?;
            let Progress { superseded_rows, written_rows, cell_rows, added_cell_rows, .. } = self.progress;
            if superseded_rows > COMPACT_ROWS && superseded_rows * 2 > written_rows {
                self.compact_rows().await?;
            }
            if added_cell_rows > COMPACT_CELLS.max(cell_rows / 2) {
                self.compact_cells().await?;
            }
        }
        self.checkpoint()
    }

    async fn caught_up(&self) -> Result<bool, JobError> {
        for at in self.partitions() {
            if self.position(&at) < self.parts.log.bounds(&at).await?.next {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes one batch of records all the way.
    pub async fn batch(&mut self, records: Vec<StoredRecord>) -> Result<(), JobError> {
        let mut positions: BTreeMap<String, i64> = BTreeMap::new();
        for record in &records {
            let next = i64::try_from(record.offset).unwrap_or(i64::MAX).saturating_add(1);
            let slot = positions.entry(app_id(&record.at.topic, record.at.partition)).or_insert(next);
            *slot = (*slot).max(next);
        }
        let transactions: Vec<(String, i64)> = positions.into_iter().collect();
        self.store_raw(&records, &transactions).await?;

        let (events, states) = self.map(&records).await?;
        let batch = Event::to_batch(&events)?;
        let version = self.lake.table(Event::TABLE)?.append(&batch, &transactions).await?;
        let raw_version = self.raw_version_covered_by(&transactions)?;
        self.apply(version, events, Some(states), &transactions, raw_version).await?;
        if self.unchecked.0 >= CHECKPOINT_VERSIONS || self.unchecked.1 >= CHECKPOINT_ROWS {
            self.checkpoint()?;
        }
        self.publish(records.len() as u64)?;
        self.note(transactions.iter().filter_map(|(app, next)| place(app, *next))).await
    }

    /// Notes in the log how far this has come, for operators and for commands that wait
    /// until something is folded; the truth of progress is in the table. So a log that
    /// cannot take the note now holds nothing up: it is made with the next.
    async fn note(&mut self, reached: impl Iterator<Item = (TopicPartition, u64)>) -> Result<(), JobError> {
        self.unnoted.extend(reached);
        let notes = self.unnoted.iter().map(|(at, next)| self.parts.log.commit(FOLDED, at, *next));
        let noted = futures::future::try_join_all(notes).await;
        match noted {
            Ok(_) => self.unnoted.clear(),
            Err(error) if matches!(error.advice(), Advice::RetryAfter(_)) => {
                tracing::warn!(%error, "how far the fold has come is noted in the log later");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The version of `raw.records` up to which events have caught up. While raw is ahead,
    /// after a crash between the two, this stays where it was: a second crash must still
    /// find the commits that say how far raw had got.
    fn raw_version_covered_by(&mut self, transactions: &[(String, i64)]) -> Result<i64, JobError> {
        let mut covered = self.progress.positions.clone();
        advance(&mut covered, transactions);
        let level = self.raw_positions.iter().all(|(app, next)| covered.get(app).is_some_and(|at| at >= next));
        if !level {
            return Ok(self.progress.raw_version);
        }
        Ok(self.lake.table(RawRow::TABLE)?.version())
    }

    async fn store_raw(&mut self, records: &[StoredRecord], transactions: &[(String, i64)]) -> Result<(), JobError> {
        let rows: Vec<RawRow> = records
            .iter()
            .filter(|r| {
                let stored = self.raw_positions.get(&app_id(&r.at.topic, r.at.partition)).copied().unwrap_or(0);
                i64::try_from(r.offset).unwrap_or(i64::MAX) >= stored
            })
            .map(raw_row)
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        // After a crash between raw and events the raw table is ahead, and a batch may be
        // taken up that ends before it: its positions must not go back.
        let mut reached = self.raw_positions.clone();
        advance(&mut reached, transactions);
        let transactions: Vec<(String, i64)> = transactions
            .iter()
            .filter_map(|(app, _)| reached.get_key_value(app))
            .map(|(app, next)| (app.clone(), *next))
            .collect();
        self.lake.table(RawRow::TABLE)?.append(&RawRow::to_batch(&rows)?, &transactions).await?;
        self.raw_positions = reached;
        Ok(())
    }

    /// Records → events, with the rows already known of the cases they name.
    async fn map(&self, records: &[StoredRecord]) -> Result<(Vec<Event>, BTreeMap<String, Vec<Event>>), JobError> {
        let envelopes: Vec<Envelope<'_>> = records.iter().map(Envelope::of).collect();
        let names: BTreeSet<&str> = envelopes.iter().map(|e| e.case_id.as_str()).collect();
        let states = self.index.cases(names.into_iter())?;
        let mut known: HashSet<(&str, &str, &str)> = HashSet::new();
        for rows in states.values() {
            // What was set aside is mapped again when it comes again: the mapping may be better now.
            for row in rows.iter().filter(|row| row.kind != Kind::SetAside.as_str()) {
                known.insert((row.source.as_str(), row.record_id.as_str(), row.content_id.as_str()));
            }
        }
        let mut fresh: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut events: Vec<Option<Vec<Event>>> = vec![None; records.len()];
        for (index, envelope) in envelopes.iter().enumerate() {
            let content = (envelope.source, envelope.record_id, envelope.content_id);
            if let Some(reason) = envelope.reason {
                events[index] = Some(vec![envelope.event(Kind::SetAside, Some(reason.to_owned()))]);
            } else if !self.parts.mappings.contains_key(envelope.source) {
                let reason = format!("no mapping: source {} is not configured", envelope.source);
                events[index] = Some(vec![envelope.event(Kind::SetAside, Some(reason))]);
            } else if known.contains(&content) {
                events[index] = Some(vec![envelope.event(Kind::SeenAgain, None)]);
            } else {
                known.insert(content);
                fresh.entry(envelope.source).or_default().push(index);
            }
        }
        for (source, indexes) in fresh {
            let Some(mapping) = self.parts.mappings.get(source) else { continue };
            let mut opened = Vec::with_capacity(indexes.len());
            for index in &indexes {
                let envelope = &envelopes[*index];
                opened.push(Opened {
                    record_id: envelope.record_id.to_owned(),
                    case_key: envelope.case_key.to_owned(),
                    appended_at: envelope.appended_at(),
                    payload: record::open(envelope.record, &self.parts.sealer)?,
                });
            }
            for (index, outcome) in indexes.iter().zip(mapping.map(&opened).await?) {
                events[*index] = Some(envelopes[*index].events(outcome, mapping.regime().as_str()));
            }
        }
        Ok((events.into_iter().flatten().flatten().collect(), states))
    }

    /// Folds the rows of one version of `core.events` into everything derived.
    async fn apply(
        &mut self,
        version: i64,
        rows: Vec<Event>,
        states: Option<BTreeMap<String, Vec<Event>>>,
        transactions: &[(String, i64)],
        raw_version: i64,
    ) -> Result<(), JobError> {
        self.unchecked.0 += 1;
        self.unchecked.1 += rows.len();
        let mut by_case: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        let mut known_at = self.progress.known_at;
        for row in rows {
            known_at = known_at.max(Some(row.appended_at.0));
            by_case.entry(row.case_id.clone()).or_default().push(row);
        }
        let mut states = match states {
            Some(states) => states,
            None => self.index.cases(by_case.keys().map(String::as_str))?,
        };
        let (mut before, mut after) = (Subject::default(), Subject::default());
        let mut change = Change::default();
        let mut superseded = 0;
        {
            let reference = Arc::clone(self.parts.metrics.reference());
            let rule = FoldRule {
                as_of: None,
                known_at: None,
                zone: self.parts.zone,
                folded_version: version,
                reference: &reference,
            };
            for (case_id, news) in by_case {
                let mut state = states.remove(&case_id).unwrap_or_default();
                let old = if state.is_empty() { Folded::default() } else { fold(&state, &rule) };
                if !merge_rows(&mut state, news) {
                    continue;
                }
                let new = fold(&state, &rule);
                change.ledger.add(&old.ledger, -1);
                change.ledger.add(&new.ledger, 1);
                if (&old.case, &old.segments, &old.deadlines, &old.parts)
                    != (&new.case, &new.segments, &new.deadlines, &new.parts)
                {
                    superseded += i64::from(old.case.is_some());
                    before.push(&old);
                    after.push(&new);
                }
                change.cases.insert(case_id, state);
            }
        }
        let mut bag = Bag::default();
        self.parts.metrics.keep(&mut bag, &before, -1).await?;
        self.parts.metrics.keep(&mut bag, &after, 1).await?;
        bag.settle();
        change.cells = bag;

        let written = i64::try_from(after.cases.len()).unwrap_or(i64::MAX);
        let ledger_rows = self.index.ledger_rows(&change.ledger, version)?;
        superseded += i64::try_from(ledger_rows.len()).unwrap_or(0);
        self.write_derived(version, &after, &ledger_rows).await?;
        let cells = CellRow::to_batch(&change.cells.rows(version))?;
        self.append_derived(version, CellRow::TABLE, &cells, self.cells_app()).await?;

        let mut progress = self.progress.clone();
        progress.folded_version = version;
        progress.raw_version = raw_version;
        progress.positions.extend(transactions.iter().cloned());
        progress.superseded_rows += superseded;
        progress.written_rows += written;
        progress.added_cell_rows += i64::try_from(cells.num_rows()).unwrap_or(i64::MAX);
        progress.known_at = known_at;
        change.progress = progress.clone();
        self.index.apply(&change)?;
        self.progress = progress;
        Ok(())
    }

    async fn write_derived(&mut self, version: i64, after: &Subject, ledger: &[LedgerRow]) -> Result<(), JobError> {
        let ledger = (LedgerRow::TABLE, LedgerRow::to_batch(ledger)?);
        for (name, batch) in after.tables()?.into_iter().chain([ledger]) {
            self.append_derived(version, name, &batch, FOLD.to_owned()).await?;
        }
        Ok(())
    }

    /// Appends to a derived table what folding `version` gave, once: a table that says it
    /// has folded that version already is left alone.
    async fn append_derived(
        &mut self,
        version: i64,
        name: &'static str,
        batch: &RecordBatch,
        app: String,
    ) -> Result<(), JobError> {
        let done = self.derived.get(name).copied().unwrap_or(-1);
        if done < version && batch.num_rows() > 0 {
            self.lake.table(name)?.append(batch, &[(app, version)]).await?;
            self.derived.insert(name, version);
        }
        Ok(())
    }

    /// Makes the index durable: what was folded until now need not be folded again after a
    /// crash. The job does this by itself every so many versions or rows.
    pub fn checkpoint(&mut self) -> Result<(), JobError> {
        self.index.checkpoint(&self.progress)?;
        self.unchecked = (0, 0);
        Ok(())
    }

    pub(crate) fn publish(&self, records: u64) -> Result<(), JobError> {
        let feed_head = self.index.feed_head()?;
        let epoch = Epoch {
            folded_version: self.progress.folded_version,
            compacted_version: self.progress.compacted_version,
            tables: self.lake.versions(),
            known_at: self.progress.known_at.map(At),
            metrics: self.progress.metrics.clone(),
        };
        self.lake.root.publish(&epoch)?;
        self.published.send_modify(|published| {
            published.epoch = Some(epoch);
            published.feed_head = feed_head;
            published.records += records;
            published.folded = self.progress.positions.iter().filter_map(|(app, next)| place(app, *next)).collect();
        });
        Ok(())
    }
}

/// Where the job keeps its things under a data directory.
pub fn index_path(data_dir: &Path) -> PathBuf {
    data_dir.join("index").join("index.redb")
}

pub(crate) fn app_id(topic: &str, partition: u32) -> String {
    format!("{topic}/{partition}")
}

/// The place in the log that an application id and its version mean.
fn place(app_id: &str, next: i64) -> Option<(TopicPartition, u64)> {
    let (topic, partition) = app_id.rsplit_once('/')?;
    Some((TopicPartition { topic: topic.to_owned(), partition: partition.parse().ok()? }, u64::try_from(next).ok()?))
}

/// Moves positions forward, never back.
fn advance(positions: &mut BTreeMap<String, i64>, transactions: &[(String, i64)]) {
    for (app, next) in transactions {
        let slot = positions.entry(app.clone()).or_insert(*next);
        *slot = (*slot).max(*next);
    }
}

/// The kind of a row that speaks of delivery; none for an event of a case.
type Bookkeeping = Option<Kind>;

/// Adds rows that say something new about deliveries or contents. Returns whether any did.
fn merge_rows(state: &mut Vec<Event>, news: Vec<Event>) -> bool {
    let mut known: HashMap<(String, String, String, i32, Bookkeeping), At> = HashMap::new();
    let key = |row: &Event| {
        // A record set aside once and mapped later has both rows; one must not hide the other.
        let bookkeeping = Some(Kind::from(row.kind.as_str())).filter(Kind::is_bookkeeping);
        (row.record_id.clone(), row.content_id.clone(), row.delivery_id.clone(), row.ordinal, bookkeeping)
    };
    for row in state.iter() {
        known.insert(key(row), row.appended_at);
    }
    let mut changed = false;
    for row in news {
        match known.get(&key(&row)) {
            Some(stamp) if *stamp <= row.appended_at => {}
            _ => {
                known.insert(key(&row), row.appended_at);
                state.push(row);
                changed = true;
            }
        }
    }
    changed
}
