//! The life cycle of a case, by law and by hand: custody adds up, parts are not their case,
//! links, disappearance, control, first observed closes; and nonsense is named.

use std::collections::BTreeMap;

use ahual_schemas::event::{Event, FIRST_OBSERVED};
use ahual_schemas::tables::{Case, Segment};
use ahual_schemas::{At, Day};
use ahual_transform::figures::{Bag, Metrics, Subject};
use ahual_transform::fold::{FoldRule, Folded, fold};
use ahual_transform::mapping::{ColumnsConfig, DueCompare, Mapping, MappingConfig, Opened, Outcome, TerritoryCode};
use proptest::prelude::*;

use crate::world::{ZONE, block_on, row, sealer, stamp};
use crate::{REFERENCE, RULE, quick, rows, second};

/// An event of a record of its own, at so many seconds.
fn event(kind: &str, at: i64) -> Event {
    Event { kind: kind.into(), occurred_at: second(at), ..row(&format!("{kind} {at}"), "c", "d", 1) }
}

fn by(body: &str, event: Event) -> Event {
    Event { body: Some(body.into()), ..event }
}

fn case(events: &[Event]) -> Case {
    fold(events, &RULE).case.unwrap()
}

fn held(folded: &Folded, body: Option<&str>) -> i64 {
    let of = |s: &&Segment| s.body.as_deref() == body;
    folded.segments.iter().filter(of).filter_map(|s| Some(s.to_at?.since(s.from_at))).sum()
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn custody_adds_up_to_the_whole_time_without_gap_or_overlap(
        rows in rows(),
        as_of in proptest::option::of(0..6_i64),
    ) {
        let folded = fold(&rows, &FoldRule { as_of: as_of.map(second), ..*RULE });
        let Some(case) = &folded.case else { return Ok(()) };
        for (nth, pair) in folded.segments.windows(2).enumerate() {
            prop_assert_eq!(pair[0].to_at, Some(pair[1].from_at), "after segment {}: {:?}", nth, folded.segments);
            prop_assert_eq!(pair[1].ordinal, pair[0].ordinal + 1);
        }
        if let Some(received) = case.received_at {
            let sum: i64 = folded.segments.iter().filter_map(|s| Some(s.to_at?.since(s.from_at))).sum();
            match case.ended_at {
                Some(end) => prop_assert_eq!(sum, end.since(received).max(0), "{:?}", folded.segments),
                None => {
                    prop_assert_eq!(folded.segments[0].from_at, received);
                    prop_assert_eq!(folded.segments.last().unwrap().to_at, None);
                }
            }
            let paused: i64 = folded.segments.iter().filter(|s| s.clock == "paused")
                .filter(|s| case.paused_since_at.is_none_or(|since| s.from_at < since))
                .filter_map(|s| Some(s.to_at?.since(s.from_at))).sum();
            prop_assert_eq!(paused, case.paused_us);
        }
        prop_assert_eq!(case.state == "open", case.ended_at.is_none());
        prop_assert_eq!(case.state == "closed", case.closed_at.is_some());
    }

    #[test]
    fn what_happens_to_a_part_does_not_happen_to_its_case(rows in rows()) {
        let whole: Vec<Event> = rows.iter().filter(|r| r.part_id.is_none()).cloned().collect();
        let about = |rows: &[Event]| fold(rows, &RULE).case.map(|c| (c.state, c.received_at, c.closed_at, c.due_at, c.body));
        if let (Some(with), Some(without)) = (about(&rows), about(&whole))
            // A content that speaks only of parts can be the one in force of its record.
            && contents_agree(&rows)
        {
            prop_assert_eq!(with, without);
        }
    }
}

/// Whether every content says something of the whole case.
fn contents_agree(rows: &[Event]) -> bool {
    let mut whole: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.kind != "seen_again" && r.kind != "set_aside") {
        *whole.entry((&row.record_id, &row.content_id)).or_default() |= row.part_id.is_none();
    }
    whole.values().all(|says| *says)
}

#[test]
fn ping_pong_is_charged_to_each_for_its_own_time() {
    let folded = fold(
        &[
            event("received", 0),
            by("a", event("assigned", 10)),
            by("b", event("transferred", 30)),
            by("a", event("transferred", 60)),
            event("closed", 100),
        ],
        &RULE,
    );
    let second = 1_000_000;
    assert_eq!(held(&folded, None), 10 * second, "nobody's: the centre's");
    assert_eq!((held(&folded, Some("a")), held(&folded, Some("b"))), (60 * second, 30 * second));
    let case = folded.case.unwrap();
    assert_eq!((case.transfers, case.bounces), (2, 1));
}

#[test]
fn a_case_is_split_into_children_and_counted_there() {
    let parent = case(&[event("received", 0), event("split", 5)]);
    assert_eq!((parent.state.as_str(), parent.ended_at), ("split", Some(second(5))));
    let link = Event { parent_case_id: Some("door:0".into()), ..event("split", 5) };
    let child = case(&[event("received", 5), link.clone()]);
    assert_eq!((child.state.as_str(), child.parent_case_id.as_deref()), ("open", Some("door:0")));
    let part = Event { part_id: Some("to the other office".into()), ..event("split", 5) };
    assert_eq!(case(&[event("received", 0), part]).state, "open", "a part was redirected, the rest stays");
}

#[test]
fn a_merged_or_withdrawn_case_is_not_closed_again_but_can_be_reopened() {
    let merged = Event { parent_case_id: Some("door:0".into()), ..event("merged", 5) };
    let closed = Event { outcome: Some("resolved".into()), ..event("closed", 9) };
    let end = case(&[event("received", 0), merged.clone(), closed.clone()]);
    assert_eq!((end.state.as_str(), end.ended_at, end.outcome), ("merged", Some(second(5)), None));
    let again = case(&[event("received", 0), merged, event("reopened", 7), closed]);
    assert_eq!((again.state.as_str(), again.reopened, again.closed_at), ("closed", 1, Some(second(9))));
    let first = case(&[event("received", 0), event("closed", 4), event("reopened", 6), event("withdrawn", 8)]);
    assert_eq!((first.state.as_str(), first.first_closed_at), ("withdrawn", Some(second(4))));
    assert_eq!((first.first_reopened_at, first.closed_at), (Some(second(6)), None));
}

#[test]
fn what_disappears_is_not_closed_and_may_come_back() {
    let gone = case(&[event("received", 0), event("disappeared", 5)]);
    assert_eq!((gone.state.as_str(), gone.disappeared_at, gone.closed_at), ("open", Some(second(5)), None));
    let back = case(&[event("received", 0), event("disappeared", 5), event("updated", 9)]);
    assert_eq!(back.disappeared_at, None);
}

#[test]
fn a_mark_of_control_says_who_and_when_and_makes_nobody_responsible() {
    let said = [event("received", 0), by("office", event("assigned", 1)), by("akim 7", event("control_set", 3))];
    let marked = case(&said);
    assert_eq!((marked.controlled_by.as_deref(), marked.controlled_at), (Some("akim 7"), Some(second(3))));
    assert_eq!((marked.body.as_deref(), marked.transfers), (Some("office"), 0));
    let lifted = case(&[said.as_slice(), &[event("control_lifted", 8)]].concat());
    assert_eq!((lifted.controlled_by, lifted.controlled_at), (None, None));
}

#[test]
fn replies_claims_and_the_applicants_verdict_are_kept_apart_from_closing() {
    let said = case(&[
        event("received", 0),
        event("interim_response", 2),
        event("done_claimed", 3),
        event("rejected", 4),
        event("done_claimed", 6),
        event("confirmed", 7),
        Event { score: Some(5), ..event("feedback", 8) },
    ]);
    assert_eq!(
        (said.state.as_str(), said.interim_response_at, said.first_response_at),
        ("open", Some(second(2)), None)
    );
    assert_eq!(
        (said.done_claimed_at, said.verdict.as_deref(), said.score),
        (Some(second(6)), Some("confirmed"), Some(5))
    );
}

/// One request, said three times: the close comes out later each time it is edited.
fn edited(closes: &[Option<i64>], rule: Option<&str>) -> Vec<Event> {
    let mut rows = Vec::new();
    for (nth, at) in closes.iter().enumerate() {
        let nth = i64::try_from(nth).unwrap();
        let base =
            Event { version: Some(nth), ..row("request", &format!("content {nth}"), &format!("page {nth}"), nth) };
        rows.push(Event { kind: "received".into(), occurred_at: second(0), ..base.clone() });
        rows.extend(at.map(|at| Event {
            kind: "closed".into(),
            occurred_at: second(at),
            occurred_on: Day(i32::try_from(at).unwrap()),
            time_rule: rule.map(str::to_owned),
            ordinal: 1,
            ..base
        }));
    }
    rows
}

#[test]
fn the_first_observed_close_survives_later_edits_where_the_mapping_asks_for_it() {
    let closes = [None, Some(10), Some(20), Some(30)];
    let kept = case(&edited(&closes, Some(FIRST_OBSERVED)));
    assert_eq!((kept.closed_at, kept.closed_on), (Some(second(10)), Some(Day(10))));
    assert_eq!(case(&edited(&closes, None)).closed_at, Some(second(30)), "the newest version's, unless asked");
    // Open again in between: the close after that is another one.
    let again = case(&edited(&[Some(10), None, Some(30), Some(40)], Some(FIRST_OBSERVED)));
    assert_eq!(again.closed_at, Some(second(30)));
    // What was known when only the second edit had come; and what had happened by then.
    let rows = edited(&closes, Some(FIRST_OBSERVED));
    let at =
        |known: Option<At>, as_of: Option<At>| fold(&rows, &FoldRule { known_at: known, as_of, ..*RULE }).case.unwrap();
    assert_eq!(at(Some(stamp(0)), None).closed_at, None);
    assert_eq!(at(Some(stamp(2)), None).closed_at, Some(second(10)));
    assert_eq!(at(None, Some(second(15))).closed_at, Some(second(10)), "closed at 10, whatever was edited later");
}

#[test]
fn contradictions_between_records_are_flagged_by_name() {
    let due = Event { due_at: Some(second(-5)), ..event("deadline_set", 0) };
    let flawed = Event { reason: Some("close_date_without_close".into()), ..event("flawed", 3) };
    let said = [event("received", 10), event("closed", 4), event("first_response", 2), due, flawed];
    assert_eq!(
        case(&said).flaws.as_deref(),
        Some("answered_before_received,close_date_without_close,closed_before_received,due_before_received")
    );
    assert_eq!(case(&[event("closed", 4)]).flaws.as_deref(), Some("no_receipt"));
    assert_eq!(case(&[event("received", 0), event("closed", 4)]).flaws, None);
}

/// The whole of a metric over these cases.
async fn totals(cases: &[Vec<Event>], name: &str) -> (i64, i64, i64) {
    let mut subject = Subject::default();
    for (nth, events) in cases.iter().enumerate() {
        let named: Vec<Event> = events.iter().map(|e| Event { case_id: format!("door:{nth}"), ..e.clone() }).collect();
        subject.push(&fold(&named, &RULE));
    }
    let metrics = Metrics::built_in(&sealer(), &REFERENCE).unwrap();
    let session = metrics.session();
    subject.register(&session).unwrap();
    let mut bag = Bag::default();
    metrics.collect(&mut bag, metrics.get(name).unwrap(), &session, Some(second(10_000_000)), 1).await.unwrap();
    bag.iter().fold((0, 0, 0), |sum, (_, t)| (sum.0 + t.numerator, sum.1 + t.denominator, sum.2 + t.n))
}

#[test]
fn metrics_count_what_their_headers_say() {
    const DAY: i64 = 86_400;
    let received = || event("received", 0);
    let due = |at| Event { due_at: Some(second(at)), due_on: Some(Day(3)), ..event("deadline_set", 0) };
    let extended = |at, to| Event { due_at: Some(second(to)), due_on: Some(Day(5)), ..event("deadline_extended", at) };
    let appeal = |event: Event| Event { regime: Some("formal_appeal".into()), ..event };
    block_on(async {
        // Extended in time; too late; never; no deadline; enquiry-free.
        let cases = [
            vec![received(), due(100), extended(50, 200)],
            vec![received(), due(100), extended(150, 200)],
            vec![received(), due(100)],
            vec![received()],
        ];
        assert_eq!(totals(&cases, "extension").await, (1, 3, 3));
        // Opened again on the last second of the thirtieth day; a second later; never.
        let closed = || event("closed", 0);
        let cases = [
            vec![received(), closed(), event("reopened", 30 * DAY)],
            vec![received(), closed(), event("reopened", 30 * DAY + 1), event("closed", 31 * DAY)],
            vec![received(), closed()],
            vec![received()],
        ];
        assert_eq!(totals(&cases, "reopen").await, (1, 3, 3));
        let moved = vec![
            received(),
            by("a", event("assigned", 1)),
            by("b", event("transferred", 2)),
            by("a", event("transferred", 3)),
        ];
        assert_eq!(totals(&[moved.clone(), vec![received()]], "transfers").await, (2, 2, 2));
        assert_eq!(totals(&[moved.clone(), vec![received()]], "bounces").await, (1, 2, 2));
        let over = [moved, vec![event("closed", 9)]].concat();
        assert_eq!(totals(&[over, vec![received()]], "custody").await, (3, 4, 4), "a, b and nobody; nobody, still");
        // Silence: open past the term, closed after it, closed in it, term still running.
        let cases = [
            vec![appeal(received()), appeal(due(100))],
            vec![appeal(received()), appeal(due(100)), appeal(event("closed", 101))],
            vec![appeal(received()), appeal(due(100)), appeal(event("closed", 100))],
            vec![appeal(received()), appeal(due(20_000_000))],
            vec![received(), due(100)],
        ];
        assert_eq!(totals(&cases, "deemed_refusal").await, (2, 3, 3));
        let scored = |score| vec![received(), Event { score: Some(score), ..event("feedback", 5) }, event("closed", 4)];
        let cases = [scored(3), scored(4), scored(5), vec![received(), event("closed", 4)]];
        assert_eq!(totals(&cases, "satisfaction").await, (2, 3, 3), "three is neutral");
        assert_eq!(totals(&cases, "feedback_response").await, (3, 4, 4));
    });
}

// Nonsense in one record: through the mapping.

const DOOR: &str = "
SELECT _record, 'received' AS kind, parse_when(received, 'UTC') AS occurred_at, NULL AS due_at, NULL AS reason FROM raw
UNION ALL
SELECT _record, 'deadline_set', parse_when(received, 'UTC'), parse_when(due, 'UTC'), NULL FROM raw WHERE due IS NOT NULL
UNION ALL
SELECT _record, CASE WHEN status = 'open' THEN 'flawed' ELSE 'closed' END, parse_when(closed, 'UTC'), NULL,
       CASE WHEN status = 'open' THEN 'close_date_without_close' END
FROM raw";

fn mapped(records: &[&str]) -> Vec<Outcome> {
    block_on(async {
        let config = MappingConfig {
            sql: "door.sql".into(),
            regime: ahual_schemas::Regime::Request109,
            time_zone: ZONE,
            due_compare: DueCompare::Instant,
            territory: TerritoryCode::Own,
            columns: ColumnsConfig::Names(["received", "due", "closed", "status"].map(str::to_owned).to_vec()),
            rename: BTreeMap::new(),
        };
        let mapping =
            Mapping::new("door", &config, "door.sql".into(), DOOR.to_owned(), &sealer(), &REFERENCE).await.unwrap();
        let opened: Vec<Opened> = records
            .iter()
            .enumerate()
            .map(|(nth, payload)| Opened {
                record_id: nth.to_string(),
                case_key: nth.to_string(),
                appended_at: stamp(0),
                payload: bytes::Bytes::from((*payload).to_owned()),
            })
            .collect();
        mapping.map(&opened).await.unwrap()
    })
}

#[test]
fn nonsense_in_a_record_is_set_aside_by_name_or_kept_and_flagged() {
    let outcomes = mapped(&[
        r#"{"received":"1900-01-01T00:00:00Z"}"#,
        r#"{"received":"2026-03-01T00:00:00Z","due":"2999-12-31T00:00:00Z"}"#,
        r#"{"received":"2026-03-02T00:00:00Z","closed":"2026-03-01T00:00:00Z","status":"closed"}"#,
        r#"{"received":"2026-03-02T00:00:00Z","due":"2026-03-01T00:00:00Z"}"#,
        r#"{"received":"2026-03-02T00:00:00Z","closed":"2026-03-03T00:00:00Z","status":"open"}"#,
        r#"{"status":"open"}"#,
    ]);
    let refused = |nth: usize| outcomes[nth].as_ref().unwrap_err().as_str();
    assert!(refused(0).starts_with("time out of range: occurred_at of received is 1900-01-01"), "{}", refused(0));
    assert!(refused(1).starts_with("time out of range: due_at of deadline_set is 2999-12-31"), "{}", refused(1));
    assert_eq!(refused(2), "closed before received: by 86400 s");
    assert!(refused(5).starts_with("no event"), "{}", refused(5));
    let flaws = |nth: usize| {
        let events: Vec<Event> = outcomes[nth]
            .as_ref()
            .unwrap()
            .iter()
            .map(|m| Event {
                kind: m.kind.clone(),
                occurred_at: At(m.occurred_at),
                due_at: m.due_at.map(At),
                reason: m.text.get("reason").cloned(),
                ..row(&m.kind, "c", "d", 1)
            })
            .collect();
        case(&events)
    };
    assert_eq!(flaws(3).flaws.as_deref(), Some("due_before_received"));
    let undecided = flaws(4);
    assert_eq!((undecided.state.as_str(), undecided.flaws.as_deref()), ("open", Some("close_date_without_close")));
}
