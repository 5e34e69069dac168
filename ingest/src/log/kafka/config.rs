//! How to reach Kafka.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ahual_schemas::LogError;
use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::MESSAGE_MAX_BYTES;
use crate::secret::{SecretRef, reveal};

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
    /// Hours after which the broker removes records by itself, set when a topic is made.
    /// By default it removes none by age: records go when `log.retention` says so and the
    /// lake has them. With a number here the broker asks nobody; Ahual warns when a record
    /// has waited half that long to be folded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_hours: Option<u32>,
    /// How long one request may take, in seconds, before it counts as failed. 60 by default.
    #[serde(default = "sixty")]
    pub timeout_seconds: u32,
    /// `plaintext` (default), for loopback and networks that nobody else listens on, or
    /// `tls`, which a build with the feature `kafka-tls` speaks.
    #[serde(default)]
    pub security: KafkaSecurity,
    /// Files of TLS; only with `security = "tls"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    /// Who we are to the brokers; only with `security = "tls"`, since it sends a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<KafkaSasl>,
    /// Further settings of librdkafka, as in its CONFIGURATION.md.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// Settings of librdkafka whose value is secret, each by reference:
    /// `"sasl.password" = { env = "KAFKA_PASSWORD" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretRef>,
}

/// How the brokers are spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KafkaSecurity {
    /// As it is.
    #[default]
    Plaintext,
    /// Encrypted, with the broker's certificate and name verified.
    Tls,
}

/// `[log.kafka.tls]`: files in PEM form, relative to the configuration's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTls {
    /// Certificates of whom we trust to certify brokers. The system's by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, where brokers ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Password of the key, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_password: Option<SecretRef>,
}

/// `[log.kafka.sasl]`: a name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    /// `plain`, `scram-sha-256` or `scram-sha-512`.
    pub mechanism: SaslMechanism,
    /// Name.
    pub username: String,
    /// Password.
    pub password: SecretRef,
}

/// How a password is shown to brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself, inside TLS.
    #[serde(rename = "plain")]
    Plain,
    /// Proof of knowing it, by SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// Proof of knowing it, by SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Its registered name.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
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

/// Settings that would switch the verification of certificates off.
const VERIFICATION: [&str; 2] = ["enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm"];

/// Whether this program can speak TLS to brokers.
const SPEAKS_TLS: bool = cfg!(feature = "kafka-tls");

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
            security: KafkaSecurity::default(),
            tls: None,
            sasl: None,
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
        problems.extend(self.problems_of_security(SPEAKS_TLS));
        for key in self.properties.keys() {
            if key == "security.protocol" {
                problems.push(
                    "log.kafka.properties sets security.protocol; write log.kafka.security = \"tls\" instead"
                        .to_owned(),
                );
            } else if VERIFICATION.contains(&key.as_str()) {
                problems.push(format!(
                    "log.kafka.properties sets {key}: brokers are always verified; remove it, and name whom to trust in \
                     log.kafka.tls.ca_file"
                ));
            } else if OURS.contains(&key.as_str()) {
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

    fn problems_of_security(&self, speaks_tls: bool) -> Vec<String> {
        let mut problems = Vec::new();
        match self.security {
            KafkaSecurity::Plaintext => {
                for (table, there) in [("tls", self.tls.is_some()), ("sasl", self.sasl.is_some())] {
                    if there {
                        problems.push(format!(
                            "there is a [log.kafka.{table}], and log.kafka.security is \"plaintext\"; set it to \"tls\""
                        ));
                    }
                }
            }
            KafkaSecurity::Tls if !speaks_tls => problems.push(
                "log.kafka.security is \"tls\", and this ahual was built without TLS for Kafka; build it with \
                 --features kafka-tls"
                    .to_owned(),
            ),
            KafkaSecurity::Tls => {}
        }
        if let Some(tls) = &self.tls {
            match (&tls.certificate_file, &tls.key_file) {
                (Some(_), None) => problems
                    .push("log.kafka.tls.certificate_file has no key; name it in log.kafka.tls.key_file".to_owned()),
                (None, Some(_)) => problems.push(
                    "log.kafka.tls.key_file has no certificate; name it in log.kafka.tls.certificate_file".to_owned(),
                ),
                _ => {}
            }
            if tls.key_password.is_some() && tls.key_file.is_none() {
                problems.push("log.kafka.tls.key_password has no key; name it in log.kafka.tls.key_file".to_owned());
            }
        }
        if self.sasl.as_ref().is_some_and(|sasl| sasl.username.is_empty()) {
            problems.push("log.kafka.sasl.username is empty; write the name the brokers know".to_owned());
        }
        problems
    }

    /// What `security`, `tls` and `sasl` say, in librdkafka's words.
    fn secure(&self, client: &mut ClientConfig) -> Result<(), LogError> {
        if self.security == KafkaSecurity::Plaintext {
            return Ok(());
        }
        client.set("security.protocol", if self.sasl.is_some() { "sasl_ssl" } else { "ssl" });
        let tls = self.tls.clone().unwrap_or_default();
        // Looks where the system keeps whom it trusts.
        let ca_file = tls.ca_file.map_or_else(|| "probe".to_owned(), |path| path.display().to_string());
        client.set("ssl.ca.location", ca_file);
        for (key, path) in [("ssl.certificate.location", tls.certificate_file), ("ssl.key.location", tls.key_file)] {
            if let Some(path) = path {
                client.set(key, path.display().to_string());
            }
        }
        if let Some(password) = &tls.key_password {
            client.set("ssl.key.password", had("log.kafka.tls.key_password", password)?.expose_secret());
        }
        if let Some(sasl) = &self.sasl {
            client
                .set("sasl.mechanisms", sasl.mechanism.name())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", had("log.kafka.sasl.password", &sasl.password)?.expose_secret());
        }
        Ok(())
    }

    /// Every file and secret these settings name, so that relative ones can be anchored.
    pub fn places(&mut self) -> (Vec<&mut PathBuf>, Vec<&mut SecretRef>) {
        let (mut files, mut secrets): (Vec<_>, Vec<_>) = (Vec::new(), self.secrets.values_mut().collect());
        if let Some(tls) = &mut self.tls {
            files.extend([&mut tls.ca_file, &mut tls.certificate_file, &mut tls.key_file].into_iter().flatten());
            secrets.extend(&mut tls.key_password);
        }
        secrets.extend(self.sasl.as_mut().map(|sasl| &mut sasl.password));
        (files, secrets)
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
            let secret = had(&format!("log.kafka.secrets \"{key}\""), reference)?;
            client.set(key, secret.expose_secret());
        }
        self.secure(&mut client)?;
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

/// The secret a key of the configuration points at.
fn had(key: &str, reference: &SecretRef) -> Result<SecretString, LogError> {
    reveal(reference, Path::new(""))
        .map_err(|source| LogError::Broken { what: format!("{key} cannot be had"), source: Some(Box::new(source)) })
}

fn defaults(client: &mut ClientConfig, values: &[(&str, &str)]) {
    for (key, value) in values {
        if client.get(key).is_none() {
            client.set(*key, *value);
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

    fn parsed(text: &str) -> KafkaConfig {
        toml::from_str(&format!("brokers = \"broker:9093\"\n{text}")).unwrap()
    }

    const SECURE: &str = "security = \"tls\"\n[tls]\nca_file = \"ca.pem\"\ncertificate_file = \"our.pem\"\n\
                          key_file = \"our.key\"\n[sasl]\nmechanism = \"scram-sha-512\"\nusername = \"ahual\"\n\
                          password = { development = \"open sesame\" }";

    #[test]
    fn tls_and_a_password_reach_the_client_and_brokers_stay_verified() {
        let config = parsed(SECURE);
        assert_eq!(config.problems_of_security(true), [""; 0]);
        let client = config.client().unwrap();
        for (key, value) in [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "ca.pem"),
            ("ssl.certificate.location", "our.pem"),
            ("ssl.key.location", "our.key"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "ahual"),
            ("sasl.password", "open sesame"),
        ] {
            assert_eq!(client.get(key), Some(value), "{key}");
        }
        assert!(!format!("{config:?}").contains("sesame"));
        let client = parsed("security = \"tls\"").client().unwrap();
        assert_eq!((client.get("security.protocol"), client.get("ssl.ca.location")), (Some("ssl"), Some("probe")));
        for key in VERIFICATION {
            let problems = parsed(&format!("[properties]\n\"{key}\" = \"none\"")).problems().join("\n");
            assert!(problems.contains(key) && problems.contains("always verified"), "{problems}");
        }
    }

    #[test]
    fn without_the_feature_tls_is_refused_saying_how_to_build_it() {
        let problems = parsed(SECURE).problems_of_security(false).join("\n");
        assert!(problems.contains("--features kafka-tls"), "{problems}");
        assert_eq!(parsed(SECURE).problems().is_empty(), SPEAKS_TLS);
    }

    #[test]
    fn half_a_security_is_refused() {
        for (text, word) in [
            ("[tls]\nca_file = \"ca.pem\"", "[log.kafka.tls]"),
            ("[sasl]\nmechanism = \"plain\"\nusername = \"a\"\npassword = { env = \"A\" }", "[log.kafka.sasl]"),
            ("security = \"tls\"\n[tls]\ncertificate_file = \"our.pem\"", "log.kafka.tls.key_file"),
            ("security = \"tls\"\n[tls]\nkey_file = \"our.key\"", "log.kafka.tls.certificate_file"),
            ("[properties]\n\"security.protocol\" = \"ssl\"", "log.kafka.security"),
        ] {
            let problems = parsed(text).problems().join("\n");
            assert!(problems.contains(word), "{text}: {problems}");
        }
    }

    #[test]
    fn durable_means_more_than_one_copy_once_there_are_three() {
        let mut config = KafkaConfig::new("broker:9092");
        assert_eq!(config.min_insync(), 1);
        config.replication_factor = 3;
        assert_eq!(config.min_insync(), 2);
    }
}
