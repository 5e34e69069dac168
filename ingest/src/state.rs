//! Where cursors rest: one small redb file, a cursor per source.

use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::connector::Cursor;

const CURSORS: TableDefinition<'_, &str, &str> = TableDefinition::new("cursors");
const SHAPE: u32 = 1;

/// Why a cursor could not be read or saved.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error("cursor store cannot {doing}")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// Cause.
        #[source]
        source: Box<redb::Error>,
    },
    /// What is stored is not a cursor this version knows.
    #[error("stored cursor of source {source_name} is not readable: {what}")]
    Unreadable {
        /// Source.
        source_name: String,
        /// What is wrong.
        what: String,
    },
}

impl StateError {
    /// What to do about it: a store that fails needs a person.
    pub fn advice(&self) -> ahual_schemas::Advice {
        ahual_schemas::Advice::Stop
    }
}

/// Makes a database file where there is none, whole or not at all: a process that is
/// killed while it makes one must not leave a file that nobody can open.
pub(crate) fn make_whole(path: &Path) -> Result<(), DatabaseError> {
    if path.exists() {
        return Ok(());
    }
    let making = path.with_extension(format!("making-{}", std::process::id()));
    drop(Database::create(&making)?);
    // A link does not replace what another process has made meanwhile.
    let linked = std::fs::hard_link(&making, path).or_else(|e| if path.exists() { Ok(()) } else { Err(e) });
    let removed = std::fs::remove_file(&making);
    linked.and(removed).map_err(|e| DatabaseError::Storage(StorageError::Io(e)))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    shape: u32,
    cursor: Cursor,
}

/// Cursors of all sources, durable. A save returns once it is on disk.
#[derive(Debug)]
pub struct CursorStore {
    database: Database,
}

impl CursorStore {
    /// Opens the store at `path`, making it when it is not there. One process at a time.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let database = make_whole(path).and_then(|()| Database::create(path)).map_err(|e| failed("be opened", e))?;
        let write = database.begin_write().map_err(|e| failed("begin", e))?;
        write.open_table(CURSORS).map_err(|e| failed("make its table", e))?;
        write.commit().map_err(|e| failed("commit", e))?;
        Ok(Self { database })
    }

    /// The cursor last saved for `source`.
    pub fn load(&self, source: &str) -> Result<Option<Cursor>, StateError> {
        let read = self.database.begin_read().map_err(|e| failed("begin", e))?;
        let table = read.open_table(CURSORS).map_err(|e| failed("open its table", e))?;
        let Some(text) = table.get(source).map_err(|e| failed("read", e))? else { return Ok(None) };
        let unreadable = |what: String| StateError::Unreadable { source_name: source.to_owned(), what };
        let stored: Stored = serde_json::from_str(text.value()).map_err(|e| unreadable(e.to_string()))?;
        if stored.shape != SHAPE {
            return Err(unreadable(format!("it has shape {}, this version knows {SHAPE}", stored.shape)));
        }
        Ok(Some(stored.cursor))
    }

    /// Saves the cursor of `source`; durable on return.
    pub fn save(&self, source: &str, cursor: &Cursor) -> Result<(), StateError> {
        let stored = Stored { shape: SHAPE, cursor: cursor.clone() };
        let text = serde_json::to_string(&stored)
            .map_err(|e| StateError::Unreadable { source_name: source.to_owned(), what: e.to_string() })?;
        let write = self.database.begin_write().map_err(|e| failed("begin", e))?;
        {
            let mut table = write.open_table(CURSORS).map_err(|e| failed("open its table", e))?;
            table.insert(source, text.as_str()).map_err(|e| failed("write", e))?;
        }
        write.commit().map_err(|e| failed("commit", e))
    }

    /// Forgets the cursor of `source`, so that it is read from the beginning.
    pub fn forget(&self, source: &str) -> Result<(), StateError> {
        let write = self.database.begin_write().map_err(|e| failed("begin", e))?;
        {
            let mut table = write.open_table(CURSORS).map_err(|e| failed("open its table", e))?;
            table.remove(source).map_err(|e| failed("remove", e))?;
        }
        write.commit().map_err(|e| failed("commit", e))
    }
}

fn failed(doing: &'static str, cause: impl Into<redb::Error>) -> StateError {
    StateError::Store { doing, source: Box::new(cause.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_reopening_and_can_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursors.redb");
        let cursor = Cursor { version: 1, position: serde_json::json!({"row": 7}) };
        {
            let store = CursorStore::open(&path).unwrap();
            assert_eq!(store.load("calls").unwrap(), None);
            store.save("calls", &cursor).unwrap();
        }
        let store = CursorStore::open(&path).unwrap();
        assert_eq!(store.load("calls").unwrap(), Some(cursor));
        store.forget("calls").unwrap();
        assert_eq!(store.load("calls").unwrap(), None);
    }
}
