#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::config::{IntakeConfig, build};

fn connector(toml: &str) -> RestConnector {
    let config: RestConfig = toml::from_str(toml).unwrap();
    let identity = Arc::new(Identity::by_columns(&["id"], &[], ""));
    RestConnector::new("api", config, Path::new("."), identity, &LimitsConfig::default()).unwrap()
}

fn answer(body: &str) -> Answer {
    Answer { body: Bytes::copy_from_slice(body.as_bytes()), headers: HeaderMap::new(), what: "GET x".to_owned() }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn windows_follow_the_newest_record_and_keep_their_bounds_over_pages() {
    let door = connector(
        r#"
        url = "http://127.0.0.1/api"
        path = "calls"
        query = { kind = "all" }
        page_size = 100
        page_size_param = "limit"
        paging = { kind = "offset" }
        window = { field = "updated", from_param = "from", to_param = "to", lag_s = 5, overlap_s = 10, format = "%Y-%m-%d %H:%M:%S", zone = "Asia/Almaty" }
        "#,
    );
    let mut position = Position { watermark_us: Some(1_710_000_000_000_000), ..Position::default() };
    position.window = door.window(&position, at(1_710_000_100));
    let url = door.address(&position).unwrap();
    assert_eq!(url.path(), "/api/calls");
    let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(query["kind"], "all");
    assert_eq!(query["limit"], "100");
    assert_eq!(query["offset"], "0");
    assert_eq!(query["from"], "2024-03-09 20:59:50", "ten seconds before the newest, local time");
    assert_eq!(query["to"], "2024-03-09 21:01:35");
    position.at = At::Number(100);
    let url = door.address(&position).unwrap();
    assert!(url.query().unwrap().contains("offset=100"));
}

#[test]
fn a_spanned_window_walks_to_the_present_without_needing_records() {
    let door = connector(
        r#"
        url = "http://127.0.0.1/"
        window = { field = "t", from_param = "from", to_param = "to", start = "2024-01-01T00:00:00Z", span_s = 86400, overlap_s = 0, format = "unix" }
        "#,
    );
    let mut position = Position::default();
    let now = at(1_704_067_200 + 2 * 86_400 + 5);
    let mut spans = Vec::new();
    loop {
        position.window = door.window(&position, now);
        spans.push(position.window.unwrap().to_us.unwrap() / 1_000_000 - 1_704_067_200);
        if !door.advance(&mut position, None, now) {
            break;
        }
    }
    assert_eq!(spans, [86_400, 172_800, 172_805]);
}

#[test]
fn a_link_header_or_a_token_names_the_next_page_until_there_is_none() {
    let door = connector("url = \"http://127.0.0.1/calls\"\npaging = { kind = \"link\" }");
    let mut linked = answer("[]");
    linked
        .headers
        .insert(LINK, "<http://127.0.0.1/calls?p=1>; rel=\"prev\", </calls?p=3>; rel=\"next last\"".parse().unwrap());
    let next = door.after(&Position::default(), &linked, 1, "h").unwrap();
    assert_eq!(next, Some(At::Link("http://127.0.0.1/calls?p=3".to_owned())));
    assert_eq!(door.after(&Position::default(), &answer("[]"), 1, "h").unwrap(), None);
    linked.headers.insert(LINK, "<http://elsewhere.invalid/calls>; rel=next".parse().unwrap());
    assert!(door.after(&Position::default(), &linked, 1, "h").unwrap_err().to_string().contains("another host"));

    let door = connector(
        "url = \"http://127.0.0.1/calls\"\npaging = { kind = \"cursor\", next = \"meta.next\", param = \"after\" }",
    );
    let next = door.after(&Position::default(), &answer(r#"{"meta":{"next":"abc"}}"#), 1, "h").unwrap();
    assert_eq!(next, Some(At::Token("abc".to_owned())));
    let here = Position { at: At::Token("abc".to_owned()), ..Position::default() };
    assert!(door.after(&here, &answer(r#"{"meta":{"next":"abc"}}"#), 1, "h").is_err(), "paging that stands still");
    assert_eq!(door.after(&here, &answer(r#"{"meta":{"next":null}}"#), 1, "h").unwrap(), None);
    assert!(door.address(&here).unwrap().query().unwrap().contains("after=abc"));
}

#[test]
fn paging_by_time_goes_on_from_the_newest_and_refuses_to_stand_still() {
    let door = connector(
        r#"
        url = "http://127.0.0.1/"
        page_size = 2
        paging = { kind = "time" }
        window = { field = "t", from_param = "from" }
        "#,
    );
    let position = Position { newest_us: Some(7), at: At::From(5), ..Position::default() };
    assert_eq!(door.after(&position, &answer("[]"), 2, "h").unwrap(), Some(At::From(7)));
    assert_eq!(door.after(&position, &answer("[]"), 1, "h").unwrap(), None);
    let stuck = Position { newest_us: Some(5), at: At::From(5), ..Position::default() };
    assert!(door.after(&stuck, &answer("[]"), 2, "h").unwrap_err().to_string().contains("share one instant"));
}

#[test]
fn an_error_instead_of_records_is_told_in_the_sources_words() {
    let door = connector("url = \"http://127.0.0.1/\"\nrecords = \"data\"");
    let told = |body: &str| door.records(&answer(body)).unwrap_err().to_string();
    assert!(told(r#"{"error":{"code":6,"message":"too many requests"}}"#).contains("6 too many requests"));
    assert!(told("{\"data\":{}}").contains("an array of records where rest.records leads"));
    assert!(told("<html></html>").contains("a web page"));
    assert!(told("").contains("an empty body"));
    assert!(told("{\"data\":[{\"id\":1}").contains("whole JSON"));
    assert_eq!(door.records(&answer("{\"data\":[{\"id\":1.50}]}")).unwrap()[0].get(), "{\"id\":1.50}");
}

#[test]
fn a_record_that_speaks_of_its_status_is_no_error() {
    let config: RestConfig = toml::from_str("url = \"http://127.0.0.1/\"").unwrap();
    let by_content = crate::identity::IdentityConfig { content: true, ..Default::default() };
    let identity = Arc::new(Identity::new(&by_content).unwrap());
    let door = RestConnector::new("api", config, Path::new("."), identity, &LimitsConfig::default()).unwrap();
    assert_eq!(door.records(&answer(r#"[{"status":"open","description":"lamp"}]"#)).unwrap().len(), 1);
    assert!(door.records(&answer(r#"[{"code":"403","description":"no"}]"#)).is_err());
}

#[test]
fn a_secret_in_the_query_is_neither_in_messages_nor_in_stored_links() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "s3cr3t").unwrap();
    let toml = "url = \"http://127.0.0.1/a\"\nauth = { query = \"apiKey\", secret = { file = \"key\" } }\npaging = { kind = \"link\" }";
    let identity = Arc::new(Identity::by_columns(&["id"], &[], ""));
    let config: RestConfig = toml::from_str(toml).unwrap();
    let door = RestConnector::new("api", config, dir.path(), identity, &LimitsConfig::default()).unwrap();
    let link = door.link("/a?apiKey=s3cr3t&p=2").unwrap();
    assert_eq!(link.as_str(), "http://127.0.0.1/a?p=2");
    assert!(!door.address(&Position::default()).unwrap().as_str().contains("s3cr3t"));
}

#[test]
fn wrong_settings_say_what_to_write() {
    let refused = |toml: &str| {
        let intake: IntakeConfig =
            toml::from_str(&format!("identity = {{ columns = [\"id\"] }}\n[rest]\n{toml}")).unwrap();
        build("api", intake, Path::new(".")).unwrap_err().to_string()
    };
    assert!(refused("url = \"ftp://x\"").contains("no http:// or https:// address"));
    assert!(refused("url = \"http://someone:word@x\"").contains("use auth with a secret reference"));
    assert!(refused("url = \"http://x\"\npaging = { kind = \"time\" }").contains("needs a window"));
    let zone = refused("url = \"http://x\"\nwindow = { field = \"t\", from_param = \"f\", zone = \"Mars\" }");
    assert!(zone.contains("Asia/Almaty"), "{zone}");
    let rows = toml::from_str::<IntakeConfig>("identity = { row = true }\nrest = { url = \"http://x\" }").unwrap();
    let rows = build("api", rows, Path::new(".")).unwrap_err();
    assert!(std::error::Error::source(&rows).unwrap().to_string().contains("only files have"));
}
