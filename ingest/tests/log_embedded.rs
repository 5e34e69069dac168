//! The embedded log keeps the law of the log.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod log_conformance;

use std::path::PathBuf;
use std::sync::Arc;

use ahual_ingest::log::{EmbeddedLog, LogConfig};
use ahual_schemas::log::{TopicKind, partition_of};
use ahual_schemas::{Log, LogError};
use async_trait::async_trait;
use log_conformance::{Place, at, record};

struct Folder {
    path: PathBuf,
    _kept: Option<tempfile::TempDir>,
}

#[async_trait]
impl Place for Folder {
    async fn open(&self, partitions: u32) -> Result<Arc<dyn Log>, LogError> {
        Ok(Arc::new(EmbeddedLog::open(&self.path, partitions)?))
    }

    fn address(&self) -> String {
        self.path.to_str().unwrap().to_owned()
    }
}

async fn fresh(_law: &str) -> Option<Folder> {
    let dir = tempfile::tempdir().unwrap();
    Some(Folder { path: dir.path().to_owned(), _kept: Some(dir) })
}

conformance!(fresh);

/// Not a test of its own: the process that `acknowledged_work_survives_kill` kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writer() {
    log_conformance::child_writes_until_killed(async |address: &str| Folder { path: address.into(), _kept: None })
        .await;
}

#[tokio::test]
async fn the_default_configuration_opens_an_embedded_log_under_the_data_folder() {
    let data = tempfile::tempdir().unwrap();
    let log = ahual_ingest::log::open(&LogConfig::default(), data.path(), 16).await.unwrap();
    assert_eq!(log.partitions(), 16);
    assert!(data.path().join("log").join("log.redb").exists());
}

#[tokio::test]
async fn one_busy_partition_does_not_starve_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), 2).unwrap();
    log.create_topic("t", TopicKind::Stream).await.unwrap();
    let key_in = |p| (0..).map(|n| n.to_string()).find(|k| partition_of(k.as_bytes(), 2) == p).unwrap();
    let busy = key_in(0);
    for _ in 0..10 {
        log.append("t", (0..2_000).map(|_| record(&busy, "many")).collect()).await.unwrap();
    }
    log.append("t", vec![record(&key_in(1), "one")]).await.unwrap();
    let mut reader = log.reader(vec![(at("t", 0), 0), (at("t", 1), 0)]).await.unwrap();
    let came = log_conformance::read(&mut reader, 20_001).await;
    let quiet = came.iter().position(|r| r.at.partition == 1).unwrap();
    assert!(quiet <= 1_000, "the record of the quiet partition came after {quiet} others, more than a page");
}
