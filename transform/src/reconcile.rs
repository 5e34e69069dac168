//! Reconciliation: do ledger, lake and figures agree, file by file?
//!
//! Every data file of the published epoch is read on its own, so that a missing or
//! damaged one is named and the rest still counted. From the rows that are there the
//! ledger and every figure are formed again and compared with what was published:
//! per source and day, and per cell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use ahual_schemas::event::Event;
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::{Case, CellRow, Deadline, LedgerRow, Part, RawRow, Segment};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;
use serde::Serialize;

use crate::catalog::{Catalog, CatalogError, Moment};
use crate::figures::{Bag, MetricError, Metrics, Subject, Totals};
use crate::fold::{FoldRule, fold};
use crate::functions::local_day;
use crate::lake::{LakeError, LakeRoot, read_parquet};
use crate::ledger::Ledger;

/// Why reconciliation could not be carried out (not: why it failed).
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The lake.
    #[error("opening the lake")]
    Lake(#[from] LakeError),
    /// The catalogue.
    #[error("opening the catalogue")]
    Catalog(#[from] CatalogError),
    /// Rows do not fit their table.
    #[error("reading rows")]
    Shape(#[from] ahual_schemas::table::ShapeError),
    /// A metric.
    #[error("forming figures")]
    Metric(#[from] MetricError),
}

/// One difference between what is published and what the rows say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Table or metric.
    pub what: String,
    /// Source.
    pub source: String,
    /// Day, ISO 8601.
    pub day: Option<String>,
    /// What is published.
    pub published: String,
    /// What the rows that are there say.
    pub found: String,
}

/// What reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of `core.events` the published epoch has folded.
    pub folded_version: i64,
    /// Data files read.
    pub files: usize,
    /// Files that are missing or damaged: table, file and why.
    pub unreadable: Vec<String>,
    /// Ledger rows compared.
    pub ledger_rows: usize,
    /// Cells of figures compared.
    pub cells: usize,
    /// Differences.
    pub differences: Vec<Difference>,
}

impl Report {
    /// Whether everything agrees.
    pub fn closes(&self) -> bool {
        self.unreadable.is_empty() && self.differences.is_empty()
    }
}

/// Days `from ≤ day < to` that figures are compared on; all where absent.
pub type Days = Option<(Day, Day)>;

/// Compares everything published under `data_dir`. Figures are compared on `days`.
pub async fn reconcile(data_dir: &Path, metrics: &Metrics, zone: Tz, days: Days) -> Result<Report, ReconcileError> {
    let root = LakeRoot::under(data_dir);
    let catalog = Catalog::new(data_dir, metrics.clone(), zone);
    let epoch = catalog.epoch()?;
    let mut report = Report { folded_version: epoch.folded_version, ..Report::default() };

    let mut files: HashMap<&str, Vec<RecordBatch>> = HashMap::new();
    for (name, _) in crate::lake::tables() {
        let version = epoch.tables.get(name).copied().unwrap_or(0);
        let table = root.open_at(name, version).await?;
        let uris = table.get_file_uris().map_err(|source| LakeError::Table {
            doing: "list the files of",
            table: name.to_owned(),
            source: Box::new(source),
        })?;
        for uri in uris {
            report.files += 1;
            let path = uri.strip_prefix("file://").unwrap_or(&uri);
            match read_parquet(Path::new(path)) {
                Ok(batches) => files.entry(name).or_default().extend(batches),
                Err(error) => report.unreadable.push(format!("{name}: {}", one_line(&error))),
            }
        }
    }

    let ledger = newest_ledger(files.get(LedgerRow::TABLE).map_or(&[][..], Vec::as_slice))?;
    let mut events: HashMap<String, Vec<Event>> = HashMap::new();
    for batch in files.get(Event::TABLE).map_or(&[][..], Vec::as_slice) {
        for row in Event::from_batch(batch)? {
            events.entry(row.case_id.clone()).or_default().push(row);
        }
    }
    let rule = FoldRule {
        as_of: None,
        known_at: None,
        zone,
        folded_version: epoch.folded_version,
        reference: metrics.reference(),
    };
    let mut subject = Subject::default();
    let mut recounted = Ledger::default();
    for rows in events.values() {
        let folded = fold(rows, &rule);
        recounted.add(&folded.ledger, 1);
        subject.push(&folded);
    }
    drop(events);
    compare_ledger(&mut report, &ledger, &recounted);
    let raw = count_raw(files.get(RawRow::TABLE).map_or(&[][..], Vec::as_slice), zone)?;
    compare_raw(&mut report, &ledger, &raw);
    drop(files);

    if report.unreadable.is_empty() {
        let mut recomputed = Bag::default();
        metrics.keep(&mut recomputed, &subject, 1).await?;
        recomputed.settle();
        let published = published_cells(&catalog, metrics).await?;
        compare_cells(&mut report, "metrics", &published, &recomputed, days);
        // Cells kept by other definitions are formed anew when the job next starts.
        if epoch.metrics == metrics.fingerprint() {
            let kept = catalog.kept_cells().await?;
            compare_cells(&mut report, CellRow::TABLE, &kept, &recomputed, days);
        }
    }
    Ok(report)
}

fn newest_ledger(batches: &[RecordBatch]) -> Result<BTreeMap<(String, Day), LedgerRow>, ReconcileError> {
    let mut newest: BTreeMap<(String, Day), LedgerRow> = BTreeMap::new();
    for batch in batches {
        for row in LedgerRow::from_batch(batch)? {
            let slot = newest.entry((row.source.clone(), row.day)).or_insert_with(|| row.clone());
            if row.folded_version > slot.folded_version {
                *slot = row;
            }
        }
    }
    Ok(newest)
}

/// Distinct deliveries per source and day of their first append stamp.
fn count_raw(batches: &[RecordBatch], zone: Tz) -> Result<BTreeMap<(String, Day), i64>, ReconcileError> {
    let mut first: HashMap<(String, String, Option<String>), At> = HashMap::new();
    for batch in batches {
        for row in RawRow::from_batch(batch)? {
            let stamp = first.entry((row.source, row.delivery, row.record_id)).or_insert(row.appended_at);
            *stamp = (*stamp).min(row.appended_at);
        }
    }
    let mut days = BTreeMap::new();
    for ((source, _, _), stamp) in first {
        let day = Day(local_day(stamp.0, zone).unwrap_or_default());
        *days.entry((source, day)).or_default() += 1;
    }
    Ok(days)
}

fn compare_ledger(report: &mut Report, ledger: &BTreeMap<(String, Day), LedgerRow>, recounted: &Ledger) {
    let keys: BTreeSet<_> = ledger.keys().chain(recounted.iter().map(|(key, _)| key)).cloned().collect();
    for (source, day) in keys {
        report.ledger_rows += 1;
        let key = (source.clone(), day);
        let published = ledger.get(&key).map(LedgerRow::counts).unwrap_or_default();
        let found = recounted.get(&key);
        if published != found {
            report.differences.push(Difference {
                what: "core.events".to_owned(),
                source: source.clone(),
                day: iso(day),
                published: say(published),
                found: say(found),
            });
        }
        let [pulled, stored, set_aside, duplicates, _] = published;
        if pulled != stored + set_aside + duplicates {
            report.differences.push(Difference {
                what: "ops.ledger".to_owned(),
                source,
                day: iso(day),
                published: format!("pulled {pulled}"),
                found: format!("stored + set aside + duplicates = {}", stored + set_aside + duplicates),
            });
        }
    }
}

fn compare_raw(report: &mut Report, ledger: &BTreeMap<(String, Day), LedgerRow>, raw: &BTreeMap<(String, Day), i64>) {
    let keys: BTreeSet<_> = ledger.keys().chain(raw.keys()).cloned().collect();
    for key in keys {
        let published = ledger.get(&key).map_or(0, |row| row.pulled);
        let found = raw.get(&key).copied().unwrap_or(0);
        if published != found {
            report.differences.push(Difference {
                what: "raw.records".to_owned(),
                source: key.0,
                day: iso(key.1),
                published: format!("pulled {published}"),
                found: format!("raw records of {found} deliveries"),
            });
        }
    }
}

/// Cells formed from the published derived tables.
async fn published_cells(catalog: &Catalog, metrics: &Metrics) -> Result<Bag, ReconcileError> {
    let session = catalog.session(Moment::default()).await?;
    let mut subject = Subject::default();
    let read = async |name: &str| {
        let frame = session.sql(&format!("SELECT * FROM {name}")).await.map_err(CatalogError::from)?;
        frame.collect().await.map_err(CatalogError::from)
    };
    for batch in read(Case::TABLE).await? {
        subject.cases.extend(Case::from_batch(&batch)?);
    }
    for batch in read(Segment::TABLE).await? {
        subject.segments.extend(Segment::from_batch(&batch)?);
    }
    for batch in read(Deadline::TABLE).await? {
        subject.deadlines.extend(Deadline::from_batch(&batch)?);
    }
    for batch in read(Part::TABLE).await? {
        subject.parts.extend(Part::from_batch(&batch)?);
    }
    let mut bag = Bag::default();
    metrics.keep(&mut bag, &subject, 1).await?;
    bag.settle();
    Ok(bag)
}

fn compare_cells(report: &mut Report, what: &str, published: &Bag, recomputed: &Bag, days: Days) {
    let inside = |day: Option<Day>| match (days, day) {
        (None, _) => true,
        (Some((from, to)), Some(day)) => from <= day && day < to,
        (Some(_), None) => false,
    };
    let mut both: BTreeMap<_, (Totals, Totals)> = BTreeMap::new();
    for (key, totals) in published.iter().filter(|(k, _)| inside(k.day)) {
        both.entry(key.clone()).or_default().0 = *totals;
    }
    for (key, totals) in recomputed.iter().filter(|(k, _)| inside(k.day)) {
        both.entry(key.clone()).or_default().1 = *totals;
    }
    report.cells += both.len();
    for (key, (published, found)) in both {
        if published != found {
            report.differences.push(Difference {
                what: format!("{what}.{}", key.metric),
                source: key.source,
                day: key.day.and_then(iso),
                published: format!("{published:?}"),
                found: format!("{found:?}"),
            });
        }
    }
}

fn say([pulled, stored, set_aside, duplicates, repeats]: [i64; 5]) -> String {
    format!("pulled {pulled}, stored {stored} ({repeats} repeats), set aside {set_aside}, duplicates {duplicates}")
}

fn iso(day: Day) -> Option<String> {
    chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?
        .checked_add_signed(chrono::Duration::days(i64::from(day.0)))
        .map(|date| date.to_string())
}

fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
