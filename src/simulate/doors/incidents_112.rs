//! The 112 dispatch feed: rows of units after an id (`since_id`) or written since an
//! instant (`written_since`), in the order they became visible; `next` is the id to ask
//! after for more, null when there is none.
//! A unit comes again with a higher version as its stages are reached or put right.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Nth, Params, instant, number, refused, repeated};
use crate::simulate::Simulation;
use crate::simulate::clock::with_offset;
use crate::simulate::faults::Poison;
use crate::simulate::incident::{Incident, Row, STAGES};
use crate::simulate::region::DISTRICTS;

const DOOR: &str = "door-112";
const LARGEST_PAGE: usize = 1_000;

pub(super) async fn feed(
    State(simulation): State<Arc<Simulation>>,
    Extension(nth): Extension<Nth>,
    Query(params): Query<Params>,
) -> Response {
    match page(&simulation, nth, &params) {
        Ok(page) => Json(page).into_response(),
        Err(why) => refused(StatusCode::BAD_REQUEST, &why),
    }
}

fn page(simulation: &Simulation, nth: Nth, params: &Params) -> Result<Value, String> {
    let since_id: i64 = number(params, "since_id", 0)?;
    let limit: usize = number(params, "limit", 200)?.clamp(1, LARGEST_PAGE);
    let written_since = instant(params, "written_since")?;
    let (rows, last_id, more) = simulation.look(|world, now| {
        let since_id = since_id.max(written_since.map_or(0, |at| at.saturating_mul(10_000) - 1));
        let mut last_id = since_id;
        let mut after = world.feed_after(since_id, now);
        let rows: Vec<Value> = after
            .by_ref()
            .take(limit)
            .map(|(id, incident, unit, row)| {
                last_id = id;
                said(id, incident, unit, row)
            })
            .collect();
        (rows, last_id, after.next().is_some())
    });
    let rows = repeated(simulation, DOOR, nth, rows);
    Ok(json!({"rows": rows, "last_id": last_id, "more": more, "next": more.then_some(last_id)}))
}

/// One row as the feed says it.
fn said(id: i64, incident: &Incident, unit: usize, row: &Row) -> Value {
    let mut said = Map::new();
    let mut put = |name: &str, value: Value| said.insert(name.to_owned(), value);
    put("id", json!(id));
    put("incident", if row.poison == Some(Poison::MissingId) { Value::Null } else { json!(incident.id) });
    put("unit", json!(incident.units[unit].code));
    put("version", json!(row.version));
    put("service", json!(incident.service));
    put("category", json!(incident.category));
    put("district", json!(DISTRICTS[incident.district].kato));
    put("longitude", json!(incident.longitude));
    put("latitude", json!(incident.latitude));
    for (stage, at) in STAGES.iter().zip(row.stamps) {
        put(&format!("{stage}_at"), json!(at.map(with_offset)));
    }
    if row.poison == Some(Poison::UnreadableTime) {
        put("received_at", json!("2026-02-31T25:61:00"));
    }
    put("test", json!(incident.test));
    put("cancelled", json!(incident.cancelled));
    put("duplicate_of", json!(incident.duplicate_of));
    put("written_at", json!(with_offset(row.visible_at)));
    Value::Object(said)
}
