//! One catalogue for all readers: schemas `raw`, `core`, `ref`, `metrics`, `ops` over one
//! published epoch, so that figures of different tables always agree.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_schemas::event::Event;
use ahual_schemas::table::{At, ShapeError};
use ahual_schemas::tables::{Case, CellRow, Deadline, LedgerRow, Part, RawRow, Segment};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio::sync::Mutex;

use crate::by_case::{ByCase, ByCaseError};
use crate::figures::{Bag, Metric, Metrics, Subject, kept_cells_sql};
use crate::fold::{FoldRule, fold};
use crate::lake::{self, Epoch, LakeError, LakeRoot};
use crate::ledger::Ledger;
use crate::metrics_schema::MetricsSchema;
use crate::past;
use crate::sources;

/// Name of the catalogue.
pub const CATALOG: &str = "ahual";
/// Schema of unqualified names.
pub const DEFAULT_SCHEMA: &str = "core";

/// Words of sources that are none of our categories, with how many cases they stand on.
const UNMAPPED_CATEGORIES: &str = "SELECT c.source, c.category AS word, CAST(count(*) AS BIGINT) AS cases, \
     min(c.received_on) AS first_received_on, max(c.received_on) AS last_received_on \
     FROM core.cases c LEFT ANTI JOIN ref.categories known ON c.category = known.code \
     WHERE c.category IS NOT NULL GROUP BY 1, 2";

/// What is wrong with the territory codes of sources that send KATO: what they wrote, what
/// was wrong when it was mapped, and what is wrong by the classifier loaded now.
const FLAWED_TERRITORIES: &str = "SELECT source, json_text(attributes, 'territory_problem') AS problem, \
     coalesce(json_text(attributes, 'territory_said'), territory) AS said, territory, \
     kato_problem(territory, received_on) AS problem_now, CAST(count(*) AS BIGINT) AS cases, \
     min(received_on) AS first_received_on, max(received_on) AS last_received_on \
     FROM core.cases WHERE strpos(flaws, 'territory_') > 0 GROUP BY 1, 2, 3, 4, 5";

/// Why the catalogue could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Nothing published.
    #[error("nothing is published under {0}: run 'ahual run' with this --data directory first")]
    NotPublished(String),
    /// The lake.
    #[error("opening the lake")]
    Lake(#[from] LakeError),
    /// The query engine.
    #[error("preparing the catalogue")]
    Query(#[from] DataFusionError),
    /// Events.
    #[error("reading events")]
    Events(#[from] ByCaseError),
    /// Rows do not fit their table.
    #[error("reading rows")]
    Shape(#[from] ShapeError),
}

/// A moment to read at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// What had happened by then; now when absent.
    pub as_of: Option<At>,
    /// What was known by then; now when absent.
    pub known_at: Option<At>,
}

impl Moment {
    /// The moment two texts name, each read by `read` into microseconds. What cannot be
    /// read is told by the name of its option.
    pub fn read<E>(
        as_of: &Option<String>,
        known_at: &Option<String>,
        read: impl Fn(&str) -> Result<i64, E>,
    ) -> Result<Self, (&'static str, E)> {
        let at = |text: &Option<String>, name| text.as_deref().map(&read).transpose().map_err(|e| (name, e));
        Ok(Self { as_of: at(as_of, "as-of")?.map(At), known_at: at(known_at, "known-at")?.map(At) })
    }
}

type Providers = HashMap<String, Arc<dyn TableProvider>>;

/// Opens sessions over the lake. A clone is the same catalogue.
#[derive(Debug, Clone)]
pub struct Catalog {
    data_dir: PathBuf,
    root: LakeRoot,
    metrics: Metrics,
    zone: Tz,
    opened: Arc<Mutex<Option<(Epoch, Providers)>>>,
}

impl Catalog {
    /// A catalogue of the lake under `data_dir`. `zone` is the deployment's.
    pub fn new(data_dir: &Path, metrics: Metrics, zone: Tz) -> Self {
        Self { data_dir: data_dir.to_owned(), root: LakeRoot::under(data_dir), metrics, zone, opened: Arc::default() }
    }

    /// The deployment's zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The metrics it serves.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The published epoch.
    pub fn epoch(&self) -> Result<Epoch, CatalogError> {
        self.root.epoch()?.ok_or_else(|| CatalogError::NotPublished(self.root.path().display().to_string()))
    }

    async fn providers(&self) -> Result<(Epoch, Providers), CatalogError> {
        let epoch = self.epoch()?;
        let mut opened = self.opened.lock().await;
        if let Some((known, providers)) = opened.as_ref()
            && *known == epoch
        {
            return Ok((epoch, providers.clone()));
        }
        let mut providers = HashMap::new();
        for (name, version) in &epoch.tables {
            let table = self.root.open_at(name, *version).await?;
            providers.insert(name.clone(), lake::provider(name, &table).await?);
        }
        *opened = Some((epoch.clone(), providers.clone()));
        Ok((epoch, providers))
    }

    /// A session over the published epoch, as of `moment`.
    pub async fn session(&self, moment: Moment) -> Result<SessionContext, CatalogError> {
        let (epoch, providers) = self.providers().await?;
        let session = self.empty_session();
        register(&session, "raw.records", provider(&providers, RawRow::TABLE)?)?;
        let events = provider(&providers, Event::TABLE)?;
        register(&session, "ops.deliveries", events)?;
        register(&session, CellRow::TABLE, provider(&providers, CellRow::TABLE)?)?;
        register(&session, "ops.sources", sources::table(&self.data_dir)?)?;
        for (name, rows) in self.metrics.reference().tables() {
            register(&session, name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?))?;
        }
        if moment == Moment::default() {
            for name in [Case::TABLE, Segment::TABLE, Deadline::TABLE, Part::TABLE, LedgerRow::TABLE] {
                let plan = current_rows(&session, name, &providers, epoch.compacted_version).await?;
                view(&session, name, plan).await?;
            }
        } else {
            self.refold(&session, moment).await?;
        }
        let known = moment.known_at.map_or(String::new(), |at| format!(" AND appended_at <= {}", timestamp(at)));
        let happened = moment.as_of.map_or(String::new(), |at| format!(" AND occurred_at <= {}", timestamp(at)));
        for (name, sql) in [
            (
                "core.events",
                format!("SELECT * FROM ops.deliveries WHERE kind NOT IN ('seen_again', 'set_aside'){known}{happened}"),
            ),
            (
                "ops.dead_letters",
                format!(
                    "SELECT d.source, d.record_id, d.reason, d.delivery_id AS delivery, d.appended_at, d.topic, \
                     d.partition, d.offset FROM ops.deliveries d LEFT ANTI JOIN \
                     (SELECT source, record_id, content_id FROM ops.deliveries \
                     WHERE kind NOT IN ('seen_again', 'set_aside'){known}) mapped \
                     ON d.source = mapped.source AND d.record_id = mapped.record_id \
                     AND d.content_id = mapped.content_id WHERE d.kind = 'set_aside'{known}"
                ),
            ),
            ("ops.unmapped_categories", UNMAPPED_CATEGORIES.to_owned()),
            ("ops.flawed_territories", FLAWED_TERRITORIES.to_owned()),
            ("ops.completeness", completeness_sql(self.zone)),
        ] {
            let plan = session.sql(&sql).await?.into_unoptimized_plan();
            view(&session, name, plan).await?;
        }
        let answering = self.empty_session();
        if let (Some(tables), Some(all)) = (session.catalog(CATALOG), answering.catalog(CATALOG)) {
            for name in tables.schema_names() {
                if let Some(schema) = tables.schema(&name) {
                    all.register_schema(&name, schema)?;
                }
            }
            let metrics = MetricsSchema::new(session, self.metrics.clone(), moment.as_of);
            all.register_schema("metrics", Arc::new(metrics))?;
        }
        past::register(&answering, self);
        Ok(answering)
    }

    /// A session whose `cases` (and their rows) are only those still open.
    pub async fn open_cases(&self) -> Result<SessionContext, CatalogError> {
        let (epoch, providers) = self.providers().await?;
        let session = self.empty_session();
        for name in [Case::TABLE, Segment::TABLE, Deadline::TABLE, Part::TABLE] {
            let all = format!("ops.all_{}", name.rsplit('.').next().unwrap_or(name));
            let plan = current_rows(&session, name, &providers, epoch.compacted_version).await?;
            view(&session, &all, plan).await?;
            let sql = if name == Case::TABLE {
                format!("SELECT * FROM {all} WHERE state = 'open'")
            } else {
                format!("SELECT * FROM {all} WHERE case_id IN (SELECT case_id FROM ops.all_cases WHERE state = 'open')")
            };
            let plan = session.sql(&sql).await?.into_unoptimized_plan();
            view(&session, name, plan).await?;
        }
        Ok(session)
    }

    /// A session whose table `cells` is that of one metric now: the kept cells, and for a
    /// live metric what the open cases contribute.
    pub async fn cells_now(&self, metric: &Metric) -> Result<SessionContext, CatalogError> {
        let (_, providers) = self.providers().await?;
        let session = if metric.is_live() { self.open_cases().await? } else { self.empty_session() };
        register(&session, CellRow::TABLE, provider(&providers, CellRow::TABLE)?)?;
        let columns = "source, body, category, territory, day, duration_us, observed, numerator, denominator, n";
        let kept = kept_cells_sql(CellRow::TABLE, &metric.info.name);
        let mut sql = format!("SELECT {columns} FROM ({kept}) AS kept");
        if metric.is_live() {
            sql.push_str(&format!(" UNION ALL SELECT {columns} FROM ({}) AS open", metric.cells_sql(None)));
        }
        let plan = session.sql(&sql).await?.into_unoptimized_plan();
        view(&session, "cells", plan).await?;
        Ok(session)
    }

    /// Whether the published cells are kept by the definitions that this catalogue has.
    pub fn keeps(&self) -> Result<bool, CatalogError> {
        Ok(self.epoch()?.metrics == self.metrics.fingerprint())
    }

    /// Every kept cell of the published epoch.
    pub async fn kept_cells(&self) -> Result<Bag, CatalogError> {
        let (_, providers) = self.providers().await?;
        let session = self.empty_session();
        register(&session, CellRow::TABLE, provider(&providers, CellRow::TABLE)?)?;
        let mut bag = Bag::default();
        for metric in self.metrics.iter() {
            let frame = session.sql(&kept_cells_sql(CellRow::TABLE, &metric.info.name)).await?;
            for batch in frame.collect().await? {
                CellRow::from_batch(&batch)?.into_iter().for_each(|row| bag.add_row(row));
            }
        }
        Ok(bag)
    }

    fn empty_session(&self) -> SessionContext {
        let config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(true);
        let session = SessionContext::new_with_config(config);
        let catalog = MemoryCatalogProvider::new();
        for schema in ["raw", "core", "ref", "ops"] {
            // A new catalogue has no schema that this could replace.
            let _ = catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()));
        }
        session.register_catalog(CATALOG, Arc::new(catalog));
        self.metrics.register_functions(&session);
        session
    }

    /// Folds every case again as of a past moment, some partitions of the log at a time.
    async fn refold(&self, session: &SessionContext, moment: Moment) -> Result<(), CatalogError> {
        let rule = FoldRule {
            as_of: moment.as_of,
            known_at: moment.known_at,
            zone: self.zone,
            folded_version: 0,
            reference: self.metrics.reference(),
        };
        let mut tables: BTreeMap<&str, Vec<RecordBatch>> = BTreeMap::new();
        let mut ledger = Ledger::default();
        let mut events = ByCase::new(session, "ops.deliveries").await?;
        while let Some(by_case) = events.next().await? {
            let mut subject = Subject::default();
            for rows in by_case.into_values() {
                let folded = fold(&rows, &rule);
                subject.push(&folded);
                ledger.add(&folded.ledger, 1);
            }
            for (name, rows) in subject.tables().map_err(arrow_error)? {
                tables.entry(name).or_default().push(rows);
            }
        }
        let ledger = LedgerRow::to_batch(&ledger.rows(0)).map_err(arrow_error)?;
        tables.insert(LedgerRow::TABLE, vec![ledger]);
        for (name, batches) in tables {
            register(session, name, memory(batches)?)?;
        }
        Ok(())
    }
}

/// Per source and local day, whether the day is final: a source's day is once it was last
/// read successfully after the day had ended. Until then the day is partial since that
/// reading, or always where there was none, and no record yet is unknown, not zero.
fn completeness_sql(zone: Tz) -> String {
    let ended = format!("parse_when(CAST(d.day + INTERVAL '1 day' AS DATE)::VARCHAR, '{zone}')");
    format!(
        "SELECT s.name AS source, d.day, \
         CASE WHEN s.last_success_at >= {ended} THEN coalesce(c.received, 0) ELSE c.received END AS received, \
         CASE WHEN s.last_success_at >= {ended} THEN 'final' ELSE 'partial' END AS status, \
         CASE WHEN s.last_success_at >= {ended} THEN NULL ELSE s.last_success_at END AS missing_since, \
         CASE WHEN s.last_success_at >= {ended} THEN NULL ELSE s.error END AS missing_because \
         FROM ops.sources s \
         CROSS JOIN (SELECT DISTINCT received_on AS day FROM core.cases WHERE received_on IS NOT NULL \
                     UNION SELECT local_date(last_success_at, '{zone}') FROM ops.sources WHERE last_success_at IS NOT NULL) d \
         LEFT JOIN (SELECT source, received_on, count(*) AS received FROM core.cases GROUP BY 1, 2) c \
           ON c.source = s.name AND c.received_on = d.day"
    )
}

/// SQL text of an instant.
pub fn timestamp(at: At) -> String {
    format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", at.0)
}

fn memory(batches: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>, CatalogError> {
    let schema = batches.first().map(RecordBatch::schema).unwrap_or_else(Case::schema);
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

fn arrow_error(e: arrow::error::ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(e), None)
}

pub(crate) fn reference(name: &str) -> TableReference {
    match name.split_once('.') {
        Some((schema, table)) => TableReference::partial(schema.to_owned(), table.to_owned()),
        None => TableReference::bare(name.to_owned()),
    }
}

fn register(session: &SessionContext, name: &str, table: Arc<dyn TableProvider>) -> Result<(), DataFusionError> {
    session.register_table(reference(name), table).map(|_| ())
}

async fn view(session: &SessionContext, name: &str, plan: LogicalPlan) -> Result<(), DataFusionError> {
    let frame = session.execute_logical_plan(plan).await?;
    // Tables to a reader, though the engine forms them at read: `\dt` lists these, `\dv` the figures.
    session.register_table(reference(name), frame.into_temporary_view()).map(|_| ())
}

fn provider(providers: &Providers, name: &str) -> Result<Arc<dyn TableProvider>, CatalogError> {
    providers
        .get(name)
        .cloned()
        .ok_or_else(|| LakeError::Damaged { what: format!("the published epoch names no version of {name}") }.into())
}

/// The newest rows of a derived table, one per key. Up to `compacted` rows are one per
/// key already; among newer ones, and against older ones, the highest `folded_version`
/// of the key stands. Rows that belong to a case follow the case.
pub async fn current_rows(
    session: &SessionContext,
    name: &str,
    providers: &Providers,
    compacted: i64,
) -> Result<LogicalPlan, DataFusionError> {
    let find = |name: &str| {
        providers.get(name).cloned().ok_or_else(|| DataFusionError::Plan(format!("the lake has no table {name}")))
    };
    let table = session.read_table(find(name)?)?.into_unoptimized_plan();
    let (keys, leader) = if name == LedgerRow::TABLE {
        (vec!["source", "day"], find(name)?)
    } else {
        (vec!["case_id"], find(Case::TABLE)?)
    };
    use datafusion::common::JoinType;
    use datafusion::functions_aggregate::expr_fn::max;
    use datafusion::prelude::{col, lit};
    let rows = session.execute_logical_plan(table).await?;
    let newest = session.read_table(leader)?.filter(col("folded_version").gt(lit(compacted)))?.aggregate(
        keys.iter().map(|k| col(*k).alias(format!("_{k}"))).collect(),
        vec![max(col("folded_version")).alias("_version")],
    )?;
    let left: Vec<&str> = keys.clone();
    let right: Vec<String> = keys.iter().map(|k| format!("_{k}")).collect();
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let base = rows.clone().filter(col("folded_version").lt_eq(lit(compacted)))?.join(
        newest.clone(),
        JoinType::LeftAnti,
        &left,
        &right,
        None,
    )?;
    let (mut tail_left, mut tail_right) = (left.clone(), right.clone());
    tail_left.push("folded_version");
    tail_right.push("_version");
    let tail = rows.filter(col("folded_version").gt(lit(compacted)))?.join(
        newest,
        JoinType::LeftSemi,
        &tail_left,
        &tail_right,
        None,
    )?;
    let mut current = base.union(tail)?;
    if name == LedgerRow::TABLE {
        // A delivery heard again with an earlier stamp moves to that stamp's day. Where it
        // was the day's only one, the day was never heard of.
        let counts = ["pulled", "stored", "set_aside", "duplicates", "repeats"];
        if let Some(counted) = counts.map(|count| col(count).not_eq(lit(0_i64))).into_iter().reduce(Expr::or) {
            current = current.filter(counted)?;
        }
    }
    Ok(current.into_unoptimized_plan())
}
