//! Metric definitions: commented SQL files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_schemas::At;
use ahual_schemas::sealing::Sealer;
use ahual_schemas::tables::{Case, Deadline, Part, Segment};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use tokio::sync::{Mutex, OnceCell};

use super::keeper::Keeper;
use super::{Bag, Board, header, incidence, linear, quantile, statistics};
use crate::fold::Folded;
use crate::functions;
use crate::reading::MetricInfo;
use crate::reference::Reference;

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

/// Quantiles of durations: column, function, q.
const QUANTILES: [(&str, &str, &str); 6] = [
    ("closed_p50", "nearest_rank", "0.5"),
    ("closed_p90", "nearest_rank", "0.9"),
    ("closed_p95", "nearest_rank", "0.95"),
    ("p50", "km_quantile", "0.5"),
    ("p90", "km_quantile", "0.9"),
    ("p95", "km_quantile", "0.95"),
];

/// Columns every metric gives; `duration_us` and `observed` are for times.
const COLUMNS: [&str; 8] = ["case_id", "source", "body", "category", "territory", "day", "numerator", "denominator"];

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
    /// A file of the configured folder cannot be read.
    #[error("metrics folder: {} cannot be read", path.display())]
    Unreadable {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
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

    /// The four tables: name in the catalogue, and rows.
    pub fn tables(&self) -> Result<[(&'static str, RecordBatch); 4], ArrowError> {
        Ok([
            (Case::TABLE, Case::to_batch(&self.cases)?),
            (Segment::TABLE, Segment::to_batch(&self.segments)?),
            (Deadline::TABLE, Deadline::to_batch(&self.deadlines)?),
            (Part::TABLE, Part::to_batch(&self.parts)?),
        ])
    }

    /// Registers the four tables with a session, in its default schema.
    pub fn register(&self, session: &SessionContext) -> Result<(), DataFusionError> {
        let arrow = |e: ArrowError| DataFusionError::ArrowError(Box::new(e), None);
        for (name, batch) in self.tables().map_err(arrow)? {
            let name = name.trim_start_matches("core.");
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

    /// Contributions, summed by cell: the dimensions, `duration_us`, `observed`, and the
    /// sums `numerator`, `denominator`, `n`.
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

    /// What each case contributes: the rows whose sums a figure is, by which anyone can
    /// follow a figure to its cases.
    pub fn cases_sql(&self, as_of: Option<At>) -> String {
        let inner = self.sql.replace(AS_OF, &moment(as_of));
        let durations = if self.has_durations() { ", duration_us, observed" } else { "" };
        format!(
            "SELECT case_id, source, body, category, territory, CAST(day AS DATE) AS day, \
             CAST(numerator AS BIGINT) AS numerator, CAST(denominator AS BIGINT) AS denominator{durations} \
             FROM {}",
            self.matured(&format!("({inner}) AS contribution"), as_of)
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
            QUANTILES
                .iter()
                .map(|(name, function, q)| format!(", {function}(duration_us, observed, n, {q}) AS {name}"))
                .collect()
        } else {
            String::new()
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

impl Metric {
    /// Columns of the figures by every dimension.
    pub fn figures_schema(&self) -> SchemaRef {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let number = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
        let mut fields = vec![
            text("source", true),
            text("body", true),
            text("category", true),
            text("territory", true),
            Field::new("day", DataType::Date32, true),
            number("numerator", true),
            number("denominator", true),
            number("n", true),
            Field::new("as_of", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ];
        if self.has_durations() {
            fields.extend(QUANTILES.map(|(name, ..)| number(name, true)));
        }
        Arc::new(Schema::new(fields))
    }
}

/// The kept cells of one metric, each once, from a relation of rows of `ops.kept_cells`:
/// what they add up to. A cell that comes to nothing is none.
pub fn kept_cells_sql(rows: &str, metric: &str) -> String {
    format!(
        "SELECT metric, source, body, category, territory, day, duration_us, observed, \
         CAST(sum(numerator) AS BIGINT) AS numerator, CAST(sum(denominator) AS BIGINT) AS denominator, \
         CAST(sum(n) AS BIGINT) AS n, max(folded_version) AS folded_version \
         FROM {rows} WHERE metric = '{metric}' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 \
         HAVING sum(numerator) <> 0 OR sum(denominator) <> 0 OR sum(n) <> 0"
    )
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
    reference: Arc<Reference>,
    /// Planned when something is first kept; one run at a time.
    keeper: Arc<OnceCell<Mutex<Keeper>>>,
}

impl Metrics {
    /// The built-in metrics. `sealer` and `reference` are what functions need.
    pub fn built_in(sealer: &Sealer, reference: &Arc<Reference>) -> Result<Self, MetricError> {
        let mut metrics = BUILT_IN.iter().map(|(name, sql)| Metric::parse(name, sql)).collect::<Result<Vec<_>, _>>()?;
        metrics.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        let (boards, reference) = (Board::built_in()?, Arc::clone(reference));
        Ok(Self { metrics, boards, sealer: sealer.clone(), reference, keeper: Arc::default() })
    }

    /// The reference data of the deployment.
    pub fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// The built-in metrics, and those of the `.sql` files in `folder`, each named after
    /// its file. A file that is no metric is refused, with what to change.
    pub async fn load(sealer: &Sealer, reference: &Arc<Reference>, folder: Option<&Path>) -> Result<Self, MetricError> {
        let mut metrics = Self::built_in(sealer, reference)?;
        let Some(folder) = folder else { return Ok(metrics) };
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| MetricError::Unreadable { path, source }
        };
        let mut paths = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
            .map_err(unreadable(folder))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        paths.sort();
        for path in paths {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let shape = |what: String| MetricError::Shape { metric: format!("{name} ({})", path.display()), what };
            let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !plain || name.ends_with("_cells") || name.ends_with("_cases") {
                return Err(shape(
                    "its file's name is its name in SQL: lower case letters, digits and '_', not ending in '_cells' or '_cases'"
                        .to_owned(),
                ));
            }
            if metrics.get(&name).is_some() || metrics.board_sql(&name, None).is_some() {
                return Err(shape("there is a built-in metric of this name; rename the file".to_owned()));
            }
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let metric = Metric::parse(&name, &text)?;
            metrics.check(&metric).await?;
            metrics.metrics.push(metric);
        }
        metrics.metrics.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        Ok(metrics)
    }

    /// Plans a metric over empty tables, and holds its plan to what [`Metrics::keep`] needs.
    pub async fn check(&self, metric: &Metric) -> Result<(), MetricError> {
        let name = &metric.info.name;
        let shape = |what: String| MetricError::Shape { metric: name.clone(), what };
        let error = |source| MetricError::Sql { metric: name.clone(), source: Box::new(source) };
        let session = self.session();
        Subject::default().register(&session).map_err(error)?;
        let plan = session.sql(&metric.sql.replace(AS_OF, &moment(Some(At(0))))).await.map_err(error)?;
        let plan = plan.into_unoptimized_plan();
        for column in COLUMNS {
            if !plan.schema().fields().iter().any(|field| field.name() == column) {
                return Err(shape(format!("it gives no column '{column}'; it must give {}", COLUMNS.join(", "))));
            }
        }
        if let Some(objection) = linear::objection(&plan).map_err(error)? {
            return Err(shape(objection));
        }
        let clock = ["now()", "current_date", "current_time"];
        let lower = metric.sql.to_lowercase();
        if let Some(clock) = clock.iter().find(|clock| lower.contains(*clock)) {
            return Err(shape(format!("'{clock}' reads a clock; the moment of reading is {AS_OF}")));
        }
        self.collect(&mut Bag::default(), metric, &session, Some(At(0)), 1).await
    }

    /// Metrics in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    /// A board's SQL at a moment, over `core.*` alone: the cells it names stand in it.
    pub fn board_sql(&self, name: &str, as_of: Option<At>) -> Option<String> {
        let board = self.boards.iter().find(|board| board.info.name == name)?;
        let mut sql = board.sql(as_of);
        for metric in &self.metrics {
            let cells = format!("metrics.{}_cells", metric.info.name);
            if sql.contains(&cells) {
                sql = sql.replace(&cells, &format!("({}) AS {}_cells", metric.cells_sql(as_of), metric.info.name));
            }
        }
        Some(sql)
    }

    /// Views formed at read, in order of name.
    pub fn boards(&self) -> &[Board] {
        &self.boards
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
        incidence::register(session);
        statistics::register(session);
    }

    /// What `subject` contributes to the kept cells, `sign` times, added to `bag`: to
    /// live metrics only what no longer changes with the moment of reading.
    pub async fn keep(&self, bag: &mut Bag, subject: &Subject, sign: i64) -> Result<(), MetricError> {
        if subject.is_empty() {
            return Ok(());
        }
        let keeper = self.keeper.get_or_try_init(async || Keeper::plan(self).await.map(Mutex::new)).await?;
        keeper.lock().await.keep(bag, subject, sign).await
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
