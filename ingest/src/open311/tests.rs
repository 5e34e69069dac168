#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::path::PathBuf;

use reqwest::header::HeaderMap;

use super::*;

fn connector(toml: &str) -> Open311Connector {
    let config: Open311Config = toml::from_str(&format!("url = \"http://127.0.0.1/open311/v2\"\n{toml}")).unwrap();
    let identity = Arc::new(request_identity());
    Open311Connector::new("city", config, Path::new("."), identity, &LimitsConfig::default()).unwrap()
}

fn answer(body: &[u8]) -> Answer {
    Answer { body: Bytes::copy_from_slice(body), headers: HeaderMap::new(), what: "GET x".to_owned() }
}

/// A real sample; `None` where the shared data is missing, which fails under CI.
fn sample(name: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::env::var_os("AHUAL_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let path = shared.join("data/open311").join(name);
    if let Ok(bytes) = std::fs::read(&path) {
        return Some(bytes);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", path.display());
    eprintln!("SKIPPED: {} is missing; name the folder in AHUAL_SHARED", path.display());
    None
}

#[test]
fn real_xml_of_toronto_and_of_the_reference_is_read() {
    let door = connector("format = \"xml\"");
    let Some(body) = sample("toronto_giessen/spec_fixtures_files_requests_many.xml") else { return };
    let records = door.records(&answer(&body)).unwrap();
    assert_eq!(records.len(), 2);
    let first: serde_json::Value = serde_json::from_str(&records[0]).unwrap();
    assert_eq!(first["service_request_id"], "101005420892");
    assert!(records[0].contains("\"lat\":43.691104288"), "{}", records[0]);
    assert_eq!(first["updated_datetime"], serde_json::Value::Null);

    let Some(body) = sample("cfa/spec_fixtures_service_requests.xml") else { return };
    let records = door.records(&answer(&body)).unwrap();
    let first: serde_json::Value = serde_json::from_str(&records[0]).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(first["service_code"], "006");
    assert_eq!(first["media_url"], "http://open311.city.gov.s3.amazonaws.com/requests/media/638344.rss");

    let Some(body) = sample("cfa/spec_fixtures_service_requests_empty.xml") else { return };
    assert!(door.records(&answer(&body)).unwrap().is_empty());
    let Some(body) = sample("cfa/spec_fixtures_get_service_request_not_found.xml") else { return };
    let error = door.records(&answer(&body)).unwrap_err().to_string();
    assert!(error.contains("404; Service request not found"), "{error}");
    let Some(body) = sample("cfa/spec_fixtures_services.xml") else { return };
    assert!(door.records(&answer(&body)).unwrap_err().to_string().contains("root is <services>"));
}

#[test]
fn real_json_of_chicago_keeps_its_numbers_as_written() {
    let door = connector("");
    let Some(body) = sample("toronto_giessen/spec_fixtures_service_requests.json") else { return };
    let records = door.records(&answer(&body)).unwrap();
    assert_eq!(records.len(), 2);
    assert!(records[0].contains("\"lat\":41.858724777757864,\"long\":-87.66475146237676"), "{}", records[0]);
}

#[test]
fn five_hundred_real_requests_of_san_francisco_are_named() {
    let Some(body) = sample("sf_2011/dashboard_fixtures_test.json") else { return };
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    let requests: Vec<String> = rows
        .into_iter()
        .filter(|row| row["model"] == "dashboard.request")
        .map(|row| row["fields"].to_string())
        .collect();
    let body = format!("[{}]", requests.join(","));
    let door = connector("");
    let records = door.records(&answer(body.as_bytes())).unwrap();
    let ids: BTreeSet<String> = records.iter().filter_map(|r| door.identity.column_id(r.as_bytes())).collect();
    assert_eq!((records.len(), ids.len()), (500, 500));
}

#[test]
fn ids_become_text_and_coordinates_numbers() {
    let normal =
        normal::from_json(r#"{"service_request_id": 0, "service_code":12,"lat":"49.80","long":"","media_url":null}"#);
    assert_eq!(
        normal.unwrap(),
        r#"{"service_request_id":"0","service_code":"12","lat":49.80,"long":null,"media_url":null}"#
    );
}

#[test]
fn errors_of_the_endpoint_are_told() {
    let door = connector("");
    for body in [
        r#"[{"code":400,"description":"jurisdiction_id was not provided"}]"#,
        r#"{"errors":[{"code":400,"description":"jurisdiction_id was not provided"}]}"#,
    ] {
        let error = door.records(&answer(body.as_bytes())).unwrap_err();
        assert!(error.to_string().contains("jurisdiction_id was not provided"), "{error}");
        assert!(matches!(error, ConnectorError::Said { .. }));
    }
}

#[test]
fn a_cycle_covers_time_without_gaps_and_asks_for_open_requests_and_updates() {
    let door = connector("start = \"2026-01-01T00:00:00Z\"\nwindow_days = 30\nrescan_batch = 2\nupdates = true");
    let first = 1_767_225_600;
    let now = first + 70 * DAY_S;
    let position = Position { open: ["1", "2", "3"].map(str::to_owned).into(), ..Position::default() };
    let mut plan = door.plan(&position, now);
    plan.reverse();
    let windows: Vec<(i64, i64)> = plan
        .iter()
        .filter_map(|ask| if let Ask::Window { from_s, to_s, .. } = ask { Some((*from_s, *to_s)) } else { None })
        .collect();
    assert_eq!(
        windows,
        [(first, first + 30 * DAY_S), (first + 30 * DAY_S, first + 60 * DAY_S), (first + 60 * DAY_S, now)]
    );
    assert_eq!(plan[3], Ask::Ids(vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(plan[5], Ask::Updates { from_s: first, to_s: now });
    let url = door.address(&plan[5]);
    assert_eq!(url.path(), "/open311/v2/servicerequestupdates.json");
    assert!(door.address(&plan[0]).query().unwrap().contains("start_date=2025-12-31T23%3A59%3A59Z"));
}

#[test]
fn updates_are_records_of_their_own_of_the_requests_case() {
    let door = connector("updates = true");
    let ask = Ask::Updates { from_s: 0, to_s: 1 };
    let update = r#"{"update_id":"77","service_request_id":"0012","status":"FIXED"}"#.to_owned();
    let items = door.take(&mut Position::default(), &ask, &[update]);
    let [Item::Record(found)] = items.as_slice() else { panic!("a record expected") };
    let sealer = ahual_schemas::sealing::Sealer::new("test", b"x");
    let named = found.identity.as_ref().unwrap().name(found, &sealer).unwrap();
    assert_eq!((named.record_id.as_str(), named.case_key.as_str()), ("update/77", "0012"));
}

#[test]
fn a_full_window_is_halved_until_a_second_cannot_be() {
    let door = connector("page_cap = 3");
    let position = Position::default();
    let wide = Ask::Window { from_s: 0, to_s: 10, page: 1, rescan: false };
    let halves = door.follow_up(&position, &wide, 3, "h").unwrap();
    assert_eq!(
        halves,
        [
            Ask::Window { from_s: 0, to_s: 5, page: 1, rescan: false },
            Ask::Window { from_s: 5, to_s: 10, page: 1, rescan: false }
        ]
    );
    assert!(door.follow_up(&position, &wide, 2, "h").unwrap().is_empty());
    let narrow = Ask::Window { from_s: 4, to_s: 5, page: 1, rescan: false };
    assert!(door.follow_up(&position, &narrow, 3, "h").unwrap_err().contains("some may be missing"));
}

#[test]
fn where_the_endpoint_has_pages_they_are_read_until_one_is_empty_or_repeats() {
    let door = connector("page_size = 100");
    let ask = Ask::Window { from_s: 0, to_s: 10, page: 4, rescan: false };
    let next = door.follow_up(&Position::default(), &ask, 50, "h").unwrap();
    assert_eq!(next, [Ask::Window { from_s: 0, to_s: 10, page: 5, rescan: false }]);
    assert!(door.follow_up(&Position::default(), &ask, 0, "h").unwrap().is_empty());
    let same = Position { before: Some("h".to_owned()), ..Position::default() };
    assert!(door.follow_up(&same, &ask, 50, "h").unwrap().is_empty());
    assert!(door.address(&ask).query().unwrap().ends_with("page=4&page_size=100"));
}

#[test]
fn only_open_requests_are_looked_at_again() {
    let door = connector("");
    let mut position = Position::default();
    for (id, status) in [("1", "open"), ("2", "CLOSED"), ("3", "No Further Action"), ("4", "in_progress")] {
        door.note_state(&mut position, format!(r#"{{"service_request_id":"{id}","status":"{status}"}}"#).as_bytes());
    }
    assert_eq!(position.open, ["1", "4"].map(str::to_owned).into());
    door.note_state(&mut position, br#"{"service_request_id":"1","status":"fixed"}"#);
    assert_eq!(position.open, ["4"].map(str::to_owned).into());
}
