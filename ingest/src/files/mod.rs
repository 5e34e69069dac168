//! Files: CSV, JSON lines, JSON documents and workbooks, packed with gzip or not; read
//! once, or watched.
//!
//! The unit is a file of one name *and* content. A file that is sent again, grown or
//! corrected under its old name is read again as a whole: its records keep their
//! identity, so what was there before is a duplicate and what is new is news.

mod config;
mod csv;
mod json;
mod rows;
mod sheet;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ahual_schemas::record::JSON;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::config::Charset;
pub use self::config::{FilesConfig, Format, Paths, TotalRows};
use self::rows::{Fault, Line, Rows};
use self::snapshot::{Snapshot, Taken, name_of};
use crate::config::{ConfigError, setting};
use crate::connector::{Connector, ConnectorError, Cursor, Description, Found, Item, Page, Refused, Replay};
use crate::identity::Identity;

const SHAPE: u32 = 1;
/// A page holds about this many bytes of records at most.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Files that are gone are remembered up to this many.
const REMEMBERED_FILES: usize = 4_096;

/// Reads files.
pub struct FilesConnector {
    door: Arc<Folder>,
    reading: Option<Reading>,
}

/// What does not change while the source runs.
struct Folder {
    base_dir: PathBuf,
    config: FilesConfig,
    charset: Charset,
    /// Columns the header must have because the identity needs them.
    needed: Vec<String>,
    counts_occurrences: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    /// Files read to their end, by path.
    done: BTreeMap<String, Done>,
    current: Option<Current>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Done {
    hash: String,
    bytes: u64,
    modified_ns: u64,
    rows: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Current {
    file: String,
    hash: String,
    /// Rows already given.
    row: u64,
}

/// A file being read.
struct Reading {
    file: String,
    name: String,
    hash: String,
    /// Size and time of change before it was copied: whatever is written later changes them.
    stamp: (u64, u64),
    rows: Rows,
    row: u64,
    /// How often each content was met, where identity asks for it.
    met: Option<HashMap<[u8; 16], u32>>,
}

impl FilesConnector {
    /// Checks the configuration; opens nothing.
    pub fn new(name: &str, config: FilesConfig, base_dir: &Path, identity: Arc<Identity>) -> Result<Self, ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("files.{key}"), what);
        if config.path.list().is_empty() || config.path.list().iter().any(|path| path.trim().is_empty()) {
            return Err(wrong("path", "names no file; write a path or a list of paths"));
        }
        for path in config.path.list() {
            let folder = Path::new(&path).parent();
            if folder.is_some_and(|folder| folder.to_string_lossy().contains(['*', '?'])) {
                return Err(wrong("path", "may hold * and ? in its last component only"));
            }
        }
        if config.delimiter.is_some_and(|d| !d.is_ascii() || matches!(d, '"' | '\n' | '\r')) {
            return Err(wrong("delimiter", "must be one ASCII character other than a quote or a line end"));
        }
        let Some(charset) = Charset::of(config.encoding.as_deref()) else {
            return Err(wrong(
                "encoding",
                "is no encoding label of the WHATWG list; write one such as windows-1251, or detect",
            ));
        };
        if config.page_rows == 0 {
            return Err(wrong("page_rows", "must be at least 1"));
        }
        if !(0.0..=86_400.0).contains(&config.settle_s) {
            return Err(wrong("settle_s", "must be between 0 and 86400"));
        }
        let needed = identity.needed_columns().map(str::to_owned).collect();
        let counts_occurrences = identity.counts_occurrences();
        let base_dir = base_dir.to_owned();
        let door = Arc::new(Folder { base_dir, config, charset, needed, counts_occurrences });
        Ok(Self { door, reading: None })
    }
}

#[async_trait]
impl Connector for FilesConnector {
    fn describe(&self) -> Description {
        Description { kind: "files", replay: Replay::Exact, endless: self.door.config.watch }
    }

    async fn next_page(&mut self, cursor: Option<&Cursor>, _now: DateTime<Utc>) -> Result<Page, ConnectorError> {
        let position: Position = match cursor {
            Some(cursor) => cursor.position(SHAPE)?,
            None => Position::default(),
        };
        let door = Arc::clone(&self.door);
        let reading = self.reading.take();
        // Files block; a reading lost with this future is opened again from the cursor.
        let answer = tokio::task::spawn_blocking(move || door.page(position, reading)).await;
        let (page, reading) = answer.map_err(|e| ConnectorError::Io {
            doing: "finish reading",
            place: "the files".to_owned(),
            source: std::io::Error::other(e),
        })??;
        self.reading = reading;
        Ok(page)
    }

    fn summarise(&self, cursor: &Cursor) -> String {
        let Ok(position) = cursor.position::<Position>(SHAPE) else { return "unreadable".to_owned() };
        let rows: u64 = position.done.values().map(|done| done.rows).sum();
        match position.current {
            Some(current) => {
                format!("{} files ({rows} rows) done, in {} at row {}", position.done.len(), current.file, current.row)
            }
            None => format!("{} files ({rows} rows) done", position.done.len()),
        }
    }
}

type PageAndReading = (Page, Option<Reading>);

impl Folder {
    fn page(&self, mut position: Position, reading: Option<Reading>) -> Result<PageAndReading, ConnectorError> {
        let mut items = Vec::new();
        let reading = match (&position.current, reading) {
            (Some(current), Some(reading))
                if (&reading.file, &reading.hash, reading.row) == (&current.file, &current.hash, current.row) =>
            {
                Some(reading)
            }
            (Some(_), _) => self.reopen(&mut position, &mut items)?,
            (None, _) => None,
        };
        let mut reading = match reading {
            Some(reading) => reading,
            None if !items.is_empty() => return Ok((page(items, &position, true)?, None)),
            None => match self.open_next(&mut position, &mut items)? {
                Some(reading) => reading,
                None => {
                    let more = !items.is_empty();
                    return Ok((page(items, &position, more)?, None));
                }
            },
        };
        let mut bytes = 0;
        while items.len() < self.config.page_rows && bytes < PAGE_BYTES {
            let Some(item) = reading.item()? else {
                let Reading { file, hash, stamp: (bytes, modified_ns), row: rows, .. } = reading;
                position.done.insert(file, Done { hash, bytes, modified_ns, rows });
                position.current = None;
                self.forget_gone(&mut position);
                return Ok((page(items, &position, true)?, None));
            };
            bytes += match &item {
                Item::Record(found) => found.payload.len(),
                Item::SetAside(refused) => refused.bytes.len(),
            };
            items.push(item);
        }
        let (file, hash) = (reading.file.clone(), reading.hash.clone());
        position.current = Some(Current { file, hash, row: reading.row });
        Ok((page(items, &position, true)?, Some(reading)))
    }

    /// The file the cursor stands in, at its row again. Where the file is gone or has
    /// another content by now, says so or begins it anew.
    fn reopen(&self, position: &mut Position, items: &mut Vec<Item>) -> Result<Option<Reading>, ConnectorError> {
        let Some(current) = position.current.take() else { return Ok(None) };
        let path = self.base_dir.join(&current.file);
        if !path.exists() {
            items.push(Item::SetAside(Refused {
                reason: format!(
                    "file {} vanished after {} rows of it were taken; the rest was never read; send it again",
                    name_of(&path),
                    current.row
                ),
                delivery: format!("{}@{}:vanished", name_of(&path), short(&current.hash)),
                bytes: Bytes::new(),
            }));
            return Ok(None);
        }
        let Some(mut reading) = self.open(&current.file, position, items)? else { return Ok(None) };
        if reading.hash != current.hash {
            // Another content under the same name is another unit, read from its start.
            return Ok(Some(reading));
        }
        while reading.row < current.row {
            if reading.item()?.is_none() {
                break;
            }
        }
        Ok(Some(reading))
    }

    /// Opens the next file that is not done. What turns out unreadable is set aside.
    fn open_next(&self, position: &mut Position, items: &mut Vec<Item>) -> Result<Option<Reading>, ConnectorError> {
        for file in self.list()? {
            let path = self.base_dir.join(&file);
            let stamp = stamp(&path)?;
            if let Some(done) = position.done.get(&file)
                && (done.bytes, done.modified_ns) == stamp
            {
                continue;
            }
            if !self.has_settled(stamp.1) {
                continue;
            }
            if let Some(reading) = self.open(&file, position, items)? {
                return Ok(Some(reading));
            }
            if !items.is_empty() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn open(
        &self,
        file: &str,
        position: &mut Position,
        items: &mut Vec<Item>,
    ) -> Result<Option<Reading>, ConnectorError> {
        let path = self.base_dir.join(file);
        let name = name_of(&path);
        let (bytes, modified_ns) = stamp(&path)?;
        let done = |hash: &str, rows| Done { hash: hash.to_owned(), bytes, modified_ns, rows };
        let mut snapshot = match Snapshot::take(&path, self.config.max_unpacked_bytes)? {
            Taken::Whole(snapshot) => snapshot,
            Taken::Damaged { hash, reason, head } => {
                if position.done.get(file).is_none_or(|known| known.hash != hash) {
                    items.push(Item::SetAside(Refused {
                        reason,
                        delivery: format!("{name}@{}", short(&hash)),
                        bytes: head,
                    }));
                }
                position.done.insert(file.to_owned(), done(&hash, 0));
                return Ok(None);
            }
        };
        let hash = snapshot.hash.clone();
        if let Some(known) = position.done.get(file)
            && known.hash == hash
        {
            let rows = known.rows;
            position.done.insert(file.to_owned(), done(&hash, rows));
            return Ok(None);
        }
        match Rows::open(&name, &mut snapshot, &self.config, self.charset, &self.needed) {
            Ok(rows) => Ok(Some(Reading {
                file: file.to_owned(),
                name,
                hash,
                stamp: (bytes, modified_ns),
                rows,
                row: 0,
                met: self.counts_occurrences.then(HashMap::new),
            })),
            Err(Fault::Source(error)) => Err(error),
            Err(Fault::File(reason)) => {
                items.push(Item::SetAside(Refused {
                    reason: format!("file {name} is set aside whole: {reason}"),
                    delivery: format!("{name}@{}", short(&hash)),
                    bytes: head_of(&path)?,
                }));
                position.done.insert(file.to_owned(), done(&hash, 0));
                Ok(None)
            }
        }
    }

    /// The paths of the files there are, in order of name, relative to the base folder.
    fn list(&self) -> Result<Vec<String>, ConnectorError> {
        let mut files = Vec::new();
        for configured in self.config.path.list() {
            let path = self.base_dir.join(&configured);
            let last = name_of(&path);
            let (folder, pattern) = if last.contains(['*', '?']) {
                (Path::new(&configured).parent().map(Path::to_owned).unwrap_or_default(), last)
            } else if path.is_dir() {
                (PathBuf::from(&configured), "*".to_owned())
            } else {
                if path.exists() {
                    files.push(configured);
                } else if !self.config.watch {
                    return Err(nothing_there(&configured, "there is no such file; correct files.path"));
                }
                continue;
            };
            let mut found: Vec<String> = Vec::new();
            let place = folder.display().to_string();
            let failed = |source| ConnectorError::Io { doing: "list", place: place.clone(), source };
            for entry in std::fs::read_dir(self.base_dir.join(&folder)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let unfinished = name.starts_with('.')
                    || [".tmp", ".part", ".partial", ".crdownload"].iter().any(|end| name.ends_with(end));
                if !unfinished && matches(&pattern, &name) && entry.path().is_file() {
                    found.push(folder.join(name).to_string_lossy().into_owned());
                }
            }
            if found.is_empty() && !self.config.watch {
                return Err(nothing_there(
                    &configured,
                    "no file matches; correct files.path, or set files.watch to wait for one",
                ));
            }
            found.sort();
            files.append(&mut found);
        }
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        Ok(files)
    }

    fn has_settled(&self, modified_ns: u64) -> bool {
        let settle = Duration::from_secs_f64(self.config.settle_s);
        let modified = UNIX_EPOCH + Duration::from_nanos(modified_ns);
        settle.is_zero() || SystemTime::now().duration_since(modified).is_ok_and(|rested| rested >= settle)
    }

    fn forget_gone(&self, position: &mut Position) {
        let mut excess = position.done.len().saturating_sub(REMEMBERED_FILES);
        if excess == 0 {
            return;
        }
        position.done.retain(|file, _| {
            let drop = excess > 0 && !self.base_dir.join(file).exists();
            excess -= usize::from(drop);
            !drop
        });
    }
}

impl Reading {
    /// The next row as an item.
    fn item(&mut self) -> Result<Option<Item>, ConnectorError> {
        let row = self.rows.next().map_err(|source| ConnectorError::Io {
            doing: "read the copy of",
            place: self.name.clone(),
            source,
        })?;
        let Some(row) = row else { return Ok(None) };
        self.row += 1;
        let delivery = format!("{}@{}:{}", self.name, short(&self.hash), self.row);
        Ok(Some(match row.line {
            Line::SetAside { reason, bytes } => {
                Item::SetAside(Refused { reason: format!("file {}, {reason}", self.name), delivery, bytes })
            }
            Line::Record(payload) => {
                let occurrence = self.occurrence(&payload);
                let place = Some(format!("{}:{}", self.name, self.row));
                Item::Record(Found { payload, content_type: JSON, delivery, occurrence, place, identity: None })
            }
        }))
    }

    fn occurrence(&mut self, payload: &[u8]) -> u32 {
        let Some(met) = &mut self.met else { return 1 };
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(payload).as_bytes()[..16]);
        let count = met.entry(key).or_insert(0);
        *count += 1;
        *count
    }
}

fn page(items: Vec<Item>, position: &Position, more: bool) -> Result<Page, ConnectorError> {
    Ok(Page { items, cursor: Cursor::of(SHAPE, position)?, more })
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn nothing_there(path: &str, what: &str) -> ConnectorError {
    ConnectorError::Input { place: path.to_owned(), what: what.to_owned() }
}

/// Size and time of change, which tell whether a file needs to be looked at again.
fn stamp(path: &Path) -> Result<(u64, u64), ConnectorError> {
    let failed = |source| ConnectorError::Io { doing: "look at", place: path.display().to_string(), source };
    let about = std::fs::metadata(path).map_err(failed)?;
    let modified = about.modified().map_err(failed)?;
    let nanos = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok((about.len(), u64::try_from(nanos).unwrap_or(u64::MAX)))
}

fn head_of(path: &Path) -> Result<Bytes, ConnectorError> {
    use std::io::Read;
    let failed = |source| ConnectorError::Io { doing: "read", place: path.display().to_string(), source };
    let mut head = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(ahual_schemas::log::MAX_RECORD_BYTES as u64).read_to_end(&mut head))
        .map_err(failed)?;
    Ok(head.into())
}

/// Whether `name` fits a pattern of `*` (any text) and `?` (one character).
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}
