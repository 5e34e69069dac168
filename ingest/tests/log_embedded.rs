//! The embedded log keeps the law of the log.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod log_conformance;

use std::path::PathBuf;
use std::sync::Arc;

use ahual_ingest::log::{EmbeddedLog, LogConfig};
use ahual_schemas::{Log, LogError};
use async_trait::async_trait;
use log_conformance::Place;

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
    log_conformance::child_writes_until_killed(async |address: &str| Folder { path: address.into(), _kept: None }).await;
}

#[tokio::test]
async fn the_default_configuration_opens_an_embedded_log_under_the_data_folder() {
    let data = tempfile::tempdir().unwrap();
    let log = ahual_ingest::log::open(&LogConfig::default(), data.path(), 16).await.unwrap();
    assert_eq!(log.partitions(), 16);
    assert!(data.path().join("log").join("log.redb").exists());
}
