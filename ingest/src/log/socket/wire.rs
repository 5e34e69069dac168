//! What owner and guest say to each other.
//!
//! First both send a greeting of fixed form: eight letters and a version, and the owner
//! the number of partitions besides. Where the versions differ both hang up. Then the
//! guest asks and the owner answers, one at a time. Each message is its length (u32, big
//! endian) and that many bytes of postcard.

use std::io;
use std::time::Duration;

use ahual_schemas::log::{Bounds, TopicKind};
use ahual_schemas::{LogError, NewRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Raised with every change of what is said below.
pub(super) const VERSION: u16 = 1;
const LETTERS: [u8; 8] = *b"AHUALLOG";

/// The longest message; guests cut long appends so that theirs stay far below.
pub(super) const MESSAGE_BYTES: u32 = 64 << 20;

/// How long the other side may take to say who it is.
pub(super) const GREETING_TIME: Duration = Duration::from_secs(10);

/// What a guest asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    CreateTopic { topic: String, compacted: bool },
    Append { topic: String, records: Vec<Record> },
    Bounds { topic: String, partition: u32 },
    Committed { group: String, topic: String, partition: u32 },
}

/// What the owner answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Bounds { first: u64, next: u64 },
    Committed(Option<u64>),
    Refused(Refusal),
}

/// Why the owner did not do it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    FellBehind { topic: String, partition: u32, asked: u64, first: u64 },
    TooLarge { topic: String, bytes: u64 },
    UnknownTopic(String),
    Unavailable(String),
    Broken(String),
}

/// A record on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    key: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    payload: Vec<u8>,
}

impl From<&NewRecord> for Record {
    fn from(record: &NewRecord) -> Self {
        Self {
            key: record.key.to_vec(),
            headers: record.headers.iter().map(|(name, value)| (name.clone(), value.to_vec())).collect(),
            payload: record.payload.to_vec(),
        }
    }
}

impl From<Record> for NewRecord {
    fn from(record: Record) -> Self {
        Self {
            key: record.key.into(),
            headers: record.headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            payload: record.payload.into(),
        }
    }
}

impl Ask {
    pub(super) fn create_topic(topic: &str, kind: TopicKind) -> Self {
        Self::CreateTopic { topic: topic.to_owned(), compacted: kind == TopicKind::Compacted }
    }
}

impl From<Bounds> for Answer {
    fn from(bounds: Bounds) -> Self {
        Self::Bounds { first: bounds.first, next: bounds.next }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match error {
            LogError::FellBehind { topic, partition, asked, first } => {
                Self::FellBehind { topic, partition, asked, first }
            }
            LogError::TooLarge { topic, bytes } => Self::TooLarge { topic, bytes: bytes as u64 },
            LogError::UnknownTopic(topic) => Self::UnknownTopic(topic),
            error @ LogError::Unavailable { .. } => Self::Unavailable(chain(&error)),
            error @ (LogError::Owned { .. } | LogError::Gone { .. } | LogError::Broken { .. }) => {
                Self::Broken(chain(&error))
            }
        }
    }
}

impl From<Refusal> for LogError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::FellBehind { topic, partition, asked, first } => {
                Self::FellBehind { topic, partition, asked, first }
            }
            Refusal::TooLarge { topic, bytes } => {
                Self::TooLarge { topic, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
            }
            Refusal::UnknownTopic(topic) => Self::UnknownTopic(topic),
            Refusal::Unavailable(text) => {
                Self::Unavailable { doing: "have the log's owner do it", source: text.into() }
            }
            Refusal::Broken(what) => Self::Broken { what, source: None },
        }
    }
}

/// An error and its causes: a cause does not travel as such.
fn chain(error: &LogError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Says who we are; the owner adds its partitions.
pub(super) async fn greet(out: &mut (impl AsyncWrite + Unpin), partitions: Option<u32>) -> io::Result<()> {
    let mut greeting = LETTERS.to_vec();
    greeting.extend(VERSION.to_be_bytes());
    greeting.extend(partitions.into_iter().flat_map(u32::to_be_bytes));
    out.write_all(&greeting).await?;
    out.flush().await
}

/// The version the other side speaks.
pub(super) async fn greeted(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u16> {
    let mut letters = [0; LETTERS.len()];
    from.read_exact(&mut letters).await?;
    if letters != LETTERS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other side is no ahual"));
    }
    from.read_u16().await
}

/// Sends a message.
pub(super) async fn send(out: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(message, bytes).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|length| *length <= MESSAGE_BYTES);
    let length = length.ok_or_else(|| io::Error::other("a message would be too long"))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    out.write_all(&bytes).await?;
    out.flush().await
}

/// The next message; `None` when the other side has left between two.
pub(super) async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let length = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message claims {length} bytes")));
    }
    // A claim costs no memory; only bytes that came do.
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes).await?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&bytes).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
