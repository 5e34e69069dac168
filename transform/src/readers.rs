//! The read side of a running pipeline: the catalogue, the kept cells and the feed.

use std::path::Path;
use std::sync::Arc;

use ahual_schemas::feed::FeedPosition;
use ahual_schemas::table::Day;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono_tz::Tz;
use datafusion::prelude::SessionContext;
use tokio::sync::watch;

use crate::catalog::{Catalog, CatalogError, Moment};
use crate::figures::{Metric, Metrics};
use crate::index::Index;
use crate::job::Published;
use crate::reading::{DIMENSIONS, Explanation, FeedPage, FigureQuery, MetricInfo, ReadError, Reading};

/// Answers readers from what a job in the same process keeps, or, without one, from
/// the lake alone.
pub struct Readers {
    catalog: Catalog,
    index: Option<Arc<Index>>,
    published: watch::Receiver<Published>,
    feed_head: watch::Receiver<Option<FeedPosition>>,
}

impl Readers {
    /// Readers beside a running job.
    pub fn beside(
        data_dir: &Path,
        metrics: Metrics,
        zone: Tz,
        index: Arc<Index>,
        mut published: watch::Receiver<Published>,
    ) -> Self {
        let (head_sender, feed_head) = watch::channel(published.borrow().feed_head);
        let watched = published.clone();
        tokio::spawn(async move {
            loop {
                let head = published.borrow_and_update().feed_head;
                head_sender.send_if_modified(|now| std::mem::replace(now, head) != head);
                if published.changed().await.is_err() || head_sender.is_closed() {
                    break;
                }
            }
        });
        Self { catalog: Catalog::new(data_dir, metrics, zone), index: Some(index), published: watched, feed_head }
    }

    /// Readers of the lake alone: figures are formed from its rows, and there is no feed.
    pub fn of_lake(data_dir: &Path, metrics: Metrics, zone: Tz) -> Self {
        let (_, published) = watch::channel(Published::default());
        let (_, feed_head) = watch::channel(None);
        Self { catalog: Catalog::new(data_dir, metrics, zone), index: None, published, feed_head }
    }

    /// A session as of a past moment.
    pub async fn session_at(&self, moment: Moment) -> Result<SessionContext, ReadError> {
        self.catalog.session(moment).await.map_err(catalog_error)
    }

    /// The metric a question is about, once its dimensions are known to exist.
    fn asked(&self, query: &FigureQuery) -> Result<&Metric, ReadError> {
        let metric = self.catalog.metrics().get(&query.metric).ok_or_else(|| {
            let names: Vec<&str> = self.catalog.metrics().iter().map(|m| m.info.name.as_str()).collect();
            ReadError::Question(format!("there is no metric '{}'; there are {}", query.metric, names.join(", ")))
        })?;
        for dimension in query.by.iter().chain(query.filter.keys()) {
            if !DIMENSIONS.contains(&dimension.as_str()) {
                return Err(ReadError::Question(format!(
                    "there is no dimension '{dimension}'; there are {}",
                    DIMENSIONS.join(", ")
                )));
            }
        }
        Ok(metric)
    }

    /// A session and the table in it that holds the cells of one metric at `moment`:
    /// kept ones where that is now and they are kept by the same definitions, otherwise
    /// formed from rows.
    async fn cells(&self, metric: &Metric, moment: Moment) -> Result<(SessionContext, String), ReadError> {
        if moment == Moment::default() && self.catalog.keeps().map_err(catalog_error)? {
            let session = self.catalog.cells_now(metric).await.map_err(catalog_error)?;
            return Ok((session, "cells".to_owned()));
        }
        Ok((self.session_at(moment).await?, format!("metrics.{}_cells", metric.info.name)))
    }
}

#[async_trait]
impl Reading for Readers {
    async fn session(&self) -> Result<SessionContext, ReadError> {
        self.session_at(Moment::default()).await
    }

    fn metrics(&self) -> Vec<MetricInfo> {
        self.catalog.metrics().iter().map(|m| m.info.clone()).collect()
    }

    async fn figures(&self, query: &FigureQuery) -> Result<Vec<RecordBatch>, ReadError> {
        let metric = self.asked(query)?;
        let moment = Moment { as_of: query.as_of, known_at: query.known_at };
        let (session, cells) = self.cells(metric, moment).await?;
        let failed = |source| ReadError::Failed { doing: "sum figures", source };
        let mut sql = metric.figures_sql(&cells, &query.by, &condition(query), query.as_of);
        if !query.by.is_empty() {
            let by: Vec<String> = query.by.iter().map(|d| format!("\"{d}\"")).collect();
            sql.push_str(&format!(" ORDER BY {}", by.join(", ")));
        }
        let frame = session.sql(&sql).await.map_err(|e| failed(Box::new(e)))?;
        frame.collect().await.map_err(|e| failed(Box::new(e)))
    }

    async fn cases(&self, query: &FigureQuery, limit: usize) -> Result<Explanation, ReadError> {
        let metric = self.asked(query)?;
        let columns = if metric.has_durations() { ", duration_us, observed" } else { "" };
        let sql = format!(
            "SELECT case_id, source, body, category, territory, day, numerator, denominator{columns} \
             FROM metrics.{}_cases{} ORDER BY case_id, day LIMIT {limit}",
            metric.info.name,
            condition(query)
        );
        let session = self.session_at(Moment { as_of: query.as_of, known_at: query.known_at }).await?;
        let failed = |source| ReadError::Failed { doing: "find the cases of a figure", source };
        let frame = session.sql(&sql).await.map_err(|e| failed(Box::new(e)))?;
        let rows = frame.collect().await.map_err(|e| failed(Box::new(e)))?;
        Ok(Explanation { sql, rows })
    }

    async fn feed_after(&self, position: Option<FeedPosition>, limit: usize) -> Result<FeedPage, ReadError> {
        let Some(index) = &self.index else { return Ok(FeedPage::default()) };
        let mut entries = index
            .feed_after(position, limit.saturating_add(1))
            .map_err(|e| ReadError::Failed { doing: "read the feed", source: Box::new(e) })?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(FeedPage { entries, more })
    }

    fn feed_head(&self) -> watch::Receiver<Option<FeedPosition>> {
        self.feed_head.clone()
    }

    fn readiness(&self) -> Result<(), String> {
        if self.index.is_some() && self.published.has_changed().is_err() {
            return Err("the job has ended: figures are no longer kept".to_owned());
        }
        match self.catalog.epoch() {
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// `WHERE` over cells, with values quoted.
fn condition(query: &FigureQuery) -> String {
    let mut terms = Vec::new();
    for (dimension, values) in &query.filter {
        let quoted: Vec<String> =
            values.iter().filter(|v| !v.is_empty()).map(|v| format!("'{}'", v.replace('\'', "''"))).collect();
        let mut any = Vec::new();
        if !quoted.is_empty() {
            any.push(format!("CAST(\"{dimension}\" AS VARCHAR) IN ({})", quoted.join(", ")));
        }
        if values.iter().any(String::is_empty) {
            any.push(format!("\"{dimension}\" IS NULL"));
        }
        if !any.is_empty() {
            terms.push(format!("({})", any.join(" OR ")));
        }
    }
    let day = |d: Day| format!("CAST({} AS DATE)", d.0);
    terms.extend(query.from.map(|d| format!("day >= {}", day(d))));
    terms.extend(query.to.map(|d| format!("day < {}", day(d))));
    if terms.is_empty() { String::new() } else { format!(" WHERE {}", terms.join(" AND ")) }
}

fn catalog_error(error: CatalogError) -> ReadError {
    match error {
        CatalogError::NotPublished(_) => ReadError::NotPublished,
        other => ReadError::Failed { doing: "open the catalogue", source: Box::new(other) },
    }
}
