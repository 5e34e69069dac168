//! The lake: Delta tables under one root, and the published epoch.
//!
//! Rows and the log positions they came from go into **one** Delta commit (`txn` per
//! topic-partition). Automatic conflict retry is off: Delta does not refuse a second
//! commit with the same `txn`, so the table's head is read again before each commit
//! and one writer holds a lease. On a local disk everything a commit names is synced
//! before the commit counts, because the object store does not do it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_schemas::event::Event;
use ahual_schemas::tables::{Case, CellRow, Deadline, LedgerRow, Part, RawRow, Segment};
use ahual_schemas::{Advice, At};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::{Stream, TryStreamExt};
use serde::{Deserialize, Serialize};
use url::Url;

/// Every table of the lake: name in the catalogue, and its schema.
pub fn tables() -> [(&'static str, SchemaRef); 8] {
    [
        (RawRow::TABLE, RawRow::schema()),
        (Event::TABLE, Event::schema()),
        (Case::TABLE, Case::schema()),
        (Segment::TABLE, Segment::schema()),
        (Deadline::TABLE, Deadline::schema()),
        (Part::TABLE, Part::schema()),
        (LedgerRow::TABLE, LedgerRow::schema()),
        (CellRow::TABLE, CellRow::schema()),
    ]
}

/// Why the lake could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The table format or the store refused.
    #[error("could not {doing} table {table}")]
    Table {
        /// What was tried.
        doing: &'static str,
        /// Table.
        table: String,
        /// Cause.
        #[source]
        source: Box<DeltaTableError>,
    },
    /// Somebody else wrote.
    #[error(
        "table {table} is at version {found}, this writer left it at {expected}: another writer is at work; stop one of them"
    )]
    Overtaken {
        /// Table.
        table: String,
        /// Head found.
        found: i64,
        /// Head this writer knows.
        expected: i64,
    },
    /// The lease is taken.
    #[error("lake {} is being written by another process; stop it, or use another --data directory", .0.display())]
    Leased(PathBuf),
    /// A file could not be read, written or synced.
    #[error("could not {doing} {}", path.display())]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A file of the lake is not what it should be.
    #[error("{what}")]
    Damaged {
        /// What was found.
        what: String,
    },
}

impl LakeError {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Table { .. } | Self::Disk { .. } => Advice::RetryAfter(std::time::Duration::from_secs(2)),
            Self::Overtaken { .. } | Self::Leased(_) | Self::Damaged { .. } => Advice::Stop,
        }
    }
}

/// Which versions belong together. Written to `epoch.json`, swapped by rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Version of `core.events` folded into every table.
    pub folded_version: i64,
    /// Rows of derived tables up to this version are one per key.
    pub compacted_version: i64,
    /// Table → Delta version.
    pub tables: BTreeMap<String, i64>,
    /// Newest append stamp folded: figures are as known then.
    pub known_at: Option<At>,
    /// Names the definitions of the metrics by which cells are kept.
    #[serde(default)]
    pub metrics: String,
}

/// Where the lake lies.
#[derive(Debug, Clone)]
pub struct LakeRoot {
    path: PathBuf,
}

impl LakeRoot {
    /// The lake under `data_dir`.
    pub fn under(data_dir: &Path) -> Self {
        Self { path: data_dir.join("lake") }
    }

    /// Folder of the lake.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The published epoch, or `None` when nothing is published yet.
    pub fn epoch(&self) -> Result<Option<Epoch>, LakeError> {
        let path = self.path.join("epoch.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| LakeError::Damaged { what: format!("{} is no epoch: {e}", path.display()) }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LakeError::Disk { doing: "read", path, source }),
        }
    }

    /// Publishes an epoch: readers see either the old one or this one.
    pub fn publish(&self, epoch: &Epoch) -> Result<(), LakeError> {
        let path = self.path.join("epoch.json");
        let next = self.path.join("epoch.json.next");
        let disk = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| LakeError::Disk { doing, path, source }
        };
        let text = serde_json::to_vec_pretty(epoch).map_err(|e| LakeError::Damaged { what: e.to_string() })?;
        std::fs::write(&next, text).map_err(disk("write", &next))?;
        sync(&next)?;
        std::fs::rename(&next, &path).map_err(disk("replace", &path))?;
        sync(&self.path)
    }

    fn table_path(&self, name: &str) -> PathBuf {
        self.path.join(name.replace('.', "/"))
    }

    fn table_url(&self, name: &str) -> Result<Url, LakeError> {
        let path = std::path::absolute(self.table_path(name)).map_err(|source| LakeError::Disk {
            doing: "find",
            path: self.table_path(name),
            source,
        })?;
        Url::from_directory_path(&path)
            .map_err(|()| LakeError::Damaged { what: format!("{} cannot be written as a URL", path.display()) })
    }

    /// Application versions that a table named at `version`.
    pub async fn transaction_versions(
        &self,
        name: &str,
        version: i64,
        apps: &[String],
    ) -> Result<BTreeMap<String, i64>, LakeError> {
        let error = failed("read", name);
        let table = self.open_at(name, version).await?;
        let state = table.snapshot().map_err(&error)?;
        let mut versions = BTreeMap::new();
        for app in apps {
            let known = state.transaction_version(table.log_store().as_ref(), app).await.map_err(&error)?;
            versions.extend(known.map(|version| (app.clone(), version)));
        }
        Ok(versions)
    }

    /// Opens a table at `version` for reading.
    pub async fn open_at(&self, name: &str, version: i64) -> Result<DeltaTable, LakeError> {
        let error = failed("open", name);
        DeltaTableBuilder::from_url(self.table_url(name)?)
            .map_err(&error)?
            .with_version(u64::try_from(version).unwrap_or_default())
            .load()
            .await
            .map_err(&error)
    }
}

/// The lake opened for writing; holds the lease.
pub struct Lake {
    /// Where it lies.
    pub root: LakeRoot,
    tables: HashMap<&'static str, LakeTable>,
    _lease: File,
}

impl Lake {
    /// Opens the lake for writing, creating what is missing.
    pub async fn open(root: LakeRoot) -> Result<Self, LakeError> {
        std::fs::create_dir_all(&root.path).map_err(|source| LakeError::Disk {
            doing: "create",
            path: root.path.clone(),
            source,
        })?;
        let lease_path = root.path.join("writer.lease");
        let lease = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lease_path)
            .map_err(|source| LakeError::Disk { doing: "open", path: lease_path, source })?;
        if lease.try_lock().is_err() {
            return Err(LakeError::Leased(root.path));
        }
        let mut tables_by_name = HashMap::new();
        for (name, schema) in tables() {
            tables_by_name.insert(name, LakeTable::open(&root, name, &schema).await?);
        }
        Ok(Self { root, tables: tables_by_name, _lease: lease })
    }

    /// A table by its catalogue name.
    pub fn table(&mut self, name: &'static str) -> Result<&mut LakeTable, LakeError> {
        self.tables.get_mut(name).ok_or_else(|| LakeError::Damaged { what: format!("the lake has no table {name}") })
    }

    /// Current version of every table.
    pub fn versions(&self) -> BTreeMap<String, i64> {
        self.tables.iter().map(|(name, table)| ((*name).to_owned(), table.version())).collect()
    }
}

/// One Delta table opened for writing.
pub struct LakeTable {
    name: &'static str,
    path: PathBuf,
    table: DeltaTable,
}

/// What one commit says.
#[derive(Debug, Default)]
pub struct CommitEntry {
    /// Data files added, relative paths.
    pub added: Vec<String>,
    /// Application id → version.
    pub transactions: Vec<(String, i64)>,
}

impl LakeTable {
    async fn open(root: &LakeRoot, name: &'static str, schema: &SchemaRef) -> Result<Self, LakeError> {
        let error = failed("open", name);
        let path = root.table_path(name);
        std::fs::create_dir_all(&path).map_err(|source| LakeError::Disk {
            doing: "create",
            path: path.clone(),
            source,
        })?;
        let mut table = DeltaTableBuilder::from_url(root.table_url(name)?).map_err(&error)?.build().map_err(&error)?;
        if table.verify_deltatable_existence().await.map_err(&error)? {
            table.load().await.map_err(&error)?;
        } else {
            let kernel: StructType = schema
                .as_ref()
                .try_into_kernel()
                .map_err(|e: arrow::error::ArrowError| LakeError::Damaged { what: format!("schema of {name}: {e}") })?;
            table = table
                .create()
                .with_table_name(name)
                .with_columns(kernel.fields().cloned())
                .with_configuration_property(deltalake::TableProperty::CheckpointInterval, Some("50"))
                .await
                .map_err(failed("create", name))?;
            let opened = Self { name, path, table };
            opened.sync_commit(0)?;
            return Ok(opened);
        }
        Ok(Self { name, path, table })
    }

    /// Version this writer left the table at.
    pub fn version(&self) -> i64 {
        self.table.version().and_then(|v| i64::try_from(v).ok()).unwrap_or(-1)
    }

    /// Application version recorded in the table.
    pub async fn transaction_version(&self, app_id: &str) -> Result<Option<i64>, LakeError> {
        let error = failed("read", self.name);
        let state = self.table.snapshot().map_err(&error)?;
        state.transaction_version(self.table.log_store().as_ref(), app_id).await.map_err(&error)
    }

    /// Number of data files.
    pub fn files(&self) -> usize {
        self.table.get_file_uris().map(Iterator::count).unwrap_or_default()
    }

    /// What commit `version` says; `None` where it is gone.
    pub async fn commit_entry(&self, version: i64) -> Result<Option<CommitEntry>, LakeError> {
        let error = failed("read the log of", self.name);
        let number = u64::try_from(version).unwrap_or_default();
        let Some(bytes) = self.table.log_store().read_commit_entry(number).await.map_err(&error)? else {
            return Ok(None);
        };
        let mut entry = CommitEntry::default();
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let action: serde_json::Value = serde_json::from_slice(line).map_err(|e| LakeError::Damaged {
                what: format!("commit {version} of {} is not JSON: {e}", self.name),
            })?;
            if let Some(add) = action.get("add")
                && add.get("dataChange").and_then(serde_json::Value::as_bool) != Some(false)
                && let Some(path) = add.get("path").and_then(serde_json::Value::as_str)
            {
                entry.added.push(path.to_owned());
            }
            if let Some(txn) = action.get("txn")
                && let (Some(app), Some(at)) = (
                    txn.get("appId").and_then(serde_json::Value::as_str),
                    txn.get("version").and_then(serde_json::Value::as_i64),
                )
            {
                entry.transactions.push((app.to_owned(), at));
            }
        }
        Ok(Some(entry))
    }

    /// Appends rows together with application versions, in one commit. Returns its version.
    pub async fn append(&mut self, rows: &RecordBatch, transactions: &[(String, i64)]) -> Result<i64, LakeError> {
        let error = failed("write", self.name);
        let mut writer = RecordBatchWriter::for_table(&self.table).map_err(&error)?;
        let mut added = Vec::new();
        if rows.num_rows() > 0 {
            writer.write(rows.clone()).await.map_err(&error)?;
            added = writer.flush().await.map_err(&error)?;
        }
        self.commit(added, Vec::new(), SaveMode::Append, transactions).await
    }

    /// Replaces every row by those of `rows`, in one commit. Rows are written as they
    /// come, so that a table need not fit into memory.
    pub async fn rewrite(
        &mut self,
        mut rows: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Unpin,
        transactions: &[(String, i64)],
    ) -> Result<i64, LakeError> {
        let error = failed("compact", self.name);
        let mut writer = RecordBatchWriter::for_table(&self.table).map_err(&error)?;
        let schema = writer.arrow_schema();
        while let Some(batch) = rows.try_next().await.map_err(|e| error(e.into()))? {
            writer.write(conformed(&batch, &schema).map_err(|e| error(e.into()))?).await.map_err(&error)?;
        }
        let added = writer.flush().await.map_err(&error)?;
        let state = self.table.snapshot().map_err(&error)?;
        let removed: Vec<Action> =
            state.log_data().iter().map(|file| Action::Remove(file.remove_action(true))).collect();
        self.commit(added, removed, SaveMode::Overwrite, transactions).await
    }

    /// Commits files that were written and files that are no longer part of the table.
    async fn commit(
        &mut self,
        added: Vec<Add>,
        removed: Vec<Action>,
        mode: SaveMode,
        transactions: &[(String, i64)],
    ) -> Result<i64, LakeError> {
        let error = failed("write", self.name);
        let paths: Vec<String> = added.iter().map(|add| add.path.clone()).collect();
        self.sync_files(&paths)?;
        let log_store = self.table.log_store();
        let expected = self.version();
        let head = log_store.get_latest_version(u64::try_from(expected).unwrap_or_default()).await.map_err(&error)?;
        let head = i64::try_from(head).unwrap_or(i64::MAX);
        if head != expected {
            return Err(LakeError::Overtaken { table: self.name.to_owned(), found: head, expected });
        }
        let properties = CommitProperties::default().with_max_retries(0).with_application_transactions(
            transactions.iter().map(|(app, version)| Transaction::new(app.clone(), *version)).collect(),
        );
        let state = self.table.snapshot().map_err(&error)?.clone();
        let finalized = CommitBuilder::from(properties)
            .with_actions(removed.into_iter().chain(added.into_iter().map(Action::Add)).collect())
            .build(Some(&state), log_store.clone(), DeltaOperation::Write { mode, partition_by: None, predicate: None })
            .await
            .map_err(&error)?;
        self.table.state = Some(finalized.snapshot());
        let version = self.version();
        self.sync_commit(version)?;
        Ok(version)
    }

    /// A provider over the table as this writer left it.
    pub async fn provider(&self) -> Result<Arc<dyn TableProvider>, LakeError> {
        provider(self.name, &self.table).await
    }

    /// Rows of the files one commit added.
    pub fn read_added(&self, entry: &CommitEntry) -> Result<Vec<RecordBatch>, LakeError> {
        let mut batches = Vec::new();
        for file in &entry.added {
            batches.extend(read_parquet(&self.path.join(file))?);
        }
        Ok(batches)
    }

    fn sync_files(&self, paths: &[String]) -> Result<(), LakeError> {
        for path in paths {
            sync(&self.path.join(path))?;
        }
        if paths.is_empty() { Ok(()) } else { sync(&self.path) }
    }

    fn sync_commit(&self, version: i64) -> Result<(), LakeError> {
        let log = self.path.join("_delta_log");
        sync(&log.join(format!("{version:020}.json")))?;
        sync(&log)?;
        sync(&self.path)
    }
}

/// A provider over an opened table.
pub async fn provider(name: &str, table: &DeltaTable) -> Result<Arc<dyn TableProvider>, LakeError> {
    let error = failed("read", name);
    let state = table.snapshot().map_err(&error)?.snapshot().clone();
    let scan =
        table.table_provider().with_eager_snapshot(state).with_log_store(table.log_store()).build().await.map_err(
            |e| LakeError::Table {
                doing: "read",
                table: name.to_owned(),
                source: Box::new(DeltaTableError::generic(e.to_string())),
            },
        )?;
    Ok(Arc::new(scan))
}

/// A batch in exactly the table's schema: an engine names the same types differently.
fn conformed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch
                .column_by_name(field.name())
                .ok_or_else(|| ArrowError::SchemaError(format!("column {} is missing", field.name())))?;
            arrow::compute::cast(column, field.data_type())
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// All rows of one Parquet file.
pub fn read_parquet(path: &Path) -> Result<Vec<RecordBatch>, LakeError> {
    let disk = |source| LakeError::Disk { doing: "read", path: path.to_owned(), source };
    let damaged =
        |e: &dyn std::fmt::Display| LakeError::Damaged { what: format!("{} does not read: {e}", path.display()) };
    let file = File::open(path).map_err(disk)?;
    parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(|e| damaged(&e))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| damaged(&e))
}

fn sync(path: &Path) -> Result<(), LakeError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| LakeError::Disk {
        doing: "sync",
        path: path.to_owned(),
        source,
    })
}

fn failed(doing: &'static str, table: &str) -> impl Fn(DeltaTableError) -> LakeError {
    let table = table.to_owned();
    move |source| LakeError::Table { doing, table: table.clone(), source: Box::new(source) }
}
