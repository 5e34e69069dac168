//! The open data portal: a bare array by an Elasticsearch query, two rows at once.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ahual_ingest::IntakeConfig;
use chrono::{DateTime, Duration};

use super::server::{Server, Told};
use super::sources::{Rec, Source, parsed};

/// A row: the record, and when the portal says it was changed.
type Row = (Rec, String);

pub(crate) struct Egov {
    server: Server,
    rows: Arc<Mutex<Vec<Row>>>,
    dir: tempfile::TempDir,
}

/// A time as the portal writes it: local, without a zone.
fn local(at: &str) -> String {
    let at = DateTime::parse_from_rfc3339(at).unwrap() + Duration::hours(5);
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

impl Egov {
    pub(crate) async fn start() -> Self {
        let rows: Arc<Mutex<Vec<Row>>> = Arc::default();
        let held = rows.clone();
        let server = Server::start(move |asked| {
            let source: serde_json::Value = serde_json::from_str(&asked.query["source"]).unwrap();
            let range = &source["query"]["range"]["modified"];
            let (from, to) = (range["gte"].as_str().unwrap(), range["lt"].as_str().unwrap());
            let mut found: Vec<Row> = held
                .lock()
                .unwrap()
                .iter()
                .filter(|(_, at)| at.as_str() >= from && at.as_str() < to)
                .cloned()
                .collect();
            found.sort_by(|(_, a), (_, b)| a.cmp(b));
            let (skip, take) = (source["from"].as_u64().unwrap() as usize, source["size"].as_u64().unwrap() as usize);
            let rows: Vec<String> = found
                .iter()
                .skip(skip)
                .take(take)
                .map(|(rec, at)| {
                    format!(r#"{{"service_request_id":"{}","status":"{}","modified":"{at}"}}"#, rec.id, rec.status)
                })
                .collect();
            Told::json(format!("[{}]", rows.join(",")))
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "w0rd-of-the-token\n").unwrap();
        Self { server, rows, dir }
    }
}

impl Source for Egov {
    /// A row that differs from the one held before was changed just now.
    fn hold(&self, records: &[Rec]) {
        let mut rows = self.rows.lock().unwrap();
        let changed = |rec: &Rec| match rows.iter().find(|(held, _)| held.id == rec.id) {
            Some((held, at)) if held == rec => at.clone(),
            Some(_) => local("2026-03-10T12:01:30Z"),
            None => local(rec.at),
        };
        let next = records.iter().map(|rec| (rec.clone(), changed(rec))).collect();
        *rows = next;
    }

    fn intake(&self) -> IntakeConfig {
        parsed(&format!(
            r#"
            identity = {{ columns = ["service_request_id"] }}
            limits = {{ max_body_bytes = 65536, rate_limit_per_minute = 4000000000 }}
            [egov]
            url = "{}"
            dataset = "invented_set"
            key = {{ file = "key" }}
            start = "2026-03-01 00:00:00"
            page_size = 2
            "#,
            self.server.url
        ))
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }
}
