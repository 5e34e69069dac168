//! `ahual reconcile`: prove that ledger, lake and figures agree.

use std::process::ExitCode;

use ahual_transform::reconcile;

use crate::config::Config;
use crate::{cli, output, pipeline};

/// Exits 0 where everything agrees, otherwise 1 with every difference named.
pub async fn run(arguments: cli::Deployment) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    let metrics = pipeline::metrics(&config).await?;
    let report = reconcile::reconcile(&arguments.data, &metrics, config.deployment.time_zone, None).await?;
    output::line(&serde_json::to_string(&report)?);
    for file in &report.unreadable {
        output::message(&format!("unreadable: {file}"));
    }
    for difference in &report.differences {
        output::message(&format!(
            "{}: source {}, day {}: published {}; the rows say {}",
            difference.what,
            difference.source,
            difference.day.as_deref().unwrap_or("none"),
            difference.published,
            difference.found
        ));
    }
    Ok(if report.closes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
