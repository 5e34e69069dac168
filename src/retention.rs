//! Lets the log go of what is old and folded, beside a running job.

use std::sync::Arc;
use std::time::Duration;

use ahual_ingest::log::{LogConfig, LogKind, in_danger, retain};
use ahual_schemas::{Log, LogError};
use ahual_transform::job::Published;
use tokio::sync::watch;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// The log and how long it keeps.
#[derive(Clone)]
pub struct Retention {
    log: Arc<dyn Log>,
    config: LogConfig,
    published: watch::Receiver<Published>,
}

impl Retention {
    /// Retention of `log`, never past what `published` says is folded.
    pub fn new(log: Arc<dyn Log>, config: LogConfig, published: watch::Receiver<Published>) -> Self {
        Self { log, config, published }
    }

    /// Looks at once and every ten minutes, until dropped.
    pub async fn keep_looking(self) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            self.look().await;
        }
    }

    /// Looks once. A log that cannot do it now is asked again at the next look: nothing
    /// is wrong but the use of space.
    pub async fn look(&self) {
        match self.try_look().await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "the log let go of what is old and folded"),
            Err(error) => tracing::warn!(error = crate::config::chain(&error), "old records stay in the log for now"),
        }
    }

    async fn try_look(&self) -> Result<u64, LogError> {
        let folded = self.published.borrow().folded.clone();
        let now_ms = chrono::Utc::now().timestamp_millis();
        if let (LogKind::Kafka, Some(kafka)) = (self.config.kind, &self.config.kafka)
            && let Some(hours) = kafka.retention_hours
        {
            let broker_keeps = Duration::from_secs(u64::from(hours) * 3600);
            for at in in_danger(self.log.as_ref(), &folded, broker_keeps, now_ms).await? {
                tracing::warn!(
                    topic = at.topic,
                    partition = at.partition,
                    retention_hours = hours,
                    "records wait to be folded for more than half of the time the broker keeps them; raise the \
                     topic's retention.ms, or find out why transform is late"
                );
            }
        }
        retain(self.log.as_ref(), &folded, self.config.retention.keep(), now_ms).await
    }
}
