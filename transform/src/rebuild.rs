//! Building the index anew from the lake: when it is lost, and when the definitions of
//! the metrics have changed.
//!
//! The published epoch is where it begins: events up to its version are read as rows,
//! not commit by commit, so it does not matter how much of the tables' logs is still
//! kept. Where the definitions changed, the kept cells are formed anew on the way; that
//! is one rewriting of `ops.kept_cells`, which counts once its last commit names the
//! new definitions. Versions after the epoch are folded afterwards as after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahual_schemas::event::Event;
use ahual_schemas::table::Day;
use ahual_schemas::tables::{CellRow, RawRow};
use futures::stream;

use crate::by_case::ByCase;
use crate::figures::{Bag, Subject};
use crate::fold::{FoldRule, fold};
use crate::index::Progress;
use crate::job::{Job, JobError, app_id};
use crate::lake::{Epoch, provider};

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
        while let Some(cases) = rows.next().await? {
            let mut subject = Subject::default();
            let mut ledger: BTreeMap<(String, Day), [i64; 5]> = BTreeMap::new();
            for rows in cases.values() {
                let folded = fold(rows, &rule);
                for row in &folded.ledger {
                    let slot = ledger.entry((row.source.clone(), row.day)).or_default();
                    for (total, count) in slot.iter_mut().zip(row.counts()) {
                        *total += count;
                    }
                }
                subject.push(&folded);
            }
            let mut cells = Bag::default();
            self.parts.metrics.keep(&mut cells, &subject, 1).await?;
            cells.settle();
            self.index.rebuild(&cases, &cells, &ledger)?;
            if reform {
                let batch = CellRow::to_batch(&cells.rows(epoch.folded_version))?;
                written += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                self.lake.table(CellRow::TABLE)?.append(&batch, &[]).await?;
            }
        }
        Ok(written)
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
