//! What every log must do, whichever stands behind the trait. `log_embedded` and
//! `log_kafka` run all of it.

mod kill;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::log::{MAX_RECORD_BYTES, TopicKind, partition_of};
use ahual_schemas::{Log, LogError, LogReader, NewRecord, StoredRecord, TopicPartition};
use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use kill::{acknowledged_work_survives_kill, child_writes_until_killed};

/// Partitions of the logs under test.
pub(crate) const PARTITIONS: u32 = 4;
/// Longer than any log needs to answer; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to see what should not come.
const MOMENT: Duration = Duration::from_millis(300);

/// Where a log under test lies. Opening again after the log was dropped finds the same one.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// Opens the log.
    async fn open(&self, partitions: u32) -> Result<Arc<dyn Log>, LogError>;
    /// What a child process needs to open the same log.
    fn address(&self) -> String;
}

/// Makes one test of each law, run in a place of its own that `$place(name)` makes.
#[macro_export]
macro_rules! conformance {
    ($place:ident; $($law:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                if let Some(place) = $place(stringify!($law)).await {
                    log_conformance::$law(&place).await;
                }
            }
        )+
    };
    ($place:ident) => {
        $crate::conformance!($place;
            records_of_a_partition_come_in_the_order_of_appending,
            content_and_headers_come_back_unchanged,
            a_key_lies_in_the_partition_of_the_shared_rule,
            stamps_are_sane_and_read_the_same_again,
            a_reader_starts_at_any_offset,
            a_reader_may_take_as_little_as_it_likes,
            a_waiting_reader_wakes_for_a_new_record,
            an_idle_reader_returns_empty_after_its_wait,
            a_reader_that_is_given_up_on_loses_nothing,
            a_position_is_remembered_by_group_and_partition,
            a_moment_is_found_by_its_stamp,
            retention_never_delivers_a_record_twice,
            a_reader_behind_retention_is_told,
            a_reader_past_the_end_is_told,
            a_record_of_8_mb_passes_and_a_larger_one_is_refused,
            a_topic_nobody_made_is_unknown,
            concurrent_appends_all_arrive_in_their_own_order,
            making_a_topic_again_changes_nothing,
            another_number_of_partitions_is_refused,
            acknowledged_work_survives_kill,
        );
    };
}

pub(crate) fn record(key: &str, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: Bytes::copy_from_slice(key.as_bytes()), headers: vec![], payload: payload.into() }
}

pub(crate) fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

/// A key that lies in `partition`.
fn key_in(partition: u32) -> String {
    (0..).map(|n| format!("key-{n}")).find(|k| partition_of(k.as_bytes(), PARTITIONS) == partition).unwrap()
}

fn every(topic: &str) -> Vec<(TopicPartition, u64)> {
    (0..PARTITIONS).map(|p| (at(topic, p), 0)).collect()
}

/// Reads exactly `count` records.
pub(crate) async fn read(reader: &mut Box<dyn LogReader>, count: usize) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while records.len() < count {
        assert!(std::time::Instant::now() < deadline, "{} of {count} records came", records.len());
        records.extend(reader.next(count - records.len(), usize::MAX, Duration::from_secs(1)).await.unwrap());
    }
    records
}

fn payloads(records: &[StoredRecord]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.payload.to_vec()).unwrap()).collect()
}

async fn made(place: &dyn Place) -> Arc<dyn Log> {
    let log = place.open(PARTITIONS).await.unwrap();
    log.create_topic("t", TopicKind::Stream).await.unwrap();
    log
}

pub(crate) async fn records_of_a_partition_come_in_the_order_of_appending(place: &dyn Place) {
    let log = made(place).await;
    for batch in 0..10 {
        let records = (0..500).map(|n| record(&format!("case-{}", n % 23), format!("{}", batch * 500 + n))).collect();
        log.append("t", records).await.unwrap();
    }
    let mut reader = log.reader(every("t")).await.unwrap();
    let mut seen: BTreeMap<u32, (u64, i64)> = BTreeMap::new();
    for stored in read(&mut reader, 5_000).await {
        let number: i64 = std::str::from_utf8(&stored.payload).unwrap().parse().unwrap();
        let (offset, last) = seen.entry(stored.at.partition).or_insert((0, -1));
        assert_eq!(stored.offset, *offset, "offsets are given without gaps");
        assert!(number > *last, "{number} came after {last}");
        (*offset, *last) = (stored.offset + 1, number);
    }
    assert!(reader.next(1, 1, MOMENT).await.unwrap().is_empty());
    for partition in 0..PARTITIONS {
        let bounds = log.bounds(&at("t", partition)).await.unwrap();
        assert_eq!((bounds.first, bounds.next), (0, seen.get(&partition).map_or(0, |s| s.0)));
    }
}

pub(crate) async fn content_and_headers_come_back_unchanged(place: &dyn Place) {
    let log = made(place).await;
    let binary: Vec<u8> = (0..=255).collect();
    let header = |name: &str, value: &[u8]| (name.to_owned(), Bytes::copy_from_slice(value));
    let sent = vec![
        NewRecord { key: Bytes::new(), headers: vec![], payload: Bytes::new() },
        NewRecord {
            key: binary.clone().into(),
            headers: vec![
                header("ce_id", b"1"),
                header("again", b"first"),
                header("binary", &binary),
                header("again", b"second"),
                header("empty", b""),
                header("again", b"second"),
                header("қазақша", "мән".as_bytes()),
            ],
            payload: binary.repeat(100).into(),
        },
        NewRecord {
            key: binary.into(),
            headers: vec![header("again", b"second"), header("ce_id", b"1"), header("empty", b"")],
            payload: Bytes::from_static(b"\0\xff\xfe"),
        },
    ];
    log.append("t", sent.clone()).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    let mut came = read(&mut reader, sent.len()).await;
    for new in &sent {
        let index = came.iter().position(|r| r.key == new.key).unwrap();
        let stored = came.remove(index);
        assert_eq!(stored.headers, new.headers);
        assert_eq!(stored.payload, new.payload);
    }
}

pub(crate) async fn a_key_lies_in_the_partition_of_the_shared_rule(place: &dyn Place) {
    let log = made(place).await;
    assert_eq!(log.partitions(), PARTITIONS);
    log.append("t", (0..100).map(|n| record(&format!("109:{n}"), "x")).collect()).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    let mut used = std::collections::BTreeSet::new();
    for stored in read(&mut reader, 100).await {
        assert_eq!(stored.at.partition, partition_of(&stored.key, PARTITIONS));
        used.insert(stored.at.partition);
    }
    assert_eq!(used.len() as u32, PARTITIONS);
}

pub(crate) async fn stamps_are_sane_and_read_the_same_again(place: &dyn Place) {
    let log = made(place).await;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let before = now();
    for n in 0..20 {
        log.append("t", vec![record("k", n.to_string()), record("l", n.to_string())]).await.unwrap();
    }
    let after = now();
    let mut reader = log.reader(every("t")).await.unwrap();
    let first = read(&mut reader, 40).await;
    let mut newest: BTreeMap<u32, i64> = BTreeMap::new();
    for stored in &first {
        assert!(
            (before..=after).contains(&stored.appended_at_ms),
            "{} is not a time of this test",
            stored.appended_at_ms
        );
        let last = newest.insert(stored.at.partition, stored.appended_at_ms);
        assert!(last.is_none_or(|last| last <= stored.appended_at_ms), "stamps of a partition went back");
    }
    drop((reader, log));
    let log = place.open(PARTITIONS).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    let by_place = |mut records: Vec<StoredRecord>| {
        records.sort_by_key(|r| (r.at.clone(), r.offset));
        records
    };
    assert_eq!(by_place(first), by_place(read(&mut reader, 40).await));
}

pub(crate) async fn a_reader_starts_at_any_offset(place: &dyn Place) {
    let log = made(place).await;
    let key = key_in(2);
    // Several appends, some over a page long, so that offsets fall inside and between them.
    for start in [0, 10, 2_500] {
        let end = match start {
            0 => 10,
            10 => 2_500,
            _ => 2_600,
        };
        log.append("t", (start..end).map(|n| record(&key, n.to_string())).collect()).await.unwrap();
    }
    for from in [0, 1, 9, 10, 999, 1_010, 2_499, 2_500, 2_599] {
        let mut reader = log.reader(vec![(at("t", 2), from)]).await.unwrap();
        let records = read(&mut reader, 1).await;
        assert_eq!((records[0].offset, payloads(&records)[0].clone()), (from, from.to_string()));
    }
    let mut reader = log.reader(vec![(at("t", 2), 1_234)]).await.unwrap();
    let records = read(&mut reader, 2_600 - 1_234).await;
    assert!(records.iter().map(|r| r.offset).eq(1_234..2_600));
    assert!(reader.next(1, 1, MOMENT).await.unwrap().is_empty());
}

pub(crate) async fn a_reader_may_take_as_little_as_it_likes(place: &dyn Place) {
    let log = made(place).await;
    let key = key_in(0);
    log.append("t", (0..30).map(|n| record(&key, format!("{n:0100}"))).collect()).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    let first = reader.next(7, usize::MAX, PATIENCE).await.unwrap().len();
    assert!((1..=7).contains(&first));
    read(&mut reader, 7 - first).await;
    assert_eq!(reader.next(0, 0, PATIENCE).await.unwrap().len(), 1, "one record comes however small the limit");
    assert_eq!(reader.next(9, 50, PATIENCE).await.unwrap().len(), 1);
    let offsets: Vec<u64> = read(&mut reader, 21).await.iter().map(|r| r.offset).collect();
    assert!(offsets.into_iter().eq(9..30));
}

pub(crate) async fn a_waiting_reader_wakes_for_a_new_record(place: &dyn Place) {
    let log = made(place).await;
    let mut reader = log.reader(every("t")).await.unwrap();
    for n in 0..5 {
        let started = std::time::Instant::now();
        let (came, appended) =
            tokio::join!(reader.next(10, usize::MAX, PATIENCE), log.append("t", vec![record("k", n.to_string())]));
        appended.unwrap();
        assert_eq!(payloads(&came.unwrap()), [n.to_string()]);
        assert!(started.elapsed() < PATIENCE, "the reader slept through the record");
    }
}

pub(crate) async fn an_idle_reader_returns_empty_after_its_wait(place: &dyn Place) {
    let log = made(place).await;
    log.create_topic("other", TopicKind::Stream).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    log.append("other", vec![record("k", "not for this reader")]).await.unwrap();
    let started = std::time::Instant::now();
    assert!(reader.next(10, 10, MOMENT).await.unwrap().is_empty());
    assert!(started.elapsed() >= MOMENT);
}

pub(crate) async fn a_reader_that_is_given_up_on_loses_nothing(place: &dyn Place) {
    let log = made(place).await;
    log.append("t", (0..200).map(|n| record(&format!("k{n}"), n.to_string())).collect()).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    let mut came = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut patience = Duration::ZERO;
    while came.len() < 200 {
        assert!(std::time::Instant::now() < deadline, "{} of 200 records came", came.len());
        // Dropping the future at ever later moments is what `select!` does to a reader.
        if let Ok(records) = tokio::time::timeout(patience, reader.next(3, usize::MAX, MOMENT)).await {
            came.extend(payloads(&records.unwrap()));
        }
        patience += Duration::from_micros(200);
    }
    came.sort_by_key(|p| p.parse::<u32>().unwrap());
    assert!(came.into_iter().eq((0..200).map(|n| n.to_string())));
}

pub(crate) async fn a_position_is_remembered_by_group_and_partition(place: &dyn Place) {
    let log = made(place).await;
    log.append("t", (0..100).map(|n| record(&format!("k{n}"), "x")).collect()).await.unwrap();
    assert_eq!(log.committed("transform", &at("t", 1)).await.unwrap(), None);
    log.commit("transform", &at("t", 1), 3).await.unwrap();
    log.commit("transform", &at("t", 2), 0).await.unwrap();
    log.commit("feeds", &at("t", 1), 9).await.unwrap();
    log.commit("transform", &at("t", 1), 5).await.unwrap();
    drop(log);
    let log = place.open(PARTITIONS).await.unwrap();
    assert_eq!(log.committed("transform", &at("t", 1)).await.unwrap(), Some(5));
    assert_eq!(log.committed("transform", &at("t", 2)).await.unwrap(), Some(0));
    assert_eq!(log.committed("transform", &at("t", 3)).await.unwrap(), None);
    assert_eq!(log.committed("feeds", &at("t", 1)).await.unwrap(), Some(9));
}

pub(crate) async fn a_moment_is_found_by_its_stamp(place: &dyn Place) {
    let log = made(place).await;
    let (key, here) = (key_in(1), at("t", 1));
    assert_eq!(log.first_since(&here, 0).await.unwrap(), 0, "an empty partition ends where it begins");
    let mut reader = log.reader(vec![(here.clone(), 0)]).await.unwrap();
    let mut stamps: Vec<i64> = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    // Until the clock has moved some times.
    while stamps.iter().collect::<std::collections::BTreeSet<_>>().len() < 5 {
        assert!(std::time::Instant::now() < deadline, "the stamps stand still: {stamps:?}");
        log.append("t", vec![record(&key, "a"), record(&key, "b"), record(&key, "c")]).await.unwrap();
        stamps.extend(read(&mut reader, 3).await.iter().map(|r| r.appended_at_ms));
    }
    let expected = |moment| stamps.iter().position(|stamp| *stamp >= moment).unwrap_or(stamps.len()) as u64;
    let (first, last) = (stamps[0], stamps[stamps.len() - 1]);
    let middle = stamps[stamps.len() / 2];
    for moment in [0, first, first + 1, middle - 1, middle, middle + 1, last, last + 1] {
        assert_eq!(log.first_since(&here, moment).await.unwrap(), expected(moment), "{moment} in {stamps:?}");
    }
    let half = expected(middle) + 1;
    log.retain_from(&here, half).await.unwrap();
    assert_eq!(log.first_since(&here, first).await.unwrap(), half, "what is gone is not found");
}

pub(crate) async fn retention_never_delivers_a_record_twice(place: &dyn Place) {
    let log = made(place).await;
    let key = key_in(1);
    let append = |from: u64, to: u64| {
        let records = (from..to).map(|n| record(&key, n.to_string())).collect();
        let log = log.clone();
        async move { log.append("t", records).await.unwrap() }
    };
    append(0, 1_500).await;
    let mut reader = log.reader(vec![(at("t", 1), 0)]).await.unwrap();
    let mut seen: Vec<u64> = read(&mut reader, 700).await.iter().map(|r| r.offset).collect();
    // Up to the reader's place, in the middle of what was one append.
    log.retain_from(&at("t", 1), 700).await.unwrap();
    append(1_500, 1_600).await;
    seen.extend(read(&mut reader, 900).await.iter().map(|r| r.offset));
    assert!(seen.iter().copied().eq(0..1_600));
    assert!(reader.next(1, 1, MOMENT).await.unwrap().is_empty());

    let bounds = log.bounds(&at("t", 1)).await.unwrap();
    assert_eq!((bounds.first, bounds.next), (700, 1_600));
    log.retain_from(&at("t", 1), 10).await.unwrap();
    assert_eq!(log.bounds(&at("t", 1)).await.unwrap().first, 700, "retention does not go back");
    let mut fresh = log.reader(vec![(at("t", 1), 700)]).await.unwrap();
    assert_eq!(read(&mut fresh, 1).await[0].offset, 700);

    // Everything is gone, and offsets go on from where they were.
    log.retain_from(&at("t", 1), 1_600).await.unwrap();
    let bounds = log.bounds(&at("t", 1)).await.unwrap();
    assert_eq!((bounds.first, bounds.next), (1_600, 1_600));
    append(1_600, 1_601).await;
    assert_eq!(read(&mut reader, 1).await[0].offset, 1_600);
    drop((reader, fresh));
    let first_of_others = log.bounds(&at("t", 0)).await.unwrap();
    assert_eq!((first_of_others.first, first_of_others.next), (0, 0));
}

pub(crate) async fn a_reader_behind_retention_is_told(place: &dyn Place) {
    let log = made(place).await;
    let key = key_in(1);
    log.append("t", (0..50).map(|n| record(&key, n.to_string())).collect()).await.unwrap();
    log.retain_from(&at("t", 1), 20).await.unwrap();
    let told = log.reader(vec![(at("t", 0), 0), (at("t", 1), 19)]).await.err();
    assert!(
        matches!(&told, Some(LogError::FellBehind { topic, partition: 1, asked: 19, first: 20 }) if topic == "t"),
        "{told:?}"
    );

    // One that retention overtakes. What a client had already fetched may still come.
    let mut late = log.reader(vec![(at("t", 1), 20)]).await.unwrap();
    log.append("t", (50..60).map(|n| record(&key, n.to_string())).collect()).await.unwrap();
    log.retain_from(&at("t", 1), 55).await.unwrap();
    let mut next = 20;
    let deadline = std::time::Instant::now() + PATIENCE;
    while next < 60 {
        assert!(std::time::Instant::now() < deadline, "nothing was said of the records from {next} on");
        match late.next(100, usize::MAX, MOMENT).await {
            Ok(records) => {
                for stored in records {
                    assert_eq!(stored.offset, next, "a record was skipped in silence");
                    next += 1;
                }
            }
            Err(LogError::FellBehind { partition: 1, asked, first: 55, .. }) if asked == next => {
                let again = late.next(100, usize::MAX, MOMENT).await;
                assert!(matches!(again, Err(LogError::FellBehind { .. })), "it is told as often as asked: {again:?}");
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn a_reader_past_the_end_is_told(place: &dyn Place) {
    let log = made(place).await;
    let key = key_in(1);
    log.append("t", vec![record(&key, "only")]).await.unwrap();
    drop(log.reader(vec![(at("t", 1), 1)]).await.unwrap());
    let told = log.reader(vec![(at("t", 1), 2)]).await.err();
    assert!(matches!(&told, Some(LogError::Broken { what, .. }) if what.contains("t/1 ends at offset 1")), "{told:?}");
}

pub(crate) async fn a_record_of_8_mb_passes_and_a_larger_one_is_refused(place: &dyn Place) {
    let log = made(place).await;
    // Noise, so that compression does not make it small. An xorshift, seeded.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(MAX_RECORD_BYTES);
    while noise.len() < MAX_RECORD_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    let header = ("name".to_owned(), Bytes::from_static(b"value"));
    noise.truncate(MAX_RECORD_BYTES - 4 - 5 - 3);
    let largest = NewRecord { key: "key".into(), headers: vec![header], payload: noise.into() };
    assert_eq!(largest.size(), MAX_RECORD_BYTES);
    log.append("t", vec![record("key", "before"), largest.clone(), record("key", "after")]).await.unwrap();
    let mut reader = log.reader(every("t")).await.unwrap();
    let came = read(&mut reader, 3).await;
    assert!(came[1].payload == largest.payload && came[1].headers == largest.headers);
    assert_eq!(came[2].payload, "after");

    let mut larger = largest;
    larger.key = "key!".into();
    let told = log.append("t", vec![record("key", "not this either"), larger]).await.unwrap_err();
    assert!(matches!(&told, LogError::TooLarge { topic, bytes } if topic == "t" && *bytes == MAX_RECORD_BYTES + 1));
    assert!(reader.next(1, 1, MOMENT).await.unwrap().is_empty(), "nothing of a refused call is appended");
}

pub(crate) async fn a_topic_nobody_made_is_unknown(place: &dyn Place) {
    let log = made(place).await;
    let unknown = |told: LogError| assert!(matches!(&told, LogError::UnknownTopic(name) if name == "nobody"), "{told}");
    unknown(log.append("nobody", vec![record("k", "x")]).await.unwrap_err());
    unknown(log.reader(vec![(at("t", 0), 0), (at("nobody", 0), 0)]).await.err().unwrap());
    unknown(log.bounds(&at("nobody", 0)).await.unwrap_err());
    unknown(log.commit("g", &at("nobody", 0), 1).await.unwrap_err());
    unknown(log.committed("g", &at("nobody", 0)).await.unwrap_err());
    unknown(log.retain_from(&at("nobody", 0), 1).await.unwrap_err());
    assert_eq!(log.topics().await.unwrap(), ["t"]);
    assert!(matches!(log.bounds(&at("t", PARTITIONS)).await, Err(LogError::Broken { .. })));
    assert!(matches!(log.create_topic("no spaces", TopicKind::Stream).await, Err(LogError::Broken { .. })));
}

pub(crate) async fn concurrent_appends_all_arrive_in_their_own_order(place: &dyn Place) {
    let log = made(place).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let log = log.clone();
        writers.spawn(async move {
            for n in 0..25 {
                let records =
                    (0..4).map(|m| record(&format!("w{writer}"), format!("{writer} {}", n * 4 + m))).collect();
                log.append("t", records).await.unwrap();
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let mut reader = log.reader(every("t")).await.unwrap();
    let mut next = [0_u32; 8];
    for payload in payloads(&read(&mut reader, 800).await) {
        let (writer, n) = payload.split_once(' ').unwrap();
        let next = &mut next[writer.parse::<usize>().unwrap()];
        assert_eq!(n.parse::<u32>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!(next, [100; 8]);
}

pub(crate) async fn making_a_topic_again_changes_nothing(place: &dyn Place) {
    let log = made(place).await;
    log.append("t", vec![record("k", "kept")]).await.unwrap();
    log.create_topic("t", TopicKind::Stream).await.unwrap();
    log.create_topic("feed.cases", TopicKind::Compacted).await.unwrap();
    log.create_topic("feed.cases", TopicKind::Compacted).await.unwrap();
    let both =
        tokio::join!(log.create_topic("raw.both", TopicKind::Stream), log.create_topic("raw.both", TopicKind::Stream));
    both.0.unwrap();
    both.1.unwrap();
    assert_eq!(log.topics().await.unwrap(), ["feed.cases", "raw.both", "t"]);
    for topic in ["feed.cases", "raw.both"] {
        log.append(topic, vec![record("k", topic)]).await.unwrap();
        let mut reader = log.reader(every(topic)).await.unwrap();
        assert_eq!(payloads(&read(&mut reader, 1).await), [topic]);
    }
    // Retention works on either kind.
    let partition = partition_of(b"k", PARTITIONS);
    log.retain_from(&at("feed.cases", partition), 1).await.unwrap();
    assert_eq!(log.bounds(&at("feed.cases", partition)).await.unwrap().first, 1);
    let mut reader = log.reader(every("t")).await.unwrap();
    assert_eq!(payloads(&read(&mut reader, 1).await), ["kept"]);
}

pub(crate) async fn another_number_of_partitions_is_refused(place: &dyn Place) {
    drop(made(place).await);
    let told = match place.open(PARTITIONS + 1).await {
        Ok(log) => log.create_topic("t", TopicKind::Stream).await.err(),
        Err(told) => Some(told),
    };
    let text = match told {
        Some(LogError::Broken { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert!(text.contains("4 partitions") && text.contains('5'), "{text}");
    place.open(PARTITIONS).await.unwrap();
}
