//! What all servers here have in common: where they stand and how they end.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::SinkError;

/// A server that is up.
#[derive(Debug)]
pub struct Bound {
    /// Where it stands: the port is the real one when 0 was asked for.
    pub address: SocketAddr,
    /// Ends once the server was told to stop and has drained, or with what broke it.
    pub task: JoinHandle<Result<(), SinkError>>,
}

/// Binds `address`, or says which sink cannot.
pub(crate) async fn bind(sink: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), SinkError> {
    let refused = |source| SinkError::Bind { sink, address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}
