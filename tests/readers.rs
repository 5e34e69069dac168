//! Every door out says the same: psql, HTTP, the feed, any Delta reader and `ahual query`,
//! while records still come in and after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Client;
use serde_json::Value;
use support::{Deployment, assert_same, done, eventually, quoted, rewired, shared, table, unpacked, write_table};

/// Until a started process has bound its servers.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Until the next piece of an answer is there.
const SAID_WITHIN: Duration = Duration::from_secs(60);

const PASSWORD: &str = "only on loopback";
const ALL_DIMENSIONS: &str = "source,body,category,territory,day";

const SINKS: &str = r#"
[sinks.http]
listen = "127.0.0.1:0"
max_rows = 1000000

[sinks.postgres]
listen = "127.0.0.1:0"
users = [{ name = "analyst", password = { development = "only on loopback" } }]
"#;

/// `ahual run`, following, with its servers up.
struct Running {
    process: Child,
    http: String,
    psql: String,
    client: Client,
}

impl Running {
    fn start(deployment: &Deployment) -> Self {
        let mut process =
            deployment.command("run").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("ahual starts");
        let (sender, lines) = std::sync::mpsc::channel();
        let stderr = process.stderr.take().unwrap();
        // Read to the end, so that the process never waits for us.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let (mut http, mut psql, mut said) = (None, None, Vec::new());
        let begun = Instant::now();
        while http.is_none() || psql.is_none() {
            let left = UP_WITHIN.saturating_sub(begun.elapsed());
            let Ok(line) = lines.recv_timeout(left) else {
                let _ = process.kill();
                let _ = process.wait();
                panic!("no addresses within {UP_WITHIN:?}; it said:\n{}", said.join("\n"));
            };
            if let Some(address) = line.strip_prefix("http ") {
                http = Some(address.trim().trim_end_matches('/').to_owned());
            } else if let Some(command) = line.strip_prefix("postgres ") {
                let quoted = command.trim().strip_prefix("psql \"").and_then(|c| c.strip_suffix('"'));
                psql = Some(quoted.expect("a psql line to paste").to_owned());
            }
            said.push(line);
        }
        let client = Client::builder().no_proxy().build().unwrap();
        Self { process, http: http.unwrap(), psql: psql.unwrap(), client }
    }

    fn psql(&self, sql: &str) -> Result<String, String> {
        let out = Command::new("psql")
            .args([self.psql.as_str(), "-X", "-A", "-t", "-c", sql])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
    }

    /// Waits until the ledger counts `rows`; everything that follows from them is
    /// published in the same epoch.
    fn wait_for(&self, rows: usize) {
        let rows = rows.to_string();
        eventually(&format!("{rows} rows in the ledger"), || {
            self.psql("SELECT sum(pulled) FROM ops.ledger").as_deref() == Ok(&rows)
        });
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.http)).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn stream(&self, query: &str, last: Option<&str>) -> Stream {
        let mut request = self.client.get(format!("{}/api/feed{query}", self.http));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Stream { bytes: response.bytes_stream().map(|chunk| chunk.unwrap().to_vec()).boxed(), text: String::new() }
    }

    /// The newest position: what a live stream opens with.
    async fn head(&self) -> String {
        self.stream("", None).await.block().await.0.expect("a live stream opens with its position")
    }

    /// Entries up to the newest one, after `last` or from the beginning.
    async fn feed(&self, last: Option<&str>) -> Vec<(String, Value)> {
        let head = self.head().await;
        let query = if last.is_none() { "?after=0-0" } else { "" };
        let mut stream = self.stream(query, last).await;
        let mut entries: Vec<(String, Value)> = Vec::new();
        while last != Some(head.as_str()) && entries.last().is_none_or(|(id, _)| *id != head) {
            if let (Some(id), Some(data)) = stream.block().await {
                entries.push((id, serde_json::from_str(&data).unwrap()));
            }
        }
        entries
    }

    /// TERM, and a clean end.
    fn stop(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = self.process.wait().unwrap();
        assert!(status.success(), "a stopped run ends well, not with {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone when stopped; a failed assertion must not leave a server behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Server-sent events as they come.
struct Stream {
    bytes: futures::stream::BoxStream<'static, Vec<u8>>,
    text: String,
}

impl Stream {
    /// Id and data of the next block.
    async fn block(&mut self) -> (Option<String>, Option<String>) {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
                return (field("id:"), field("data:"));
            }
            let chunk = tokio::time::timeout(SAID_WITHIN, self.bytes.next()).await.expect("the feed stands still");
            self.text.push_str(std::str::from_utf8(&chunk.expect("the feed ended")).unwrap());
        }
    }
}

fn ids(entries: &[(String, Value)]) -> Vec<(i64, u32)> {
    let position = |id: &str| {
        let (version, ordinal) = id.split_once('-').unwrap();
        (version.parse().unwrap(), ordinal.parse().unwrap())
    };
    entries.iter().map(|(id, _)| position(id)).collect()
}

fn strictly_rising(entries: &[(String, Value)]) -> bool {
    ids(entries).windows(2).all(|pair| pair[0] < pair[1])
}

/// What is needed and missing; a failure where it is promised.
fn missing(what: &str) -> Option<String> {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}");
    eprintln!("SKIPPED: {what}");
    None
}

/// A Python with a Delta reader, and `psql`.
fn python_beside_psql() -> Option<String> {
    let Ok(python) = std::env::var("AHUAL_PYTHON") else {
        return missing("AHUAL_PYTHON names no Python; 'scripts/setup python' makes one");
    };
    let psql = Command::new("psql").arg("--version").stdout(Stdio::null()).status();
    if psql.is_ok_and(|s| s.success()) { Some(python) } else { missing("psql is missing; install postgresql-client") }
}

/// Rows, or distinct values of a column, as PyPI `deltalake` reads them.
fn delta(python: &str, table: &Path, question: &str) -> String {
    // Arrow's threads may abort while the interpreter is torn down, after the answer: leave at once.
    let script = format!(
        "import os, sys\nfrom deltalake import DeltaTable\nimport pyarrow.compute as pc\n\
         t = DeltaTable(sys.argv[1]).to_pyarrow_table()\nprint({question}, flush=True)\nos._exit(0)"
    );
    let out = Command::new(python).args(["-c", &script]).arg(table).output().unwrap();
    done(out, "the Delta reader").trim().to_owned()
}

/// Figures without what moves with the clock: the moment itself, and how long what is
/// overdue has been so.
fn settled(metric: &str, mut row: Value) -> String {
    let fields = row.as_object_mut().unwrap();
    fields.shift_remove("as_of").expect("every figure says as of when");
    if ["overdue_backlog", "personal_control"].contains(&metric) {
        fields.retain(|name, _| !name.ends_with("p50") && !name.ends_with("p90") && !name.ends_with("p95"));
    }
    row.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_agree_while_records_come_in_and_after_a_restart() {
    let Some(shared) = shared() else { return };
    let Some(python) = python_beside_psql() else { return };
    let text = unpacked(&shared.join("data/tasks/receipt_wabo.csv.gz"));
    let (header, rows) = table(&text);
    let half = rows.len() / 2;

    let folder = tempfile::tempdir().unwrap();
    let door = folder.path().join("door");
    std::fs::create_dir(&door).unwrap();
    let config = folder.path().join("ahual.toml");
    let watched = format!("{}\nwatch = true", quoted(&door.join("*.csv")));
    let limits = "\n[source.limits]\npoll_every_s = 1\n";
    std::fs::write(&config, format!("{}{limits}{SINKS}", rewired("wabo", &[watched]))).unwrap();
    let deployment = Deployment { config, data: folder.path().join("state") };

    // Half of the rows: the feed from its beginning.
    let running = Running::start(&deployment);
    write_table(&door.join("1.csv"), header, &rows[..half]);
    running.wait_for(half);
    assert_eq!(running.json("/readyz").await["status"], "ready");
    let first = running.feed(None).await;
    assert!(!first.is_empty() && strictly_rising(&first));

    // A reader that breaks off in the middle of it goes on where it was.
    let middle = &first[first.len() / 2].0;
    assert_eq!(running.feed(Some(middle)).await, first[first.len() / 2 + 1..], "a resumed feed has a gap or a repeat");

    // The other half comes while a reader listens: it is told, after the last id it saw.
    let last = first.last().unwrap().0.clone();
    let mut listening = running.stream("", Some(&last)).await;
    write_table(&door.join("2.csv"), header, &rows[half..]);
    running.wait_for(rows.len());
    let second = running.feed(Some(&last)).await;
    let whole = running.feed(None).await;
    assert_eq!(whole, [first, second.clone()].concat(), "the feed after a break is not the rest of the feed");
    assert!(strictly_rising(&whole));
    let mut heard = Vec::new();
    while heard.len() < second.len() {
        if let (Some(id), Some(data)) = listening.block().await {
            heard.push((id, serde_json::from_str(&data).unwrap()));
        }
    }
    assert_eq!(heard, second, "a listener heard something else than a reader who came back");
    drop(listening);

    // Counts, by psql and by a Delta reader. While a job writes, a table may hold rows that
    // newer ones replace; its keys are the same.
    let count = |table: &str| running.psql(&format!("SELECT count(*) FROM {table}")).unwrap();
    let tables = ["core.cases", "core.events", "core.segments", "core.deadlines"];
    let by_psql = tables.map(count);
    assert_eq!(by_psql[0], "1434");
    let listed = running.psql("\\dt").unwrap();
    for table in ["cases", "events", "segments", "deadlines"] {
        assert!(listed.contains(&format!("core|{table}|")), "\\dt does not list core.{table}:\n{listed}");
    }
    let columns = running.psql("\\d core.cases").unwrap();
    for column in ["case_id|text", "received_at|timestamp with time zone", "reopened|integer"] {
        assert!(columns.contains(column), "\\d core.cases does not show {column}:\n{columns}");
    }
    let lake = deployment.data.join("lake/core");
    assert_eq!(delta(&python, &lake.join("cases"), "pc.count_distinct(t['case_id'])"), by_psql[0]);

    // Every kept figure, by all dimensions, before anything is formed again.
    let metrics = deployment.metrics();
    let mut kept = Vec::new();
    for metric in &metrics {
        let answer = running.json(&format!("/api/metrics/{metric}?by={ALL_DIMENSIONS}&limit=1000000")).await;
        assert_eq!(answer["truncated"], false);
        kept.push(answer["rows"].as_array().unwrap().clone());
    }
    let by_source = running.json("/api/metrics/completion?by=source").await;
    running.stop();

    // Recomputed from rows, they are equal.
    for (metric, kept) in metrics.iter().zip(kept) {
        let formed = deployment.query(&format!("SELECT * FROM metrics.{metric}"));
        let kept: Vec<String> = kept.into_iter().map(|row| settled(metric, row)).collect();
        let formed: Vec<String> = formed.into_iter().map(|row| settled(metric, row)).collect();
        assert_same(&format!("{metric}, kept and recomputed"), &kept, &formed);
    }
    let completion = deployment.row(
        "SELECT source, sum(numerator) AS numerator, sum(denominator) AS denominator, sum(n) AS n \
         FROM metrics.completion GROUP BY 1",
    );
    for name in ["source", "numerator", "denominator", "n"] {
        assert_eq!(by_source["rows"][0][name], completion[name], "completion by source: {name}");
    }
    let by_query = tables.map(|table| deployment.row(&format!("SELECT count(*) AS n FROM {table}"))["n"].to_string());
    assert_eq!(by_query, by_psql, "ahual query counts something else than psql");

    // Started again: the same feed under the same ids, and nothing new.
    let again = Running::start(&deployment);
    again.wait_for(rows.len());
    assert_eq!(again.feed(None).await, whole, "a restart changed the feed");
    assert_eq!(again.feed(Some(&last)).await, second, "after a restart a resumed feed has a gap or a repeat");
    again.stop();

    // Drained, the tables are one row a case and key, for any reader.
    deployment.run();
    for (table, counted) in tables.iter().zip(&by_query) {
        let name = table.trim_start_matches("core.");
        let question = if name == "events" {
            "sum(1 for k in t['kind'].to_pylist() if k not in ('seen_again', 'set_aside'))"
        } else {
            "t.num_rows"
        };
        assert_eq!(&delta(&python, &lake.join(name), question), counted, "{table} by a Delta reader");
    }
}
