//! The residents' web service: Open311 GeoReport v2 in XML and JSON. Requests are
//! filtered by when they were made, never by when they changed; an answer holds at most
//! so many, newest first, and does not say that there are more. `page` and `page_size`
//! are an extension, and so is `servicerequestupdates`, with extended states.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Nth, Params, drifted, instant, number, repeated};
use crate::simulate::Simulation;
use crate::simulate::clock::with_offset;
use crate::simulate::faults::Poison;
use crate::simulate::problem::{Problem, Version};
use crate::simulate::region::{CATEGORIES, Category, DISTRICTS};

const DOOR: &str = "open311";
const DEFAULT_SPAN: i64 = 90 * 24 * 3600;
const DEFAULT_MOST: usize = 1_000;

/// What an answer holds: the name of the whole, of one item, and the items.
type Answer = (&'static str, &'static str, Vec<Value>);
/// A GeoReport error: status, and what to say.
type Refusal = (StatusCode, String);

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Xml,
    Json,
}

/// `/services.*`, `/requests.*`, `/servicerequestupdates.*`.
pub(super) async fn collection(
    State(simulation): State<Arc<Simulation>>,
    Extension(nth): Extension<Nth>,
    Path(resource): Path<String>,
    Query(params): Query<Params>,
) -> Response {
    let (name, format) = named(&resource);
    let answer = match name {
        "services" => Ok(("services", "service", services().map(service_item).collect())),
        "requests" => requests(&simulation, nth, &params),
        "servicerequestupdates" => updates(&simulation, &params),
        _ => Err((StatusCode::NOT_FOUND, format!("there is no resource {name}"))),
    };
    written(answer, format)
}

/// `/services/{code}.*`: no service has attributes of its own.
pub(super) async fn service(Path(resource): Path<String>) -> Response {
    let (code, format) = named(&resource);
    let answer = match services().find(|service| service.service_code == Some(code)) {
        Some(_) => Ok(("service_definition", "attribute", Vec::new())),
        None => Err((StatusCode::NOT_FOUND, format!("service_code {code} was not found"))),
    };
    written(answer, format)
}

/// `/requests/{id}.*`.
pub(super) async fn request(State(simulation): State<Arc<Simulation>>, Path(resource): Path<String>) -> Response {
    let (id, format) = named(&resource);
    let found = simulation.look(|world, now| {
        let problem = world.reports.all.iter().find(|problem| problem.id == id && problem.poison.is_none())?;
        Some(request_item(problem, problem.shown_at(now)?))
    });
    let answer = match found {
        Some(item) => Ok(("service_requests", "request", vec![item])),
        None => Err((StatusCode::NOT_FOUND, format!("service_request_id {id} was not found"))),
    };
    written(answer, format)
}

/// Name and format of `name.json` or `name.xml`; XML is what the standard requires.
fn named(resource: &str) -> (&str, Format) {
    match resource.rsplit_once('.') {
        Some((name, "json")) => (name, Format::Json),
        Some((name, "xml")) => (name, Format::Xml),
        _ => (resource, Format::Xml),
    }
}

fn services() -> impl Iterator<Item = &'static Category> {
    CATEGORIES.iter().filter(|category| category.service_code.is_some())
}

fn service_item(category: &Category) -> Value {
    json!({
        "service_code": category.service_code,
        "service_name": category.name,
        "description": null,
        "metadata": false,
        "type": "realtime",
        "keywords": category.code,
        "group": category.branch,
    })
}

fn requests(simulation: &Simulation, nth: Nth, params: &Params) -> Result<Answer, Refusal> {
    let list = |name: &str| -> Option<BTreeSet<&str>> {
        let text = params.get(name).filter(|text| !text.trim().is_empty())?;
        Some(text.split(',').map(str::trim).collect())
    };
    let (ids, codes, statuses) = (list("service_request_id"), list("service_code"), list("status"));
    if let Some(code) = codes.iter().flatten().find(|code| !services().any(|s| s.service_code == Some(**code))) {
        return Err((StatusCode::NOT_FOUND, format!("service_code {code} was not found")));
    }
    if let Some(status) = statuses.iter().flatten().find(|status| !["open", "closed"].contains(status)) {
        return Err((StatusCode::BAD_REQUEST, format!("status {status} is neither open nor closed")));
    }
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let (start, end) = (instant(params, "start_date").map_err(bad)?, instant(params, "end_date").map_err(bad)?);
    let cap = simulation.options.open311_cap;
    let page: usize = number(params, "page", 1).map_err(bad)?.max(1);
    let page_size: usize = number(params, "page_size", cap.min(DEFAULT_MOST)).map_err(bad)?.clamp(1, cap);
    let wanted = (page - 1).saturating_mul(page_size);
    let from = drifted(simulation, DOOR, nth, wanted);

    let items = simulation.look(|world, now| {
        let end = end.unwrap_or(now).min(now);
        let start = start.unwrap_or(end - DEFAULT_SPAN);
        let mut shown: Vec<(&Problem, &Version)> = world
            .reports
            .all
            .iter()
            .filter(|problem| match &ids {
                // Ids asked for by name override every other filter.
                Some(ids) => problem.poison.is_none() && ids.contains(problem.id.as_str()),
                None => (start..=end).contains(&problem.received_at),
            })
            .filter_map(|problem| Some((problem, problem.shown_at(now)?)))
            .filter(|(_, version)| {
                ids.is_some()
                    || (codes.as_ref().is_none_or(|codes| {
                        CATEGORIES[version.state.category].service_code.is_some_and(|code| codes.contains(code))
                    }) && statuses.as_ref().is_none_or(|statuses| statuses.contains(status(version))))
            })
            .collect();
        shown.sort_by(|(a, _), (b, _)| (b.received_at, &b.id).cmp(&(a.received_at, &a.id)));
        shown.iter().skip(from).take(page_size + (wanted - from)).map(|(p, v)| request_item(p, v)).collect()
    });
    Ok(("service_requests", "request", repeated(simulation, DOOR, nth, items)))
}

/// GeoReport knows two states only.
fn status(version: &Version) -> &'static str {
    match version.state.status {
        "closed" | "withdrawn" => "closed",
        _ => "open",
    }
}

fn request_item(problem: &Problem, version: &Version) -> Value {
    let state = &version.state;
    let category = &CATEGORIES[state.category];
    let requested = match problem.poison {
        Some(Poison::UnreadableTime) => "0000-00-00T00:00:00Z".to_owned(),
        _ => with_offset(problem.received_at),
    };
    let notes = match (state.status, state.outcome) {
        ("withdrawn", _) => Some("withdrawn by the applicant"),
        (_, outcome) => outcome,
    };
    json!({
        "service_request_id": (problem.poison != Some(Poison::MissingId)).then_some(problem.id.as_str()),
        "status": status(version),
        "status_notes": notes,
        "service_name": category.name,
        "service_code": category.service_code,
        "description": format!("{} <{}> & т.б.", category.name, problem.number(5, 900) + 1),
        "agency_responsible": state.body,
        "service_notice": null,
        "requested_datetime": requested,
        "updated_datetime": with_offset(version.updated_at),
        "expected_datetime": with_offset(state.due_at),
        "address": format!("{}, {}", DISTRICTS[problem.district].name, problem.street),
        "address_id": problem.kato(),
        "zipcode": null,
        "lat": problem.latitude,
        "long": problem.longitude,
        "media_url": null,
    })
}

/// Every change a report has been through, by when it changed.
fn updates(simulation: &Simulation, params: &Params) -> Result<Answer, Refusal> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let (start, end) = (instant(params, "start_date").map_err(bad)?, instant(params, "end_date").map_err(bad)?);
    let items = simulation.look(|world, now| {
        let end = end.unwrap_or(now).min(now);
        let start = start.unwrap_or(end - DEFAULT_SPAN);
        let mut changes: Vec<(i64, Value)> = Vec::new();
        for problem in world.reports.all.iter().filter(|problem| problem.poison.is_none()) {
            for version in problem.versions.iter().skip(1) {
                if version.visible_at <= now && (start..=end).contains(&version.updated_at) {
                    changes.push((version.updated_at, update_item(problem, version)));
                }
            }
        }
        changes.sort_by_key(|(at, _)| *at);
        changes.into_iter().take(simulation.options.open311_cap).map(|(_, item)| item).collect()
    });
    Ok(("service_request_updates", "request_update", items))
}

fn update_item(problem: &Problem, version: &Version) -> Value {
    let state = &version.state;
    let word = match (state.status, state.outcome) {
        ("closed", Some("resolved")) => "FIXED",
        ("closed", Some("not_ours")) => "NOT_COUNCILS_RESPONSIBILITY",
        ("closed", _) => "NO_FURTHER_ACTION",
        ("withdrawn", _) => "Closed",
        ("in_progress", _) if state.extended_at.is_some() => "action scheduled",
        ("in_progress", _) => "IN_PROGRESS",
        _ => "OPEN",
    };
    json!({
        "update_id": format!("{}-{}", problem.id, version.number),
        "service_request_id": problem.id,
        "status": word,
        "updated_datetime": with_offset(version.updated_at),
        "description": null,
        "media_url": null,
    })
}

fn written(answer: Result<Answer, Refusal>, format: Format) -> Response {
    let (status, (whole, one, items)) = match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err((status, why)) => (status, ("errors", "error", vec![json!({"code": status.as_u16(), "description": why})])),
    };
    match format {
        Format::Json => (status, axum::Json(Value::Array(items))).into_response(),
        Format::Xml => {
            (status, [(header::CONTENT_TYPE, "text/xml; charset=utf-8")], xml(whole, one, &items)).into_response()
        }
    }
}

/// Flat objects as XML; a null is an empty element.
fn xml(whole: &str, one: &str, items: &[Value]) -> String {
    let mut text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<{whole}>\n");
    for item in items {
        let _ = writeln!(text, "  <{one}>");
        for (name, value) in item.as_object().into_iter().flatten() {
            let _ = match value {
                Value::Null => writeln!(text, "    <{name}/>"),
                Value::String(value) => writeln!(text, "    <{name}>{}</{name}>", escaped(value)),
                value => writeln!(text, "    <{name}>{value}</{name}>"),
            };
        }
        let _ = writeln!(text, "  </{one}>");
    }
    let _ = writeln!(text, "</{whole}>");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
