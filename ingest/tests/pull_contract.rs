//! The pull contract, run against every connector.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod pull;

use std::time::Duration;

use ahual_ingest::{CursorStore, Item, Mode, RunError, Runner, build};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use pull::egov::Egov;
use pull::memory_log::Refusal;
use pull::server::{Server, Told};
use pull::sources::{Files, Open311, Rec, Rest, Source, rec};
use pull::telegram::Telegram;
use pull::vk::Vk;
use pull::{Deployment, NAME, chain};
use tokio_util::sync::CancellationToken;

/// Makes a test of `$case` for each connector.
macro_rules! for_every_connector {
    ($($case:ident),* $(,)?) => {
        mod files {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Files::new()).await; })*
        }
        mod rest {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Rest::start().await).await; })*
        }
        mod open311_json {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Open311::start("json").await).await; })*
        }
        mod open311_xml {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Open311::start("xml").await).await; })*
        }
        mod egov {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Egov::start().await).await; })*
        }
        mod telegram {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Telegram::start().await).await; })*
        }
        mod vk {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Vk::start().await).await; })*
        }
    };
}

/// The same for connectors that speak HTTP.
macro_rules! for_every_http_connector {
    ($($case:ident),* $(,)?) => {
        mod rest_http {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Rest::start().await).await; })*
        }
        mod open311_json_http {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Open311::start("json").await).await; })*
        }
        mod open311_xml_http {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Open311::start("xml").await).await; })*
        }
        mod egov_http {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Egov::start().await).await; })*
        }
        mod telegram_http {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Telegram::start().await).await; })*
        }
        mod vk_http {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&Vk::start().await).await; })*
        }
    };
}

for_every_connector!(
    gives_the_first_page_and_goes_on_until_drained,
    resumes_from_its_cursor_and_loses_nothing,
    gives_nothing_while_nothing_changes,
    loses_no_record_of_a_tie_at_a_boundary,
    gives_an_updated_record_again,
    holds_the_cursor_when_the_log_refuses,
    appends_again_when_the_log_was_away,
);

for_every_http_connector!(
    stops_on_401_and_says_where,
    honours_retry_after,
    gives_up_on_a_truncated_body_without_advancing,
    surfaces_a_web_page_with_status_200,
    surfaces_an_error_array_with_status_200,
    refuses_a_body_that_claims_nine_gigabytes_without_reading_it,
    cuts_a_body_that_lies_about_its_length,
    backs_off_when_the_server_fails,
);

fn five() -> Vec<Rec> {
    vec![
        rec("0001", "2026-03-02T10:00:00Z", "open"),
        rec("0002", "2026-03-02T11:00:00Z", "open"),
        rec("0003", "2026-03-03T10:00:00Z", "closed"),
        rec("0004", "2026-03-04T10:00:00Z", "open"),
        rec("0005", "2026-03-05T10:00:00Z", "open"),
    ]
}

const FIVE: [&str; 5] = ["0001", "0002", "0003", "0004", "0005"];

async fn gives_the_first_page_and_goes_on_until_drained(source: &dyn Source) {
    source.hold(&five());
    let deployment = Deployment::new();
    let summary = deployment.run(source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
    assert_eq!((summary.records, summary.set_aside, summary.drained), (5, 0, true));
    let stored = deployment.records();
    let (_, payload) = stored.iter().find(|(id, _)| id == "0003").unwrap();
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    assert_eq!(source.told(&payload), ("0003".to_owned(), "closed".to_owned()), "leading zeros stay");
}

async fn resumes_from_its_cursor_and_loses_nothing(source: &dyn Source) {
    source.hold(&five());
    let now = DateTime::parse_from_rfc3339("2026-03-10T12:00:00Z").unwrap().to_utc();
    let mut cursor = None;
    let mut ids = Vec::new();
    for _ in 0..100 {
        // A new connector each time, as after a crash at every page.
        let mut connector = build(NAME, source.intake(), source.folder()).unwrap().connector;
        let page = connector.next_page(cursor.as_ref(), now).await.unwrap();
        for item in page.items {
            let Item::Record(found) = item else { panic!("nothing is to be set aside") };
            let payload: serde_json::Value = serde_json::from_slice(&found.payload).unwrap();
            ids.push(source.told(&payload).0);
        }
        cursor = Some(page.cursor);
        if !page.more {
            ids.sort();
            assert_eq!(ids, FIVE, "each record once, none lost");
            return;
        }
    }
    panic!("never drained");
}

async fn gives_nothing_while_nothing_changes(source: &dyn Source) {
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.run(source).await.unwrap();
    for _ in 0..3 {
        let again = deployment.run(source).await.unwrap();
        assert_eq!((again.records, again.set_aside, again.drained), (0, 0, true));
    }
    assert_eq!(deployment.records().len(), 5);
}

async fn loses_no_record_of_a_tie_at_a_boundary(source: &dyn Source) {
    // Pages hold two (requests at a GeoReport endpoint: under three) and the ties lie
    // across their edges.
    source.hold(&[
        rec("0001", "2026-03-02T10:00:00Z", "open"),
        rec("0002", "2026-03-03T10:00:00Z", "open"),
        rec("0003", "2026-03-03T10:00:00Z", "open"),
        rec("0004", "2026-03-04T10:00:00Z", "open"),
        rec("0005", "2026-03-04T10:00:00Z", "open"),
    ]);
    let deployment = Deployment::new();
    let summary = deployment.run(source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
    assert_eq!(summary.set_aside, 0);
}

async fn gives_an_updated_record_again(source: &dyn Source) {
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.run(source).await.unwrap();
    let mut later = five();
    later[1].status = "closed";
    source.hold(&later);
    deployment.run(source).await.unwrap();
    let closed = deployment.records().iter().any(|(id, text)| id == "0002" && text.contains("closed"));
    assert!(closed, "the closing of 0002 is news");
    assert_eq!(deployment.ids(), FIVE);
}

async fn holds_the_cursor_when_the_log_refuses(source: &dyn Source) {
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.log.refuse(&[Refusal::Broken]);
    let error = deployment.run(source).await.unwrap_err();
    assert!(matches!(error, RunError::Log { .. }), "{error:?}");
    assert!(deployment.ids().is_empty());
    deployment.run(source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE, "the refused page is read again");
}

async fn appends_again_when_the_log_was_away(source: &dyn Source) {
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.log.refuse(&[Refusal::Away, Refusal::Away]);
    deployment.run(source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
    assert_eq!(deployment.clock.waits().len(), 2);
}

async fn stops_on_401_and_says_where(source: &dyn Source) {
    source.hold(&five());
    source.server().unwrap().fail_with([Told::status(401)]);
    let deployment = Deployment::new();
    let runner = deployment.runner(source);
    let status = runner.status();
    let error = runner.run(CancellationToken::new(), Mode::Once).await.unwrap_err();
    assert!(matches!(error, RunError::Stopped { .. }), "{error:?}");
    assert!(chain(&error).contains("401") && chain(&error).contains("auth"), "{}", chain(&error));
    assert!(!chain(&error).contains("w0rd-of-the-token"));
    assert_eq!(status.borrow().state, "stopped by an error");
    assert!(deployment.clock.waits().is_empty(), "a refusal is not tried again");
    assert_eq!(deployment.state.load(NAME).unwrap(), None);
}

async fn honours_retry_after(source: &dyn Source) {
    source.hold(&five());
    source.server().unwrap().fail_with([
        Told::status(429).with("retry-after", "70"),
        Told::status(503)
            .with("retry-after", "Tue, 10 Mar 2026 14:00:00 GMT")
            .with("date", "Tue, 10 Mar 2026 13:58:00 GMT"),
    ]);
    let deployment = Deployment::new();
    deployment.run(source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
    let waits = deployment.clock.waits();
    assert_eq!(waits, [Duration::from_secs(70), Duration::from_secs(120)]);
}

async fn gives_up_on_a_truncated_body_without_advancing(source: &dyn Source) {
    source.hold(&five());
    let cut = || Told::json("[{\"service_request_id\":\"00").claiming(4_000);
    source.server().unwrap().fail_with((0..6).map(|_| cut()));
    let deployment = Deployment::new();
    let error = deployment.run(source).await.unwrap_err();
    assert!(matches!(error, RunError::GaveUp { attempts: 6, .. }), "{error:?}");
    assert_eq!(deployment.state.load(NAME).unwrap(), None, "the cursor did not advance");
    deployment.run(source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
}

async fn surfaces_a_web_page_with_status_200(source: &dyn Source) {
    let page = || Told::json("<!DOCTYPE html><html><title>Sign in</title></html>").with("content-type", "text/html");
    source.server().unwrap().fail_with((0..6).map(|_| page()));
    let deployment = Deployment::new();
    let error = deployment.run(source).await.unwrap_err();
    assert!(chain(&error).contains("a web page titled 'sign in'"), "{}", chain(&error));
    assert_eq!(deployment.state.load(NAME).unwrap(), None);
}

async fn surfaces_an_error_array_with_status_200(source: &dyn Source) {
    let body = source.error_body();
    source.server().unwrap().fail_with((0..6).map(|_| Told::json(body.clone())));
    let deployment = Deployment::new();
    let error = deployment.run(source).await.unwrap_err();
    assert!(chain(&error).contains("unknown jurisdiction"), "{}", chain(&error));
    assert_eq!(deployment.state.load(NAME).unwrap(), None);
}

async fn refuses_a_body_that_claims_nine_gigabytes_without_reading_it(source: &dyn Source) {
    source.hold(&five());
    source.server().unwrap().fail_with([Told::json("[").claiming(9_000_000_000)]);
    let deployment = Deployment::new();
    deployment.run(source).await.unwrap();
    let dead = deployment.dead();
    if source.intake().rest.is_some() {
        assert_eq!(dead.len(), 1);
        assert!(dead[0].0.contains("claims 9000000000 bytes"), "{}", dead[0].0);
        assert!(dead[0].1.is_empty(), "nothing was read");
    } else {
        assert!(dead.is_empty(), "the window was halved instead");
        assert_eq!(deployment.ids(), FIVE);
    }
}

async fn cuts_a_body_that_lies_about_its_length(source: &dyn Source) {
    source.hold(&five());
    let endless = Told::json(vec![b' '; 300_000]).claiming(60_000);
    source.server().unwrap().fail_with((0..6).map(|_| endless.clone()));
    let deployment = Deployment::new();
    let ended = deployment.run(source).await;
    assert!(matches!(ended, Err(RunError::GaveUp { .. })), "what is cut is not whole JSON: {ended:?}");
    assert!(deployment.ids().is_empty());
}

async fn backs_off_when_the_server_fails(source: &dyn Source) {
    source.hold(&five());
    source.server().unwrap().fail_with([Told::status(500), Told::status(502), Told::status(504)]);
    let deployment = Deployment::new();
    deployment.run(source).await.unwrap();
    let waits = deployment.clock.waits();
    assert_eq!(waits.len(), 3);
    assert!(
        waits[0] >= Duration::from_secs(1) && waits[1] >= Duration::from_secs(2) && waits[2] >= Duration::from_secs(4)
    );
    assert_eq!(deployment.ids(), FIVE);
}

#[tokio::test]
async fn an_oversized_page_is_set_aside_with_its_first_bytes_and_stepped_past() {
    let source = Rest::start().await;
    source.hold(&five());
    let big = Told::json(vec![b'['; 200_000]).without_length();
    source.server().unwrap().fail_with([big]);
    let deployment = Deployment::new();
    let summary = deployment.run(&source).await.unwrap();
    assert_eq!(deployment.ids(), ["0003", "0004", "0005"]);
    assert_eq!(summary.set_aside, 1);
    let (reason, bytes) = deployment.dead().remove(0);
    assert!(reason.contains("over the cap of 65536 bytes"), "{reason}");
    assert_eq!(bytes, vec![b'['; 65_536]);
}

#[tokio::test]
async fn the_portal_that_is_overloaded_says_403_and_is_asked_again() {
    let source = Egov::start().await;
    source.hold(&five());
    let overload = Told { status: 403, ..Told::json("{\"error\":\"Forbidden\"}") };
    source.server().unwrap().fail_with([overload.clone(), overload]);
    let deployment = Deployment::new();
    deployment.run(&source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE, "the first row of a page is not passed over");
    assert!(deployment.clock.waits().iter().filter(|wait| **wait >= Duration::from_secs(1)).count() == 2);

    let wrong_key = Told { status: 403, ..Told::json("{\"error\":\"unknown apiKey w0rd-of-the-token\"}") };
    source.server().unwrap().fail_with([wrong_key]);
    let error = deployment.run(&source).await.unwrap_err();
    assert!(matches!(error, RunError::Stopped { .. }), "{error:?}");
    assert!(chain(&error).contains("egov.key") && !chain(&error).contains("w0rd"), "{}", chain(&error));
}

#[tokio::test]
async fn nothing_is_confirmed_to_telegram_that_is_not_durable() {
    let source = Telegram::start().await;
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.log.refuse(&[Refusal::Broken]);
    deployment.run(&source).await.unwrap_err();
    deployment.run(&source).await.unwrap();
    let offsets: Vec<Option<String>> =
        source.server().unwrap().asked().into_iter().map(|asked| asked.query.get("offset").cloned()).collect();
    let number = |offset: i64| Some(offset.to_string());
    assert_eq!(offsets, [None, None, number(503), number(505)], "the refused page is asked for without confirming");
    assert_eq!(deployment.ids(), FIVE);
}

#[tokio::test]
async fn numbers_that_begin_anew_after_a_long_silence_lose_nothing() {
    let source = Telegram::start().await;
    source.hold(&five()[..3]);
    let deployment = Deployment::new();
    deployment.run(&source).await.unwrap();
    deployment.run(&source).await.unwrap();
    deployment.clock.pass(Duration::from_secs(8 * 86_400));
    source.number_from(17);
    source.hold(&five());
    deployment.run(&source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
}

#[tokio::test]
async fn a_second_reader_of_a_bot_stops_the_source_and_is_named() {
    let source = Telegram::start().await;
    source.hold(&five());
    let said = r#"{"ok":false,"error_code":409,"description":"Conflict: terminated by other getUpdates request"}"#;
    source.server().unwrap().fail_with([Told { status: 409, ..Told::json(said) }]);
    let deployment = Deployment::new();
    let error = deployment.run(&source).await.unwrap_err();
    assert!(matches!(error, RunError::Stopped { .. }), "{error:?}");
    let told = chain(&error);
    assert!(told.contains("other getUpdates request") && told.contains("only one may read a bot"), "{told}");
    assert!(!told.contains("w0rd"), "{told}");
    assert_eq!(deployment.state.load(NAME).unwrap(), None);
}

#[tokio::test]
async fn vk_says_too_many_and_a_bad_token_with_http_200() {
    let source = Vk::start().await;
    source.hold(&five());
    let error = |code: u32, words: &str| {
        Told::json(format!(r#"{{"error":{{"error_code":{code},"error_msg":"{words}","request_params":[]}}}}"#))
    };
    source.server().unwrap().fail_with([error(6, "Too many requests per second")]);
    let deployment = Deployment::new();
    deployment.run(&source).await.unwrap();
    assert_eq!(deployment.ids(), FIVE);
    assert_eq!(deployment.clock.waits().len(), 1);

    source.server().unwrap().fail_with([error(5, "User authorization failed: invalid access_token (4).")]);
    let stopped = deployment.run(&source).await.unwrap_err();
    assert!(matches!(stopped, RunError::Stopped { .. }), "{stopped:?}");
    assert!(chain(&stopped).contains("invalid access_token") && chain(&stopped).contains("vk.token"));

    source.server().unwrap().fail_with([error(15, "Access denied: wall is disabled")]);
    let summary = deployment.run(&source).await.unwrap();
    assert_eq!((summary.records, summary.set_aside), (0, 1), "one closed wall is told once and stops nothing");
    source.server().unwrap().fail_with([error(15, "Access denied: wall is disabled")]);
    assert_eq!(deployment.run(&source).await.unwrap().set_aside, 0);
}

#[tokio::test]
async fn a_post_that_is_gone_from_a_wall_leaves_a_tombstone() {
    let source = Vk::start().await;
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.run(&source).await.unwrap();
    let mut left = five();
    left.remove(2);
    source.hold(&left);
    let summary = deployment.run(&source).await.unwrap();
    assert_eq!(summary.records, 1);
    let (id, payload) = deployment.records().into_iter().find(|(_, text)| text.contains("\"deleted\":true")).unwrap();
    assert_eq!(id, "0003");
    assert!(payload.contains(r#""from_id":17"#), "{payload}");
    assert_eq!(deployment.run(&source).await.unwrap().records, 0, "it is told once");
}

#[tokio::test]
async fn a_rate_limit_spaces_requests() {
    let source = Rest::start().await;
    source.hold(&five());
    let mut intake = source.intake();
    intake.limits.rate_limit_per_minute = Some(30);
    let deployment = Deployment::new();
    let door = build(NAME, intake, source.folder()).unwrap();
    let (log, state, clock) = (deployment.log.clone(), deployment.state.clone(), deployment.clock.clone());
    let runner = Runner::with_clock(door, log, pull::sealer(), state, clock);
    runner.run(CancellationToken::new(), Mode::Once).await.unwrap();
    assert_eq!(source.server().unwrap().asked().len(), 4);
    assert_eq!(deployment.clock.waits(), vec![Duration::from_secs(2); 3]);
}

#[tokio::test]
async fn a_secret_is_sent_but_never_told() {
    let source = Rest::start().await;
    source.hold(&five());
    let deployment = Deployment::new();
    deployment.run(&source).await.unwrap();
    let asked = source.server().unwrap().asked();
    assert_eq!(asked[0].headers["authorization"], "Bearer w0rd-of-the-token");
    let cursor = format!("{:?}", deployment.state.load(NAME).unwrap());
    assert!(!cursor.contains("w0rd"));
}

#[tokio::test]
async fn a_record_without_its_id_is_set_aside_and_the_others_go_on() {
    let source = Files::new();
    std::fs::write(source.folder().join("calls.csv"), "service_request_id,status\n1,open\n ,open\n3,open\n").unwrap();
    let deployment = Deployment::new();
    let summary = deployment.run(&source).await.unwrap();
    assert_eq!(deployment.ids(), ["1", "3"]);
    assert_eq!((summary.records, summary.set_aside), (2, 1));
    let (reason, bytes) = deployment.dead().remove(0);
    assert_eq!(reason, "no id: column service_request_id is missing or blank");
    assert_eq!(bytes, br#"{"service_request_id":" ","status":"open"}"#);
}

#[tokio::test]
async fn a_record_over_the_logs_limit_is_set_aside_with_its_first_bytes() {
    let source = Files::new();
    let long = "x".repeat(9_000_000);
    let lines = format!("{{\"service_request_id\":1}}\n{{\"service_request_id\":2,\"text\":\"{long}\"}}\n");
    std::fs::write(source.folder().join("calls.jsonl"), lines).unwrap();
    let mut intake = source.intake();
    intake.files.as_mut().unwrap().path = ahual_ingest::files::Paths::One("calls.jsonl".to_owned());
    let deployment = Deployment::new();
    let door = build(NAME, intake, source.folder()).unwrap();
    let (log, state, clock) = (deployment.log.clone(), deployment.state.clone(), deployment.clock.clone());
    Runner::with_clock(door, log, pull::sealer(), state, clock)
        .run(CancellationToken::new(), Mode::Once)
        .await
        .unwrap();
    assert_eq!(deployment.ids(), ["1"]);
    let (reason, bytes) = deployment.dead().remove(0);
    assert!(reason.contains("over the log's limit"), "{reason}");
    assert!(bytes.starts_with(b"{\"service_request_id\":2") && bytes.len() > 8_000_000);
}

#[tokio::test]
async fn a_run_that_follows_stops_when_told() {
    let source = Rest::start().await;
    source.hold(&five());
    let deployment = Deployment::new();
    let stop = CancellationToken::new();
    let runner = deployment.runner(&source);
    let mut status = runner.status();
    let running = tokio::spawn(runner.run(stop.clone(), Mode::Follow));
    status.wait_for(|status| status.drained).await.unwrap();
    stop.cancel();
    let summary = running.await.unwrap().unwrap();
    assert_eq!(summary.records, 5);
    assert_eq!(deployment.ids(), FIVE);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Files only ever move on: more files done, or a later row of the same file.
    #[test]
    fn the_cursor_of_files_never_goes_back(sizes in proptest::collection::vec(0_usize..9, 1..5), page_rows in 1_usize..5) {
        runtime().block_on(async {
            let source = Files::new();
            for (at, rows) in sizes.iter().enumerate() {
                let rows: String = (0..*rows).map(|row| format!("{at}-{row},open\n")).collect();
                std::fs::write(source.folder().join(format!("{at}.csv")), format!("service_request_id,status\n{rows}")).unwrap();
            }
            let mut intake = source.intake();
            intake.files.as_mut().unwrap().page_rows = page_rows;
            let mut connector = build(NAME, intake, source.folder()).unwrap().connector;
            let (mut cursor, mut last, mut records) = (None, (0, 0), 0);
            loop {
                let page = connector.next_page(cursor.as_ref(), Utc::now()).await.unwrap();
                records += page.items.len();
                let position = &page.cursor.position;
                let here = (position["done"].as_object().unwrap().len(), position["current"]["row"].as_u64().unwrap_or(0));
                assert!(here >= last, "{here:?} after {last:?}");
                last = here;
                cursor = Some(page.cursor);
                if !page.more {
                    break;
                }
            }
            assert_eq!(records, sizes.iter().sum::<usize>());
        });
    }

    /// Whatever a JSON API gives from poll to poll, neither the newest time nor the count
    /// of cycles goes back, and no record is lost.
    #[test]
    fn the_cursor_of_an_api_never_goes_back(polls in proptest::collection::vec(proptest::collection::vec((0_u32..6, 0_u32..50), 0..6), 1..5)) {
        runtime().block_on(async {
            let held: std::sync::Arc<std::sync::Mutex<Vec<(u32, u32)>>> = std::sync::Arc::default();
            let served = held.clone();
            let server = Server::start(move |asked| {
                let offset: usize = asked.query["offset"].parse().unwrap();
                let since = asked.query.get("since").map_or("", String::as_str);
                let served = served.lock().unwrap();
                let written: Vec<String> = served
                    .iter()
                    .map(|(id, at)| (id, format!("2026-03-10T00:{at:02}:00Z")))
                    .filter(|(_, at)| at.as_str() >= since)
                    .skip(offset)
                    .take(2)
                    .map(|(id, at)| format!(r#"{{"id":{id},"at":"{at}"}}"#))
                    .collect();
                Told::json(format!("[{}]", written.join(",")))
            })
            .await;
            let toml = format!(
                "identity = {{ columns = [\"id\"] }}\n[rest]\nurl = \"{}\"\npaging = {{ kind = \"offset\" }}\nwindow = {{ field = \"at\", from_param = \"since\", overlap_s = 86400 }}",
                server.url
            );
            let dir = tempfile::tempdir().unwrap();
            let mut connector = build(NAME, toml::from_str(&toml).unwrap(), dir.path()).unwrap().connector;
            let (mut cursor, mut last) = (None, (0, i64::MIN));
            let mut met = std::collections::BTreeSet::new();
            for poll in polls {
                let poll: Vec<_> = std::collections::BTreeSet::from_iter(poll).into_iter().collect();
                *held.lock().unwrap() = poll.clone();
                loop {
                    let page = connector.next_page(cursor.as_ref(), Utc::now()).await.unwrap();
                    for item in &page.items {
                        let Item::Record(found) = item else { panic!("nothing is to be set aside") };
                        met.insert(String::from_utf8(found.payload.to_vec()).unwrap());
                    }
                    let position = &page.cursor.position;
                    let here = (position["cycle"].as_u64().unwrap(), position["watermark_us"].as_i64().unwrap_or(i64::MIN));
                    assert!(here.0 >= last.0 && here.1 >= last.1, "{here:?} after {last:?}");
                    last = here;
                    cursor = Some(page.cursor);
                    if !page.more {
                        break;
                    }
                }
                for (id, at) in poll {
                    let expected = format!(r#"{{"id":{id},"at":"2026-03-10T00:{at:02}:00Z"}}"#);
                    assert!(met.contains(&expected), "{expected} was lost");
                }
            }
        });
    }
}

#[test]
fn a_stored_cursor_of_another_shape_stops_with_a_way_out() {
    runtime().block_on(async {
        let source = Files::new();
        source.hold(&five());
        let deployment = Deployment::new();
        let odd = ahual_ingest::Cursor { version: 99, position: serde_json::json!({}) };
        CursorStore::save(&deployment.state, NAME, &odd).unwrap();
        let error = deployment.run(&source).await.unwrap_err();
        assert!(chain(&error).contains("remove the source's cursor"), "{}", chain(&error));
    });
}
