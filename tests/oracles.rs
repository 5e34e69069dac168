//! Every metric against an oracle that shares no line with the product
//! (`tests/oracles/metrics.py`: DuckDB and lifelines): counts equal, shares to 1e-9, quantiles
//! within one observation. Over real files, a simulated month, and made-up telephony, queues,
//! accounts and appeals; each as of a moment at which much is still open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

#[path = "oracles/made_up.rs"]
mod made_up;
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ahual_schemas::At;
use ahual_schemas::sealing::Sealer;
use ahual_transform::catalog::{Catalog, Moment};
use ahual_transform::figures::Metrics;
use ahual_transform::reference::Reference;
use datafusion::prelude::SessionContext;
use serde_json::{Value, json};
use support::{Deployment, done, root, shared};

/// Columns the oracle reads; instants and days as numbers.
const EXPORTS: [(&str, &str, &str); 3] = [
    (
        "cases",
        "case_id source regime state outcome category body territory due_compare transfers bounces extended paused_us \
         controlled_by score longitude latitude flaws attributes",
        "received_at received_on first_response_at due_at due_on original_due_at original_due_on first_closed_at \
         first_closed_on closed_at closed_on ended_at first_reopened_at paused_since_at",
    ),
    ("segments", "case_id ordinal body clock", "from_at to_at"),
    (
        "parts",
        "case_id source part_id category body territory outcome",
        "due_at received_at received_on entered_at dispatched_at en_route_at on_scene_at slot_at queued_at called_at \
         answered_at ended_at",
    ),
];

/// The Python with DuckDB and lifelines; a failure in CI where there is none.
fn python() -> Option<String> {
    let named = std::env::var("AHUAL_PYTHON").ok();
    assert!(named.is_some() || std::env::var("CI").as_deref() != Ok("true"), "AHUAL_PYTHON names no Python");
    if named.is_none() {
        eprintln!("SKIPPED: AHUAL_PYTHON names no Python; 'scripts/setup python' makes one");
    }
    named
}

/// Runs what `deployment` reads and holds every figure as of `as_of` against the oracle.
fn hold(name: &str, deployment: &Deployment, as_of: &str) {
    let Some(python) = python() else { return };
    let summary = deployment.run();
    assert_eq!(summary["failed"], json!({}), "{name}");
    let as_of = At(chrono::DateTime::parse_from_rfc3339(as_of).unwrap().timestamp_micros());
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let metrics =
            Metrics::built_in(&Sealer::new("test", b"not a secret"), &Reference::built_in().unwrap()).unwrap();
        let catalog = Catalog::new(&deployment.data, metrics.clone(), chrono_tz::UTC);
        let session = catalog.session(Moment { as_of: Some(as_of), known_at: None }).await.unwrap();
        for (table, plain, numbers) in EXPORTS {
            export(&session, table, plain, numbers, folder.path()).await;
        }
        let out = Command::new(python)
            .arg(root().join("tests/oracles/metrics.py"))
            .args([folder.path().as_os_str(), as_of.0.to_string().as_ref()])
            .output()
            .unwrap();
        let said: Vec<Value> =
            done(out, "the oracle").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let oracle = Oracle { name, said: &said };
        oracle.cells(&session, &metrics).await;
        oracle.quantiles(&session).await;
        oracle.incidence(&session).await;
        oracle.boards(&session).await;
        custody_adds_up(name, &session).await;
    });
}

async fn rows(session: &SessionContext, sql: &str) -> Vec<Value> {
    let batches = session.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).collect().await.unwrap();
    let mut bytes = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(&mut bytes);
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn export(session: &SessionContext, table: &str, plain: &str, numbers: &str, folder: &Path) {
    let plain = plain.split_whitespace().map(str::to_owned);
    let numbers = numbers.split_whitespace().map(|c| {
        let kind = if c.ends_with("_on") { "Int32" } else { "Int64" };
        format!("arrow_cast({c}, '{kind}') AS {c}")
    });
    let columns: Vec<String> = plain.chain(numbers).collect();
    let sql = format!("SELECT {} FROM core.{table}", columns.join(", "));
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    let file = File::create(folder.join(format!("{table}.jsonl"))).unwrap();
    let mut writer = arrow::json::LineDelimitedWriter::new(std::io::BufWriter::new(file));
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}

struct Oracle<'a> {
    name: &'a str,
    said: &'a [Value],
}

impl Oracle<'_> {
    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.said.iter().filter(move |row| !row[kind].is_null())
    }

    /// Numerator, denominator and n of every cell: equal, and the same cells.
    async fn cells(&self, session: &SessionContext, metrics: &Metrics) {
        let mut expected: BTreeMap<String, Value> =
            self.of("cell").map(|row| (row["cell"].to_string(), row["totals"].clone())).collect();
        let counted = expected.len();
        let mut wrong = Vec::new();
        for metric in metrics.iter() {
            let name = &metric.info.name;
            let sql = format!(
                "SELECT source, body, category, territory, arrow_cast(day, 'Int32') AS day, sum(numerator) AS up, \
                 sum(denominator) AS down, sum(n) AS n FROM metrics.{name}_cells GROUP BY 1, 2, 3, 4, 5"
            );
            for row in rows(session, &sql).await {
                let dimensions = ["source", "body", "category", "territory", "day"].map(|d| row[d].clone());
                let cell = Value::from([vec![json!(name)], dimensions.to_vec()].concat()).to_string();
                let found = json!([row["up"], row["down"], row["n"]]);
                match expected.remove(&cell) {
                    Some(totals) if totals == found => {}
                    other => wrong.push(format!("{cell}: {found}, by the oracle {other:?}")),
                }
            }
        }
        wrong.extend(expected.iter().take(4).map(|(cell, totals)| format!("{cell}: missing, by the oracle {totals}")));
        let shown = &wrong[..wrong.len().min(8)];
        assert!(wrong.is_empty(), "{}: {} of {counted} cells:\n{}", self.name, wrong.len(), shown.join("\n"));
        assert!(counted > 0, "{}: no cell", self.name);
    }

    /// Closed-only quantiles equal; Kaplan–Meier's within one observation.
    async fn quantiles(&self, session: &SessionContext) {
        for row in self.of("quantile") {
            let question = &row["quantile"];
            let (metric, source) = (question[0].as_str().unwrap(), question[1].as_str().unwrap());
            let function = if row["of"] == "closed" { "nearest_rank" } else { "km_quantile" };
            let sql = format!(
                "SELECT {function}(duration_us, observed, n, CAST({} AS DOUBLE)) AS us FROM metrics.{metric}_cells \
                 WHERE source = '{source}'",
                question[2]
            );
            let found = &rows(session, &sql).await[0]["us"];
            let near = row["of"] == "all" && row["near"].as_array().unwrap().contains(found);
            assert!(*found == row["us"] || near, "{}: {question} of {}: {found}, not {row}", self.name, row["of"]);
        }
    }

    async fn incidence(&self, session: &SessionContext) {
        let found: BTreeMap<String, Value> = rows(session, "SELECT * EXCEPT (as_of) FROM metrics.ending_incidence")
            .await
            .into_iter()
            .map(|row| (json!([row["source"], row["category"], row["days"]]).to_string(), row))
            .collect();
        for row in self.of("incidence") {
            let found = &found[&row["incidence"].to_string()];
            for ending in ["closed", "withdrawn", "merged"] {
                let (ours, theirs) =
                    (found[format!("{ending}_share")].as_f64().unwrap(), row[ending].as_f64().unwrap());
                assert!((ours - theirs).abs() < 1e-9, "{}: {ending}: {found}, not {row}", self.name);
            }
        }
    }

    /// Boards, as far as the oracle tells their rows.
    async fn boards(&self, session: &SessionContext) {
        for (board, sql) in [
            ("call_board", "SELECT * EXCEPT (as_of, day), arrow_cast(day, 'Int32') AS day FROM metrics.call_board"),
            (
                "queue_board",
                "SELECT * EXCEPT (as_of, day, wait_p50_us, wait_p90_us), arrow_cast(day, 'Int32') AS day \
                 FROM metrics.queue_board",
            ),
            ("overdue_ageing", "SELECT source, body, category, territory, band, numerator FROM metrics.overdue_ageing"),
            (
                "deadline_margin_days",
                "SELECT source, body, category, margin_days, numerator FROM metrics.deadline_margin_days",
            ),
            (
                "outcome_classes",
                "SELECT source, outcome_class, count(*) AS cases FROM metrics.outcome_classes GROUP BY 1, 2",
            ),
            (
                "repeat_complaints",
                "SELECT source, sum(numerator) AS numerator, sum(denominator) AS denominator, sum(n) AS n \
                 FROM metrics.repeat_complaints GROUP BY 1",
            ),
            ("flaws", "SELECT source, flaw, numerator FROM metrics.flaws"),
        ] {
            let sorted = |rows: Vec<Value>| {
                let mut lines: Vec<String> = rows
                    .into_iter()
                    .map(|row| {
                        let row: BTreeMap<String, Value> = serde_json::from_value(row).unwrap();
                        serde_json::to_string(&row).unwrap()
                    })
                    .collect();
                lines.sort_unstable();
                lines
            };
            let expected = sorted(self.of("board").filter(|r| r["board"] == board).map(|r| r["row"].clone()).collect());
            support::assert_same(
                &format!("{}: {board}, ours and the oracle's", self.name),
                &sorted(rows(session, sql).await),
                &expected,
            );
        }
    }
}

/// Segments follow one another and add up to the whole time of their case, to the microsecond.
async fn custody_adds_up(name: &str, session: &SessionContext) {
    let sql = "SELECT count(*) AS cases, coalesce(sum(CASE WHEN held_us = whole_us THEN 1 ELSE 0 END), 0) AS even, \
               count(DISTINCT body) AS bodies FROM ( \
                 SELECT c.case_id, max(s.body) AS body, sum(elapsed_us(s.from_at, s.to_at)) AS held_us, \
                        max(elapsed_us(c.received_at, c.ended_at)) AS whole_us \
                 FROM core.cases c JOIN core.segments s ON s.case_id = c.case_id \
                 WHERE c.ended_at > c.received_at GROUP BY c.case_id) AS whole";
    let row = rows(session, sql).await.remove(0);
    assert_eq!(row["cases"], row["even"], "{name}: custody does not add up");
    let all = rows(session, "SELECT count(*) AS n FROM core.cases WHERE ended_at > received_at").await.remove(0);
    assert_eq!(row["cases"], all["n"], "{name}: a case that nobody is charged for");
}

fn example(name: &str, as_of: &str) {
    if shared().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    hold(name, &Deployment::example(name, folder.path().join("state")), as_of);
}

#[test]
fn boston() {
    example("boston-2011", "2012-01-01T00:00:00-05:00");
}

#[test]
fn itsm() {
    example("itsm", "2016-05-20T12:00:00Z");
}

#[test]
fn sffd() {
    example("sffd-2020", "2020-04-17T03:00:00-07:00");
}

#[test]
fn wabo() {
    example("wabo", "2011-09-15T12:00:00+02:00");
}

#[test]
fn telephony_queues_accounts_and_appeals() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    std::fs::write(&file, made_up::events(2_026)).unwrap();
    // Rewritten rather than told by an environment variable, which other tests would see.
    let text = std::fs::read_to_string(root().join("tests/oracles/boards/ahual.toml")).unwrap();
    let sql = root().join("tests/oracles/boards/boards.sql");
    let text =
        text.replace("\"${AHUAL_BOARDS}\"", &support::quoted(&file)).replace("\"boards.sql\"", &support::quoted(&sql));
    let config = folder.path().join("ahual.toml");
    std::fs::write(&config, text).unwrap();
    hold("boards", &Deployment { config, data: folder.path().join("state") }, "2026-03-20T09:30:00Z");
}

/// The simulated doors, ended with the test.
struct Doors {
    process: Child,
    port: String,
}

impl Drop for Doors {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Doors {
    fn open() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_ahual"))
            .args(["simulate", "--seed", "7", "--history-days", "31", "--scale", "0.08", "--listen", "127.0.0.1:0"])
            .args(["--start", "2026-03-31T19:00:00Z", "--until", "2026-03-31T19:00:00Z"])
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stderr.take().unwrap());
        let line = out.lines().map(Result::unwrap).find(|line| line.contains("127.0.0.1:")).expect("an address");
        let port = line.rsplit("127.0.0.1:").next().unwrap();
        let port = port.chars().take_while(char::is_ascii_digit).collect();
        Self { process, port }
    }
}

#[test]
fn a_simulated_month() {
    let doors = Doors::open();
    let folder = tempfile::tempdir().unwrap();
    let example = root().join("examples/karaganda");
    let text = std::fs::read_to_string(example.join("ahual.toml")).unwrap();
    // Without servers; the doors are where they opened.
    let text = text.split("[sinks.http]").next().unwrap().replace("${AHUAL_SIM_PORT:-8311}", &doors.port);
    let config = example_beside(&example, folder.path(), &text);
    hold("karaganda", &Deployment { config, data: folder.path().join("state") }, "2026-03-25T00:00:00Z");
}

/// The configuration with the files it names beside it.
fn example_beside(example: &Path, folder: &Path, text: &str) -> std::path::PathBuf {
    for entry in std::fs::read_dir(example).unwrap() {
        let path = entry.unwrap().path();
        let beside = folder.join(path.file_name().unwrap());
        if path.is_file() {
            std::fs::copy(&path, beside).unwrap();
        } else {
            std::os::unix::fs::symlink(&path, beside).unwrap();
        }
    }
    let config = folder.join("ahual.toml");
    std::fs::write(&config, text).unwrap();
    config
}
