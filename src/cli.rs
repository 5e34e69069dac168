//! The command line.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The data pipeline of a situational centre.
#[derive(Debug, Parser)]
#[command(name = "ahual", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every stage in one process, until stopped or drained.
    Run(Run),
    /// Run the sources alone: doors to log (Kafka).
    Ingest(Run),
    /// Run the job alone: log (Kafka) to lake.
    Transform(Run),
    /// Serve what the lake holds, over HTTP and Postgres.
    Serve(Deployment),
    /// Ask one question in SQL.
    Query(Query),
    /// Name the cases behind a figure, and the query that gives them.
    Explain(Explain),
    /// Show everything that is known of a case: its records as they came, and its events.
    Trace(Trace),
    /// Run a scheduled job for a window: 0 done, 1 failed, 2 usage, 75 try later.
    Batch(Batch),
    /// Prove that ledger and lake agree, file by file.
    Reconcile(Deployment),
    /// What was set aside.
    DeadLetters(DeadLetters),
    /// Check the configuration and dial what it names, without taking data.
    Doctor(Deployment),
    /// Play the region in small: simulated source systems over HTTP.
    Simulate(crate::simulate::Options),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which deployment.
#[derive(Debug, Clone, Args)]
pub struct Deployment {
    /// Configuration file.
    #[arg(long, value_name = "FILE", env = "AHUAL_CONFIG")]
    pub config: PathBuf,
    /// Folder of all durable state.
    #[arg(long, value_name = "DIR", env = "AHUAL_DATA")]
    pub data: PathBuf,
}

/// `ahual run`, and each of its stages that drains.
#[derive(Debug, Args)]
pub struct Run {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: Deployment,
    /// End when everything is done: sources drained, records folded.
    #[arg(long)]
    pub until_idle: bool,
}

/// `ahual query`.
#[derive(Debug, Args)]
pub struct Query {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: Deployment,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// What had happened by then (RFC 3339, or a local time of the deployment's zone).
    #[arg(long, value_name = "T")]
    pub as_of: Option<String>,
    /// What was known by then (RFC 3339, or a local time of the deployment's zone).
    #[arg(long, value_name = "T")]
    pub known_at: Option<String>,
    /// The question.
    pub sql: String,
}

/// `ahual explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: Deployment,
    /// The metric.
    pub metric: String,
    /// Only this value of a dimension (source, body, category, territory); empty means none. May be repeated.
    #[arg(long = "where", value_name = "DIMENSION=VALUE", value_parser = dimension)]
    pub filter: Vec<(String, String)>,
    /// First local day.
    #[arg(long, value_name = "DAY")]
    pub from: Option<NaiveDate>,
    /// Day after the last.
    #[arg(long, value_name = "DAY")]
    pub to: Option<NaiveDate>,
    /// What had happened by then (RFC 3339, or a local time of the deployment's zone).
    #[arg(long, value_name = "T")]
    pub as_of: Option<String>,
    /// What was known by then (RFC 3339, or a local time of the deployment's zone).
    #[arg(long, value_name = "T")]
    pub known_at: Option<String>,
    /// Most cases shown.
    #[arg(long, default_value_t = 1_000)]
    pub limit: usize,
    /// Print the query alone.
    #[arg(long)]
    pub sql: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `ahual trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: Deployment,
    /// The case, as `core.cases` names it.
    pub case_id: String,
}

fn dimension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write DIMENSION=VALUE, like body=roads")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// One JSON object a line.
    Json,
    /// CSV with a header.
    Csv,
}

/// `ahual batch`.
#[derive(Debug, Args)]
pub struct Batch {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: Deployment,
    /// Which job.
    #[arg(value_enum)]
    pub job: BatchJob,
    /// Local days `A..B`, B not included, e.g. 2026-01-01..2026-02-01.
    #[arg(long, value_name = "A..B", value_parser = window)]
    pub window: Window,
    /// Only this source (backfill).
    #[arg(long)]
    pub source: Option<String>,
    /// Folder for exported files (export); default DIR/export.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// Which job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BatchJob {
    /// Form every figure of the window again from events and compare with the kept ones.
    Recompute,
    /// Read the sources again and fold what is new or corrected.
    Backfill,
    /// Write the figures of the window as CSV and Parquet.
    Export,
}

impl BatchJob {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recompute => "recompute",
            Self::Backfill => "backfill",
            Self::Export => "export",
        }
    }
}

/// Local days, the second not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First day.
    pub from: NaiveDate,
    /// Day after the last.
    pub to: NaiveDate,
}

fn window(text: &str) -> Result<Window, String> {
    let form = "write A..B with days like 2026-01-01..2026-02-01";
    let (from, to) = text.split_once("..").ok_or(form)?;
    let day = |t: &str| t.parse::<NaiveDate>().map_err(|_| format!("'{t}' is no day; {form}"));
    let window = Window { from: day(from)?, to: day(to)? };
    if window.from >= window.to {
        return Err(format!("the window {text} is empty: the second day is not included; {form}"));
    }
    Ok(window)
}

/// `ahual dead-letters`.
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// Which deployment.
    #[command(flatten)]
    pub deployment: Deployment,
    /// What to do with them.
    #[command(subcommand)]
    pub action: DeadLettersAction,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersAction {
    /// List them: source, reason, where they lie.
    List {
        /// Only this source.
        #[arg(long)]
        source: Option<String>,
    },
    /// Show the bytes of one.
    Show {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
    /// Map them again with the present mapping; those that now work become events.
    Replay {
        /// Only this source.
        #[arg(long)]
        source: Option<String>,
    },
}

/// Reads a moment: RFC 3339, or a local time or day of `zone`.
pub fn moment(text: &str, zone: chrono_tz::Tz) -> Result<i64, String> {
    if let Ok(at) = text.parse::<DateTime<Utc>>() {
        return Ok(at.timestamp_micros());
    }
    ahual_transform::functions::parse_when(text, zone, None).ok_or_else(|| {
        format!("'{text}' is no moment; write 2026-01-31T09:00:00+05:00, or a local time like '2026-01-31 09:00'")
    })
}
