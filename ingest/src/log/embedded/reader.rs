//! Reads on from where it stands, page by page, taking partitions in turn.

use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::log::Bounds;
use ahual_schemas::{LogError, LogReader, StoredRecord, TopicPartition};
use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase};
use tokio::sync::watch;

use super::store::{ENDS, PAGES, broken, failed};
use super::{Topic, page};

/// One partition being read.
pub(super) struct Lane {
    pub(super) at: TopicPartition,
    pub(super) topic: Arc<Topic>,
    /// Offset of the next record to deliver.
    pub(super) position: u64,
}

/// Reader of the embedded log.
pub(super) struct EmbeddedReader {
    db: Arc<Database>,
    lanes: Arc<Vec<Lane>>,
    positions: Vec<u64>,
    /// The lane whose turn it is.
    turn: usize,
    /// Decoded records of a page that did not fit into the last answer. Only the
    /// positions decide what is delivered; this spares reading the page again.
    rest: Rest,
    changed: watch::Receiver<u64>,
}

#[derive(Default)]
struct Rest {
    lane: usize,
    records: std::vec::IntoIter<StoredRecord>,
}

type Pages = ReadOnlyTable<(u32, u32, u64), &'static [u8]>;

/// What one visit to the store found, and where it leaves the reader.
struct Found {
    records: Vec<StoredRecord>,
    positions: Vec<u64>,
    turn: usize,
    rest: Rest,
}

impl EmbeddedReader {
    pub(super) fn new(db: Arc<Database>, lanes: Vec<Lane>, changed: watch::Receiver<u64>) -> Self {
        let positions = lanes.iter().map(|lane| lane.position).collect();
        Self { db, lanes: Arc::new(lanes), positions, turn: 0, rest: Rest::default(), changed }
    }

    /// Whether a lane has something to deliver, or an error for one that fell behind.
    fn ready(&self) -> Result<bool, LogError> {
        let mut ready = false;
        for (lane, position) in self.lanes.iter().zip(&self.positions) {
            let bounds = lane.topic.bounds(lane.at.partition);
            if *position < bounds.first {
                return Err(fell_behind(&lane.at, *position, bounds.first));
            }
            ready |= *position < bounds.next;
        }
        Ok(ready)
    }
}

#[async_trait]
impl LogReader for EmbeddedReader {
    async fn next(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        wait: Duration,
    ) -> Result<Vec<StoredRecord>, LogError> {
        let deadline = tokio::time::Instant::now().checked_add(wait);
        while !self.ready()? {
            let changed = self.changed.changed();
            let news = match deadline {
                Some(deadline) => match tokio::time::timeout_at(deadline, changed).await {
                    Ok(news) => news,
                    Err(_) => return Ok(Vec::new()),
                },
                None => changed.await,
            };
            news.map_err(|closed| LogError::Unavailable {
                doing: "read: the log was closed",
                source: Box::new(closed),
            })?;
        }
        let (db, lanes) = (self.db.clone(), self.lanes.clone());
        let (positions, turn) = (self.positions.clone(), self.turn);
        let rest = std::mem::take(&mut self.rest);
        let found = tokio::task::spawn_blocking(move || {
            let start = Found { records: Vec::new(), positions, turn, rest };
            gather(&db, &lanes, start, max_records.max(1), max_bytes)
        })
        .await
        .map_err(|lost| LogError::Unavailable { doing: "read", source: Box::new(lost) })??;
        // From here on nothing waits, so a caller that gives up earlier finds the
        // reader standing where it stood.
        self.positions = found.positions;
        self.turn = found.turn;
        self.rest = found.rest;
        Ok(found.records)
    }
}

fn gather(
    db: &Database,
    lanes: &[Lane],
    mut found: Found,
    max_records: usize,
    max_bytes: usize,
) -> Result<Found, LogError> {
    // Before the snapshot: what is published is durable, so the snapshot holds it.
    let bounds: Vec<Bounds> = lanes.iter().map(|lane| lane.topic.bounds(lane.at.partition)).collect();
    let txn = db.begin_read().map_err(|e| failed("read", e.into()))?;
    let pages = txn.open_table(PAGES).map_err(|e| failed("read", e.into()))?;
    let mut bytes = 0;
    let mut idle = 0;
    while idle < lanes.len() {
        let lane = &lanes[found.turn];
        let position = found.positions[found.turn];
        if found.rest.lane != found.turn || found.rest.records.as_slice().first().is_none_or(|r| r.offset != position) {
            if found.records.len() >= max_records || bytes >= max_bytes && !found.records.is_empty() {
                return Ok(found);
            }
            found.rest = Rest { lane: found.turn, records: Vec::new().into_iter() };
            let held = bounds[found.turn];
            if position >= held.first && position < held.next {
                match load(&txn, &pages, lane, position) {
                    Ok(records) => found.rest.records = records.into_iter(),
                    // What was found is delivered first; the error comes again.
                    Err(_) if !found.records.is_empty() => return Ok(found),
                    Err(told) => return Err(told),
                }
            }
        }
        if found.rest.records.as_slice().is_empty() {
            idle += 1;
            found.turn = (found.turn + 1) % lanes.len();
            continue;
        }
        idle = 0;
        while let Some(record) = found.rest.records.as_slice().first() {
            let size = size(record);
            let full = found.records.len() >= max_records || bytes + size > max_bytes;
            if full && !found.records.is_empty() {
                return Ok(found);
            }
            bytes += size;
            found.positions[found.turn] = record.offset + 1;
            found.records.extend(found.rest.records.next());
        }
        found.turn = (found.turn + 1) % lanes.len();
    }
    Ok(found)
}

/// The first offset whose record is not older, by halving: stamps of a partition never go back.
pub(super) fn first_since(db: &Database, lane: &Lane, appended_at_ms: i64) -> Result<u64, LogError> {
    let txn = db.begin_read().map_err(|e| failed("read", e.into()))?;
    let pages = txn.open_table(PAGES).map_err(|e| failed("read", e.into()))?;
    let bounds = lane.topic.bounds(lane.at.partition);
    let (mut low, mut high) = (bounds.first, bounds.next);
    while low < high {
        let middle = low + (high - low) / 2;
        match load(&txn, &pages, lane, middle) {
            Ok(records) if records.first().is_some_and(|r| r.appended_at_ms >= appended_at_ms) => high = middle,
            Ok(_) | Err(LogError::FellBehind { .. }) => low = middle + 1,
            Err(told) => return Err(told),
        }
    }
    Ok(low)
}

/// Records of the page that holds `position`, from there on.
fn load(txn: &ReadTransaction, pages: &Pages, lane: &Lane, position: u64) -> Result<Vec<StoredRecord>, LogError> {
    let (topic, partition) = (lane.topic.id, lane.at.partition);
    let damaged = |what: &str, source| LogError::Broken {
        what: format!(
            "{}/{partition} offset {position}: {what}; restore the log's folder from a copy, or take the \
             missing records from the source again",
            lane.at.topic
        ),
        source,
    };
    let mut upto =
        pages.range((topic, partition, 0)..=(topic, partition, position)).map_err(|e| failed("read", e.into()))?;
    let records = match upto.next_back() {
        None => Vec::new(),
        Some(entry) => {
            let (key, value) = entry.map_err(|e| failed("read", e.into()))?;
            page::decode(key.value(), &lane.at, Bytes::copy_from_slice(value.value()), position)
                .map_err(|damage| damaged("its page is damaged", Some(Box::new(damage))))?
        }
    };
    if records.first().is_some_and(|r| r.offset == position) {
        return Ok(records);
    }
    // Retention may have removed it after we looked at the bounds.
    let ends = txn.open_table(ENDS).map_err(|e| failed("read", e.into()))?;
    let first = ends.get((topic, partition)).map_err(|e| failed("read", e.into()))?.map_or(0, |ends| ends.value().0);
    if position < first {
        return Err(fell_behind(&lane.at, position, first));
    }
    Err(damaged("no page holds it", None))
}

/// The error for a position that retention has passed.
pub(super) fn fell_behind(at: &TopicPartition, asked: u64, first: u64) -> LogError {
    LogError::FellBehind { topic: at.topic.clone(), partition: at.partition, asked, first }
}

fn size(record: &StoredRecord) -> usize {
    record.key.len() + record.payload.len() + record.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
}

/// An error for a start that cannot be.
pub(super) fn past_the_end(at: &TopicPartition, asked: u64, next: u64) -> LogError {
    broken(format!(
        "{}/{} ends at offset {next}, and a reader asks for {asked}: the log is not the one this position was \
         taken from",
        at.topic, at.partition
    ))
}
