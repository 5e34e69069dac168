//! `ahual simulate`: the region in small.

use tokio_util::sync::CancellationToken;

use crate::commands::run::stop_on_signal;
use crate::{output, simulate};

/// Serves the simulated doors until stopped.
pub async fn run(options: simulate::Options) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let (address, served) = simulate::serve(options, stop).await?;
    output::message(&format!("simulated doors at http://{address}/"));
    served.await??;
    Ok(())
}
