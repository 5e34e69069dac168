//! The same tables come out whichever log carried the records: Boston's requests of
//! 2011 (58,251 rows) through the embedded log and through a real Apache Kafka broker.
//!
//! The broker is the one at `AHUAL_KAFKA`, or one that `tests/kafka/broker` starts;
//! without Java and Maven the test says so and is skipped, which with `CI=true` is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "support/kafka.rs"]
mod kafka;
mod support;

use std::time::Instant;

use support::{Deployment, assert_same, done, shared};

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
    let mut run = on_kafka.command("run");
    let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    run.env("AHUAL_LOG", "kafka")
        .env("AHUAL_KAFKA_BROKERS", broker)
        .env("AHUAL_KAFKA_TOPIC_PREFIX", format!("two-logs-{moment:x}."));
    done(run.arg("--until-idle").output().unwrap(), "ahual run on Kafka");
    eprintln!("kafka: {:.1?}", begun.elapsed());
    assert!(!on_kafka.data.join("log").exists(), "the run on Kafka keeps no log of its own");

    for (what, sql) in QUESTIONS {
        let (left, right) = (embedded.lines(None, sql), on_kafka.lines(None, sql));
        eprintln!("{what}: {} rows", left.len());
        assert_same(&format!("{what}, embedded and Kafka,"), &left, &right);
    }
    for metric in embedded.metrics() {
        // At a moment of our own, because open cases age.
        let sql = format!("SELECT * FROM metrics.{metric}_cells");
        let (left, right) = (embedded.lines(Some(LATER), &sql), on_kafka.lines(Some(LATER), &sql));
        assert_same(&format!("cells of {metric}, embedded and Kafka,"), &left, &right);
    }
    let cases = embedded.row("SELECT count(*) AS n FROM core.cases")["n"].as_u64();
    assert_eq!(cases, Some(58_251), "one case a row of the file");
}
