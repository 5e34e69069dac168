//! Turns raw records into events, cases and figures.

pub mod by_case;
pub mod catalog;
pub mod clocks;
mod compact;
pub mod decode;
pub(crate) mod envelope;
pub mod figures;
pub mod fold;
pub mod functions;
pub mod index;
pub mod job;
pub mod lake;
pub mod ledger;
pub mod mapping;
mod metrics_schema;
mod past;
pub mod readers;
pub mod reading;
mod rebuild;
pub mod reconcile;
pub mod reference;
pub mod sources;
pub mod territory;
