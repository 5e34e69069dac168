#![allow(clippy::unwrap_used, clippy::expect_used)]

use ahual_schemas::sealing::Sealer;
use reqwest::header::HeaderMap;

use super::*;
use crate::config::{IntakeConfig, build};

const DIRECTORY: &str = r#"
version = "2026-03-01"
[[account]]
network = "telegram"
handle = "invented_akim"
id = -1009000000001
discussion = -1009000000002
speakers = [900000900]
body = "invented-akimat"
kato = "352400000"
valid_from = "2024-01-01"
[[account]]
network = "telegram"
handle = "invented_silent"
body = "other-akimat"
kato = "352200000"
valid_from = "2024-01-01"
not_connected = "the channel has not let the bot in"
"#;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "1234:w0rd\n").unwrap();
    std::fs::write(dir.path().join("accounts.toml"), DIRECTORY).unwrap();
    dir
}

fn connector(more: &str) -> TelegramConnector {
    let dir = folder();
    let toml =
        format!("url = \"http://127.0.0.1/api\"\ntoken = {{ file = \"token\" }}\naccounts = \"accounts.toml\"\n{more}");
    TelegramConnector::new("talk", toml::from_str(&toml).unwrap(), dir.path(), &LimitsConfig::default()).unwrap()
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn answer(body: &str) -> Answer {
    Answer { body: Bytes::copy_from_slice(body.as_bytes()), headers: HeaderMap::new(), what: "GET x".to_owned() }
}

/// Record id, case key and payload of each record; the reason of each that is none.
fn told(
    door: &TelegramConnector,
    position: &mut Position,
    body: &str,
) -> Vec<Result<(String, String, serde_json::Value), String>> {
    let told = answer(body);
    TelegramConnector::updates(&told)
        .unwrap()
        .into_iter()
        .map(|raw| match door.take(position, raw) {
            Item::Record(found) => {
                let sealer = Sealer::new("test", b"a secret of tests");
                let named = found.identity.as_ref().unwrap().name(&found, &sealer).unwrap();
                Ok((named.record_id, named.case_key, serde_json::from_slice(&found.payload).unwrap()))
            }
            Item::SetAside(refused) => Err(refused.reason),
        })
        .collect()
}

#[test]
fn a_comment_begins_a_thread_and_replies_to_replies_stay_in_it() {
    let door = connector("");
    let mut position = Position::default();
    let items = told(&door, &mut position, include_str!("samples/updates.json"));
    let names: Vec<(&str, &str)> = items[..6]
        .iter()
        .map(|item| item.as_ref().unwrap())
        .map(|(id, case, _)| (id.as_str(), case.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("-1009000000001/10", "-1009000000001/10"),
            ("-1009000000002/70", "-1009000000001/10"), // the copy that opens the discussion
            ("-1009000000002/71", "-1009000000002/71"),
            ("-1009000000002/72", "-1009000000002/71"),
            ("-1009000000002/73", "-1009000000002/71"),
            ("-1009000000002/71", "-1009000000002/71"), // the edit is the same record
        ]
    );
    let again: Position = serde_json::from_value(serde_json::to_value(&position).unwrap()).unwrap();
    assert_eq!(again, position, "threads survive in the cursor");
}

#[test]
fn own_words_are_told_apart_and_what_was_said_is_kept_as_it_was() {
    let door = connector("");
    let items = told(&door, &mut Position::default(), include_str!("samples/updates.json"));
    let own: Vec<bool> = items[..6].iter().map(|item| item.as_ref().unwrap().2["own"] == true).collect();
    assert_eq!(own, [true, true, false, true, false, false]);
    let (_, _, complaint) = items[2].as_ref().unwrap();
    assert_eq!((&complaint["body"], &complaint["kato"]), (&"invented-akimat".into(), &"352400000".into()));
    assert_eq!(complaint["update"]["message"]["text"], "An invented complaint");
    let said: serde_json::Value = serde_json::from_str(include_str!("samples/updates.json")).unwrap();
    assert_eq!(complaint["update"], said["result"][2]);
}

#[test]
fn what_belongs_to_no_account_is_set_aside_and_says_nobodys_number() {
    let door = connector("");
    let items = told(&door, &mut Position::default(), include_str!("samples/updates.json"));
    let reasons: Vec<&str> = items[6..].iter().map(|item| item.as_ref().unwrap_err().as_str()).collect();
    assert!(reasons[0].contains("telegram.direct") && reasons[1].contains("directory"), "{reasons:?}");
    assert!(reasons[2].contains("neither a message nor a post"));
    assert!(!reasons.iter().any(|reason| reason.contains("9000")), "{reasons:?}");

    let door = connector("direct = \"invented_akim\"");
    let items = told(&door, &mut Position::default(), include_str!("samples/updates.json"));
    let (record, case, _) = items[6].as_ref().unwrap();
    assert_eq!((record.as_str(), case.as_str()), ("direct/5", "direct/5"), "a person's chat is never a name");
}

#[test]
fn a_number_is_sent_only_while_numbers_are_sure_to_rise() {
    let door = connector("");
    let position =
        Position { offset: Some(510), heard_s: instant("2026-03-10T12:00:00Z").timestamp(), ..Position::default() };
    let (url, what) = door.question(&position, instant("2026-03-10T13:00:00Z"));
    assert_eq!(url.path(), "/api/bot1234:w0rd/getUpdates");
    assert!(url.query().unwrap().contains("offset=510") && url.query().unwrap().contains("timeout=0"), "{url}");
    assert!(!what.contains("w0rd") && what.contains("/api/botTOKEN/getUpdates"), "{what}");
    let (url, _) = door.question(&position, instant("2026-03-11T12:00:00Z"));
    assert!(!url.query().unwrap().contains("offset="), "after a day of silence numbers may begin anew: {url}");
}

#[test]
fn failures_are_taken_as_the_bot_api_means_them() {
    let what = || "GET x (it says '429 Too Many Requests: retry after 35')".to_owned();
    let busy = TelegramConnector::meant(ConnectorError::Busy { what: what(), status: 429, after: None });
    assert!(
        matches!(busy, ConnectorError::Busy { after: Some(wait), .. } if wait == Duration::from_secs(35)),
        "{busy:?}"
    );
    let second = TelegramConnector::meant(ConnectorError::Failed { what: what(), status: 409 });
    assert!(second.to_string().contains("only one may read a bot"), "{second}");
    assert_eq!(second.advice(), ahual_schemas::Advice::Stop);
    let gone = r#"{"ok":false,"error_code":400,"description":"Bad Request: invented","parameters":{}}"#;
    let gone = answer(gone);
    assert!(TelegramConnector::updates(&gone).unwrap_err().to_string().contains("Bad Request: invented"));
    assert!(TelegramConnector::updates(&answer("{\"ok\":true}")).is_err(), "no result is no empty result");
}

#[test]
fn threads_are_remembered_up_to_a_bound() {
    let mut threads = Threads::default();
    let reply = |message: i64, to: i64| {
        let chat = serde_json::json!({"id": -5, "type": "supergroup"});
        let raw = serde_json::json!({"message_id": message, "date": 1, "chat": chat,
            "reply_to_message": {"message_id": to, "date": 1, "chat": chat}});
        serde_json::from_value::<Message>(raw).unwrap()
    };
    assert_eq!(reply(2, 1).thread(&mut threads, 2), "-5/1");
    assert_eq!(reply(3, 2).thread(&mut threads, 2), "-5/1");
    assert_eq!(reply(4, 3).thread(&mut threads, 2), "-5/1");
    assert_eq!(threads.len(), 2);
    assert_eq!(reply(5, 4).thread(&mut threads, 2), "-5/1");
    assert_eq!(reply(6, 2).thread(&mut threads, 2), "-5/2", "what was forgotten begins a thread of its own");
}

#[test]
fn wrong_settings_say_what_to_write() {
    let dir = folder();
    let refused = |toml: &str, more: &str| {
        let toml = format!(
            "{more}\n[telegram]\nurl = \"http://127.0.0.1\"\ntoken = {{ file = \"token\" }}\naccounts = \"accounts.toml\"\n{toml}"
        );
        let intake: IntakeConfig = toml::from_str(&toml).unwrap();
        build("talk", intake, dir.path()).unwrap_err().to_string()
    };
    assert!(refused("limit = 500", "").contains("from 1 to 100"));
    assert!(refused("direct = \"nobody\"", "").contains("no telegram account of the directory"));
    assert!(refused("forget_after_h = 400", "").contains("from 1 to 168"));
    assert!(refused("", "identity = { columns = [\"id\"] }").contains("identity is fixed by the protocol"));
    std::fs::write(dir.path().join("token"), "a/../b").unwrap();
    assert!(refused("", "").contains("no token of a bot"));
}

#[test]
fn accounts_that_are_not_connected_are_told() {
    let door = connector("");
    let cursor = Cursor::of(SHAPE, &Position::default()).unwrap();
    let told = door.summarise(&cursor);
    assert!(told.contains("not connected: invented_silent (the channel has not let the bot in)"), "{told}");
}
