//! The open data portal: one data set by API v4. A query of Elasticsearch in `source`, a
//! bare array for an answer. No key or a wrong one is answered 403, and so is the
//! thirty-sixth call of a minute; what fails inside is told with HTTP 200, as an object
//! where the array should be. Numbers are written as texts now and then.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Nth, Params, drifted, repeated};
use crate::simulate::Simulation;
use crate::simulate::clock::{read, zoneless};
use crate::simulate::dice::Dice;
use crate::simulate::document::{Document, SERVICES, Version};
use crate::simulate::faults::Poison;
use crate::simulate::region::DISTRICTS;

const DOOR: &str = "egov";
/// Name and version of the only data set.
const DATASET: (&str, &str) = ("invented_documents", "v1");
const MOST_ROWS: usize = 10_000;
/// Calls answered within a minute of real time.
pub(super) const CALLS_A_MINUTE: usize = 35;

/// What a caller asks for.
struct Question {
    from: usize,
    size: usize,
    gte: i64,
    lt: i64,
}

/// `/api/v4/{dataset}/{version}`: a bare array.
pub(super) async fn rows(
    State(simulation): State<Arc<Simulation>>,
    Extension(nth): Extension<Nth>,
    Path((dataset, version)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Response {
    answered(&simulation, (&dataset, &version), &params, |question| {
        let from = drifted(&simulation, DOOR, nth, question.from);
        let many = question.size + (question.from - from);
        let rows: Vec<Value> = simulation.look(|world, now| {
            let shown = world.documents_modified(question.gte, question.lt, now);
            shown.into_iter().skip(from).take(many).map(|(d, v)| row(&simulation, d, v)).collect()
        });
        Value::Array(repeated(&simulation, DOOR, nth, rows))
    })
}

/// `/api/detailed/{dataset}/{version}`: how many there are, too.
pub(super) async fn detailed(
    State(simulation): State<Arc<Simulation>>,
    Path((dataset, version)): Path<(String, String)>,
    Query(params): Query<Params>,
) -> Response {
    answered(&simulation, (&dataset, &version), &params, |question| {
        simulation.look(|world, now| {
            let shown = world.documents_modified(question.gte, question.lt, now);
            let data: Vec<Value> =
                shown.iter().skip(question.from).take(question.size).map(|(d, v)| row(&simulation, d, v)).collect();
            json!({"totalCount": shown.len(), "data": data})
        })
    })
}

fn answered(
    simulation: &Simulation,
    dataset: (&str, &str),
    params: &Params,
    answer: impl FnOnce(&Question) -> Value,
) -> Response {
    if params.get("apiKey") != Some(&simulation.options.token) {
        let said = json!({"error": "API кілті табылмады / apiKey не найден"});
        return (StatusCode::FORBIDDEN, Json(said)).into_response();
    }
    if simulation.calls_of_the_minute(DOOR) > CALLS_A_MINUTE {
        simulation.count(DOOR, "too_many");
        return overloaded();
    }
    if dataset != DATASET {
        let why = format!("no such index [{}]", dataset.0);
        return failed_inside("index_not_found_exception", &why, 404);
    }
    match question(params) {
        Ok(question) => Json(answer(&question)).into_response(),
        Err(why) => failed_inside("parsing_exception", &why, 400),
    }
}

/// Too much to do: the same status as for a missing key, without a word about it.
pub(super) fn overloaded() -> Response {
    (StatusCode::FORBIDDEN, Json(json!({"error": "Forbidden"}))).into_response()
}

/// What fails inside is told as if all were well.
pub(super) fn failed_inside(kind: &str, why: &str, status: u16) -> Response {
    Json(json!({"error": {"type": kind, "reason": why}, "status": status})).into_response()
}

fn question(params: &Params) -> Result<Question, String> {
    let source: Value = match params.get("source") {
        None => json!({}),
        Some(text) => serde_json::from_str(text).map_err(|_| "source is no JSON object".to_owned())?,
    };
    let whole = |name: &str, otherwise: usize| match source.get(name) {
        None => Ok(otherwise),
        Some(value) => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| format!("[{name}] must be a whole number")),
    };
    let (from, size) = (whole("from", 0)?, whole("size", 10)?);
    if from.saturating_add(size) > MOST_ROWS {
        return Err(format!("Result window is too large, from + size must be less than or equal to: [{MOST_ROWS}]"));
    }
    let mut question = Question { from, size, gte: i64::MIN, lt: i64::MAX };
    if let Some(query) = source.get("query") {
        let range = query.pointer("/range/modified").ok_or("only a range of [modified] can be asked for")?;
        let bound = |name: &str, otherwise: i64| match range.get(name).and_then(Value::as_str) {
            None => Ok(otherwise),
            Some(text) => read(text).ok_or_else(|| format!("failed to parse date field [{text}]")),
        };
        (question.gte, question.lt) = (bound("gte", i64::MIN)?, bound("lt", i64::MAX)?);
    }
    Ok(question)
}

/// One row as the portal says it. Whether a number is written as a text is drawn anew
/// whenever the row is written.
fn row(simulation: &Simulation, document: &Document, version: &Version) -> Value {
    let mut dice = Dice::new(simulation.options.seed, &format!("texts/{}/{}", document.id, version.modified_at));
    let mut number = |value: u64| if dice.chance(0.3) { json!(value.to_string()) } else { json!(value) };
    let id = if document.poison == Some(Poison::MissingId) { Value::Null } else { number(document.id) };
    let filed_at = match document.poison {
        Some(Poison::UnreadableTime) => "0000-00-00".to_owned(),
        _ => zoneless(document.filed_at),
    };
    let kato = DISTRICTS[document.district].kato.parse().map_or(Value::Null, &mut number);
    json!({
        "id": id,
        "number": document.number,
        "service": SERVICES[document.service].0,
        "kato": kato,
        "body": document.body,
        "filed_at": filed_at,
        "due_on": document.due_on.to_string(),
        "status": version.status,
        "result": version.result,
        "result_at": version.result_at.map(zoneless),
        "issued_at": version.issued_at.map(zoneless),
        "modified": zoneless(version.modified_at),
    })
}
