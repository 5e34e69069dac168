//! The guest's side of the socket: a log whose work the owner does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_schemas::log::{Bounds, TopicKind};
use ahual_schemas::{Log, LogError, LogReader, NewRecord, TopicPartition};
use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::wire::{self, Answer, Ask, Record};
use super::{SOCKET, address};
use crate::log::embedded::FILE;
use crate::log::{FOLDER, rules};

/// An append is cut into messages of about this many bytes.
const APPEND_BYTES: usize = 16 << 20;
/// What a record and each of its headers cost at most beside their bytes.
const FRAME_BYTES: usize = 16;

/// The embedded log of another process.
struct GuestLog {
    folder: PathBuf,
    partitions: u32,
    /// None after a call that was given up on: where it broke off nobody can go on.
    line: Mutex<Option<UnixStream>>,
}

/// Joins the process that owns the embedded log under `data_dir` and shares it.
///
/// The log that is given back appends, makes topics, and tells bounds and committed
/// positions; the rest is the owner's and refused. Errors: [`LogError::Owned`] where
/// nobody listens (the owner does not share the log, or is just starting),
/// [`LogError::Broken`] where it is another version or has other partitions.
pub async fn join(data_dir: &Path, partitions: u32) -> Result<Arc<dyn Log>, LogError> {
    rules::check_partitions(partitions)?;
    let folder = data_dir.join(FOLDER);
    let line = dial(&folder, partitions).await?;
    Ok(Arc::new(GuestLog { folder, partitions, line: Mutex::new(Some(line)) }))
}

async fn dial(folder: &Path, partitions: u32) -> Result<UnixStream, LogError> {
    let owned = || LogError::Owned { file: folder.join(FILE).display().to_string() };
    let gone = |e| gone(folder, e);
    let (address, _kept) = address(folder).map_err(gone)?;
    let mut line = match UnixStream::connect(address).await {
        Ok(line) => line,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(owned());
        }
        Err(e) => return Err(gone(e)),
    };
    let greeting = async {
        wire::greet(&mut line, None).await?;
        let version = wire::greeted(&mut line).await?;
        let theirs = if version == wire::VERSION { Some(line.read_u32().await?) } else { None };
        Ok((version, theirs))
    };
    let greeted = tokio::time::timeout(wire::GREETING_TIME, greeting).await;
    let (version, theirs) = greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(gone)?;
    match theirs {
        None => Err(LogError::Broken {
            what: format!(
                "the process that owns the embedded log speaks version {version} of its socket, this one version {}; \
                 use the same ahual for both",
                wire::VERSION
            ),
            source: None,
        }),
        Some(theirs) if theirs != partitions => Err(LogError::Broken {
            what: format!(
                "the embedded log has {theirs} partitions and the configuration says {partitions}; the number is fixed \
                 once per deployment, set it back to {theirs}"
            ),
            source: None,
        }),
        Some(_) => Ok(line),
    }
}

fn gone(folder: &Path, source: io::Error) -> LogError {
    LogError::Gone { socket: folder.join(SOCKET).display().to_string(), source }
}

fn owners_only(what: &str) -> LogError {
    LogError::Broken { what: format!("{what} is for the process that owns the embedded log alone"), source: None }
}

impl GuestLog {
    async fn ask(&self, ask: &Ask) -> Result<Answer, LogError> {
        let mut place = self.line.lock().await;
        // Taken out, so that a call given up on halfway leaves no half-used line.
        let mut line = match place.take() {
            Some(line) => line,
            None => dial(&self.folder, self.partitions).await?,
        };
        let exchange = async {
            wire::send(&mut line, ask).await?;
            wire::receive::<Answer>(&mut line).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        let answer = exchange.await.map_err(|e| gone(&self.folder, e))?;
        *place = Some(line);
        match answer {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    async fn done(&self, ask: Ask) -> Result<(), LogError> {
        match self.ask(&ask).await? {
            Answer::Done => Ok(()),
            other => Err(self.nonsense(&other)),
        }
    }

    fn nonsense(&self, answer: &Answer) -> LogError {
        gone(&self.folder, io::Error::new(io::ErrorKind::InvalidData, format!("it answered {answer:?}")))
    }
}

#[async_trait]
impl Log for GuestLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    async fn create_topic(&self, topic: &str, kind: TopicKind) -> Result<(), LogError> {
        self.done(Ask::create_topic(topic, kind)).await
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        Err(owners_only("the list of topics"))
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<(), LogError> {
        rules::check_records(topic, &records)?;
        let mut message: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for record in &records {
            let size = record.size() + FRAME_BYTES * (2 + record.headers.len());
            if bytes + size > APPEND_BYTES && !message.is_empty() {
                let records = std::mem::take(&mut message);
                self.done(Ask::Append { topic: topic.to_owned(), records }).await?;
                bytes = 0;
            }
            bytes += size;
            message.push(record.into());
        }
        // Asked even for nothing, so that an unknown topic is told.
        self.done(Ask::Append { topic: topic.to_owned(), records: message }).await
    }

    async fn reader(&self, _: Vec<(TopicPartition, u64)>) -> Result<Box<dyn LogReader>, LogError> {
        Err(owners_only("reading"))
    }

    async fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        match self.ask(&Ask::Bounds { topic: at.topic.clone(), partition: at.partition }).await? {
            Answer::Bounds { first, next } => Ok(Bounds { first, next }),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn commit(&self, _: &str, _: &TopicPartition, _: u64) -> Result<(), LogError> {
        Err(owners_only("committing a position"))
    }

    async fn committed(&self, group: &str, at: &TopicPartition) -> Result<Option<u64>, LogError> {
        let (group, topic) = (group.to_owned(), at.topic.clone());
        match self.ask(&Ask::Committed { group, topic, partition: at.partition }).await? {
            Answer::Committed(position) => Ok(position),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn retain_from(&self, _: &TopicPartition, _: u64) -> Result<(), LogError> {
        Err(owners_only("removing records"))
    }
}
