//! Compaction: derived tables grow by versions and kept cells by what each update added;
//! now and then both are written anew as one row a key. It costs in proportion to the
//! history and changes no answer, so it is no part of an update.

use std::collections::HashMap;

use ahual_schemas::tables::CellRow;
use futures::{StreamExt, TryStreamExt};

use crate::catalog;
use crate::figures::kept_cells_sql;
use crate::job::{DERIVED, Job, JobError};

impl Job {
    /// Makes derived tables one row per key again, and one row per kept cell.
    pub async fn compact(&mut self) -> Result<(), JobError> {
        self.compact_rows().await?;
        self.compact_cells().await
    }

    /// Makes derived tables one row per key, where newer rows have replaced older ones.
    pub(crate) async fn compact_rows(&mut self) -> Result<(), JobError> {
        let folded = self.progress.folded_version;
        if self.progress.superseded_rows > 0 {
            let session = self.parts.metrics.session();
            let mut providers = HashMap::new();
            for name in DERIVED {
                providers.insert(name.to_owned(), self.lake.table(name)?.provider().await?);
            }
            for name in DERIVED {
                let plan = catalog::current_rows(&session, name, &providers, self.progress.compacted_version).await?;
                let rows = session.execute_logical_plan(plan).await?.execute_stream().await?;
                self.lake.table(name)?.rewrite(rows, &[]).await?;
            }
        }
        if self.progress.compacted_version != folded {
            self.progress.compacted_version = folded;
            self.progress.superseded_rows = 0;
            self.progress.written_rows = 0;
            self.checkpoint()?;
            self.publish(0)?;
        }
        Ok(())
    }

    /// Sums up the rows of each kept cell, one metric after another.
    pub(crate) async fn compact_cells(&mut self) -> Result<(), JobError> {
        if self.progress.added_cell_rows == 0 {
            return Ok(());
        }
        let session = self.parts.metrics.session();
        let table = self.lake.table(CellRow::TABLE)?;
        session.register_table("kept_cells", table.provider().await?)?;
        // Each stream works only when it is its turn.
        let mut summed = Vec::new();
        for metric in self.parts.metrics.iter() {
            let frame = session.sql(&kept_cells_sql("kept_cells", &metric.info.name)).await?;
            summed.push(frame.execute_stream().await?);
        }
        let mut count = 0;
        let counted = futures::stream::iter(summed).flatten().inspect_ok(|batch| count += batch.num_rows());
        self.lake.table(CellRow::TABLE)?.rewrite(counted, &[]).await?;
        self.progress.cell_rows = i64::try_from(count).unwrap_or(i64::MAX);
        self.progress.added_cell_rows = 0;
        self.checkpoint()?;
        self.publish(0)
    }
}
