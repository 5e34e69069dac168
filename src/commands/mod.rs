//! One module a command.

pub mod backfill;
pub mod batch;
pub mod dead_letters;
pub mod doctor;
pub mod explain;
pub mod query;
pub mod reconcile;
pub mod run;
pub mod simulate;
pub mod stage;
