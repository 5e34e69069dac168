//! What this process says about itself to Prometheus.

use std::sync::OnceLock;
use std::time::Instant;

use ahual_transform::reading::Reading;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Makes this process record what the `metrics` macros say, so that `/metrics` can show
/// it. Call it first thing, before any stage starts: what is said earlier is lost. Calling
/// it again changes nothing.
pub fn install() -> &'static PrometheusHandle {
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        // Refused only for an empty list of buckets.
        let builder = builder.set_buckets(&SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder was installed before ours: /metrics stays empty");
        }
        metrics::describe_counter!("ahual_http_requests_total", "HTTP requests answered.");
        metrics::describe_histogram!(
            "ahual_http_request_seconds",
            metrics::Unit::Seconds,
            "Time from a request to the head of its answer."
        );
        metrics::describe_gauge!("ahual_http_feed_streams", "Feed streams being served.");
        metrics::describe_gauge!("ahual_feed_head_version", "Version of core.events of the newest feed entry.");
        metrics::describe_gauge!("ahual_ready", "1 when figures are published and the pipeline lives, else 0.");
        handle
    })
}

/// The Prometheus text of now.
pub(super) fn render(reading: &dyn Reading) -> String {
    let handle = install();
    if let Some(head) = *reading.feed_head().borrow() {
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!("ahual_feed_head_version").set(head.version as f64);
    }
    metrics::gauge!("ahual_ready").set(if reading.readiness().is_ok() { 1.0 } else { 0.0 });
    handle.run_upkeep();
    handle.render()
}

/// Counts requests by route, method and status. The route, not the path: a reader who
/// makes up paths must not make up series.
pub(super) async fn count(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |matched| known_route(matched.as_str()));
    let method = if request.method() == axum::http::Method::GET { "GET" } else { "other" };
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("ahual_http_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    metrics::histogram!("ahual_http_request_seconds", "route" => route).record(begun.elapsed().as_secs_f64());
    response
}

fn known_route(matched: &str) -> &'static str {
    super::ROUTES.iter().find(|(route, _)| *route == matched).map_or("none", |(route, _)| route)
}

/// Counts one feed stream for as long as it lives.
pub(super) struct StreamCounted(());

impl StreamCounted {
    pub(super) fn new() -> Self {
        metrics::gauge!("ahual_http_feed_streams").increment(1.0);
        Self(())
    }
}

impl Drop for StreamCounted {
    fn drop(&mut self) {
        metrics::gauge!("ahual_http_feed_streams").decrement(1.0);
    }
}
