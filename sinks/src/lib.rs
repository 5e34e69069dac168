//! Lets others read what the pipeline has published.
//!
//! Every door here stands on [`ahual_transform::reading::Reading`] and on nothing else:
//!
//! - [`http`]: health, readiness, Prometheus, figures as JSON, the feed as server-sent events.
//! - [`postgres`]: the catalogue over the Postgres wire, read-only, SCRAM-SHA-256.
//! - [`feed_topic`]: the feed on a compacted topic of the log.
//!
//! # Law
//!
//! A server binds the address it is given (port 0 included), says where it stands
//! ([`Bound`]), and drains when told to stop. An answer is computed over one published
//! epoch, never across two. The feed loses nothing: a reader that names the last entry it
//! has seen gets the next one, however slow it was and whoever was restarted in between.
//!
//! # What it refuses
//!
//! To write; to serve Postgres without a password or off loopback without TLS; to answer a
//! question it did not understand with a default.

pub mod error;
pub mod feed_topic;
pub mod http;
pub mod postgres;
pub mod secret;
pub mod serving;

pub use error::SinkError;
pub use serving::Bound;
