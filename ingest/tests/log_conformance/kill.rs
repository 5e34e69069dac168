//! What was acknowledged is still there after `kill -9`.
//!
//! A child process (this test binary, run again) appends and commits, and says what
//! was acknowledged. It is killed at a seeded moment. What it said must be there;
//! what it had not said may be, whole and in order. Then the next child goes on.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use ahual_schemas::log::{TopicKind, partition_of};
use ahual_schemas::{NewRecord, StoredRecord};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{PARTITIONS, PATIENCE, Place, at};

/// Names the log to a child; absent in the test process itself.
const ADDRESS: &str = "AHUAL_TEST_LOG_ADDRESS";
const SEED: u64 = 20_261_122;
const ROUNDS: u64 = 8;
const GROUP: &str = "transform";

/// The record of sequence number `n`: content can be told from the number alone.
fn numbered(n: u64) -> NewRecord {
    let key = format!("case-{}", n % 11);
    let size = (n.wrapping_mul(7_919) % 5_000) as usize;
    let payload = [n.to_string().as_bytes(), b":", &vec![n as u8; size]].concat();
    let headers = vec![("ce_source".to_owned(), "door".into()), ("n".to_owned(), n.to_string().into())];
    NewRecord { key: key.into(), headers, payload: payload.into() }
}

fn number(stored: &StoredRecord) -> u64 {
    stored.header("n").unwrap().parse().unwrap()
}

/// The child's part; does nothing in the test process itself. `open` makes a place of an address.
pub(crate) async fn child_writes_until_killed<P: Place>(open: impl AsyncFn(&str) -> P) {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let log = open(&address).await.open(PARTITIONS).await.unwrap();
    log.create_topic("t", TopicKind::Stream).await.unwrap();
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(log.bounds(&at("t", partition)).await.unwrap().next);
    }
    // Above every number used before, acknowledged or not.
    let mut next = std::env::var("AHUAL_TEST_LOG_NEXT").unwrap().parse::<u64>().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    for round in 0_u64.. {
        let batch: Vec<_> = (next..next + 1 + round % 40).map(numbered).collect();
        next += batch.len() as u64;
        for record in &batch {
            ends[partition_of(&record.key, PARTITIONS) as usize] += 1;
        }
        log.append("t", batch).await.unwrap();
        writeln!(out, "appended {next}").unwrap();
        if round % 3 == 2 {
            let partition = (round % u64::from(PARTITIONS)) as u32;
            let end = ends[partition as usize];
            log.commit(GROUP, &at("t", partition), end).await.unwrap();
            writeln!(out, "committed {partition} {end}").unwrap();
        }
    }
}

pub(crate) async fn acknowledged_work_survives_kill(place: &dyn Place) {
    // A xorshift, so that a failure can be run again.
    let mut state = SEED;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut appended = 0_u64;
    // First number of each child, and the number after the last it was told is durable.
    let mut started: Vec<(u64, u64)> = Vec::new();
    let mut committed: BTreeMap<u32, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let first = round * 100_000;
        started.push((first, first));
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writer", "--nocapture"])
            .env(ADDRESS, place.address())
            .env("AHUAL_TEST_LOG_NEXT", first.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        let enough = random(60) as usize;
        let moment = Duration::from_micros(random(8_000));
        let mut ready = false;
        while acknowledged.len() < enough || !ready {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the child is silent").unwrap();
            let line = line.expect("the child ended by itself");
            if ready {
                acknowledged.push(line);
            } else {
                ready = line == "ready";
            }
        }
        // Not to wait for anything: to fall into the midst of a write.
        tokio::time::sleep(moment).await;
        child.start_kill().unwrap();
        while let Some(line) = lines.next_line().await.unwrap() {
            acknowledged.push(line);
        }
        assert!(!child.wait().await.unwrap().success());
        for line in &acknowledged {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["appended", next] => appended = next.parse().unwrap(),
                ["committed", partition, next] => {
                    committed.insert(partition.parse().unwrap(), next.parse().unwrap());
                }
                // The kill cut the line: it was being said, so it counts for nothing.
                _ => {}
            }
        }
        started.last_mut().unwrap().1 = appended.max(first);
        check(place, &started, &committed, &format!("round {round} of seed {SEED}, killed after {moment:?}")).await;
    }
    assert!(appended > 0 && !committed.is_empty());
}

async fn check(place: &dyn Place, started: &[(u64, u64)], committed: &BTreeMap<u32, u64>, told: &str) {
    let log = place.open(PARTITIONS).await.unwrap();
    log.create_topic("t", TopicKind::Stream).await.unwrap();
    let mut found: BTreeMap<u64, ()> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let bounds = log.bounds(&at("t", partition)).await.unwrap();
        assert_eq!(bounds.first, 0);
        let mut reader = log.reader(vec![(at("t", partition), 0)]).await.unwrap();
        let mut last = None;
        for (offset, stored) in super::read(&mut reader, bounds.next as usize).await.into_iter().enumerate() {
            let n = number(&stored);
            let new = numbered(n);
            assert_eq!(stored.offset, offset as u64, "{told}");
            assert_eq!(
                (&stored.key, &stored.headers, &stored.payload),
                (&new.key, &new.headers, &new.payload),
                "{told}"
            );
            assert!(last < Some(n), "{n} after {last:?}: {told}");
            assert!(found.insert(n, ()).is_none(), "{n} twice: {told}");
            last = Some(n);
        }
        let position = log.committed(GROUP, &at("t", partition)).await.unwrap();
        let said = committed.get(&partition).copied();
        assert!(position >= said, "{partition} committed {said:?}, found {position:?}: {told}");
        assert!(position <= Some(bounds.next), "{told}");
    }
    for (first, acknowledged) in started {
        for n in *first..*acknowledged {
            assert!(found.contains_key(&n), "{n} was acknowledged and is not there: {told}");
        }
    }
}
