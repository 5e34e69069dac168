#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::config::{IntakeConfig, build};
use reqwest::header::HeaderMap;

fn connector(more: &str) -> (EgovConnector, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "w0rd").unwrap();
    let toml = format!("url = \"http://127.0.0.1\"\ndataset = \"invented_set\"\nkey = {{ file = \"key\" }}\n{more}");
    let config: EgovConfig = toml::from_str(&toml).unwrap();
    let identity = Arc::new(Identity::by_columns(&["id"], &[], ""));
    let door = EgovConnector::new("portal", config, dir.path(), identity, &LimitsConfig::default()).unwrap();
    (door, dir)
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn local(text: &str) -> i64 {
    NaiveDateTime::parse_from_str(text, WRITTEN).unwrap().and_utc().timestamp()
}

fn source(url: &Url) -> serde_json::Value {
    let (_, source) = url.query_pairs().find(|(name, _)| name == "source").unwrap();
    serde_json::from_str(&source).unwrap()
}

fn answer(body: &str) -> Answer {
    Answer { body: Bytes::copy_from_slice(body.as_bytes()), headers: HeaderMap::new(), what: "GET x".to_owned() }
}

#[test]
fn the_question_is_a_range_of_the_portals_own_time_and_begins_with_row_zero() {
    let (door, _dir) = connector("start = \"2026-03-01 00:00:00\"\npage_size = 50");
    let (plan, watermark) = door.plan(None, instant("2026-03-10T12:00:00Z"));
    let url = door.address(&plan[0]);
    assert_eq!(url.path(), "/api/v4/invented_set/v1");
    assert!(!url.as_str().contains("w0rd"), "the key is added when it is sent");
    let range = serde_json::json!({"gte": "2026-03-01 00:00:00", "lt": "2026-03-10 16:59:50"});
    assert_eq!(
        source(&url),
        serde_json::json!({"from": 0, "size": 50, "query": {"range": {"modified": range}}, "sort": [{"modified": "asc"}]})
    );
    let (plan, _) = door.plan(watermark, instant("2026-03-10T12:05:00Z"));
    assert_eq!(source(&door.address(&plan[0]))["query"]["range"]["modified"]["gte"], "2026-03-10 15:59:50");
}

#[test]
fn the_hour_that_came_twice_is_asked_for_twice() {
    let (door, _dir) = connector("overlap_s = 0");
    // 2024-02-29 23:30 at UTC+6, then 23:30 again at UTC+5.
    let (_, first) = door.plan(Some(local("2024-02-29 22:00:00")), instant("2024-02-29T17:30:10Z"));
    assert_eq!(first, Some(local("2024-02-29 23:30:00")));
    let (_, before) = door.plan(first, instant("2024-02-29T17:59:59Z"));
    let (plan, back) = door.plan(before, instant("2024-02-29T18:10:10Z"));
    assert!(plan.is_empty() || plan[0].window.unwrap().1 == local("2024-02-29 23:10:00"), "{plan:?}");
    // A row changed at 23:20 of the second time must still be asked for.
    let (plan, _) = door.plan(back, instant("2024-02-29T19:10:10Z"));
    let (from_s, to_s) = plan[0].window.unwrap();
    assert!(from_s <= local("2024-02-29 23:20:00") && to_s > local("2024-02-29 23:59:59"), "{plan:?}");
}

#[test]
fn full_windows_are_halved_and_a_full_second_is_read_on_with_a_joint() {
    let (door, _dir) = connector("page_size = 3");
    let body = include_str!("samples/rows.json");
    let three = answer(body);
    let rows = door.records(&three).unwrap();
    let wide = Ask::new(Some((0, 10)), 3);
    let halves = door.follow_up(&wide, &rows).unwrap();
    assert_eq!(halves.iter().rev().map(|ask| ask.window.unwrap()).collect::<Vec<_>>(), [(0, 5), (5, 10)]);

    let second = Ask::new(Some((0, 1)), 3);
    let on = door.follow_up(&second, &rows).unwrap().remove(0);
    assert_eq!(on.offset, 3);
    assert_eq!(source(&door.address(&on))["from"], 2, "the page begins with the last row again");
    let shifted = door.follow_up(&on, &rows[1..]).unwrap().remove(0);
    assert_eq!((shifted.offset, shifted.restarts, &shifted.joint), (0, 1, &None), "another row stands there: anew");
    let joined = door.follow_up(&on, &rows[2..]).unwrap();
    assert!(joined.is_empty(), "one row and no more");
    let tired = Ask { restarts: MOST_RESTARTS, ..on };
    assert!(door.follow_up(&tired, &rows[1..]).unwrap_err().contains("some may be missing"));
}

#[test]
fn an_answer_over_the_cap_is_asked_for_in_ever_smaller_parts_and_then_in_larger_ones_again() {
    let (door, _dir) = connector("page_size = 8");
    let mut ask = Ask::new(Some((0, 4)), 8);
    let mut widths = Vec::new();
    let behind = loop {
        match EgovConnector::smaller(&ask) {
            Ok(mut asks) => {
                ask = asks.pop().unwrap();
                let (from_s, to_s) = ask.window.unwrap();
                widths.push((to_s - from_s, ask.size));
            }
            Err(behind) => break behind,
        }
    };
    assert_eq!(widths, [(2, 8), (1, 8), (1, 4), (1, 2), (1, 1)]);
    assert_eq!((behind.offset, behind.size, behind.joint.is_some()), (1, 1, false));
    let one = answer("[{\"id\":1}]");
    let next = door.follow_up(&behind, &door.records(&one).unwrap()).unwrap().remove(0);
    assert_eq!((next.offset, next.size), (2, 2));
    let joined = Ask { size: 2, ..next };
    assert_eq!(EgovConnector::smaller(&joined), Ok(vec![Ask { size: 1, joint: None, ..joined.clone() }]));
}

#[test]
fn a_403_is_about_the_key_only_where_it_says_so() {
    let busy = |what: &str| ConnectorError::Busy { what: what.to_owned(), status: 403, after: None };
    let overload = EgovConnector::meant(busy("GET x (it says 'Forbidden')"));
    assert!(matches!(overload, ConnectorError::Busy { .. }), "{overload}");
    for words in ["Неверный ключ", "invalid apiKey", "API кілті табылмады"] {
        let denied = EgovConnector::meant(busy(&format!("GET x (it says '{words}')")));
        assert!(matches!(denied, ConnectorError::Denied { .. }), "{denied}");
    }
    // The address names the parameter; that is not the portal speaking.
    assert!(matches!(EgovConnector::meant(busy("GET x?apiKey")), ConnectorError::Busy { .. }));
}

#[test]
fn an_error_object_instead_of_the_array_is_no_empty_set() {
    let (door, _dir) = connector("");
    let told = door.records(&answer(include_str!("samples/error.json"))).unwrap_err();
    assert!(told.to_string().contains("malformed query"), "{told}");
    assert!(matches!(told, ConnectorError::Said { .. }));
    let odd = door.records(&answer("{\"rows\": []}")).unwrap_err();
    assert!(odd.to_string().contains("instead of an array of rows"), "{odd}");
    assert_eq!(door.records(&answer("[]")).unwrap().len(), 0);
}

#[test]
fn a_value_written_now_as_number_now_as_text_is_no_news() {
    let (door, _dir) = connector("");
    let mut position = Position::default();
    let mut give = |body: &str| {
        let told = answer(body);
        let records = door.records(&told).unwrap();
        door.take(&mut position, &told.body, &records).len()
    };
    assert_eq!(give(r#"[{"id":7,"kato":"352400000"}]"#), 1);
    assert_eq!(give(r#"[{"id":"7","kato":352400000}]"#), 0);
    assert_eq!(give(r#"[{"kato":352400000,"id":"7"}]"#), 0, "nor is the order of fields");
    assert_eq!(give(r#"[{"id":"7","kato":"352200000"}]"#), 1);
}

#[test]
fn wrong_settings_say_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "w0rd").unwrap();
    let refused = |toml: &str| {
        let toml = format!(
            "identity = {{ columns = [\"id\"] }}\n[egov]\nurl = \"http://127.0.0.1\"\nkey = {{ file = \"key\" }}\n{toml}"
        );
        let intake: IntakeConfig = toml::from_str(&toml).unwrap();
        build("portal", intake, dir.path()).unwrap_err().to_string()
    };
    assert!(refused("dataset = \"a/b\"").contains("egov.dataset holds only letters"));
    assert!(refused("dataset = \"a\"\nstart = \"2026-01-01\"").contains("2026-01-01 00:00:00"));
    assert!(refused("dataset = \"a\"\nzone = \"Karaganda\"").contains("Asia/Almaty"));
    assert!(refused("dataset = \"a\"\npage_size = 20000").contains("from 2 to 10000"));
}

#[test]
fn calls_are_spaced_below_what_the_portal_tolerates_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "w0rd").unwrap();
    let limits = |toml: &str| {
        let toml = format!(
            "identity = {{ columns = [\"id\"] }}\n{toml}\n[egov]\nurl = \"http://127.0.0.1\"\nkey = {{ file = \"key\" }}\ndataset = \"a\""
        );
        build("portal", toml::from_str(&toml).unwrap(), dir.path()).unwrap().limits.rate_limit_per_minute
    };
    assert_eq!(limits(""), Some(CALLS_A_MINUTE));
    assert_eq!(limits("limits = { rate_limit_per_minute = 5 }"), Some(5));
}
