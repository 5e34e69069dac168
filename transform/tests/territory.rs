//! Territory through SQL and through a whole mapping: what a region was then and is now,
//! and what becomes of codes that are none.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahual_schemas::event::Event;
use ahual_schemas::sealing::Sealer;
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::Case;
use ahual_transform::figures::Metrics;
use ahual_transform::fold::{FoldRule, fold};
use ahual_transform::mapping::{MappedEvent, Mapping, MappingConfig, Opened};
use ahual_transform::reference::Reference;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch, StringArray};
use datafusion::prelude::SessionContext;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn sealer() -> Sealer {
    Sealer::new("test", b"test")
}

fn session() -> SessionContext {
    Metrics::built_in(&sealer(), &Reference::built_in().unwrap()).unwrap().session()
}

fn day(text: &str) -> i32 {
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    i32::try_from((text.parse::<chrono::NaiveDate>().unwrap() - epoch).num_days()).unwrap()
}

/// The rows of a question, as text.
async fn ask(session: &SessionContext, sql: &str) -> Vec<Vec<Option<String>>> {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| {
                let text = column.as_string::<i32>();
                text.is_valid(row).then(|| text.value(row).to_owned())
            };
            rows.push(columns.iter().map(cell).collect());
        }
    }
    rows
}

async fn one(session: &SessionContext, expression: &str) -> Option<String> {
    ask(session, &format!("SELECT {expression}")).await.remove(0).remove(0)
}

/// The units of both regions as they were up to 2022: code then, code now.
const UNITS: [(&str, &str); 19] = [
    ("351011100", "351011100"),
    ("351013100", "351013100"),
    ("351600000", "351600000"),
    ("352100000", "352100000"),
    ("352200000", "352200000"),
    ("352400000", "352400000"),
    ("352800000", "352800000"),
    ("353200000", "353200000"),
    ("353600000", "353600000"),
    ("354000000", "354000000"),
    ("354800000", "354800000"),
    ("355200000", "355200000"),
    ("355600000", "355600000"),
    ("356400000", "356400000"),
    ("351800000", "621000000"),
    ("352000000", "621800000"),
    ("352300000", "622000000"),
    ("354400000", "623600000"),
    ("356000000", "623800000"),
];

#[tokio::test]
async fn karaganda_region_then_and_now_differ_by_exactly_the_five_units_that_left() {
    // Cases of both years across both regions. A source may send the old code or the new
    // one in either year: corrected later, or never told.
    let mut dice = StdRng::seed_from_u64(62);
    let (mut ids, mut codes, mut days) = (Vec::new(), Vec::new(), Vec::new());
    let mut left: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    for number in 0..20_000 {
        let unit = dice.random_range(0..UNITS.len());
        let (old, new) = UNITS[unit];
        let year = if dice.random_bool(0.5) { 2019 } else { 2023 };
        let id = format!("case-{number}");
        days.push(day(&format!("{year}-01-01")) + dice.random_range(0..365));
        codes.push(if dice.random_bool(0.7) == (year == 2019) { old } else { new });
        if old != new {
            left.entry(year).or_default().insert(id.clone());
        }
        ids.push(id);
    }
    let cases = RecordBatch::try_from_iter([
        ("case_id", Arc::new(StringArray::from(ids)) as ArrayRef),
        ("territory", Arc::new(StringArray::from(codes)) as ArrayRef),
        ("received_on", Arc::new(Date32Array::from(days)) as ArrayRef),
    ])
    .unwrap();
    let session = session();
    session.register_batch("cases", cases).unwrap();
    let karaganda = async |view: &str, year: i32| -> BTreeSet<String> {
        let sql = format!(
            "SELECT case_id FROM cases WHERE date_part('year', received_on) = {year} \
             AND kato_region(kato_at(territory, received_on, '{view}')) = '350000000'"
        );
        ask(&session, &sql).await.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
    };
    let (then_2019, now_2019) = (karaganda("then", 2019).await, karaganda("now", 2019).await);
    assert_eq!(&then_2019 - &now_2019, left[&2019], "as then has what left later");
    assert!(now_2019.is_subset(&then_2019));
    let (then_2023, now_2023) = (karaganda("then", 2023).await, karaganda("now", 2023).await);
    assert_eq!(then_2023, now_2023, "after the split both questions have one answer");
    assert!(then_2023.is_disjoint(&left[&2023]));
    assert!(
        left.values().all(|cases| cases.len() > 2_000) && now_2019.len() > 5_000,
        "the test has cases to tell apart"
    );

    // By unit: what is missing now is each unit whole, under the code it has now.
    let sql = "SELECT kato_at(territory, received_on, 'then') AS unit_then, kato_at(territory, received_on, 'now') AS unit_now, \
               count(*) FROM cases WHERE date_part('year', received_on) = 2019 GROUP BY 1, 2 ORDER BY 1";
    let pairs: BTreeSet<(String, String)> =
        ask(&session, sql).await.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect();
    assert_eq!(pairs, UNITS.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect());
}

#[tokio::test]
async fn golden_answers_in_sql() {
    let session = session();
    for (expression, answer) in [
        ("kato_at('351800000', DATE '2019-05-01', 'then')", Some("351800000")),
        ("kato_at('351800000', DATE '2019-05-01', 'now')", Some("621000000")),
        ("kato_at('621000000', DATE '2019-05-01', 'then')", Some("351800000")),
        ("kato_at('351800000', '2023-05-01', 'then')", Some("621000000")),
        ("kato_at('351800000.0', DATE '2023-05-01', 'now')", Some("621000000")),
        ("kato_at(351800000, DATE '2023-05-01', 'now')", Some("621000000")),
        ("kato_at('3518', DATE '2023-05-01', 'now')", None),
        ("kato_at(NULL, DATE '2023-05-01', 'now')", None),
        ("kato_at('351800000', NULL, 'now')", Some("621000000")),
        ("kato_at('351800000', NULL, 'then')", None),
        ("kato_region('353220100')", Some("350000000")),
        ("kato_region('621000000')", Some("620000000")),
        ("kato_district('353220100')", Some("353200000")),
        ("kato_district('350000000')", None),
        ("kato_level('353220100')", Some("town")),
        ("kato_level('353299900')", None),
        ("kato_name('352400000', 'kk')", Some("Теміртау қ.")),
        ("kato_name('352400000', 'ru')", Some("г. Темиртау")),
        ("kato_name('352400000', 'en')", Some("Temirtau")),
        ("kato('35 24 00 000')", Some("352400000")),
        ("kato('3524')", None),
        ("kato_repair('3524')", Some("352400000")),
        ("kato_problem('3524')", Some("lost_trailing_zeros")),
        ("kato_problem('352300000', DATE '2024-01-01')", Some("ended")),
        ("kato_problem('352400000', DATE '2024-01-01')", None),
        ("kato_problem(NULL)", Some("missing")),
        ("kato_problem(351011100.0)", Some("read_as_number")),
        ("territory_at(73.67, 48.77)", Some("356400000")),
        ("territory_at(NULL, 48.77)", None),
        ("settlement_at(73.67, 48.77)", Some("356430100")),
        ("position_problem(73.67, 48.77)", None),
        ("position_problem(48.77, 73.67)", Some("swapped")),
        ("position_problem(0, 0)", Some("zero")),
        ("category_of('any', 'heating')", Some("heating")),
        ("category_of('any', 'unheard of')", None),
        ("category_of('any', 'heating', DATE '2024-01-01')", Some("heating")),
        ("norm_s('arrival', 'ambulance-1', DATE '2024-01-01')", Some("600")),
        ("norm_s('arrival', 'police-1', DATE '2024-01-01')", None),
    ] {
        assert_eq!(one(&session, expression).await.as_deref(), answer, "{expression}");
    }
    for (expression, said) in [
        ("kato_at('351800000', DATE '2019-05-01', 'today')", "'today' is no view; write 'then' or 'now'"),
        ("kato_name('352400000', 'de')", "'de' is no language of names; write 'kk', 'ru' or 'en'"),
    ] {
        let error = match session.sql(&format!("SELECT {expression}")).await {
            Err(error) => error,
            Ok(frame) => frame.collect().await.unwrap_err(),
        };
        assert!(error.to_string().contains(said), "{error}");
    }
}

const MAPPING: &str = "SELECT _record, 'received' AS kind, parse_when(at, 'Asia/Almaty') AS occurred_at, \
    kato AS territory, json_object('note', 'kept') AS attributes FROM raw";

async fn mapped(territory: &str) -> MappedEvent {
    let config: MappingConfig = toml::from_str(
        "sql = 'x.sql'\nregime = 'request_109'\ntime_zone = 'Asia/Almaty'\nterritory = 'kato'\ncolumns = ['at', 'kato']",
    )
    .unwrap();
    let reference = Reference::built_in().unwrap();
    let mapping =
        Mapping::new("door", &config, "x.sql".into(), MAPPING.to_owned(), &sealer(), &reference).await.unwrap();
    let payload = serde_json::json!({ "at": "2026-03-01 10:00:00", "kato": territory }).to_string().into();
    let record = Opened { record_id: "r".to_owned(), case_key: "k".to_owned(), appended_at: At(0), payload };
    mapping.map(&[record]).await.unwrap().remove(0).unwrap().remove(0)
}

fn event(mapped: &MappedEvent, record: &str) -> Event {
    let text = |name: &str| mapped.text.get(name).cloned();
    Event {
        event_id: format!("e-{record}"),
        case_id: "door:k".to_owned(),
        kind: mapped.kind.clone(),
        occurred_at: At(mapped.occurred_at),
        occurred_on: Day(mapped.occurred_on),
        appended_at: At(1),
        source: "door".to_owned(),
        record_id: record.to_owned(),
        content_id: format!("c-{record}"),
        delivery_id: "d".to_owned(),
        topic: "raw.door".to_owned(),
        territory: text("territory"),
        attributes: text("attributes"),
        ..Event::default()
    }
}

fn folded(events: &[Event]) -> Case {
    let reference = Reference::built_in().unwrap();
    let rule = FoldRule {
        as_of: None,
        known_at: None,
        zone: chrono_tz::Asia::Almaty,
        folded_version: 0,
        reference: &reference,
    };
    fold(events, &rule).case.unwrap()
}

#[tokio::test]
async fn a_code_that_is_none_is_named_on_its_case_and_loses_nothing() {
    for (said, territory, flaw) in [
        ("351011100", "351011100", None),
        ("351011100.0", "351011100", Some("territory_read_as_number")),
        ("35 10 11 100", "351011100", Some("territory_spaced")),
        ("3510111", "3510111", Some("territory_lost_trailing_zeros")),
        ("3.51011E+08", "3.51011E+08", Some("territory_read_as_number")),
        ("351099900", "351099900", Some("territory_unknown_code")),
        ("750000000", "750000000", Some("territory_unknown_region")),
        ("351800000", "351800000", Some("territory_ended")),
    ] {
        let event = event(&mapped(said).await, "r");
        let case = folded(std::slice::from_ref(&event));
        assert_eq!((case.territory.as_deref(), case.flaws.as_deref()), (Some(territory), flaw), "{said}");
        let attributes: serde_json::Value = serde_json::from_str(case.attributes.as_deref().unwrap()).unwrap();
        assert_eq!(attributes["note"], "kept");
        let before = attributes.get("territory_said").and_then(|v| v.as_str());
        assert_eq!(before.unwrap_or(territory), said, "what the source wrote is still there");
    }
}

#[tokio::test]
async fn a_code_put_right_later_is_no_flaw_any_more() {
    let wrong = event(&mapped("3510111").await, "a");
    let mut right = event(&mapped("351011100").await, "b");
    right.kind = "updated".to_owned();
    right.occurred_at = At(right.occurred_at.0 + 1);
    assert!(folded(std::slice::from_ref(&wrong)).flaws.is_some());
    for events in [[wrong.clone(), right.clone()], [right, wrong]] {
        let case = folded(&events);
        assert_eq!((case.territory.as_deref(), case.flaws), (Some("351011100"), None));
    }
}
