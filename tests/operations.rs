//! What operators do: batch jobs under cron, dead letters mended and replayed, doctor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::eventually;

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

    fn command(&self, config: &str, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ahual"));
        command.arg(verb).arg("--config").arg(self.path(config)).arg("--data").arg(self.data()).args(arguments);
        for name in ["AHUAL_LOG", "AHUAL_KAFKA_BROKERS", "AHUAL_KAFKA_TOPIC_PREFIX", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    fn call(&self, verb: &str, arguments: &[&str]) -> Output {
        self.command("ahual.toml", verb, arguments).output().unwrap()
    }

    /// `ahual run`, following, once it shares its log.
    fn follow(&self) -> Following {
        let told = fs::File::create(self.path("run.err")).unwrap();
        let mut command = self.command("ahual.toml", "run", &[]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told).spawn().unwrap();
        let following = Following(child);
        let socket = self.data().join("log/owner.sock");
        eventually("the log is shared", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        following
    }

    fn count(&self, table: &str) -> u64 {
        let output = self.call("query", &["--output", "csv", &format!("SELECT count(*) FROM {table}")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().nth(1).unwrap().parse().unwrap()
    }

    fn run(&self) {
        let output = self.call("run", &["--until-idle"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Makes a run follow its folder instead of reading it once.
    fn watch(&self) {
        let watch = "watch = true\n[source.limits]\npoll_every_s = 0.2\n[source.identity]";
        self.write("ahual.toml", &CONFIG.replace("[source.identity]", watch));
    }

    /// A mapping that can read the third call's time.
    fn mend(&self) {
        let mended = "CASE WHEN opened LIKE '__.%' THEN parse_when(opened, 'Asia/Almaty', '%d.%m.%Y %H:%M') \
                      ELSE parse_when(opened, 'Asia/Almaty') END AS occurred_at";
        self.write("calls.sql", &MAPPING.replace("parse_when(opened, 'Asia/Almaty') AS occurred_at", mended));
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

/// A run that follows its sources; killed when dropped.
struct Following(Child);

impl Following {
    /// Asks it to stop and waits until it has.
    fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert!(self.0.wait().unwrap().success());
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves numbered pages of calls, one record each; `before` is called before a page is
/// answered. Stays until the test's process ends.
fn paged(calls: &'static [&'static str], mut before: impl FnMut(usize) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.find(|line| line.is_empty());
            let page: usize = first.split("page=").nth(1).unwrap().split([' ', '&']).next().unwrap().parse().unwrap();
            before(page);
            let body = format!("[{}]", calls.get(page - 1).copied().unwrap_or_default());
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
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

    place.mend();
    let replayed = place.call("dead-letters", &["replay"]);
    assert!(text(&replayed.stdout).contains("\"replayed\":1"), "{}", text(&replayed.stderr));
    place.run();
    assert_eq!(place.ledger(), ["3=3+0+0"]);
    let again = place.call("dead-letters", &["replay"]);
    assert!(text(&again.stdout).contains("\"replayed\":0"), "a mended record is no dead letter any more");
    assert!(place.call("reconcile", &[]).status.success());
}

#[test]
fn backfill_replay_and_doctor_work_beside_a_run_that_owns_the_log() {
    let place = Place::new();
    place.watch();
    place.run();
    assert_eq!(place.ledger(), ["3=2+1+0"]);
    place.mend();

    let following = place.follow();
    let doctor = place.call("doctor", &[]);
    assert!(text(&doctor.stdout).contains("ok    log: a running process owns it"), "{}", text(&doctor.stdout));
    let replayed = place.call("dead-letters", &["replay"]);
    assert!(text(&replayed.stdout).contains("\"replayed\":1"), "{}", text(&replayed.stderr));
    eventually("the run has mapped what was replayed", || place.ledger() == ["3=3+0+0"]);

    let before = place.count("ops.deliveries");
    let (code, summary) = place.batch(&[&["backfill"], &JANUARY[..]].concat());
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(
        (&summary["result"]["folded_by"], &summary["result"]["records"]),
        (&"the running process".into(), &3.into())
    );
    // When it says it is done the run has folded it.
    assert!(place.count("ops.deliveries") >= before + 3);
    assert_eq!(place.ledger(), ["3=3+0+0"], "the same records again change nothing");

    // The run goes on from where its own source stood.
    place.write("calls-2.csv", "id,opened,closed\n4,2026-01-07 09:00,\n");
    eventually("the run has taken the next file", || place.ledger() == ["4=4+0+0"]);
    following.stop();
    assert!(!place.data().join("log/owner.sock").exists());
    let output = place.call("run", &["--until-idle"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["sources"][0]["records"], 0, "the source's own cursor was left alone: {summary}");
    assert!(place.call("reconcile", &[]).status.success());
}

#[test]
fn a_backfill_whose_owner_is_killed_is_to_be_tried_later_and_then_goes_on_and_loses_nothing() {
    const CALLS: [&str; 3] = [
        r#"{"id": "11", "opened": "2026-01-08 09:00"}"#,
        r#"{"id": "12", "opened": "2026-01-08 10:00"}"#,
        r#"{"id": "13", "opened": "2026-01-08 11:00", "closed": "2026-01-09 11:00"}"#,
    ];
    let place = Place::new();
    place.watch();
    let (owner, killed) = std::sync::mpsc::channel::<Following>();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = asked.clone();
    let address = paged(&CALLS, move |page| {
        noted.lock().unwrap().push(page);
        // The owner dies once, after the first page was appended and before the second.
        if page == 2
            && let Ok(mut owner) = killed.try_recv()
        {
            owner.kill();
        }
    });
    let files = "[source.files]\npath = \"calls-*.csv\"\n";
    assert!(CONFIG.contains(files));
    let rest = format!("[source.rest]\nurl = \"http://{address}\"\npaging = {{ kind = \"page\" }}\n");
    place.write("backfill.toml", &CONFIG.replace(files, &rest));
    let backfill = || {
        let arguments = [&["backfill"], &JANUARY[..]].concat();
        let output = place.command("backfill.toml", "batch", &arguments).output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), summary, text(&output.stderr))
    };

    owner.send(place.follow()).unwrap();
    let (code, summary, told) = backfill();
    assert_eq!(code, Some(75), "{summary} {told}");
    assert_eq!(summary["status"], "try later");
    assert!(told.contains("does not answer any more"), "{told}");
    assert_eq!(*asked.lock().unwrap(), [1, 2]);

    let following = place.follow();
    let (code, summary, told) = backfill();
    assert_eq!((code, &summary["result"]["resumed"]), (Some(0), &true.into()), "{summary} {told}");
    assert_eq!(asked.lock().unwrap()[2], 2, "it goes on with the page that was not appended");
    following.stop();
    let (code, summary, told) = backfill();
    assert_eq!((code, &summary["result"]["resumed"]), (Some(0), &false.into()), "{summary} {told}");
    assert_eq!(summary["result"]["folded_by"], "this process");
    place.run();
    assert_eq!(place.ledger(), ["6=5+1+0"], "three of the file, one of them a dead letter, and three of the backfill");
    assert_eq!(place.count("core.cases WHERE source = 'calls'"), 5);
    assert!(place.call("reconcile", &[]).status.success());
}

#[test]
fn the_log_lets_go_of_what_is_folded_and_each_run_goes_on_from_there() {
    const ROUNDS: usize = 4;
    const CALLS: usize = 500;
    const BYTES: usize = 6_000;
    let place = Place::new();
    place.write("ahual.toml", &CONFIG.replace("[deployment]", "[log.retention]\nkeep_days = 0\n[deployment]"));
    let kept = Place::new();
    for place in [&place, &kept] {
        for round in 0..ROUNDS {
            let mut rows = "id,opened,closed,said\n".to_owned();
            for call in 0..CALLS {
                let id = 1_000 + round * CALLS + call;
                rows.push_str(&format!("{id},2026-01-05 09:00,,{}\n", "x".repeat(BYTES)));
            }
            place.write(&format!("calls-{}.csv", round + 2), &rows);
            place.run();
        }
    }
    let size = |place: &Place| fs::metadata(place.data().join("log/log.redb")).unwrap().len() as usize;
    let all = ROUNDS * CALLS * BYTES;
    assert!(size(&kept) >= all, "by default a week is kept: {} bytes", size(&kept));
    assert!(size(&place) < all * 2 / 3, "{} bytes hold what {} did", size(&place), size(&kept));
    assert_eq!(place.ledger(), kept.ledger());
    assert_eq!(place.count("core.cases"), 2 + (ROUNDS * CALLS) as u64);

    // A dead letter that the log has let go of still shows its bytes and is replayed.
    place.mend();
    let replayed = place.call("dead-letters", &["replay"]);
    assert!(text(&replayed.stdout).contains("\"replayed\":1"), "{}", text(&replayed.stderr));
    place.run();
    assert_eq!(place.count("core.cases"), 3 + (ROUNDS * CALLS) as u64);

    // Without its index the job begins anew from the lake, not from the log.
    fs::remove_dir_all(place.data().join("index")).unwrap();
    place.run();
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

/// A calendar version under which 1 September 2026 is off.
const MOVED: &str = "name = \"kz\"\nversion = \"2026-06-01\"\nknown_from = 2026-06-01\nextends = \"kz@2026-03-18\"\n\n\
                     off = [{ date = 2026-09-01, name = \"Invented\", act = \"not found\" }]\n";

#[test]
fn other_reference_data_reaches_every_case_news_or_none() {
    let place = Place::new();
    place.write("ahual.toml", &format!("[reference]\nfolder = \"reference\"\n{CONFIG}"));
    fs::create_dir_all(place.path("reference/calendars")).unwrap();
    let deadline =
        "UNION ALL SELECT _record, 'deadline_set', parse_when(opened, 'Asia/Almaty'), NULL, 'kz-appeal' FROM raw";
    let mapping = MAPPING.replace("NULL AS outcome FROM", "NULL AS outcome, NULL AS rule FROM");
    place.write("calls.sql", &format!("{} {deadline}", mapping.replace("'resolved' FROM", "'resolved', NULL FROM")));
    place.write("calls-1.csv", "id,opened,closed\n1,2026-08-17 09:00,\n2,2026-02-02 09:00,2026-02-03 10:00\n");
    place.run();
    let asked = |sql: &str| {
        let output = place.call("query", &["--output", "csv", sql]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let due = "SELECT case_id, due_on FROM core.cases ORDER BY 1";
    let before = ["calls:1,2026-09-07", "calls:2,2026-02-23"];
    assert_eq!(asked(due), before);

    place.write("reference/calendars/kz-2026-06-01.toml", MOVED);
    place.run();
    assert_eq!(asked(due), ["calls:1,2026-09-08", before[1]], "a term that ran out before keeps its day");
    assert_eq!(asked("SELECT DISTINCT calendar FROM core.deadlines WHERE due_on = '2026-09-08'"), ["kz@2026-06-01"]);
    assert_eq!(asked("SELECT count(*) FROM core.cases"), ["2"]);
    assert_eq!(place.ledger(), ["2=2+0+0"]);
    let output = place.call("reconcile", &[]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    // By a Delta reader, too: one row a case.
    place.run();
    assert_eq!(place.count("core.cases"), 2);
    let output = place.call("reconcile", &[]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
