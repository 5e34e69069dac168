//! Figures: bags of contributions.
//!
//! A metric is one SQL file that maps the rows of *cases* to contributions and is
//! linear over cases: what a case contributes depends on that case alone. Figures are
//! sums of contributions (and multisets of their durations), so a kept figure is kept
//! by subtracting what a case contributed before and adding what it contributes now,
//! and equals the recomputed one exactly. Ratios and quantiles are formed at read.
//!
//! What is no sum over cases (a rank, a repeat, a probability) and what shows several figures
//! side by side is a [`Board`]: a view formed at read.

mod bag;
mod board;
mod definition;
mod header;
pub mod incidence;
mod keeper;
mod linear;
pub mod quantile;
pub mod statistics;

pub use bag::{Bag, CellKey, Place, Totals};
pub use board::Board;
pub use definition::{Metric, MetricError, Metrics, Subject, kept_cells_sql};
