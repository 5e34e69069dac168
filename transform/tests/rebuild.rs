//! The index is quick, not true: lost, or made by other definitions, it is built anew
//! from the rows of the lake, whatever has become of the tables' logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

// Every test file uses its part of it.
#[allow(dead_code)]
#[path = "laws/world.rs"]
mod world;

use std::collections::BTreeMap;

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_transform::catalog::Catalog;
use ahual_transform::figures::{Bag, Metrics};
use world::{Said, Stream, World, ZONE, block_on, reference, sealer};

/// Cases closed and open, corrected and late.
fn history() -> Stream {
    let received = |id: u8, at: i64| Said { id, case: id, version: Some(1), received: Some(at), ..Said::default() };
    let closed = |id: u8, at: i64, closed: i64| Said {
        version: Some(2),
        closed: Some(closed),
        outcome: Some("resolved"),
        ..received(id, at)
    };
    Stream::of(vec![
        received(1, 0),
        received(2, 1),
        closed(1, 0, 9),
        received(3, 2),
        closed(2, 1, 30),
        closed(3, 2, 12),
        received(4, 3),
        Said { version: Some(3), closed: Some(40), ..closed(2, 1, 30) },
    ])
}

async fn kept(world: &World) -> Bag {
    Catalog::new(&world.data, world.metrics.clone(), ZONE).kept_cells().await.unwrap()
}

/// What a reader knows who has applied every entry: key → numerator, denominator, n.
fn known(entries: &[FeedEntry]) -> BTreeMap<String, (i64, i64, i64)> {
    let mut known = BTreeMap::new();
    for entry in entries {
        known.insert(entry.key(), (entry.numerator, entry.denominator, entry.n));
    }
    known.retain(|_, totals| *totals != (0, 0, 0));
    known
}

fn feed(world: &World, after: Option<FeedPosition>) -> Vec<FeedEntry> {
    world.index().feed_after(after, usize::MAX).unwrap()
}

/// A history taken in batches of two, and the feed a reader saw up to the second batch.
async fn taken() -> (World, Vec<FeedEntry>) {
    let stream = history();
    let mut world = World::new().await;
    let mut seen = Vec::new();
    for (nth, batch) in stream.records.chunks(2).enumerate() {
        world.batch(batch).await;
        if nth == 1 {
            seen = feed(&world, None);
        }
    }
    (world, seen)
}

/// As when the log of a table has been cleaned up: a checkpoint and the data are there,
/// old commits are not.
async fn forget_commits(world: &World) {
    let root = ahual_transform::lake::LakeRoot::under(&world.data);
    let head = root.epoch().unwrap().unwrap().folded_version;
    let table = root.open_at("core.events", head).await.unwrap();
    deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap();
    for version in 0..head {
        std::fs::remove_file(world.data.join(format!("lake/core/events/_delta_log/{version:020}.json"))).unwrap();
    }
}

#[test]
fn a_lost_index_is_built_anew_and_a_resumed_feed_misses_nothing() {
    block_on(async {
        let (world, seen) = taken().await;
        forget_commits(&world).await;
        let (cells, whole) = (kept(&world).await, known(&feed(&world, None)));
        assert!(!cells.is_empty() && !whole.is_empty());
        let folder = world.close();
        std::fs::remove_dir_all(folder.path().join("index")).unwrap();

        let mut world = World::open(folder, &[], 1000).await;
        assert_eq!(kept(&world).await, cells, "kept cells are not formed twice");
        let rest = feed(&world, seen.last().map(|entry| entry.position));
        assert_eq!(known(&[seen, rest].concat()), whole, "seen before and said since");

        // And it goes on from there: what comes next is folded over what was built.
        let more = Said { id: 4, case: 4, version: Some(2), received: Some(3), closed: Some(50), ..Said::default() };
        let mut next = Stream::of(vec![Said { outcome: Some("resolved"), ..more }]);
        for record in &mut next.records {
            record.offset += 1_000;
        }
        world.batch(&next.records).await;
        let mut straight = World::new().await;
        straight.batch(&history().records).await;
        straight.batch(&next.records).await;
        assert_eq!(kept(&world).await, kept(&straight).await);
    });
}

#[test]
fn an_index_of_an_unknown_format_is_thrown_away_and_built_anew() {
    block_on(async {
        let (world, _) = taken().await;
        let cells = kept(&world).await;
        let folder = world.close();
        let path = folder.path().join("index/index.redb");
        {
            let database = redb::Database::open(&path).unwrap();
            let written = database.begin_write().unwrap();
            let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
            written.open_table(table).unwrap().insert("format", 77_u32.to_be_bytes().as_slice()).unwrap();
            written.commit().unwrap();
        }
        let world = World::open(folder, &[], 1000).await;
        assert_eq!(kept(&world).await, cells);
        assert_eq!(world.index().case_count().unwrap(), 4);
    });
}

#[test]
fn other_definitions_form_the_cells_anew_and_the_feed_says_what_changed() {
    block_on(async {
        let (world, seen) = taken().await;
        let before = kept(&world).await;
        let folder = world.close();
        let own = tempfile::tempdir().unwrap();
        let sql = "-- title: Closed within ten hours\n-- unit: ratio\n-- Of the cases received on a day.\n\
                   SELECT case_id, source, body, category, territory, received_on AS day,\n\
                   CASE WHEN elapsed_us(received_at, closed_at) <= 36000000000 THEN 1 ELSE 0 END AS numerator,\n\
                   1 AS denominator FROM cases WHERE received_at IS NOT NULL";
        std::fs::write(own.path().join("closed_quickly.sql"), sql).unwrap();
        let metrics = Metrics::load(&sealer(), &reference(), Some(own.path())).await.unwrap();

        let world = World::open_with(folder, &[], 1000, metrics.clone()).await;
        let after = kept(&world).await;
        let quick: Vec<_> = after.iter().filter(|(key, _)| key.metric == "closed_quickly").collect();
        assert_eq!(quick.iter().map(|(_, t)| t.denominator).sum::<i64>(), 4);
        assert_eq!(quick.iter().map(|(_, t)| t.numerator).sum::<i64>(), 2, "cases 1 and 3");
        assert!(before.iter().all(|cell| after.iter().any(|other| other == cell)), "the others are as they were");

        let rest = feed(&world, seen.last().map(|entry| entry.position));
        let told = known(&[seen, rest].concat());
        let quick: i64 = told.iter().filter(|(key, _)| key.starts_with("closed_quickly|")).map(|(_, t)| t.1).sum();
        assert_eq!(quick, 4, "a resumed reader is told of the new metric");
        let folder = world.close();

        // Opened once more by the same definitions nothing is formed again.
        let world = World::open_with(folder, &[], 1000, metrics).await;
        assert_eq!(kept(&world).await, after);
        let folder = world.close();

        // And without the new metric its cells are gone, and said to be.
        let world = World::open(folder, &[], 1000).await;
        assert_eq!(kept(&world).await, before);
        assert!(known(&feed(&world, None)).keys().all(|key| !key.starts_with("closed_quickly|")));
    });
}
