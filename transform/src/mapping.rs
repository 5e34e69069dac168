//! Mapping: one SQL file per source profile, `raw → events`.
//!
//! The SQL is one SELECT over table `raw`. Its rows are events; see CONTRIBUTING.md,
//! "Add a source", for the columns it reads and may give. Whatever a record says that
//! breaks a rule sets the record aside with the reason; nothing is dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_schemas::event::{Kind, Regime};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::table::{At, Day};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use chrono_tz::Tz;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde::Deserialize;

use crate::decode::Columns;
use crate::functions::{self, UNREADABLE, local_day};
use crate::reference::Reference;
use crate::territory::{self, Territories, Written};

/// `[source.mapping]`: how a source's records become events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingConfig {
    /// SQL file, relative to the configuration file.
    pub sql: PathBuf,
    /// Legal regime of the source's cases, where an event does not say otherwise.
    pub regime: Regime,
    /// Time zone of the source's local times; decides local days.
    #[serde(deserialize_with = "zone")]
    pub time_zone: Tz,
    /// How a close is compared with the due date.
    #[serde(default)]
    pub due_compare: DueCompare,
    /// What the codes in `territory` are.
    #[serde(default)]
    pub territory: TerritoryCode,
    /// Columns the SQL reads, all text: names, or name = JSON path.
    pub columns: ColumnsConfig,
    /// Names a source uses now → names the SQL knows (schema drift).
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
}

/// Reads the name of a zone of the tz database.
pub fn zone<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(deserializer)?;
    functions::parse_zone(&name).map_err(|_| {
        serde::de::Error::custom(format!("'{name}' is no time zone of the tz database; write one like 'Asia/Almaty'"))
    })
}

/// Columns of `raw`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum ColumnsConfig {
    /// Names that are also the JSON keys.
    Names(Vec<String>),
    /// Name → dotted JSON path.
    Paths(BTreeMap<String, String>),
}

/// What a source's territory codes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerritoryCode {
    /// The source's own; passed on as they are.
    #[default]
    Own,
    /// KATO: brought to nine digits where nothing was lost, and what is wrong with a code
    /// is an attribute of the event and a flaw of the case.
    Kato,
}

/// How a close is compared with the due date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueCompare {
    /// To the microsecond.
    Instant,
    /// By local calendar day: a term of days ends with its last day, so the due instant
    /// becomes the last microsecond of the local due day.
    #[default]
    Date,
}

impl DueCompare {
    fn as_str(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Date => "date",
        }
    }
}

/// A mapping that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The SQL file cannot be read.
    #[error("source {source_name}: mapping {} cannot be read", path.display())]
    Unreadable {
        /// Source.
        source_name: String,
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The SQL does not plan or run.
    #[error("source {source_name}: mapping {} does not work", path.display())]
    Sql {
        /// Source.
        source_name: String,
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
    /// The SQL gives something an event has not.
    #[error("source {source_name}: mapping {}: {what}", path.display())]
    Shape {
        /// Source.
        source_name: String,
        /// File.
        path: PathBuf,
        /// What is wrong and what to change.
        what: String,
    },
}

/// A record ready to be mapped.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Record identity.
    pub record_id: String,
    /// Case key.
    pub case_key: String,
    /// Append stamp.
    pub appended_at: At,
    /// Opened payload.
    pub payload: bytes::Bytes,
}

/// One event as the mapping made it; delivery facts are added by the job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MappedEvent {
    /// Word of [`Kind`].
    pub kind: String,
    /// Instant.
    pub occurred_at: i64,
    /// Local day.
    pub occurred_on: i32,
    /// Part.
    pub part_id: Option<String>,
    /// When the source wrote it down.
    pub recorded_at: Option<i64>,
    /// Version of the record.
    pub version: Option<i64>,
    /// Attributes, as columns of `core.events`.
    pub text: BTreeMap<&'static str, String>,
    /// Due instant.
    pub due_at: Option<i64>,
    /// Local day of `due_at`.
    pub due_on: Option<i32>,
    /// Score.
    pub score: Option<i32>,
    /// Degrees.
    pub longitude: Option<f64>,
    /// Degrees.
    pub latitude: Option<f64>,
}

/// What became of one record.
pub type Outcome = Result<Vec<MappedEvent>, String>;

const TEXT_COLUMNS: [&str; 14] = [
    "status",
    "outcome",
    "category",
    "body",
    "territory",
    "basis",
    "rule",
    "calendar",
    "reason",
    "time_rule",
    "parent_case_id",
    "attributes",
    "regime",
    "due_compare",
];
const TIME_COLUMNS: [&str; 3] = ["occurred_at", "recorded_at", "due_at"];
const OTHER_COLUMNS: [&str; 8] =
    ["_record", "kind", "part_id", "version", "score", "longitude", "latitude", "set_aside"];
/// Times before and after this are nonsense rather than news.
const EARLIEST_US: i64 = -2_208_988_800_000_000 + 86_400_000_000 * 366; // 1901-01-02
const LATEST_US: i64 = 7_258_118_400_000_000; // 2200-01-01

/// A mapping that has been read and planned once.
pub struct Mapping {
    source: String,
    path: PathBuf,
    sql: String,
    config: MappingConfig,
    columns: Columns,
    schema: SchemaRef,
    sealer: Sealer,
    reference: Arc<Reference>,
}

impl Mapping {
    /// Reads the SQL file and checks that it plans and gives what an event has.
    pub async fn load(
        source: &str,
        config: &MappingConfig,
        base: &Path,
        sealer: &Sealer,
        reference: &Arc<Reference>,
    ) -> Result<Self, MappingError> {
        let path = base.join(&config.sql);
        let sql = std::fs::read_to_string(&path).map_err(|source_error| MappingError::Unreadable {
            source_name: source.to_owned(),
            path: path.clone(),
            source: source_error,
        })?;
        Self::new(source, config, path, sql, sealer, reference).await
    }

    /// A mapping from SQL text; `path` names it in messages.
    pub async fn new(
        source: &str,
        config: &MappingConfig,
        path: PathBuf,
        sql: String,
        sealer: &Sealer,
        reference: &Arc<Reference>,
    ) -> Result<Self, MappingError> {
        let mut pairs: Vec<(String, String)> = match &config.columns {
            ColumnsConfig::Names(names) => names.iter().map(|n| (n.clone(), n.clone())).collect(),
            ColumnsConfig::Paths(paths) => paths.iter().map(|(n, p)| (n.clone(), p.clone())).collect(),
        };
        let known: Vec<String> = pairs.iter().map(|(n, _)| n.clone()).collect();
        for (now, before) in &config.rename {
            if !known.contains(before) {
                return Err(MappingError::Shape {
                    source_name: source.to_owned(),
                    path,
                    what: format!("rename {now} → {before}: {before} is not among the columns"),
                });
            }
            for pair in &mut pairs {
                if pair.0 == *before {
                    pair.1.clone_from(now);
                }
            }
        }
        let columns = Columns::new(pairs);
        let mut fields = vec![
            Field::new("_record", DataType::Int64, false),
            Field::new("_record_id", DataType::Utf8, false),
            Field::new("_case_key", DataType::Utf8, false),
            Field::new("_appended_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("_payload", DataType::Utf8, false),
        ];
        fields.extend(columns.names().iter().map(|name| Field::new(name, DataType::Utf8, true)));
        let mapping = Self {
            source: source.to_owned(),
            path,
            sql,
            config: config.clone(),
            columns,
            schema: Arc::new(Schema::new(fields)),
            sealer: sealer.clone(),
            reference: Arc::clone(reference),
        };
        mapping.check().await?;
        Ok(mapping)
    }

    /// Regime of the source.
    pub fn regime(&self) -> Regime {
        self.config.regime
    }

    async fn check(&self) -> Result<(), MappingError> {
        let session = self.session(RecordBatch::new_empty(self.schema.clone())).map_err(|e| self.sql_error(e))?;
        let frame = session.sql(&self.sql).await.map_err(|e| self.sql_error(e))?;
        let given: Vec<&String> = frame.schema().fields().iter().map(|f| f.name()).collect();
        for required in ["_record", "kind", "occurred_at"] {
            if !given.iter().any(|g| *g == required) {
                return Err(self.shape(format!("gives no column {required}; every event needs one")));
            }
        }
        let known: Vec<&str> = TEXT_COLUMNS.into_iter().chain(TIME_COLUMNS).chain(OTHER_COLUMNS).collect();
        for name in given {
            if !known.contains(&name.as_str()) {
                return Err(self.shape(format!("gives column {name}, which an event has not; known are {known:?}")));
            }
        }
        Ok(())
    }

    /// Maps records. The answer has one outcome per record, in the same order.
    pub async fn map(&self, records: &[Opened]) -> Result<Vec<Outcome>, MappingError> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(records.len());
        let mut rows = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match self.columns.read(&record.payload) {
                Ok(row) => {
                    rows.push((index, record, row));
                    outcomes.push(Ok(Vec::new()));
                }
                Err(reason) => outcomes.push(Err(reason)),
            }
        }
        let batch = self.raw_batch(&rows).map_err(|e| self.sql_error(e.into()))?;
        drop(rows);
        let session = self.session(batch).map_err(|e| self.sql_error(e))?;
        let frame = session.sql(&self.sql).await.map_err(|e| self.sql_error(e))?;
        let batches = frame.collect().await.map_err(|e| self.sql_error(e))?;
        for batch in &batches {
            self.take(batch, &mut outcomes)?;
        }
        for outcome in &mut outcomes {
            let Ok(events) = outcome else { continue };
            if let Some(reason) = broken_rule(events).or_else(|| self.unusable_term(events)) {
                *outcome = Err(reason);
                continue;
            }
            // The order of a UNION's rows is not promised, and ordinals name events.
            events.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        }
        Ok(outcomes)
    }

    fn raw_batch(
        &self,
        rows: &[(usize, &Opened, Vec<Option<String>>)],
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        let ordinals: Int64Array = rows.iter().map(|(i, _, _)| i64::try_from(*i).ok()).collect();
        let text = |pick: &dyn Fn(&Opened) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|(_, r, _)| Some(pick(r))).collect::<StringArray>())
        };
        let stamps: TimestampMicrosecondArray = rows.iter().map(|(_, r, _)| Some(r.appended_at.0)).collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(ordinals),
            text(&|r| r.record_id.clone()),
            text(&|r| r.case_key.clone()),
            Arc::new(stamps.with_timezone("UTC")),
            text(&|r| String::from_utf8_lossy(&r.payload).into_owned()),
        ];
        for index in 0..self.columns.names().len() {
            let column: StringArray = rows.iter().map(|(_, _, row)| row.get(index).cloned().flatten()).collect();
            columns.push(Arc::new(column));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    fn session(&self, raw: RecordBatch) -> Result<SessionContext, datafusion::error::DataFusionError> {
        let config = SessionConfig::new().with_target_partitions(1);
        let session = SessionContext::new_with_config(config);
        functions::register(&session, &self.sealer, &self.reference);
        session.register_table("raw", Arc::new(MemTable::try_new(self.schema.clone(), vec![vec![raw]])?))?;
        Ok(session)
    }

    fn take(&self, batch: &RecordBatch, outcomes: &mut [Outcome]) -> Result<(), MappingError> {
        let records = self.column(batch, "_record", &DataType::Int64)?;
        let records = records
            .as_ref()
            .map(|c| c.as_primitive::<Int64Type>())
            .ok_or_else(|| self.shape("gives no column _record".to_owned()))?;
        let text = |name: &str| -> Result<Option<StringArray>, MappingError> {
            Ok(self.column(batch, name, &DataType::Utf8)?.map(|c| c.as_string::<i32>().clone()))
        };
        let kinds = text("kind")?.ok_or_else(|| self.shape("gives no column kind".to_owned()))?;
        let set_aside = text("set_aside")?;
        let part = text("part_id")?;
        let mut texts = Vec::new();
        for name in TEXT_COLUMNS {
            if let Some(column) = text(name)? {
                texts.push((name, column));
            }
        }
        let time = |name: &str| -> Result<Option<TimestampMicrosecondArray>, MappingError> {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Ok(self.column(batch, name, &kind)?.map(|c| c.as_primitive::<TimestampMicrosecondType>().clone()))
        };
        let occurred = time("occurred_at")?.ok_or_else(|| self.shape("gives no column occurred_at".to_owned()))?;
        let (recorded, due) = (time("recorded_at")?, time("due_at")?);
        let version = self.column(batch, "version", &DataType::Int64)?;
        let score = self.column(batch, "score", &DataType::Int32)?;
        let longitude = self.column(batch, "longitude", &DataType::Float64)?;
        let latitude = self.column(batch, "latitude", &DataType::Float64)?;
        let zone = self.config.time_zone;

        for row in 0..batch.num_rows() {
            let Some(outcome) = usize::try_from(records.value(row)).ok().and_then(|i| outcomes.get_mut(i)) else {
                return Err(self.shape("gives a _record that is none of raw's; pass raw._record through".to_owned()));
            };
            let Ok(events) = outcome else { continue };
            if let Some(reason) = set_aside.as_ref().and_then(|c| value(c, row)) {
                *outcome = Err(reason);
                continue;
            }
            if occurred.is_null(row) {
                continue;
            }
            let Some(kind) = value(&kinds, row) else {
                *outcome = Err("mapping gave an event without a kind".to_owned());
                continue;
            };
            let times = [
                ("occurred_at", Some(occurred.value(row))),
                ("recorded_at", recorded.as_ref().and_then(|c| instant(c, row))),
                ("due_at", due.as_ref().and_then(|c| instant(c, row))),
            ];
            if let Some(reason) = times.iter().find_map(|(name, at)| unusable_time(&kind, name, *at)) {
                *outcome = Err(reason);
                continue;
            }
            let [(_, occurred_at), (_, recorded_at), (_, due_at)] = times;
            let due_on = due_at.and_then(|at| local_day(at, zone));
            let due_at = match (self.config.due_compare, due_on) {
                (DueCompare::Date, Some(day)) => end_of_day(day, zone),
                _ => due_at,
            };
            let occurred_at = occurred_at.unwrap_or_default();
            let due_compare = due_at.map(|_| self.config.due_compare.as_str());
            let mut event = MappedEvent {
                kind,
                occurred_at,
                occurred_on: local_day(occurred_at, zone).unwrap_or_default(),
                part_id: part.as_ref().and_then(|c| value(c, row)),
                recorded_at,
                version: version.as_ref().and_then(|c| number(c, row)),
                text: texts.iter().filter_map(|(n, c)| value(c, row).map(|v| (*n, v))).collect(),
                due_at,
                due_on,
                score: score.as_ref().filter(|c| c.is_valid(row)).map(|c| c.as_primitive::<Int32Type>().value(row)),
                longitude: longitude.as_ref().and_then(|c| degrees(c, row)),
                latitude: latitude.as_ref().and_then(|c| degrees(c, row)),
            };
            if let Some(compare) = due_compare {
                event.text.entry("due_compare").or_insert_with(|| compare.to_owned());
            }
            if self.config.territory == TerritoryCode::Kato {
                name_territory(&mut event, &self.reference.territories);
            }
            events.push(event);
        }
        Ok(())
    }

    /// Rules and calendars that are not there, or stand where no term is.
    fn unusable_term(&self, events: &[MappedEvent]) -> Option<String> {
        let Reference { rules, calendars, .. } = self.reference.as_ref();
        events.iter().find_map(|event| {
            let rule = event.text.get("rule").map(String::as_str);
            let calendar = event.text.get("calendar").map(String::as_str);
            let kind = Kind::from(event.kind.as_str());
            match (rule, calendar) {
                (None, None) => None,
                (None, Some(calendar)) => {
                    Some(format!("calendar {calendar} without a rule, in {}: nothing is counted by it", event.kind))
                }
                (Some(rule), _) if !matches!(kind, Kind::DeadlineSet | Kind::DeadlineExtended) => {
                    Some(format!("rule {rule} in {}: only a deadline has a rule", event.kind))
                }
                (Some(rule), _) if !rules.contains(rule) => {
                    Some(format!("unknown rule: {rule} is none of {}", rules.names().join(", ")))
                }
                (_, Some(calendar)) if calendars.get(calendar).is_none() && calendars.versions(calendar).is_empty() => {
                    Some(format!("unknown calendar: {calendar} is none of {}", calendars.names().join(", ")))
                }
                _ => None,
            }
        })
    }

    fn column(&self, batch: &RecordBatch, name: &str, kind: &DataType) -> Result<Option<ArrayRef>, MappingError> {
        batch
            .column_by_name(name)
            .map(|column| arrow::compute::cast(column, kind))
            .transpose()
            .map_err(|e| self.shape(format!("column {name} is not {kind}: {e}")))
    }

    fn sql_error(&self, source: datafusion::error::DataFusionError) -> MappingError {
        MappingError::Sql { source_name: self.source.clone(), path: self.path.clone(), source: Box::new(source) }
    }

    fn shape(&self, what: String) -> MappingError {
        MappingError::Shape { source_name: self.source.clone(), path: self.path.clone(), what }
    }
}

/// Says what is wrong with an event's territory code, and leaves it nine digits where
/// nothing of it was lost. A code that cannot be read stays as the source wrote it: the
/// case is real, and where it was is what is unknown.
fn name_territory(event: &mut MappedEvent, territories: &Territories) {
    let Some(said) = event.text.get("territory").cloned() else { return };
    let Some(problem) = territories.problem(Some(&said), Some(Day(event.occurred_on))) else { return };
    let attributes = event.text.get("attributes").and_then(|text| serde_json::from_str(text).ok());
    let mut attributes: serde_json::Map<String, serde_json::Value> = attributes.unwrap_or_default();
    attributes.insert(territory::PROBLEM.to_owned(), problem.into());
    if let Written::Code(kato, _) = territory::read(&said)
        && kato.as_str() != said
    {
        event.text.insert("territory", kato.to_string());
        attributes.insert(territory::SAID.to_owned(), said.into());
    }
    event.text.insert("attributes", serde_json::Value::Object(attributes).to_string());
}

/// Last microsecond of a local day.
fn end_of_day(day: i32, zone: Tz) -> Option<i64> {
    let next =
        chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(chrono::Duration::days(i64::from(day) + 1))?;
    functions::at_local(next.and_time(chrono::NaiveTime::MIN), zone).map(|at| at - 1)
}

type SortKey<'a> = (i64, &'a str, Option<&'a str>, Option<i64>, &'a BTreeMap<&'static str, String>);

fn sort_key(e: &MappedEvent) -> SortKey<'_> {
    (e.occurred_at, &e.kind, e.part_id.as_deref(), e.due_at, &e.text)
}

fn value(column: &StringArray, row: usize) -> Option<String> {
    (column.is_valid(row) && !column.value(row).is_empty()).then(|| column.value(row).to_owned())
}

fn instant(column: &TimestampMicrosecondArray, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

fn number(column: &ArrayRef, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row))
}

fn degrees(column: &ArrayRef, row: usize) -> Option<f64> {
    column.is_valid(row).then(|| column.as_primitive::<Float64Type>().value(row)).filter(|d| d.is_finite())
}

fn unusable_time(kind: &str, name: &str, at: Option<i64>) -> Option<String> {
    match at {
        Some(UNREADABLE) => Some(format!("unreadable time: {name} of {kind}")),
        Some(at) if !(EARLIEST_US..LATEST_US).contains(&at) => {
            let shown = chrono::DateTime::from_timestamp_micros(at).map(|t| t.to_rfc3339()).unwrap_or_default();
            Some(format!("time out of range: {name} of {kind} is {shown}"))
        }
        _ => None,
    }
}

/// Rules that hold within one record, whatever its source.
fn broken_rule(events: &[MappedEvent]) -> Option<String> {
    if events.is_empty() {
        return Some("no event: the mapping found nothing that happened in this record".to_owned());
    }
    let first = |kind: Kind| events.iter().filter(|e| e.kind == kind.as_str()).map(|e| e.occurred_at).min();
    if let (Some(received), Some(closed)) = (first(Kind::Received), first(Kind::Closed))
        && closed < received
    {
        return Some(format!("closed before received: by {} s", (received - closed) / 1_000_000));
    }
    events.iter().find_map(|event| {
        let bad = |value: Option<f64>, limit: f64| value.is_some_and(|d| d.abs() > limit);
        (bad(event.longitude, 180.0) || bad(event.latitude, 90.0))
            .then(|| format!("position out of range: {:?}, {:?} are no degrees", event.longitude, event.latitude))
    })
}
