//! `ahual dead-letters`: what was set aside, its bytes, and trying it again.

use std::path::Path;
use std::process::ExitCode;

use ahual_schemas::log::{DEAD_LETTERS, raw_topic};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::{Log, RawRecord, tables::RawRow};
use ahual_transform::catalog::{Catalog, Moment};
use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use crate::cli::{DeadLetters, DeadLettersAction, Output};
use crate::commands::batch;
use crate::config::Config;
use crate::{output, pipeline};

/// Records appended at once hold about this many bytes at most.
const APPEND_BYTES: usize = 16 << 20;

/// Does what was asked: 0 done, 1 failed, 2 usage, 75 try later.
pub async fn run(arguments: DeadLetters) -> ExitCode {
    match work(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::message(&format!("error: {error:#}"));
            batch::judge(&error).1
        }
    }
}

async fn work(arguments: DeadLetters) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    let sealer = config.sealer()?;
    let data = &arguments.deployment.data;
    let catalog = Catalog::new(data, pipeline::metrics(&config).await?, config.deployment.time_zone);
    let session = catalog.session(Moment::default()).await?;
    match arguments.action {
        DeadLettersAction::List { source } => {
            let sql = format!(
                "SELECT source, reason, delivery, appended_at, topic, partition, \"offset\" FROM ops.dead_letters{} \
                 ORDER BY appended_at, topic, partition, \"offset\"",
                source.as_deref().map_or(String::new(), |s| format!(" WHERE source = {}", quoted(s)))
            );
            output::rows(&session.sql(&sql).await?.collect().await?, Output::Table)
        }
        DeadLettersAction::Show { topic, partition, offset } => {
            let sql = format!(
                "SELECT * FROM raw.records WHERE topic = {} AND partition = {partition} AND \"offset\" = {offset}",
                quoted(&topic)
            );
            let mut rows = Vec::new();
            for batch in session.sql(&sql).await?.collect().await? {
                rows.extend(RawRow::from_batch(&batch)?);
            }
            let row = rows.first().with_context(|| format!("there is no record {topic}/{partition} at {offset}"))?;
            output::bytes(&sealer.open(&row.sealing, &row.payload)?)?;
            Ok(())
        }
        DeadLettersAction::Replay { source } => {
            let replayed = replay(&config, data, &sealer, &session, source.as_deref()).await?;
            output::line(&serde_json::json!({ "replayed": replayed }).to_string());
            Ok(())
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Appends the records again under their names: the same delivery, so the ledger counts
/// them once. Their bytes come from the lake, where they outlive the log's retention.
/// The process that folds maps them with its mapping, otherwise the next run does.
async fn replay(
    config: &Config,
    data: &Path,
    sealer: &Sealer,
    session: &SessionContext,
    source: Option<&str>,
) -> anyhow::Result<usize> {
    // What was set aside at the door is no record of a source: there is nothing to map.
    let sql = format!(
        "SELECT r.*, d.case_id, d.occurrence FROM ops.dead_letters l \
         JOIN ops.deliveries d ON d.topic = l.topic AND d.partition = l.partition AND d.\"offset\" = l.\"offset\" \
         AND d.kind = 'set_aside' \
         JOIN raw.records r ON r.topic = l.topic AND r.partition = l.partition AND r.\"offset\" = l.\"offset\" \
         WHERE l.topic <> {}{}",
        quoted(DEAD_LETTERS),
        source.map_or(String::new(), |s| format!(" AND l.source = {}", quoted(s)))
    );
    let mut letters = session.sql(&sql).await?.execute_stream().await?;
    let access = ahual_ingest::log::open_or_join(&config.log, data, config.deployment.partitions)
        .await
        .context("opening the log")?;
    let mut replayed = 0;
    while let Some(batch) = letters.try_next().await? {
        replayed += append(access.log().as_ref(), sealer, &batch).await?;
    }
    Ok(replayed)
}

async fn append(log: &dyn Log, sealer: &Sealer, letters: &RecordBatch) -> anyhow::Result<usize> {
    let column = |name| letters.column_by_name(name).with_context(|| format!("the lake gave no column {name}"));
    let case_ids = arrow::compute::cast(column("case_id")?, &DataType::Utf8)?;
    let occurrences = column("occurrence")?.as_primitive::<Int32Type>();
    let mut waiting = Vec::new();
    let mut bytes = 0;
    for (index, row) in RawRow::from_batch(letters)?.into_iter().enumerate() {
        let case_id = case_ids.as_string::<i32>().value(index);
        let prefix = format!("{}:", row.source);
        let case_key = case_id.strip_prefix(&prefix).with_context(|| format!("case {case_id} is not of {prefix}"))?;
        let record = RawRecord {
            record_id: row.record_id.with_context(|| format!("a record of {case_id} has no name"))?,
            case_key: case_key.to_owned(),
            delivery: row.delivery,
            occurrence: u32::try_from(occurrences.value(index))?,
            content_type: row.content_type,
            payload: sealer.open(&row.sealing, &row.payload)?,
            source: row.source,
        };
        let topic = raw_topic(&record.source);
        let sealed = record.seal(sealer)?;
        if bytes + sealed.size() > APPEND_BYTES {
            flush(log, &mut waiting).await?;
            bytes = 0;
        }
        bytes += sealed.size();
        waiting.push((topic, sealed));
    }
    flush(log, &mut waiting).await?;
    Ok(letters.num_rows())
}

/// Appends what waits, the records of a topic in one call.
async fn flush(log: &dyn Log, waiting: &mut Vec<(String, ahual_schemas::NewRecord)>) -> anyhow::Result<()> {
    let mut rest = std::mem::take(waiting);
    while let Some((topic, _)) = rest.first() {
        let topic = topic.clone();
        let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(of, _)| *of == topic);
        log.append(&topic, now.into_iter().map(|(_, record)| record).collect()).await?;
        rest = later;
    }
    Ok(())
}
