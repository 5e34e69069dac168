//! `ahual simulate`: the region in small. Doors over real HTTP tell one seeded
//! story, with faults on demand, and a hidden ledger (`/_truth`) says what was truly
//! told, so that figures made from the doors can be checked.
//!
//! | Door | Address | Reading on |
//! |---|---|---|
//! | 109 | `/109/requests?updated_since&page&page_size` | page numbers, bearer token, zone-less local times |
//! | 112 | `/112/incidents?since_id&limit` | a cursor over rows of units |
//! | tasks | `/tasks?offset&limit` | `Link: …; rel="next"` |
//! | Open311 | `/open311/v2/…` | GeoReport v2, XML and JSON, a cap on every answer |
//! | egov | `/api/v4/{dataset}/{version}?apiKey&source` | an Elasticsearch query, zone-less local times, 35 calls a minute |
//! | telegram | `/bot{token}/getUpdates?offset&limit` | asking on forgets what came before; a day's memory |
//! | vk | `/method/wall.get`, `/method/wall.getComments` | errors under HTTP 200, shifting offsets, silent deletions |
//!
//! The same seed, start and instant give the same bytes. Names, phones and numbers of
//! persons are invented and look it.

mod clock;
mod dice;
mod document;
mod doors;
mod faults;
mod incident;
mod problem;
mod region;
mod social;
mod task;
mod truth;
pub(crate) mod world;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Days, Utc};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use clock::Clock;
pub(crate) use faults::Faults;
use world::World;

/// What the simulator is told.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Seed of the story; the same seed tells the same story
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Loopback address to listen on; port 0 takes a free one
    #[arg(long, env = "AHUAL_SIM_LISTEN", default_value = "127.0.0.1:8311")]
    pub listen: SocketAddr,
    /// Instant the simulated clock starts at (RFC 3339); now when absent
    #[arg(long, value_name = "INSTANT")]
    pub start: Option<DateTime<Utc>>,
    /// Real instant at which the clock stood at `start`; now when absent. Give it to
    /// start a simulator again where it would have been
    #[arg(long, value_name = "INSTANT")]
    pub began_at: Option<DateTime<Utc>>,
    /// How many times as fast as real time
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Freeze the clock at this instant: everything from the story's first day up to it
    /// has been told and nothing more will be
    #[arg(long, value_name = "INSTANT")]
    pub until: Option<DateTime<Utc>>,
    /// Whole days of the story before `start`
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub history_days: u32,
    /// Size: 1 is about 550 contacts of 109, 900 incidents, 60 tasks, 70 reports and 60
    /// documents a day
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Token that doors ask for: the bearer token of 109, the key of the open data
    /// portal, `1:` and it that of the Telegram bot
    #[arg(long, env = "AHUAL_SIM_TOKEN", default_value = "simulated", hide_env_values = true)]
    pub token: String,
    /// Most requests one Open311 answer holds
    #[arg(long, value_name = "REQUESTS", default_value_t = 200)]
    pub open311_cap: usize,
    /// Hours for which Telegram keeps what a bot has not confirmed
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    pub telegram_kept_hours: u32,
    /// What goes wrong
    #[command(flatten)]
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            listen: SocketAddr::from(([127, 0, 0, 1], 8311)),
            start: None,
            began_at: None,
            speed: 1.0,
            until: None,
            history_days: 30,
            scale: 1.0,
            token: "simulated".to_owned(),
            open311_cap: 200,
            telegram_kept_hours: 24,
            faults: Faults::default(),
        }
    }
}

/// Why the simulator does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulateError {
    /// A setting makes no sense.
    #[error("cannot simulate: {0}")]
    Settings(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {listen} for the simulated doors; give --listen another port, or 0 for a free one")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The server stopped by itself.
    #[error("the simulated doors stopped serving")]
    Serving(#[source] std::io::Error),
}

/// Opens the doors. Answers the address they listen on and the running server, which
/// ends once `stop` is cancelled and the answers under way are given.
pub(crate) async fn serve(
    options: Options,
    stop: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<Result<(), SimulateError>>), SimulateError> {
    let listen = options.listen;
    let simulation = Arc::new(Simulation::new(options)?);
    let failed = |source| SimulateError::Listen { listen, source };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let app = doors::router(simulation);
    let server = tokio::spawn(async move {
        axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await.map_err(SimulateError::Serving)
    });
    Ok((address, server))
}

/// A running simulation: the story, its clock and how often each door was asked.
#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) options: Options,
    clock: Clock,
    world: RwLock<World>,
    asked: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// When doors that count calls were called, within the last real minute.
    called: Mutex<BTreeMap<&'static str, VecDeque<Instant>>>,
    bot: Mutex<doors::telegram::Bot>,
}

impl Simulation {
    pub(crate) fn new(mut options: Options) -> Result<Self, SimulateError> {
        options.faults = options.faults.in_force();
        let refuse = |why: String| Err(SimulateError::Settings(why));
        if let Some(why) = options.faults.wrong() {
            return refuse(why);
        }
        if !options.listen.ip().is_loopback() {
            // The hidden ledger has no lock, and the story is nobody's business outside.
            return refuse(format!("{} is not a loopback address; use 127.0.0.1 or ::1", options.listen));
        }
        if !(options.speed.is_finite() && options.speed >= 0.0 && options.scale.is_finite() && options.scale >= 0.0) {
            return refuse("speed and scale are numbers from 0 up".to_owned());
        }
        if options.open311_cap == 0 {
            return refuse("an Open311 answer must hold at least one request; raise open311_cap".to_owned());
        }
        let start = options.start.or(options.until).unwrap_or_else(Utc::now);
        if options.until.is_some_and(|until| until < start) {
            return refuse("the clock would freeze before it starts; put until after start".to_owned());
        }
        let began_at = options.began_at.unwrap_or_else(Utc::now);
        let clock = Clock::new(start, began_at, options.speed, options.until);
        let first_day = clock::local_day(start.timestamp())
            .checked_sub_days(Days::new(u64::from(options.history_days)))
            .ok_or_else(|| SimulateError::Settings("history_days reaches back before the calendar".to_owned()))?;
        let world = World::new(options.seed, first_day, options.scale, options.faults.clone());
        Ok(Self {
            options,
            clock,
            world: RwLock::new(world),
            asked: Mutex::default(),
            called: Mutex::default(),
            bot: Mutex::default(),
        })
    }

    /// Looks at the story as it stands now.
    pub(crate) fn look<T>(&self, see: impl FnOnce(&World, i64) -> T) -> T {
        let now = self.clock.now();
        {
            let world = self.world.read().unwrap_or_else(PoisonError::into_inner);
            if world.reaches(now) {
                return see(&world, now);
            }
        }
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        world.reach(now);
        see(&world, now)
    }

    /// Counts one `event` at `door`; answers how many there were before.
    pub(crate) fn count(&self, door: &'static str, event: &'static str) -> u64 {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry((door, event)).or_insert(0);
        *count += 1;
        *count - 1
    }

    /// Notes a call at `door`; answers how many there were in the last minute of real
    /// time, this one included. A call beyond what a door answers counts, too.
    pub(crate) fn calls_of_the_minute(&self, door: &'static str) -> usize {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = called.entry(door).or_default();
        let now = Instant::now();
        while calls.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(60)) {
            calls.pop_front();
        }
        calls.push_back(now);
        calls.len()
    }

    /// What has been counted at each door.
    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
