//! The doors, and the mischief on their wires.

mod egov;
mod incidents_112;
mod open311;
mod requests_109;
mod tasks;
pub(in crate::simulate) mod telegram;
pub(in crate::simulate) mod vk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::Simulation;
use super::clock::read;
use super::dice::Dice;
use super::faults::WireFault;
use super::truth;

/// Parameters of a query, by name.
type Params = BTreeMap<String, String>;

/// Which request of its door this is, from 0.
#[derive(Debug, Clone, Copy)]
struct Nth(u64);

/// All doors and the hidden ledger.
pub(super) fn router(simulation: Arc<Simulation>) -> Router {
    let doors = Router::new()
        .route("/109/requests", get(requests_109::list))
        .route("/112/incidents", get(incidents_112::feed))
        .route("/tasks", get(tasks::log))
        .route("/open311/v2/{resource}", get(open311::collection))
        .route("/open311/v2/services/{resource}", get(open311::service))
        .route("/open311/v2/requests/{resource}", get(open311::request))
        .route("/api/v4/{dataset}/{version}", get(egov::rows))
        .route("/api/detailed/{dataset}/{version}", get(egov::detailed))
        .route("/method/{name}", get(vk::method).post(vk::method))
        .route("/{bot}/{method}", get(telegram::method).post(telegram::method))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&simulation), mischief));
    Router::new()
        .route("/_truth", get(truth::summary))
        .route("/_truth/cases", get(truth::cases))
        .merge(doors)
        .with_state(simulation)
}

fn door_of(path: &str) -> &'static str {
    match path.split('/').nth(1) {
        Some("109") => "door-109",
        Some("112") => "door-112",
        Some("tasks") => "tasks",
        Some("api") => "egov",
        Some("method") => "vk",
        Some(bot) if bot.starts_with("bot") => "telegram",
        _ => "open311",
    }
}

async fn mischief(State(simulation): State<Arc<Simulation>>, mut request: Request, next: Next) -> Response {
    let door = door_of(request.uri().path());
    let faults = &simulation.options.faults;
    let n = simulation.count(door, "requests");
    request.extensions_mut().insert(Nth(n));
    match faults.on_wire(simulation.options.seed, door, n) {
        None => next.run(request).await,
        Some(WireFault::TooMany) => {
            simulation.count(door, "too_many");
            match door {
                "egov" => return egov::overloaded(),
                "telegram" => return telegram::too_many(faults.retry_after_seconds),
                "vk" => return vk::refused(6, "Too many requests per second"),
                _ => {}
            }
            let mut answer =
                (StatusCode::TOO_MANY_REQUESTS, Json(json!({"error": "too many requests"}))).into_response();
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(faults.retry_after_seconds));
            answer
        }
        Some(WireFault::ServerError) => {
            let failed = simulation.count(door, "server_error");
            if door == "egov" && failed % 2 == 0 {
                return egov::failed_inside("es_rejected_execution_exception", "rejected execution", 429);
            }
            if door == "vk" && failed % 2 == 0 {
                return vk::refused(10, "Internal server error: could not check access_token now, check later.");
            }
            (StatusCode::INTERNAL_SERVER_ERROR, "ORA-00060: deadlock detected while waiting for resource")
                .into_response()
        }
        Some(WireFault::Html) => {
            simulation.count(door, "html");
            let page = "<!DOCTYPE html><html><head><title>Техникалық жұмыстар</title></head><body>Кейінірек қайталаңыз</body></html>";
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
        }
        Some(WireFault::Slow) => {
            simulation.count(door, "slow");
            tokio::time::sleep(Duration::from_millis(faults.slow_ms)).await;
            next.run(request).await
        }
        Some(WireFault::Truncated) => {
            let cut = simulation.count(door, "truncated");
            truncated(next.run(request).await, cut % 2 == 0).await
        }
    }
}

/// Half of the answer: with a length that says so, as a careless proxy sends it, or
/// with the full length and a broken connection.
async fn truncated(answer: Response, honest_length: bool) -> Response {
    let (mut parts, body) = answer.into_parts();
    let Ok(whole) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let half = whole.slice(..whole.len() / 2);
    parts.headers.remove(header::CONTENT_LENGTH);
    if honest_length {
        return Response::from_parts(parts, Body::from(half));
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    // The half must have left before the connection breaks, or nothing would arrive.
    let breaks = async {
        tokio::task::yield_now().await;
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "cut on purpose"))
    };
    let pieces = stream::once(async { Ok::<Bytes, std::io::Error>(half) }).chain(stream::once(breaks));
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Says some items twice, by the seed and the request's number.
fn repeated(simulation: &Simulation, door: &'static str, nth: Nth, items: Vec<Value>) -> Vec<Value> {
    let rate = simulation.options.faults.duplicate;
    if rate == 0.0 {
        return items;
    }
    let mut dice = Dice::new(simulation.options.seed, &format!("twice/{door}/{}", nth.0));
    let mut said = Vec::with_capacity(items.len());
    for item in items {
        if dice.chance(rate) {
            simulation.count(door, "duplicates");
            said.push(item.clone());
        }
        said.push(item);
    }
    said
}

/// Where a page that should begin at `offset` begins: earlier, when it has drifted.
fn drifted(simulation: &Simulation, door: &'static str, nth: Nth, offset: usize) -> usize {
    let mut dice = Dice::new(simulation.options.seed, &format!("drift/{door}/{}", nth.0));
    if offset > 0 && dice.chance(simulation.options.faults.page_drift) {
        simulation.count(door, "drifted");
        offset.saturating_sub(1 + dice.below(3))
    } else {
        offset
    }
}

/// A parameter that is a whole number, or the reason why it is none.
fn number<T: std::str::FromStr>(params: &Params, name: &str, otherwise: T) -> Result<T, String> {
    match params.get(name).map(|text| text.trim()) {
        None | Some("") => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| format!("{name} is '{text}', which is no whole number from 0 up")),
    }
}

/// A parameter that is an instant, or the reason why it is none.
fn instant(params: &Params, name: &str) -> Result<Option<i64>, String> {
    match params.get(name).map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => read(text).map(Some).ok_or_else(|| format!("{name} is '{text}', which is no time")),
    }
}

/// The answer of the JSON doors to a bad question.
fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
