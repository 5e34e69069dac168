//! Wires the stages of one process: sources → log → job → readers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_ingest::{Mode, RunSummary};
use ahual_schemas::Log;
use ahual_schemas::log::{DEAD_LETTERS, TopicKind, raw_topic};
use ahual_schemas::sealing::Sealer;
use ahual_transform::figures::Metrics;
use ahual_transform::job::{Job, JobError, JobParts};
use ahual_transform::mapping::Mapping;
use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::intake::{Intake, IntakeSummary};
use crate::retention::Retention;

/// Log and job, opened and not yet running.
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

/// Metrics of a deployment, the built-in ones and its own, with the reference data their
/// functions read.
pub async fn metrics(config: &Config) -> anyhow::Result<Metrics> {
    let (sealer, reference) = (config.sealer()?, config.reference_data()?);
    Metrics::load(&sealer, &reference, config.metrics_folder().as_deref()).await.context("reading the metrics")
}

/// The sealer of a deployment, with a warning where its key is for development.
pub fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    if config.sealing.key.is_development() {
        tracing::warn!("raw records are sealed with a development key; set sealing.key for real data");
    }
    Ok(config.sealer()?)
}

/// Opens the log, with the topics of every source.
pub async fn open_log(config: &Config, data_dir: &Path) -> anyhow::Result<Arc<dyn Log>> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    let log = ahual_ingest::log::open(&config.log, data_dir, config.deployment.partitions)
        .await
        .context("opening the log")?;
    log.create_topic(DEAD_LETTERS, TopicKind::Stream).await?;
    for source in &config.sources {
        log.create_topic(&raw_topic(&source.name), TopicKind::Stream).await?;
    }
    Ok(log)
}

impl Pipeline {
    /// Opens log, lake and index, and reads every mapping.
    pub async fn open(config: Config, data_dir: &Path) -> anyhow::Result<Self> {
        let sealer = sealer(&config)?;
        let metrics = metrics(&config).await?;
        let mut mappings = BTreeMap::new();
        for source in &config.sources {
            let mapping =
                Mapping::load(&source.name, &source.mapping, &config.base_dir, &sealer, metrics.reference()).await?;
            mappings.insert(source.name.clone(), mapping);
        }
        let log = open_log(&config, data_dir).await?;
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

    /// Runs the deployment's sources and the job until `stop`, or, when `until_idle`,
    /// until drained.
    pub async fn run(self, stop: CancellationToken, until_idle: bool) -> anyhow::Result<PipelineSummary> {
        let intake = Intake::of_sources(Arc::clone(&self.log), self.sealer.clone(), &self.data_dir)?;
        self.run_with(intake, stop, until_idle).await
    }

    /// As [`Pipeline::run`], with an intake of the caller's own.
    pub async fn run_with(
        self,
        intake: Intake,
        stop: CancellationToken,
        until_idle: bool,
    ) -> anyhow::Result<PipelineSummary> {
        let mode = if until_idle { Mode::Once } else { Mode::Follow };
        let mut intake = intake.start(&self.config, stop.clone(), mode)?;
        let (done_sender, upstream_done) = watch::channel(false);
        let published = self.job.published();
        let mut folding = tokio::spawn(self.follow(stop.clone(), upstream_done, until_idle));
        let (taken, folded) = tokio::select! {
            taken = &mut intake => {
                // What was appended until now is folded; then the job ends.
                let _ = done_sender.send(true);
                (taken, folding.await)
            }
            folded = &mut folding => {
                stop.cancel();
                (intake.await, folded)
            }
        };
        folded.context("the job ended unexpectedly")??;
        let IntakeSummary { sources, failed } = taken.context("the sources ended unexpectedly")??;
        let records = published.borrow().records;
        Ok(PipelineSummary { sources, failed, records })
    }

    /// Runs the job alone until `stop`, or, when `until_idle`, until nothing is left in the
    /// log. Returns how many records it folded.
    pub async fn fold(self, stop: CancellationToken, until_idle: bool) -> anyhow::Result<u64> {
        let published = self.job.published();
        let (_upstream, upstream_done) = watch::channel(until_idle);
        self.follow(stop, upstream_done, until_idle).await?;
        let records = published.borrow().records;
        Ok(records)
    }

    /// The job, with retention beside it and, where the run ends by itself, once after it.
    /// It ends when told to, or, once `upstream_done`, when nothing is left.
    async fn follow(
        self,
        stop: CancellationToken,
        upstream_done: watch::Receiver<bool>,
        until_idle: bool,
    ) -> Result<(), JobError> {
        let retention = Retention::new(self.log, self.config.log, self.job.published());
        let (stop_sender, stop_job) = watch::channel(false);
        let mut job = self.job;
        let folding = job.run(stop_job, upstream_done);
        let looking = retention.clone().keep_looking();
        let stopped = async {
            stop.cancelled().await;
            let _ = stop_sender.send(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = folding => ended?,
            () = looking => {}
            () = stopped => {}
        }
        if until_idle {
            retention.look().await;
        }
        Ok(())
    }
}
