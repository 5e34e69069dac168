//! Sources → log: one runner for each source of the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_ingest::{CursorStore, Mode, RunError, RunSummary, Runner, SourceStatus};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::{Log, LogError};
use anyhow::Context;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// What the runners share.
pub struct Intake {
    /// Where records go.
    pub log: Arc<dyn Log>,
    /// Seals them.
    pub sealer: Sealer,
    /// Where each source stands.
    pub cursors: Arc<CursorStore>,
    /// File that says how each source is doing, for `ops.sources`.
    pub statuses: Option<PathBuf>,
}

/// What the sources gave.
#[derive(Debug, Default, serde::Serialize)]
pub struct IntakeSummary {
    /// Per source.
    pub sources: Vec<RunSummary>,
    /// Sources that ended before their time: name and why.
    pub failed: BTreeMap<String, String>,
}

impl Intake {
    /// The intake of a deployment's own sources: their cursors and statuses lie under `data_dir`.
    pub fn of_sources(log: Arc<dyn Log>, sealer: Sealer, data_dir: &Path) -> anyhow::Result<Self> {
        let cursors = CursorStore::open(&data_dir.join("cursors.redb")).context("opening the cursors")?;
        Ok(Self { log, sealer, cursors: Arc::new(cursors), statuses: Some(data_dir.join("sources.json")) })
    }

    /// Runs every source of `config` until `stop`, or, in [`Mode::Once`], until drained.
    /// The task fails where the log's owner has gone: then nobody takes records any more.
    pub fn start(
        self,
        config: &Config,
        stop: CancellationToken,
        mode: Mode,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<IntakeSummary>>> {
        let mut runners = JoinSet::new();
        let mut statuses = Vec::new();
        for source in &config.sources {
            let door = ahual_ingest::build(&source.name, source.intake(), &config.base_dir)?;
            let runner = Runner::new(door, Arc::clone(&self.log), self.sealer.clone(), Arc::clone(&self.cursors));
            statuses.push(runner.status());
            let (name, stop) = (source.name.clone(), stop.clone());
            runners.spawn(async move { (name, runner.run(stop, mode).await) });
        }
        let telling = self.statuses.map(|path| tokio::spawn(write_statuses(path, statuses)));
        Ok(tokio::spawn(async move {
            let summary = gather(runners).await;
            if let Some(telling) = telling {
                telling.await.context("telling how the sources are doing ended unexpectedly")?;
            }
            summary
        }))
    }
}

async fn gather(mut runners: JoinSet<(String, Result<RunSummary, RunError>)>) -> anyhow::Result<IntakeSummary> {
    let mut summary = IntakeSummary::default();
    let mut ownerless = None;
    while let Some(ended) = runners.join_next().await {
        match ended.context("a source's runner ended unexpectedly")? {
            (_, Ok(done)) => summary.sources.push(done),
            (_, Err(error @ RunError::Log { source: LogError::Gone { .. } | LogError::Owned { .. }, .. })) => {
                ownerless = Some(error);
            }
            (name, Err(error)) => {
                tracing::error!(source = name, "{}", crate::config::chain(&error));
                summary.failed.insert(name, crate::config::chain(&error));
            }
        }
    }
    if let Some(error) = ownerless {
        return Err(error.into());
    }
    summary.sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(summary)
}

/// Keeps the file up to date until every source has ended, swapped by rename.
async fn write_statuses(path: PathBuf, mut statuses: Vec<watch::Receiver<SourceStatus>>) {
    loop {
        write(&path, &mut statuses);
        // A source that has ended stands in the file as it ended.
        let running = statuses.iter_mut().filter(|s| s.has_changed().is_ok());
        let changes: Vec<_> = running.map(|s| Box::pin(s.changed())).collect();
        if changes.is_empty() {
            break;
        }
        // That one ended is a change, too.
        let _ = futures::future::select_all(changes).await;
    }
    write(&path, &mut statuses);
}

fn write(path: &Path, statuses: &mut [watch::Receiver<SourceStatus>]) {
    let now: Vec<SourceStatus> = statuses.iter_mut().map(|s| s.borrow_and_update().clone()).collect();
    let next = path.with_extension("json.next");
    let written = serde_json::to_vec_pretty(&now)
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(&next, text))
        .and_then(|()| std::fs::rename(&next, path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "source statuses could not be written");
    }
}
