//! What both logs refuse alike, so that one can take the other's place.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use ahual_schemas::log::MAX_RECORD_BYTES;
use ahual_schemas::{LogError, NewRecord, TopicPartition};

/// The longest topic name Kafka takes.
const TOPIC_CHARS: usize = 249;

/// The machine's clock.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|passed| i64::try_from(passed.as_millis()).ok())
        .unwrap_or(0)
}

/// Refuses a deployment without partitions.
pub(super) fn check_partitions(partitions: u32) -> Result<(), LogError> {
    if partitions == 0 || i32::try_from(partitions).is_err() {
        return Err(refuse(format!("a log of {partitions} partitions cannot be; 16 is a good number")));
    }
    Ok(())
}

/// Refuses names that Kafka would not take.
pub(super) fn check_topic(topic: &str) -> Result<(), LogError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > TOPIC_CHARS || topic == "." || topic == ".." || !topic.chars().all(legal) {
        return Err(refuse(format!(
            "'{topic}' cannot name a topic: use up to {TOPIC_CHARS} of the letters a-z, A-Z, digits, '.', '_' and '-'"
        )));
    }
    Ok(())
}

/// Refuses a partition that no topic has.
pub(super) fn check_partition(at: &TopicPartition, partitions: u32) -> Result<(), LogError> {
    if at.partition >= partitions {
        return Err(refuse(format!(
            "{}/{} does not exist: topics have {partitions} partitions",
            at.topic, at.partition
        )));
    }
    Ok(())
}

/// Refuses a reader that names a partition twice.
pub(super) fn check_once(from: &[(TopicPartition, u64)]) -> Result<(), LogError> {
    let mut seen = HashSet::new();
    for (at, _) in from {
        if !seen.insert(at) {
            return Err(refuse(format!("a reader names {}/{} twice", at.topic, at.partition)));
        }
    }
    Ok(())
}

/// Refuses records that either log could not give back unchanged.
pub(super) fn check_records(topic: &str, records: &[NewRecord]) -> Result<(), LogError> {
    for record in records {
        let bytes = record.size();
        if bytes > MAX_RECORD_BYTES {
            return Err(LogError::TooLarge { topic: topic.to_owned(), bytes });
        }
        if let Some((name, _)) = record.headers.iter().find(|(name, _)| name.contains('\0')) {
            return Err(refuse(format!("a record for {topic} has a header name with a zero byte: {name:?}")));
        }
    }
    Ok(())
}

fn refuse(what: String) -> LogError {
    LogError::Broken { what, source: None }
}
