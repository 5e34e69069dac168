//! The log on a real Apache Kafka broker keeps the law of the log.
//!
//! The broker is the one at `AHUAL_KAFKA` (`host:port`), or one that
//! `tests/kafka/broker` starts for this test and stops after it. Without Java and
//! Maven the tests say so and pass; with `CI=true` they fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../../tests/support/kafka.rs"]
mod kafka;
mod log_conformance;

use std::path::Path;
use std::sync::Arc;

use ahual_ingest::log::{KafkaConfig, KafkaLog, LogConfig};
use ahual_schemas::log::TopicKind;
use ahual_schemas::{Log, LogError};
use async_trait::async_trait;
use log_conformance::{Place, at, record};

struct Cluster {
    brokers: String,
    prefix: String,
}

impl Cluster {
    fn config(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(&self.brokers);
        config.topic_prefix.clone_from(&self.prefix);
        config
    }
}

#[async_trait]
impl Place for Cluster {
    async fn open(&self, partitions: u32) -> Result<Arc<dyn Log>, LogError> {
        Ok(Arc::new(KafkaLog::connect(self.config(), partitions).await?))
    }

    fn address(&self) -> String {
        format!("{} {}", self.brokers, self.prefix)
    }
}

async fn fresh(law: &str) -> Option<Cluster> {
    let brokers = tokio::task::spawn_blocking(kafka::broker).await.unwrap()?.to_owned();
    let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    // Apart from what earlier runs left on a broker that outlives them.
    let law: String = law.chars().take(60).collect();
    Some(Cluster { brokers, prefix: format!("{law}-{moment:x}.") })
}

conformance!(fresh);

/// Not a test of its own: the process that `acknowledged_work_survives_kill` kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writer() {
    log_conformance::child_writes_until_killed(async |address: &str| {
        let (brokers, prefix) = address.split_once(' ').unwrap();
        Cluster { brokers: brokers.to_owned(), prefix: prefix.to_owned() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_of_one_word_opens_kafka() {
    let Some(place) = fresh("a_configuration").await else { return };
    let text =
        format!("kind = \"kafka\"\n[kafka]\nbrokers = \"{}\"\ntopic_prefix = \"{}\"", place.brokers, place.prefix);
    let config: LogConfig = toml::from_str(&text).unwrap();
    let log = ahual_ingest::log::open(&config, Path::new("unused"), 3).await.unwrap();
    log.create_topic("raw.door", TopicKind::Stream).await.unwrap();
    log.append("raw.door", vec![record("k", "v")]).await.unwrap();
    assert_eq!(log.partitions(), 3);
    let mut held = 0;
    for partition in 0..3 {
        held += log.bounds(&at("raw.door", partition)).await.unwrap().next;
    }
    assert_eq!(held, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_do_not_answer_are_told_at_once() {
    // A port that was free a moment ago and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = KafkaConfig::new(&format!("127.0.0.1:{port}"));
    config.timeout_seconds = 1;
    let told = KafkaLog::connect(config, 4).await.err();
    assert!(matches!(told, Some(LogError::Unavailable { .. })), "{told:?}");
}
