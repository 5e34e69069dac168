//! `ahual run`: every stage in one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ahual_ingest::log::LogKind;
use ahual_transform::readers::Readers;
use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::pipeline::{self, Pipeline, PipelineSummary};
use crate::servers::Servers;
use crate::{cli, output, progress};

/// Runs until stopped or drained.
pub async fn run(arguments: cli::Run) -> anyhow::Result<()> {
    ahual_sinks::http::install_metrics();
    let config = Config::load(&arguments.deployment.config)?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let data = &arguments.deployment.data;
    let pipeline = Pipeline::open(config, data).await?;
    let sharing = share(&pipeline, data, &stop)?;
    let reading = beside(&pipeline, data).await?;
    let servers = Servers::start(&pipeline.config().sinks, &reading, &stop).await?;
    let publisher = publish(&pipeline, &reading, &stop).await?;
    let telling = progress::tell(reading.clone(), pipeline.job().published());
    let ended = pipeline.run(stop.clone(), arguments.until_idle).await;
    stop.cancel();
    telling.abort();
    servers.drained().await?;
    for task in [publisher, sharing].into_iter().flatten() {
        task.await.context("a task ended unexpectedly")??;
    }
    tell(&ended?)
}

/// A task that ends once everything is stopped.
pub type Side = Option<JoinHandle<anyhow::Result<()>>>;

/// Lets other commands append to an embedded log.
fn share(pipeline: &Pipeline, data: &Path, stop: &CancellationToken) -> anyhow::Result<Side> {
    if pipeline.config().log.kind != LogKind::Embedded {
        return Ok(None);
    }
    let sharing = ahual_ingest::log::share(pipeline.log(), data, stop.clone()).context("sharing the log")?;
    Ok(Some(tokio::spawn(async move { Ok(sharing.await?) })))
}

/// Readers of what the pipeline keeps.
pub async fn beside(pipeline: &Pipeline, data: &Path) -> anyhow::Result<Arc<Readers>> {
    let config = pipeline.config();
    Ok(Arc::new(Readers::beside(
        data,
        pipeline::metrics(config).await?,
        config.deployment.time_zone,
        pipeline.job().index(),
        pipeline.job().published(),
    )))
}

/// Publishes the feed on a topic, where the configuration asks for it.
pub async fn publish(pipeline: &Pipeline, reading: &Arc<Readers>, stop: &CancellationToken) -> anyhow::Result<Side> {
    let Some(feed) = &pipeline.config().sinks.feed_topic else { return Ok(None) };
    let publisher =
        ahual_sinks::feed_topic::publish(feed.clone(), reading.clone(), pipeline.log(), stop.clone()).await?;
    Ok(Some(tokio::spawn(async move { Ok(publisher.await??) })))
}

/// Says what was done; sources that failed are an error.
fn tell(summary: &PipelineSummary) -> anyhow::Result<()> {
    output::line(&serde_json::to_string(summary)?);
    all_came_through(&summary.failed)
}

/// Sources that failed are an error.
pub fn all_came_through(failed: &BTreeMap<String, String>) -> anyhow::Result<()> {
    if !failed.is_empty() {
        let names: Vec<&str> = failed.keys().map(String::as_str).collect();
        anyhow::bail!("sources that did not come through: {}", names.join(", "));
    }
    Ok(())
}

/// Cancels `stop` on INT and TERM.
pub fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: what is under way is finished first");
        stop.cancel();
    });
    Ok(())
}
