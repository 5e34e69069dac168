//! The 109 contact centre: pages by number of whatever was updated since an instant,
//! oldest update first, behind a bearer token. Times are local and say no zone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Nth, Params, drifted, instant, number, refused, repeated};
use crate::simulate::Simulation;
use crate::simulate::clock::zoneless;
use crate::simulate::faults::Poison;
use crate::simulate::problem::{Problem, Version};
use crate::simulate::region::{CATEGORIES, DISTRICTS};

const DOOR: &str = "door-109";
const LARGEST_PAGE: usize = 500;

pub(super) async fn list(
    State(simulation): State<Arc<Simulation>>,
    Extension(nth): Extension<Nth>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    let wanted = format!("Bearer {}", simulation.options.token);
    if headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) != Some(wanted.as_str()) {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer realm=\"109\"")],
            Json(json!({"error": "no valid bearer token"})),
        )
            .into_response();
    }
    match page(&simulation, nth, &params) {
        Ok(page) => Json(page).into_response(),
        Err(why) => refused(StatusCode::BAD_REQUEST, &why),
    }
}

fn page(simulation: &Simulation, nth: Nth, params: &Params) -> Result<Value, String> {
    let page: usize = number(params, "page", 1)?.max(1);
    let page_size: usize = number(params, "page_size", 100)?.clamp(1, LARGEST_PAGE);
    let since = instant(params, "updated_since")?.unwrap_or(i64::MIN);
    let wanted = (page - 1).saturating_mul(page_size);
    let from = drifted(simulation, DOOR, nth, wanted);
    // A page that begins early still ends where it should, so nothing is lost by it.
    let many = page_size + (wanted - from);
    let (items, total) = simulation.look(|world, now| {
        let shown = world.requests.updated_since(since, now);
        let items: Vec<Value> = shown.iter().skip(from).take(many).map(|(p, v)| record(p, v)).collect();
        (items, shown.len())
    });
    let items = repeated(simulation, DOOR, nth, items);
    Ok(json!({"items": items, "page": page, "page_size": page_size, "total": total}))
}

/// One record as the door says it.
fn record(problem: &Problem, version: &Version) -> Value {
    let state = &version.state;
    let time = |at: Option<i64>| at.map(zoneless);
    let created_at = match problem.poison {
        Some(Poison::UnreadableTime) => "31.02.2026 25:61".to_owned(),
        _ => zoneless(problem.received_at),
    };
    let id = (problem.poison != Some(Poison::MissingId)).then_some(problem.id.as_str());
    let applicant = problem.applicant.map(|n| {
        json!({
            "name": format!("Сынақ Азаматы {n}"),
            "phone": format!("+7 000 00{} {:02} {:02}", n / 10_000, n / 100 % 100, n % 100),
            "iin": format!("000000{n:06}"),
        })
    });
    json!({
        "id": id,
        "version": version.number,
        "kind": if problem.enquiry { "enquiry" } else { "complaint" },
        "created_at": created_at,
        "updated_at": zoneless(version.updated_at),
        "category": CATEGORIES[state.category].code,
        "category_name": CATEGORIES[state.category].name,
        "district": problem.kato(),
        "district_name": DISTRICTS[problem.district].name,
        "address": problem.street,
        "longitude": problem.longitude,
        "latitude": problem.latitude,
        "status": state.status,
        "body": state.body,
        "first_body": state.assigned_to,
        "assigned_at": time(state.assigned_at),
        "transferred_at": time(state.transferred_at),
        "first_due_at": (!problem.enquiry).then(|| zoneless(problem.first_due_at)),
        "due_at": (!problem.enquiry).then(|| zoneless(state.due_at)),
        "extended_at": time(state.extended_at),
        "answered_at": time(state.answered_at),
        "first_closed_at": time(state.first_closed_at),
        "reopened_at": time(state.reopened_at),
        "closed_at": time(state.closed_at),
        "withdrawn_at": time(state.withdrawn_at),
        "outcome": state.outcome,
        "score": state.score,
        "scored_at": time(state.scored_at),
        "applicant": applicant,
    })
}
