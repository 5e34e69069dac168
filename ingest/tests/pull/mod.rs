//! What the tests of the pull side share: a log in memory, a clock that is held, a small
//! HTTP server that can also lie, and sources that hold the same records.

pub(crate) mod egov;
pub(crate) mod memory_log;
pub(crate) mod server;
pub(crate) mod sources;
pub(crate) mod telegram;
pub(crate) mod vk;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahual_ingest::clock::Clock;
use ahual_ingest::{CursorStore, Mode, RunError, RunSummary, Runner, build};
use ahual_schemas::log::{DEAD_LETTERS, raw_topic};
use ahual_schemas::record::{header, open};
use ahual_schemas::sealing::Sealer;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use self::memory_log::MemoryLog;
use self::sources::Source;

pub(crate) const NAME: &str = "calls";

pub(crate) fn sealer() -> Sealer {
    Sealer::new("test", b"a secret of tests")
}

/// A clock on which waiting takes no time.
pub(crate) struct HeldClock {
    now: Mutex<DateTime<Utc>>,
    start: DateTime<Utc>,
    waits: Mutex<Vec<Duration>>,
}

impl HeldClock {
    pub(crate) fn at(start: &str) -> Arc<Self> {
        let start = DateTime::parse_from_rfc3339(start).unwrap().to_utc();
        Arc::new(Self { now: Mutex::new(start), start, waits: Mutex::default() })
    }

    /// Waits worth the name; a rate limit of none to speak of waits nanoseconds.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        let waits = self.waits.lock().unwrap();
        waits.iter().filter(|wait| **wait >= Duration::from_micros(1)).copied().collect()
    }

    pub(crate) fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }
}

#[async_trait]
impl Clock for HeldClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        (self.now() - self.start).to_std().unwrap()
    }

    async fn sleep(&self, wait: Duration) {
        self.waits.lock().unwrap().push(wait);
        self.pass(wait);
        tokio::task::yield_now().await;
    }
}

/// Everything a run needs besides its source; outlives runs as a deployment outlives
/// restarts.
pub(crate) struct Deployment {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) state: Arc<CursorStore>,
    pub(crate) clock: Arc<HeldClock>,
    /// The suite's id of a record from its name, as the source last run says.
    id_of: Mutex<fn(&str) -> String>,
    _dir: tempfile::TempDir,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(CursorStore::open(&dir.path().join("cursors.redb")).unwrap());
        let clock = HeldClock::at("2026-03-10T12:00:00Z");
        Self { log: Arc::default(), state, clock, id_of: Mutex::new(str::to_owned), _dir: dir }
    }

    pub(crate) fn runner(&self, source: &dyn Source) -> Runner {
        *self.id_of.lock().unwrap() = source.id_of();
        let door = build(NAME, source.intake(), source.folder()).unwrap();
        let (log, state, clock) = (self.log.clone(), self.state.clone(), self.clock.clone());
        Runner::with_clock(door, log, sealer(), state, clock)
    }

    /// Reads the source until it is drained, as after a restart.
    pub(crate) async fn run(&self, source: &dyn Source) -> Result<RunSummary, RunError> {
        self.clock.pass(Duration::from_secs(60));
        self.runner(source).run(CancellationToken::new(), Mode::Once).await
    }

    /// The suite's ids and opened payloads of the raw topic.
    pub(crate) fn records(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let stored = self.log.all(&raw_topic(NAME));
        let id_of = *self.id_of.lock().unwrap();
        stored.iter().map(|r| (id_of(r.header(header::RECORD).unwrap()), text(&open(r, &sealer()).unwrap()))).collect()
    }

    /// Distinct record ids, sorted.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.records().into_iter().map(|(id, _)| id).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Reasons and opened payloads of the dead letters.
    pub(crate) fn dead(&self) -> Vec<(String, Vec<u8>)> {
        let stored = self.log.all(DEAD_LETTERS);
        stored
            .iter()
            .map(|r| (r.header(header::REASON).unwrap().to_owned(), open(r, &sealer()).unwrap().to_vec()))
            .collect()
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
