//! From a figure to its cases, from a case to the records it was made of; past moments
//! in SQL; metrics of a deployment's own. Through the binary, on the Wabo example.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::process::Output;

use serde_json::Value;
use support::{Deployment, done, rewired, shared};

fn call(deployment: &Deployment, name: &str, arguments: &[&str]) -> Output {
    deployment.command(name).args(arguments).output().unwrap()
}

fn lines(output: Output, what: &str) -> Vec<Value> {
    done(output, what).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sum(rows: &[Value], column: &str) -> i64 {
    rows.iter().map(|row| row[column].as_i64().unwrap()).sum()
}

#[test]
fn a_figure_is_followed_to_its_cases_and_to_its_records() {
    let Some(_) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let deployment = Deployment::example("wabo", folder.path().join("state"));
    deployment.run();

    // One figure, and the cases behind it.
    let figures = deployment.query(
        "SELECT body, numerator, denominator FROM (SELECT body, sum(numerator) AS numerator, sum(denominator) AS denominator \
         FROM metrics.on_time GROUP BY 1) WHERE body IS NOT NULL AND numerator > 0 ORDER BY denominator DESC, body LIMIT 1",
    );
    let body = figures[0]["body"].as_str().unwrap();
    let filter = format!("body={body}");
    let arguments = ["on_time", "--where", &filter, "--limit", "100000", "--output", "json"];
    let cases = lines(call(&deployment, "explain", &arguments), "ahual explain");
    assert_eq!(sum(&cases, "numerator"), figures[0]["numerator"].as_i64().unwrap());
    assert_eq!(sum(&cases, "denominator"), figures[0]["denominator"].as_i64().unwrap());
    assert!(cases.iter().all(|case| case["body"] == body));

    // The query it prints gives the same rows when it is asked in SQL.
    let sql = done(call(&deployment, "explain", &[&arguments[..5], &["--sql"]].concat()), "ahual explain --sql");
    assert_eq!(deployment.query(sql.trim()), cases);

    // A case's records come as they were said, with the events they became.
    let case = cases[0]["case_id"].as_str().unwrap();
    let records = lines(call(&deployment, "trace", &[case]), "ahual trace");
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(record["topic"], "raw.wabo");
        assert!(record["payload"].is_object(), "{record}");
    }
    let told: usize = records.iter().map(|record| record["events"].as_array().unwrap().len()).sum();
    let kept = deployment.row(&format!("SELECT count(*) AS n FROM core.events WHERE case_id = '{case}'"));
    assert_eq!(told, usize::try_from(kept["n"].as_i64().unwrap()).unwrap());

    // What does not exist is named.
    let nobody = call(&deployment, "trace", &["wabo:nothing"]);
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("there is no case 'wabo:nothing'"));
    let unknown = call(&deployment, "explain", &["on_thyme"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no metric 'on_thyme'"));

    // A past moment is the same asked by option and by table function.
    let then = "2011-06-01T00:00:00+02:00";
    let question = "count(*) AS n, sum(numerator) AS numerator, sum(denominator) AS denominator";
    let by_option = deployment.row_as_of(Some(then), &format!("SELECT {question} FROM metrics.clearance"));
    let by_function = deployment.row(&format!("SELECT {question} FROM metric_at('clearance', '{then}')"));
    assert_eq!(by_option, by_function);
    let now = deployment.row(&format!("SELECT {question} FROM metrics.clearance"));
    assert_ne!(now["numerator"], by_function["numerator"], "nothing had changed by then");
    let by_option =
        deployment.row_as_of(Some(then), "SELECT count(*) AS n, count(closed_at) AS closed FROM core.cases");
    let by_function =
        deployment.row(&format!("SELECT count(*) AS n, count(closed_at) AS closed FROM cases_at('{then}', NULL)"));
    assert_eq!(by_option, by_function);
    // Nothing was known before it was read.
    let unread = deployment.row(&format!("SELECT count(*) AS n FROM cases_at(NULL, '{then}')"));
    assert_eq!(unread["n"], 0);
    let refused = call(&deployment, "query", &["SELECT * FROM metric_at('completion', 'last year')"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("'last year' is no time"));

    // Every day a source was read past is final; the day of the reading is not, and that
    // nothing was received on it yet is not known.
    let days = deployment.query(
        "SELECT status, count(*) AS days, sum(received) AS received, count(missing_since) AS missing \
         FROM ops.completeness GROUP BY 1 ORDER BY 1",
    );
    assert_eq!((&days[0]["status"], &days[0]["received"]), (&"final".into(), &1434.into()));
    let today = serde_json::json!({ "status": "partial", "days": 1, "received": null, "missing": 1 });
    assert_eq!(days[1..], [today]);
}

const OWN: &str = "-- title: Closed within a week
-- unit: ratio
-- Of the cases received on a day, how many were closed within seven days of receipt.
-- numerator: closed within 7 × 24 hours. denominator: received.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN elapsed_us(received_at, closed_at) <= 604800000000 THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases WHERE received_at IS NOT NULL
";

#[test]
fn a_file_in_the_configured_folder_is_a_metric_like_any_other() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ahual.toml");
    let file = shared.join("data/tasks/receipt_wabo.csv.gz");
    let text = rewired("wabo", &[support::quoted(&file)]);
    std::fs::write(&config, &text).unwrap();
    let deployment = Deployment { config: config.clone(), data: folder.path().join("state") };
    deployment.run();
    let before = deployment.row("SELECT sum(numerator) AS numerator FROM metrics.completion");

    // Dropped in afterwards: the history counts, and the others are as they were.
    std::fs::create_dir(folder.path().join("own")).unwrap();
    std::fs::write(folder.path().join("own/closed_in_a_week.sql"), OWN).unwrap();
    std::fs::write(&config, format!("[metrics]\nfolder = \"own\"\n\n{text}")).unwrap();
    deployment.run();
    let own = "SELECT sum(numerator) AS numerator, sum(denominator) AS denominator FROM";
    let formed = deployment.row(&format!("{own} metrics.closed_in_a_week"));
    let kept = deployment.row(&format!("{own} ops.kept_cells WHERE metric = 'closed_in_a_week'"));
    assert_eq!(formed, kept);
    let counted = deployment.row(
        "SELECT sum(CASE WHEN closed_at <= received_at + INTERVAL '7 days' THEN 1 ELSE 0 END) AS numerator, \
         count(*) AS denominator FROM core.cases WHERE received_at IS NOT NULL",
    );
    assert_eq!(formed, counted);
    assert_eq!(deployment.row("SELECT sum(numerator) AS numerator FROM metrics.completion"), before);
    done(call(&deployment, "reconcile", &[]), "ahual reconcile");
    let then = "2011-06-01T00:00:00+02:00";
    let past = deployment.row(&format!("{own} metric_at('closed_in_a_week', '{then}')"));
    assert!(past["denominator"].as_i64() < formed["denominator"].as_i64());

    // One that is none is refused before anything runs, and says what to change.
    for (name, sql, said) in [
        ("limited", format!("{} LIMIT 5", OWN.trim_end()), "every case must contribute"),
        (
            "ranked",
            OWN.replace("1 AS denominator", "rank() OVER (ORDER BY received_at) AS denominator"),
            "PARTITION BY case_id",
        ),
        (
            "summed",
            OWN.replace("1 AS denominator\nFROM", "sum(1) OVER () AS denominator\nFROM"),
            "PARTITION BY case_id",
        ),
        ("clocked", OWN.replace("closed_at)", "now())"), "the moment of reading is :as_of"),
        ("nameless", OWN.replace("-- title:", "-- heading:"), "'-- title: …'"),
        ("columnless", OWN.replace("1 AS denominator", "1 AS nominator"), "gives no column 'denominator'"),
        ("completion", OWN.to_owned(), "a built-in metric of this name"),
        ("Über", OWN.to_owned(), "lower case letters"),
        ("astray", OWN.replace("FROM cases", "FROM raw.records"), "does not work"),
    ] {
        let path = folder.path().join("own").join(format!("{name}.sql"));
        std::fs::write(&path, sql).unwrap();
        let out = call(&deployment, "query", &["SELECT 1"]);
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && told.contains(said) && told.contains(name), "{name}: {told}");
        std::fs::remove_file(path).unwrap();
    }
}
