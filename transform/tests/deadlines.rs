//! The fold's deadlines and custody against lives checked by hand: `clocks/lives.txt`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use ahual_schemas::event::Event;
use ahual_schemas::{At, Day};
use ahual_transform::fold::{FoldRule, Folded, fold};
use ahual_transform::functions::{local_day, parse_when};
use ahual_transform::reference::{Reference, ReferenceConfig};

const ZONE: chrono_tz::Tz = chrono_tz::Asia::Almaty;

/// What happens to one case, and what must come of it.
#[derive(Default)]
struct Life {
    name: String,
    as_of: Option<At>,
    events: Vec<Event>,
    expected: Vec<String>,
}

fn at(text: &str) -> At {
    At(parse_when(text, ZONE, None).unwrap_or_else(|| panic!("{text} is no time")))
}

/// A due day as the mapping gives it: its last microsecond.
fn end_of(day: &str) -> At {
    let next = day.parse::<chrono::NaiveDate>().unwrap().succ_opt().unwrap();
    At(at(&next.to_string()).0 - 1)
}

fn shown(at: At) -> String {
    let local = chrono::DateTime::from_timestamp_micros(at.0).unwrap().with_timezone(&ZONE);
    local.format("%Y-%m-%d %H:%M").to_string()
}

fn event(line: &str, ordinal: usize, regime: &str) -> Event {
    let mut parts = line.split('|').map(str::trim);
    let occurred_at = at(parts.next().unwrap());
    let kind = parts.next().unwrap().to_owned();
    let said: BTreeMap<&str, &str> = parts.map(|part| part.split_once('=').unwrap()).collect();
    let text = |name: &str| said.get(name).map(|text| (*text).to_owned());
    let due_at = said.get("due").map(|day| end_of(day));
    let day = |at: At| Day(local_day(at.0, ZONE).unwrap());
    Event {
        event_id: ordinal.to_string(),
        case_id: "door:1".into(),
        kind,
        occurred_at,
        occurred_on: day(occurred_at),
        recorded_at: said.get("recorded").map(|text| at(text)),
        appended_at: occurred_at,
        source: "door".into(),
        regime: Some(regime.to_owned()),
        record_id: "record".into(),
        content_id: "content".into(),
        delivery_id: "delivery".into(),
        occurrence: 1,
        topic: "raw.door".into(),
        ordinal: i32::try_from(ordinal).unwrap(),
        body: text("body"),
        due_at,
        due_on: due_at.map(day),
        due_compare: due_at.map(|_| "date".to_owned()),
        basis: text("basis"),
        rule: text("rule"),
        calendar: text("calendar"),
        reason: text("reason"),
        ..Event::default()
    }
}

fn lives() -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut regime = "request_109";
    for line in include_str!("clocks/lives.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("life: ") {
            regime = "request_109";
            lives.push(Life { name: name.to_owned(), ..Life::default() });
            continue;
        }
        let life = lives.last_mut().unwrap();
        if let Some(expected) = line.strip_prefix("= ") {
            life.expected.push(expected.to_owned());
        } else if let Some(time) = line.strip_prefix("as of ") {
            life.as_of = Some(at(time));
        } else if let Some(word) = line.strip_prefix("regime ") {
            regime = word;
        } else {
            let ordinal = life.events.len();
            life.events.push(event(line, ordinal, regime));
        }
    }
    lives
}

/// What came of it, in the words of the file.
fn told(folded: &Folded, reference: &Reference) -> Vec<String> {
    let case = folded.case.as_ref().unwrap();
    let mut lines = Vec::new();
    for row in &folded.deadlines {
        let due = shown(row.due_at);
        // A term in days ends with its day.
        let due = if due.ends_with("23:59") { due[..10].to_owned() } else { due };
        let by = match (&row.rule, &row.calendar) {
            (Some(rule), Some(calendar)) => format!("{rule} on {calendar}"),
            (Some(rule), None) => format!("{rule} stated"),
            _ => "stated".to_owned(),
        };
        let silence = row.on_expiry.as_ref().map(|word| format!(" | {word}")).unwrap_or_default();
        let invalid = row.invalid_reason.as_ref().map(|why| format!(" | invalid: {why}")).unwrap_or_default();
        assert_eq!(row.valid, row.invalid_reason.is_none());
        assert_eq!(row.due_on, local_day(row.due_at.0, ZONE).map(Day));
        lines.push(format!("due {due} | set {} | {by}{silence}{invalid}", shown(row.set_at)));
    }
    if let Some(flaws) = &case.flaws {
        lines.push(format!("flaws {flaws}"));
    }
    let day = |at: Option<At>| at.map_or("none".to_owned(), |at| shown(at)[..10].to_owned());
    let extended = if case.extended { ", extended" } else { "" };
    lines.push(format!("in force {}, first {}{extended}", day(case.due_at), day(case.original_due_at)));
    let calendar = reference.calendars.get("kz@2026-03-18").unwrap();
    let mut minutes: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for segment in folded.segments.iter().filter(|segment| segment.clock == "running") {
        let body = segment.body.clone().unwrap_or_else(|| "-".to_owned());
        let slot = minutes.entry(body).or_insert(Some(0));
        let worked = segment
            .to_at
            .map(|to| calendar.working_us(segment.from_at, to, segment.body.as_deref()).unwrap() / 60_000_000);
        *slot = slot.zip(worked).map(|(sum, worked)| sum + worked);
    }
    for (body, worked) in minutes {
        lines.push(format!("minutes {body} {}", worked.map_or("open".to_owned(), |worked| worked.to_string())));
    }
    lines
}

#[test]
fn every_life_comes_out_as_checked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clocks/reference");
    let config: ReferenceConfig = toml::from_str(&format!("folder = {folder:?}")).unwrap();
    let reference = Reference::load(&config, Path::new(".")).unwrap();
    let lives = lives();
    assert!(lives.len() >= 30, "only {} lives were read", lives.len());
    let mut wrong = Vec::new();
    for life in &lives {
        let rule = FoldRule { as_of: life.as_of, known_at: None, zone: ZONE, folded_version: 0, reference: &reference };
        let folded = fold(&life.events, &rule);
        let told = told(&folded, &reference);
        if told != life.expected {
            wrong.push(format!(
                "life: {}\n  expected:\n    {}\n  told:\n    {}",
                life.name,
                life.expected.join("\n    "),
                told.join("\n    ")
            ));
        }
        // The order in which rows are read never matters.
        let mut backwards = life.events.clone();
        backwards.reverse();
        assert_eq!(fold(&backwards, &rule), folded, "{}", life.name);
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), lives.len(), wrong.join("\n"));
}
