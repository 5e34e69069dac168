#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::log::{MAX_RECORD_BYTES, TopicKind, partition_of};
use ahual_schemas::{Log, LogError, NewRecord, StoredRecord, TopicPartition};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::log::{EmbeddedLog, FOLDER};

const PARTITIONS: u32 = 4;

/// A log and its owner's socket.
struct Owner {
    data: tempfile::TempDir,
    log: Arc<dyn Log>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Owner {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&data.path().join(FOLDER), PARTITIONS).unwrap());
        let stop = CancellationToken::new();
        let task = share(Arc::clone(&log), data.path(), stop.clone()).unwrap();
        Self { data, log, stop, task }
    }

    async fn guest(&self) -> Arc<dyn Log> {
        let guest = join(self.data.path(), PARTITIONS).await.unwrap();
        guest.create_topic("t", TopicKind::Stream).await.unwrap();
        guest
    }

    async fn read(&self, count: usize) -> Vec<StoredRecord> {
        let from = (0..PARTITIONS).map(|partition| (at(partition), 0)).collect();
        let mut reader = self.log.reader(from).await.unwrap();
        let mut records = Vec::new();
        while records.len() < count {
            let more = reader.next(count, usize::MAX, Duration::from_secs(20)).await.unwrap();
            assert!(!more.is_empty(), "{} of {count} records came", records.len());
            records.extend(more);
        }
        records
    }
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), partition }
}

fn record(key: &str, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: Bytes::copy_from_slice(key.as_bytes()), headers: vec![], payload: payload.into() }
}

#[tokio::test]
async fn what_a_guest_appends_is_in_the_owners_log_unchanged_and_in_order() {
    let owner = Owner::new();
    let guest = owner.guest().await;
    let binary: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let headers = vec![("ce_id".to_owned(), binary.clone()), ("ce_id".to_owned(), Bytes::new())];
    let strange = NewRecord { key: binary.clone(), headers, payload: binary };
    let mut sent = vec![strange, record("", "")];
    sent.extend((0..3_000).map(|n| record("k", n.to_string())));
    guest.append("t", sent.clone()).await.unwrap();
    for new in sent {
        let partition = partition_of(&new.key, PARTITIONS);
        assert!(guest.bounds(&at(partition)).await.unwrap().next > 0);
    }
    let came = owner.read(3_002).await;
    let binary = came.iter().find(|r| r.headers.len() == 2).unwrap();
    assert_eq!((binary.key.len(), binary.payload.len(), binary.headers[0].1.len()), (256, 256, 256));
    let numbers = came.iter().filter(|r| r.key == "k").map(|r| std::str::from_utf8(&r.payload).unwrap().to_owned());
    assert!(numbers.eq((0..3_000).map(|n| n.to_string())));
}

#[tokio::test]
async fn records_of_8_mb_pass_in_many_messages_and_a_larger_one_refuses_the_call() {
    let owner = Owner::new();
    let guest = owner.guest().await;
    let largest = record("key", vec![7_u8; MAX_RECORD_BYTES - 3]);
    guest.append("t", vec![largest.clone(); 4]).await.unwrap();
    let partition = partition_of(b"key", PARTITIONS);
    assert_eq!(guest.bounds(&at(partition)).await.unwrap().next, 4);
    let told = guest.append("t", vec![record("key", "b"), record("longer", largest.payload)]).await.unwrap_err();
    assert!(matches!(told, LogError::TooLarge { .. }), "{told}");
    assert_eq!(guest.bounds(&at(partition)).await.unwrap().next, 4, "nothing of a refused call is appended");
}

#[tokio::test]
async fn a_guest_sees_positions_and_refusals_as_the_owner_has_them() {
    let owner = Owner::new();
    let guest = owner.guest().await;
    assert_eq!(guest.committed("transform", &at(1)).await.unwrap(), None);
    owner.log.commit("transform", &at(1), 7).await.unwrap();
    assert_eq!(guest.committed("transform", &at(1)).await.unwrap(), Some(7));
    let unknown = guest.append("nobody", vec![]).await.unwrap_err();
    assert!(matches!(&unknown, LogError::UnknownTopic(topic) if topic == "nobody"), "{unknown}");
    for refused in [
        guest.commit("transform", &at(1), 9).await.unwrap_err(),
        guest.retain_from(&at(1), 1).await.unwrap_err(),
        guest.bounds(&at(PARTITIONS)).await.unwrap_err(),
    ] {
        assert!(matches!(refused, LogError::Broken { .. }), "{refused}");
    }
    assert_eq!(guest.committed("transform", &at(1)).await.unwrap(), Some(7), "a guest moves nothing");
}

#[tokio::test]
async fn only_the_owners_user_may_connect_and_a_stopped_owner_leaves_no_socket() {
    let owner = Owner::new();
    let socket = owner.data.path().join(FOLDER).join(SOCKET);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let guest = owner.guest().await;
    owner.stop.cancel();
    owner.task.await.unwrap();
    assert!(!socket.exists());
    let told = guest.append("t", vec![record("k", "v")]).await.unwrap_err();
    assert!(matches!(told, LogError::Gone { .. }), "{told}");
    let told = join(owner.data.path(), PARTITIONS).await.err().unwrap();
    assert!(matches!(told, LogError::Owned { .. }), "{told}");
}

#[tokio::test]
async fn a_socket_left_by_a_killed_owner_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join(FOLDER);
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&folder, PARTITIONS).unwrap());
    // A listener that is dropped leaves its socket behind, as a killed process does.
    drop(UnixListener::bind(folder.join(SOCKET)).unwrap());
    let task = share(log, data.path(), CancellationToken::new()).unwrap();
    join(data.path(), PARTITIONS).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_reached_all_the_same() {
    let data = tempfile::tempdir().unwrap();
    let long = data.path().join("d".repeat(120));
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&long.join(FOLDER), PARTITIONS).unwrap());
    let task = share(log, &long, CancellationToken::new()).unwrap();
    let guest = join(&long, PARTITIONS).await.unwrap();
    guest.create_topic("t", TopicKind::Stream).await.unwrap();
    assert!(long.join(FOLDER).join(SOCKET).exists());
    task.abort();
}

#[tokio::test]
async fn other_partitions_and_another_version_are_told_from_each_other() {
    let owner = Owner::new();
    let told = join(owner.data.path(), PARTITIONS + 1).await.err().unwrap().to_string();
    assert!(told.contains("4 partitions") && told.contains('5'), "{told}");

    // An owner of the next version.
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join(FOLDER)).unwrap();
    let listener = UnixListener::bind(data.path().join(FOLDER).join(SOCKET)).unwrap();
    let next = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"AHUALLOG").await.unwrap();
        stream.write_u16(wire::VERSION + 1).await.unwrap();
        let mut greeting = [0; 10];
        stream.read_exact(&mut greeting).await.unwrap();
        greeting
    });
    let told = join(data.path(), PARTITIONS).await.err().unwrap().to_string();
    assert!(told.contains(&format!("version {}", wire::VERSION + 1)) && told.contains("same ahual"), "{told}");
    assert_eq!(next.await.unwrap()[..8], *b"AHUALLOG");
}

#[tokio::test]
async fn nonsense_and_claims_end_a_line_and_not_the_owner() {
    let owner = Owner::new();
    let socket = owner.data.path().join(FOLDER).join(SOCKET);
    let greeting = [b"AHUALLOG".as_slice(), &wire::VERSION.to_be_bytes()].concat();
    for said in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [greeting.clone(), u32::MAX.to_be_bytes().to_vec()].concat(),
        [greeting.clone(), vec![0, 0, 0, 1, 99]].concat(),
    ] {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(&said).await.unwrap();
        // The owner hangs up; whether with what we had not read yet or without does not matter.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    owner.guest().await.append("t", vec![record("k", "v")]).await.unwrap();
    assert_eq!(owner.read(1).await.len(), 1);
}

#[tokio::test]
async fn a_call_given_up_on_halfway_does_not_answer_the_next() {
    let slow = Slow { released: tokio::sync::Semaphore::new(0) };
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join(FOLDER)).unwrap();
    let slow = Arc::new(slow);
    let task = share(Arc::clone(&slow) as Arc<dyn Log>, data.path(), CancellationToken::new()).unwrap();
    let guest = join(data.path(), PARTITIONS).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(50), guest.create_topic("t", TopicKind::Stream)).await;
    assert!(given_up.is_err());
    slow.released.add_permits(10);
    assert_eq!(guest.bounds(&at(3)).await.unwrap().next, 3, "the answer is the one to this question");
    task.abort();
}

/// A log that takes its time to make a topic.
struct Slow {
    released: tokio::sync::Semaphore,
}

#[async_trait]
impl Log for Slow {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }
    async fn create_topic(&self, _: &str, _: TopicKind) -> Result<(), LogError> {
        drop(self.released.acquire().await);
        Ok(())
    }
    async fn topics(&self) -> Result<Vec<String>, LogError> {
        Ok(vec![])
    }
    async fn append(&self, _: &str, _: Vec<NewRecord>) -> Result<(), LogError> {
        Ok(())
    }
    async fn reader(&self, _: Vec<(TopicPartition, u64)>) -> Result<Box<dyn ahual_schemas::LogReader>, LogError> {
        Err(LogError::UnknownTopic("t".to_owned()))
    }
    async fn bounds(&self, at: &TopicPartition) -> Result<ahual_schemas::log::Bounds, LogError> {
        Ok(ahual_schemas::log::Bounds { first: 0, next: at.partition.into() })
    }
    async fn commit(&self, _: &str, _: &TopicPartition, _: u64) -> Result<(), LogError> {
        Ok(())
    }
    async fn committed(&self, _: &str, _: &TopicPartition) -> Result<Option<u64>, LogError> {
        Ok(None)
    }
    async fn retain_from(&self, _: &TopicPartition, _: u64) -> Result<(), LogError> {
        Ok(())
    }
}
