//! `ahual explain` and `ahual trace`: from a figure to its cases, and from a case to the
//! records it was made of.

use std::collections::BTreeMap;

use ahual_schemas::event::Event;
use ahual_schemas::tables::RawRow;
use ahual_transform::catalog::{Catalog, Moment};
use ahual_transform::readers::Readers;
use ahual_transform::reading::{FigureQuery, Reading};
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use serde_json::{Value, json};

use crate::cli::{self, Explain, Trace};
use crate::config::Config;
use crate::{output, pipeline};

/// Names the cases behind a figure.
pub async fn explain(arguments: Explain) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    let zone = config.deployment.time_zone;
    let mut filter: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (dimension, value) in arguments.filter {
        filter.entry(dimension).or_default().push(value);
    }
    let moment = Moment::read(&arguments.as_of, &arguments.known_at, |text| cli::moment(text, zone))
        .map_err(|(name, what)| anyhow::anyhow!("--{name}: {what}"))?;
    let query = FigureQuery {
        metric: arguments.metric,
        by: Vec::new(),
        filter,
        from: arguments.from.map(super::batch::day),
        to: arguments.to.map(super::batch::day),
        as_of: moment.as_of,
        known_at: moment.known_at,
    };
    let readers = Readers::of_lake(&arguments.deployment.data, pipeline::metrics(&config).await?, zone);
    let explanation = readers.cases(&query, arguments.limit).await?;
    if arguments.sql {
        output::line(&explanation.sql);
        return Ok(());
    }
    output::message(&explanation.sql);
    output::rows(&explanation.rows, arguments.output)
}

/// Shows the records of a case, in the order in which we learnt of them.
pub async fn trace(arguments: Trace) -> anyhow::Result<()> {
    let config = Config::load(&arguments.deployment.config)?;
    let sealer = config.sealer()?;
    let zone = config.deployment.time_zone;
    let catalog = Catalog::new(&arguments.deployment.data, pipeline::metrics(&config).await?, zone);
    let session = catalog.session(Moment::default()).await?;
    let case = arguments.case_id.replace('\'', "''");
    let deliveries = format!("SELECT * FROM ops.deliveries WHERE case_id = '{case}'");
    let mut events: BTreeMap<(i64, String, i32, i64), Vec<Event>> = BTreeMap::new();
    for batch in collect(&session, &deliveries).await? {
        for event in Event::from_batch(&batch)? {
            let key = (event.appended_at.0, event.topic.clone(), event.partition, event.offset);
            events.entry(key).or_default().push(event);
        }
    }
    if events.is_empty() {
        anyhow::bail!("there is no case '{}'; core.cases names them", arguments.case_id);
    }
    for ((_, topic, partition, offset), mut events) in events {
        events.sort_by_key(|event| event.ordinal);
        let raw = format!(
            "SELECT * FROM raw.records WHERE topic = '{}' AND partition = {partition} AND \"offset\" = {offset}",
            topic.replace('\'', "''")
        );
        let mut payload = Value::Null;
        for batch in collect(&session, &raw).await? {
            for row in RawRow::from_batch(&batch)? {
                let bytes = sealer.open(&row.sealing, &row.payload)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                payload = serde_json::from_str(&text).unwrap_or(Value::String(text));
            }
        }
        let said: Vec<Value> = events.iter().map(said).collect();
        let record = json!({
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "appended_at": events.first().and_then(|event| instant(event.appended_at)),
            "record_id": events.first().map(|event| &event.record_id),
            "payload": payload,
            "events": said,
        });
        output::line(&record.to_string());
    }
    Ok(())
}

/// What an event says, without what the record around it says already.
fn said(event: &Event) -> Value {
    let mut said = json!({ "kind": event.kind, "occurred_at": instant(event.occurred_at) });
    for (name, value) in [
        ("part_id", &event.part_id),
        ("status", &event.status),
        ("outcome", &event.outcome),
        ("category", &event.category),
        ("body", &event.body),
        ("territory", &event.territory),
        ("reason", &event.reason),
    ] {
        if let Some(value) = value {
            said[name] = json!(value);
        }
    }
    if let Some(due_at) = event.due_at.and_then(instant) {
        said["due_at"] = json!(due_at);
    }
    said
}

fn instant(at: ahual_schemas::At) -> Option<String> {
    chrono::DateTime::from_timestamp_micros(at.0).map(|at| at.to_rfc3339())
}

async fn collect(session: &SessionContext, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
    Ok(session.sql(sql).await?.collect().await?)
}
