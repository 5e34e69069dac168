//! The catalogue over the Postgres wire, for `psql` and whatever speaks its protocol.
//!
//! - Every connection logs in with SCRAM-SHA-256; there is no way around it, and no
//!   address off loopback while the server speaks no TLS.
//! - Every statement sees the newest published epoch, all of it and nothing of a newer
//!   one. A prepared statement is planned again each time it is run.
//! - Nothing can be written: a statement that would is refused with SQLSTATE 25006.
//! - A statement ends when its client cancels it, when its time is over
//!   (`statement_timeout`), or when the server stops and its drain deadline has passed.
//!
//! The database is called `ahual`; schemas are those of the catalogue, beside `pg_catalog`
//! and `information_schema`. `search_path` is honoured as far as its first schema that
//! exists.

mod config;
mod epoch;
mod gate;
mod login;
mod refusal;
mod running;
mod service;

use std::sync::Arc;
use std::time::Duration;

use ahual_transform::reading::Reading;
use futures::{SinkExt, StreamExt};
use pgwire::api::{ClientInfo, NoopHandler, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::{negotiate_tls, process_error, process_message};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use config::{PostgresConfig, PostgresUser};

use crate::error::SinkError;
use crate::serving::{Bound, bind};
use epoch::Epochs;
use login::{Login, Users};
use running::Running;
use service::{Prepared, Service};

const SINK: &str = "sinks.postgres";

/// How long a client may take to log in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What all connections share.
struct Server {
    users: Arc<Users>,
    running: Arc<Running>,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Binds the configured address and serves until `stop`. Then idle connections are closed,
/// statements under way get [`PostgresConfig::drain_seconds`] to finish, and the task
/// returns.
pub async fn serve(
    config: PostgresConfig,
    reading: Arc<dyn Reading>,
    stop: CancellationToken,
) -> Result<Bound, SinkError> {
    let faults = config.validate();
    if !faults.is_empty() {
        return Err(SinkError::Config { sink: SINK, faults });
    }
    let users = Arc::new(Users::new(&config)?);
    let epochs = Epochs::new(reading).map_err(|source| SinkError::Serve { sink: SINK, source: Box::new(source) })?;
    let (listener, address) = bind(SINK, config.listen).await?;
    let running = Running::new(config.statement_timeout());
    let server = Arc::new(Server {
        users,
        service: Arc::new(Service::new(Arc::new(epochs), Arc::clone(&running))),
        running,
        places: Arc::new(Semaphore::new(config.max_connections)),
        stop,
    });
    let drain = Duration::from_secs(config.drain_seconds);
    let task = tokio::spawn(async move {
        accept(listener, server, drain).await;
        Ok(())
    });
    tracing::info!(%address, "Postgres server is up");
    Ok(Bound { address, task })
}

async fn accept(listener: TcpListener, server: Arc<Server>, drain: Duration) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    if let Err(error) = serve_connection(socket, &server).await {
                        tracing::debug!(%from, %error, "a Postgres connection broke off");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, usually: accepting at once again would spin.
                tracing::warn!(%error, "a Postgres connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if timeout(drain, all_gone).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "Postgres statements are cut off: they outlast the drain deadline");
        server.running.overdue.cancel();
        let last_words = async { while connections.join_next().await.is_some() {} };
        if timeout(Duration::from_secs(1), last_words).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Serves one connection. The wire library's own loop is not used: it goes on reading
/// after a login has failed, and cannot be told to stop.
async fn serve_connection(socket: TcpStream, server: &Server) -> Result<(), std::io::Error> {
    let login = Arc::new(Login::new(Arc::clone(&server.users), Arc::clone(&server.running)));
    let deadline = tokio::time::sleep(LOGIN_TIMEOUT);
    tokio::pin!(deadline);
    let negotiated = tokio::select! {
        () = server.stop.cancelled() => None,
        () = &mut deadline => None,
        negotiated = negotiate_tls::<Prepared>(socket, None) => negotiated?,
    };
    let Some(mut socket) = negotiated else { return Ok(()) };
    let Ok(_place) = Arc::clone(&server.places).try_acquire_owned() else {
        return farewell(&mut socket, "53300", "too many connections; try again later").await;
    };
    let copy = Arc::new(NoopHandler);
    loop {
        let is_logging_in = matches!(
            socket.state(),
            PgWireConnectionState::AwaitingStartup | PgWireConnectionState::AuthenticationInProgress
        );
        let message = tokio::select! {
            biased;
            () = server.stop.cancelled() => {
                return farewell(&mut socket, "57P01", "the server is stopping").await;
            }
            () = &mut deadline, if is_logging_in => return Ok(()),
            message = socket.next() => message,
        };
        let Some(Ok(message)) = message else { return Ok(()) };
        let is_last = matches!(message, PgWireFrontendMessage::CancelRequest(_));
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        let is_extended = match socket.state() {
            PgWireConnectionState::CopyInProgress(is_extended) => is_extended,
            _ => message.is_extended_query(),
        };
        let outcome = process_message(
            message,
            &mut socket,
            Arc::clone(&login),
            Arc::clone(&server.service),
            Arc::clone(&server.service),
            Arc::clone(&copy),
            Arc::clone(&server.running),
        )
        .await;
        if let Err(error) = outcome {
            let info = refusal::told(error);
            tracing::debug!(code = info.code, message = info.message, "a Postgres client was refused");
            // After a failed login nothing more is read.
            if is_logging_in || info.is_fatal() {
                return farewell(&mut socket, &info.code, &info.message).await;
            }
            process_error(&mut socket, PgWireError::UserError(Box::new(info)), is_extended).await?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Says why, and closes.
async fn farewell<S>(socket: &mut S, code: &str, message: &str) -> Result<(), std::io::Error>
where
    S: futures::Sink<PgWireBackendMessage, Error = std::io::Error> + Unpin,
{
    let info = ErrorInfo::new("FATAL".to_owned(), code.to_owned(), message.to_owned());
    socket.send(PgWireBackendMessage::ErrorResponse(info.into())).await?;
    socket.close().await
}
