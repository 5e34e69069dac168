#![allow(clippy::unwrap_used, clippy::expect_used)]

use ahual_schemas::sealing::Sealer;
use reqwest::header::HeaderMap;

use super::*;
use crate::config::{IntakeConfig, build};
use crate::http::Answer;

const DIRECTORY: &str = r#"
version = "2026-03-01"
[[account]]
network = "vk"
handle = "invented_akim"
id = -7
speakers = [900]
body = "invented-akimat"
kato = "352400000"
valid_from = "2020-01-01"
"#;
/// Ten days after the posts of the samples.
const NOW_S: i64 = 1_773_306_000;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "w0rd\n").unwrap();
    std::fs::write(dir.path().join("accounts.toml"), DIRECTORY).unwrap();
    dir
}

fn connector() -> VkConnector {
    let dir = folder();
    let toml = "url = \"http://127.0.0.1\"\ntoken = { file = \"token\" }\naccounts = \"accounts.toml\"";
    VkConnector::new("walls", toml::from_str(toml).unwrap(), dir.path(), &LimitsConfig::default()).unwrap()
}

fn answer(body: &str) -> Answer {
    Answer { body: Bytes::copy_from_slice(body.as_bytes()), headers: HeaderMap::new(), what: "GET x".to_owned() }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW_S, 0).unwrap()
}

type Record = (String, String, serde_json::Value);

/// Answers the next question of the plan with `body`; gives names and payloads.
fn give(door: &VkConnector, position: &mut Position, body: &str) -> Vec<Record> {
    let told = answer(body);
    let ask = position.plan.pop().unwrap();
    let Given::List(list) = given(&told).unwrap() else { panic!("closed") };
    let items = match ask {
        Ask::Comments(branch) => door.take_comments(position, branch, &list, 100),
        ask => door.take_wall(position, ask, &list, 100, NOW_S),
    };
    let sealer = Sealer::new("test", b"a secret of tests");
    let named = |item| {
        let Item::Record(found) = item else { panic!("nothing is to be set aside") };
        let named = found.identity.as_ref().unwrap().name(&found, &sealer).unwrap();
        (named.record_id, named.case_key, serde_json::from_slice(&found.payload).unwrap())
    };
    items.into_iter().map(named).collect()
}

fn begun(door: &VkConnector) -> Position {
    Position { plan: door.plan(now()), ..Position::default() }
}

const WALL: &str = include_str!("samples/wall.json");
const COMMENTS: &str = include_str!("samples/comments.json");
const THREAD: &str = include_str!("samples/thread.json");
const NONE: &str = r#"{"response":{"count":0,"items":[]}}"#;

/// Reads everything the samples hold; gives names and payloads.
fn read_all(door: &VkConnector, position: &mut Position) -> Vec<Record> {
    let mut records = give(door, position, WALL);
    records.extend(give(door, position, COMMENTS));
    records.extend(give(door, position, THREAD));
    let under_resident =
        r#"{"response":{"count":1,"items":[{"id":40,"from_id":-7,"date":1772360000,"text":"Invented"}]}}"#;
    records.extend(give(door, position, under_resident));
    assert!(position.plan.is_empty(), "{:?}", position.plan);
    records
}

#[test]
fn walls_comments_and_threads_are_asked_for_one_after_the_other() {
    let door = connector();
    let mut position = begun(&door);
    let url = door.address(&position.plan[0], 100);
    assert_eq!(url.path(), "/method/wall.get");
    assert_eq!(url.query(), Some("owner_id=-7&offset=0&count=100&v=5.199"));
    give(&door, &mut position, WALL);
    let url = door.address(position.plan.last().unwrap(), 100);
    assert_eq!(url.path(), "/method/wall.getComments");
    let query = "owner_id=-7&post_id=30&offset=0&need_likes=0&preview_length=0&thread_items_count=10&sort=asc&count=100&v=5.199";
    assert_eq!(url.query(), Some(query));
    give(&door, &mut position, COMMENTS);
    let url = door.address(position.plan.last().unwrap(), 100);
    assert!(url.query().unwrap().contains("comment_id=32"), "a thread that did not come along whole: {url}");
}

#[test]
fn records_are_keyed_by_wall_post_and_comment_and_threads_are_cases() {
    let door = connector();
    let records = read_all(&door, &mut begun(&door));
    let names: Vec<(&str, &str, bool)> =
        records.iter().map(|(id, case, payload)| (id.as_str(), case.as_str(), payload["own"] == true)).collect();
    assert_eq!(
        names,
        [
            ("-7/30", "-7/30", true),
            ("-7/29", "-7/29", false),
            ("-7/2", "-7/2", true),
            ("-7/30/31", "-7/30/31", false),
            ("-7/30/33", "-7/30/31", true),
            ("-7/30/32", "-7/30/32", false),
            ("-7/30/34", "-7/30/32", true),
            ("-7/29/40", "-7/29", true), // under a resident's post all is one thread
        ]
    );
    let said: serde_json::Value = serde_json::from_str(WALL).unwrap();
    assert_eq!(records[0].2["post"], said["response"]["items"][0], "what was said is kept");
}

#[test]
fn likes_and_views_are_no_news_and_an_edit_is() {
    let door = connector();
    let mut position = begun(&door);
    read_all(&door, &mut position);
    position.plan = door.plan(now());
    assert!(
        give(&door, &mut position, &WALL.replace("900", "901").replace("\"count\": 3}", "\"count\": 4}")).is_empty()
    );
    assert!(position.plan.is_empty(), "no comments are read again while their number stays and hours have not passed");
    position.plan = door.plan(now());
    let edited = give(&door, &mut position, &WALL.replace("Invented news", "Invented news, put right"));
    assert_eq!(edited.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), ["-7/30"]);
}

#[test]
fn what_is_gone_after_a_whole_reading_is_told_as_deleted_in_its_own_thread() {
    let door = connector();
    let mut position = begun(&door);
    read_all(&door, &mut position);
    // One comment less, with its answer: the number changes, so the comments are read again.
    position.plan = door.plan(now());
    assert!(give(&door, &mut position, &WALL.replace("\"count\": 5", "\"count\": 3")).is_empty());
    let gone = give(&door, &mut position, NONE);
    let names: Vec<(&str, &str)> = gone.iter().map(|(id, case, _)| (id.as_str(), case.as_str())).collect();
    assert_eq!(
        names,
        [("-7/30/31", "-7/30/31"), ("-7/30/32", "-7/30/32"), ("-7/30/33", "-7/30/31"), ("-7/30/34", "-7/30/32")]
    );
    assert_eq!(
        gone[0].2["comment"],
        serde_json::json!({"id": 31, "from_id": 17, "date": 1_772_442_600, "deleted": true})
    );
    assert_eq!((&gone[2].2["own"], &gone[0].2["own"]), (&true.into(), &false.into()));

    // A whole post, with what is said under it.
    let rest: serde_json::Value = serde_json::from_str(WALL).unwrap();
    let left = serde_json::json!({"response": {"count": 2, "items": [rest["response"]["items"][0], rest["response"]["items"][2]]}});
    position.plan = door.plan(now());
    let gone = give(&door, &mut position, &left.to_string().replace("\"count\":5", "\"count\":3"));
    let names: Vec<&str> = gone.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(names, ["-7/29/40", "-7/29"]);
}

#[test]
fn a_page_that_does_not_join_the_one_before_is_read_anew() {
    let door = connector();
    let mut position = begun(&door);
    give(&door, &mut position, WALL);
    let comment = |id: i64| format!(r#"{{"id":{id},"from_id":17,"date":1772442600,"text":"x"}}"#);
    let page = |ids: &[i64]| {
        let items: Vec<String> = ids.iter().map(|id| comment(*id)).collect();
        format!(r#"{{"response":{{"count":5,"items":[{}]}}}}"#, items.join(","))
    };
    let two = |position: &mut Position, body: &str| {
        let told = answer(body);
        let Some(Ask::Comments(branch)) = position.plan.pop() else { panic!("no comments asked for") };
        let Given::List(list) = given(&told).unwrap() else { panic!("closed") };
        door.take_comments(position, branch, &list, 2)
    };
    assert_eq!(two(&mut position, &page(&[31, 32])).len(), 2);
    let Some(Ask::Comments(branch)) = position.plan.last() else { panic!("the next page is asked for") };
    assert_eq!((branch.offset, branch.joint), (2, Some(32)));
    // 31 was deleted meanwhile: 32 moved up and 33 would be missed.
    assert!(two(&mut position, &page(&[33, 34])).is_empty());
    let Some(Ask::Comments(branch)) = position.plan.last() else { panic!("read anew") };
    assert_eq!((branch.offset, branch.joint, branch.restarts, branch.met.len()), (0, None, 1, 0));
    two(&mut position, &page(&[32, 33]));
    two(&mut position, &page(&[33, 34]));
    two(&mut position, &page(&[34]));
    let known = &position.posts.0[&(-7, 30)].comments;
    assert_eq!(known.keys().copied().collect::<Vec<_>>(), [32, 33, 34]);
}

#[test]
fn errors_under_http_200_are_taken_as_vk_means_them() {
    let told = |code: i64| {
        let body = format!(
            r#"{{"error":{{"error_code":{code},"error_msg":"invented words","request_params":[{{"key":"v","value":"5.199"}}]}}}}"#
        );
        given(&answer(&body)).map(|given| matches!(given, Given::Closed(words) if words.contains("invented words")))
    };
    let wait = |code| match told(code).unwrap_err() {
        ConnectorError::Busy { after, what, .. } => {
            assert!(what.contains("invented words"));
            after.unwrap().as_secs()
        }
        other => panic!("{other}"),
    };
    assert_eq!((wait(6), wait(9), wait(29)), (1, 60, 1_800));
    assert!(matches!(told(5), Err(ConnectorError::Denied { .. })));
    assert!(matches!(told(15), Ok(true)), "a closed wall stops no other");
    assert!(matches!(told(10), Err(ConnectorError::Said { .. })));
    assert!(given(&answer("{}")).is_err(), "no response is no empty wall");
}

#[test]
fn a_position_survives_in_the_cursor() {
    let door = connector();
    let mut position = begun(&door);
    read_all(&door, &mut position);
    let cursor = Cursor::of(SHAPE, &position).unwrap();
    assert_eq!(cursor.position::<Position>(SHAPE).unwrap(), position);
    assert!(door.summarise(&cursor).contains("2 posts followed"), "{}", door.summarise(&cursor));
}

#[test]
fn wrong_settings_say_what_to_write() {
    let dir = folder();
    let refused = |toml: &str| {
        let toml = format!(
            "[vk]\nurl = \"http://127.0.0.1\"\ntoken = {{ file = \"token\" }}\naccounts = \"accounts.toml\"\n{toml}"
        );
        let intake: IntakeConfig = toml::from_str(&toml).unwrap();
        build("walls", intake, dir.path()).unwrap_err().to_string()
    };
    assert!(refused("count = 500").contains("from 2 to 100"));
    assert!(refused("rescan_days = 0").contains("at least 1"));
    std::fs::remove_file(dir.path().join("accounts.toml")).unwrap();
    assert_eq!(refused(""), "source walls");
}
