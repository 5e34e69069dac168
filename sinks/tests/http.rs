//! The HTTP server through a real client.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::feed::FeedEntry;
use ahual_schemas::table::{At, Day};
use ahual_sinks::http::{HttpConfig, serve};
use ahual_sinks::{Bound, SinkError};
use fake::Fake;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Long enough for any machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    bound: Bound,
    stop: CancellationToken,
    client: Client,
}

impl Server {
    async fn start(fake: &Arc<Fake>) -> Self {
        let config = HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() };
        Self::start_with(fake, config).await
    }

    async fn start_with(fake: &Arc<Fake>, config: HttpConfig) -> Self {
        let stop = CancellationToken::new();
        let bound = serve(config, fake.clone(), stop.clone()).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { bound, stop, client }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.bound.address)).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Asserts that `path` is refused with `status` and `code`; gives the detail.
    async fn problem(&self, path: &str, status: u16, code: &str) -> String {
        problem(self.get(path).await, status, code).await
    }

    async fn stream(&self, query: &str, last: Option<&str>) -> Stream {
        let mut request = self.client.get(format!("http://{}/api/feed{query}", self.bound.address));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { bytes: response.bytes_stream().map(|chunk| chunk.unwrap().to_vec()).boxed(), text: String::new() }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.bound.task).await.unwrap().unwrap().unwrap();
    }
}

async fn problem(response: Response, status: u16, code: &str) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], format!("urn:ahual:problem:{code}"));
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string());
    body["detail"].as_str().unwrap().to_owned()
}

struct Stream {
    bytes: BoxStream<'static, Vec<u8>>,
    text: String,
}

#[derive(Debug, Default)]
struct Said {
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
}

impl Stream {
    /// The next block, comments skipped; nothing when the stream has ended.
    async fn block(&mut self) -> Option<Said> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let mut said = Said::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => said.id = Some(id.to_owned()),
                        Some(("event", event)) => said.event = Some(event.to_owned()),
                        Some(("data", data)) => said.data = Some(data.to_owned()),
                        _ => {}
                    }
                }
                return Some(said);
            }
            let chunk = timeout(PATIENCE, self.bytes.next()).await.expect("the stream stands still")?;
            self.text.push_str(&String::from_utf8(chunk).unwrap());
        }
    }

    /// The next entry and its id.
    async fn entry(&mut self) -> (String, FeedEntry) {
        loop {
            let said = self.block().await.expect("the stream has ended");
            if let Some(data) = said.data {
                assert_eq!(said.event.as_deref(), Some("figure"));
                let entry: FeedEntry = serde_json::from_str(&data).unwrap();
                let id = said.id.unwrap();
                assert_eq!(id, entry.position.to_string());
                return (id, entry);
            }
        }
    }

    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.entry().await.0);
        }
        ids
    }
}

#[tokio::test]
async fn health_says_alive_and_readiness_says_why_not() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    assert_eq!(server.get("/healthz").await.status(), 200);
    assert_eq!(server.get("/readyz").await.status(), 200);
    *fake.ready.lock().unwrap() = Err("the fold stands still since 09:00".into());
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["reason"], "the fold stands still since 09:00");
    assert_eq!(server.get("/healthz").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn prometheus_sees_the_feed_head_and_the_requests() {
    let fake = Fake::new();
    fake.publish(7, 2);
    let server = Server::start(&fake).await;
    server.get("/api/metrics/completion").await;
    server.get("/made/up/path").await;
    let answer = server.get("/metrics").await;
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.text().await.unwrap();
    for line in [
        "ahual_feed_head_version 7",
        "ahual_ready 1",
        "# TYPE ahual_http_requests_total counter",
        "# TYPE ahual_http_request_seconds histogram",
        "route=\"/api/metrics/{name}\"",
        "route=\"none\"",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("made/up"));
    server.stop().await;
}

#[tokio::test]
async fn a_question_reaches_the_figures_as_asked() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let catalogue = server.json("/api/metrics").await;
    assert_eq!(catalogue["metrics"][1]["name"], "completion");
    let answer = server
        .json(
            "/api/metrics/completion?by=body&source=a&source=b&body=&from=2024-03-01&to=2024-04-01\
             &as_of=2024-03-05T12:00:00%2B05:00&known_at=2024-03-06T00:00:00Z",
        )
        .await;
    let asked = fake.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.by, ["body"]);
    assert_eq!(asked.filter["source"], ["a", "b"]);
    assert_eq!(asked.filter["body"], [""]);
    assert_eq!((asked.from, asked.to), (Some(Day(19_783)), Some(Day(19_814))));
    assert_eq!(asked.as_of, Some(At(1_709_622_000_000_000)));
    assert_eq!(answer["metric"], "completion");
    assert_eq!(answer["unit"], "ratio");
    assert_eq!(answer["as_of"], "2023-11-14T22:13:20Z");
    assert_eq!(answer["known_at"], "2024-03-06T00:00:00Z");
    assert_eq!(answer["truncated"], false);
    assert_eq!(answer["rows"][0]["numerator"], 3);
    assert!(answer["rows"][1].as_object().unwrap().contains_key("body"));
    assert!(answer["rows"][1]["body"].is_null());
    let answer = server.json("/api/metrics/completion?limit=1").await;
    assert_eq!((answer["truncated"].as_bool(), answer["rows"].as_array().unwrap().len()), (Some(true), 1));
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_that_says_what_to_change() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let said = server.problem("/api/metrics/complection", 404, "unknown-metric").await;
    assert!(said.contains("did you mean 'completion'?"), "{said}");
    let said = server.problem("/api/metrics/completion?sorce=a", 400, "unknown-parameter").await;
    assert!(said.contains("did you mean 'source'?"), "{said}");
    let said = server.problem("/api/metrics/completion?from=1.3.2024", 400, "bad-value").await;
    assert!(said.contains("2024-03-01"), "{said}");
    server.problem("/api/metrics?limit=1", 400, "bad-value").await;
    let said = server.problem("/api/metric", 404, "no-such-address").await;
    assert!(said.contains("/api/metrics"), "{said}");
    let posted = server.client.post(format!("http://{}/api/metrics", server.bound.address)).send().await.unwrap();
    assert_eq!(posted.headers()["allow"], "GET,HEAD");
    problem(posted, 405, "method-not-allowed").await;
    assert!(fake.asked.lock().unwrap().is_empty(), "a question that is not understood is not asked");
    server.stop().await;
}

#[tokio::test]
async fn a_fault_of_ours_does_not_show_its_cause() {
    let fake = Fake::new();
    *fake.broken.lock().unwrap() = true;
    let server = Server::start(&fake).await;
    let said = server.problem("/api/metrics/completion", 500, "internal").await;
    assert!(!said.contains("fire") && !said.contains("secret"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn before_anything_is_published_readers_are_told_when_to_come_back() {
    let fake = Fake::new();
    *fake.published.lock().unwrap() = false;
    let server = Server::start(&fake).await;
    let answer = server.get("/api/metrics/completion").await;
    assert!(answer.headers().contains_key("retry-after"));
    problem(answer, 503, "not-ready").await;
    assert!(server.get("/").await.text().await.unwrap().contains("Nothing is published yet"));
    server.stop().await;
}

#[tokio::test]
async fn the_page_carries_no_script_and_allows_none() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let answer = server.get("/").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let html = answer.text().await.unwrap();
    assert!(!html.contains("<script") && !html.contains("style="));
    assert!(html.contains("The &lt;completion&gt;"), "{html}");
    assert!(html.contains("/api/feed"));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_from_the_beginning_has_everything_and_goes_on_live() {
    let fake = Fake::new();
    fake.publish(1, 5);
    let server = Server::start(&fake).await;
    let mut stream = server.stream("?after=0-0", None).await;
    assert_eq!(stream.ids(5).await, ["1-0", "1-1", "1-2", "1-3", "1-4"]);
    fake.publish(2, 2);
    assert_eq!(stream.ids(2).await, ["2-0", "2-1"]);
    server.stop().await;
}

#[tokio::test]
async fn a_live_stream_starts_with_what_comes_next() {
    let fake = Fake::new();
    fake.publish(1, 5);
    let server = Server::start(&fake).await;
    let mut stream = server.stream("", None).await;
    assert_eq!(stream.block().await.unwrap().id.as_deref(), Some("1-4"));
    fake.publish(2, 1);
    assert_eq!(stream.ids(1).await, ["2-0"]);
    server.stop().await;
}

#[tokio::test]
async fn resuming_after_a_restart_has_neither_gap_nor_repeat() {
    let fake = Fake::new();
    fake.publish(1, 4);
    let mut seen = Vec::new();
    let server = Server::start(&fake).await;
    let mut stream = server.stream("?after=0-0", None).await;
    seen.extend(stream.ids(3).await);
    drop(stream);
    server.stop().await;
    fake.publish(2, 4);
    let server = Server::start(&fake).await;
    // The address still says 0-0, as a browser's would: the header wins.
    let mut stream = server.stream("?after=0-0", seen.last().map(String::as_str)).await;
    seen.extend(stream.ids(5).await);
    fake.publish(3, 1);
    seen.extend(stream.ids(1).await);
    assert_eq!(seen, fake.positions());
    server.stop().await;
}

#[tokio::test]
async fn a_stream_cut_before_its_first_entry_resumes_without_a_gap() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let mut stream = server.stream("", None).await;
    let opening = stream.block().await.unwrap().id.unwrap();
    drop(stream);
    fake.publish(1, 4);
    let mut stream = server.stream("", Some(&opening)).await;
    assert_eq!(stream.ids(4).await, fake.positions());
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_for_a_while_loses_nothing() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let mut stream = server.stream("?after=0-0", None).await;
    // More than the sockets between us can hold.
    for version in 1..=200 {
        fake.publish(version, 200);
    }
    assert_eq!(stream.ids(40_000).await, fake.positions());
    server.stop().await;
}

#[tokio::test]
async fn a_position_that_is_none_is_refused() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let said = server.problem("/api/feed?after=yesterday", 400, "bad-value").await;
    assert!(said.contains("12-0"), "{said}");
    let request = server.client.get(format!("http://{}/api/feed", server.bound.address));
    let answer = request.header("Last-Event-ID", "12").send().await.unwrap();
    problem(answer, 400, "bad-value").await;
    server.problem("/api/feed?from=1-0", 400, "unknown-parameter").await;
    server.stop().await;
}

#[tokio::test]
async fn one_stream_too_many_is_told_to_come_back() {
    let fake = Fake::new();
    let config = HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), max_streams: 1, ..HttpConfig::default() };
    let server = Server::start_with(&fake, config).await;
    let first = server.stream("", None).await;
    server.problem("/api/feed", 503, "too-many-streams").await;
    drop(first);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_ends_the_streams_and_the_server() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let mut stream = server.stream("", None).await;
    stream.block().await.unwrap();
    server.stop.cancel();
    assert!(stream.block().await.is_none());
    timeout(PATIENCE, server.bound.task).await.unwrap().unwrap().unwrap();
    assert!(server.client.get(format!("http://{}/", server.bound.address)).send().await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let config = HttpConfig { listen: server.bound.address, ..HttpConfig::default() };
    let error = serve(config, fake.clone(), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains(&server.bound.address.to_string()), "{error}");
    let config = HttpConfig { listen: "0.0.0.0:0".parse().unwrap(), ..HttpConfig::default() };
    let error = serve(config, fake.clone(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, SinkError::Config { .. }));
    server.stop().await;
}
