//! Metric definitions: commented SQL files.

use std::sync::Arc;

use ahual_schemas::At;
use ahual_schemas::sealing::Sealer;
use ahual_schemas::tables::{Case, Deadline, Part, Segment};
use arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use super::{Bag, Board, header, incidence, quantile, statistics};
use crate::fold::Folded;
use crate::functions;
use crate::reading::MetricInfo;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../metrics/", $name, ".sql")))),*]
    };
}

/// The metrics that ship with Ahual: name and SQL.
const BUILT_IN: [(&str, &str); 39] = files![
    "completion",
    "clearance",
    "on_time",
    "on_time_original",
    "extension",
    "overdue_backlog",
    "deadline_margin",
    "deemed_refusal",
    "time_to_first_response",
    "time_to_resolve",
    "time_to_first_close",
    "net_time_to_resolve",
    "reopen",
    "transfers",
    "bounces",
    "custody",
    "satisfaction",
    "feedback_response",
    "personal_control",
    "social_reply",
    "social_reply_time",
    "social_activity",
    "call_answered",
    "call_in_time",
    "call_abandoned",
    "call_wait",
    "queue_wait",
    "queue_service",
    "queue_no_show",
    "queue_abandoned",
    "queue_in_time",
    "emergency_answer",
    "emergency_dispatch",
    "emergency_turnout",
    "emergency_travel",
    "emergency_arrival",
    "emergency_first_arrival",
    "emergency_in_norm",
    "emergency_excluded",
];

/// Stands in the SQL for the moment the figure is formed at.
pub(super) const AS_OF: &str = ":as_of";

/// A metric that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    /// The SQL does not plan or run.
    #[error("metric {metric} does not work")]
    Sql {
        /// Metric.
        metric: String,
        /// Cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The file or its result has not the shape of a metric.
    #[error("metric {metric}: {what}")]
    Shape {
        /// Metric.
        metric: String,
        /// What is wrong and what to change.
        what: String,
    },
}

/// One metric.
#[derive(Debug, Clone)]
pub struct Metric {
    /// What catalogues say of it.
    pub info: MetricInfo,
    matures_days: Option<i32>,
    sql: String,
}

/// The rows of some cases, as the tables a metric reads.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// `cases`.
    pub cases: Vec<Case>,
    /// `segments`.
    pub segments: Vec<Segment>,
    /// `deadlines`.
    pub deadlines: Vec<Deadline>,
    /// `parts`.
    pub parts: Vec<Part>,
}

impl Subject {
    /// Adds what one case became.
    pub fn push(&mut self, folded: &Folded) {
        self.cases.extend(folded.case.clone());
        self.segments.extend_from_slice(&folded.segments);
        self.deadlines.extend_from_slice(&folded.deadlines);
        self.parts.extend_from_slice(&folded.parts);
    }

    /// Whether there is no case.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Registers the four tables with a session, in its default schema.
    pub fn register(&self, session: &SessionContext) -> Result<(), DataFusionError> {
        let arrow = |e: ArrowError| DataFusionError::ArrowError(Box::new(e), None);
        for (name, batch) in [
            ("cases", Case::to_batch(&self.cases).map_err(arrow)?),
            ("segments", Segment::to_batch(&self.segments).map_err(arrow)?),
            ("deadlines", Deadline::to_batch(&self.deadlines).map_err(arrow)?),
            ("parts", Part::to_batch(&self.parts).map_err(arrow)?),
        ] {
            session.register_table(name, Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))?;
        }
        Ok(())
    }
}

impl Metric {
    /// A metric from its SQL file: a header of comments (`-- title:`, `-- unit:`, perhaps
    /// `-- matures:`, then the description) and one SELECT.
    pub fn parse(name: &str, text: &str) -> Result<Self, MetricError> {
        let read = header::read(name, text)?;
        Ok(Self { info: read.info, matures_days: read.matures_days, sql: read.sql })
    }

    /// Whether what *open* cases contribute depends on the moment of reading. What
    /// other cases contribute never does.
    pub fn is_live(&self) -> bool {
        self.sql.contains(AS_OF)
    }

    /// Whether it measures durations.
    pub fn has_durations(&self) -> bool {
        self.sql.contains("duration_us")
    }

    /// Whether only cases that have parts contribute.
    fn is_of_parts(&self) -> bool {
        self.sql.contains("FROM parts p JOIN cases c") && !self.sql.contains("FROM cases")
    }

    /// The cells a figure may be formed from: those of days that have matured. A local day is
    /// over at most two days after it began in UTC, whatever the zone.
    fn matured(&self, cells: &str, as_of: Option<At>) -> String {
        match self.matures_days {
            None => cells.to_owned(),
            Some(days) => format!(
                "(SELECT * FROM {cells} WHERE CAST(day AS INT) <= CAST(CAST({} AS DATE) AS INT) - {}) AS matured",
                moment(as_of),
                days + 2
            ),
        }
    }

    /// Contributions, summed by cell: columns of [`super::contributions_schema`].
    pub fn cells_sql(&self, as_of: Option<At>) -> String {
        let moment = moment(as_of);
        let inner = self.sql.replace(AS_OF, &moment);
        let (duration, observed) = if self.has_durations() {
            ("CAST(duration_us AS BIGINT)", "observed")
        } else {
            ("CAST(NULL AS BIGINT)", "true")
        };
        format!(
            "SELECT source, CAST(body AS VARCHAR) AS body, CAST(category AS VARCHAR) AS category, \
             CAST(territory AS VARCHAR) AS territory, CAST(day AS DATE) AS day, {duration} AS duration_us, \
             {observed} AS observed, CAST(sum(numerator) AS BIGINT) AS numerator, \
             CAST(sum(denominator) AS BIGINT) AS denominator, CAST(count(*) AS BIGINT) AS n \
             FROM ({inner}) AS contribution GROUP BY 1, 2, 3, 4, 5, 6, 7"
        )
    }

    /// Figures from a relation of cells: one row per combination of `by`.
    pub fn figures_sql(&self, cells: &str, by: &[String], condition: &str, as_of: Option<At>) -> String {
        let columns = by.iter().map(|d| format!("\"{d}\"")).collect::<Vec<_>>().join(", ");
        let (select, group) = if by.is_empty() {
            (String::new(), String::new())
        } else {
            (format!("{columns}, "), format!(" GROUP BY {columns}"))
        };
        let durations = if self.has_durations() {
            ", nearest_rank(duration_us, observed, n, 0.5) AS closed_p50, nearest_rank(duration_us, observed, n, 0.9) AS closed_p90, \
             nearest_rank(duration_us, observed, n, 0.95) AS closed_p95, km_quantile(duration_us, observed, n, 0.5) AS p50, \
             km_quantile(duration_us, observed, n, 0.9) AS p90, km_quantile(duration_us, observed, n, 0.95) AS p95"
        } else {
            ""
        };
        format!(
            "SELECT {select}CAST(coalesce(sum(numerator), 0) AS BIGINT) AS numerator, \
             CAST(coalesce(sum(denominator), 0) AS BIGINT) AS denominator, CAST(coalesce(sum(n), 0) AS BIGINT) AS n, \
             {} AS as_of{durations} FROM {}{condition}{group}",
            moment(as_of),
            self.matured(cells, as_of)
        )
    }
}

/// SQL for a moment; now where none is given.
pub(super) fn moment(as_of: Option<At>) -> String {
    match as_of {
        Some(at) => format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", at.0),
        None => "arrow_cast(now(), 'Timestamp(Microsecond, Some(\"UTC\"))')".to_owned(),
    }
}

/// All metrics of a deployment.
#[derive(Debug, Clone)]
pub struct Metrics {
    metrics: Vec<Metric>,
    boards: Vec<Board>,
    sealer: Sealer,
}

impl Metrics {
    /// The built-in metrics.
    pub fn built_in(sealer: &Sealer) -> Result<Self, MetricError> {
        let mut metrics = BUILT_IN.iter().map(|(name, sql)| Metric::parse(name, sql)).collect::<Result<Vec<_>, _>>()?;
        metrics.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        Ok(Self { metrics, boards: Board::built_in()?, sealer: sealer.clone() })
    }

    /// Metrics in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    /// Views formed at read, in order of name.
    pub fn boards(&self) -> &[Board] {
        &self.boards
    }

    /// A metric by name.
    pub fn get(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.info.name == name)
    }

    /// Names the definitions: changes when any SQL changes.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for metric in &self.metrics {
            hasher.update(metric.info.name.as_bytes());
            hasher.update(metric.sql.as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// A session with our functions and quantiles, and nothing else.
    pub fn session(&self) -> SessionContext {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        self.register_functions(&session);
        session
    }

    /// Registers scalar functions and quantile aggregates.
    pub fn register_functions(&self, session: &SessionContext) {
        functions::register(session, &self.sealer);
        quantile::register(session);
        incidence::register(session);
        statistics::register(session);
    }

    /// What `subject` contributes to the kept cells, `sign` times, added to `bag`: to
    /// live metrics only what no longer changes with the moment of reading.
    pub async fn keep(&self, bag: &mut Bag, subject: &Subject, sign: i64) -> Result<(), MetricError> {
        if subject.is_empty() {
            return Ok(());
        }
        let settled = subject.only(|case| case.state != "open");
        let whole = self.session();
        let ended = self.session();
        let register = |s: &Subject, session: &SessionContext| {
            s.register(session)
                .map_err(|source| MetricError::Sql { metric: "(tables)".to_owned(), source: Box::new(source) })
        };
        register(subject, &whole)?;
        register(&settled, &ended)?;
        let of_no_parts = subject.parts.is_empty();
        for metric in self.metrics.iter().filter(|m| !(of_no_parts && m.is_of_parts())) {
            let session = if metric.is_live() { &ended } else { &whole };
            self.collect(bag, metric, session, None, sign).await?;
        }
        Ok(())
    }

    /// What the cases of a session's `cases` contribute to one metric at `as_of`.
    pub async fn collect(
        &self,
        bag: &mut Bag,
        metric: &Metric,
        session: &SessionContext,
        as_of: Option<At>,
        sign: i64,
    ) -> Result<(), MetricError> {
        let error = |source| MetricError::Sql { metric: metric.info.name.clone(), source: Box::new(source) };
        let frame: DataFrame = session.sql(&metric.cells_sql(as_of)).await.map_err(error)?;
        for batch in frame.collect().await.map_err(error)? {
            bag.take(&metric.info.name, &batch, sign)
                .map_err(|e| MetricError::Shape { metric: metric.info.name.clone(), what: e.to_string() })?;
        }
        Ok(())
    }
}

impl Subject {
    /// The cases for which `keep` holds, with all their rows.
    pub fn only(&self, keep: impl Fn(&Case) -> bool) -> Self {
        let cases: Vec<Case> = self.cases.iter().filter(|c| keep(c)).cloned().collect();
        let names: std::collections::HashSet<&str> = cases.iter().map(|c| c.case_id.as_str()).collect();
        let segments = self.segments.iter().filter(|s| names.contains(s.case_id.as_str())).cloned().collect();
        let deadlines = self.deadlines.iter().filter(|d| names.contains(d.case_id.as_str())).cloned().collect();
        let parts = self.parts.iter().filter(|p| names.contains(p.case_id.as_str())).cloned().collect();
        Self { segments, deadlines, parts, cases: cases.clone() }
    }
}
