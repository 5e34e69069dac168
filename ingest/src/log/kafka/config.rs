//! How to reach Kafka.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ahual_schemas::LogError;
use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use super::MESSAGE_MAX_BYTES;

/// How to reach Kafka, and how topics are made there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to ask first, `host:port`, separated by commas.
    pub brokers: String,
    /// Put before every topic and group name, so that deployments can share a cluster.
    /// Empty by default.
    #[serde(default)]
    pub topic_prefix: String,
    /// Copies of each partition, 1 by default. Production wants 3.
    #[serde(default = "one")]
    pub replication_factor: u16,
    /// Copies that must have a record before it counts as durable. By default one
    /// fewer than `replication_factor`, and at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_insync_replicas: Option<u16>,
    /// Hours after which the broker removes records. By default it removes none by
    /// age: records go when the lake no longer needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_hours: Option<u32>,
    /// How long one request may take, in seconds, before it counts as failed. 60 by default.
    #[serde(default = "sixty")]
    pub timeout_seconds: u32,
    /// Further settings of librdkafka, as in its CONFIGURATION.md
    /// (`security.protocol`, `ssl.ca.location`, `sasl.username`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// Settings of librdkafka whose value is secret, each by reference:
    /// `"sasl.password" = { env = "KAFKA_PASSWORD" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
}

/// Where a secret is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// Name of an environment variable.
    Env(String),
    /// Path of a file; white space at its end does not count.
    File(PathBuf),
}

fn one() -> u16 {
    1
}

fn sixty() -> u32 {
    60
}

/// Settings that carry the promises of the log and are not for changing.
const OURS: [&str; 11] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "metadata.broker.list",
    "request.required.acks",
];

impl KafkaConfig {
    /// Settings to reach `brokers`, everything else by default.
    pub fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topic_prefix: String::new(),
            replication_factor: one(),
            min_insync_replicas: None,
            retention_hours: None,
            timeout_seconds: sixty(),
            properties: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// What contradicts itself in these settings, without reaching for anything.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.brokers.trim().is_empty() {
            problems.push("log.kafka.brokers is empty; name at least one host:port".to_owned());
        }
        if self.replication_factor == 0 {
            problems.push("log.kafka.replication_factor is 0; 1 keeps a single copy, 3 is for production".to_owned());
        }
        if self.timeout_seconds == 0 {
            problems.push("log.kafka.timeout_seconds is 0; 60 is the default".to_owned());
        }
        if self.min_insync() > self.replication_factor {
            problems.push(format!(
                "log.kafka.min_insync_replicas is {} and there are {} replicas; no record could ever be durable",
                self.min_insync(),
                self.replication_factor
            ));
        }
        for key in self.properties.keys() {
            if OURS.contains(&key.as_str()) {
                problems
                    .push(format!("log.kafka.properties sets {key}, on which the promises of the log rest; remove it"));
            } else if key.ends_with("password") || key.ends_with("secret") || key == "ssl.key.pem" {
                problems.push(format!(
                    "log.kafka.properties holds {key} itself; name where to read it instead: \
                     [log.kafka.secrets] \"{key}\" = {{ env = \"NAME\" }}"
                ));
            }
        }
        problems
    }

    /// Copies that must have a record before it counts as durable.
    pub(super) fn min_insync(&self) -> u16 {
        self.min_insync_replicas.unwrap_or_else(|| self.replication_factor.saturating_sub(1).max(1))
    }

    fn client(&self) -> Result<ClientConfig, LogError> {
        let mut client = ClientConfig::new();
        client.set("client.id", "ahual");
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        for (key, reference) in &self.secrets {
            client.set(key, reference.read(key)?);
        }
        client
            .set("bootstrap.servers", &self.brokers)
            .set("message.max.bytes", MESSAGE_MAX_BYTES.to_string())
            .set("socket.keepalive.enable", "true");
        Ok(client)
    }

    pub(super) fn producer(&self) -> Result<ClientConfig, LogError> {
        let mut client = self.client()?;
        client.set("acks", "all").set("enable.idempotence", "true");
        defaults(&mut client, &[("compression.type", "zstd"), ("linger.ms", "2")]);
        let timeout_ms = u64::from(self.timeout_seconds) * 1000;
        client.set("delivery.timeout.ms", timeout_ms.to_string());
        Ok(client)
    }

    pub(super) fn consumer(&self, group: &str) -> Result<ClientConfig, LogError> {
        let mut client = self.client()?;
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            .set("isolation.level", "read_committed")
            // A gap is an error to be told, not a reason to jump.
            .set("auto.offset.reset", "error");
        defaults(
            &mut client,
            &[
                ("check.crcs", "true"),
                ("fetch.message.max.bytes", "4194304"),
                ("fetch.max.bytes", "33554432"),
                // The default of a second is how long a reader with a full queue stands idle.
                ("fetch.queue.backoff.ms", "20"),
                ("fetch.error.backoff.ms", "100"),
            ],
        );
        Ok(client)
    }
}

fn defaults(client: &mut ClientConfig, values: &[(&str, &str)]) {
    for (key, value) in values {
        if client.get(key).is_none() {
            client.set(*key, *value);
        }
    }
}

impl SecretRef {
    fn read(&self, key: &str) -> Result<String, LogError> {
        let broken = |what: String, source| LogError::Broken { what, source };
        match self {
            // The cause would show the value where it is not UTF-8.
            Self::Env(name) => std::env::var(name).map_err(|_| {
                broken(format!("log.kafka.secrets \"{key}\" names the variable {name}, which is not set to text"), None)
            }),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    broken(
                        format!("log.kafka.secrets \"{key}\" names the file {}, which cannot be read", path.display()),
                        Some(Box::new(e)),
                    )
                })?;
                Ok(text.trim_end().to_owned())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn promises_cannot_be_configured_away_and_secrets_not_written_down() {
        let mut config = KafkaConfig::new("broker:9092");
        assert!(config.problems().is_empty());
        config.properties.insert("acks".into(), "0".into());
        config.properties.insert("sasl.password".into(), "open sesame".into());
        config.min_insync_replicas = Some(2);
        let problems = config.problems().join("\n");
        assert!(
            problems.contains("acks") && problems.contains("\"sasl.password\" = { env") && problems.contains("is 2")
        );
        assert!(!problems.contains("sesame"));
    }

    #[test]
    fn durable_means_more_than_one_copy_once_there_are_three() {
        let mut config = KafkaConfig::new("broker:9092");
        assert_eq!(config.min_insync(), 1);
        config.replication_factor = 3;
        assert_eq!(config.min_insync(), 2);
    }
}
