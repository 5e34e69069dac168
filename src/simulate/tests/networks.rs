//! The open data portal and the social networks.

use std::collections::BTreeSet;

use ahual_ingest::accounts::{Directory, Network};
use reqwest::StatusCode;
use serde_json::Value;

use super::{Doors, march};
use crate::simulate::doors::{telegram, vk};
use crate::simulate::region::DISTRICTS;
use crate::simulate::social;
use crate::simulate::{Faults, Options};

impl Doors {
    pub(super) async fn vk(&self, question: &str) -> Value {
        self.json(&format!("/method/{question}&v=5.199")).await
    }

    /// Posts and comments of every wall as they stand.
    pub(super) async fn all_vk(&self) -> (Vec<Value>, Vec<Value>) {
        let (mut posts, mut comments) = (Vec::new(), Vec::new());
        for district in 0..social::CONNECTED {
            let owner = vk::wall(district);
            for offset in (0..).step_by(100) {
                let said = self.vk(&format!("wall.get?owner_id={owner}&count=100&offset={offset}")).await;
                let said = said["response"]["items"].as_array().unwrap().clone();
                if said.is_empty() {
                    break;
                }
                posts.extend(said);
            }
        }
        for post in &posts {
            let (owner, id) = (&post["owner_id"], &post["id"]);
            let asked = format!("wall.getComments?owner_id={owner}&post_id={id}&count=100&thread_items_count=10");
            let said = self.vk(&asked).await;
            for comment in said["response"]["items"].as_array().unwrap() {
                comments.push(comment.clone());
                comments.extend(comment["thread"]["items"].as_array().unwrap().clone());
            }
        }
        (posts, comments)
    }

    pub(super) async fn egov(&self, source: &Value) -> Value {
        let address = format!("{}/api/v4/invented_documents/v1", self.address);
        let asked = self.client.get(address).query(&[("apiKey", "simulated"), ("source", &source.to_string())]);
        serde_json::from_str(&asked.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    pub(super) async fn telegram(&self, method: &str) -> (StatusCode, Value) {
        let answer = self.ask(&format!("/bot1:simulated/{method}")).await;
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// All updates, each page confirmed by the next.
    pub(super) async fn all_telegram(&self) -> Vec<Value> {
        let mut updates: Vec<Value> = Vec::new();
        loop {
            let next = updates.last().map_or(0, |update| update["update_id"].as_i64().unwrap() + 1);
            let (_, said) = self.telegram(&format!("getUpdates?limit=100&offset={next}")).await;
            let said = said["result"].as_array().unwrap();
            if said.is_empty() {
                return updates;
            }
            updates.extend(said.clone());
        }
    }

    pub(super) async fn all_egov(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for from in (0..).step_by(500) {
            let said = self.egov(&serde_json::json!({"from": from, "size": 500})).await;
            let said = said.as_array().unwrap();
            if said.is_empty() {
                break;
            }
            rows.extend(said.clone());
        }
        rows
    }
}

/// The message in an update, if it is one.
pub(super) fn message(update: &Value) -> Option<&Value> {
    ["message", "edited_message", "channel_post", "edited_channel_post"].iter().find_map(|name| update.get(name))
}

#[tokio::test]
async fn the_portal_refuses_as_the_real_one_does() {
    let doors = Doors::open(march()).await;
    let path = "/api/v4/invented_documents/v1";
    assert_eq!(doors.ask(path).await.status(), StatusCode::FORBIDDEN, "a key is asked for");
    let gone = doors.ask("/api/v4/nothing/v1?apiKey=simulated").await;
    assert_eq!(gone.status(), StatusCode::OK, "failures are told as if all were well");
    let gone: Value = serde_json::from_str(&gone.text().await.unwrap()).unwrap();
    assert!(gone["error"]["reason"].as_str().unwrap().contains("no such index"), "{gone}");
    let deep = doors.egov(&serde_json::json!({"from": 9_999, "size": 2})).await;
    assert_eq!(deep["status"], 400);

    let all = doors.all_egov().await;
    assert!(all.is_sorted_by_key(|row| row["modified"].as_str().unwrap().to_owned()));
    assert!(all.iter().any(|row| row["id"].is_string()) && all.iter().any(|row| row["id"].is_number()));
    let (from, to) = ("2026-03-10 00:00:00", "2026-03-12 00:00:00");
    let range = serde_json::json!({"modified": {"gte": from, "lt": to}});
    let some = doors.egov(&serde_json::json!({"from": 0, "size": 1_000, "query": {"range": range}})).await;
    let wanted: Vec<&Value> =
        all.iter().filter(|row| (from..to).contains(&row["modified"].as_str().unwrap())).collect();
    assert!(!wanted.is_empty());
    assert_eq!(some.as_array().unwrap().iter().collect::<Vec<_>>(), wanted);
    let detailed = "/api/detailed/invented_documents/v1?apiKey=simulated&source=%7B%22size%22:1%7D";
    assert_eq!(doors.json(detailed).await["totalCount"].as_u64().unwrap(), all.len() as u64);

    let mut answered = 0;
    while doors.ask(&format!("{path}?apiKey=simulated")).await.status() == StatusCode::OK {
        answered += 1;
        assert!(answered < 40, "the minute's calls are not counted");
    }
}

#[tokio::test]
async fn telegram_forgets_what_was_confirmed_and_lets_one_reader_in() {
    let doors = Doors::open(march()).await;
    let (_, first) = doors.telegram("getUpdates?limit=3").await;
    let (_, again) = doors.telegram("getUpdates?limit=3").await;
    assert_eq!(first, again, "nothing is forgotten before it is confirmed");
    let third = first["result"][2]["update_id"].as_i64().unwrap();
    let (_, rest) = doors.telegram(&format!("getUpdates?limit=1&offset={third}")).await;
    assert_eq!(rest["result"][0], first["result"][2]);
    let (_, confirmed) = doors.telegram("getUpdates?limit=1").await;
    assert_eq!(confirmed, rest, "what was confirmed does not come back");
    assert_eq!(doors.telegram("getUpdates?limit=5000").await.1["result"].as_array().unwrap().len(), 100);

    doors.telegram("setWebhook?url=https://example.invalid/hook").await;
    let (status, told) = doors.telegram("getUpdates").await;
    assert_eq!((status, &told["error_code"], &told["ok"]), (StatusCode::CONFLICT, &409.into(), &false.into()));
    doors.telegram("deleteWebhook").await;
    assert_eq!(doors.telegram("getUpdates").await.0, StatusCode::OK);
    assert_eq!(doors.ask("/bot1:guessed/getUpdates").await.status(), StatusCode::UNAUTHORIZED);

    let brief = Doors::open(Options { telegram_kept_hours: 24, ..march() }).await;
    let kept = brief.all_telegram().await;
    assert!(!kept.is_empty() && kept.len() * 5 < doors.all_telegram().await.len(), "a day of a month");
}

#[tokio::test]
async fn walls_show_what_stands_and_errors_come_with_http_200() {
    let doors = Doors::open(march()).await;
    let (posts, comments) = doors.all_vk().await;
    let cases = doors.json("/_truth/cases?source=vk").await;
    let standing: BTreeSet<String> = cases
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["deleted_at"].is_null())
        .map(|case| case["case"].as_str().unwrap().to_owned())
        .collect();
    assert!(standing.len() < cases.as_array().unwrap().len(), "something was deleted");
    let roots: BTreeSet<String> = comments
        .iter()
        .filter(|comment| comment["parents_stack"].as_array().unwrap().is_empty())
        .map(|comment| format!("{}/{}/{}", comment["owner_id"], comment["post_id"], comment["id"]))
        .collect();
    assert_eq!(roots, standing);
    let counted: u64 = posts.iter().map(|post| post["comments"]["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, comments.len() as u64);
    let keys: BTreeSet<String> =
        posts.iter().chain(&comments).map(|said| format!("{}/{}", said["owner_id"], said["id"])).collect();
    assert_eq!(keys.len(), posts.len() + comments.len(), "numbers are not given twice");

    for (question, code) in [
        ("wall.get?owner_id=-1", 15),
        ("wall.getComments?owner_id=-9000001&post_id=1", 15),
        ("wall.get?owner_id=-9000001&offset=some", 100),
        ("wall.post?owner_id=-9000001", 3),
    ] {
        let answer = doors.ask(&format!("/method/{question}&v=5.199")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(said["error"]["error_code"], code, "{question}: {said}");
    }
    assert_eq!(doors.json("/method/wall.get?owner_id=-9000001").await["error"]["error_code"], 8);
    let faults = Faults { too_many: 1.0, ..Faults::default() };
    let busy = Doors::open(Options { faults, ..march() }).await;
    assert_eq!(busy.vk("wall.get?owner_id=-9000001").await["error"]["error_code"], 6);
}

#[tokio::test]
async fn every_thread_of_telegram_is_told_with_its_answers() {
    let doors = Doors::open(march()).await;
    let updates = doors.all_telegram().await;
    let messages: Vec<&Value> = updates.iter().filter_map(message).collect();
    let quoted =
        |m: &Value| (m["reply_to_message"]["chat"]["id"].as_i64(), m["reply_to_message"]["message_id"].as_i64());
    let known: BTreeSet<_> = messages.iter().map(|m| (m["chat"]["id"].as_i64(), m["message_id"].as_i64())).collect();
    let replies: Vec<&&Value> = messages.iter().filter(|m| !m["reply_to_message"].is_null()).collect();
    assert!(replies.iter().all(|m| known.contains(&quoted(m))), "what is answered was said");
    assert!(replies.iter().all(|m| m["reply_to_message"]["reply_to_message"].is_null()), "one step is quoted");
    let comments = replies.iter().filter(|m| m["reply_to_message"]["is_automatic_forward"] == true);
    let comments: BTreeSet<_> = comments.map(|m| (m["chat"]["id"].as_i64(), m["message_id"].as_i64())).collect();
    let truth = doors.json("/_truth").await["sources"]["telegram"].clone();
    assert_eq!(comments.len() as u64, truth["received"].as_u64().unwrap());
    let cases = doors.json("/_truth/cases?source=telegram").await;
    assert_eq!(cases.as_array().unwrap().len(), comments.len());
    assert!(cases.as_array().unwrap().iter().any(|case| !case["first_response_at"].is_null()));
}

#[test]
fn the_directory_of_the_example_lists_every_account_of_the_story() {
    let path = format!("{}/examples/karaganda/accounts.toml", env!("CARGO_MANIFEST_DIR"));
    let directory = Directory::load(path.as_ref()).unwrap();
    for (district, place) in DISTRICTS.iter().enumerate() {
        let told = social::account(district);
        let listed: Vec<_> = directory.accounts.iter().filter(|account| account.handle == told.handle).collect();
        assert!(!listed.is_empty(), "{} is not listed", told.handle);
        for account in listed {
            assert_eq!((account.body.as_str(), account.kato.as_str()), (told.body.as_str(), place.kato));
            assert_eq!(account.not_connected.is_none(), district < social::CONNECTED, "{}", told.handle);
            if account.network == Network::Telegram && account.id.is_some() {
                assert_eq!(account.id, Some(telegram::channel(district)));
                assert!(account.is_spoken_for_by(told.speaker));
            }
            if account.network == Network::Vk && account.id.is_some() {
                assert_eq!(account.id, Some(vk::wall(district)));
                assert!(account.is_spoken_for_by(told.speaker));
            }
        }
    }
}
