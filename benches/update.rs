//! What an update costs, and whether it costs more where there is more history.
//!
//! A thousand late and corrected records go through the real job (log → raw → events →
//! fold → index → derived tables → epoch) over a small history and over a large one, in
//! turns. First the answers: after the updates the kept figures of the small history must
//! equal those formed anew from its rows. Then the costs, and their ratio.
//!
//! `AHUAL_BENCH_CASES` (default 2,000,000) and `AHUAL_BENCH_SMALL_CASES` (default 20,000)
//! are the histories, `AHUAL_BENCH_ROUNDS` (default 32) is how often each is updated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahual_ingest::log::LogConfig;
use ahual_schemas::log::{DEAD_LETTERS, TopicKind, raw_topic};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::{Log, LogReader, RawRecord, TopicPartition};
use ahual_transform::catalog::Catalog;
use ahual_transform::figures::{Bag, Metrics, Subject};
use ahual_transform::fold::{FoldRule, fold};
use ahual_transform::index::Change;
use ahual_transform::job::{Job, JobParts};
use ahual_transform::mapping::Mapping;
use ahual_transform::reference::Reference;
use rand::Rng;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

const SOURCE: &str = "bench";
const PARTITIONS: u32 = 16;
/// As `deployment.batch_records` has it by default.
const BATCH_RECORDS: usize = 20_000;
const BATCH_BYTES: usize = 64 * 1024 * 1024;
const LATE: usize = 500;
const CORRECTED: usize = 500;
/// Bound of liveness only: the records waited for are in the log already.
const READ_WAIT: Duration = Duration::from_secs(30);
const ZONE: chrono_tz::Tz = chrono_tz::Asia::Almaty;

const MAPPING: &str = "
SELECT _record, 'received' AS kind, parse_when(opened, 'Asia/Almaty') AS occurred_at,
       TRY_CAST(version AS BIGINT) AS version, 'open' AS status, category, body, territory,
       NULL AS due_at
FROM raw WHERE opened IS NOT NULL
UNION ALL
SELECT _record, 'deadline_set', parse_when(opened, 'Asia/Almaty'), TRY_CAST(version AS BIGINT), NULL, NULL, NULL, NULL,
       parse_when(due, 'Asia/Almaty')
FROM raw WHERE due IS NOT NULL
UNION ALL
SELECT _record, 'closed', parse_when(closed, 'Asia/Almaty'), TRY_CAST(version AS BIGINT), 'closed', NULL, NULL, NULL, NULL
FROM raw WHERE closed IS NOT NULL
UNION ALL
SELECT _record, 'first_response', parse_when(answered, 'Asia/Almaty'), TRY_CAST(version AS BIGINT), NULL, NULL, NULL, NULL, NULL
FROM raw WHERE answered IS NOT NULL
";

const MAPPING_CONFIG: &str = r#"
sql = "bench.sql"
regime = "request_109"
time_zone = "Asia/Almaty"
columns = ["opened", "due", "closed", "answered", "version", "category", "body", "territory"]
"#;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A local time, to the second; second 0 begins 2024.
fn local(second: i64) -> String {
    chrono::DateTime::from_timestamp(1_704_067_200 + second, 0).unwrap().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What a door says of case `number`; the same number and version say the same.
fn complaint(number: usize, version: i64) -> String {
    let mut dice = ChaCha8Rng::seed_from_u64((number as u64) << 8 | version as u64);
    let opened = dice.random_range(0..2 * 365 * 86_400_i64);
    let closed = if dice.random_bool(0.9) {
        format!("\"{}\"", local(opened + dice.random_range(600..40 * 86_400_i64)))
    } else {
        "null".to_owned()
    };
    format!(
        r#"{{"id":"K-{number:08}","opened":"{}","due":"{}","closed":{closed},"version":"{version}","category":"category {}","body":"body {}","territory":"{}"}}"#,
        local(opened),
        local(opened + 10 * 86_400),
        dice.random_range(0..40),
        dice.random_range(0..25),
        dice.random_range(0..18),
    )
}

struct History {
    cases: usize,
    data: PathBuf,
    _folder: tempfile::TempDir,
    sealer: Sealer,
    metrics: Metrics,
    log: Arc<dyn Log>,
    reader: Box<dyn LogReader>,
    job: Job,
    build: Duration,
}

/// One update's time, by step.
#[derive(Debug, Clone, Copy)]
struct Cost {
    append: Duration,
    read: Duration,
    fold: Duration,
}

impl Cost {
    fn whole(self) -> Duration {
        self.append + self.read + self.fold
    }
}

impl History {
    /// A history of `cases` cases, folded and compacted.
    async fn build(cases: usize) -> Self {
        let begun = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let sealer = Sealer::new("bench", b"bench");
        let reference = Reference::built_in().unwrap();
        let metrics = Metrics::built_in(&sealer, &reference).unwrap();
        let log = ahual_ingest::log::open(&LogConfig::default(), &data, PARTITIONS).await.unwrap();
        log.create_topic(DEAD_LETTERS, TopicKind::Stream).await.unwrap();
        log.create_topic(&raw_topic(SOURCE), TopicKind::Stream).await.unwrap();
        let config = toml::from_str(MAPPING_CONFIG).unwrap();
        let mapping =
            Mapping::new(SOURCE, &config, "bench.sql".into(), MAPPING.to_owned(), &sealer, &reference).await.unwrap();
        let job = Job::open(JobParts {
            log: Arc::clone(&log),
            data_dir: data.clone(),
            mappings: [(SOURCE.to_owned(), mapping)].into(),
            metrics: metrics.clone(),
            sealer: sealer.clone(),
            zone: ZONE,
            batch_records: BATCH_RECORDS,
        })
        .await
        .unwrap();
        let from =
            (0..PARTITIONS).map(|partition| (TopicPartition { topic: raw_topic(SOURCE), partition }, 0)).collect();
        let reader = log.reader(from).await.unwrap();
        let build = Duration::ZERO;
        let mut history = Self { cases, data, _folder: folder, sealer, metrics, log, reader, job, build };
        let mut number = 0;
        while number < cases {
            let end = (number + BATCH_RECORDS).min(cases);
            let records = (number..end).map(|n| history.record(n, "history", complaint(n, 1), n)).collect();
            history.update(records).await;
            number = end;
            if number % (BATCH_RECORDS * 10) == 0 {
                eprintln!("history of {cases}: {number} cases after {:.0} s", begun.elapsed().as_secs_f64());
            }
        }
        history.job.compact().await.unwrap();
        history.build = begun.elapsed();
        history
    }

    fn record(&self, case: usize, delivery: &str, payload: String, at: usize) -> RawRecord {
        RawRecord {
            source: SOURCE.to_owned(),
            record_id: format!("K-{case:08}"),
            case_key: format!("K-{case:08}"),
            delivery: format!("{delivery}:{at}"),
            occurrence: 1,
            content_type: "application/json".to_owned(),
            payload: payload.into(),
        }
    }

    /// Late answers to some cases and corrections of others, drawn from all the history.
    fn news(&self, round: usize) -> Vec<RawRecord> {
        let mut dice = ChaCha8Rng::seed_from_u64(7_000 + round as u64);
        let named = sample(&mut dice, self.cases, LATE + CORRECTED).into_vec();
        let version = 2 + round as i64;
        let delivery = format!("round {round}");
        let mut records = Vec::with_capacity(named.len());
        for (at, case) in named.into_iter().enumerate() {
            if at < LATE {
                let second = dice.random_range(0..2 * 365 * 86_400_i64);
                let payload = format!(r#"{{"id":"K-{case:08}/{round}","answered":"{}"}}"#, local(second));
                let mut late = self.record(case, &delivery, payload, at);
                late.record_id = format!("K-{case:08}/{round}");
                records.push(late);
            } else {
                records.push(self.record(case, &delivery, complaint(case, version), at));
            }
        }
        records
    }

    /// Takes records all the way, as a running job does.
    async fn update(&mut self, records: Vec<RawRecord>) -> Cost {
        let expected = records.len();
        let sealed = records.iter().map(|record| record.seal(&self.sealer).unwrap()).collect();
        let begun = Instant::now();
        self.log.append(&raw_topic(SOURCE), sealed).await.unwrap();
        let append = begun.elapsed();
        let (mut read, mut fold, mut taken) = (Duration::ZERO, Duration::ZERO, 0);
        while taken < expected {
            let begun = Instant::now();
            let batch = self.reader.next(BATCH_RECORDS, BATCH_BYTES, READ_WAIT).await.unwrap();
            read += begun.elapsed();
            assert!(!batch.is_empty(), "the log gave {taken} of {expected} records");
            taken += batch.len();
            let begun = Instant::now();
            self.job.batch(batch).await.unwrap();
            fold += begun.elapsed();
        }
        Cost { append, read, fold }
    }

    /// What single steps of an update take, each done once more on its own. They are done
    /// and undone: cases and totals stay as they are, only the feed's newest entries do not.
    /// What is missing to the whole is the mapping and the commits to the lake.
    async fn steps(&self, round: usize) -> Vec<(&'static str, Duration)> {
        let rule = FoldRule {
            as_of: None,
            known_at: None,
            zone: ZONE,
            folded_version: 0,
            reference: self.metrics.reference(),
        };
        let index = self.job.index();
        let mut dice = ChaCha8Rng::seed_from_u64(90_000 + round as u64);
        let names: Vec<String> =
            sample(&mut dice, self.cases, LATE + CORRECTED).iter().map(|n| format!("{SOURCE}:K-{n:08}")).collect();
        let progress = index.progress().unwrap().unwrap();
        let mut steps = Vec::new();
        let mut begun = Instant::now();
        let mut step = |name, times: u32| {
            steps.push((name, begun.elapsed() / times));
            begun = Instant::now();
        };
        let cases = index.cases(names.iter().map(String::as_str)).unwrap();
        step("find cases", 1);
        assert_eq!(cases.len(), names.len());
        let mut subject = Subject::default();
        cases.values().for_each(|rows| subject.push(&fold(rows, &rule)));
        step("fold", 1);
        let (mut added, mut removed) = (Bag::default(), Bag::default());
        self.metrics.keep(&mut added, &subject, 1).await.unwrap();
        self.metrics.keep(&mut removed, &subject, -1).await.unwrap();
        step("figures (twice)", 1);
        let change = |cases, cells| Change { cases, cells, progress: progress.clone(), ..Change::default() };
        index.apply(&change(cases, Bag::default())).unwrap();
        step("write cases", 1);
        for cells in [added, removed] {
            index.apply(&change(std::collections::BTreeMap::new(), cells)).unwrap();
        }
        step("write totals", 2);
        index.checkpoint(&progress).unwrap();
        step("checkpoint", 1);
        steps
    }

    /// Kept cells against cells formed anew from every case's rows.
    async fn assert_kept_equals_recomputed(&self) {
        let rule = FoldRule {
            as_of: None,
            known_at: None,
            zone: ZONE,
            folded_version: 0,
            reference: self.metrics.reference(),
        };
        let index = self.job.index();
        let mut subject = Subject::default();
        index.each_case(|_, rows| subject.push(&fold(&rows, &rule))).unwrap();
        assert_eq!(subject.cases.len(), self.cases, "cases");
        let mut recomputed = Bag::default();
        self.metrics.keep(&mut recomputed, &subject, 1).await.unwrap();
        recomputed.settle();
        let kept = Catalog::new(&self.data, self.metrics.clone(), ZONE).kept_cells().await.unwrap();
        assert!(kept.len() > self.cases / 2, "the history makes figures");
        assert!(kept == recomputed, "kept figures differ from recomputed ones");
        let report = ahual_transform::reconcile::reconcile(&self.data, &self.metrics, ZONE, None).await.unwrap();
        assert!(report.closes(), "the lake does not reconcile: {:?}", report.differences.first());
        eprintln!("{} cases: {} kept cells equal recomputed ones; the lake reconciles", self.cases, kept.len());
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn mean(times: &[Duration]) -> f64 {
    times.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3 / times.len() as f64
}

fn spread(times: &[Duration]) -> (f64, f64) {
    let ms = |d: Option<&Duration>| d.unwrap().as_secs_f64() * 1e3;
    (ms(times.iter().min()), ms(times.iter().max()))
}

fn size_mb(path: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(path) else { return path.metadata().map_or(0.0, |m| m.len() as f64 / 1e6) };
    entries.flatten().map(|entry| size_mb(&entry.path())).sum()
}

#[tokio::main]
async fn main() {
    let large_cases = setting("AHUAL_BENCH_CASES", 2_000_000);
    let small_cases = setting("AHUAL_BENCH_SMALL_CASES", 20_000);
    // As many as make a checkpoint due, so that its cost is in the mean.
    let rounds = setting("AHUAL_BENCH_ROUNDS", 32);
    assert!(rounds >= 1 && small_cases >= LATE + CORRECTED && large_cases >= small_cases);

    let mut small = History::build(small_cases).await;
    small.update(small.news(0)).await;
    small.assert_kept_equals_recomputed().await;
    let mut large = History::build(large_cases).await;
    large.update(large.news(0)).await;

    let (mut small_costs, mut large_costs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let news = small.news(round);
        small_costs.push(small.update(news).await);
        let news = large.news(round);
        large_costs.push(large.update(news).await);
        let (s, l) = (small_costs[round - 1].whole(), large_costs[round - 1].whole());
        eprintln!("round {round}: {:.0} ms, {:.0} ms", s.as_secs_f64() * 1e3, l.as_secs_f64() * 1e3);
    }
    small.assert_kept_equals_recomputed().await;

    let whole = |costs: &[Cost]| costs.iter().map(|c| c.whole()).collect::<Vec<_>>();
    let (small_ms, large_ms) = (median(whole(&small_costs)), median(whole(&large_costs)));
    let ratio = large_ms / small_ms;
    let (small_mean, large_mean) = (mean(&whole(&small_costs)), mean(&whole(&large_costs)));
    let mean_ratio = large_mean / small_mean;
    println!("update of {} records ({LATE} late, {CORRECTED} corrected), median of {rounds}", LATE + CORRECTED);
    for (history, costs) in [(&small, &small_costs), (&large, &large_costs)] {
        let (least, most) = spread(&whole(costs));
        println!(
            "  {:>9} cases  {:>8.1} ms  ({least:.1}..{most:.1}; append {:.1}, read {:.1}, fold {:.1})  built in {:.0} s, index {:.0} MB, lake {:.0} MB, log {:.0} MB",
            history.cases,
            median(whole(costs)),
            median(costs.iter().map(|c| c.append).collect()),
            median(costs.iter().map(|c| c.read).collect()),
            median(costs.iter().map(|c| c.fold).collect()),
            history.build.as_secs_f64(),
            size_mb(&history.data.join("index")),
            size_mb(&history.data.join("lake")),
            size_mb(&history.data.join("log")),
        );
    }
    println!("  ratio of medians {ratio:.2}, of means (checkpoints included) {mean_ratio:.2}; to reach: at most 1.5");
    let mut steps = serde_json::Map::new();
    for history in [&small, &large] {
        let mut all = Vec::new();
        for round in 0..rounds {
            all.push(history.steps(round).await);
        }
        let mut said = serde_json::Map::new();
        let mut line = format!("  {:>9} cases, steps alone, ms:", history.cases);
        for (at, (name, _)) in all[0].iter().enumerate() {
            let ms = median(all.iter().map(|steps| steps[at].1).collect());
            line.push_str(&format!(" {name} {ms:.1},"));
            said.insert((*name).to_owned(), ms.into());
        }
        println!("{}", line.trim_end_matches(','));
        steps.insert(history.cases.to_string(), said.into());
    }
    // What a running job pays now and then, in proportion to the history.
    let mut compactions = Vec::new();
    for history in [&mut small, &mut large] {
        let begun = Instant::now();
        history.job.compact().await.unwrap();
        compactions.push(begun.elapsed().as_secs_f64() * 1e3);
        println!("  compaction of {} cases: {:.0} ms", history.cases, compactions.last().unwrap());
    }
    let whole_ms = |costs: &[Cost]| costs.iter().map(|c| c.whole().as_secs_f64() * 1e3).collect::<Vec<_>>();
    println!(
        "{}",
        serde_json::json!({
            "benchmark": "update", "records": LATE + CORRECTED, "rounds": rounds,
            "small_cases": small_cases, "large_cases": large_cases,
            "small_ms": small_ms, "large_ms": large_ms, "ratio": ratio,
            "small_mean_ms": small_mean, "large_mean_ms": large_mean, "mean_ratio": mean_ratio,
            "small_all_ms": whole_ms(&small_costs), "large_all_ms": whole_ms(&large_costs),
            "compaction_ms": compactions, "steps_ms": steps, "debug_assertions": cfg!(debug_assertions),
        })
    );
}
