//! Figures: bags of contributions.
//!
//! A metric is one SQL file that maps the rows of *cases* to contributions and is
//! linear over cases: what a case contributes depends on that case alone. Figures are
//! sums of contributions (and multisets of their durations), so a kept figure is kept
//! by subtracting what a case contributed before and adding what it contributes now,
//! and equals the recomputed one exactly. Ratios and quantiles are formed at read.

mod bag;
mod definition;
mod keeper;
mod linear;
pub mod quantile;

pub use bag::{Bag, CellKey, Place, Totals};
pub use definition::{Metric, MetricError, Metrics, Subject, kept_cells_sql};
