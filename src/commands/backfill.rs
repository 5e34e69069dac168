//! `ahual batch backfill`: reads the sources again from the window's first day.
//!
//! It keeps cursors of its own, so that the sources' stand where they stood, and goes on
//! from them after it was interrupted. Where nobody else is at work it folds what it
//! read. Where another process folds (it owns the embedded log, or holds the lake's
//! lease), it appends there and waits until that process has folded everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahual_ingest::log::{Access, LogKind};
use ahual_ingest::{CursorStore, Mode};
use ahual_schemas::log::{DEAD_LETTERS, TopicPartition, raw_topic};
use ahual_schemas::{Log, LogError};
use ahual_transform::job::{FOLDED, JobError};
use ahual_transform::lake::LakeError;
use anyhow::Context;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::{Batch, Window};
use crate::config::{Config, Source};
use crate::intake::Intake;
use crate::pipeline::{self, Pipeline, PipelineSummary};

/// Between two looks at how far the other process has folded.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it may fold nothing of what we wait for before we come back later.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is known already becomes duplicates, what is new or corrected is folded.
pub async fn run(arguments: &Batch, mut config: Config) -> anyhow::Result<(bool, Value)> {
    if let Some(only) = &arguments.source {
        if !config.sources.iter().any(|s| s.name == *only) {
            let names: Vec<&str> = config.sources.iter().map(|s| s.name.as_str()).collect();
            anyhow::bail!("--source {only}: there is no such source; there are {}", names.join(", "));
        }
        config.sources.retain(|s| s.name == *only);
    }
    for source in &mut config.sources {
        start_at(source, arguments.window);
    }
    config.sinks = crate::config::Sinks::default();
    let data = &arguments.deployment.data;
    let cursors = cursors_path(data, arguments);
    let resumed = cursors.exists();
    let store = Arc::new(CursorStore::open(&cursors).context("opening the backfill's cursors")?);
    let (summary, folded_here) = match Pipeline::open(config.clone(), data).await {
        Ok(pipeline) => {
            let intake =
                Intake { log: pipeline.log(), sealer: config.sealer()?, cursors: Arc::clone(&store), statuses: None };
            (pipeline.run_with(intake, CancellationToken::new(), true).await?, true)
        }
        Err(error) if another_folds(&error) => (beside(&config, data, Arc::clone(&store)).await?, false),
        Err(error) => return Err(error),
    };
    drop(store);
    let done = summary.failed.is_empty();
    if done {
        std::fs::remove_file(&cursors).with_context(|| format!("cannot remove {}", cursors.display()))?;
    }
    let mut detail = serde_json::to_value(&summary)?;
    detail["resumed"] = json!(resumed);
    detail["folded_by"] = json!(if folded_here { "this process" } else { "the running process" });
    Ok((done, detail))
}

fn cursors_path(data: &Path, arguments: &Batch) -> PathBuf {
    let Window { from, to } = arguments.window;
    let source = arguments.source.as_deref().unwrap_or("all");
    data.join("batch").join(format!("backfill-{source}-{from}-{to}.cursors.redb"))
}

/// Sources that can be asked since a time are asked since the window's first day; the
/// others are read whole.
fn start_at(source: &mut Source, window: Window) {
    let start = format!("{}T00:00:00Z", window.from.pred_opt().unwrap_or(window.from));
    if let Some(rest) = &mut source.rest
        && let Some(since) = &mut rest.window
    {
        since.start = Some(start.clone());
    }
    if let Some(open311) = &mut source.open311 {
        open311.start = Some(start);
    }
}

fn another_folds(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref::<LogError>(), Some(LogError::Owned { .. }))
            || matches!(cause.downcast_ref::<LakeError>(), Some(LakeError::Leased(_)))
            || matches!(cause.downcast_ref::<JobError>(), Some(JobError::Lake(LakeError::Leased(_))))
    })
}

/// Appends beside the process that folds, and waits for it.
async fn beside(config: &Config, data: &Path, cursors: Arc<CursorStore>) -> anyhow::Result<PipelineSummary> {
    let access = ahual_ingest::log::open_or_join(&config.log, data, config.deployment.partitions)
        .await
        .context("joining the process that owns the log")?;
    match (&access, config.log.kind) {
        (Access::Guest(_), _) => tracing::info!("another process owns the log: appending through its socket"),
        (Access::Own(_), LogKind::Kafka) => tracing::info!("another process folds: appending to the log it reads"),
        (Access::Own(_), LogKind::Embedded) => {
            let source = "it has ended this moment".into();
            return Err(LogError::Unavailable { doing: "join the process that owned the log", source }.into());
        }
    }
    let log = Arc::clone(access.log());
    let intake = Intake { log: Arc::clone(&log), sealer: pipeline::sealer(config)?, cursors, statuses: None };
    let taken = intake.start(config, CancellationToken::new(), Mode::Once)?;
    let taken = taken.await.context("the sources ended unexpectedly")??;
    let topics = config.sources.iter().map(|s| raw_topic(&s.name)).chain([DEAD_LETTERS.to_owned()]);
    folded(log.as_ref(), topics).await?;
    let records = taken.sources.iter().map(|s| s.records).sum();
    Ok(PipelineSummary { sources: taken.sources, failed: taken.failed, records })
}

/// Returns once everything that lies in `topics` now has been folded.
async fn folded(log: &dyn Log, topics: impl Iterator<Item = String>) -> Result<(), LogError> {
    let mut waiting = Vec::new();
    for topic in topics {
        for partition in 0..log.partitions() {
            let at = TopicPartition { topic: topic.clone(), partition };
            let next = log.bounds(&at).await?.next;
            waiting.push((at, next, 0));
        }
    }
    let mut moved_at = Instant::now();
    loop {
        let mut behind = Vec::with_capacity(waiting.len());
        for (at, next, before) in waiting {
            let reached = log.committed(FOLDED, &at).await?.unwrap_or(0);
            if reached != before {
                moved_at = Instant::now();
            }
            if reached < next {
                behind.push((at, next, reached));
            }
        }
        let Some((at, next, reached)) = behind.first() else { return Ok(()) };
        if moved_at.elapsed() > PATIENCE {
            return Err(LogError::Unavailable {
                doing: "wait for the running process to fold",
                source: format!(
                    "{}/{} is at {reached} of {next} and has not moved for {} s",
                    at.topic,
                    at.partition,
                    PATIENCE.as_secs()
                )
                .into(),
            });
        }
        waiting = behind;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
