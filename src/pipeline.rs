//! Wires the stages of one process: sources → log → job → readers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_ingest::{CursorStore, Mode, RunSummary, Runner, SourceStatus};
use ahual_schemas::Log;
use ahual_schemas::log::{DEAD_LETTERS, TopicKind, raw_topic};
use ahual_schemas::sealing::Sealer;
use ahual_transform::figures::Metrics;
use ahual_transform::job::{Job, JobParts};
use ahual_transform::mapping::Mapping;
use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The stages, opened and not yet running.
pub struct Pipeline {
    config: Config,
    data_dir: PathBuf,
    sealer: Sealer,
    log: Arc<dyn Log>,
    job: Job,
}

/// What a run did.
#[derive(Debug, Default, serde::Serialize)]
pub struct PipelineSummary {
    /// Per source.
    pub sources: Vec<RunSummary>,
    /// Sources that ended before their time: name and why.
    pub failed: BTreeMap<String, String>,
    /// Records folded.
    pub records: u64,
}

/// Metrics of a deployment: the built-in ones and its own, with the reference data their
/// functions read.
pub async fn metrics(config: &Config) -> anyhow::Result<Metrics> {
    let (sealer, reference) = (config.sealer()?, config.reference_data()?);
    Metrics::load(&sealer, &reference, config.metrics_folder().as_deref()).await.context("reading the metrics")
}

impl Pipeline {
    /// Opens log, lake and index, and reads every mapping.
    pub async fn open(config: Config, data_dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
        let sealer = config.sealer()?;
        if matches!(config.sealing.key, ahual_schemas::secret::SecretRef::Development(_)) {
            tracing::warn!("raw records are sealed with a development key; set sealing.key for real data");
        }
        let metrics = metrics(&config).await?;
        let mut mappings = BTreeMap::new();
        for source in &config.sources {
            let mapping =
                Mapping::load(&source.name, &source.mapping, &config.base_dir, &sealer, metrics.reference()).await?;
            mappings.insert(source.name.clone(), mapping);
        }
        let log = ahual_ingest::log::open(&config.log, data_dir, config.deployment.partitions)
            .await
            .context("opening the log")?;
        log.create_topic(DEAD_LETTERS, TopicKind::Stream).await?;
        for source in &config.sources {
            log.create_topic(&raw_topic(&source.name), TopicKind::Stream).await?;
        }
        let job = Job::open(JobParts {
            log: Arc::clone(&log),
            data_dir: data_dir.to_owned(),
            mappings,
            metrics,
            sealer: sealer.clone(),
            zone: config.deployment.time_zone,
            batch_records: config.deployment.batch_records,
        })
        .await?;
        Ok(Self { config, data_dir: data_dir.to_owned(), sealer, log, job })
    }

    /// The log.
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs sources and job until `stop`, or, when `until_idle`, until drained. Statuses
    /// of the sources are written to `sources.json` as they change.
    pub async fn run(self, stop: CancellationToken, until_idle: bool) -> anyhow::Result<PipelineSummary> {
        let state = Arc::new(CursorStore::open(&self.data_dir.join("cursors.redb")).context("opening the cursors")?);
        let mode = if until_idle { Mode::Once } else { Mode::Follow };
        let mut runners = JoinSet::new();
        let mut statuses = Vec::new();
        for source in &self.config.sources {
            let door = ahual_ingest::build(&source.name, source.intake(), &self.config.base_dir)?;
            let runner = Runner::new(door, Arc::clone(&self.log), self.sealer.clone(), Arc::clone(&state));
            statuses.push(runner.status());
            let (name, stop) = (source.name.clone(), stop.clone());
            runners.spawn(async move { (name, runner.run(stop, mode).await) });
        }
        let status_task = tokio::spawn(write_statuses(self.data_dir.join("sources.json"), statuses));

        let (done_sender, upstream_done) = watch::channel(false);
        let (stop_sender, stop_job) = watch::channel(false);
        let stopping = stop.clone();
        let stopper = tokio::spawn(async move {
            stopping.cancelled().await;
            let _ = stop_sender.send(true);
            std::future::pending::<()>().await;
        });
        let published = self.job.published();
        let mut job = self.job;
        let mut job_task = tokio::spawn(async move { job.run(stop_job, upstream_done).await });

        let mut summary = PipelineSummary::default();
        let mut job_ended = None;
        loop {
            tokio::select! {
                ended = runners.join_next() => match ended {
                    Some(Ok((_, Ok(done)))) => summary.sources.push(done),
                    Some(Ok((name, Err(error)))) => {
                        tracing::error!(source = name, "{}", crate::config::chain(&error));
                        summary.failed.insert(name, crate::config::chain(&error));
                    }
                    Some(Err(panic)) => anyhow::bail!("a source's runner ended unexpectedly: {panic}"),
                    None => break,
                },
                ended = &mut job_task => {
                    job_ended = Some(ended);
                    stop.cancel();
                    break;
                }
            }
        }
        while let Some(ended) = runners.join_next().await {
            if let Ok((_, Ok(done))) = ended {
                summary.sources.push(done);
            }
        }
        let _ = done_sender.send(true);
        let ended = match job_ended {
            Some(ended) => ended,
            // Sources that follow end only when told to; the job then ends too.
            None => job_task.await,
        };
        ended.context("the job ended unexpectedly")??;
        stopper.abort();
        status_task.abort();
        summary.sources.sort_by(|a, b| a.name.cmp(&b.name));
        summary.records = published.borrow().records;
        Ok(summary)
    }
}

/// Keeps `sources.json` (for `ops.sources`) up to date, swapped by rename.
async fn write_statuses(path: PathBuf, mut statuses: Vec<watch::Receiver<SourceStatus>>) {
    loop {
        let now: Vec<SourceStatus> = statuses.iter_mut().map(|s| s.borrow_and_update().clone()).collect();
        let next = path.with_extension("json.next");
        let written = serde_json::to_vec_pretty(&now)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&next, text))
            .and_then(|()| std::fs::rename(&next, &path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "source statuses could not be written");
        }
        let changes = statuses.iter_mut().map(|s| Box::pin(s.changed()));
        if futures::future::select_all(changes).await.0.is_err() {
            // One sender is gone: its runner ended. Wait for the others, not for it.
            statuses.retain(|s| s.has_changed().is_ok());
            if statuses.is_empty() {
                break;
            }
        }
    }
}
