//! `ops.sources`: how the sources are doing, from the file that a run keeps
//! (`sources.json` under the data folder).

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;

/// The table as it stands. Before the first run there are no rows.
pub fn table(data_dir: &Path) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let external = |e: serde_json::Error| DataFusionError::External(Box::new(e));
    let schema = Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("identity", DataType::Utf8, false),
        Field::new("state", DataType::Utf8, false),
        Field::new("last_success_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("pages", DataType::Int64, false),
        Field::new("records", DataType::Int64, false),
        Field::new("set_aside", DataType::Int64, false),
        Field::new("failures", DataType::Int64, false),
        Field::new("error", DataType::Utf8, true),
        Field::new("drained", DataType::Boolean, false),
        Field::new("cursor", DataType::Utf8, true),
    ]));
    let mut batches = Vec::new();
    if let Ok(text) = std::fs::read(data_dir.join("sources.json")) {
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&text).map_err(external)?;
        let mut decoder = arrow::json::ReaderBuilder::new(Arc::clone(&schema)).build_decoder()?;
        decoder.serialize(&rows)?;
        batches.extend(decoder.flush()?);
    }
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(Arc::clone(&schema)));
    }
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}
