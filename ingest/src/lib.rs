//! Makes what a door says durable, unchanged.

pub mod log;
