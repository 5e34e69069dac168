//! A reading that tests script: tables in memory, a feed that grows when told.

#![allow(dead_code)]

use std::sync::{Arc, Mutex};

use ahual_schemas::feed::{FeedEntry, FeedPosition};
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::Case;
use ahual_transform::reading::{Explanation, FeedPage, FigureQuery, MetricInfo, ReadError, Reading};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::prelude::SessionContext;
use tokio::sync::watch;

pub(crate) struct Fake {
    cases: Mutex<Vec<Case>>,
    feed: Mutex<Vec<FeedEntry>>,
    head: watch::Sender<Option<FeedPosition>>,
    pub(crate) ready: Mutex<Result<(), String>>,
    pub(crate) published: Mutex<bool>,
    pub(crate) broken: Mutex<bool>,
    pub(crate) asked: Mutex<Vec<FigureQuery>>,
    pub(crate) sessions: Mutex<usize>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            cases: Mutex::default(),
            feed: Mutex::default(),
            head: watch::Sender::new(None),
            ready: Mutex::new(Ok(())),
            published: Mutex::new(true),
            broken: Mutex::new(false),
            asked: Mutex::default(),
            sessions: Mutex::default(),
        })
    }

    /// Publishes an epoch with these many cases.
    pub(crate) fn publish_cases(&self, count: usize) {
        *self.cases.lock().unwrap() = (0..count).map(case).collect();
    }

    /// Publishes a batch of entries as version `version`.
    pub(crate) fn publish(&self, version: i64, count: u32) {
        let entries = (0..count).map(|ordinal| entry(version, ordinal));
        self.feed.lock().unwrap().extend(entries);
        self.head.send_replace(Some(FeedPosition { version, ordinal: count - 1 }));
    }

    pub(crate) fn positions(&self) -> Vec<String> {
        self.feed.lock().unwrap().iter().map(|entry| entry.position.to_string()).collect()
    }
}

pub(crate) fn entry(version: i64, ordinal: u32) -> FeedEntry {
    FeedEntry {
        position: FeedPosition { version, ordinal },
        metric: "completion".into(),
        source: "call-centre".into(),
        body: Some(format!("body-{ordinal}")),
        category: None,
        territory: None,
        day: Some("2024-03-01".into()),
        numerator: version,
        denominator: version + i64::from(ordinal),
        n: version + i64::from(ordinal),
    }
}

pub(crate) fn case(number: usize) -> Case {
    Case {
        case_id: format!("call-centre:{number}"),
        source: "call-centre".into(),
        regime: Some("request_109".into()),
        state: "open".into(),
        category: Some("roads".into()),
        body: Some("Road Service".into()),
        received_at: Some(At(1_700_000_000_000_000)),
        received_on: Some(Day(19_675)),
        longitude: Some(73.1),
        latitude: Some(49.8),
        events: 1,
        first_appended_at: At(1_700_000_000_000_000),
        last_appended_at: At(1_700_000_000_000_000),
        folded_version: 1,
        ..Case::default()
    }
}

#[async_trait]
impl Reading for Fake {
    async fn session(&self) -> Result<SessionContext, ReadError> {
        *self.sessions.lock().unwrap() += 1;
        if !*self.published.lock().unwrap() {
            return Err(ReadError::NotPublished);
        }
        let context = SessionContext::new();
        let core = MemorySchemaProvider::new();
        let batch = Case::to_batch(&self.cases.lock().unwrap()).unwrap();
        let table = MemTable::try_new(Case::schema(), vec![vec![batch]]).unwrap();
        core.register_table("cases".into(), Arc::new(table)).unwrap();
        context.catalog("datafusion").unwrap().register_schema("core", Arc::new(core)).unwrap();
        Ok(context)
    }

    fn metrics(&self) -> Vec<MetricInfo> {
        ["clearance", "completion"]
            .map(|name| MetricInfo {
                name: name.into(),
                title: format!("The <{name}>"),
                unit: "ratio".into(),
                description: "Closed over received.".into(),
            })
            .into()
    }

    async fn figures(&self, query: &FigureQuery) -> Result<Vec<RecordBatch>, ReadError> {
        self.asked.lock().unwrap().push(query.clone());
        if *self.broken.lock().unwrap() {
            return Err(ReadError::Failed { doing: "read /secret/place", source: "disk on fire".into() });
        }
        if !*self.published.lock().unwrap() {
            return Err(ReadError::NotPublished);
        }
        let rows = "SELECT * FROM (VALUES ('roads', 3::BIGINT, 4::BIGINT, 4::BIGINT), (NULL, 1, 2, 2)) \
                    AS f(body, numerator, denominator, n)";
        let sql = format!("SELECT *, to_timestamp_micros(1700000000000000) AT TIME ZONE 'UTC' AS as_of FROM ({rows})");
        let failed =
            |source: datafusion::error::DataFusionError| ReadError::Failed { doing: "compute", source: source.into() };
        SessionContext::new().sql(&sql).await.map_err(failed)?.collect().await.map_err(failed)
    }

    async fn cases(&self, query: &FigureQuery, limit: usize) -> Result<Explanation, ReadError> {
        self.asked.lock().unwrap().push(query.clone());
        let sql = format!("SELECT 'door:1' AS case_id, CAST(1 AS BIGINT) AS numerator LIMIT {limit}");
        let rows = SessionContext::new().sql(&sql).await.unwrap().collect().await.unwrap();
        Ok(Explanation { sql, rows })
    }

    async fn feed_after(&self, position: Option<FeedPosition>, limit: usize) -> Result<FeedPage, ReadError> {
        let feed = self.feed.lock().unwrap();
        let mut rest = feed.iter().filter(|entry| position.is_none_or(|position| entry.position > position));
        // Small pages, so that paging is met.
        let entries: Vec<_> = rest.by_ref().take(limit.min(3)).cloned().collect();
        Ok(FeedPage { entries, more: rest.next().is_some() })
    }

    fn feed_head(&self) -> watch::Receiver<Option<FeedPosition>> {
        self.head.subscribe()
    }

    fn readiness(&self) -> Result<(), String> {
        self.ready.lock().unwrap().clone()
    }
}
