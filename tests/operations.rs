//! What operators do: batch jobs under cron, dead letters mended and replayed, doctor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const CONFIG: &str = "
[deployment]
time_zone = \"Asia/Almaty\"
[[source]]
name = \"calls\"
[source.files]
path = \"calls-*.csv\"
[source.identity]
columns = [\"id\"]
[source.mapping]
sql = \"calls.sql\"
regime = \"request_109\"
time_zone = \"Asia/Almaty\"
columns = [\"id\", \"opened\", \"closed\"]
";

const MAPPING: &str = "
SELECT _record, 'received' AS kind, parse_when(opened, 'Asia/Almaty') AS occurred_at, NULL AS outcome FROM raw
UNION ALL
SELECT _record, 'closed', parse_when(closed, 'Asia/Almaty'), 'resolved' FROM raw WHERE closed IS NOT NULL
";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.write("ahual.toml", CONFIG);
        place.write("calls.sql", MAPPING);
        place.write(
            "calls-1.csv",
            "id,opened,closed\n1,2026-01-05 09:00,2026-01-06 09:00\n2,2026-01-05 10:00,\n3,05.01.2026 11:00,\n",
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn call(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ahual"));
        command.arg(verb).arg("--config").arg(self.path("ahual.toml")).arg("--data").arg(self.data()).args(arguments);
        for name in ["AHUAL_LOG", "AHUAL_KAFKA_BROKERS", "AHUAL_KAFKA_TOPIC_PREFIX", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    fn run(&self) {
        let output = self.call("run", &["--until-idle"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    fn batch(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.call("batch", arguments);
        let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), summary)
    }

    fn ledger(&self) -> Vec<String> {
        let sql = "SELECT sum(pulled) || '=' || sum(stored) || '+' || sum(set_aside) || '+' || sum(duplicates) AS l FROM ops.ledger";
        let output = self.call("query", &["--output", "csv", sql]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().skip(1).map(str::to_owned).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

const JANUARY: [&str; 2] = ["--window", "2026-01-01..2026-02-01"];

#[test]
fn recompute_asks_to_be_tried_later_until_something_is_published_and_then_agrees() {
    let place = Place::new();
    let arguments = [&["recompute"], &JANUARY[..]].concat();
    let (code, summary) = place.batch(&arguments);
    assert_eq!(code, Some(75), "{summary}");
    assert_eq!(summary["status"], "try later");
    place.run();
    for _ in 0..2 {
        let (code, summary) = place.batch(&arguments);
        assert_eq!(code, Some(0), "{summary}");
        assert_eq!(summary["status"], "done");
        assert_eq!(summary["result"]["differences"], serde_json::json!([]));
        assert!(summary["result"]["cells"].as_u64().unwrap() > 0, "{summary}");
    }
}

#[test]
fn recompute_fails_and_names_what_differs_when_rows_are_gone() {
    let place = Place::new();
    place.run();
    let table = place.data().join("lake/core/events");
    let victim = files(&table).into_iter().map(|(name, _)| name).find(|name| name.ends_with(".parquet")).unwrap();
    fs::remove_file(table.join(victim)).unwrap();
    let (code, summary) = place.batch(&[&["recompute"], &JANUARY[..]].concat());
    assert_eq!(code, Some(1), "{summary}");
    assert_eq!(summary["result"]["differences"][0]["source"], "calls");
    assert!(summary["result"]["differences"][0]["day"].is_string(), "{summary}");
}

#[test]
fn a_job_whose_lease_is_held_is_to_be_tried_later() {
    let place = Place::new();
    place.run();
    fs::create_dir_all(place.data().join("batch")).unwrap();
    let lease = fs::File::create(place.data().join("batch/export.lease")).unwrap();
    lease.try_lock().unwrap();
    let (code, summary) = place.batch(&[&["export"], &JANUARY[..]].concat());
    assert_eq!(code, Some(75), "{summary}");
    drop(lease);
    let (code, summary) = place.batch(&[&["export"], &JANUARY[..]].concat());
    assert_eq!(code, Some(0), "{summary}");
}

#[test]
fn an_export_again_gives_the_same_bytes_and_every_metric_has_both_files() {
    let place = Place::new();
    place.run();
    let arguments = [&["export"], &JANUARY[..]].concat();
    assert_eq!(place.batch(&arguments).0, Some(0));
    let folder = place.data().join("export/2026-01-01..2026-02-01");
    let first = files(&folder);
    let named = |ending: &str| first.iter().filter(|(name, _)| name.ends_with(ending)).count();
    assert_eq!(named(".csv"), named(".parquet"));
    assert!(named(".csv") >= 7);
    let (_, completion) = first.iter().find(|(name, _)| name == "completion.csv").unwrap();
    // Two cases came in on that day and one of them was resolved.
    assert!(text(completion).lines().nth(1).unwrap().contains("2026-01-05,1,2,2,"), "{}", text(completion));
    let (code, summary) = place.batch(&arguments);
    assert_eq!((code, summary["result"]["unchanged"].as_bool()), (Some(0), Some(true)));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(place.batch(&arguments).0, Some(0));
    assert!(files(&folder) == first, "the same export gave other bytes");
}

#[test]
fn a_backfill_reads_again_and_changes_nothing_that_was_right() {
    let place = Place::new();
    place.run();
    let before = place.ledger();
    for _ in 0..2 {
        let (code, summary) = place.batch(&[&["backfill", "--source", "calls"], &JANUARY[..]].concat());
        assert_eq!(code, Some(0), "{summary}");
        assert_eq!(place.ledger(), before);
    }
    let (code, summary) = place.batch(&[&["backfill", "--source", "cals"], &JANUARY[..]].concat());
    assert_eq!(code, Some(1));
    assert!(summary["result"]["error"].as_str().unwrap().contains("there are calls"), "{summary}");
}

#[test]
fn a_wrong_window_or_configuration_is_a_usage_error() {
    let place = Place::new();
    for window in ["2026-02-01..2026-01-01", "january", "2026-01-01"] {
        assert_eq!(place.batch(&["recompute", "--window", window]).0, Some(2), "{window}");
    }
    place.write("ahual.toml", &CONFIG.replace("time_zone = \"Asia/Almaty\"\n[[", "zone = 1\n[["));
    assert_eq!(place.batch(&[&["recompute"], &JANUARY[..]].concat()).0, Some(2));
}

#[test]
fn a_dead_letter_shows_its_bytes_and_becomes_a_case_once_the_mapping_is_mended() {
    let place = Place::new();
    place.run();
    assert_eq!(place.ledger(), ["3=2+1+0"]);
    let listed = place.call("dead-letters", &["list"]);
    assert!(text(&listed.stdout).contains("unreadable time"), "{}", text(&listed.stdout));
    let sql = "SELECT topic, partition, \"offset\" FROM ops.dead_letters";
    let at = text(&place.call("query", &["--output", "csv", sql]).stdout);
    let at: Vec<&str> = at.lines().nth(1).unwrap().split(',').collect();
    let shown = place.call("dead-letters", &[&["show"], &at[..]].concat());
    assert!(text(&shown.stdout).contains("05.01.2026 11:00"), "{}", text(&shown.stdout));

    let mended = "CASE WHEN opened LIKE '__.%' THEN parse_when(opened, 'Asia/Almaty', '%d.%m.%Y %H:%M') \
                  ELSE parse_when(opened, 'Asia/Almaty') END AS occurred_at";
    place.write("calls.sql", &MAPPING.replace("parse_when(opened, 'Asia/Almaty') AS occurred_at", mended));
    let replayed = place.call("dead-letters", &["replay"]);
    assert!(text(&replayed.stdout).contains("\"replayed\":1"), "{}", text(&replayed.stderr));
    place.run();
    assert_eq!(place.ledger(), ["3=3+0+0"]);
    let again = place.call("dead-letters", &["replay"]);
    assert!(text(&again.stdout).contains("\"replayed\":0"), "a mended record is no dead letter any more");
    assert!(place.call("reconcile", &[]).status.success());
}

#[test]
fn doctor_dials_every_source_and_moves_nothing() {
    let place = Place::new();
    let healthy = place.call("doctor", &[]);
    assert!(healthy.status.success(), "{}", text(&healthy.stdout));
    assert!(text(&healthy.stdout).contains("ok    source calls: answers"), "{}", text(&healthy.stdout));
    place.write("calls.sql", "SELECT nothing FROM raw");
    let ill = place.call("doctor", &[]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill.stdout).contains("FAIL  source calls mapping"), "{}", text(&ill.stdout));
    place.write("calls.sql", MAPPING);
    place.run();
    assert_eq!(place.ledger(), ["3=2+1+0"]);
}
