//! Event rows grouped by case, some partitions of the log at a time: a partition holds
//! whole cases, so history need not fit into memory to be folded.

use std::collections::BTreeMap;

use ahual_schemas::event::Event;
use ahual_schemas::table::ShapeError;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

/// Event rows held at a time, about.
const PASS_ROWS: i64 = 2_000_000;

/// Why rows could not be grouped.
#[derive(Debug, thiserror::Error)]
pub enum ByCaseError {
    /// The query engine.
    #[error("reading events")]
    Query(#[from] DataFusionError),
    /// Rows do not fit their table.
    #[error("reading events")]
    Shape(#[from] ShapeError),
}

/// Reads a table of events.
pub struct ByCase<'a> {
    session: &'a SessionContext,
    table: &'a str,
    passes: i64,
    pass: i64,
}

impl<'a> ByCase<'a> {
    /// Reads `table` of `session`, which has the shape of `core.events`.
    pub async fn new(session: &'a SessionContext, table: &'a str) -> Result<Self, ByCaseError> {
        let count = session.sql(&format!("SELECT count(*) AS n FROM {table}")).await?.collect().await?;
        let total = count.first().map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
        Ok(Self { session, table, passes: total / PASS_ROWS + 1, pass: 0 })
    }

    /// More cases with all their rows; a case comes once.
    pub async fn next(&mut self) -> Result<Option<BTreeMap<String, Vec<Event>>>, ByCaseError> {
        if self.pass == self.passes {
            return Ok(None);
        }
        let sql = format!("SELECT * FROM {} WHERE partition % {} = {}", self.table, self.passes, self.pass);
        self.pass += 1;
        let mut stream = self.session.sql(&sql).await?.execute_stream().await?;
        let mut cases: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        while let Some(batch) = stream.try_next().await? {
            for row in Event::from_batch(&batch)? {
                cases.entry(row.case_id.clone()).or_default().push(row);
            }
        }
        Ok(Some(cases))
    }
}
