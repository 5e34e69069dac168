//! `kill -9` of `ahual run` at random moments, on each log, loses and doubles nothing.
//!
//! Two sources are fed part by part: real permits (WABO) and made-up calls with
//! duplicates, corrections and poison. Before each kill there is a new part to read, so
//! that the kill falls into work. `AHUAL_KILLS` sets how many kills, `AHUAL_KILL_SEED`
//! other moments. The Kafka side runs on the broker at `AHUAL_KAFKA`, or on one that
//! `tests/kafka/broker` starts; without Java and Maven it says so and is skipped, which
//! with `CI=true` is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "support/kafka.rs"]
mod kafka;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Deployment, assert_same, done, quoted, root, shared, shuffle, table, unpacked, write_table};

/// After everything made up and everything in the files.
const LATER: &str = "2030-01-01T00:00:00Z";
/// Whatever a machine is busy with, a run of a few thousand records ends by then.
const LIVENESS: Duration = Duration::from_secs(300);
/// Kills are timed against a run that has the machine to itself.
static ALONE: Mutex<()> = Mutex::new(());

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect(variable))
}

/// Tables of the lake in the order in which a batch writes them.
const TABLES: [&str; 7] =
    ["raw/records", "core/events", "core/cases", "core/segments", "core/deadlines", "core/parts", "ops/ledger"];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

const CALLS_SQL: &str = "
SELECT _record, 'received' AS kind, parse_when(received, 'Asia/Almaty') AS occurred_at,
       TRY_CAST(version AS BIGINT) AS version, body, NULL AS outcome, NULL AS due_at
FROM raw
UNION ALL
SELECT _record, 'deadline_set', parse_when(received, 'Asia/Almaty'), TRY_CAST(version AS BIGINT), NULL, NULL,
       parse_when(due, 'Asia/Almaty')
FROM raw WHERE due IS NOT NULL
UNION ALL
SELECT _record, 'closed', parse_when(closed, 'Asia/Almaty'), TRY_CAST(version AS BIGINT), NULL, outcome, NULL
FROM raw
";

/// What was made up, so that the ledger can be held against it.
#[derive(Debug, Default, PartialEq)]
struct Truth {
    pulled: u64,
    set_aside: u64,
    duplicates: u64,
}

/// Calls in `parts` files: new ones, corrections of earlier ones (with the source's own
/// version, as sources do that repeat themselves), the same again, and poison.
fn calls(parts: usize, dice: &mut Dice) -> (Vec<Vec<String>>, Truth) {
    let mut truth = Truth::default();
    let mut known: Vec<(u64, u64, String)> = Vec::new();
    let mut files = Vec::new();
    for _ in 0..parts {
        let mut rows: Vec<String> = Vec::new();
        for _ in 0..40 {
            truth.pulled += 1;
            let at = |dice: &mut Dice, month: u64| {
                format!("2026-{month:02}-{:02} {:02}:{:02}:00", 1 + dice.throw(28), dice.throw(24), dice.throw(60))
            };
            let outcome = ["resolved", "rejected", ""][usize::try_from(dice.throw(3)).unwrap()];
            match dice.throw(10) {
                0 => {
                    truth.set_aside += 1;
                    // No id: refused at the door. The numbers keep one poison apart from the other.
                    rows.push(format!(",1,{},,,poison {},", at(dice, 1), truth.pulled));
                }
                1 => {
                    truth.set_aside += 1;
                    rows.push(format!("p{},1,the other day,,,body 1,", truth.pulled));
                }
                2 | 3 if !known.is_empty() => {
                    truth.duplicates += 1;
                    let place = usize::try_from(dice.throw(known.len() as u64)).unwrap();
                    rows.push(known[place].2.clone());
                }
                kind => {
                    let corrected = (kind < 6 && !known.is_empty()).then(|| {
                        let place = usize::try_from(dice.throw(known.len() as u64)).unwrap();
                        known[place].0
                    });
                    let id = corrected.unwrap_or(truth.pulled);
                    let version = 1 + known.iter().filter(|k| k.0 == id).map(|k| k.1).max().unwrap_or(0);
                    let (received, closed, due) = (at(dice, 1), at(dice, 3), at(dice, 2));
                    let closed = if outcome.is_empty() { String::new() } else { closed };
                    let row = format!("{id},{version},{received},{closed},{due},body {},{outcome}", dice.throw(4));
                    known.push((id, version, row.clone()));
                    rows.push(row);
                }
            }
        }
        files.push(rows);
    }
    (files, truth)
}

/// What is still to be fed, and where from.
struct Feed {
    folder: PathBuf,
    permits: (String, Vec<Vec<String>>),
    calls: Vec<Vec<String>>,
    truth: Truth,
    /// Rows of permits.
    permit_rows: u64,
}

impl Feed {
    fn new(folder: PathBuf, shared: &Path, parts: usize, seed: u64) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let text = unpacked(&shared.join("data/tasks/receipt_wabo.csv.gz"));
        let (header, mut rows) = table(&text);
        // Mixed, so that nearly every case is touched in many parts.
        shuffle(&mut rows, seed);
        let permits = rows.chunks(rows.len().div_ceil(parts)).map(|c| c.iter().map(|r| (*r).to_owned()).collect());
        let (calls, truth) = calls(parts, &mut Dice(seed));
        Self { folder, permit_rows: rows.len() as u64, permits: (header.to_owned(), permits.collect()), calls, truth }
    }

    /// Lays part `nth` before the doors.
    fn lay(&self, nth: usize) {
        let rows = |rows: &[String]| rows.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let lay = |name: &str, header: &str, part: &[String]| {
            // Whole or not at all: the door may be looking.
            let hidden = self.folder.join(format!("{name}.part"));
            write_table(&hidden, header, &[&rows(part)]);
            std::fs::rename(hidden, self.folder.join(name)).unwrap();
        };
        if let Some(part) = self.permits.1.get(nth) {
            lay(&format!("permits-{nth:04}.csv"), &self.permits.0, part);
        }
        if let Some(part) = self.calls.get(nth) {
            lay(&format!("calls-{nth:04}.csv"), "id,version,received,closed,due,body,outcome", part);
        }
    }

    fn parts(&self) -> usize {
        self.permits.1.len().max(self.calls.len())
    }
}

/// A deployment over a feed, on one of the logs.
struct Place {
    deployment: Deployment,
    log: Vec<(&'static str, String)>,
}

impl Place {
    fn new(base: &Path, name: &str, feed: &Path, kafka: Option<&str>) -> Self {
        let folder = base.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("calls.sql"), CALLS_SQL).unwrap();
        let permits = std::fs::read_to_string(root().join("examples/wabo/ahual.toml")).unwrap();
        let columns = permits.split_once("columns = [\n").unwrap().1.split_once(']').unwrap().0;
        let text = format!(
            "[deployment]\ntime_zone = \"Asia/Almaty\"\npartitions = 4\nbatch_records = 300\n\
             [log.retention]\nkeep_days = 0\n\
             [sinks.http]\nlisten = \"127.0.0.1:0\"\n\
             [[source]]\nname = \"permits\"\n\
             [source.files]\npath = {permits}\nwatch = true\npage_rows = 100\n\
             [source.limits]\npoll_every_s = 0.2\n\
             [source.identity]\ncolumns = [\"concept:instance\"]\ncase_key = [\"case:concept:name\"]\n\
             [source.mapping]\nsql = {sql}\nregime = \"document\"\ntime_zone = \"Europe/Amsterdam\"\n\
             due_compare = \"date\"\ncolumns = [{columns}]\n\
             [[source]]\nname = \"calls\"\n\
             [source.files]\npath = {calls}\nwatch = true\npage_rows = 100\n\
             [source.limits]\npoll_every_s = 0.2\n\
             [source.identity]\ncolumns = [\"id\"]\n\
             [source.mapping]\nsql = \"calls.sql\"\nregime = \"request_109\"\ntime_zone = \"Asia/Almaty\"\n\
             due_compare = \"instant\"\n\
             columns = [\"version\", \"received\", \"closed\", \"due\", \"body\", \"outcome\"]\n",
            permits = quoted(&feed.join("permits-*.csv")),
            calls = quoted(&feed.join("calls-*.csv")),
            sql = quoted(&root().join("examples/wabo/wabo.sql")),
        );
        let config = folder.join("ahual.toml");
        std::fs::write(&config, text).unwrap();
        let log = kafka.map_or_else(Vec::new, |brokers| {
            let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
            vec![
                ("AHUAL_LOG", "kafka".to_owned()),
                ("AHUAL_KAFKA_BROKERS", brokers.to_owned()),
                ("AHUAL_KAFKA_TOPIC_PREFIX", format!("kills-{name}-{moment:x}.")),
            ]
        });
        Self { deployment: Deployment { config, data: folder.join("data") }, log }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = self.deployment.command(name);
        command.envs(self.log.iter().map(|(name, value)| (*name, value.as_str()))).env("RUST_LOG", "error");
        command
    }

    fn run_until_idle(&self) {
        done(self.command("run").arg("--until-idle").output().unwrap(), "ahual run --until-idle");
    }

    /// `ahual run` as a service, its standard error in a file.
    fn start(&self) -> Child {
        let said = std::fs::File::create(self.deployment.data.with_extension("stderr")).unwrap();
        self.command("run").stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// Newest version of a table of the lake, −1 where there is none.
    fn version(&self, table: &str) -> i64 {
        let log = self.deployment.data.join("lake").join(table).join("_delta_log");
        let names = std::fs::read_dir(log).into_iter().flatten().flatten().map(|e| e.file_name());
        names.filter_map(|n| n.to_str()?.strip_suffix(".json")?.parse().ok()).max().unwrap_or(-1)
    }

    /// The published epoch: version of `core.events` folded, and version per table.
    fn epoch(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.deployment.data.join("lake/epoch.json")).ok()?).ok()
    }

    fn pulled(&self) -> u64 {
        if self.epoch().is_none() {
            return 0;
        }
        self.deployment.row("SELECT coalesce(sum(pulled), 0) AS n FROM ops.ledger")["n"].as_u64().unwrap()
    }

    /// What is committed and published: version per table, and the epoch.
    fn reached(&self) -> (Vec<i64>, Option<Value>) {
        (TABLES.iter().map(|table| self.version(table)).collect(), self.epoch())
    }

    /// What the run was at when it was killed, by what it had committed and published
    /// since `before`.
    fn phase(&self, before: &(Vec<i64>, Option<Value>)) -> &'static str {
        let now = self.reached();
        let ahead = |table: &str| {
            let published = now.1.as_ref().and_then(|e| e["tables"][table.replace('/', ".")].as_i64()).unwrap_or(0);
            self.version(table) > published
        };
        if now == *before {
            "1 before the round's first commit: starting, catching up, reading, mapping"
        } else if self.version("ops/ledger") < 0 {
            "2 creating the tables"
        } else if ahead("ops/ledger") {
            "6 after the last derived table, before publication"
        } else if TABLES[2..].iter().any(|table| ahead(table)) {
            "5 among the derived tables"
        } else if ahead("core/events") {
            "4 after core.events, before what derives from it"
        } else if ahead("raw/records") {
            "3 after raw.records, before core.events"
        } else {
            "7 after a batch was published, in or before the next"
        }
    }

    /// Everything that can be asked for, without what names the run rather than the facts.
    fn facts(&self) -> BTreeMap<String, Vec<String>> {
        const OF_THE_RUN: [&str; 3] = ["first_appended_at", "last_appended_at", "folded_version"];
        let mut facts = BTreeMap::new();
        for table in ["core.cases", "core.segments", "core.deadlines", "core.parts"] {
            let rows = self.deployment.query(&format!("SELECT * FROM {table}"));
            let rows = rows.into_iter().map(|row| match row {
                Value::Object(mut columns) => {
                    columns.retain(|name, _| !OF_THE_RUN.contains(&name.as_str()));
                    Value::Object(columns).to_string()
                }
                other => other.to_string(),
            });
            facts.insert(table.to_owned(), rows.collect());
        }
        for metric in self.deployment.metrics() {
            // At a moment of our own, because open cases age.
            let sql = format!("SELECT * FROM metrics.{metric}_cells");
            facts.insert(format!("metrics.{metric}_cells"), self.deployment.lines(Some(LATER), &sql));
        }
        for (what, sql) in [
            (
                "ledger",
                "SELECT source, sum(pulled) AS pulled, sum(stored) AS stored, sum(set_aside) AS set_aside, \
                 sum(duplicates) AS duplicates, sum(repeats) AS repeats FROM ops.ledger GROUP BY source",
            ),
            ("events", "SELECT DISTINCT event_id, case_id, kind, occurred_at FROM core.events"),
            ("deliveries", "SELECT DISTINCT source, record_id, content_id, delivery_id FROM ops.deliveries"),
            ("raw", "SELECT DISTINCT source, record_id, delivery FROM raw.records"),
            ("dead letters", "SELECT DISTINCT source, record_id, reason, delivery FROM ops.dead_letters"),
        ] {
            facts.insert(what.to_owned(), self.deployment.lines(None, sql));
        }
        facts.extend(self.kept());
        facts
    }

    /// The kept figures, as a run serves them.
    fn kept(&self) -> BTreeMap<String, Vec<String>> {
        let mut run = self.command("run").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(run.stderr.take().unwrap());
        let address = said
            .lines()
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("http://")?.1.trim_end_matches('/').to_owned()))
            .expect("the run says where it serves");
        let mut kept = BTreeMap::new();
        for metric in self.deployment.metrics() {
            let path = format!("/api/metrics/{metric}?by=source,body,category,territory,day&limit=100000");
            let answer: Value = serde_json::from_str(&get(&address, &path)).unwrap();
            let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{metric}: {answer}"));
            let rows = rows.iter().map(|row| {
                let mut columns = row.as_object().unwrap().clone();
                // These move with the clock while cases are open.
                let of_now = |name: &str| {
                    name == "as_of"
                        || name.starts_with('p')
                        || metric == "overdue_backlog" && name.starts_with("closed")
                };
                columns.retain(|name, _| !of_now(name));
                Value::Object(columns).to_string()
            });
            kept.insert(format!("kept {metric}"), rows.collect());
        }
        run.kill().unwrap();
        run.wait().unwrap();
        kept
    }

    fn reconcile(&self, data: &Path) -> (Option<i32>, String) {
        let place = Deployment { config: self.deployment.config.clone(), data: data.to_owned() };
        let out = place.command("reconcile").env("RUST_LOG", "error").output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.code(), said)
    }
}

/// The body of an answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIVENESS)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {answer}");
    body.to_owned()
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if entry.path().is_file() {
            // What else there is is the socket of a process that was killed.
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A data file that a commit of the table names: killed writers leave others behind.
fn committed_file(table: &Path) -> PathBuf {
    let mut commits: Vec<PathBuf> =
        std::fs::read_dir(table.join("_delta_log")).unwrap().map(|e| e.unwrap().path()).collect();
    commits.retain(|path| path.extension().is_some_and(|e| e == "json"));
    commits.sort();
    let added = commits.iter().find_map(|commit| {
        let text = std::fs::read_to_string(commit).unwrap();
        text.lines().find_map(|line| {
            let action: Value = serde_json::from_str(line).unwrap();
            action["add"]["path"].as_str().map(str::to_owned)
        })
    });
    table.join(added.expect("a commit that adds a file"))
}

fn kill_and_compare(kafka: Option<&str>) {
    let Some(shared) = shared() else { return };
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let begun = Instant::now();
    let (kills, seed) = (usize::try_from(number("AHUAL_KILLS", 50)).unwrap(), number("AHUAL_KILL_SEED", 20_261_122));
    let log = if kafka.is_some() { "kafka" } else { "embedded" };
    let base = tempfile::tempdir().unwrap();
    let feed = Feed::new(base.path().join("feed"), &shared, kills, seed);
    let mut dice = Dice(seed ^ kafka.map_or(0, |_| 1));

    // How long one part takes from start to end, for the range of the moments.
    feed.lay(0);
    let trial = Place::new(base.path(), "trial", &feed.folder, kafka);
    trial.run_until_idle();
    let started = Instant::now();
    trial.run_until_idle();
    let start_up = started.elapsed();
    feed.lay(1.min(kills - 1));
    let started = Instant::now();
    trial.run_until_idle();
    let span = started.elapsed();
    let span_us = u64::try_from(span.as_micros()).unwrap();

    let killed = Place::new(base.path(), "killed", &feed.folder, kafka);
    let mut phases: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut idle, mut fed) = (0, 0);
    for nth in 0..kills {
        feed.lay(nth);
        let before = killed.reached();
        let mut run = killed.start();
        // The moment of the kill is what is thrown: nothing is waited for.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(Duration::from_micros(dice.throw(span_us)));
        assert!(run.try_wait().unwrap().is_none(), "the run ended by itself: {}", {
            std::fs::read_to_string(killed.deployment.data.with_extension("stderr")).unwrap()
        });
        run.kill().unwrap();
        run.wait().unwrap();
        *phases.entry(killed.phase(&before)).or_default() += 1;
        fed += feed.permits.1.get(nth).map_or(0, Vec::len) + feed.calls.get(nth).map_or(0, Vec::len);
        idle += usize::from(killed.pulled() == fed as u64);
    }
    for nth in kills..feed.parts() {
        feed.lay(nth);
    }
    killed.run_until_idle();
    let mut told = format!(
        "{log}: {kills} kills (seed {seed}) within {span:.1?} of starting (of which {start_up:.1?} starting), \
         {idle} when nothing was left to do\n"
    );
    for (phase, count) in &phases {
        writeln!(told, "  {count:3} {}", &phase[2..]).unwrap();
    }
    eprint!("{told}");
    assert!(idle * 2 < kills, "most kills fell where nothing was left to do: {told}");

    let whole = Place::new(base.path(), "whole", &feed.folder, kafka);
    whole.run_until_idle();
    let (facts, expected) = (killed.facts(), whole.facts());
    assert_eq!(facts.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (what, rows) in &expected {
        assert_same(&format!("{log}: {what}, killed and whole,"), &facts[what], rows);
    }

    // Against what was fed, not only against another run.
    let unbalanced = "SELECT * FROM ops.ledger WHERE pulled <> stored + set_aside + duplicates";
    assert_same("days that do not close", &killed.deployment.lines(None, unbalanced), &[]);
    let ledger = |source: &str| {
        let sql = format!(
            "SELECT sum(pulled) AS pulled, sum(set_aside) AS set_aside, sum(duplicates) AS duplicates \
             FROM ops.ledger WHERE source = '{source}'"
        );
        let row = killed.deployment.row(&sql);
        let count = |name: &str| row[name].as_u64().unwrap();
        Truth { pulled: count("pulled"), set_aside: count("set_aside"), duplicates: count("duplicates") }
    };
    assert_eq!(ledger("calls"), feed.truth);
    assert_eq!(ledger("permits"), Truth { pulled: feed.permit_rows, ..Truth::default() });
    let doubled =
        "SELECT topic, partition, \"offset\", count(*) AS n FROM raw.records GROUP BY 1, 2, 3 HAVING count(*) > 1";
    assert_same("records of the log that lie twice in raw.records", &killed.deployment.lines(None, doubled), &[]);
    let doubled =
        "SELECT topic, partition, \"offset\", ordinal FROM ops.deliveries GROUP BY 1, 2, 3, 4 HAVING count(*) > 1";
    assert_same("rows that lie twice in core.events", &killed.deployment.lines(None, doubled), &[]);
    let lost = "SELECT r.topic, r.partition, r.\"offset\" FROM raw.records r LEFT ANTI JOIN ops.deliveries d \
                ON r.topic = d.topic AND r.partition = d.partition AND r.\"offset\" = d.\"offset\"";
    assert_same("raw records without an event", &killed.deployment.lines(None, lost), &[]);

    let (code, said) = killed.reconcile(&killed.deployment.data);
    assert_eq!(code, Some(0), "{said}");
    let days: Vec<(String, String)> = killed
        .deployment
        .query("SELECT source, CAST(day AS VARCHAR) AS day FROM ops.ledger")
        .iter()
        .map(|row| (row["source"].as_str().unwrap().to_owned(), row["day"].as_str().unwrap().to_owned()))
        .collect();
    for table in ["core/events", "raw/records"] {
        let broken = base.path().join("broken");
        copy_dir(&killed.deployment.data, &broken);
        std::fs::remove_file(committed_file(&broken.join("lake").join(table))).unwrap();
        let (code, said) = killed.reconcile(&broken);
        assert_eq!(code, Some(1), "without a file of {table}: {said}");
        let named = |(source, day): &(String, String)| {
            said.lines().any(|line| line.contains(&format!("source {source}, day {day}")))
        };
        assert!(days.iter().any(named), "without a file of {table}, source and day are not named: {said}");
        std::fs::remove_dir_all(broken).unwrap();
    }
    eprintln!("{log}: {:.0} s in all", begun.elapsed().as_secs_f64());
}

#[test]
fn runs_killed_at_random_moments_on_the_embedded_log_end_as_if_never_killed() {
    kill_and_compare(None);
}

#[test]
fn runs_killed_at_random_moments_on_kafka_end_as_if_never_killed() {
    let Some(broker) = kafka::broker() else { return };
    kill_and_compare(Some(broker));
}
