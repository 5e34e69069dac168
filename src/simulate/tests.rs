#![allow(clippy::unwrap_used, clippy::expect_used)]

mod networks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ahual_schemas::Day;
use ahual_transform::reference::{Reference, ReferenceConfig};
use ahual_transform::territory::Kato;
use chrono::{DateTime, NaiveDate, Utc};
use networks::message;
use quick_xml::events::Event;
use reqwest::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::clock::day_start;
use super::dice::Dice;
use super::problem::Problem;
use super::world::World;
use super::{Faults, Options, SimulateError, serve};

/// A small finished March, story and all.
fn march() -> Options {
    Options {
        seed: 7,
        listen: "127.0.0.1:0".parse().unwrap(),
        start: Some(instant("2026-02-28T19:00:00Z")),
        until: Some(instant("2026-03-31T19:00:00Z")),
        history_days: 0,
        scale: 0.05,
        open311_cap: 20,
        telegram_kept_hours: 40 * 24,
        ..Options::default()
    }
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// Faults that change what a door says without closing it.
fn messy() -> Faults {
    Faults { duplicate: 0.05, page_drift: 0.3, late: 0.1, poison: 0.05, ..Faults::default() }
}

struct Doors {
    address: String,
    client: reqwest::Client,
    _stop: DropGuard,
}

impl Doors {
    async fn open(options: Options) -> Self {
        // Two providers are compiled in; reqwest asks for one even to speak plain HTTP.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let stop = CancellationToken::new();
        let (address, _) = serve(options, stop.clone()).await.unwrap();
        Self { address: format!("http://{address}"), client: reqwest::Client::new(), _stop: stop.drop_guard() }
    }

    async fn ask(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.address)).bearer_auth("simulated").send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        self.ask(path).await.text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    async fn all_109(&self, since: &str) -> Vec<Value> {
        let mut items = Vec::new();
        for page in 1.. {
            let said = self.json(&format!("/109/requests?updated_since={since}&page={page}&page_size=50")).await;
            items.extend(said["items"].as_array().unwrap().clone());
            if page * 50 >= said["total"].as_i64().unwrap() {
                break;
            }
        }
        items
    }

    async fn all_112(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut since = 0;
        loop {
            let said = self.json(&format!("/112/incidents?since_id={since}&limit=100")).await;
            rows.extend(said["rows"].as_array().unwrap().clone());
            since = said["last_id"].as_i64().unwrap();
            if said["more"] == false {
                return rows;
            }
        }
    }

    async fn all_tasks(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut next = Some("/tasks?offset=0&limit=40".to_owned());
        while let Some(path) = next {
            let answer = self.ask(&path).await;
            let link = answer.headers()["link"].to_str().unwrap().to_owned();
            next = link.split(", ").find(|link| link.ends_with("rel=\"next\"")).map(|link| {
                let address = link[1..].split_once('>').unwrap().0;
                address.strip_prefix(&self.address).unwrap().to_owned()
            });
            entries.extend(serde_json::from_str::<Vec<Value>>(&answer.text().await.unwrap()).unwrap());
        }
        entries
    }

    /// Windows are split until none is full, as the standard leaves no other way.
    async fn all_open311(&self, cap: usize) -> Vec<Value> {
        let mut requests = Vec::new();
        let mut windows = vec![(day_start(NaiveDate::from_ymd_opt(2026, 3, 1).unwrap()), 1_774_983_600_i64)];
        while let Some((from, to)) = windows.pop() {
            let (start, end) = (super::clock::utc(from), super::clock::utc(to));
            let said = self.json(&format!("/open311/v2/requests.json?start_date={start}&end_date={end}")).await;
            let said = said.as_array().unwrap();
            if said.len() >= cap && to > from {
                let middle = (from + to) / 2;
                windows.push((from, middle));
                windows.push((middle + 1, to));
            } else {
                requests.extend(said.clone());
            }
        }
        requests
    }
}

/// Distinct values of some fields among rows that have them and a time that can be read.
fn distinct(rows: &[Value], fields: &[&str], time: &str) -> BTreeSet<String> {
    rows.iter()
        .filter(|row| super::clock::read(row[time].as_str().unwrap()).is_some())
        .filter(|row| fields.iter().all(|field| !row[field].is_null()))
        .map(|row| fields.iter().map(|field| row[field].to_string()).collect::<Vec<_>>().join("/"))
        .collect()
}

fn spoilt(rows: &[Value], id: &str, time: &str) -> u64 {
    let distinct: BTreeSet<String> = rows
        .iter()
        .filter(|row| row[id].is_null() || super::clock::read(row[time].as_str().unwrap()).is_none())
        .map(Value::to_string)
        .collect();
    distinct.len() as u64
}

#[tokio::test]
async fn the_same_seed_says_the_same_bytes_and_another_seed_does_not() {
    let options = Options { faults: messy(), ..march() };
    let (one, two) = (Doors::open(options.clone()).await, Doors::open(options.clone()).await);
    let other = Doors::open(Options { seed: 8, ..options }).await;
    for path in [
        "/109/requests?page=2",
        "/112/incidents",
        "/tasks?offset=30&limit=10",
        "/open311/v2/requests.xml",
        "/open311/v2/requests.json",
        "/api/v4/invented_documents/v1?apiKey=simulated&source=%7B%22size%22:100%7D",
        "/_truth/cases?source=door-112",
    ] {
        let said = one.text(path).await;
        assert!(said.len() > 500, "{path}: {said}");
        assert_eq!(said, two.text(path).await, "{path}");
        assert_ne!(said, other.text(path).await, "{path}");
    }
}

#[tokio::test]
async fn walking_every_page_of_every_door_finds_what_the_hidden_ledger_says() {
    for faults in [Faults::default(), messy()] {
        let clean = faults.poison == 0.0;
        let doors = Doors::open(Options { faults, ..march() }).await;
        let truth = doors.json("/_truth").await["sources"].clone();
        let count = |source: &str, what: &str| truth[source][what].as_u64().unwrap();

        let rows = doors.all_109("").await;
        assert_eq!(distinct(&rows, &["id"], "created_at").len() as u64, count("door-109", "records"));
        assert_eq!(spoilt(&rows, "id", "created_at"), count("door-109", "poison"));

        let rows = doors.all_112().await;
        assert_eq!(distinct(&rows, &["incident", "unit"], "received_at").len() as u64, count("door-112", "records"));
        assert_eq!(
            distinct(&rows, &["incident", "unit", "version"], "received_at").len() as u64,
            count("door-112", "versions")
        );
        assert_eq!(distinct(&rows, &["incident"], "received_at").len() as u64, count("door-112", "received"));
        assert_eq!(spoilt(&rows, "incident", "received_at"), count("door-112", "poison"));

        let rows = doors.all_tasks().await;
        assert_eq!(distinct(&rows, &["event_id"], "at").len() as u64, count("tasks", "records"));
        assert_eq!(distinct(&rows, &["event_id", "version"], "at").len() as u64, count("tasks", "versions"));
        assert_eq!(spoilt(&rows, "task", "at"), count("tasks", "poison"));

        let rows = doors.all_open311(20).await;
        assert_eq!(
            distinct(&rows, &["service_request_id"], "requested_datetime").len() as u64,
            count("open311", "records")
        );
        assert_eq!(spoilt(&rows, "service_request_id", "requested_datetime"), count("open311", "poison"));

        // Repeats shift offsets; what a page says twice is one row here.
        let rows = doors.all_egov().await;
        let texts: Vec<Value> = rows
            .into_iter()
            .map(|mut row| {
                row["id"] = row["id"].as_u64().map_or_else(|| row["id"].clone(), |id| id.to_string().into());
                row
            })
            .collect();
        assert_eq!(distinct(&texts, &["id"], "filed_at").len() as u64, count("egov", "records"));
        assert_eq!(spoilt(&texts, "id", "filed_at"), count("egov", "poison"));

        let updates = doors.all_telegram().await;
        let numbers: Vec<i64> = updates.iter().map(|update| update["update_id"].as_i64().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        let messages: Vec<&Value> = updates.iter().filter_map(message).collect();
        let places: BTreeSet<String> =
            messages.iter().map(|m| format!("{}/{}", m["chat"]["id"], m["message_id"])).collect();
        assert_eq!(places.len() as u64, count("telegram", "records"));
        assert_eq!(messages.len() as u64, count("telegram", "versions"));
        assert_eq!((updates.len() - messages.len()) as u64, count("telegram", "poison"));

        for source in ["door-109", "door-112", "tasks", "open311", "egov", "telegram"] {
            assert!(count(source, "records") > 50, "{source} {truth}");
            assert!(count(source, "versions") > count(source, "records"), "{source}");
            assert_eq!(count(source, "poison") == 0, clean, "{source}");
            for what in ["records", "versions", "poison", "received", "closed", "open"] {
                let days = truth[source]["days"].as_array().unwrap();
                let sum: u64 = days.iter().map(|day| day[what].as_u64().unwrap()).sum();
                assert_eq!(sum, count(source, what), "{source} {what} by day");
            }
        }
    }
}

#[tokio::test]
async fn the_figures_of_109_can_be_made_from_the_door_alone() {
    let doors = Doors::open(march()).await;
    let rows = doors.all_109("").await;
    let truth = doors.json("/_truth").await["sources"]["door-109"].clone();
    let many = |keep: &dyn Fn(&Value) -> bool| rows.iter().filter(|row| keep(row)).count() as u64;
    assert_eq!(many(&|row| row["kind"] == "enquiry"), truth["enquiries"].as_u64().unwrap());
    assert_eq!(many(&|row| !row["closed_at"].is_null()), truth["closed"].as_u64().unwrap());
    assert_eq!(many(&|row| row["status"] != "closed" && row["status"] != "withdrawn"), truth["open"].as_u64().unwrap());
    assert!(many(&|row| !row["reopened_at"].is_null()) > 0);
    assert!(many(&|row| !row["transferred_at"].is_null()) > 0);
    assert!(many(&|row| !row["extended_at"].is_null()) > 0);

    let cases = doors.json("/_truth/cases?source=door-109").await;
    let by_id: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
    assert_eq!(cases.as_array().unwrap().len(), by_id.len());
    for case in cases.as_array().unwrap() {
        let row = by_id[case["case"].as_str().unwrap()];
        assert_eq!(case["body"], row["body"]);
        for (truly, said) in
            [("received_at", "created_at"), ("closed_at", "closed_at"), ("first_response_at", "answered_at")]
        {
            let read = |value: &Value| value.as_str().map(|text| super::clock::read(text).unwrap());
            assert_eq!(read(&case[truly]), read(&row[said]), "{case} {row}");
        }
    }
}

#[tokio::test]
async fn asking_109_since_an_instant_gives_just_what_was_updated_from_then_on() {
    let doors = Doors::open(march()).await;
    let all = doors.all_109("").await;
    let since = "2026-03-20%2012:00:00";
    let some = doors.all_109(since).await;
    let wanted: Vec<&Value> =
        all.iter().filter(|row| row["updated_at"].as_str() >= Some("2026-03-20 12:00:00")).collect();
    assert!(!wanted.is_empty() && wanted.len() < all.len());
    assert_eq!(some.iter().collect::<Vec<_>>(), wanted);
    assert!(all.is_sorted_by_key(|row| row["updated_at"].as_str().unwrap().to_owned()));
}

#[tokio::test]
async fn the_feed_and_the_log_give_what_was_written_since_an_instant() {
    let doors = Doors::open(march()).await;
    let rows = doors.all_112().await;
    let since = &rows[rows.len() - 40]["written_at"].as_str().unwrap().replace('+', "%2B");
    let some = doors.json(&format!("/112/incidents?written_since={since}&limit=1000")).await;
    assert_eq!(some["rows"].as_array().unwrap().as_slice(), &rows[rows.len() - 40..]);
    assert_eq!(some["next"], Value::Null);

    let entries = doors.all_tasks().await;
    let since = entries[entries.len() - 30]["appended_at"].as_str().unwrap();
    let answer = doors.ask(&format!("/tasks?appended_since={since}&limit=20")).await;
    let link = answer.headers()["link"].to_str().unwrap().to_owned();
    assert!(link.contains(&format!("offset=20&limit=20&appended_since={since}>; rel=\"next\"")), "{link}");
    let some: Vec<Value> = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(some[0], entries[entries.len() - 30]);
}

#[tokio::test]
async fn faults_come_as_often_as_asked() {
    let faults = Faults {
        too_many: 0.2,
        server_error: 0.15,
        html: 0.1,
        truncated: 0.1,
        retry_after_seconds: 3,
        ..Faults::default()
    };
    let doors = Doors::open(Options { faults, ..march() }).await;
    let mut seen: BTreeMap<&str, f64> = BTreeMap::new();
    for _ in 0..1_000 {
        let answer = doors.ask("/112/incidents?limit=3").await;
        let status = answer.status();
        let wait = answer.headers().get("retry-after").cloned();
        let html = answer.headers()["content-type"].to_str().unwrap().starts_with("text/html");
        let body = answer.text().await;
        let what = match body {
            Err(_) => "truncated",
            Ok(_) if status == StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(wait.unwrap(), "3");
                "too_many"
            }
            Ok(_) if status == StatusCode::INTERNAL_SERVER_ERROR => "server_error",
            Ok(_) if html => "html",
            Ok(text) if serde_json::from_str::<Value>(&text).is_err() => "truncated",
            Ok(_) => "fine",
        };
        *seen.entry(what).or_default() += 1.0;
    }
    for (what, rate) in [("too_many", 0.2), ("server_error", 0.15), ("html", 0.1), ("truncated", 0.1), ("fine", 0.45)] {
        assert!((seen[what] / 1_000.0 - rate).abs() < 0.04, "{what}: {seen:?}");
    }
    let told = doors.json("/_truth").await["doors"]["door-112"].clone();
    assert_eq!(told["requests"], 1_000);
    assert_eq!(told["html"].as_f64().unwrap(), seen["html"]);
    assert_eq!(told["truncated"].as_f64().unwrap(), seen["truncated"]);
}

#[tokio::test]
async fn duplicates_come_as_often_as_asked() {
    let doors = Doors::open(Options { faults: Faults { duplicate: 0.1, ..Faults::default() }, ..march() }).await;
    let rows = doors.all_112().await;
    let once = distinct(&rows, &["id"], "received_at").len() as f64;
    assert!((rows.len() as f64 / once - 1.1).abs() < 0.03, "{} of {once}", rows.len());
}

#[tokio::test]
async fn open311_says_the_same_in_xml_as_in_json() {
    let doors = Doors::open(march()).await;
    for resource in ["requests", "services", "servicerequestupdates"] {
        let json = doors.json(&format!("/open311/v2/{resource}.json")).await;
        let xml = items_of_xml(&doors.text(&format!("/open311/v2/{resource}.xml")).await);
        assert!(xml.len() > 5, "{resource}");
        let json: Vec<BTreeMap<String, String>> = json
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let text = |value: &Value| match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                item.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
            })
            .collect();
        assert_eq!(xml, json, "{resource}");
    }
}

/// Children of the root as maps of their own children's text.
fn items_of_xml(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut items, mut path, mut value) =
        (Vec::<BTreeMap<String, String>>::new(), Vec::<String>::new(), String::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                path.push(String::from_utf8(start.name().as_ref().to_vec()).unwrap());
                value.clear();
                if path.len() == 2 {
                    items.push(BTreeMap::new());
                }
            }
            Event::Empty(empty) => {
                let name = String::from_utf8(empty.name().as_ref().to_vec()).unwrap();
                items.last_mut().unwrap().insert(name, String::new());
            }
            Event::Text(text) => value.push_str(&text.decode().unwrap()),
            Event::GeneralRef(entity) => value.push_str(match &*entity.decode().unwrap() {
                "amp" => "&",
                "lt" => "<",
                "gt" => ">",
                other => panic!("{other:?}"),
            }),
            Event::End(_) => {
                let name = path.pop().unwrap();
                if path.len() == 2 {
                    items.last_mut().unwrap().insert(name, std::mem::take(&mut value));
                }
            }
            Event::Eof => return items,
            _ => {}
        }
    }
}

#[tokio::test]
async fn open311_filters_pages_and_refuses_as_the_standard_says() {
    let doors = Doors::open(march()).await;
    let closed = doors.json("/open311/v2/requests.json?status=closed&service_code=001,005").await;
    assert!(!closed.as_array().unwrap().is_empty());
    for request in closed.as_array().unwrap() {
        assert_eq!(request["status"], "closed");
        assert!(["001", "005"].contains(&request["service_code"].as_str().unwrap()));
    }
    // No answer is longer than the cap, whatever is asked for.
    let first = doors.json("/open311/v2/requests.json?page_size=500").await;
    let second = doors.json("/open311/v2/requests.json?page=2").await;
    assert_eq!((first.as_array().unwrap().len(), second.as_array().unwrap().len()), (20, 20));
    assert!(first[19]["requested_datetime"].as_str() >= second[0]["requested_datetime"].as_str());

    let id = first[0]["service_request_id"].as_str().unwrap();
    assert!(id.starts_with('0'));
    assert_eq!(doors.json(&format!("/open311/v2/requests/{id}.json")).await[0], first[0]);
    assert_eq!(doors.json(&format!("/open311/v2/requests.json?service_request_id={id}")).await[0], first[0]);

    for (path, status) in [
        ("/open311/v2/requests/nothing.json", 404),
        ("/open311/v2/requests.json?start_date=yesterday", 400),
        ("/open311/v2/requests.json?service_code=999", 404),
        ("/open311/v2/services/999.json", 404),
    ] {
        let answer = doors.ask(path).await;
        assert_eq!(answer.status(), status, "{path}");
        let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(said[0]["code"], status, "{path}");
        assert!(said[0]["description"].is_string(), "{path}");
    }
    let said = items_of_xml(&doors.text("/open311/v2/requests.xml?start_date=yesterday").await);
    assert_eq!(said[0]["code"], "400");
}

#[tokio::test]
async fn door_109_asks_for_its_token() {
    let doors = Doors::open(march()).await;
    let address = format!("{}/109/requests", doors.address);
    assert_eq!(doors.client.get(&address).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let wrong = doors.client.get(&address).bearer_auth("guessed").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(doors.ask("/109/requests?page=first").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_in_words() {
    for (options, word) in [
        (Options { listen: "0.0.0.0:0".parse().unwrap(), ..march() }, "loopback"),
        (Options { faults: Faults { html: 1.5, ..Faults::default() }, ..march() }, "html"),
        (Options { faults: Faults { html: 0.6, slow: 0.6, ..Faults::default() }, ..march() }, "add up"),
        (Options { until: Some(instant("2020-01-01T00:00:00Z")), ..march() }, "until"),
        (Options { speed: f64::NAN, ..march() }, "speed"),
    ] {
        let error = serve(options, CancellationToken::new()).await.unwrap_err();
        assert!(matches!(&error, SimulateError::Settings(why) if why.contains(word)), "{error}");
    }
}

#[tokio::test]
async fn the_doors_close_when_told_to() {
    let stop = CancellationToken::new();
    let (_, server) = serve(march(), stop.clone()).await.unwrap();
    stop.cancel();
    server.await.unwrap().unwrap();
}

/// A world as far as an instant, reached in the steps given.
fn reached(steps: &[&str], faults: Faults) -> (World, i64) {
    let mut world = World::new(3, NaiveDate::from_ymd_opt(2026, 3, 1).unwrap(), 0.1, faults);
    let mut now = 0;
    for step in steps {
        now = instant(step).timestamp();
        world.reach(now);
    }
    (world, now)
}

#[test]
fn a_story_does_not_depend_on_how_often_it_was_looked_at() {
    let (once, now) = reached(&["2026-03-09T08:00:00Z"], messy());
    let (often, _) = reached(&["2026-03-02T00:00:00Z", "2026-03-05T23:59:59Z", "2026-03-09T08:00:00Z"], messy());
    assert_eq!(once.feed, often.feed);
    assert_eq!(once.task_log, often.task_log);
    let ids = |world: &World| -> Vec<(String, u32)> {
        let shown = world.requests.updated_since(i64::MIN, now);
        shown.iter().map(|(problem, version)| (problem.id.clone(), version.number)).collect()
    };
    assert_eq!(ids(&once), ids(&often));
}

#[test]
fn what_was_once_said_by_offset_or_id_never_moves_however_late_the_rest_comes() {
    let late = Faults { late: 0.5, late_minutes: 600, ..Faults::default() };
    let (mut world, _) = reached(&["2026-03-01T06:00:00Z"], late);
    let start = instant("2026-03-01T06:00:00Z").timestamp();
    let (mut feed, mut log): (Vec<i64>, Vec<String>) = (Vec::new(), Vec::new());
    for now in (start..start + 9 * 86_400).step_by(3_571) {
        world.reach(now);
        let feed_now: Vec<i64> = world.feed_after(0, now).map(|(id, ..)| id).collect();
        let log_now: Vec<String> = world
            .task_log_since(i64::MIN, now)
            .map(|(_, entry)| format!("{}/{}", entry.event_id, entry.version))
            .collect();
        assert!(feed_now.starts_with(&feed), "at {now}");
        assert!(log_now.starts_with(&log), "at {now}");
        (feed, log) = (feed_now, log_now);
    }
    assert!(feed.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_late_record_appears_behind_the_newest_update_already_shown() {
    let (world, now) = reached(&["2026-03-09T08:00:00Z"], Faults { late: 0.2, late_minutes: 120, ..Faults::default() });
    let hour_ago = now - 3_600;
    let newest = world.requests.updated_since(i64::MIN, hour_ago).last().unwrap().1.updated_at;
    let overtaken = |(_, version): &(&Problem, &super::problem::Version)| {
        version.updated_at < newest && version.visible_at > hour_ago
    };
    assert!(world.requests.updated_since(i64::MIN, now).iter().any(overtaken));
}

#[test]
fn faults_of_the_data_do_not_change_the_story() {
    let told = |faults: Faults| {
        let (world, _) = reached(&["2026-03-05T00:00:00Z"], faults);
        let all = world.requests.all.into_iter().filter(|problem| problem.poison.is_none());
        all.map(|problem| (problem.id, problem.versions.last().map(|version| version.state.clone())))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(Faults::default()), told(messy()));
}

#[test]
fn every_life_is_in_order_and_there_are_good_and_bad_bodies() {
    let (world, _) = reached(&["2026-03-20T00:00:00Z"], Faults::default());
    let mut corrected = 0;
    for problem in world.requests.all.iter().chain(&world.reports.all) {
        for pair in problem.versions.windows(2) {
            assert!(pair[0].updated_at < pair[1].updated_at && pair[0].visible_at <= pair[1].visible_at, "{problem:?}");
            assert_eq!(pair[0].number + 1, pair[1].number, "{problem:?}");
            let (before, after) = (pair[0].state.closed_at, pair[1].state.closed_at);
            corrected += usize::from(before.is_some() && after.is_some() && before != after);
        }
        for version in &problem.versions {
            let state = &version.state;
            let happened =
                [state.assigned_at, state.answered_at, state.first_closed_at, state.closed_at, state.withdrawn_at];
            assert!(happened.iter().flatten().all(|at| *at >= problem.received_at), "{problem:?}");
            assert!(happened.iter().flatten().all(|at| *at <= version.updated_at), "{problem:?}");
            if let (Some(closed_at), Some(reopened_at)) = (state.closed_at, state.reopened_at) {
                assert!(closed_at > reopened_at, "{problem:?}");
            }
        }
    }
    assert!(corrected > 0);
    let bodies: BTreeSet<String> =
        world.requests.all.iter().filter_map(|problem| problem.versions.last()?.state.body.clone()).collect();
    let bad = bodies.iter().filter(|body| super::region::slowness(body) > 2.0).count();
    assert!(bad > 2 && bad * 3 < bodies.len(), "{bad} of {}", bodies.len());
}

#[test]
fn chance_is_fair_enough() {
    let mut dice = Dice::new(1, "fair");
    let mean = (0..20_000).map(|_| dice.unit()).sum::<f64>() / 20_000.0;
    assert!((mean - 0.5).abs() < 0.01, "{mean}");
    let share = (0..20_000).filter(|_| dice.weighted(&[1.0, 3.0]) == 1).count();
    assert!((14_600..15_400).contains(&share), "{share}");
    assert!((0..2_000).all(|_| (2..=4).contains(&dice.between(2, 4))));
    let total: usize = (0..5_000).map(|_| dice.count(2.3)).sum();
    assert!((11_000..12_000).contains(&total), "{total}");
}

#[test]
fn options_read_the_same_from_flags_and_from_a_file() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }
    let flags = ["simulate", "--listen=[::1]:0", "--seed=9", "--until=2026-04-01T00:00:00+05:00", "--fault-html=0.25"];
    let Cli { options } = clap::Parser::parse_from(flags);
    let file = "listen = '[::1]:0'\nseed = 9\nuntil = '2026-03-31T19:00:00Z'\nfaults = { html = 0.25 }";
    assert_eq!(options, toml::from_str::<Options>(file).unwrap());
    assert!(toml::from_str::<Options>("sede = 9").is_err());
}

/// Files of the example that is read from these doors.
fn example(file: &str) -> String {
    let path = format!("{}/examples/karaganda/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test]
async fn the_example_asks_for_what_the_doors_say() {
    let doors = Doors::open(march()).await;
    let config: toml::Value = toml::from_str(&example("ahual.toml")).unwrap();
    let names = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let mut seen = BTreeSet::new();
    for source in config["source"].as_array().unwrap() {
        let name = source["name"].as_str().unwrap();
        seen.insert(name);
        let mut wanted = Vec::new();
        if let Some(identity) = source.get("identity") {
            wanted = names(&identity["columns"]);
            wanted.extend(identity.get("case_key").map(names).unwrap_or_default());
        }
        let columns = &source["mapping"]["columns"];
        match columns.as_table() {
            Some(paths) => wanted.extend(paths.values().map(|path| path.as_str().unwrap().to_owned())),
            None => wanted.extend(names(columns)),
        }
        assert!(example(source["mapping"]["sql"].as_str().unwrap()).contains("FROM raw"));

        let items = match source.get("rest") {
            Some(rest) => {
                wanted.push(rest["window"]["field"].as_str().unwrap().to_owned());
                let size = (rest["page_size_param"].as_str().unwrap(), rest["page_size"].as_integer().unwrap());
                let path = format!("{}?{}={}", rest["path"].as_str().unwrap(), size.0, size.1);
                let said = doors.json(&path).await;
                match rest.get("records") {
                    Some(records) => said[records.as_str().unwrap()].clone(),
                    None => said,
                }
            }
            None if source.get("vk").is_some() => {
                // Nobody is told that something was deleted.
                wanted.retain(|path| path.contains('.') && !path.ends_with(".deleted"));
                let (posts, comments) = doors.all_vk().await;
                let posts = posts.into_iter().map(|post| serde_json::json!({"post": post}));
                posts.chain(comments.into_iter().map(|comment| serde_json::json!({"comment": comment}))).collect()
            }
            None if source.get("telegram").is_some() => {
                // What the record says besides the update comes from the directory.
                wanted.retain(|path| path.starts_with("update.") && !path.contains("caption"));
                // Copies of posts are never edited here.
                wanted.retain(|path| path != "update.edited_message.is_automatic_forward");
                let updates = doors.all_telegram().await.into_iter();
                updates.map(|update| serde_json::json!({"update": update})).collect()
            }
            None if source.get("egov").is_some() => {
                wanted.push("modified".to_owned());
                assert_eq!(source["egov"]["dataset"].as_str(), Some("invented_documents"));
                Value::Array(doors.all_egov().await)
            }
            None => {
                assert!(source["open311"]["url"].as_str().unwrap().ends_with("/open311/v2"));
                doors.json("/open311/v2/requests.json").await
            }
        };
        for wanted in wanted {
            let pointer = format!("/{}", wanted.replace('.', "/"));
            let found = items.as_array().unwrap().iter().any(|item| item.pointer(&pointer).is_some());
            assert!(found, "{name}: no item has {wanted}");
        }
    }
    let truth = doors.json("/_truth").await;
    let told: BTreeSet<&str> = truth["sources"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(seen, told);
    for secret in ["door-109.token", "egov.key", "vk.token"] {
        assert_eq!(example(secret).trim(), Options::default().token);
    }
    assert_eq!(example("telegram.token").trim(), format!("1:{}", Options::default().token));
}

#[test]
fn every_place_of_the_story_is_a_known_territory_and_what_left_has_a_successor() {
    let reference = Reference::built_in().unwrap();
    let territories = &reference.territories;
    let region = Kato::new("350000000").unwrap();
    for district in &super::region::DISTRICTS {
        let kato = Kato::new(district.kato).unwrap();
        let row = territories.get(kato).unwrap_or_else(|| panic!("{kato} is not known"));
        assert_eq!(row.validity.to, None, "{kato} is not valid any more");
        assert_eq!(territories.region(kato), Some(region));
        assert!(row.point.is_some());
    }
    for kato in super::region::LEFT_IN_2022 {
        let row = territories.get(Kato::new(kato).unwrap()).unwrap();
        let successor = territories.get(row.successor.unwrap()).unwrap();
        assert!(row.validity.to.is_some() && row.validity.to == successor.validity.from);
        assert_eq!(row.name_kk, successor.name_kk);
    }
}

#[test]
fn every_word_of_the_story_is_in_the_examples_reference_data() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/karaganda");
    let config = ReferenceConfig { folder: Some("reference".into()), ..ReferenceConfig::default() };
    let reference = Reference::load(&config, &folder).unwrap();
    for category in &super::region::CATEGORIES {
        for source in ["door-109", "tasks"] {
            assert_eq!(reference.categories.of(source, category.code, None), Some(category.code));
        }
        if let Some(service_code) = category.service_code {
            assert_eq!(reference.categories.of("open311", service_code, None), Some(category.code));
        }
        let norm = reference.norms.of(&reference.categories, "resolution", Some(category.code), Day(20_000)).unwrap();
        assert_eq!(norm.limit_s, category.norm_hours * 3600, "{}", category.code);
        for district in 0..super::region::DISTRICTS.len() {
            let code = super::region::body(district, category.branch);
            let body = reference.bodies.get(&code).unwrap_or_else(|| panic!("{code} is no body"));
            assert_eq!(body.territory, Kato::new(super::region::DISTRICTS[district].kato));
        }
    }
    for service in ["ambulance", "police", "fire"] {
        assert!(reference.bodies.get(service).is_some());
        for urgency in 1..=4 {
            let word = format!("{service}-{urgency}");
            assert_eq!(reference.categories.of("door-112", &word, None), Some(word.as_str()));
        }
    }
}
