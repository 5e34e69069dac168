//! The HTTP server: health, readiness, Prometheus, figures as JSON, the feed.
//!
//! | Address | What |
//! |---|---|
//! | `/` | a page that lists the rest |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 when figures are published and the pipeline lives, else 503 and why |
//! | `/metrics` | Prometheus text |
//! | `/api/metrics` | the metrics there are |
//! | `/api/metrics/{name}` | figures of one: `by`, `source`, `body`, `category`, `territory`, `from`, `to`, `as_of`, `known_at`, `limit` |
//! | `/api/feed` | changes of figures as server-sent events; resumes by `Last-Event-ID` |
//!
//! `by` lists dimensions, comma-separated; nothing said gives one row over everything. A
//! filter may be given several times; an empty value means "has none". `from` is the first
//! local day, `to` the day after the last. A question that is not understood is a problem
//! (RFC 9457), never answered with a default.

mod config;
mod feed;
mod figures;
mod page;
mod problem;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use ahual_transform::reading::Reading;
use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use config::HttpConfig;
use problem::Problem;
pub use telemetry::install as install_metrics;

use crate::error::SinkError;
use crate::serving::{Bound, bind};

const SINK: &str = "sinks.http";

/// All addresses and what stands there.
const ROUTES: [(&str, &str); 7] = [
    ("/", "this page"),
    ("/healthz", "whether the process lives"),
    ("/readyz", "whether figures are published, and if not, why"),
    ("/metrics", "what the process says about itself, for Prometheus"),
    ("/api/metrics", "the metrics there are"),
    ("/api/metrics/{name}", "figures of one metric"),
    ("/api/feed", "changes of figures, as server-sent events"),
];

/// What every handler sees.
#[derive(Clone)]
struct Site {
    reading: Arc<dyn Reading>,
    config: Arc<HttpConfig>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Binds the configured address and serves until `stop`. Then feed streams end, answers
/// under way get [`HttpConfig::drain_seconds`] to finish, and the task returns.
pub async fn serve(config: HttpConfig, reading: Arc<dyn Reading>, stop: CancellationToken) -> Result<Bound, SinkError> {
    let faults = config.validate();
    if !faults.is_empty() {
        return Err(SinkError::Config { sink: SINK, faults });
    }
    telemetry::install();
    let (listener, address) = bind(SINK, config.listen).await?;
    let drain = Duration::from_secs(config.drain_seconds);
    let site = Site {
        reading,
        streams: Arc::new(Semaphore::new(config.max_streams)),
        config: Arc::new(config),
        stop: stop.clone(),
    };
    let server = axum::serve(listener, router(site)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            served = async { server.await } => {
                served.map_err(|source| SinkError::Serve { sink: SINK, source: Box::new(source) })
            }
            () = overdue => {
                tracing::warn!(seconds = drain.as_secs(), "HTTP answers were cut off: they outlasted the drain deadline");
                Ok(())
            }
        }
    });
    tracing::info!(%address, "HTTP server is up");
    Ok(Bound { address, task })
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .route("/api/metrics", get(figures::catalogue))
        .route("/api/metrics/{name}", get(figures::figures))
        .route("/api/metrics/{name}/cases", get(figures::cases))
        .route("/api/feed", get(feed::feed))
        .fallback(no_such_address)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::map_response(guard))
        .layer(middleware::from_fn(telemetry::count))
        .with_state(site)
}

async fn healthz() -> Response {
    axum::Json(json!({ "status": "alive" })).into_response()
}

async fn readyz(State(site): State<Site>) -> Response {
    match site.reading.readiness() {
        Ok(()) => axum::Json(json!({ "status": "ready" })).into_response(),
        Err(reason) => {
            let body = axum::Json(json!({ "status": "not_ready", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn prometheus(State(site): State<Site>) -> Response {
    let text = telemetry::render(site.reading.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn no_such_address(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::no_such_address(uri.path())
}

async fn method_not_allowed(method: Method) -> Response {
    let mut response = Problem::method_not_allowed(method.as_str()).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    response
}

/// Headers every answer carries.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
