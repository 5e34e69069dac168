//! Makes what a door says durable, unchanged.
//!
//! A *connector* reads one page after a cursor and does nothing else. One *runner*
//! does the rest for all of them: it retries, waits, limits the rate, seals, appends
//! to the log, sets aside what cannot be taken, and only then saves the cursor.
//!
//! The law of this crate: a cursor is saved only after every record of its page is
//! durable in the log, or set aside with its bytes and the reason.

pub mod accounts;
pub mod clock;
pub mod config;
pub mod connector;
pub mod egov;
pub mod files;
pub(crate) mod http;
pub mod identity;
pub mod log;
pub mod open311;
pub mod rest;
pub mod runner;
pub mod secret;
pub(crate) mod seen;
pub mod state;
pub mod telegram;
pub(crate) mod times;
pub(crate) mod turn;
pub mod vk;

pub use config::{ConfigError, Door, IntakeConfig, LimitsConfig, build};
pub use connector::{Connector, ConnectorError, Cursor, Found, Item, Page, Refused};
pub use identity::{Identity, IdentityConfig};
pub use runner::{Mode, RunError, RunSummary, Runner, SourceStatus};
pub use state::{CursorStore, StateError};
