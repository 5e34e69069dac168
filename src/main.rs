//! `ahual`: the data pipeline of a situational centre. This crate wires; the stages
//! live in `ingest`, `transform` and `sinks`.

// A binary has no outside; `pub` here says what a module offers to the others.
#![allow(unreachable_pub)]

mod cli;
mod commands;
mod config;
mod intake;
mod output;
mod pipeline;
mod progress;
mod retention;
mod servers;
mod simulate;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
            tracing_subscriber::EnvFilter::new(
                "warn,ahual=info,ahual_ingest=info,ahual_transform=info,ahual_sinks=info,deltalake_core=error",
            )
        }))
        .init();
    // Two providers end up in the tree; without a choice the first TLS handshake fails.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::message(&format!("error: the runtime did not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            output::message(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => commands::run::run(arguments).await?,
        Command::Ingest(arguments) => commands::stage::ingest(arguments).await?,
        Command::Transform(arguments) => commands::stage::transform(arguments).await?,
        Command::Serve(deployment) => commands::stage::serve(deployment).await?,
        Command::Query(arguments) => commands::query::run(arguments).await?,
        Command::Explain(arguments) => commands::explain::explain(arguments).await?,
        Command::Trace(arguments) => commands::explain::trace(arguments).await?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ahual", &mut std::io::stdout());
        }
        Command::Batch(arguments) => return Ok(commands::batch::run(arguments).await),
        Command::Reconcile(deployment) => return commands::reconcile::run(deployment).await,
        Command::Doctor(deployment) => return commands::doctor::run(deployment).await,
        Command::DeadLetters(arguments) => return Ok(commands::dead_letters::run(arguments).await),
        Command::Simulate(options) => commands::simulate::run(options).await?,
    }
    Ok(ExitCode::SUCCESS)
}
