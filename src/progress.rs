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
            if !shown && now.records > 0 {
                shown = true;
                bar.suspend(|| output::message("first figures, by source:"));
                for metric in FIRST {
                    let text = first(&reading, metric).await;
                    bar.suspend(|| output::message(&text));
                }
            }
            if published.changed().await.is_err() {
                break;
            }
        }
        bar.finish_and_clear();
    })
}

async fn first(reading: &Readers, metric: &str) -> String {
    let query = FigureQuery { metric: metric.to_owned(), by: vec!["source".to_owned()], ..FigureQuery::default() };
    match reading.figures(&query).await {
        Ok(batches) => match arrow::util::pretty::pretty_format_batches(&batches) {
            Ok(table) => format!("metrics.{metric}\n{table}"),
            Err(error) => format!("metrics.{metric}: {error}"),
        },
        Err(error) => format!("metrics.{metric}: {}", crate::config::chain(&error)),
    }
}
