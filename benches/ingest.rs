//! How fast records are taken, beside DuckDB reading the same file.
//!
//! A file of complaints (NDJSON, seeded) is taken twice in the same run: by Ahual, through
//! the files connector into the embedded log (sealed, synced) and by the job into the lake
//! (raw records, events, cases, figures, an epoch); and by DuckDB, from NDJSON into one
//! Parquet file. They do not do the same work: the ratio says what durability, history
//! and kept figures cost over merely reading. First the answers must be equal.
//!
//! `AHUAL_BENCH_ROWS` (default 300,000) is the size of the file, `AHUAL_BENCH_ROUNDS`
//! (default 3) is how often it is taken, `AHUAL_PYTHON` an interpreter with `duckdb`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahual_ingest::log::LogConfig;
use ahual_ingest::{CursorStore, IntakeConfig, Mode, Runner};
use ahual_schemas::log::{DEAD_LETTERS, TopicKind, raw_topic};
use ahual_schemas::sealing::Sealer;
use ahual_transform::catalog::{Catalog, Moment};
use ahual_transform::figures::Metrics;
use ahual_transform::job::{Job, JobParts};
use ahual_transform::mapping::Mapping;
use ahual_transform::reference::Reference;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SOURCE: &str = "bench";
const PARTITIONS: u32 = 16;
/// As `deployment.batch_records` has it by default.
const BATCH_RECORDS: usize = 20_000;

const MAPPING: &str = "
SELECT _record, 'received' AS kind, parse_when(opened, 'UTC') AS occurred_at, status, category, body, territory,
       NULL AS due_at, TRY_CAST(longitude AS DOUBLE) AS longitude, TRY_CAST(latitude AS DOUBLE) AS latitude
FROM raw
UNION ALL
SELECT _record, 'deadline_set', parse_when(opened, 'UTC'), NULL, NULL, NULL, NULL, parse_when(due, 'UTC'), NULL, NULL
FROM raw
UNION ALL
SELECT _record, 'closed', parse_when(closed, 'UTC'), status, NULL, NULL, NULL, NULL, NULL, NULL
FROM raw WHERE closed IS NOT NULL
";

const MAPPING_CONFIG: &str = r#"
sql = "bench.sql"
regime = "request_109"
time_zone = "UTC"
columns = ["opened", "due", "closed", "status", "category", "body", "territory", "longitude", "latitude"]
"#;

/// Reads the file into Parquet, then says how long that took and what the Parquet holds.
const DUCKDB: &str = r#"
import json, sys, time, duckdb
source, target = sys.argv[1:]
connection = duckdb.connect()
begun = time.perf_counter()
connection.execute(f"COPY (SELECT * FROM read_json('{source}', format = 'newline_delimited')) TO '{target}' (FORMAT parquet)")
seconds = time.perf_counter() - begun
rows = connection.execute(f"""
    SELECT status, count(*), coalesce(sum(epoch(closed::TIMESTAMP) - epoch(opened::TIMESTAMP)), 0)::BIGINT
    FROM '{target}' GROUP BY 1 ORDER BY 1""").fetchall()
print(json.dumps({"version": duckdb.__version__, "seconds": seconds,
                  "answer": [{"status": s, "n": n, "seconds": t} for s, n, t in rows]}))
"#;

const ANSWER: &str = "
SELECT status, count(*) AS n, CAST(coalesce(sum(elapsed_us(received_at, closed_at) / 1000000), 0) AS BIGINT) AS seconds
FROM core.cases GROUP BY 1 ORDER BY 1";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn time(second: i64) -> String {
    chrono::DateTime::from_timestamp(1_704_067_200 + second, 0).unwrap().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Writes `rows` complaints; returns the bytes of the file.
fn write_complaints(path: &Path, rows: usize) -> u64 {
    const STREETS: [&str; 6] = ["Бухар-Жырау", "Ерубаева", "Ленина", "Гоголя", "Абая", "Мира"];
    const SAID: [&str; 5] = [
        "нет горячей воды третий день, просим принять меры",
        "яма на дороге возле остановки",
        "не вывозят мусор со двора",
        "не горит уличное освещение от школы до магазина",
        "запах газа в подъезде",
    ];
    let mut dice = ChaCha8Rng::seed_from_u64(109);
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    for number in 0..rows {
        let opened = dice.random_range(0..2 * 365 * 86_400_i64);
        let (closed, status) = match dice.random_range(0..10) {
            0 => (Value::Null, "open"),
            1 => (Value::Null, "in progress"),
            _ => (Value::from(time(opened + dice.random_range(600..40 * 86_400_i64))), "closed"),
        };
        let complaint = json!({
            "id": format!("KRG-{number:08}"),
            "opened": time(opened),
            "due": time(opened + 10 * 86_400),
            "closed": closed,
            "status": status,
            "category": format!("category {}", dice.random_range(0..40)),
            "body": format!("body {}", dice.random_range(0..25)),
            "territory": dice.random_range(0..18).to_string(),
            "longitude": 73.0 + f64::from(dice.random_range(0..200_000_u32)) / 1e6,
            "latitude": 49.7 + f64::from(dice.random_range(0..200_000_u32)) / 1e6,
            "address": format!("{}, {}", STREETS[dice.random_range(0..STREETS.len())], dice.random_range(1..150)),
            "text": SAID[dice.random_range(0..SAID.len())],
        });
        serde_json::to_writer(&mut file, &complaint).unwrap();
        file.write_all(b"\n").unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    path.metadata().unwrap().len()
}

/// Ahual takes the file: time to the durable log, from there to the lake, and the answer.
async fn take(file: &Path, rows: usize) -> (Duration, Duration, Value) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let sealer = Sealer::new("bench", b"bench");
    let reference = Reference::built_in().unwrap();
    let metrics = Metrics::built_in(&sealer, &reference).unwrap();
    let log = ahual_ingest::log::open(&LogConfig::default(), data, PARTITIONS).await.unwrap();
    for topic in [DEAD_LETTERS.to_owned(), raw_topic(SOURCE)] {
        log.create_topic(&topic, TopicKind::Stream).await.unwrap();
    }
    let intake: IntakeConfig = toml::from_str(&format!(
        "[files]\npath = {:?}\nformat = \"jsonl\"\n[identity]\ncolumns = [\"id\"]\n",
        file.to_str().unwrap()
    ))
    .unwrap();
    let door = ahual_ingest::build(SOURCE, intake, data).unwrap();
    let cursors = Arc::new(CursorStore::open(&data.join("cursors.redb")).unwrap());
    let begun = Instant::now();
    let runner = Runner::new(door, Arc::clone(&log), sealer.clone(), cursors);
    let summary = runner.run(CancellationToken::new(), Mode::Once).await.unwrap();
    let to_log = begun.elapsed();
    assert_eq!((summary.records, summary.set_aside), (rows as u64, 0), "records in the log");

    let config = toml::from_str(MAPPING_CONFIG).unwrap();
    let mapping =
        Mapping::new(SOURCE, &config, "bench.sql".into(), MAPPING.to_owned(), &sealer, &reference).await.unwrap();
    let parts = JobParts {
        log,
        data_dir: data.to_owned(),
        mappings: [(SOURCE.to_owned(), mapping)].into(),
        metrics: metrics.clone(),
        sealer,
        zone: chrono_tz::UTC,
        batch_records: BATCH_RECORDS,
    };
    let begun = Instant::now();
    let mut job = Job::open(parts).await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let (_done, upstream_done) = watch::channel(true);
    job.run(stopped, upstream_done).await.unwrap();
    let to_lake = begun.elapsed();

    let catalog = Catalog::new(data, metrics, chrono_tz::UTC);
    let session = catalog.session(Moment::default()).await.unwrap();
    let batches = session.sql(ANSWER).await.unwrap().collect().await.unwrap();
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    (to_log, to_lake, serde_json::from_slice(&writer.into_inner()).unwrap())
}

/// DuckDB takes the file: its version, time and answer.
fn take_with_duckdb(file: &Path, target: &Path) -> (String, Duration, Value) {
    let python = std::env::var("AHUAL_PYTHON").expect(
        "AHUAL_PYTHON names no interpreter with duckdb; run 'make bench', or 'make setup-python' and export it",
    );
    let output = Command::new(python).args(["-c", DUCKDB]).arg(file).arg(target).output().unwrap();
    assert!(output.status.success(), "duckdb: {}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds = Duration::from_secs_f64(said["seconds"].as_f64().unwrap());
    (said["version"].as_str().unwrap().to_owned(), seconds, said["answer"].clone())
}

/// Rows a second: median, least and most.
fn rates(rows: usize, times: &[Duration]) -> [f64; 3] {
    let mut rates: Vec<f64> = times.iter().map(|time| rows as f64 / time.as_secs_f64()).collect();
    rates.sort_by(f64::total_cmp);
    [rates[rates.len() / 2], rates[0], rates[rates.len() - 1]]
}

#[tokio::main]
async fn main() {
    let rows = setting("AHUAL_BENCH_ROWS", 300_000);
    let rounds = setting("AHUAL_BENCH_ROUNDS", 3);
    assert!(rows >= 1 && rounds >= 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("complaints.ndjson");
    let bytes = write_complaints(&file, rows);

    let (mut to_log, mut to_lake, mut whole, mut duckdb) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut version = String::new();
    for round in 1..=rounds {
        let (log, lake, answer) = take(&file, rows).await;
        let (found_version, peer, expected) = take_with_duckdb(&file, &folder.path().join("complaints.parquet"));
        let counted: u64 = answer.as_array().unwrap().iter().map(|row| row["n"].as_u64().unwrap()).sum();
        assert_eq!(counted, rows as u64, "rows");
        assert_eq!(answer, expected, "cases and seconds to close, by status");
        eprintln!(
            "round {round}: log {:.1} s, lake {:.1} s, duckdb {:.2} s; answers equal: {answer}",
            log.as_secs_f64(),
            lake.as_secs_f64(),
            peer.as_secs_f64()
        );
        to_log.push(log);
        to_lake.push(lake);
        whole.push(log + lake);
        duckdb.push(peer);
        version = found_version;
    }

    println!("{rows} complaints, {:.0} MB of NDJSON, rows/s, median of {rounds} (least..most)", bytes as f64 / 1e6);
    let peer = rates(rows, &duckdb);
    let mut said = serde_json::Map::new();
    for (name, label, times) in [
        ("to_log", "NDJSON → durable log", &to_log),
        ("to_lake", "durable log → lake", &to_lake),
        ("whole", "NDJSON → log → lake", &whole),
        ("duckdb", "DuckDB, NDJSON → Parquet", &duckdb),
    ] {
        let [median, least, most] = rates(rows, times);
        let ratio = median / peer[0];
        println!("  {label:<26} {median:>10.0}  ({least:.0}..{most:.0})  {ratio:.4} of DuckDB");
        said.insert(name.to_owned(), json!({"rows_per_s": median, "least": least, "most": most, "ratio": ratio}));
    }
    println!(
        "{}",
        json!({
            "benchmark": "ingest", "rows": rows, "bytes": bytes, "rounds": rounds, "duckdb_version": version,
            "results": said, "debug_assertions": cfg!(debug_assertions),
        })
    );
}
