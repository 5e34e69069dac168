//! The keyed local index: what an update needs to find without reading history.
//!
//! For each case its event rows, for each metric its cells, the ledger's counts and
//! the feed, all changed in **one** transaction together with the version of
//! `core.events` that was folded. The lake is the truth; the index can be rebuilt
//! from it (`Index::version` is then `None` and the job folds every version again).

use std::collections::BTreeMap;
use std::path::Path;

use ahual_schemas::event::Event;
use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::tables::LedgerRow;
use ahual_schemas::{Advice, Day};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::figures::{Bag, CellKey, Totals};

const CASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("cases");
const CELLS: TableDefinition<'_, &[u8], (i64, i64, i64)> = TableDefinition::new("cells");
const TOTALS: TableDefinition<'_, &[u8], (i64, i64, i64)> = TableDefinition::new("totals");
/// Pulled, stored, set aside, duplicates, repeats.
type LedgerCounts = (i64, i64, i64, i64, i64);
const LEDGER: TableDefinition<'_, (&str, i32), LedgerCounts> = TableDefinition::new("ledger");
const FEED: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("feed");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Format of the index; another number is rebuilt from the lake.
const FORMAT: u32 = 1;

/// Where the index stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Version of `core.events` folded.
    pub folded_version: i64,
    /// Version of `raw.records` at that time.
    pub raw_version: i64,
    /// Application id (`topic/partition`) → next offset.
    pub positions: BTreeMap<String, i64>,
    /// Rows of derived tables up to this version are one per key.
    pub compacted_version: i64,
    /// Rows of derived tables that newer rows have replaced since.
    pub superseded_rows: i64,
    /// Rows of derived tables written in all since the last compaction.
    pub written_rows: i64,
    /// Newest append stamp folded, microseconds.
    pub known_at: Option<i64>,
    /// Which metrics the cells were made by: a hash of their SQL.
    pub metrics: String,
}

/// Why the index could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("index could not {doing}")]
pub struct IndexError {
    /// What was tried.
    pub doing: &'static str,
    /// Cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl IndexError {
    /// What to do about it: nobody but a person can help; the index may be deleted
    /// and is then rebuilt.
    pub fn advice(&self) -> Advice {
        Advice::Stop
    }
}

/// Names what was being done when a step failed.
trait During<T> {
    fn during(self, doing: &'static str) -> Result<T, IndexError>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> During<T> for Result<T, E> {
    fn during(self, doing: &'static str) -> Result<T, IndexError> {
        self.map_err(|e| IndexError { doing, source: e.into() })
    }
}

/// Everything one fold changes.
#[derive(Debug, Default)]
pub struct Change {
    /// Case → its rows now.
    pub cases: BTreeMap<String, Vec<Event>>,
    /// What is added to cells.
    pub cells: Bag,
    /// What is added to the ledger.
    pub ledger: BTreeMap<(String, Day), [i64; 5]>,
    /// Where the index stands afterwards.
    pub progress: Progress,
}

/// The index, opened by the one process that folds.
pub struct Index {
    database: Database,
}

impl Index {
    /// Opens or creates the index at `path`.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).during("open")?;
        }
        let database = Database::builder().set_cache_size(512 * 1024 * 1024).create(path).during("open")?;
        let index = Self { database };
        let format = index.meta("format")?;
        let written = index.database.begin_write().during("open")?;
        {
            written.open_table(CASES).during("open")?;
            written.open_table(CELLS).during("open")?;
            written.open_table(TOTALS).during("open")?;
            written.open_table(LEDGER).during("open")?;
            written.open_table(FEED).during("open")?;
            let mut meta = written.open_table(META).during("open")?;
            meta.insert("format", FORMAT.to_be_bytes().as_slice()).during("open")?;
        }
        written.commit().during("open")?;
        if format.is_some_and(|f| f != FORMAT.to_be_bytes()) {
            index.clear()?;
        }
        Ok(index)
    }

    /// Forgets everything, so that the job folds every version again.
    pub fn clear(&self) -> Result<(), IndexError> {
        let written = self.database.begin_write().during("clear")?;
        for table in ["cases", "cells", "totals", "ledger", "feed"] {
            match table {
                "cases" => written.delete_table(CASES),
                "cells" => written.delete_table(CELLS),
                "totals" => written.delete_table(TOTALS),
                "ledger" => written.delete_table(LEDGER),
                _ => written.delete_table(FEED),
            }
            .during("clear")?;
        }
        {
            written.open_table(CASES).during("clear")?;
            written.open_table(CELLS).during("clear")?;
            written.open_table(TOTALS).during("clear")?;
            written.open_table(LEDGER).during("clear")?;
            written.open_table(FEED).during("clear")?;
            let mut meta = written.open_table(META).during("clear")?;
            meta.remove("progress").during("clear")?;
        }
        written.commit().during("clear")
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, IndexError> {
        let reading = self.database.begin_read().during("read")?;
        match reading.open_table(META) {
            Ok(meta) => Ok(meta.get(key).during("read")?.map(|v| v.value().to_vec())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e).during("read"),
        }
    }

    /// Where the index stands; `None` when it is new or was cleared.
    pub fn progress(&self) -> Result<Option<Progress>, IndexError> {
        self.meta("progress")?.map(|bytes| postcard::from_bytes(&bytes).during("read its progress")).transpose()
    }

    /// The rows of the cases named; a case it does not know is absent.
    pub fn cases<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, Vec<Event>>, IndexError> {
        let reading = self.database.begin_read().during("read cases")?;
        let table = reading.open_table(CASES).during("read cases")?;
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(bytes) = table.get(name).during("read cases")? {
                let rows = postcard::from_bytes(bytes.value()).during("read cases")?;
                found.insert(name.to_owned(), rows);
            }
        }
        Ok(found)
    }

    /// Visits every case.
    pub fn each_case(&self, mut visit: impl FnMut(&str, Vec<Event>)) -> Result<(), IndexError> {
        let reading = self.database.begin_read().during("read cases")?;
        let table = reading.open_table(CASES).during("read cases")?;
        for entry in table.iter().during("read cases")? {
            let (name, bytes) = entry.during("read cases")?;
            visit(name.value(), postcard::from_bytes(bytes.value()).during("read cases")?);
        }
        Ok(())
    }

    /// How many cases it knows.
    pub fn case_count(&self) -> Result<u64, IndexError> {
        let reading = self.database.begin_read().during("read cases")?;
        reading.open_table(CASES).during("read cases")?.len().during("read cases")
    }

    /// Applies one fold, whole or not at all. Returns the ledger rows that changed.
    pub fn apply(&self, change: &Change) -> Result<(), IndexError> {
        let version = change.progress.folded_version;
        let written = self.database.begin_write().during("write")?;
        {
            let mut cases = written.open_table(CASES).during("write")?;
            for (name, rows) in &change.cases {
                let bytes = postcard::to_stdvec(rows).during("write")?;
                cases.insert(name.as_str(), bytes.as_slice()).during("write")?;
            }
            let mut cells = written.open_table(CELLS).during("write")?;
            let mut touched: BTreeMap<CellKey, Totals> = BTreeMap::new();
            for (key, added) in change.cells.iter() {
                add(&mut cells, &key.encode(), added).during("write")?;
                *touched.entry(key.without_duration()).or_default() += *added;
            }
            let mut totals = written.open_table(TOTALS).during("write")?;
            let mut feed = written.open_table(FEED).during("write")?;
            let mut ordinal = 0_u32;
            for (key, added) in touched {
                if added == Totals::default() {
                    continue;
                }
                let now = add(&mut totals, &key.encode(), &added).during("write")?;
                let entry = key.feed_entry(FeedPosition { version, ordinal }, now);
                let bytes = postcard::to_stdvec(&entry).during("write")?;
                feed.insert((version, ordinal), bytes.as_slice()).during("write")?;
                ordinal += 1;
            }
            let mut ledger = written.open_table(LEDGER).during("write")?;
            for ((source, day), added) in &change.ledger {
                let key = (source.as_str(), day.0);
                let (a, b, c, d, e) = ledger.get(key).during("write")?.map(|v| v.value()).unwrap_or_default();
                let now = (a + added[0], b + added[1], c + added[2], d + added[3], e + added[4]);
                ledger.insert(key, now).during("write")?;
            }
            let mut meta = written.open_table(META).during("write")?;
            let progress = postcard::to_stdvec(&change.progress).during("write")?;
            meta.insert("progress", progress.as_slice()).during("write")?;
        }
        written.commit().during("write")
    }

    /// Remembers where the index stands, nothing else.
    pub fn set_progress(&self, progress: &Progress) -> Result<(), IndexError> {
        self.apply(&Change { progress: progress.clone(), ..Change::default() })
    }

    /// Counts of the ledger for the days named, as they would be after `change`.
    pub fn ledger_rows(
        &self,
        change: &BTreeMap<(String, Day), [i64; 5]>,
        folded_version: i64,
    ) -> Result<Vec<LedgerRow>, IndexError> {
        let reading = self.database.begin_read().during("read the ledger")?;
        let table = reading.open_table(LEDGER).during("read the ledger")?;
        let mut rows = Vec::with_capacity(change.len());
        for ((source, day), added) in change {
            let (a, b, c, d, e) =
                table.get((source.as_str(), day.0)).during("read the ledger")?.map(|v| v.value()).unwrap_or_default();
            rows.push(LedgerRow {
                source: source.clone(),
                day: *day,
                pulled: a + added[0],
                stored: b + added[1],
                set_aside: c + added[2],
                duplicates: d + added[3],
                repeats: e + added[4],
                folded_version,
            });
        }
        Ok(rows)
    }

    /// The cells of one metric.
    pub fn cells(&self, metric: &str) -> Result<Bag, IndexError> {
        let reading = self.database.begin_read().during("read cells")?;
        let table = reading.open_table(CELLS).during("read cells")?;
        let (from, to) = CellKey::range(metric);
        let mut bag = Bag::default();
        for entry in table.range(from.as_slice()..to.as_slice()).during("read cells")? {
            let (key, value) = entry.during("read cells")?;
            let key = CellKey::decode(key.value()).during("read cells")?;
            let (numerator, denominator, n) = value.value();
            bag.add(key, Totals { numerator, denominator, n });
        }
        Ok(bag)
    }

    /// Feed entries after `position`, at most `limit` and one more to see whether there are more.
    pub fn feed_after(&self, position: Option<FeedPosition>, limit: usize) -> Result<Vec<FeedEntry>, IndexError> {
        let reading = self.database.begin_read().during("read the feed")?;
        let table = reading.open_table(FEED).during("read the feed")?;
        let from = position.map_or((i64::MIN, 0), |p| (p.version, p.ordinal.saturating_add(1)));
        let mut entries = Vec::new();
        for entry in table.range(from..).during("read the feed")?.take(limit) {
            let (_, bytes) = entry.during("read the feed")?;
            entries.push(postcard::from_bytes(bytes.value()).during("read the feed")?);
        }
        Ok(entries)
    }

    /// Newest feed position.
    pub fn feed_head(&self) -> Result<Option<FeedPosition>, IndexError> {
        let reading = self.database.begin_read().during("read the feed")?;
        let table = reading.open_table(FEED).during("read the feed")?;
        let last = table.last().during("read the feed")?;
        Ok(last.map(|(key, _)| {
            let (version, ordinal) = key.value();
            FeedPosition { version, ordinal }
        }))
    }
}

type Counts<'t> = redb::Table<'t, &'static [u8], (i64, i64, i64)>;

/// Adds to a count; one that comes to nothing is removed, so that equal bags are equal tables.
fn add(table: &mut Counts<'_>, key: &[u8], added: &Totals) -> Result<Totals, redb::StorageError> {
    let (numerator, denominator, n) = table.get(key)?.map(|v| v.value()).unwrap_or_default();
    let mut now = Totals { numerator, denominator, n };
    now += *added;
    if now == Totals::default() {
        table.remove(key)?;
    } else {
        table.insert(key, (now.numerator, now.denominator, now.n))?;
    }
    Ok(now)
}
