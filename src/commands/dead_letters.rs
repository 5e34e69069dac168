//! `ahual dead-letters`: what was set aside, its bytes, and trying it again.

use ahual_schemas::log::TopicPartition;
use ahual_schemas::{NewRecord, tables::RawRow};
use ahual_transform::catalog::{Catalog, Moment};
use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use std::time::Duration;

use crate::cli::{DeadLetters, DeadLettersAction, Output};
use crate::config::Config;
use crate::{output, pipeline};

/// A record is read back alone: the reader gives one whatever its size.
const ONE_RECORD_BYTES: usize = 1;

/// Does what was asked.
pub async fn run(arguments: DeadLetters) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    let sealer = config.sealer()?;
    let data = &arguments.deployment.data;
    let catalog = Catalog::new(data, pipeline::metrics(&config).await?, config.deployment.time_zone);
    let session = catalog.session(Moment::default()).await?;
    let of = |source: &Option<String>| {
        source.as_ref().map_or(String::new(), |s| format!(" WHERE source = '{}'", s.replace('\'', "''")))
    };
    match arguments.action {
        DeadLettersAction::List { source } => {
            let sql = format!(
                "SELECT source, reason, delivery, appended_at, topic, partition, \"offset\" FROM ops.dead_letters{} \
                 ORDER BY appended_at, topic, partition, \"offset\"",
                of(&source)
            );
            output::rows(&session.sql(&sql).await?.collect().await?, Output::Table)
        }
        DeadLettersAction::Show { topic, partition, offset } => {
            let sql = format!(
                "SELECT * FROM raw.records WHERE topic = '{}' AND partition = {partition} AND \"offset\" = {offset}",
                topic.replace('\'', "''")
            );
            let rows = raw_rows(&session.sql(&sql).await?.collect().await?)?;
            let row = rows.first().with_context(|| format!("there is no record {topic}/{partition} at {offset}"))?;
            output::bytes(&sealer.open(&row.sealing, &row.payload)?)?;
            Ok(())
        }
        DeadLettersAction::Replay { source } => {
            let sql = format!("SELECT topic, partition, \"offset\" FROM ops.dead_letters{}", of(&source));
            let batches = session.sql(&sql).await?.collect().await?;
            let replayed = replay(&config, data, &batches).await?;
            output::line(&serde_json::json!({ "replayed": replayed }).to_string());
            Ok(())
        }
    }
}

/// Appends the records again, as they were: the same delivery, so the ledger counts
/// them once. The next run maps them with the present mapping.
async fn replay(config: &Config, data: &std::path::Path, batches: &[RecordBatch]) -> anyhow::Result<usize> {
    let log = ahual_ingest::log::open(&config.log, data, config.deployment.partitions)
        .await
        .context("opening the log; stop 'ahual run' first where the log is embedded")?;
    let mut replayed = 0;
    for batch in batches {
        let topics = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)?;
        let topics = topics.as_string::<i32>();
        let partitions = batch.column(1).as_primitive::<arrow::datatypes::Int32Type>();
        let offsets = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..batch.num_rows() {
            let topic = topics.value(row);
            // What was set aside at the door is no record of a source: there is nothing to map.
            if topic == ahual_schemas::log::DEAD_LETTERS {
                continue;
            }
            let at = TopicPartition { topic: topic.to_owned(), partition: u32::try_from(partitions.value(row))? };
            let offset = u64::try_from(offsets.value(row))?;
            let mut reader = log.reader(vec![(at, offset)]).await?;
            let found = reader.next(1, ONE_RECORD_BYTES, Duration::from_secs(5)).await?;
            let Some(record) = found.into_iter().find(|r| r.offset == offset) else { continue };
            let again = NewRecord { key: record.key, headers: record.headers, payload: record.payload };
            log.append(topic, vec![again]).await?;
            replayed += 1;
        }
    }
    Ok(replayed)
}

fn raw_rows(batches: &[RecordBatch]) -> anyhow::Result<Vec<RawRow>> {
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(RawRow::from_batch(batch)?);
    }
    Ok(rows)
}
