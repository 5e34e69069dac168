//! `ahual`: the data pipeline of a situational centre.

mod simulate;

fn main() {}
