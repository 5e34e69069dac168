//! `ahual query`: one question in SQL, answered from the lake.

use ahual_transform::catalog::{Catalog, Moment};
use anyhow::Context;

use crate::cli;
use crate::config::Config;
use crate::{output, pipeline};

/// Answers the question.
pub async fn run(arguments: cli::Query) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    let zone = config.deployment.time_zone;
    let moment = Moment::read(&arguments.as_of, &arguments.known_at, |text| cli::moment(text, zone))
        .map_err(|(name, what)| anyhow::anyhow!("--{name}: {what}"))?;
    let catalog = Catalog::new(&arguments.deployment.data, pipeline::metrics(&config).await?, zone);
    let session = catalog.session(moment).await?;
    let frame = session.sql(&arguments.sql).await.context("the question does not work")?;
    let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
    let mut batches = frame.collect().await.context("the question could not be answered")?;
    if batches.is_empty() {
        batches.push(arrow::record_batch::RecordBatch::new_empty(schema));
    }
    output::rows(&batches, arguments.output)
}
