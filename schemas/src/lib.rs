//! The vocabulary every stage of Ahual shares: what a raw record is, what an
//! event is, what the tables look like, how payloads are sealed, and the narrow
//! trait behind which the log lives.
//!
//! This is the ground floor: no I/O, no runtime, no clock. A stage may depend
//! on it; it depends on none.

pub mod event;
pub mod feed;
pub mod log;
pub mod record;
pub mod sealing;
pub mod secret;
pub mod table;
pub mod tables;

pub use event::{Event, Kind, Regime};
pub use log::{Advice, Log, LogError, LogReader, NewRecord, StoredRecord, TopicPartition};
pub use record::RawRecord;
pub use table::{At, Day};
