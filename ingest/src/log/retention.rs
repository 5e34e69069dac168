//! Retention: when the log lets records go.
//!
//! A record goes when it is older than the configuration keeps *and* the lake has it: the
//! events made of it are folded, and their files, folders and commits synced. What is not
//! folded stays, however old, so a transform that stood still for a month finds
//! everything. Bytes of records and dead letters rest in the lake and outlive the log.

use std::time::Duration;

use ahual_schemas::{Log, LogError, TopicPartition};
use serde::{Deserialize, Serialize};

/// `[log.retention]`: how long the log keeps what the lake has.
///
/// ```toml
/// [log.retention]
/// keep_days = 30
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Days a record stays in the log after it was appended, 7 by default. With 0 it goes
    /// as soon as it is folded. A record that is not folded stays, however old.
    pub keep_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { keep_days: 7 }
    }
}

impl RetentionConfig {
    /// How long a record stays.
    pub fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_days) * 86_400)
    }
}

/// Lets records go that lie before their partition's place in `folded` and were appended
/// longer than `keep` before `now_ms`. Returns how many went.
pub async fn retain(
    log: &dyn Log,
    folded: &[(TopicPartition, u64)],
    keep: Duration,
    now_ms: i64,
) -> Result<u64, LogError> {
    let since = before(now_ms, keep);
    let mut gone = 0;
    for (at, place) in folded {
        let first = log.bounds(at).await?.first;
        if *place <= first {
            continue;
        }
        let keep_from = log.first_since(at, since).await?.min(*place);
        if keep_from > first {
            log.retain_from(at, keep_from).await?;
            gone += keep_from - first;
        }
    }
    Ok(gone)
}

/// Partitions that hold records older than half of `broker_keeps` and not yet folded:
/// a broker that removes records by age would soon take what the lake has not got.
pub async fn in_danger(
    log: &dyn Log,
    folded: &[(TopicPartition, u64)],
    broker_keeps: Duration,
    now_ms: i64,
) -> Result<Vec<TopicPartition>, LogError> {
    let mut late = Vec::new();
    for (at, place) in folded {
        if log.first_since(at, before(now_ms, broker_keeps / 2)).await? > *place {
            late.push(at.clone());
        }
    }
    Ok(late)
}

fn before(now_ms: i64, age: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use ahual_schemas::NewRecord;
    use ahual_schemas::log::{Bounds, TopicKind};

    use super::*;
    use crate::log::EmbeddedLog;

    const DAY_MS: i64 = 86_400_000;

    /// A log of one partition with ten records of each of `days`.
    async fn log_of_days(dir: &std::path::Path, days: i64) -> EmbeddedLog {
        let now = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&now);
        let log = EmbeddedLog::open_with_clock(dir, 1, Arc::new(move || clock.load(Ordering::Relaxed))).unwrap();
        log.create_topic("t", TopicKind::Stream).await.unwrap();
        for day in 0..days {
            now.store(day * DAY_MS, Ordering::Relaxed);
            let record = NewRecord { key: "k".into(), headers: vec![], payload: "p".into() };
            log.append("t", vec![record; 10]).await.unwrap();
        }
        log
    }

    fn place(next: u64) -> Vec<(TopicPartition, u64)> {
        vec![(TopicPartition { topic: "t".to_owned(), partition: 0 }, next)]
    }

    #[tokio::test]
    async fn only_what_is_both_old_and_folded_goes() {
        let dir = tempfile::tempdir().unwrap();
        let log = log_of_days(dir.path(), 10).await;
        let keep = RetentionConfig { keep_days: 4 }.keep();
        let now = 9 * DAY_MS;
        for (folded, gone, first) in [
            (0, 0, 0),
            // Folded up to the third day only: the fourth and fifth stay although they are old.
            (25, 25, 25),
            (25, 0, 25),
            // All folded: days 0 to 4 are older than four days, day 5 is just four days old.
            (100, 25, 50),
        ] {
            assert_eq!(retain(&log, &place(folded), keep, now).await.unwrap(), gone, "folded up to {folded}");
            let at = &place(0)[0].0;
            assert_eq!(log.bounds(at).await.unwrap(), Bounds { first, next: 100 });
        }
        assert_eq!(retain(&log, &place(100), Duration::ZERO, now + 1).await.unwrap(), 50, "all that is folded");
    }

    #[tokio::test]
    async fn a_partition_about_to_lose_what_is_not_folded_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let log = log_of_days(dir.path(), 10).await;
        let week = Duration::from_secs(7 * 86_400);
        // Half a week before the end of day 9 is within day 6: records of days up to 5 are late.
        assert_eq!(in_danger(&log, &place(60), week, 9 * DAY_MS).await.unwrap(), []);
        assert_eq!(in_danger(&log, &place(59), week, 9 * DAY_MS).await.unwrap().len(), 1);
    }
}
