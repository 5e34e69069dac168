//! The laws of fold and figures, held against random streams.
//!
//! `PROPTEST_CASES` sets how many (more in the long variant); streams through the whole
//! job cost commits to disk and run at a fiftieth of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "laws/life.rs"]
mod life;
#[path = "laws/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use ahual_schemas::event::{Event, FIRST_OBSERVED};
use ahual_schemas::log::StoredRecord;
use ahual_schemas::tables::{Case, Deadline, LedgerRow, Part, RawRow, Segment};
use ahual_schemas::{At, Day};
use ahual_transform::catalog::{Catalog, Moment};
use ahual_transform::figures::quantile::{self, Durations};
use ahual_transform::figures::{Bag, Subject, Totals};
use ahual_transform::fold::{FoldRule, Folded, fold};
use ahual_transform::reference::Reference;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use world::{Said, Stream, World, ZONE, block_on, copy_dir, row, rows_of, stamp};

static REFERENCE: LazyLock<Arc<Reference>> = LazyLock::new(world::reference);
static RULE: LazyLock<FoldRule<'static>> =
    LazyLock::new(|| FoldRule { as_of: None, known_at: None, zone: ZONE, folded_version: 0, reference: &REFERENCE });

fn quick() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// For tests that drive the whole job.
fn whole_job() -> ProptestConfig {
    ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(50), max_shrink_iters: 40, ..quick() }
}

// The fold alone.

/// What one content of a record says, and the deliveries it came with.
#[derive(Debug, Clone)]
struct Content {
    version: Option<i64>,
    /// How many of its deliveries were set aside before a mapping took it.
    set_aside: usize,
    said: Vec<EventSaid>,
    /// Delivery, stamp, and whether its row says everything or only 'seen again'.
    deliveries: Vec<(u8, i64, bool)>,
}

#[derive(Debug, Clone)]
struct EventSaid {
    kind: &'static str,
    at: i64,
    body: Option<i64>,
    due: Option<i64>,
    recorded: Option<i64>,
    part: Option<i64>,
    stage: &'static str,
    attribute: Option<i64>,
}

const KINDS: [&str; 26] = [
    "received",
    "registered",
    "assigned",
    "first_response",
    "interim_response",
    "paused",
    "resumed",
    "deadline_set",
    "deadline_extended",
    "transferred",
    "done_claimed",
    "closed",
    "reopened",
    "confirmed",
    "rejected",
    "withdrawn",
    "merged",
    "split",
    "disappeared",
    "control_set",
    "control_lifted",
    "feedback",
    "flawed",
    "updated",
    "stage",
    "photographed",
];

/// Few values, so that ties and repeats are the rule.
fn event_said() -> impl Strategy<Value = EventSaid> {
    let few = proptest::option::of::<std::ops::Range<i64>>;
    let kind = proptest::sample::select(KINDS.to_vec());
    let stage = proptest::sample::select(vec!["dispatched", "on_scene", "available"]);
    (kind, 0..6_i64, few(0..3), few(0..6), few(0..6), few(0..2), stage, few(0..3)).prop_map(
        |(kind, at, body, due, recorded, part, stage, attribute)| EventSaid {
            kind,
            at,
            body,
            due,
            recorded,
            part,
            stage,
            attribute,
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    let deliveries = proptest::collection::vec((0..4_u8, 0..6_i64, any::<bool>()), 1..4);
    let said = proptest::collection::vec(event_said(), 1..5);
    let set_aside = prop_oneof![4 => Just(0), 1 => 1..4_usize];
    (proptest::option::of(0..3_i64), set_aside, said, deliveries)
        .prop_map(|(version, set_aside, said, deliveries)| Content { version, set_aside, said, deliveries })
}

/// Seconds after the epoch.
fn second(at: i64) -> At {
    At(at * 1_000_000)
}

impl Content {
    /// Its rows, as the job writes them.
    fn rows(&self, record: usize, number: usize) -> Vec<Event> {
        let mut rows = Vec::new();
        for (nth, (delivery, at, full)) in self.deliveries.iter().enumerate() {
            let base = row(&format!("r{record}"), &format!("c{number}"), &format!("d{delivery}"), *at);
            if nth < self.set_aside {
                rows.push(Event { kind: "set_aside".into(), reason: Some("poison".into()), ..base });
            } else if nth == self.set_aside || *full {
                rows.extend(self.said.iter().enumerate().map(|(ordinal, said)| Event {
                    ordinal: i32::try_from(ordinal).unwrap(),
                    version: self.version,
                    kind: said.kind.into(),
                    occurred_at: second(said.at),
                    occurred_on: Day(i32::try_from(said.at / 2).unwrap()),
                    recorded_at: said.recorded.map(second),
                    due_at: said.due.map(second),
                    body: said.body.map(|b| format!("body {b}")),
                    part_id: said.part.map(|p| format!("part {p}")),
                    status: (said.kind == "stage").then(|| said.stage.to_owned()),
                    attributes: said.attribute.map(|a| format!("{{\"a\":{a}}}")),
                    time_rule: said.attribute.map(|_| FIRST_OBSERVED.to_owned()),
                    ..base.clone()
                }));
            } else {
                rows.push(Event { kind: "seen_again".into(), ..base });
            }
        }
        rows
    }
}

/// All rows of one case: several records, each with several contents.
fn rows() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(proptest::collection::vec(content(), 1..4), 1..4).prop_map(|records| {
        let mut rows = Vec::new();
        for (record, contents) in records.iter().enumerate() {
            for (number, content) in contents.iter().enumerate() {
                rows.extend(content.rows(record, number));
            }
        }
        rows
    })
}

/// Rows, and the same set in any order with any repetition.
fn rows_and_disorder() -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    rows().prop_flat_map(|rows| {
        let repeats = proptest::sample::subsequence(rows.clone(), 0..=rows.len());
        (Just(rows), repeats).prop_flat_map(|(rows, repeats)| {
            let disorder = Just([rows.clone(), repeats].concat()).prop_shuffle();
            (Just(rows), disorder)
        })
    })
}

fn content_of(row: &Event) -> (&str, &str) {
    (&row.record_id, &row.content_id)
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn the_fold_is_a_function_of_the_set(
        (rows, disorder) in rows_and_disorder(),
        as_of in proptest::option::of(0..6_i64),
        known_at in proptest::option::of(0..6_i64),
    ) {
        let rule = FoldRule { as_of: as_of.map(second), known_at: known_at.map(stamp), ..*RULE };
        prop_assert_eq!(fold(&rows, &rule), fold(&disorder, &rule));
    }

    #[test]
    fn what_was_known_by_a_moment_is_the_fold_of_what_had_been_appended(rows in rows(), known_at in 0..6_i64) {
        let known_at = stamp(known_at);
        let by_then: Vec<Event> = rows.iter().filter(|r| r.appended_at <= known_at).cloned().collect();
        // A content is known with its first delivery, whichever row carries its words.
        let words = rows.iter().filter(|r| r.kind != "seen_again" && r.kind != "set_aside").filter_map(|r| {
            let first = by_then.iter().find(|known| content_of(known) == content_of(r))?;
            Some(Event { delivery_id: first.delivery_id.clone(), appended_at: first.appended_at, ..r.clone() })
        });
        let by_then: Vec<Event> = by_then.iter().cloned().chain(words).collect();
        let rule = FoldRule { known_at: Some(known_at), ..*RULE };
        prop_assert_eq!(fold(&rows, &rule), fold(&by_then, &RULE));
    }

    #[test]
    fn the_ledger_of_a_case_closes_and_counts_every_delivery_once(rows in rows()) {
        let ledger = fold(&rows, &RULE).ledger;
        for row in &ledger {
            prop_assert_eq!(row.pulled, row.stored + row.set_aside + row.duplicates, "{:?}", row);
        }
        let distinct: BTreeSet<_> = rows.iter().map(|r| (content_of(r), &r.delivery_id)).collect();
        prop_assert_eq!(ledger.iter().map(|r| r.pulled).sum::<i64>(), i64::try_from(distinct.len()).unwrap());
    }

    #[test]
    fn an_event_of_an_unknown_kind_survives_and_describes_its_case(at in 0..6_i64, word in "[a-z]{4,9}_x") {
        let base = row("r", "c", "d", 1);
        let received = Event { kind: "received".into(), occurred_at: At(0), ..base.clone() };
        let status = Some("seen".to_owned());
        let odd = Event { kind: word, ordinal: 1, occurred_at: second(at), status: status.clone(), ..base };
        let case = fold(&[odd, received], &RULE).case.unwrap();
        prop_assert_eq!((case.events, case.status), (2, status));
    }
}

// Quantiles.

/// Durations, ended or censored; few values, so that ties occur.
fn multiset() -> impl Strategy<Value = Vec<(i64, bool)>> {
    proptest::collection::vec((0..12_i64, proptest::bool::weighted(0.7)), 0..28)
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The textbook, in exact fractions: at each observed time everyone is looked at again.
fn naive_kaplan_meier(all: &[(i64, bool)], percent: u128) -> Option<i64> {
    let times: BTreeSet<i64> = all.iter().filter(|(_, ended)| *ended).map(|(t, _)| *t).collect();
    let (mut up, mut down) = (1_u128, 1_u128);
    times.into_iter().find(|t| {
        let at_risk = all.iter().filter(|(other, _)| other >= t).count() as u128;
        let ended = all.iter().filter(|(other, ended)| other == t && *ended).count() as u128;
        (up, down) = (up * (at_risk - ended), down * at_risk);
        let common = greatest_common_divisor(up, down).max(1);
        (up, down) = (up / common, down / common);
        // F = 1 − up/down ≥ percent/100
        (down - up) * 100 >= percent * down
    })
}

fn naive_nearest_rank(all: &[(i64, bool)], percent: usize) -> Option<i64> {
    let mut ended: Vec<i64> = all.iter().filter(|(_, ended)| *ended).map(|(t, _)| *t).collect();
    ended.sort_unstable();
    let rank = (percent * ended.len()).div_ceil(100).max(1);
    ended.get(rank - 1).copied()
}

fn durations(all: &[(i64, bool)]) -> Durations {
    let mut durations = Durations::default();
    all.iter().for_each(|(t, ended)| durations.add(*t, *ended, 1));
    durations
}

/// Both quantiles by SQL over two partitions, whose states the engine merges.
async fn by_sql(all: &[(i64, bool)], q: f64) -> (Option<i64>, Option<i64>) {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    quantile::register(&session);
    let batch = |rows: &[(i64, bool)]| {
        let t: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>());
        let o: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.1)).collect::<BooleanArray>());
        let n: ArrayRef = Arc::new(rows.iter().map(|_| Some(1)).collect::<Int64Array>());
        RecordBatch::try_from_iter([("t", t), ("o", o), ("n", n)]).unwrap()
    };
    let (left, right) = all.split_at(all.len() / 2);
    let halves = vec![vec![batch(left)], vec![batch(right)]];
    let table = MemTable::try_new(halves[0][0].schema(), halves).unwrap();
    session.register_table("d", Arc::new(table)).unwrap();
    let sql = format!("SELECT nearest_rank(t, o, n, {q:?}) AS a, km_quantile(t, o, n, {q:?}) AS b FROM d");
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    let value = |index: usize| {
        let column = batches[0].column(index).as_primitive::<Int64Type>();
        column.is_valid(0).then(|| column.value(0))
    };
    (value(0), value(1))
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn kaplan_meier_is_the_textbooks(all in multiset(), percent in 1..=100_u32) {
        let q = f64::from(percent) / 100.0;
        prop_assert_eq!(durations(&all).kaplan_meier(q), naive_kaplan_meier(&all, u128::from(percent)));
    }

    #[test]
    fn nearest_rank_is_what_sorting_finds(all in multiset(), percent in 1..=100_u32) {
        let q = f64::from(percent) / 100.0;
        prop_assert_eq!(durations(&all).nearest_rank(q), naive_nearest_rank(&all, percent as usize));
    }
}

proptest! {
    #![proptest_config(whole_job())]

    #[test]
    fn quantiles_merged_by_the_query_engine_are_those_of_the_whole(all in multiset(), percent in 1..=100_u32) {
        let q = f64::from(percent) / 100.0;
        let whole = durations(&all);
        prop_assert_eq!(block_on(by_sql(&all, q)), (whole.nearest_rank(q), whole.kaplan_meier(q)));
    }
}

// The whole job.

/// Every case of the index, folded anew.
fn folds(world: &World) -> BTreeMap<String, Folded> {
    let mut folds = BTreeMap::new();
    world
        .index()
        .each_case(|name, rows| {
            folds.insert(name.to_owned(), fold(&rows, &RULE));
        })
        .unwrap();
    folds
}

fn subject(world: &World) -> Subject {
    let mut subject = Subject::default();
    folds(world).values().for_each(|folded| subject.push(folded));
    subject
}

/// Cells of every metric, as kept.
async fn kept(world: &World) -> Bag {
    Catalog::new(&world.data, world.metrics.clone(), ZONE).kept_cells().await.unwrap()
}

/// The same cells, formed from the rows of every case.
async fn formed(world: &World) -> Bag {
    let mut bag = Bag::default();
    world.metrics.keep(&mut bag, &subject(world), 1).await.unwrap();
    bag.settle();
    bag
}

/// Cells formed by SQL over the tables of the published lake.
async fn published(world: &World, as_of: At) -> Bag {
    let catalog = Catalog::new(&world.data, world.metrics.clone(), ZONE);
    let session = catalog.session(Moment::default()).await.unwrap();
    let mut bag = Bag::default();
    for metric in world.metrics.iter() {
        world.metrics.collect(&mut bag, metric, &session, Some(as_of), 1).await.unwrap();
    }
    bag.settle();
    bag
}

/// What readers are told: kept cells, and the open cases looked at directly.
async fn told(world: &World, as_of: At) -> Bag {
    let catalog = Catalog::new(&world.data, world.metrics.clone(), ZONE);
    let open = catalog.open_cases().await.unwrap();
    let mut bag = kept(world).await;
    for metric in world.metrics.iter().filter(|m| m.is_live()) {
        world.metrics.collect(&mut bag, metric, &open, Some(as_of), 1).await.unwrap();
    }
    bag.settle();
    bag
}

/// Rows of a table of the lake without their fold's version, in order.
macro_rules! table {
    ($world:expr, $row:ty, $order:literal) => {{
        let sql = concat!("SELECT * FROM {} ORDER BY ", $order).replace("{}", <$row>::TABLE);
        let mut rows = <$row>::from_batch(&rows_of($world, &sql).await).unwrap();
        rows.iter_mut().for_each(|row| row.folded_version = 0);
        rows
    }};
}

/// Everything derived, without what names the processing rather than the facts.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    cases: Vec<Case>,
    segments: Vec<Segment>,
    deadlines: Vec<Deadline>,
    parts: Vec<Part>,
    ledger: Vec<LedgerRow>,
    cells: Bag,
}

/// The facts by the lake, which the index must agree with.
async fn facts(world: &World) -> Facts {
    let facts = Facts {
        cases: table!(world, Case, "case_id"),
        segments: table!(world, Segment, "case_id, ordinal"),
        deadlines: table!(world, Deadline, "case_id, ordinal"),
        parts: table!(world, Part, "case_id, part_id"),
        ledger: table!(world, LedgerRow, "source, day"),
        cells: kept(world).await,
    };
    let anew = subject(world);
    assert_eq!(facts.cases, anew.cases, "core.cases and the index");
    assert_eq!(facts.segments, anew.segments, "core.segments and the index");
    assert_eq!(facts.deadlines, anew.deadlines, "core.deadlines and the index");
    assert_eq!(facts.parts, anew.parts, "core.parts and the index");
    facts
}

proptest! {
    #![proptest_config(whole_job())]

    #[test]
    fn kept_figures_equal_recomputed_ones_after_every_batch(
        stream in world::stream(),
        sizes in proptest::collection::vec(6..25_usize, 3),
    ) {
        block_on(async {
            let mut world = World::new().await;
            let mut rest = &stream.records[..];
            for size in sizes.iter().cycle() {
                let (batch, later) = rest.split_at((*size).min(rest.len()));
                world.batch(batch).await;
                assert_eq!(kept(&world).await, formed(&world).await, "with {} records to come", later.len());
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            for as_of in [world::MONTH_LATER, world::YEAR_LATER] {
                assert_eq!(told(&world, as_of).await, published(&world, as_of).await);
            }
            let before = facts(&world).await;
            world.job.compact().await.unwrap();
            assert_eq!(facts(&world).await, before, "compaction changes no fact");
            // Of a kind nobody knows, every event that was said is in the lake.
            let odd = rows_of(&world, "SELECT 1 FROM core.events WHERE kind = 'photographed'").await;
            assert_eq!(odd.num_rows() > 0, stream.photographed());
        });
    }

    #[test]
    fn the_order_of_the_log_changes_nothing((stream, shuffled) in world::stream_and_shuffle(), size in 7..40_usize) {
        block_on(async {
            let mut straight = World::new().await;
            straight.batch(&stream.records).await;
            let mut disorderly = World::new().await;
            for batch in shuffled.records.chunks(size) {
                disorderly.batch(batch).await;
            }
            assert_eq!(facts(&straight).await, facts(&disorderly).await);
        });
    }

    #[test]
    fn a_log_read_twice_changes_nothing(stream in world::stream()) {
        block_on(async {
            let mut world = World::new().await;
            for batch in stream.records.chunks(30) {
                world.batch(batch).await;
            }
            let once = facts(&world).await;
            for batch in stream.records.chunks(17) {
                world.batch(batch).await;
            }
            assert_eq!(facts(&world).await, once);
        });
    }

    #[test]
    fn what_ended_cases_contribute_does_not_depend_on_the_moment(
        stream in world::stream(),
        a in 0..900_i64,
        b in 0..900_i64,
    ) {
        block_on(async {
            let mut world = World::new().await;
            world.batch(&stream.records).await;
            let session = world.metrics.session();
            subject(&world).only(|case| case.state != "open").register(&session).unwrap();
            let at = async |hours: i64| {
                let as_of = At((world::START_MS + hours * 3_600_000) * 1000);
                let mut bag = Bag::default();
                for metric in world.metrics.iter() {
                    world.metrics.collect(&mut bag, metric, &session, Some(as_of), 1).await.unwrap();
                }
                bag
            };
            assert_eq!(at(a).await, at(b).await);
        });
    }
}

/// The parts of the data folder, in the order in which a batch writes them.
const STEPS: [&str; 10] = [
    "lake/raw/records",
    "lake/core/events",
    "lake/core/cases",
    "lake/core/segments",
    "lake/core/deadlines",
    "lake/core/parts",
    "lake/ops/ledger",
    "lake/ops/kept_cells",
    "index",
    "lake/epoch.json",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: whole_job().cases.div_ceil(6), max_shrink_iters: 3, ..whole_job() })]

    #[test]
    fn a_crash_after_any_step_of_a_batch_loses_nothing_and_doubles_nothing(stream in world::stream()) {
        block_on(async {
            let (first, rest) = stream.records.split_at(stream.records.len() / 4);
            // The reader was at partition 0 and went some way into 1 when the crash came.
            let of = |partition: u32| rest.iter().filter(move |r| r.at.partition == partition).cloned();
            let under_way: Vec<_> = of(0).chain(of(1).take(5)).collect();

            let mut world = World::new().await;
            world.batch(first).await;
            let before = tempfile::tempdir().unwrap();
            copy_dir(&world.data, before.path());
            world.batch(&under_way).await;
            let after = world.close();

            let mut whole = World::new().await;
            whole.batch(&stream.records).await;
            let expected = facts(&whole).await;
            let mut said: Vec<(String, i32, i64)> = stream
                .records
                .iter()
                .map(|r| (r.at.topic.clone(), i32::try_from(r.at.partition).unwrap(), i64::try_from(r.offset).unwrap()))
                .collect();
            said.sort_unstable();

            for reached in 0..=STEPS.len() {
                let torn = tempfile::tempdir().unwrap();
                copy_dir(before.path(), torn.path());
                for step in &STEPS[..reached] {
                    let (from, to) = (after.path().join(step), torn.path().join(step));
                    if from.is_dir() {
                        copy_dir(&from, &to);
                    } else {
                        std::fs::copy(&from, &to).unwrap();
                    }
                }
                // Afterwards the reader takes of every partition in turn.
                let mut world = World::open(torn, &stream.records, 9).await;
                world.drain().await;
                let crash = format!("a crash when {:?} were written", &STEPS[..reached]);
                assert_eq!(facts(&world).await, expected, "{crash}");
                let raw = rows_of(&world, "SELECT * FROM raw.records ORDER BY topic, partition, \"offset\"").await;
                let raw = RawRow::from_batch(&raw).unwrap();
                let raw: Vec<_> = raw.into_iter().map(|r| (r.topic, r.partition, r.offset)).collect();
                assert_eq!(raw, said, "raw.records after {crash}");
                let doubled = "SELECT 1 FROM ops.deliveries GROUP BY topic, partition, \"offset\", ordinal HAVING count(*) > 1";
                assert_eq!(rows_of(&world, doubled).await.num_rows(), 0, "core.events after {crash}");
            }
        });
    }
}

#[test]
fn a_corrected_close_is_no_reopening_and_leaves_no_trace_in_the_figures() {
    block_on(async {
        let open = Said { id: 1, case: 1, received: Some(1), version: Some(2), ..Said::default() };
        let closed = Said { closed: Some(9), outcome: Some("resolved"), version: Some(1), ..open.clone() };
        let stream = Stream::of(vec![closed, open]);
        let mut world = World::new().await;
        world.batch(&stream.records[..1]).await;
        assert!(kept(&world).await.iter().any(|(key, t)| key.metric == "completion" && t.numerator == 1));
        world.batch(&stream.records[1..]).await;
        let corrected = kept(&world).await;
        assert!(corrected.iter().all(|(key, t)| key.metric != "completion" || t.numerator == 0), "{corrected:?}");
        assert!(corrected.iter().all(|(_, t)| *t != Totals::default()), "{corrected:?}");
        let case = facts(&world).await.cases.remove(0);
        assert_eq!((case.state.as_str(), case.reopened, case.closed_at), ("open", 0, None));
    });
}

/// Once a row of zeros stayed behind for the day that had nothing left.
#[test]
fn a_day_whose_only_delivery_turns_out_to_be_earlier_is_not_in_the_ledger() {
    block_on(async {
        let said = Said { id: 1, case: 1, received: Some(1), ..Said::default() };
        let earlier = Stream::of(vec![said]).records.remove(0);
        let mut later = earlier.clone();
        later.appended_at_ms += 24 * 3_600_000;
        let mut straight = World::new().await;
        straight.batch(std::slice::from_ref(&earlier)).await;
        let mut world = World::new().await;
        world.batch(&[later]).await;
        assert_ne!(facts(&world).await.ledger[0].day, facts(&straight).await.ledger[0].day);
        world.batch(&[StoredRecord { offset: 1, ..earlier }]).await;
        let days = |ledger: Vec<LedgerRow>| ledger.into_iter().map(|row| (row.day, row.pulled)).collect::<Vec<_>>();
        let moved = days(facts(&world).await.ledger);
        assert_eq!(moved, days(facts(&straight).await.ledger));
        world.job.compact().await.unwrap();
        assert_eq!(days(facts(&world).await.ledger), moved);
    });
}
