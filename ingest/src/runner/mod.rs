//! One runner for every connector. It alone retries, waits, limits the rate, appends
//! and remembers where a source stands.
//!
//! The law: the cursor of a page is saved only after every record of the page is
//! durable in the log, or set aside with its bytes and the reason. Whatever fails in
//! between, the page is read again under the same identities.

mod durable;
mod error;
mod status;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::log::{DEAD_LETTERS, TopicKind, raw_topic};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::{Advice, Log, LogError};
use backon::{BackoffBuilder, ExponentialBuilder};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::config::{Door, LimitsConfig};
use crate::connector::{Connector, Cursor, Page};
use crate::identity::Identity;
use crate::state::{CursorStore, StateError};

pub use error::RunError;
pub use status::{RunSummary, SourceStatus};

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When the source is drained.
    Once,
    /// When it is told to stop, or when a source that can give nothing new is drained.
    Follow,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;

/// The runner's clock as the rate limiter wants it.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Runs one source.
pub struct Runner {
    name: String,
    connector: Box<dyn Connector>,
    identity: Arc<Identity>,
    limits: LimitsConfig,
    log: Arc<dyn Log>,
    sealer: Sealer,
    state: Arc<CursorStore>,
    clock: Arc<dyn Clock>,
    limiter: Option<Limiter>,
    status: watch::Sender<SourceStatus>,
}

/// Whether to go on.
enum Wait {
    Over,
    Stopped,
}

impl Runner {
    /// A runner for `door`.
    pub fn new(door: Door, log: Arc<dyn Log>, sealer: Sealer, state: Arc<CursorStore>) -> Self {
        Self::with_clock(door, log, sealer, state, Arc::new(SystemClock::default()))
    }

    /// A runner whose time is told by `clock`.
    pub fn with_clock(
        door: Door,
        log: Arc<dyn Log>,
        sealer: Sealer,
        state: Arc<CursorStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let limiter = door
            .limits
            .rate_limit_per_minute
            .and_then(NonZeroU32::new)
            .and_then(|rate| Quota::with_period(Duration::from_secs(60) / rate.get()))
            .map(|quota| RateLimiter::direct_with_clock(quota, Ticks(Arc::clone(&clock))));
        let status = SourceStatus {
            name: door.name.clone(),
            kind: door.connector.describe().kind,
            identity: door.identity.way(),
            state: "starting".to_owned(),
            last_success_at: None,
            pages: 0,
            records: 0,
            set_aside: 0,
            failures: 0,
            error: None,
            drained: false,
            cursor: None,
        };
        Self {
            name: door.name,
            connector: door.connector,
            identity: door.identity,
            limits: door.limits,
            log,
            sealer,
            state,
            clock,
            limiter,
            status: watch::Sender::new(status),
        }
    }

    /// How the source is doing, live; outlives the run.
    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    /// Reads pages until `stop`, until drained (by `mode`), or until an error that needs
    /// a person. Nothing is lost by dropping the future: the next run goes on from the
    /// saved cursor.
    pub async fn run(mut self, stop: CancellationToken, mode: Mode) -> Result<RunSummary, RunError> {
        let ended = self.work(&stop, mode).await;
        self.status.send_modify(|status| match &ended {
            Ok(()) => status.state = if status.drained { "drained" } else { "stopped" }.to_owned(),
            Err(error) => {
                status.state = "stopped by an error".to_owned();
                status.error = Some(chain(error));
            }
        });
        ended?;
        let status = self.status.borrow();
        Ok(RunSummary {
            name: self.name.clone(),
            pages: status.pages,
            records: status.records,
            set_aside: status.set_aside,
            drained: status.drained,
        })
    }

    async fn work(&mut self, stop: &CancellationToken, mode: Mode) -> Result<(), RunError> {
        let Some(()) = self.create_topics(stop).await? else { return Ok(()) };
        let mut cursor = self.load().await?;
        let endless = self.connector.describe().endless;
        loop {
            let Some(page) = self.read(cursor.as_ref(), stop, mode).await? else { return Ok(()) };
            let Some((records, set_aside)) = self.make_durable(&page, stop).await? else { return Ok(()) };
            if cursor.as_ref() != Some(&page.cursor) {
                self.save(page.cursor.clone()).await?;
                cursor = Some(page.cursor);
            }
            let now = self.clock.now();
            let summary = cursor.as_ref().map(|cursor| self.connector.summarise(cursor));
            self.status.send_modify(|status| {
                status.pages += 1;
                status.records += records;
                status.set_aside += set_aside;
                status.last_success_at = Some(now);
                status.failures = 0;
                status.error = None;
                status.drained = !page.more;
                status.state = if page.more { "reading" } else { "idle" }.to_owned();
                status.cursor = summary;
            });
            if page.more {
                if stop.is_cancelled() {
                    return Ok(());
                }
                continue;
            }
            if mode == Mode::Once || !endless {
                return Ok(());
            }
            if let Wait::Stopped = self.wait(self.limits.poll_every(), stop).await {
                return Ok(());
            }
        }
    }

    /// One page, tried until it comes. `None` when told to stop.
    async fn read(
        &mut self,
        cursor: Option<&Cursor>,
        stop: &CancellationToken,
        mode: Mode,
    ) -> Result<Option<Page>, RunError> {
        let mut backoff = self.backoff();
        let mut attempts = 0;
        loop {
            if let Wait::Stopped = self.wait_for_rate(stop).await {
                return Ok(None);
            }
            let now = self.clock.now();
            let answer = tokio::select! {
                answer = self.connector.next_page(cursor, now) => answer,
                () = stop.cancelled() => return Ok(None),
            };
            let error = match answer {
                Ok(page) => return Ok(Some(page)),
                Err(error) => error,
            };
            attempts += 1;
            let Advice::RetryAfter(asked) = error.advice() else {
                return Err(RunError::Stopped { name: self.name.clone(), source: error });
            };
            let wait = asked.max(backoff.next().unwrap_or(self.limits.retry_most()));
            tracing::warn!(source = %self.name, attempts, wait_ms = wait.as_millis() as u64, error = %chain(&error), "page could not be read");
            self.status.send_modify(|status| {
                status.failures = attempts;
                status.error = Some(chain(&error));
                status.state = format!("waiting {} s to try again", wait.as_secs().max(1));
            });
            if mode == Mode::Once && attempts >= self.limits.give_up_after {
                return Err(RunError::GaveUp { name: self.name.clone(), attempts, source: error });
            }
            if let Wait::Stopped = self.wait(wait, stop).await {
                return Ok(None);
            }
        }
    }

    async fn create_topics(&mut self, stop: &CancellationToken) -> Result<Option<()>, RunError> {
        for topic in [raw_topic(&self.name), DEAD_LETTERS.to_owned()] {
            let mut backoff = self.backoff();
            while let Err(error) = self.log.create_topic(&topic, TopicKind::Stream).await {
                let Advice::RetryAfter(asked) = error.advice() else {
                    return Err(RunError::Log { name: self.name.clone(), source: error });
                };
                let wait = asked.max(backoff.next().unwrap_or(self.limits.retry_most()));
                self.log_is_away(&error, wait);
                if let Wait::Stopped = self.wait(wait, stop).await {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }

    fn log_is_away(&self, error: &LogError, wait: Duration) {
        tracing::warn!(source = %self.name, wait_ms = wait.as_millis() as u64, error = %chain(error), "log does not take records");
        self.status.send_modify(|status| {
            status.error = Some(chain(error));
            status.state = "waiting for the log".to_owned();
        });
    }

    async fn load(&mut self) -> Result<Option<Cursor>, RunError> {
        let (state, name) = (Arc::clone(&self.state), self.name.clone());
        self.kept(tokio::task::spawn_blocking(move || state.load(&name)).await)
    }

    async fn save(&mut self, cursor: Cursor) -> Result<(), RunError> {
        let (state, name) = (Arc::clone(&self.state), self.name.clone());
        self.kept(tokio::task::spawn_blocking(move || state.save(&name, &cursor)).await)
    }

    fn kept<T>(&self, answer: Result<Result<T, StateError>, tokio::task::JoinError>) -> Result<T, RunError> {
        let answer = answer.unwrap_or_else(|e| {
            Err(StateError::Unreadable { source_name: self.name.clone(), what: format!("the store's task ended: {e}") })
        });
        answer.map_err(|source| RunError::State { name: self.name.clone(), source })
    }

    fn backoff(&self) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::new()
            .with_min_delay(self.limits.retry_first())
            .with_max_delay(self.limits.retry_most())
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
            .build()
    }

    fn too_soon(&self) -> Option<Duration> {
        let too_soon = self.limiter.as_ref()?.check().err()?;
        Some(too_soon.wait_time_from(self.clock.elapsed()))
    }

    async fn wait_for_rate(&mut self, stop: &CancellationToken) -> Wait {
        while let Some(wait) = self.too_soon() {
            if let Wait::Stopped = self.wait(wait, stop).await {
                return Wait::Stopped;
            }
        }
        Wait::Over
    }

    async fn wait(&mut self, wait: Duration, stop: &CancellationToken) -> Wait {
        tokio::select! {
            () = self.clock.sleep(wait) => Wait::Over,
            () = stop.cancelled() => Wait::Stopped,
        }
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever wires the runner spawns it.
    #[allow(dead_code)]
    fn a_run_can_be_spawned(runner: Runner) -> impl Future<Output = Result<RunSummary, RunError>> + Send {
        runner.run(CancellationToken::new(), Mode::Once)
    }
}
