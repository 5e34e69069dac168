//! Territory codes and category words that are none: through the binary, end to end.
//! Named, counted, and nothing lost.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const CONFIG: &str = r#"
[deployment]
time_zone = "Asia/Almaty"

[reference]
folder = "reference"

[reference.boundaries]
file = "boundaries.geojson"

[[source]]
name = "calls"

[source.files]
path = "calls.csv"

[source.identity]
columns = ["id"]

[source.mapping]
sql = "calls.sql"
regime = "request_109"
time_zone = "Asia/Almaty"
territory = "kato"
columns = ["opened", "kato", "longitude", "latitude", "about"]
"#;

const MAPPING: &str = "
SELECT _record, 'received' AS kind, opened AS occurred_at, coalesce(kato, territory_at(x, y)) AS territory,
       coalesce(category_of('calls', about), about) AS category, x AS longitude, y AS latitude
FROM (SELECT _record, parse_when(opened, 'Asia/Almaty') AS opened, kato, about,
             TRY_CAST(longitude AS DOUBLE) AS x, TRY_CAST(latitude AS DOUBLE) AS y FROM raw)
";

const CALLS: &str = "id,opened,kato,longitude,latitude,about
1,2019-05-01 10:00:00,351800000,,,Нет воды
2,2019-05-01 11:00:00,351011100,,,нет воды
3,2023-05-01 10:00:00,351800000,,,water
4,2023-05-01 10:00:00,351011100.0,,,ямы
5,2023-05-01 10:00:00,3510111,,,ямы
6,2023-05-01 10:00:00,3510111,,,road-pothole
7,2023-05-01 10:00:00,359999999,,,
8,2023-05-01 10:00:00,,72.5,49.5,water
9,2023-05-01 10:00:00,,80.0,49.5,water
";

const BOUNDARIES: &str = r#"{"type":"FeatureCollection","features":[{"properties":{"KATO":"353200000"},
"geometry":{"type":"Polygon","coordinates":[[[72,49],[73,49],[73,50],[72,50],[72,49]]]}}]}"#;

const WORDS: &str = "# version: 1\nsource,word,category,valid_from,valid_to\ncalls,нет воды,water-none,,\n";

fn command(folder: &Path, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ahual"));
    command.args([verb, "--config"]).arg(folder.join("ahual.toml")).arg("--data").arg(folder.join("data"));
    for name in ["AHUAL_LOG", "AHUAL_KAFKA_BROKERS", "AHUAL_KAFKA_TOPIC_PREFIX", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn ask(folder: &Path, sql: &str) -> Vec<Value> {
    let output = command(folder, "query").args(["--output", "json", sql]).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn deployment() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("reference/category_words")).unwrap();
    fs::write(path.join("ahual.toml"), CONFIG).unwrap();
    fs::write(path.join("calls.sql"), MAPPING).unwrap();
    fs::write(path.join("calls.csv"), CALLS).unwrap();
    fs::write(path.join("boundaries.geojson"), BOUNDARIES).unwrap();
    fs::write(path.join("reference/category_words/calls.csv"), WORDS).unwrap();
    folder
}

#[test]
fn codes_and_words_that_are_none_are_named_and_counted_and_no_case_is_lost() {
    let folder = deployment();
    let folder = folder.path();
    let run = command(folder, "run").arg("--until-idle").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let cases = ask(folder, "SELECT case_id, territory, category, flaws FROM core.cases ORDER BY case_id");
    let seen: Vec<Value> = cases.iter().map(|c| json!([c["territory"], c["category"], c["flaws"]])).collect();
    assert_eq!(
        seen,
        [
            json!(["351800000", "water-none", null]),
            json!(["351011100", "water-none", null]),
            json!(["351800000", "water", "territory_ended"]),
            json!(["351011100", "ямы", "territory_read_as_number"]),
            json!(["3510111", "ямы", "territory_lost_trailing_zeros"]),
            json!(["3510111", "road-pothole", "territory_lost_trailing_zeros"]),
            json!(["359999999", null, "territory_unknown_code"]),
            json!(["353200000", "water", null]),
            json!([null, "water", null]),
        ]
    );
    assert_eq!(
        ask(folder, "SELECT said, territory, problem, problem_now, cases FROM ops.flawed_territories ORDER BY said"),
        [
            json!({ "said": "3510111", "territory": "3510111", "problem": "lost_trailing_zeros",
                    "problem_now": "lost_trailing_zeros", "cases": 2 }),
            json!({ "said": "351011100.0", "territory": "351011100", "problem": "read_as_number",
                    "problem_now": null, "cases": 1 }),
            json!({ "said": "351800000", "territory": "351800000", "problem": "ended", "problem_now": "ended", "cases": 1 }),
            json!({ "said": "359999999", "territory": "359999999", "problem": "unknown_code",
                    "problem_now": "unknown_code", "cases": 1 }),
        ]
    );
    assert_eq!(
        ask(folder, "SELECT source, word, cases FROM ops.unmapped_categories"),
        [json!({ "source": "calls", "word": "ямы", "cases": 2 })]
    );
    let position = "SELECT position_problem(longitude, latitude) AS why FROM core.cases WHERE case_id = 'calls:9'";
    assert_eq!(ask(folder, position), [json!({ "why": "outside_boundaries" })]);

    // Then and now, over the reference tables of the same catalogue.
    let regions = |view: &str| {
        let sql = format!(
            "SELECT r.name_en AS region, count(*) AS cases FROM core.cases c JOIN ref.territories r \
             ON r.kato = kato_region(kato_at(c.territory, c.received_on, '{view}')) GROUP BY 1 ORDER BY 1"
        );
        ask(folder, &sql).into_iter().map(|row| (row["region"].clone(), row["cases"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(regions("then"), [(json!("Karaganda region"), json!(5)), (json!("Ulytau region"), json!(1))]);
    assert_eq!(regions("now"), [(json!("Karaganda region"), json!(4)), (json!("Ulytau region"), json!(2))]);
    let versions = ask(
        folder,
        "SELECT (SELECT version FROM ref.category_mapping WHERE source = 'calls') AS words, \
         (SELECT count(*) FROM ref.norms) AS norms, (SELECT count(*) FROM ref.bodies) > 20 AS bodies, \
         (SELECT valid_to FROM ref.territories WHERE kato = '351800000') AS ended, \
         (SELECT field FROM ref.categories WHERE code = 'water-none') AS field",
    );
    assert_eq!(
        versions,
        [json!({ "words": "1", "norms": 4, "bodies": true, "ended": "2022-06-08", "field": "utilities" })]
    );
}

#[test]
fn reference_data_that_is_wrong_stops_the_start_and_says_where() {
    let folder = deployment();
    let folder = folder.path();
    fs::write(folder.join("reference/category_words/calls.csv"), WORDS.replace("water-none", "watre")).unwrap();
    let run = command(folder, "run").arg("--until-idle").output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("calls.csv, line 3: there is no category 'watre'"), "{said}");
}
