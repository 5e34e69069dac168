//! The log: what a door said, durable, in order, unchanged.
//!
//! # The delivery law of the log
//!
//! 1. [`Log::append`] returns when **all** its records are durable, and not before:
//!    fsynced here, acknowledged by every replica in sync on Kafka. On an error none,
//!    some or all may lie in the log; the caller appends again. Delivery *into* the
//!    log is at least once, and the record's identity makes a repeat harmless.
//! 2. A record gets its offset and its append stamp once. Both, and key, headers and
//!    payload, read the same ever after.
//! 3. Records of one partition come in offset order, each once per reader. A key
//!    always lies in the same partition, on either log.
//! 4. What retention removed is never delivered again, and whoever still wants it is
//!    told so ([`LogError::FellBehind`]); nothing is skipped in silence.
//! 5. A committed position is a note for operators and retention. The truth of
//!    progress is written with the rows it made, in the lake.
//!
//! One process owns an embedded log; others append through its socket ([`share`], [`join`]).
//!
//! Two logs keep this law, and one suite (`tests/log_conformance`) holds both to it:
//! [`EmbeddedLog`], durable on local disk, and [`KafkaLog`], Apache Kafka.

mod embedded;
mod kafka;
mod retention;
mod rules;
mod socket;

use std::path::Path;
use std::sync::Arc;

use ahual_schemas::{Log, LogError};
use serde::{Deserialize, Serialize};

pub use embedded::{Clock, EmbeddedLog};
pub use kafka::{KafkaConfig, KafkaLog, KafkaSasl, KafkaSecurity, KafkaTls, SaslMechanism};
pub use retention::{RetentionConfig, in_danger, retain};
pub use socket::{SOCKET, join, share};

/// Folder of the embedded log under the data folder.
pub const FOLDER: &str = "log";

/// Which log carries the records.
///
/// ```toml
/// [log]
/// kind = "kafka"
///
/// [log.kafka]
/// brokers = "127.0.0.1:9092"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `embedded` (default) or `kafka`.
    #[serde(default)]
    pub kind: LogKind,
    /// How to reach Kafka. Needed when `kind` is `kafka`, ignored otherwise, so that
    /// one word switches a configuration from one log to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaConfig>,
    /// How long records stay once the lake has them.
    #[serde(default)]
    pub retention: RetentionConfig,
}

/// The logs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// One file under the data folder, owned by one process.
    #[default]
    Embedded,
    /// Apache Kafka.
    Kafka,
}

impl LogConfig {
    /// What contradicts itself in these settings, without reaching for anything.
    pub fn problems(&self) -> Vec<String> {
        match (self.kind, &self.kafka) {
            (LogKind::Embedded, _) => Vec::new(),
            (LogKind::Kafka, None) => {
                vec![
                    "log.kind is \"kafka\" and there is no [log.kafka]; add it with brokers = \"host:port\"".to_owned(),
                ]
            }
            (LogKind::Kafka, Some(kafka)) => kafka.problems(),
        }
    }
}

/// Opens the log that `config` names, with `partitions` partitions a topic.
///
/// The embedded log lies in [`FOLDER`] under `data_dir`. Kafka is dialled: brokers that
/// do not answer are an error now, not at the first record.
pub async fn open(config: &LogConfig, data_dir: &Path, partitions: u32) -> Result<Arc<dyn Log>, LogError> {
    if let Some(problem) = config.problems().into_iter().next() {
        return Err(LogError::Broken { what: problem, source: None });
    }
    match (config.kind, &config.kafka) {
        (LogKind::Kafka, Some(kafka)) => Ok(Arc::new(KafkaLog::connect(kafka.clone(), partitions).await?)),
        _ => {
            let dir = data_dir.join(FOLDER);
            let log = tokio::task::spawn_blocking(move || EmbeddedLog::open(&dir, partitions))
                .await
                .map_err(|lost| LogError::Unavailable { doing: "open", source: Box::new(lost) })??;
            Ok(Arc::new(log))
        }
    }
}

/// A log as a command that comes beside others gets it.
pub enum Access {
    /// It belongs to this process, or, on Kafka, to all.
    Own(Arc<dyn Log>),
    /// It belongs to another process, which appends on this one's behalf.
    Guest(Arc<dyn Log>),
}

impl Access {
    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        match self {
            Self::Own(log) | Self::Guest(log) => log,
        }
    }
}

/// As [`open`], and where another process owns the embedded log, [`join`]s it.
pub async fn open_or_join(config: &LogConfig, data_dir: &Path, partitions: u32) -> Result<Access, LogError> {
    match open(config, data_dir, partitions).await {
        Err(LogError::Owned { .. }) => join(data_dir, partitions).await.map(Access::Guest),
        opened => opened.map(Access::Own),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use ahual_schemas::secret::SecretRef;

    use super::*;

    #[test]
    fn one_word_switches_the_log() {
        let text = |kind: &str| format!("kind = \"{kind}\"\n[kafka]\nbrokers = \"127.0.0.1:9092\"\n");
        for (kind, expected) in [("embedded", LogKind::Embedded), ("kafka", LogKind::Kafka)] {
            let config: LogConfig = toml::from_str(&text(kind)).unwrap();
            assert_eq!(config.kind, expected);
            assert_eq!(config.kafka.as_ref().unwrap(), &KafkaConfig::new("127.0.0.1:9092"));
            assert!(config.problems().is_empty());
        }
        assert_eq!(toml::from_str::<LogConfig>("").unwrap(), LogConfig::default());
    }

    #[test]
    fn unknown_words_and_missing_tables_are_told() {
        let told = toml::from_str::<LogConfig>("kind = \"kafka\"\n[kafka]\nbroker = \"b:1\"").unwrap_err().to_string();
        assert!(told.contains("broker") && told.contains("brokers"), "{told}");
        let config: LogConfig = toml::from_str("kind = \"kafka\"").unwrap();
        assert!(config.problems()[0].contains("[log.kafka]"));
    }

    #[test]
    fn secrets_are_named_not_written() {
        let text = "brokers = \"b:1\"\n[secrets]\n\"sasl.password\" = { env = \"KAFKA_PASSWORD\" }";
        let config: KafkaConfig = toml::from_str(text).unwrap();
        assert_eq!(config.secrets["sasl.password"], SecretRef::Env("KAFKA_PASSWORD".to_owned()));
    }
}
