//! The examples, run as a user runs them, give the figures that were counted from the
//! same files without us (`tests/oracles/figures.py`). For each of them: the ledger
//! closes, a second run changes nothing, and reading the rows in another order and in two
//! halves gives what reading them at once gives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Deployment, assert_same, quoted, rewired, shared, shuffle, table, unpacked, write_table};
use tempfile::TempDir;

const HOUR_US: f64 = 3.6e9;
const MINUTE_US: f64 = 6e7;
/// Of the order in which rows come the second time.
const SEED: u64 = 498;

/// What is about the reading and not about the case: when it was read, in which batch.
const STAMPS: &str = "first_appended_at, last_appended_at, folded_version";

/// One example, read as it stands.
struct Example {
    name: &'static str,
    whole: Deployment,
    shared: PathBuf,
    folder: TempDir,
}

impl Example {
    /// Reads an example; nothing where there is no data.
    fn read(name: &'static str) -> Option<Self> {
        let shared = shared()?;
        let folder = tempfile::tempdir().unwrap();
        let whole = Deployment::example(name, folder.path().join("whole"));
        let summary = whole.run();
        assert_eq!(summary["failed"], json!({}), "{name}");
        Some(Self { name, whole, shared, folder })
    }

    fn file(&self, path: &str) -> PathBuf {
        self.shared.join("data").join(path)
    }

    /// Ledger of one source: read = stored + set aside + duplicates, and read is every
    /// row of the file, each of which is new and good.
    fn ledger_closes(&self, source: &str, rows: u64) -> Value {
        let ledger = ledger(&self.whole, source);
        assert_eq!(ledger["pulled"], rows, "{}: rows read by {source}", self.name);
        assert_eq!(ledger["stored"], rows, "{}: rows stored of {source}", self.name);
        assert_eq!((&ledger["set_aside"], &ledger["duplicates"]), (&json!(0), &json!(0)), "{}: {source}", self.name);
        ledger
    }

    /// Reads once more what was read, and nothing moves: no row, no stamp, no figure.
    fn twice_changes_nothing(&self) {
        let all = |d: &Deployment| {
            let mut all = tables(d, "");
            all.push(("ops.ledger", d.lines(None, "SELECT * FROM ops.ledger")));
            all.push(("deliveries", d.lines(None, "SELECT count(*) FROM ops.deliveries")));
            all.push(("the figures", cells(d)));
            all
        };
        let before = all(&self.whole);
        let summary = self.whole.run();
        assert_eq!(summary["records"], 0, "{}: a second run found something to fold", self.name);
        for ((what, before), (_, after)) in before.iter().zip(all(&self.whole)) {
            assert_same(&format!("{}, after a second run: {what}", self.name), before, &after);
        }
    }

    /// A deployment that reads `paths`, in a folder of its own.
    fn elsewhere(&self, folder: &str, paths: &[&Path]) -> Deployment {
        let folder = self.folder.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("ahual.toml");
        let paths: Vec<String> = paths.iter().map(|p| quoted(p)).collect();
        std::fs::write(&config, rewired(self.name, &paths)).unwrap();
        Deployment { config, data: folder.join("state") }
    }

    /// Rows in another order, written as two files, the second arriving when the first has
    /// been read and the process has ended, give what the whole file gave.
    fn halves_equal_the_whole(&self, source: &str, header: &str, rows: &[&str]) {
        let folder = self.folder.path().join("halves");
        std::fs::create_dir(&folder).unwrap();
        let halves = self.elsewhere("halved", &[&folder.join("*.csv")]);
        let mut rows = rows.to_vec();
        shuffle(&mut rows, SEED);
        let (first, second) = rows.split_at(rows.len() / 2);
        write_table(&folder.join("1.csv"), header, first);
        halves.run();
        assert_eq!(ledger(&halves, source)["pulled"], first.len(), "{}: the first half", self.name);
        write_table(&folder.join("2.csv"), header, second);
        halves.run();
        self.same_as_whole(&halves, "shuffled and in two halves");
        let ledger = ledger(&halves, source);
        assert_eq!(ledger["pulled"], rows.len(), "{}: both halves", self.name);
        assert_eq!(ledger["stored"], rows.len(), "{}: both halves", self.name);
    }

    fn same_as_whole(&self, other: &Deployment, how: &str) {
        let (whole, read) = (tables(&self.whole, STAMPS), tables(other, STAMPS));
        for ((what, whole), (_, read)) in whole.iter().zip(&read) {
            assert_same(&format!("{}, read {how}: {what}", self.name), whole, read);
        }
        assert_same(&format!("{}, read {how}: the figures", self.name), &cells(&self.whole), &cells(other));
    }
}

/// The ledger of one source over all days, checked to close.
fn ledger(deployment: &Deployment, source: &str) -> Value {
    let row = deployment.row(&format!(
        "SELECT sum(pulled) AS pulled, sum(stored) AS stored, sum(set_aside) AS set_aside, \
         sum(duplicates) AS duplicates, sum(repeats) AS repeats, \
         bool_and(pulled = stored + set_aside + duplicates) AS closes FROM ops.ledger WHERE source = '{source}'"
    ));
    assert_eq!(row["closes"], true, "the ledger of {source} does not close: {row}");
    row
}

/// Every row of the derived tables, without the columns of `except`.
fn tables(deployment: &Deployment, except: &str) -> Vec<(&'static str, Vec<String>)> {
    let read = |name: &'static str, except: &str| {
        let except = if except.is_empty() { String::new() } else { format!(" EXCEPT ({except})") };
        (name, deployment.lines(None, &format!("SELECT *{except} FROM {name}")))
    };
    let batch = if except.is_empty() { "" } else { "folded_version" };
    let mut all = vec![read("core.cases", except)];
    all.extend(["core.segments", "core.deadlines", "core.parts"].map(|name| read(name, batch)));
    all
}

/// The cells of all metrics. What an open case contributes by now, which moves with the
/// clock, is left out; that it is open is not.
fn cells(deployment: &Deployment) -> Vec<String> {
    let union: Vec<String> = deployment
        .metrics()
        .iter()
        .map(|name| {
            let ages = ["overdue_backlog", "personal_control"].contains(&name.as_str());
            let settled = if ages { "false" } else { "observed" };
            format!(
                "SELECT '{name}' AS metric, source, body, category, territory, day, observed, \
                 CASE WHEN {settled} THEN duration_us END AS duration_us, numerator, denominator, n \
                 FROM metrics.{name}_cells"
            )
        })
        .collect();
    deployment.lines(
        None,
        &format!(
            "SELECT metric, source, body, category, territory, day, observed, duration_us, \
             sum(numerator) AS numerator, sum(denominator) AS denominator, sum(n) AS n FROM ({}) \
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8",
            union.join(" UNION ALL ")
        ),
    )
}

/// Quantiles from receipt to close, of closed cases, from `core.cases` and again from
/// the cells of the metric; they must agree. In hours, as the question is put.
fn resolve_hours(deployment: &Deployment, as_of: Option<&str>) -> [f64; 3] {
    let of = |duration: &str, observed: &str, n: &str, from: &str| {
        let quantiles = [("p50", "0.5"), ("p90", "0.9"), ("p95", "0.95")]
            .map(|(name, q)| format!("nearest_rank({duration}, {observed}, {n}, {q}) AS {name}"))
            .join(", ");
        deployment.row_as_of(as_of, &format!("SELECT {quantiles} FROM {from}"))
    };
    let rows = of(
        "elapsed_us(received_at, closed_at)",
        "true",
        "CAST(1 AS BIGINT)",
        "core.cases WHERE closed_at IS NOT NULL AND closed_at >= received_at",
    );
    let cells = of("duration_us", "observed", "n", "metrics.time_to_resolve_cells");
    assert_eq!(rows, cells, "the cells of the metric say something else than the cases");
    ["p50", "p90", "p95"].map(|name| rows[name].as_f64().unwrap() / HOUR_US)
}

/// The same to four decimals, as the figures are stated.
#[track_caller]
fn assert_close(found: f64, stated: f64, what: &str) {
    assert!((found - stated).abs() < 0.000_05, "{what}: {found}, not {stated}");
}

#[test]
fn boston_2011_counts_local_times_to_the_second_and_looks_back() {
    let Some(example) = Example::read("boston-2011") else { return };
    let cases = example.whole.row(
        "SELECT count(*) AS cases, count(closed_at) AS closed, count(due_at) AS with_target, \
         count(*) FILTER (WHERE closed_at <= due_at) AS on_time, \
         count(*) FILTER (WHERE closed_on <= due_on) AS on_time_by_date FROM core.cases",
    );
    assert_eq!(
        cases,
        json!({ "cases": 58_251, "closed": 54_570, "with_target": 47_270, "on_time": 35_591, "on_time_by_date": 36_284 })
    );
    let figure =
        example.whole.row("SELECT sum(numerator) AS on_time, sum(denominator) AS due FROM metrics.on_time_cells");
    // Three targets lie before the opening; such a promise is in neither.
    assert_eq!(figure, json!({ "on_time": 35_591, "due": 47_267 }));
    let [p50, p90, p95] = resolve_hours(&example.whole, None);
    assert_close(p50, 22.1764, "p50");
    assert_close(p90, 1899.4978, "p90; 1899.4761 would mean the zone was ignored");
    assert_close(p95, 5185.9481, "p95");

    let new_year = Some("2012-01-01 00:00");
    let closed =
        example.whole.row_as_of(new_year, "SELECT count(*) AS cases, count(closed_at) AS closed FROM core.cases");
    assert_eq!(closed, json!({ "cases": 58_251, "closed": 48_372 }));
    let [p50, p90, _] = resolve_hours(&example.whole, new_year);
    assert_close(p50, 15.0742, "closed-only p50 as of 2012");
    assert_close(p90, 452.3056, "closed-only p90 as of 2012");
    let with_open = example.whole.row_as_of(
        new_year,
        "SELECT km_quantile(duration_us, observed, n, 0.5) AS p50, km_quantile(duration_us, observed, n, 0.9) AS p90 \
         FROM metrics.time_to_resolve_cells",
    );
    assert_close(with_open["p50"].as_f64().unwrap() / HOUR_US, 27.5339, "Kaplan-Meier p50 as of 2012");
    assert_eq!(with_open["p90"], Value::Null, "Kaplan-Meier p90 as of 2012 is not reached");
    let overdue =
        example.whole.row_as_of(new_year, "SELECT sum(numerator) AS overdue FROM metrics.overdue_backlog_cells");
    assert_eq!(overdue["overdue"], 4_707);

    example.ledger_closes("boston", 58_251);
    example.twice_changes_nothing();
    let text = unpacked(&example.file("311/boston311_2011H2.csv.gz"));
    let (header, rows) = table(&text);
    example.halves_equal_the_whole("boston", header, &rows);
}

#[test]
fn boston_2019_reads_a_drifted_header_with_the_mapping_of_2011() {
    let Some(example) = Example::read("boston-2019") else { return };
    let cases = example.whole.row(
        "SELECT count(*) AS cases, count(*) FILTER (WHERE state = 'open') AS open, count(due_at) AS with_target, \
         count(*) FILTER (WHERE closed_at <= due_at) AS on_time FROM core.cases",
    );
    assert_eq!(cases, json!({ "cases": 8_928, "open": 3_843, "with_target": 5_420, "on_time": 4_429 }));
    let [p50, p90, _] = resolve_hours(&example.whole, None);
    assert_close(p50, 1.7514, "p50");
    assert_close(p90, 143.2939, "p90");
    example.ledger_closes("boston", 8_928);
    example.twice_changes_nothing();
    let text = unpacked(&example.file("311/boston311_2019_animal_newschema.csv.gz"));
    let (header, rows) = table(&text);
    example.halves_equal_the_whole("boston", header, &rows);
}

#[test]
fn nyc_2024_gives_identical_cases_from_json_and_csv() {
    let Some(example) = Example::read("nyc-2024") else { return };
    let of = |source: &str| {
        let sql = format!(
            "SELECT split_part(case_id, ':', 2) AS name, * EXCEPT (case_id, source, {STAMPS}) FROM core.cases \
             WHERE source = '{source}'"
        );
        example.whole.lines(None, &sql)
    };
    let (from_json, from_csv) = (of("nyc-json"), of("nyc-csv"));
    assert_eq!(from_json.len(), 1_000);
    assert_same("nyc-2024, cases from JSON and from CSV", &from_json, &from_csv);
    for table in ["segments", "deadlines", "parts"] {
        let of = |source: &str| {
            let sql = format!(
                "SELECT split_part(case_id, ':', 2) AS name, * EXCEPT (case_id, source, folded_version) \
                 FROM core.{table} WHERE source = '{source}'"
            );
            example.whole.lines(None, &sql)
        };
        assert_same(&format!("nyc-2024, {table} from JSON and from CSV"), &of("nyc-json"), &of("nyc-csv"));
    }
    let closed = example
        .whole
        .row("SELECT count(closed_at) AS closed, count(due_at) AS due FROM core.cases WHERE source = 'nyc-csv'");
    assert_eq!(closed, json!({ "closed": 677, "due": 1 }));
    let [p50, p90, _] = resolve_hours(&example.whole, None);
    assert_close(p50, 0.3631, "p50");
    assert_close(p90, 0.7906, "p90");
    example.ledger_closes("nyc-json", 1_000);
    example.ledger_closes("nyc-csv", 1_000);
    example.twice_changes_nothing();

    let folder = example.folder.path().join("halves");
    std::fs::create_dir(&folder).unwrap();
    let halves = example.elsewhere("halved", &[&folder.join("*.json"), &folder.join("*.csv")]);
    let array: Vec<Value> =
        serde_json::from_str(&unpacked(&example.file("311/nyc311_soda_1000_2024.json.gz"))).unwrap();
    let text = unpacked(&example.file("311/nyc311_soda_1000_2024.csv.gz"));
    let (header, rows) = table(&text);
    for (name, part) in [("1", 0..500), ("2", 500..1_000)] {
        std::fs::write(folder.join(format!("{name}.json")), Value::from(&array[part.clone()]).to_string()).unwrap();
        write_table(&folder.join(format!("{name}.csv")), header, &rows[part]);
        halves.run();
    }
    example.same_as_whole(&halves, "in two halves");
}

/// Swiss metres, and degrees by the rigorous way (`figures.py`: the projection inverted
/// on the Bessel ellipsoid, then the federal shift): the corners of the file, and the
/// projection's origin, the old observatory of Bern.
const CONTROL_POINTS: [(f64, f64, f64, f64); 5] = [
    (2_600_000.0, 1_200_000.0, 7.438_632_42, 46.951_082_77),
    (2_677_064.0, 1_248_384.0, 8.459_162_60, 47.381_781_70),
    (2_689_602.0, 1_245_502.0, 8.624_599_58, 47.354_277_34),
    (2_680_806.0, 1_241_838.0, 8.507_530_19, 47.322_462_07),
    (2_680_531.0, 1_254_152.0, 8.506_108_59, 47.433_240_62),
];

/// Metres between two near points, degrees.
fn metres(longitude: f64, latitude: f64, to_longitude: f64, to_latitude: f64) -> f64 {
    let degree = 111_195.0;
    let north = (to_latitude - latitude) * degree;
    let east = (to_longitude - longitude) * degree * latitude.to_radians().cos();
    north.hypot(east)
}

#[test]
fn zurich_keeps_exact_repeats_and_places_them_within_two_metres() {
    let Some(example) = Example::read("zurich") else { return };
    let cases = example.whole.row("SELECT count(*) AS cases, count(longitude) AS placed FROM core.cases");
    assert_eq!(cases, json!({ "cases": 62_245, "placed": 62_245 }));
    for (easting, northing, longitude, latitude) in CONTROL_POINTS {
        let found = example.whole.row(&format!(
            "SELECT lv95_longitude({easting:.1}, {northing:.1}) AS longitude, \
             lv95_latitude({easting:.1}, {northing:.1}) AS latitude"
        ));
        let (x, y) = (found["longitude"].as_f64().unwrap(), found["latitude"].as_f64().unwrap());
        let off = metres(longitude, latitude, x, y);
        assert!(off < 2.0, "{easting} {northing} is {off} m off: {x} {y}");
    }
    // The corners of the file are the outermost of all its points, rigorously computed.
    let outer = example.whole.row(
        "SELECT min(longitude) AS west, max(longitude) AS east, min(latitude) AS south, max(latitude) AS north FROM core.cases",
    );
    let [_, west, east, south, north] = CONTROL_POINTS;
    for (name, stated, metres_a_degree) in [
        ("west", west.2, 75_280.0),
        ("east", east.2, 75_280.0),
        ("south", south.3, 111_195.0),
        ("north", north.3, 111_195.0),
    ] {
        let off = (outer[name].as_f64().unwrap() - stated).abs() * metres_a_degree;
        assert!(off < 2.0, "the {name}ernmost case is {off} m off");
    }
    let ledger_row = example.ledger_closes("zurich", 62_245);
    assert_eq!(ledger_row["repeats"], 232);
    example.twice_changes_nothing();

    // Without ids an occurrence is counted within its file: this source is told in halves
    // by a file that grows. What it held before is delivered again, and is a duplicate.
    let text = unpacked(&example.file("311/zueriwieneu_lv95.csv.gz"));
    let (header, rows) = table(&text);
    let file = example.folder.path().join("reports.csv");
    let grown = example.elsewhere("grown", &[&file]);
    let half = &rows[..rows.len() / 2];
    write_table(&file, header, half);
    grown.run();
    write_table(&file, header, &rows);
    grown.run();
    example.same_as_whole(&grown, "from a file that grew");
    let after = ledger(&grown, "zurich");
    assert_eq!(after["pulled"], half.len() + rows.len());
    assert_eq!((&after["stored"], &after["repeats"]), (&json!(62_245), &json!(232)));
    assert_eq!(after["duplicates"], half.len());
}

#[test]
fn sffd_2020_measures_every_unit_and_the_first_on_scene() {
    let Some(example) = Example::read("sffd-2020") else { return };
    let counted = example
        .whole
        .row("SELECT (SELECT count(*) FROM core.cases) AS incidents, (SELECT count(*) FROM core.parts) AS units");
    assert_eq!(counted, json!({ "incidents": 5_292, "units": 10_410 }));
    let minutes = |metric: &str, from: &str, condition: &str| {
        let cells = example.whole.row(&format!(
            "SELECT sum(n) AS n, nearest_rank(duration_us, observed, n, 0.5) AS p50, \
             nearest_rank(duration_us, observed, n, 0.9) AS p90 FROM metrics.{metric}_cells"
        ));
        let rows = example.whole.row(&format!(
            "SELECT count(*) AS n, nearest_rank(elapsed_us(received_at, on_scene_at), true, CAST(1 AS BIGINT), 0.5) AS p50, \
             nearest_rank(elapsed_us(received_at, on_scene_at), true, CAST(1 AS BIGINT), 0.9) AS p90 \
             FROM {from} WHERE received_at IS NOT NULL AND on_scene_at IS NOT NULL{condition}"
        ));
        assert_eq!(cells, rows, "the cells of {metric} say something else than the parts");
        let minutes = |name: &str| rows[name].as_f64().unwrap() / MINUTE_US;
        (rows["n"].as_u64().unwrap(), minutes("p50"), minutes("p90"))
    };
    let (n, p50, p90) = minutes("emergency_arrival", "core.parts", "");
    assert_eq!(n, 8_694);
    assert_close(p50, 7.4333, "by unit, p50");
    assert_close(p90, 17.5833, "by unit, p90");
    let (n, p50, p90) = minutes("emergency_first_arrival", "core.parts", " AND first_on_scene");
    assert_eq!(n, 5_118);
    assert_close(p50, 7.0, "by first unit, p50");
    assert_close(p90, 17.1167, "by first unit, p90");
    example.ledger_closes("sffd", 10_410);
    example.twice_changes_nothing();
    let text = unpacked(&example.file("cad/sffd_cad_2020-04.csv.gz"));
    let (header, rows) = table(&text);
    example.halves_equal_the_whole("sffd", header, &rows);
}

#[test]
fn montgomery_counts_incidents_by_service() {
    let Some(example) = Example::read("montgomery") else { return };
    let by_category = example.whole.query("SELECT category, count(*) AS n FROM core.cases GROUP BY 1 ORDER BY 2 DESC");
    assert_eq!(
        Value::from(by_category),
        json!([
            { "category": "EMS", "n": 48_877 },
            { "category": "Traffic", "n": 35_695 },
            { "category": "Fire", "n": 14_920 },
        ])
    );
    let cases = example.whole.row("SELECT count(*) AS incidents, count(territory) AS placed FROM core.cases");
    assert_eq!(cases["incidents"], 99_492);
    let ledger_row = example.ledger_closes("montgomery", 99_492);
    assert_eq!(ledger_row["repeats"], 0);
    example.twice_changes_nothing();
    let text = unpacked(&example.file("cad/montgomery911_2015-12_2016-08.csv.gz"));
    let (header, rows) = table(&text);
    example.halves_equal_the_whole("montgomery", header, &rows);
}

#[test]
fn itsm_folds_changes_in_any_order_into_the_same_tasks() {
    let Some(example) = Example::read("itsm") else { return };
    let tasks = example.whole.row(
        "SELECT count(*) AS tasks, count(*) FILTER (WHERE json_text(attributes, 'made_sla') = 'true') AS made, \
         count(*) FILTER (WHERE json_text(attributes, 'made_sla') = 'false') AS missed FROM core.cases",
    );
    assert_eq!(tasks, json!({ "tasks": 24_918, "made": 15_803, "missed": 9_115 }));
    let [p50, p90, _] = resolve_hours(&example.whole, None);
    assert_close(p50, 145.8667, "p50");
    assert_close(p90, 532.5833, "p90");
    example.ledger_closes("itsm", 141_712);
    example.twice_changes_nothing();
    let text = unpacked(&example.file("tasks/itsm_incident_event_log.csv.gz"));
    let (header, rows) = table(&text);
    example.halves_equal_the_whole("itsm", header, &rows);
}

#[test]
fn wabo_follows_applications_from_hand_to_hand() {
    let Some(example) = Example::read("wabo") else { return };
    let cases = example.whole.row(
        "SELECT count(*) AS cases, count(closed_at) AS closed, \
         count(*) FILTER (WHERE closed_at <= due_at) AS on_time FROM core.cases",
    );
    assert_eq!(cases, json!({ "cases": 1_434, "closed": 1_329, "on_time": 1_020 }));
    let held = example.whole.row("SELECT count(DISTINCT case_id) AS held FROM core.segments WHERE body IS NOT NULL");
    // 1,348 cases name a body; 37 of them only at or after their end, when nobody holds them.
    assert_eq!(held["held"], 1_311);
    example.ledger_closes("wabo", 8_577);
    example.twice_changes_nothing();
    let text = unpacked(&example.file("tasks/receipt_wabo.csv.gz"));
    let (header, rows) = table(&text);
    example.halves_equal_the_whole("wabo", header, &rows);
}
