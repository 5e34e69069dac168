//! Every door of the main example, read once through the binary from the simulated doors,
//! and held against the hidden ledger: whose cases they are, not only how many.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;
use support::{Deployment, done};

/// The simulated doors; closed with the test.
struct Doors {
    process: Child,
    address: String,
    /// What it still says goes somewhere.
    _said: Lines<BufReader<ChildStderr>>,
}

impl Doors {
    /// The last days up to now, told to their end.
    fn open(days: i64) -> Self {
        let now = Utc::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_ahual"))
            .args(["simulate", "--listen=127.0.0.1:0", "--seed=11", "--scale=0.1", "--history-days=0"])
            .arg(format!("--start={}", (now - Duration::days(days)).to_rfc3339()))
            .arg(format!("--until={}", now.to_rfc3339()))
            .arg("--telegram-kept-hours=500")
            .env_remove("AHUAL_SIM_LISTEN")
            .env_remove("AHUAL_SIM_TOKEN")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            line.split_once("simulated doors at ").map(|(_, address)| address.trim_end_matches('/').to_owned())
        });
        Self { process, address: address.expect("the doors say where they are"), _said: lines }
    }

    async fn ask(&self, path: &str) -> Value {
        // Two providers are compiled in; reqwest asks for one even to speak plain HTTP.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{}{path}", self.address)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Truths by case, of those `keep` keeps.
fn by_case(cases: &Value, keep: impl Fn(&Value) -> bool) -> BTreeMap<&str, &Value> {
    let cases = cases.as_array().unwrap().iter().filter(|case| keep(case));
    cases.map(|case| (case["case"].as_str().unwrap(), case)).collect()
}

/// A time of the hidden ledger.
fn seconds(told: &Value) -> Option<i64> {
    Some(DateTime::parse_from_rfc3339(told.as_str()?).unwrap().timestamp())
}

#[tokio::test]
async fn every_door_of_the_main_example_gives_the_cases_that_were_told() {
    let doors = Doors::open(6);
    let folder = tempfile::tempdir().unwrap();
    let deployment = Deployment::example("karaganda", folder.path().join("data"));
    let port = doors.address.rsplit_once(':').unwrap().1;
    let out = deployment
        .command("run")
        .arg("--until-idle")
        .env("AHUAL_SIM_PORT", port)
        .env("AHUAL_HTTP_PORT", "0")
        .env("AHUAL_POSTGRES_PORT", "0")
        .output()
        .unwrap();
    let summary: Value = serde_json::from_str(done(out, "ahual run").trim()).unwrap();
    assert_eq!(summary["failed"], serde_json::json!({}));

    let ledger = deployment.query(
        "SELECT source, sum(pulled) AS pulled, sum(stored) AS stored, sum(set_aside) AS set_aside, \
         sum(duplicates) AS duplicates FROM ops.ledger GROUP BY source ORDER BY source",
    );
    let names: Vec<&str> = ledger.iter().map(|row| row["source"].as_str().unwrap()).collect();
    assert_eq!(names, ["door-109", "door-112", "egov", "open311", "tasks", "telegram", "vk"]);
    for row in &ledger {
        let number = |name: &str| row[name].as_i64().unwrap();
        assert_eq!(number("pulled"), number("stored") + number("set_aside") + number("duplicates"), "{row}");
        assert_eq!(number("set_aside"), 0, "{row}");
    }

    for source in ["egov", "telegram", "vk"] {
        let truth = doors.ask(&format!("/_truth/cases?source={source}")).await;
        // What was deleted before anybody looked was never there.
        let told = by_case(&truth, |case| case["deleted_at"].is_null());
        let rows = deployment.query(&format!(
            "SELECT substr(case_id, {}) AS id, body, territory, state, outcome, regime, \
             to_unixtime(received_at) AS received_s, to_unixtime(first_response_at) AS answered_s \
             FROM core.cases WHERE source = '{source}' AND regime <> 'post' ORDER BY case_id",
            source.len() + 2
        ));
        let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        let wanted: Vec<&str> = told.keys().copied().collect();
        assert_eq!(ids, wanted, "{source}");
        assert!(ids.len() > 10, "{source}: {}", ids.len());
        for row in &rows {
            let case = told[row["id"].as_str().unwrap()];
            assert_eq!((&row["body"], &row["territory"]), (&case["body"], &case["territory"]), "{source}: {row}");
            let ended = source == "egov" && !case["closed_at"].is_null();
            assert_eq!(row["state"], if ended { "closed" } else { "open" }, "{source}: {row} {case}");
            let regime = if source == "egov" { "document" } else { "social_appeal" };
            assert_eq!(row["regime"], regime);
            assert_eq!(row["received_s"].as_i64(), seconds(&case["received_at"]), "{source}: {row} {case}");
            assert_eq!(row["answered_s"].as_i64(), seconds(&case["first_response_at"]), "{source}: {row} {case}");
        }
        let answered = rows.iter().filter(|row| !row["answered_s"].is_null()).count();
        assert!(source == "egov" || (answered > 0 && answered < rows.len()), "{source}: {answered}");
    }

    // A second reading finds nothing: what was confirmed is gone, the rest is known.
    let again = deployment
        .command("run")
        .arg("--until-idle")
        .env("AHUAL_SIM_PORT", port)
        .env("AHUAL_HTTP_PORT", "0")
        .env("AHUAL_POSTGRES_PORT", "0")
        .output()
        .unwrap();
    let again: Value = serde_json::from_str(done(again, "ahual run").trim()).unwrap();
    for source in again["sources"].as_array().unwrap() {
        if ["egov", "telegram", "vk"].contains(&source["name"].as_str().unwrap()) {
            assert_eq!((&source["records"], &source["set_aside"]), (&0.into(), &0.into()), "{source}");
        }
    }
}
