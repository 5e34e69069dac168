//! Turns raw records into events, cases and figures.

pub mod reading;
