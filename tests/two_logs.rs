//! The same tables come out whichever log carried the records, Boston's requests of 2011
//! (58,251 rows) through the embedded log and through a real Apache Kafka broker, and
//! however many processes did the work: `run`, or `ingest`, `transform` and `serve` apart.
//!
//! The broker is the one at `AHUAL_KAFKA`, or one that `tests/kafka/broker` starts;
//! without Java and Maven the test says so and is skipped, which with `CI=true` is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "support/kafka.rs"]
mod kafka;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Deployment, assert_same, done, eventually, quoted, rewired, shared};

/// After the last event of the data.
const LATER: &str = "2030-01-01T00:00:00Z";

/// Questions whose answers must be equal: stamps and versions of the run left out.
const QUESTIONS: [(&str, &str); 7] = [
    ("core.cases", "SELECT * EXCEPT (first_appended_at, last_appended_at, folded_version) FROM core.cases"),
    ("core.segments", "SELECT * EXCEPT (folded_version) FROM core.segments"),
    ("core.deadlines", "SELECT * EXCEPT (folded_version) FROM core.deadlines"),
    ("core.parts", "SELECT * EXCEPT (folded_version) FROM core.parts"),
    ("core.events", "SELECT * EXCEPT (appended_at, topic, partition, \"offset\") FROM core.events"),
    (
        "ops.ledger",
        "SELECT source, sum(pulled) AS pulled, sum(stored) AS stored, sum(set_aside) AS set_aside, \
         sum(duplicates) AS duplicates, sum(repeats) AS repeats FROM ops.ledger GROUP BY source",
    ),
    ("ops.dead_letters", "SELECT source, record_id, reason, delivery FROM ops.dead_letters"),
];

/// A part of the broker that no other test sees.
struct Kafka {
    brokers: &'static str,
    prefix: String,
}

impl Kafka {
    fn new(brokers: &'static str) -> Self {
        let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        Self { brokers, prefix: format!("two-logs-{moment:x}.") }
    }

    fn command(&self, deployment: &Deployment, name: &str) -> Command {
        let mut command = deployment.command(name);
        command
            .env("AHUAL_LOG", "kafka")
            .env("AHUAL_KAFKA_BROKERS", self.brokers)
            .env("AHUAL_KAFKA_TOPIC_PREFIX", &self.prefix);
        command
    }

    fn start(&self, deployment: &Deployment, name: &str, told: Stdio) -> Stage {
        let mut command = self.command(deployment, name);
        Stage(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told).spawn().unwrap())
    }
}

/// A process of one stage; killed when dropped.
struct Stage(Child);

impl Stage {
    fn stop(mut self, what: &str) {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert!(self.0.wait().unwrap().success(), "{what}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Status and body of an answer.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[track_caller]
fn same_answers(left: &Deployment, right: &Deployment) {
    for (what, sql) in QUESTIONS {
        let (left, right) = (left.lines(None, sql), right.lines(None, sql));
        eprintln!("{what}: {} rows", left.len());
        assert_same(&format!("{what}, one way and the other,"), &left, &right);
    }
    for metric in left.metrics() {
        // At a moment of our own, because open cases age.
        let sql = format!("SELECT * FROM metrics.{metric}_cells");
        let (left, right) = (left.lines(Some(LATER), &sql), right.lines(Some(LATER), &sql));
        assert_same(&format!("cells of {metric}, one way and the other,"), &left, &right);
    }
}

/// The permits of `wabo`, over HTTP too, from a log that lets go of all that is folded.
fn permits(shared: &Path, folder: &Path) -> Deployment {
    let file = shared.join("data/tasks/receipt_wabo.csv.gz");
    let more = "[log.retention]\nkeep_days = 0\n[sinks.http]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::create_dir_all(folder).unwrap();
    let config = folder.join("ahual.toml");
    std::fs::write(&config, format!("{}\n{more}", rewired("wabo", &[quoted(&file)]))).unwrap();
    Deployment { config, data: folder.join("state") }
}

#[test]
fn three_processes_of_one_stage_each_give_the_tables_of_one_run() {
    let (Some(shared), Some(broker)) = (shared(), kafka::broker()) else { return };
    let base = tempfile::tempdir().unwrap();
    let whole = permits(&shared, &base.path().join("whole"));
    whole.run();

    let apart = permits(&shared, &base.path().join("apart"));
    let kafka = Kafka::new(broker);
    // Readers first: there is nothing to read yet, and that is said.
    let mut serving = kafka.start(&apart, "serve", Stdio::piped());
    let mut told = BufReader::new(serving.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = told.find_map(|line| Some(line.split_once("http://")?.1.trim_end_matches('/').to_owned())).unwrap();
    assert_eq!(get(&address, "/readyz").0, 503);
    let transforming = kafka.start(&apart, "transform", Stdio::inherit());
    let mut taking = kafka.command(&apart, "ingest");
    done(taking.arg("--until-idle").output().unwrap(), "ahual ingest");

    let total = whole.row("SELECT sum(pulled) AS n FROM ops.ledger")["n"].as_i64().unwrap();
    eventually("the records are folded", || {
        let (status, body) = get(&address, "/readyz");
        status == 200 && {
            assert!(body.contains("ready"), "{body}");
            apart.row("SELECT sum(pulled) AS n FROM ops.ledger")["n"].as_i64() == Some(total)
        }
    });
    transforming.stop("ahual transform, stopped");
    // What is folded is gone from the log, and going on from there finds nothing left.
    let rest = done(kafka.command(&apart, "transform").arg("--until-idle").output().unwrap(), "ahual transform");
    assert_eq!(rest.trim(), "{\"records\":0}");
    same_answers(&whole, &apart);

    let (status, body) = get(&address, "/api/metrics/completion?by=source");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let sql = "SELECT sum(denominator) AS n FROM metrics.completion";
    assert_eq!((status, &answer["rows"][0]["denominator"]), (200, &whole.row(sql)["n"]), "{body}");
    let (status, body) = get(&address, "/api/feed");
    assert!(status == 503 && body.contains("no-feed"), "{status} {body}");
    serving.stop("ahual serve, stopped");
}

#[test]
fn one_stage_apart_is_refused_on_a_log_that_belongs_to_one_process() {
    let base = tempfile::tempdir().unwrap();
    let deployment = Deployment::example("boston-2011", base.path().join("data"));
    for stage in ["ingest", "transform"] {
        let out = deployment.command(stage).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1));
        assert!(told.contains("belongs to one process alone") && told.contains("ahual run"), "{told}");
    }
    assert!(!base.path().join("data").exists(), "nothing was made");
}

#[test]
fn boston_2011_gives_the_same_tables_through_the_embedded_log_and_through_kafka() {
    let (Some(_), Some(broker)) = (shared(), kafka::broker()) else { return };
    let base = tempfile::tempdir().unwrap();
    let embedded = Deployment::example("boston-2011", base.path().join("embedded"));
    let on_kafka = Deployment::example("boston-2011", base.path().join("kafka"));

    let begun = Instant::now();
    embedded.run();
    eprintln!("embedded: {:.1?}", begun.elapsed());
    let begun = Instant::now();
    let mut run = Kafka::new(broker).command(&on_kafka, "run");
    done(run.arg("--until-idle").output().unwrap(), "ahual run on Kafka");
    eprintln!("kafka: {:.1?}", begun.elapsed());
    assert!(!on_kafka.data.join("log").exists(), "the run on Kafka keeps no log of its own");

    same_answers(&embedded, &on_kafka);
    let cases = embedded.row("SELECT count(*) AS n FROM core.cases")["n"].as_u64();
    assert_eq!(cases, Some(58_251), "one case a row of the file");
}
