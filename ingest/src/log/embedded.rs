//! The embedded log: topics on local disk, for one machine without Kafka.
//!
//! One file, one process, one thread that writes. A call to append returns after
//! the fsync that made its records durable; calls that arrive meanwhile share the
//! next fsync. Records lie in checksummed pages, so that bulk costs one tree entry
//! per thousand records and damage is told rather than delivered.
//!
//! What it refuses: a second process, another number of partitions than it was
//! made with, records over [`MAX_RECORD_BYTES`], topics nobody made.

mod page;
mod reader;
mod store;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use ahual_schemas::log::{Bounds, TopicKind};
use ahual_schemas::{Log, LogError, LogReader, NewRecord, TopicPartition};
use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable};
use tokio::sync::{mpsc, oneshot, watch};

use reader::{EmbeddedReader, Lane, fell_behind, past_the_end};
pub(super) use store::FILE;
use store::{ENDS, Ends, FORMAT, PAGES, POSITIONS, SETTINGS, TOPICS, broken, failed};
use writer::{Done, Job, Work};

use super::rules;

#[cfg(doc)]
use ahual_schemas::log::MAX_RECORD_BYTES;

/// Milliseconds since the Unix epoch, UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Memory the store may keep pages in.
const CACHE_BYTES: usize = 64 << 20;
/// Calls that may wait for the writer before further ones wait to be queued.
const QUEUE_JOBS: usize = 1024;

/// A [`Log`] in one file of a local folder.
pub struct EmbeddedLog {
    db: Arc<Database>,
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("partitions", &self.shared.partitions).finish_non_exhaustive()
    }
}

/// What the writer and all readers see.
struct Shared {
    partitions: u32,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    changed: watch::Sender<u64>,
}

/// A topic and where its partitions begin and end, as far as durable.
struct Topic {
    id: u32,
    bounds: Vec<(AtomicU64, AtomicU64)>,
}

impl Topic {
    fn new(id: u32, partitions: u32) -> Self {
        Self { id, bounds: (0..partitions).map(|_| Default::default()).collect() }
    }

    fn bounds(&self, partition: u32) -> Bounds {
        self.bounds.get(partition as usize).map_or(Bounds { first: 0, next: 0 }, |(first, next)| Bounds {
            first: first.load(Ordering::Acquire),
            next: next.load(Ordering::Acquire),
        })
    }

    fn set(&self, partition: u32, ends: Ends) {
        if let Some((first, next)) = self.bounds.get(partition as usize) {
            next.store(ends.next, Ordering::Release);
            first.store(ends.first, Ordering::Release);
        }
    }
}

impl Shared {
    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    fn topic_count(&self) -> usize {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn publish(&self, made: BTreeMap<String, Arc<Topic>>, changed: &BTreeMap<(u32, u32), Ends>) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.extend(made);
        for topic in topics.values() {
            for (key, ends) in changed.range((topic.id, 0)..=(topic.id, u32::MAX)) {
                topic.set(key.1, *ends);
            }
        }
        drop(topics);
        self.changed.send_modify(|version| *version += 1);
    }
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or makes one with `partitions` partitions a topic.
    ///
    /// Blocks while the file is checked, which after a crash means reading it.
    /// Errors: [`LogError::Owned`] when another process owns the log; [`LogError::Broken`] when it was
    /// made with another number of partitions, or when the file is damaged.
    pub fn open(dir: &Path, partitions: u32) -> Result<Self, LogError> {
        Self::open_with_clock(dir, partitions, Arc::new(rules::now_ms))
    }

    /// As [`EmbeddedLog::open`], with append stamps taken from `clock`. A clock that
    /// goes back does not take the stamps of a partition back with it.
    pub fn open_with_clock(dir: &Path, partitions: u32, clock: Clock) -> Result<Self, LogError> {
        rules::check_partitions(partitions)?;
        let db = open_file(dir)?;
        let (topics, ends) = load(&db, dir, partitions).map_err(|e| match e {
            Load::Refused(refused) => refused,
            Load::Storage(error) => failed("open", error),
        })?;
        let shared = Arc::new(Shared { partitions, topics: RwLock::default(), changed: watch::channel(0).0 });
        shared.publish(topics, &ends);
        let db = Arc::new(db);
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS);
        let (its_db, its_shared) = (db.clone(), shared.clone());
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer::run(its_db, its_shared, ends, clock, queue))
            .map_err(|e| LogError::Unavailable { doing: "start the writer", source: Box::new(e) })?;
        Ok(Self { db, shared, jobs: Some(jobs), writer: Some(writer) })
    }

    async fn write(&self, work: Work) -> Result<Done, LogError> {
        let gone = || broken("the writer of the embedded log has ended; restart".to_owned());
        let (done, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { work, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn partition(&self, at: &TopicPartition) -> Result<Arc<Topic>, LogError> {
        let topic = self.shared.topic(&at.topic)?;
        rules::check_partition(at, self.shared.partitions)?;
        Ok(topic)
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // The writer ends once it has written what is queued; then the file is free.
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn partitions(&self) -> u32 {
        self.shared.partitions
    }

    async fn create_topic(&self, topic: &str, kind: TopicKind) -> Result<(), LogError> {
        rules::check_topic(topic)?;
        if self.shared.topic(topic).is_ok() {
            return Ok(());
        }
        self.write(Work::Create { topic: topic.to_owned(), kind }).await.map(drop)
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        Ok(topics.keys().cloned().collect())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<(), LogError> {
        self.shared.topic(topic)?;
        rules::check_records(topic, &records)?;
        if records.is_empty() {
            return Ok(());
        }
        self.write(Work::Append { topic: topic.to_owned(), records }).await.map(drop)
    }

    async fn reader(&self, from: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError> {
        // Taken before the bounds are looked at, so that no change is missed between.
        let changed = self.shared.changed.subscribe();
        rules::check_once(&from)?;
        let mut lanes = Vec::with_capacity(from.len());
        for (at, position) in from {
            let topic = self.partition(&at)?;
            let bounds = topic.bounds(at.partition);
            if position < bounds.first {
                return Err(fell_behind(&at, position, bounds.first));
            }
            if position > bounds.next {
                return Err(past_the_end(&at, position, bounds.next));
            }
            lanes.push(Lane { at, topic, position });
        }
        Ok(Box::new(EmbeddedReader::new(self.db.clone(), lanes, changed)))
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        Ok(self.partition(at)?.bounds(at.partition))
    }

    async fn first_since(&self, at: &TopicPartition, appended_at_ms: i64) -> Result<u64, LogError> {
        let lane = Lane { at: at.clone(), topic: self.partition(at)?, position: 0 };
        let db = self.db.clone();
        tokio::task::spawn_blocking(move || reader::first_since(&db, &lane, appended_at_ms))
            .await
            .map_err(|lost| LogError::Unavailable { doing: "find a moment", source: Box::new(lost) })?
    }

    async fn commit(&self, group: &str, at: &TopicPartition, next_offset: u64) -> Result<(), LogError> {
        self.partition(at)?;
        let work = Work::Commit {
            group: group.to_owned(),
            topic: at.topic.clone(),
            partition: at.partition,
            next: next_offset,
        };
        self.write(work).await.map(drop)
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        let topic = self.partition(at)?.id;
        let (db, group, partition) = (self.db.clone(), group.to_owned(), at.partition);
        let look = move || -> Result<Option<u64>, redb::Error> {
            let positions = db.begin_read()?.open_table(POSITIONS)?;
            Ok(positions.get((group.as_str(), topic, partition))?.map(|found| found.value()))
        };
        tokio::task::spawn_blocking(look)
            .await
            .map_err(|lost| LogError::Unavailable { doing: "read a position", source: Box::new(lost) })?
            .map_err(|error| failed("read a position", error))
    }

    async fn retain_from(&self, at: &TopicPartition, first: u64) -> Result<(), LogError> {
        self.partition(at)?;
        loop {
            let work = Work::Retain { topic: at.topic.clone(), partition: at.partition, first };
            if self.write(work).await? == Done::All {
                return Ok(());
            }
        }
    }
}

fn open_file(dir: &Path) -> Result<Database, LogError> {
    let unreachable = |doing| move |e: std::io::Error| LogError::Unavailable { doing, source: Box::new(e) };
    std::fs::create_dir_all(dir).map_err(unreachable("make the folder of the embedded log"))?;
    let path = dir.join(FILE);
    let told = path.display().to_string();
    let existed = path.exists();
    crate::state::make_whole(&path).map_err(|e| failed("open", e.into()))?;
    let db = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_repair_callback(move |session| {
            if !existed {
                return;
            }
            let percent = (session.progress() * 100.0) as u32;
            tracing::warn!(file = %told, percent, "embedded log was not closed in order, checking it");
        })
        .create(&path)
        .map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => LogError::Owned { file: path.display().to_string() },
            other => failed("open", other.into()),
        })?;
    // The file's name must outlive a power cut as its content does.
    File::open(dir).and_then(|d| d.sync_all()).map_err(unreachable("sync the folder of the embedded log"))?;
    Ok(db)
}

enum Load {
    Refused(LogError),
    Storage(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Load {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}

type Loaded = (BTreeMap<String, Arc<Topic>>, BTreeMap<(u32, u32), Ends>);

fn load(db: &Database, dir: &Path, partitions: u32) -> Result<Loaded, Load> {
    let txn = db.begin_write()?;
    let loaded = {
        let mut settings = txn.open_table(SETTINGS)?;
        let format = settings.get("format")?.map(|v| v.value());
        let made_with = settings.get("partitions")?.map(|v| v.value());
        match (format, made_with) {
            (None, _) => {
                settings.insert("format", FORMAT)?;
                settings.insert("partitions", u64::from(partitions))?;
            }
            (Some(FORMAT), Some(held)) if held == u64::from(partitions) => {}
            (Some(FORMAT), Some(held)) => {
                return Err(Load::Refused(broken(format!(
                    "the embedded log in {} was made with {held} partitions and the configuration says {partitions}; \
                     the number is fixed once per deployment, set it back to {held}",
                    dir.display()
                ))));
            }
            (Some(other), _) => {
                return Err(Load::Refused(broken(format!(
                    "the embedded log in {} has format {other}, this program reads format {FORMAT}",
                    dir.display()
                ))));
            }
        }
        // Opened so that they exist: readers then never meet a missing table.
        txn.open_table(PAGES)?;
        txn.open_table(POSITIONS)?;
        let mut topics = BTreeMap::new();
        for entry in txn.open_table(TOPICS)?.iter()? {
            let (name, value) = entry?;
            topics.insert(name.value().to_owned(), Arc::new(Topic::new(value.value().0, partitions)));
        }
        let mut ends = BTreeMap::new();
        for entry in txn.open_table(ENDS)?.iter()? {
            let (key, value) = entry?;
            let (first, next, stamp) = value.value();
            ends.insert(key.value(), Ends { first, next, stamp });
        }
        (topics, ends)
    };
    txn.commit()?;
    Ok(loaded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI64;
    use std::time::Duration;

    fn record(payload: &str) -> NewRecord {
        NewRecord { key: "k".into(), headers: vec![], payload: payload.to_owned().into() }
    }

    fn whole(topic: &str) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: 0 }
    }

    #[tokio::test]
    async fn a_damaged_page_is_told_not_delivered() {
        let dir = tempfile::tempdir().unwrap();
        {
            let log = EmbeddedLog::open(dir.path(), 1).unwrap();
            log.create_topic("t", TopicKind::Stream).await.unwrap();
            log.append("t", vec![record("first")]).await.unwrap();
            log.append("t", vec![record("second")]).await.unwrap();
        }
        {
            let db = Database::open(dir.path().join(FILE)).unwrap();
            let txn = db.begin_write().unwrap();
            {
                let mut pages = txn.open_table(PAGES).unwrap();
                let mut page = pages.get((0, 0, 1)).unwrap().unwrap().value().to_vec();
                *page.last_mut().unwrap() ^= 1;
                pages.insert((0, 0, 1), page.as_slice()).unwrap();
            }
            txn.commit().unwrap();
        }
        let log = EmbeddedLog::open(dir.path(), 1).unwrap();
        let mut reader = log.reader(vec![(whole("t"), 0)]).await.unwrap();
        let first = reader.next(1, usize::MAX, Duration::ZERO).await.unwrap();
        assert_eq!(first[0].payload, "first");
        let told = reader.next(1, usize::MAX, Duration::ZERO).await.unwrap_err();
        assert!(matches!(&told, LogError::Broken { what, .. } if what.contains("t/0 offset 1")), "{told}");
    }

    #[tokio::test]
    async fn a_second_owner_is_told_that_the_log_is_owned() {
        let dir = tempfile::tempdir().unwrap();
        let _owner = EmbeddedLog::open(dir.path(), 1).unwrap();
        let told = EmbeddedLog::open(dir.path(), 1).unwrap_err().to_string();
        assert!(told.contains("another process owns"), "{told}");
    }

    #[tokio::test]
    async fn stamps_do_not_go_back_with_the_clock_even_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_000));
        let ticking = || {
            let now = now.clone();
            Arc::new(move || now.load(Ordering::Relaxed)) as Clock
        };
        let log = EmbeddedLog::open_with_clock(dir.path(), 1, ticking()).unwrap();
        log.create_topic("t", TopicKind::Stream).await.unwrap();
        log.append("t", vec![record("a")]).await.unwrap();
        now.store(900, Ordering::Relaxed);
        log.append("t", vec![record("b")]).await.unwrap();
        drop(log);
        let log = EmbeddedLog::open_with_clock(dir.path(), 1, ticking()).unwrap();
        log.append("t", vec![record("c")]).await.unwrap();
        now.store(1_100, Ordering::Relaxed);
        log.append("t", vec![record("d")]).await.unwrap();
        let mut reader = log.reader(vec![(whole("t"), 0)]).await.unwrap();
        let stamps: Vec<_> =
            reader.next(9, usize::MAX, Duration::ZERO).await.unwrap().iter().map(|r| r.appended_at_ms).collect();
        assert_eq!(stamps, [1_000, 1_000, 1_000, 1_100]);
    }

    #[tokio::test]
    async fn retention_gives_whole_pages_back() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), 1).unwrap();
        log.create_topic("t", TopicKind::Stream).await.unwrap();
        for _ in 0..4 {
            log.append("t", vec![record("a"), record("b")]).await.unwrap();
        }
        let held = || {
            let pages = log.db.begin_read().unwrap().open_table(PAGES).unwrap();
            pages.iter().unwrap().map(|entry| entry.unwrap().0.value().2).collect::<Vec<_>>()
        };
        log.retain_from(&whole("t"), 3).await.unwrap();
        assert_eq!(held(), [2, 4, 6], "the page of 2 and 3 still holds 3");
        log.retain_from(&whole("t"), 4).await.unwrap();
        assert_eq!(held(), [4, 6]);
        log.retain_from(&whole("t"), 8).await.unwrap();
        assert_eq!(held(), [0_u64; 0]);
        assert_eq!(log.bounds(&whole("t")).await.unwrap(), Bounds { first: 8, next: 8 });
    }

    #[tokio::test]
    async fn many_small_appends_at_once_share_transactions() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), 1).unwrap();
        log.create_topic("t", TopicKind::Stream).await.unwrap();
        let payloads: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        futures::future::try_join_all(payloads.iter().map(|p| log.append("t", vec![record(p)]))).await.unwrap();
        let pages = {
            use redb::ReadableTableMetadata;
            log.db.begin_read().unwrap().open_table(PAGES).unwrap().len().unwrap()
        };
        assert!(pages < 100, "{pages} pages for 200 appends made together");
        assert_eq!(log.bounds(&whole("t")).await.unwrap().next, 200);
    }
}
