//! `ahual run`: every stage in one process.

use ahual_transform::readers::Readers;
use std::sync::Arc;

use ahual_schemas::secret::SecretRef;
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::pipeline::{self, Pipeline};
use crate::{cli, output, progress};

/// Runs until stopped or drained.
pub async fn run(arguments: cli::Run) -> anyhow::Result<()> {
    ahual_sinks::http::install_metrics();
    let config = Config::load(&arguments.deployment.config)?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let pipeline = Pipeline::open(config, &arguments.deployment.data).await?;
    let config = pipeline.config();
    let reading = Arc::new(Readers::beside(
        &arguments.deployment.data,
        pipeline::metrics(config).await?,
        config.deployment.time_zone,
        pipeline.job().index(),
        pipeline.job().published(),
    ));
    let mut servers = Vec::new();
    if let Some(http) = &config.sinks.http {
        let bound = ahual_sinks::http::serve(http.clone(), reading.clone(), stop.clone()).await?;
        output::message(&format!("http      http://{}/", bound.address));
        servers.push(bound);
    }
    if let Some(postgres) = &config.sinks.postgres {
        let bound = ahual_sinks::postgres::serve(postgres.clone(), reading.clone(), stop.clone()).await?;
        let login = postgres.users.first().map_or_else(String::new, |user| match &user.password {
            // A development password is no secret: the line is there to be pasted.
            SecretRef::Development(text) => {
                format!("user={} password='{}'", user.name, text.replace('\\', "\\\\").replace('\'', "\\'"))
            }
            _ => format!("user={}", user.name),
        });
        let (host, port) = (bound.address.ip(), bound.address.port());
        output::message(&format!("postgres  psql \"host={host} port={port} {login} dbname=ahual\""));
        servers.push(bound);
    }
    let mut publisher = None;
    if let Some(feed) = &config.sinks.feed_topic {
        let stop = stop.clone();
        publisher = Some(ahual_sinks::feed_topic::publish(feed.clone(), reading.clone(), pipeline.log(), stop).await?);
    }
    let telling = progress::tell(reading.clone(), pipeline.job().published());
    let ended = pipeline.run(stop.clone(), arguments.until_idle).await;
    stop.cancel();
    telling.abort();
    for server in servers {
        server.task.await.context("a server ended unexpectedly")??;
    }
    if let Some(publisher) = publisher {
        publisher.await.context("the feed's publisher ended unexpectedly")??;
    }
    let summary = ended?;
    output::line(&serde_json::to_string(&summary)?);
    if !summary.failed.is_empty() {
        let names: Vec<&str> = summary.failed.keys().map(String::as_str).collect();
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
