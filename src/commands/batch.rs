//! `ahual batch`: scheduled jobs for a window of local days, fit for cron.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 75 try later (the lease or the log is taken,
//! or nothing is published yet). A JSON summary goes to stdout.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ahual_schemas::table::Day;
use ahual_schemas::{At, LogError};
use ahual_transform::catalog::{Catalog, CatalogError, Moment};
use ahual_transform::job::JobError;
use ahual_transform::lake::LakeError;
use ahual_transform::reconcile;
use anyhow::Context;
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::cli::{Batch, BatchJob, Window};
use crate::config::Config;
use crate::output;
use crate::pipeline;

/// Exit code of sysexits' EX_TEMPFAIL.
const TRY_LATER: u8 = 75;
const USAGE: u8 = 2;

/// Runs the job and tells how it went.
pub async fn run(arguments: Batch) -> ExitCode {
    let started = chrono::Utc::now();
    let mut summary = json!({
        "job": arguments.job.as_str(),
        "window": { "from": arguments.window.from, "to": arguments.window.to },
        "started_at": started,
    });
    let (status, code, detail) = match work(&arguments).await {
        Ok((true, detail)) => ("done", ExitCode::SUCCESS, detail),
        Ok((false, detail)) => ("failed", ExitCode::FAILURE, detail),
        Err(error) => {
            let (status, code) = judge(&error);
            output::message(&format!("error: {error:#}"));
            (status, code, json!({ "error": format!("{error:#}") }))
        }
    };
    summary["status"] = json!(status);
    summary["seconds"] = json!((chrono::Utc::now() - started).as_seconds_f64());
    summary["result"] = detail;
    output::line(&summary.to_string());
    code
}

/// The lease of a job is taken.
#[derive(Debug, thiserror::Error)]
#[error("another 'ahual batch {0}' is at work under this --data directory")]
struct LeaseTaken(&'static str);

/// What an error means to a scheduler: a word and an exit code.
pub fn judge(error: &anyhow::Error) -> (&'static str, ExitCode) {
    let later = error.chain().any(|cause| {
        cause.is::<LeaseTaken>()
            || matches!(cause.downcast_ref::<LakeError>(), Some(LakeError::Leased(_)))
            || matches!(
                cause.downcast_ref::<LogError>(),
                Some(LogError::Owned { .. } | LogError::Gone { .. } | LogError::Unavailable { .. })
            )
            || matches!(cause.downcast_ref::<JobError>(), Some(JobError::Lake(LakeError::Leased(_))))
            || matches!(cause.downcast_ref::<CatalogError>(), Some(CatalogError::NotPublished(_)))
    });
    if later {
        ("try later", ExitCode::from(TRY_LATER))
    } else if error.chain().any(|cause| cause.is::<crate::config::ConfigError>()) {
        ("usage", ExitCode::from(USAGE))
    } else {
        ("failed", ExitCode::FAILURE)
    }
}

async fn work(arguments: &Batch) -> anyhow::Result<(bool, Value)> {
    let config = Config::load(&arguments.deployment.config)?;
    let _lease = lease(&arguments.deployment.data, arguments.job.as_str())?;
    match arguments.job {
        BatchJob::Recompute => recompute(arguments, &config).await,
        BatchJob::Backfill => super::backfill::run(arguments, config).await,
        BatchJob::Export => export(arguments, &config).await,
    }
}

/// Held until dropped, and by a killed process no longer.
fn lease(data: &Path, job: &'static str) -> anyhow::Result<File> {
    let folder = data.join("batch");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{job}.lease"));
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    if file.try_lock().is_err() {
        return Err(LeaseTaken(job).into());
    }
    Ok(file)
}

/// Forms the window's figures again from events and compares them with the published ones.
async fn recompute(arguments: &Batch, config: &Config) -> anyhow::Result<(bool, Value)> {
    let metrics = pipeline::metrics(config).await?;
    let window = Some((day(arguments.window.from), day(arguments.window.to)));
    let zone = config.deployment.time_zone;
    let report = reconcile::reconcile(&arguments.deployment.data, &metrics, zone, window).await?;
    for difference in &report.differences {
        output::message(&format!("{difference:?}"));
    }
    Ok((report.closes(), serde_json::to_value(&report)?))
}

/// Writes the window's figures, one CSV and one Parquet file a metric, with a manifest.
/// A folder of the same window and epoch is left as it is.
async fn export(arguments: &Batch, config: &Config) -> anyhow::Result<(bool, Value)> {
    let data = &arguments.deployment.data;
    let metrics = pipeline::metrics(config).await?;
    let catalog = Catalog::new(data, metrics.clone(), config.deployment.time_zone);
    let epoch = catalog.epoch()?;
    let Window { from, to } = arguments.window;
    // What was known when the epoch was published: the same export again gives the same bytes.
    let as_of = epoch.known_at.unwrap_or(At(0));
    let root = arguments.to.clone().unwrap_or_else(|| data.join("export"));
    let folder = root.join(format!("{from}..{to}"));
    let manifest_path = folder.join("manifest.json");
    let named = json!({ "folded_version": epoch.folded_version, "as_of": moment_text(as_of) });
    if let Ok(text) = std::fs::read(&manifest_path)
        && let Ok(manifest) = serde_json::from_slice::<Value>(&text)
        && manifest["epoch"] == named
    {
        return Ok((true, json!({ "folder": folder, "unchanged": true, "manifest": manifest })));
    }
    let next = root.join(format!(".{from}..{to}.next"));
    if next.exists() {
        std::fs::remove_dir_all(&next)?;
    }
    std::fs::create_dir_all(&next).with_context(|| format!("cannot create {}", next.display()))?;
    let session = catalog.session(Moment { as_of: Some(as_of), known_at: None }).await?;
    let mut rows = serde_json::Map::new();
    for metric in metrics.iter() {
        let name = &metric.info.name;
        let sql = format!(
            "SELECT * FROM metrics.{name} WHERE day >= DATE '{from}' AND day < DATE '{to}' \
             ORDER BY source, body, category, territory, day"
        );
        let frame = session.sql(&sql).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let mut batches = frame.collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        rows.insert(name.clone(), json!(batches.iter().map(|b| b.num_rows()).sum::<usize>()));
        output::write_files(&next.join(name), &batches)?;
    }
    let manifest = json!({
        "window": { "from": from, "to": to },
        "epoch": named,
        "rows": rows,
        "metrics": metrics.iter().map(|m| json!(m.info)).collect::<Vec<_>>(),
    });
    std::fs::write(next.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::rename(&next, &folder)?;
    Ok((true, json!({ "folder": folder, "unchanged": false, "manifest": manifest })))
}

fn moment_text(at: At) -> String {
    chrono::DateTime::from_timestamp_micros(at.0).map(|t| t.to_rfc3339()).unwrap_or_default()
}

/// A day as tables hold it.
pub(super) fn day(date: NaiveDate) -> Day {
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    Day(i32::try_from(days).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        assert_eq!(day(NaiveDate::default()), Day(0));
        assert_eq!(NaiveDate::from_ymd_opt(2000, 3, 1).map(day), Some(Day(11_017)));
    }
}
