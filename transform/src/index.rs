//! The keyed local index: what an update needs to find without reading history.
//!
//! For each case its event rows, for each place of the feed its totals, the ledger's
//! counts and the feed, all changed in **one** transaction together with the version
//! of `core.events` that was folded.
//!
//! The lake is the truth and the index is only quick, so most of its transactions are
//! not made durable one by one: a *checkpoint* makes all before it durable at once.
//! After a crash the index stands at its last checkpoint and says so
//! ([`Index::progress`]); the job folds the versions after it again, which gives the
//! same rows, the same totals and the same feed entries. Without an index the job
//! builds it anew from the lake (`rebuild.rs`).

use std::collections::BTreeMap;
use std::path::Path;

use ahual_schemas::Advice;
use ahual_schemas::event::Event;
use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::tables::LedgerRow;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::figures::{Bag, Place, Totals};
use crate::ledger::Ledger;

/// Case → its rows, compressed: a case's rows repeat each other.
const CASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("cases");
/// Place → totals of each metric there. Everything a case contributes lies at a few
/// neighbouring places, so an update touches few pages however long the history is.
const TOTALS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("totals");
/// Totals while the index is rebuilt.
const NEXT_TOTALS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("next_totals");
/// Pulled, stored, set aside, duplicates, repeats.
type LedgerCounts = (i64, i64, i64, i64, i64);
const LEDGER: TableDefinition<'_, (&str, i32), LedgerCounts> = TableDefinition::new("ledger");
const FEED: TableDefinition<'_, (i64, u32), &[u8]> = TableDefinition::new("feed");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Format of the index; another number is rebuilt from the lake.
const FORMAT: u32 = 2;

const CACHE_BYTES: usize = 512 * 1024 * 1024;
/// Where a rebuild begins to count feed entries when the index cannot say what was
/// said at that version before: above anything an update ever says.
const REBUILT_ORDINAL: u32 = 1 << 31;

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
    /// Rows of kept cells right after their last compaction.
    pub cell_rows: i64,
    /// Rows of kept cells appended since.
    pub added_cell_rows: i64,
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
    /// What is added to the kept cells.
    pub cells: Bag,
    /// What is added to the ledger.
    pub ledger: Ledger,
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
        let open = || Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = match open() {
            Err(error @ redb::DatabaseError::DatabaseAlreadyOpen) => Err(error).during("open")?,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the index does not open; it is built anew from the lake");
                std::fs::remove_file(path).during("open")?;
                open().during("open")?
            }
            Ok(database) => database,
        };
        let index = Self { database };
        let format = index.meta("format")?;
        if format.is_some_and(|f| f != FORMAT.to_be_bytes()) {
            drop(index);
            std::fs::remove_file(path).during("open")?;
            return Self::open(path);
        }
        let written = index.database.begin_write().during("open")?;
        {
            written.open_table(CASES).during("open")?;
            written.open_table(TOTALS).during("open")?;
            written.open_table(LEDGER).during("open")?;
            written.open_table(FEED).during("open")?;
            let mut meta = written.open_table(META).during("open")?;
            meta.insert("format", FORMAT.to_be_bytes().as_slice()).during("open")?;
        }
        written.commit().during("open")?;
        Ok(index)
    }

    /// Begins to build the index anew: forgets cases, ledger and progress. Totals and feed
    /// stay until [`Index::finish_rebuild`], which needs them to say what changed.
    pub fn begin_rebuild(&self) -> Result<(), IndexError> {
        let written = self.database.begin_write().during("clear")?;
        written.delete_table(CASES).during("clear")?;
        written.delete_table(LEDGER).during("clear")?;
        written.delete_table(NEXT_TOTALS).during("clear")?;
        {
            written.open_table(CASES).during("clear")?;
            written.open_table(LEDGER).during("clear")?;
            written.open_table(NEXT_TOTALS).during("clear")?;
            let mut meta = written.open_table(META).during("clear")?;
            meta.remove("progress").during("clear")?;
        }
        written.commit().during("clear")
    }

    /// Takes some cases, each of which comes once, and what they contribute.
    pub fn rebuild(
        &self,
        cases: &BTreeMap<String, Vec<Event>>,
        cells: &Bag,
        ledger: &Ledger,
    ) -> Result<(), IndexError> {
        let written = self.database.begin_write().during("rebuild")?;
        write_cases(&written, cases)?;
        write_ledger(&written, ledger)?;
        {
            let mut totals = written.open_table(NEXT_TOTALS).during("rebuild")?;
            for (place, added) in cells.by_place() {
                add(&mut totals, &place, added)?;
            }
        }
        written.commit().during("rebuild")
    }

    /// Ends a rebuild: the new totals take the place of the old ones, and whatever differs
    /// from what the feed last said is said at `progress.folded_version`, after all that
    /// was said there. Whoever resumes the feed from before then misses nothing.
    pub fn finish_rebuild(&self, progress: &Progress) -> Result<(), IndexError> {
        let written = self.database.begin_write().during("rebuild")?;
        {
            let old = written.open_table(TOTALS).during("rebuild")?;
            let new = written.open_table(NEXT_TOTALS).during("rebuild")?;
            let mut feed = written.open_table(FEED).during("rebuild")?;
            let version = progress.folded_version;
            let last = feed.range((version, 0)..=(version, u32::MAX)).during("rebuild")?.next_back();
            let said = last.transpose().during("rebuild")?.map(|(key, _)| key.value().1);
            // An index that was lost does not know what it had said at this version.
            let mut ordinal = said.map_or(REBUILT_ORDINAL, |said| said.saturating_add(1));
            let mut differs = |place: &[u8], before: MetricTotals, mut after: MetricTotals| {
                for metric in before.keys() {
                    after.entry(metric.clone()).or_default();
                }
                let place = Place::decode(place).during("rebuild")?;
                for (metric, now) in after.iter().filter(|(metric, now)| before.get(*metric) != Some(now)) {
                    announce(&mut feed, &place, metric, FeedPosition { version, ordinal }, *now)?;
                    ordinal = ordinal.saturating_add(1);
                }
                Ok(())
            };
            for entry in new.iter().during("rebuild")? {
                let (place, totals) = entry.during("rebuild")?;
                let before = old.get(place.value()).during("rebuild")?.map(|v| decode(v.value())).transpose()?;
                differs(place.value(), before.unwrap_or_default(), decode(totals.value())?)?;
            }
            for entry in old.iter().during("rebuild")? {
                let (place, totals) = entry.during("rebuild")?;
                if new.get(place.value()).during("rebuild")?.is_none() {
                    differs(place.value(), decode(totals.value())?, MetricTotals::new())?;
                }
            }
        }
        written.delete_table(TOTALS).during("rebuild")?;
        written.rename_table(NEXT_TOTALS, TOTALS).during("rebuild")?;
        write_progress(&written, progress)?;
        written.commit().during("rebuild")
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
                found.insert(name.to_owned(), unpack(bytes.value())?);
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
            visit(name.value(), unpack(bytes.value())?);
        }
        Ok(())
    }

    /// How many cases it knows.
    pub fn case_count(&self) -> Result<u64, IndexError> {
        let reading = self.database.begin_read().during("read cases")?;
        reading.open_table(CASES).during("read cases")?.len().during("read cases")
    }

    /// Applies one fold, whole or not at all; durable with the next [`Index::checkpoint`].
    pub fn apply(&self, change: &Change) -> Result<(), IndexError> {
        let version = change.progress.folded_version;
        let mut written = self.database.begin_write().during("write")?;
        written.set_durability(Durability::None).during("write")?;
        write_cases(&written, &change.cases)?;
        write_ledger(&written, &change.ledger)?;
        {
            let mut totals = written.open_table(TOTALS).during("write")?;
            let mut feed = written.open_table(FEED).during("write")?;
            let mut ordinal = 0_u32;
            for (place, added) in change.cells.by_place() {
                for (metric, now) in add(&mut totals, &place, added)? {
                    announce(&mut feed, &place, &metric, FeedPosition { version, ordinal }, now)?;
                    ordinal += 1;
                }
            }
        }
        write_progress(&written, &change.progress)?;
        written.commit().during("write")
    }

    /// Remembers where the index stands, and makes everything before durable.
    pub fn checkpoint(&self, progress: &Progress) -> Result<(), IndexError> {
        let mut written = self.database.begin_write().during("checkpoint")?;
        // Opening after a crash then needs no walk through the whole index.
        written.set_quick_repair(true);
        write_progress(&written, progress)?;
        written.commit().during("checkpoint")
    }

    /// Counts of the ledger for the days named, as they would be after `change`.
    pub fn ledger_rows(&self, change: &Ledger, folded_version: i64) -> Result<Vec<LedgerRow>, IndexError> {
        let reading = self.database.begin_read().during("read the ledger")?;
        let table = reading.open_table(LEDGER).during("read the ledger")?;
        let mut rows = Vec::new();
        for ((source, day), added) in change.iter() {
            let (a, b, c, d, e) =
                table.get((source.as_str(), day.0)).during("read the ledger")?.map(|v| v.value()).unwrap_or_default();
            let counts = [a + added[0], b + added[1], c + added[2], d + added[3], e + added[4]];
            rows.push(LedgerRow::of(source.clone(), *day, counts, folded_version));
        }
        Ok(rows)
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

/// Totals of each metric at one place.
type MetricTotals = BTreeMap<String, Totals>;
type Bytes<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;
type Feed<'t> = redb::Table<'t, (i64, u32), &'static [u8]>;

fn decode(bytes: &[u8]) -> Result<MetricTotals, IndexError> {
    postcard::from_bytes(bytes).during("read totals")
}

fn unpack(bytes: &[u8]) -> Result<Vec<Event>, IndexError> {
    let rows = snap::raw::Decoder::new().decompress_vec(bytes).during("read cases")?;
    postcard::from_bytes(&rows).during("read cases")
}

fn write_cases(written: &WriteTransaction, cases: &BTreeMap<String, Vec<Event>>) -> Result<(), IndexError> {
    let mut table = written.open_table(CASES).during("write")?;
    let mut packer = snap::raw::Encoder::new();
    for (name, rows) in cases {
        let bytes = postcard::to_stdvec(rows).during("write")?;
        let bytes = packer.compress_vec(&bytes).during("write")?;
        table.insert(name.as_str(), bytes.as_slice()).during("write")?;
    }
    Ok(())
}

fn write_ledger(written: &WriteTransaction, added: &Ledger) -> Result<(), IndexError> {
    let mut ledger = written.open_table(LEDGER).during("write")?;
    for ((source, day), added) in added.iter() {
        let key = (source.as_str(), day.0);
        let (a, b, c, d, e) = ledger.get(key).during("write")?.map(|v| v.value()).unwrap_or_default();
        let now = (a + added[0], b + added[1], c + added[2], d + added[3], e + added[4]);
        ledger.insert(key, now).during("write")?;
    }
    Ok(())
}

fn write_progress(written: &WriteTransaction, progress: &Progress) -> Result<(), IndexError> {
    let mut meta = written.open_table(META).during("write")?;
    let progress = postcard::to_stdvec(progress).during("write")?;
    meta.insert("progress", progress.as_slice()).during("write")?;
    Ok(())
}

/// Adds to the totals of a place and returns those that changed. What comes to nothing is
/// removed, so that equal bags are equal tables.
fn add(table: &mut Bytes<'_>, place: &Place, added: MetricTotals) -> Result<MetricTotals, IndexError> {
    let key = place.encode();
    let known = table.get(key.as_slice()).during("write")?.map(|v| decode(v.value())).transpose()?;
    let mut totals = known.unwrap_or_default();
    let mut changed = MetricTotals::new();
    for (metric, added) in added {
        if added == Totals::default() {
            continue;
        }
        let now = totals.entry(metric.clone()).or_default();
        *now += added;
        changed.insert(metric, *now);
    }
    totals.retain(|_, now| *now != Totals::default());
    if totals.is_empty() {
        table.remove(key.as_slice()).during("write")?;
    } else {
        let bytes = postcard::to_stdvec(&totals).during("write")?;
        table.insert(key.as_slice(), bytes.as_slice()).during("write")?;
    }
    Ok(changed)
}

fn announce(
    feed: &mut Feed<'_>,
    place: &Place,
    metric: &str,
    position: FeedPosition,
    now: Totals,
) -> Result<(), IndexError> {
    let bytes = postcard::to_stdvec(&place.feed_entry(metric, position, now)).during("write")?;
    feed.insert((position.version, position.ordinal), bytes.as_slice()).during("write")?;
    Ok(())
}
