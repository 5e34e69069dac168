//! The owner's side of the socket.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::log::TopicKind;
use ahual_schemas::{Log, LogError, NewRecord, TopicPartition};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::wire::{self, Answer, Ask};
use super::{SOCKET, address};
use crate::log::FOLDER;

/// Guests that may wait to be attended.
const BACKLOG: u32 = 64;
/// A moment for file descriptors to come free.
const BREATH: Duration = Duration::from_millis(200);

/// Lets other processes of this user append to `log`, the embedded log under `data_dir`
/// that this process owns, until `stop`; what is under way then is finished first. The
/// task holds the log until it ends.
pub fn share(log: Arc<dyn Log>, data_dir: &Path, stop: CancellationToken) -> Result<JoinHandle<()>, LogError> {
    let folder = data_dir.join(FOLDER);
    let listener = listen(&folder)
        .map_err(|e| LogError::Unavailable { doing: "open its socket for other commands", source: Box::new(e) })?;
    Ok(tokio::spawn(accept(listener, folder.join(SOCKET), log, stop)))
}

fn listen(folder: &Path) -> io::Result<UnixListener> {
    let path = folder.join(SOCKET);
    // Left by an owner that was killed: the log is ours, so nobody listens there.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (address, _kept) = address(folder)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(address)?;
    // Before anyone can connect.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: UnixListener, path: PathBuf, log: Arc<dyn Log>, stop: CancellationToken) {
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = guests.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (log, stop) = (Arc::clone(&log), stop.clone());
                    guests.spawn(async move {
                        if let Err(error) = attend(stream, log.as_ref(), &stop).await {
                            tracing::warn!(%error, "a command that used the log's socket broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the log's socket takes nobody in");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    drop(listener);
    // Whoever comes now finds no socket rather than a dead one.
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::debug!(%error, "the log's socket was not there any more");
    }
    while guests.join_next().await.is_some() {}
}

async fn attend(mut stream: UnixStream, log: &dyn Log, stop: &CancellationToken) -> io::Result<()> {
    wire::greet(&mut stream, Some(log.partitions())).await?;
    let greeting = tokio::time::timeout(wire::GREETING_TIME, wire::greeted(&mut stream));
    let version = tokio::select! {
        version = greeting => version.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
        () = stop.cancelled() => return Ok(()),
    };
    if version != wire::VERSION {
        return Err(io::Error::other(format!("it speaks version {version}, this process {}", wire::VERSION)));
    }
    loop {
        let ask = tokio::select! {
            ask = wire::receive::<Ask>(&mut stream) => ask?,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(ask) = ask else { return Ok(()) };
        let answer = answer(log, ask).await.unwrap_or_else(|error| Answer::Refused(error.into()));
        wire::send(&mut stream, &answer).await?;
    }
}

async fn answer(log: &dyn Log, ask: Ask) -> Result<Answer, LogError> {
    match ask {
        Ask::CreateTopic { topic, compacted } => {
            let kind = if compacted { TopicKind::Compacted } else { TopicKind::Stream };
            log.create_topic(&topic, kind).await.map(|()| Answer::Done)
        }
        Ask::Append { topic, records } => {
            log.append(&topic, records.into_iter().map(NewRecord::from).collect()).await.map(|()| Answer::Done)
        }
        Ask::Bounds { topic, partition } => log.bounds(&TopicPartition { topic, partition }).await.map(Answer::from),
        Ask::Committed { group, topic, partition } => {
            log.committed(&group, &TopicPartition { topic, partition }).await.map(Answer::Committed)
        }
    }
}
