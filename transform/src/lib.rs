//! Turns raw records into events, cases and figures.

pub mod catalog;
pub mod clocks;
pub mod decode;
pub(crate) mod envelope;
pub mod figures;
pub mod fold;
pub mod functions;
pub mod index;
pub mod job;
pub mod lake;
pub mod mapping;
pub mod readers;
pub mod reading;
pub mod reconcile;
pub mod reference;
pub mod sources;
pub mod territory;
