//! Building the index anew from the lake: when it is lost, and when the definitions of
//! the metrics have changed.
//!
//! The published epoch is where it begins: events up to its version are read as rows,
//! not commit by commit, so it does not matter how much of the tables' logs is still
//! kept. Where the definitions or the reference data changed, everything derived is
//! formed anew on the way: other calendars may move the due date of a case of which there
//! is no news. Readers stay with the epoch's versions meanwhile, and it counts once the
//! last commit of `ops.kept_cells` names the new definitions; until then a start begins
//! anew. Versions after the epoch are folded afterwards as after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahual_schemas::event::Event;
use ahual_schemas::tables::{CellRow, LedgerRow, RawRow};
use arrow::record_batch::RecordBatch;
use futures::stream;

use crate::by_case::ByCase;
use crate::figures::{Bag, Subject};
use crate::fold::{FoldRule, fold};
use crate::index::Progress;
use crate::job::{FOLD, Job, JobError, app_id};
use crate::lake::{Epoch, provider};
use crate::ledger::Ledger;

impl Job {
    /// Builds the index from the published epoch, or from nothing when there is none.
    pub(crate) async fn rebuild(&mut self) -> Result<(), JobError> {
        let epoch = self.lake.root.epoch()?;
        self.index.begin_rebuild()?;
        let reform = self.derived.get(CellRow::TABLE).is_none_or(|version| *version < 0);
        let cells = self.lake.table(CellRow::TABLE)?;
        if reform && cells.files() > 0 {
            cells.rewrite(stream::empty(), &[]).await?;
        }
        let mut progress = Progress { metrics: self.parts.metrics.fingerprint(), ..Progress::default() };
        if let Some(epoch) = epoch {
            tracing::info!(version = epoch.folded_version, reform, "building the index from the lake");
            progress = Progress {
                folded_version: epoch.folded_version,
                raw_version: epoch.tables.get(RawRow::TABLE).copied().unwrap_or_default(),
                positions: self.taken(&epoch).await?,
                compacted_version: epoch.compacted_version,
                // What was superseded since the last compaction is not known any more.
                superseded_rows: 1,
                known_at: epoch.known_at.map(|at| at.0),
                ..progress
            };
            progress.added_cell_rows = self.rebuild_cases(&epoch, reform).await?;
            if reform {
                // Every derived table was just written as one row a key.
                progress.compacted_version = epoch.folded_version;
                progress.superseded_rows = 0;
            }
        }
        if reform {
            let named = [(self.cells_app(), progress.folded_version)];
            self.lake.table(CellRow::TABLE)?.append(&CellRow::to_batch(&[])?, &named).await?;
            self.derived.insert(CellRow::TABLE, progress.folded_version);
        }
        self.index.finish_rebuild(&progress)?;
        self.progress = progress;
        Ok(())
    }

    /// Reads every case of the epoch; returns how many rows of cells were written.
    async fn rebuild_cases(&mut self, epoch: &Epoch, reform: bool) -> Result<i64, JobError> {
        let events = self.lake.root.open_at(Event::TABLE, epoch.folded_version).await?;
        let session = self.parts.metrics.session();
        session.register_table("events", provider(Event::TABLE, &events).await?)?;
        let reference = Arc::clone(self.parts.metrics.reference());
        let rule = FoldRule {
            as_of: None,
            known_at: None,
            zone: self.parts.zone,
            folded_version: epoch.folded_version,
            reference: &reference,
        };
        let mut rows = ByCase::new(&session, "events").await?;
        let mut written = 0;
        let mut whole_ledger = Ledger::default();
        let mut first = true;
        while let Some(cases) = rows.next().await? {
            let mut subject = Subject::default();
            let mut ledger = Ledger::default();
            for rows in cases.values() {
                let folded = fold(rows, &rule);
                ledger.add(&folded.ledger, 1);
                subject.push(&folded);
            }
            let mut cells = Bag::default();
            self.parts.metrics.keep(&mut cells, &subject, 1).await?;
            cells.settle();
            self.index.rebuild(&cases, &cells, &ledger)?;
            whole_ledger.merge(&ledger);
            if reform {
                let batch = CellRow::to_batch(&cells.rows(epoch.folded_version))?;
                written += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                self.lake.table(CellRow::TABLE)?.append(&batch, &[]).await?;
                for (name, batch) in subject.tables()? {
                    self.write_anew(name, batch, epoch.folded_version, first).await?;
                }
                first = false;
            }
        }
        if reform {
            let rows = whole_ledger.rows(epoch.folded_version);
            self.write_anew(LedgerRow::TABLE, LedgerRow::to_batch(&rows)?, epoch.folded_version, true).await?;
        }
        Ok(written)
    }

    /// Writes rows of a derived table anew. The first ones take the place of all that was
    /// there, also of rows of versions after the epoch: the commit says so, and they are
    /// folded again.
    async fn write_anew(
        &mut self,
        name: &'static str,
        rows: RecordBatch,
        version: i64,
        first: bool,
    ) -> Result<(), JobError> {
        let table = self.lake.table(name)?;
        if first {
            table.rewrite(stream::iter([Ok(rows)]), &[(FOLD.to_owned(), version)]).await?;
            self.derived.insert(name, version);
        } else if rows.num_rows() > 0 {
            table.append(&rows, &[]).await?;
        }
        Ok(())
    }

    /// How far the log had been taken at the epoch. Also finds how far `raw.records` is.
    async fn taken(&mut self, epoch: &Epoch) -> Result<BTreeMap<String, i64>, JobError> {
        let mut apps = Vec::new();
        for topic in self.parts.log.topics().await? {
            apps.extend((0..self.parts.log.partitions()).map(|partition| app_id(&topic, partition)));
        }
        let root = self.lake.root.clone();
        let positions = root.transaction_versions(Event::TABLE, epoch.folded_version, &apps).await?;
        let raw = self.lake.table(RawRow::TABLE)?.version();
        self.raw_positions = root.transaction_versions(RawRow::TABLE, raw, &apps).await?;
        Ok(positions)
    }
}
