//! Metric definitions: commented SQL files.

use std::sync::Arc;

use ahual_schemas::At;
use ahual_schemas::sealing::Sealer;
use ahual_schemas::tables::{Case, Deadline, Part, Segment};
use arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};

use super::{Bag, quantile};
use crate::fold::Folded;
use crate::functions;
use crate::reading::MetricInfo;
use crate::reference::Reference;

/// The metrics that ship with Ahual: name and SQL.
const BUILT_IN: [(&str, &str); 13] = [
    ("completion", include_str!("../../metrics/completion.sql")),
    ("clearance", include_str!("../../metrics/clearance.sql")),
    ("on_time", include_str!("../../metrics/on_time.sql")),
    ("on_time_original", include_str!("../../metrics/on_time_original.sql")),
    ("overdue_backlog", include_str!("../../metrics/overdue_backlog.sql")),
    ("time_to_first_response", include_str!("../../metrics/time_to_first_response.sql")),
    ("time_to_resolve", include_str!("../../metrics/time_to_resolve.sql")),
    ("emergency_answer", include_str!("../../metrics/emergency_answer.sql")),
    ("emergency_dispatch", include_str!("../../metrics/emergency_dispatch.sql")),
    ("emergency_turnout", include_str!("../../metrics/emergency_turnout.sql")),
    ("emergency_travel", include_str!("../../metrics/emergency_travel.sql")),
    ("emergency_arrival", include_str!("../../metrics/emergency_arrival.sql")),
    ("emergency_first_arrival", include_str!("../../metrics/emergency_first_arrival.sql")),
];

/// Stands in the SQL for the moment the figure is formed at.
const AS_OF: &str = ":as_of";

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
    /// A metric from its SQL file: a header of comments (`-- title:`, `-- unit:`, then
    /// the description) and one SELECT.
    pub fn parse(name: &str, text: &str) -> Result<Self, MetricError> {
        let shape = |what: &str| MetricError::Shape { metric: name.to_owned(), what: what.to_owned() };
        let mut title = None;
        let mut unit = None;
        let mut description = Vec::new();
        let mut sql = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("--") {
                Some(comment) if sql.is_empty() => {
                    let comment = comment.trim();
                    if let Some(text) = comment.strip_prefix("title:") {
                        title = Some(text.trim().to_owned());
                    } else if let Some(text) = comment.strip_prefix("unit:") {
                        unit = Some(text.trim().to_owned());
                    } else {
                        description.push(comment.to_owned());
                    }
                }
                _ => {
                    if !(sql.is_empty() && line.trim().is_empty()) {
                        sql.push(line);
                    }
                }
            }
        }
        Ok(Self {
            info: MetricInfo {
                name: name.to_owned(),
                title: title.ok_or_else(|| shape("its header has no line '-- title: …'"))?,
                unit: unit.ok_or_else(|| shape("its header has no line '-- unit: …'"))?,
                description: description.join("\n").trim().to_owned(),
            },
            sql: sql.join("\n").trim().trim_end_matches(';').to_owned(),
        })
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
             {} AS as_of{durations} FROM {cells}{condition}{group}",
            moment(as_of)
        )
    }
}

/// SQL for a moment; now where none is given.
fn moment(as_of: Option<At>) -> String {
    match as_of {
        Some(at) => format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", at.0),
        None => "arrow_cast(now(), 'Timestamp(Microsecond, Some(\"UTC\"))')".to_owned(),
    }
}

/// All metrics of a deployment.
#[derive(Debug, Clone)]
pub struct Metrics {
    metrics: Vec<Metric>,
    sealer: Sealer,
    reference: Arc<Reference>,
}

impl Metrics {
    /// The built-in metrics. `sealer` and `reference` are what functions need.
    pub fn built_in(sealer: &Sealer, reference: &Arc<Reference>) -> Result<Self, MetricError> {
        let mut metrics = BUILT_IN.iter().map(|(name, sql)| Metric::parse(name, sql)).collect::<Result<Vec<_>, _>>()?;
        metrics.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        Ok(Self { metrics, sealer: sealer.clone(), reference: Arc::clone(reference) })
    }

    /// The reference data of the deployment.
    pub fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// Metrics in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    /// A metric by name.
    pub fn get(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.info.name == name)
    }

    /// Names the definitions: changes when any SQL or any reference data changes.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.reference.fingerprint().as_bytes());
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
        functions::register(session, &self.sealer, &self.reference);
        quantile::register(session);
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
        for metric in &self.metrics {
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
