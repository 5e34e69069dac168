//! Statements under way: who may cancel them, and when they are over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use pgwire::api::ClientInfo;
use pgwire::api::cancel::CancelHandler;
use pgwire::api::results::{QueryResponse, Response};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::refusal::error;

type Key = (i32, Vec<u8>);

/// Where a client's own `statement_timeout` is kept by the wire library.
const STATEMENT_TIMEOUT: &str = "statement_timeout_ms";

/// All connections that have logged in.
pub(super) struct Running {
    connections: Mutex<HashMap<Key, Arc<Connection>>>,
    default_timeout: Option<Duration>,
    /// Raised when statements that outlast the drain deadline must end.
    pub(super) overdue: CancellationToken,
}

/// One connection that has logged in.
pub(super) struct Connection {
    /// Cancels the statement under way.
    statement: Mutex<CancellationToken>,
}

/// Takes the connection out again when its client is gone.
struct Leave(Arc<Running>, Key);

impl Drop for Leave {
    fn drop(&mut self) {
        lock(&self.0.connections).remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    pub(super) fn new(default_timeout: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { connections: Mutex::default(), default_timeout, overdue: CancellationToken::new() })
    }

    /// Enters a client that has logged in; it leaves when its connection ends.
    pub(super) fn enter<C: ClientInfo>(self: &Arc<Self>, client: &C) {
        let (pid, secret) = client.pid_and_secret_key();
        let key = (pid, secret.to_bytes().to_vec());
        let connection = Arc::new(Connection { statement: Mutex::default() });
        lock(&self.connections).insert(key.clone(), Arc::clone(&connection));
        client.session_extensions().insert::<Arc<Connection>>(connection);
        client.session_extensions().insert(Leave(Arc::clone(self), key));
    }

    /// Begins a statement. Refused for whoever has not logged in.
    pub(super) fn begin<C: ClientInfo>(&self, client: &C) -> PgWireResult<Limits> {
        let Some(connection) = client.session_extensions().get::<Arc<Connection>>() else {
            return Err(error("FATAL", "28000", "log in first"));
        };
        let cancelled = CancellationToken::new();
        *lock(&connection.statement) = cancelled.clone();
        let own = client.metadata().get(STATEMENT_TIMEOUT).and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let deadline = own.or(self.default_timeout).and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Limits { cancelled, deadline, overdue: self.overdue.clone() })
    }
}

#[async_trait]
impl CancelHandler for Running {
    async fn on_cancel_request(&self, request: CancelRequest) {
        let key = (request.pid, request.secret_key.to_bytes().to_vec());
        if let Some(connection) = lock(&self.connections).get(&key) {
            lock(&connection.statement).cancel();
        }
    }
}

/// When a statement must end.
#[derive(Clone)]
pub(super) struct Limits {
    cancelled: CancellationToken,
    deadline: Option<Instant>,
    overdue: CancellationToken,
}

impl Limits {
    /// Ends once the statement must, with what to tell the client.
    async fn reached(&self) -> PgWireError {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cancelled.cancelled() => error("ERROR", "57014", "canceling statement due to user request"),
            () = late => error("ERROR", "57014", "canceling statement due to statement timeout"),
            () = self.overdue.cancelled() => error("FATAL", "57P01", "the server is stopping"),
        }
    }

    /// The outcome of `work`, unless the statement must end first.
    pub(super) async fn within<T>(&self, work: impl Future<Output = PgWireResult<T>>) -> PgWireResult<T> {
        tokio::select! {
            biased;
            error = self.reached() => Err(error),
            outcome = work => outcome,
        }
    }

    /// The same answer, whose rows end with an error once the statement must end.
    pub(super) fn over(&self, response: Response) -> Response {
        let Response::Query(answer) = response else { return response };
        let row_schema = answer.row_schema();
        let command_tag = answer.command_tag().to_owned();
        let limits = self.clone();
        let rows = stream::unfold(Some((answer.data_rows, limits)), |state| async move {
            let (mut rows, limits) = state?;
            let next = limits.within(async { rows.next().await.transpose() }).await;
            match next {
                Ok(Some(row)) => Some((Ok(row), Some((rows, limits)))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let mut response = QueryResponse::new(row_schema, rows);
        response.set_command_tag(&command_tag);
        Response::Query(response)
    }
}
