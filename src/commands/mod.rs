//! One module a command.

pub mod query;
pub mod run;
