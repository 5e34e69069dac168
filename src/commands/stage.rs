//! `ahual ingest`, `transform`, `serve`: one stage a process, for a cluster on Kafka.

use std::sync::Arc;

use ahual_ingest::Mode;
use ahual_ingest::log::LogKind;
use ahual_transform::readers::Readers;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::commands::run;
use crate::config::Config;
use crate::intake::Intake;
use crate::pipeline::{self, Pipeline};
use crate::servers::Servers;
use crate::{cli, output, progress};

/// Sources → log, until stopped or drained. Cursors lie under `--data`.
pub async fn ingest(arguments: cli::Run) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    apart(&config, "ingest")?;
    let stop = CancellationToken::new();
    run::stop_on_signal(stop.clone())?;
    let data = &arguments.deployment.data;
    let sealer = pipeline::sealer(&config)?;
    let log = pipeline::open_log(&config, data).await?;
    let mode = if arguments.until_idle { Mode::Once } else { Mode::Follow };
    let taking = Intake::of_sources(log, sealer, data)?.start(&config, stop, mode)?;
    let summary = taking.await.context("the sources ended unexpectedly")??;
    output::line(&serde_json::to_string(&summary)?);
    run::all_came_through(&summary.failed)
}

/// Log → lake, until stopped or, with `--until-idle`, until nothing is left in the log.
/// Lake and index lie under `--data`. The feed's topic is published here, since the feed
/// is kept beside the index.
pub async fn transform(arguments: cli::Run) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    apart(&config, "transform")?;
    let stop = CancellationToken::new();
    run::stop_on_signal(stop.clone())?;
    let data = &arguments.deployment.data;
    let pipeline = Pipeline::open(config, data).await?;
    let reading = run::beside(&pipeline, data).await?;
    let publisher = run::publish(&pipeline, &reading, &stop).await?;
    let telling = progress::tell(reading, pipeline.job().published());
    let ended = pipeline.fold(stop.clone(), arguments.until_idle).await;
    stop.cancel();
    telling.abort();
    if let Some(publisher) = publisher {
        publisher.await.context("the feed's publisher ended unexpectedly")??;
    }
    output::line(&serde_json::json!({ "records": ended? }).to_string());
    Ok(())
}

/// Lake → readers, until stopped. Figures are formed from the lake's rows at each
/// question; changes of figures come from the process that folds.
pub async fn serve(arguments: cli::Deployment) -> anyhow::Result<()> {
    ahual_sinks::http::install_metrics();
    let config = Config::load(&arguments.config)?;
    if config.sinks.http.is_none() && config.sinks.postgres.is_none() {
        anyhow::bail!("there is nothing to serve: add [sinks.http] or [sinks.postgres]");
    }
    let stop = CancellationToken::new();
    run::stop_on_signal(stop.clone())?;
    let metrics = pipeline::metrics(&config).await?;
    let reading = Arc::new(Readers::of_lake(&arguments.data, metrics, config.deployment.time_zone));
    Servers::start(&config.sinks, &reading, &stop).await?.drained().await
}

/// Refuses to run one stage on a log that one process owns.
fn apart(config: &Config, stage: &str) -> anyhow::Result<()> {
    if config.log.kind == LogKind::Embedded {
        anyhow::bail!(
            "'ahual {stage}' needs a log that several processes share, and log.kind is \"embedded\", which belongs to \
             one process alone; use 'ahual run', or set log.kind = \"kafka\" with [log.kafka]"
        );
    }
    Ok(())
}
