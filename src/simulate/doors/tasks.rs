//! The task system: one log of what happened to tasks, append-only, read by offset and
//! followed by `Link` headers, or only what was appended since an instant
//! (`appended_since`). A corrected event is appended again under its id with a
//! higher version.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Nth, Params, drifted, instant, number, refused, repeated};
use crate::simulate::Simulation;
use crate::simulate::clock::utc;
use crate::simulate::faults::Poison;
use crate::simulate::region::{CATEGORIES, DISTRICTS};
use crate::simulate::task::{Entry, Task};

const DOOR: &str = "tasks";
const LARGEST_PAGE: usize = 1_000;

pub(super) async fn log(
    State(simulation): State<Arc<Simulation>>,
    Extension(nth): Extension<Nth>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Response {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("127.0.0.1");
    match page(&simulation, nth, &params) {
        Err(why) => refused(StatusCode::BAD_REQUEST, &why),
        Ok((entries, total, links)) => {
            let since = params.get("appended_since").map_or_else(String::new, |since| {
                // Only what `read` understands comes this far; `+` is all that needs care.
                format!("&appended_since={}", since.replace('+', "%2B").replace(' ', "%20"))
            });
            let link = links
                .iter()
                .map(|(rel, offset, limit)| {
                    format!("<http://{host}/tasks?offset={offset}&limit={limit}{since}>; rel=\"{rel}\"")
                })
                .collect::<Vec<_>>()
                .join(", ");
            let mut answer = Json(Value::Array(entries)).into_response();
            if let Ok(link) = HeaderValue::from_str(&link)
                && !link.is_empty()
            {
                answer.headers_mut().insert(header::LINK, link);
            }
            answer.headers_mut().insert("x-total-count", HeaderValue::from(total));
            answer
        }
    }
}

type Page = (Vec<Value>, usize, Vec<(&'static str, usize, usize)>);

fn page(simulation: &Simulation, nth: Nth, params: &Params) -> Result<Page, String> {
    let offset: usize = number(params, "offset", 0)?;
    let limit: usize = number(params, "limit", 100)?.clamp(1, LARGEST_PAGE);
    let since = instant(params, "appended_since")?.unwrap_or(i64::MIN);
    let from = drifted(simulation, DOOR, nth, offset);
    let (entries, total) = simulation.look(|world, now| {
        // A page that begins early still ends where it should, so nothing is lost by it.
        let many = limit + (offset - from);
        let entries: Vec<Value> =
            world.task_log_since(since, now).skip(from).take(many).map(|(task, entry)| said(task, entry)).collect();
        (entries, world.task_log_since(since, now).len())
    });
    let mut links = vec![("first", 0, limit)];
    if offset > 0 {
        links.push(("prev", offset.saturating_sub(limit), limit));
    }
    let next = offset.saturating_add(limit);
    if next < total {
        links.push(("next", next, limit));
    }
    Ok((repeated(simulation, DOOR, nth, entries), total, links))
}

/// One entry as the log says it.
fn said(task: &Task, entry: &Entry) -> Value {
    let at = match entry.poison {
        Some(Poison::UnreadableTime) => "yesterday, after lunch".to_owned(),
        _ => utc(entry.at),
    };
    let missing = entry.poison == Some(Poison::MissingId);
    json!({
        "event_id": (!missing).then_some(entry.event_id.as_str()),
        "task": (!missing).then_some(task.id.as_str()),
        "version": entry.version,
        "system": task.system,
        "event": entry.event,
        "at": at,
        "recorded_at": utc(entry.recorded_at),
        "appended_at": utc(entry.visible_at),
        "executor": entry.executor,
        "topic": CATEGORIES[task.category].code,
        "district": DISTRICTS[task.district].kato,
        "due_on": entry.due_on.map(|day| day.to_string()),
        "reason": entry.reason,
    })
}
