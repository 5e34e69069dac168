//! What a person sees while `ahual run` works: a progress line on a terminal, and the
//! first figures once there are some.

use std::sync::Arc;
use std::time::Duration;

use ahual_transform::job::Published;
use ahual_transform::readers::Readers;
use ahual_transform::reading::{FigureQuery, Reading};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::output;

/// Figures shown first.
const FIRST: [&str; 3] = ["completion", "on_time", "time_to_resolve"];

/// Tells until aborted. The progress line is drawn on a terminal only.
pub fn tell(reading: Arc<Readers>, mut published: watch::Receiver<Published>) -> JoinHandle<()> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records folded, {per_sec}, {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    tokio::spawn(async move {
        let mut shown = false;
        loop {
            let now = published.borrow_and_update().clone();
            bar.set_position(now.records);
            if let Some(epoch) = &now.epoch {
                bar.set_message(format!("epoch {}", epoch.folded_version));
            }
            // The first records to arrive may be of a door that has none of these figures.
            if !shown
                && now.records > 0
                && let Some(first) = first_figures(&reading).await
            {
                shown = true;
                bar.suspend(|| output::message(&first));
            }
            if published.changed().await.is_err() {
                break;
            }
        }
        bar.finish_and_clear();
    })
}

/// The first figures as text; nothing while the first of them has no row.
async fn first_figures(reading: &Readers) -> Option<String> {
    let mut text = "first figures, by source:".to_owned();
    for metric in FIRST {
        let query = FigureQuery { metric: metric.to_owned(), by: vec!["source".to_owned()], ..FigureQuery::default() };
        let told = match reading.figures(&query).await {
            Ok(batches) if metric == FIRST[0] && batches.iter().all(|batch| batch.num_rows() == 0) => return None,
            Ok(batches) => arrow::util::pretty::pretty_format_batches(&batches)
                .map_or_else(|error| format!(": {error}"), |table| format!("\n{table}")),
            Err(error) => format!(": {}", crate::config::chain(&error)),
        };
        text.push_str(&format!("\nmetrics.{metric}{told}"));
    }
    Some(text)
}
