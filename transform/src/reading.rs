//! What readers may ask of transform. Servers depend on this trait, not on how the
//! figures are kept.

use std::collections::BTreeMap;

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::table::{At, Day};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use tokio::sync::watch;

/// What a metric is, for catalogues and documents.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MetricInfo {
    /// Name: table `metrics.<name>`.
    pub name: String,
    /// One line.
    pub title: String,
    /// Unit of its durations or rates (`ratio`, `seconds`, `cases`).
    pub unit: String,
    /// The header of its SQL file: meaning, formula, edge cases.
    pub description: String,
}

/// Dimensions a figure can be grouped and filtered by, as columns of `metrics.*`.
pub const DIMENSIONS: [&str; 5] = ["source", "body", "category", "territory", "day"];

/// A question about one metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FigureQuery {
    /// Metric name.
    pub metric: String,
    /// Dimensions to group by, of [`DIMENSIONS`]; empty gives one total row.
    pub by: Vec<String>,
    /// Dimension → allowed values (empty text means null). `day` is filtered by `from`/`to`.
    pub filter: BTreeMap<String, Vec<String>>,
    /// First local day, inclusive.
    pub from: Option<Day>,
    /// Last local day, exclusive.
    pub to: Option<Day>,
    /// What had happened by then; now when absent.
    pub as_of: Option<At>,
    /// What was known by then; now when absent.
    pub known_at: Option<At>,
}

/// The cases behind a figure.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// The query that gives them, to be asked at the same moment.
    pub sql: String,
    /// Columns: `case_id`, the dimensions, `numerator`, `denominator`, and for durations
    /// `duration_us` and `observed`. Their sums are the figure.
    pub rows: Vec<RecordBatch>,
}

/// A page of the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedPage {
    /// Entries in position order.
    pub entries: Vec<FeedEntry>,
    /// Whether more are there already.
    pub more: bool,
}

/// Why a reader got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The question is wrong; the text says what to change.
    #[error("{0}")]
    Question(String),
    /// Nothing has been published yet.
    #[error("nothing is published yet: no batch has been folded")]
    NotPublished,
    /// The answer could not be computed.
    #[error("could not {doing}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Everything readers may ask.
#[async_trait]
pub trait Reading: Send + Sync {
    /// A session over one published epoch: schemas `raw`, `core`, `ref`, `metrics`, `ops`.
    /// Cheap; every statement of a reader may take a fresh one.
    async fn session(&self) -> Result<SessionContext, ReadError>;

    /// The metrics there are, sorted by name.
    fn metrics(&self) -> Vec<MetricInfo>;

    /// Figures of one metric. Columns: the dimensions asked for, `numerator`,
    /// `denominator`, `n`, `as_of`, and for durations `closed_p50`, `closed_p90`,
    /// `closed_p95`, `p50`, `p90`, `p95` (Kaplan–Meier, null = not reached).
    async fn figures(&self, query: &FigureQuery) -> Result<Vec<RecordBatch>, ReadError>;

    /// What each case contributes to the figure that `query` asks for (its `by` is of no
    /// account), at most `limit` rows, in order of case.
    async fn cases(&self, query: &FigureQuery, limit: usize) -> Result<Explanation, ReadError>;

    /// Feed entries after `position` (from the oldest kept when absent), at most `limit`.
    async fn feed_after(&self, position: Option<FeedPosition>, limit: usize) -> Result<FeedPage, ReadError>;

    /// Newest feed position; changes when a batch is published.
    fn feed_head(&self) -> watch::Receiver<Option<FeedPosition>>;

    /// `Ok` when figures are published and the pipeline lives, otherwise why not.
    fn readiness(&self) -> Result<(), String>;
}
