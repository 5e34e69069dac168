//! One set of records behind three doors.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ahual_ingest::IntakeConfig;

use super::server::{Server, Told};

/// A record, invented.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rec {
    pub(crate) id: &'static str,
    pub(crate) at: &'static str,
    pub(crate) status: &'static str,
}

pub(crate) fn rec(id: &'static str, at: &'static str, status: &'static str) -> Rec {
    Rec { id, at, status }
}

/// A source the suite can fill.
pub(crate) trait Source {
    fn hold(&self, records: &[Rec]);
    fn intake(&self) -> IntakeConfig;
    fn folder(&self) -> &Path;
    /// The server behind it, where there is one.
    fn server(&self) -> Option<&Server>;
    /// How the source says with HTTP 200 that the jurisdiction is unknown.
    fn error_body(&self) -> String {
        r#"[{"code":"403","description":"unknown jurisdiction"}]"#.to_owned()
    }
    /// The suite's id of a record from the name it has in the log.
    fn id_of(&self) -> fn(&str) -> String {
        str::to_owned
    }
    /// The suite's id and status of a record from its payload.
    fn told(&self, payload: &serde_json::Value) -> (String, String) {
        let text = |name: &str| payload[name].as_str().unwrap().to_owned();
        (text("service_request_id"), text("status"))
    }
}

pub(crate) fn parsed(toml: &str) -> IntakeConfig {
    toml::from_str(toml).unwrap()
}

/// A folder with one CSV file.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
}

impl Source for Files {
    fn hold(&self, records: &[Rec]) {
        let mut text = "service_request_id,requested_datetime,status\n".to_owned();
        for record in records {
            text.push_str(&format!("{},{},{}\n", record.id, record.at, record.status));
        }
        std::fs::write(self.dir.path().join("calls.csv"), text).unwrap();
    }

    fn intake(&self) -> IntakeConfig {
        parsed(
            r#"
            identity = { columns = ["service_request_id"] }
            files = { path = "*.csv", watch = true, page_rows = 2 }
            "#,
        )
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn server(&self) -> Option<&Server> {
        None
    }
}

fn json(record: &Rec) -> String {
    format!(
        r#"{{"service_request_id":"{}","requested_datetime":"{}","status":"{}"}}"#,
        record.id, record.at, record.status
    )
}

/// A JSON API with numbered pages of two, filtered by time.
pub(crate) struct Rest {
    server: Server,
    records: Arc<Mutex<Vec<Rec>>>,
    dir: tempfile::TempDir,
}

impl Rest {
    pub(crate) async fn start() -> Self {
        let records: Arc<Mutex<Vec<Rec>>> = Arc::default();
        let held = records.clone();
        let server = Server::start(move |asked| {
            let page: usize = asked.query["page"].parse().unwrap();
            let size: usize = asked.query["per_page"].parse().unwrap();
            let held = held.lock().unwrap();
            let page: Vec<String> = held.iter().skip((page - 1) * size).take(size).map(json).collect();
            Told::json(format!(r#"{{"data":{{"items":[{}]}}}}"#, page.join(",")))
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "w0rd-of-the-token\n").unwrap();
        Self { server, records, dir }
    }
}

impl Source for Rest {
    fn hold(&self, records: &[Rec]) {
        *self.records.lock().unwrap() = records.to_vec();
    }

    fn intake(&self) -> IntakeConfig {
        parsed(&format!(
            r#"
            identity = {{ columns = ["service_request_id"] }}
            limits = {{ max_body_bytes = 65536 }}
            [rest]
            url = "{}"
            path = "/calls"
            records = "data.items"
            page_size = 2
            page_size_param = "per_page"
            paging = {{ kind = "page" }}
            auth = {{ bearer = true, secret = {{ file = "token" }} }}
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

    fn error_body(&self) -> String {
        r#"{"data":{"items":[{"code":"403","description":"unknown jurisdiction"}]}}"#.to_owned()
    }
}

/// A GeoReport endpoint that never gives more than three requests at once.
pub(crate) struct Open311 {
    server: Server,
    records: Arc<Mutex<Vec<Rec>>>,
    dir: tempfile::TempDir,
    format: &'static str,
}

impl Open311 {
    pub(crate) async fn start(format: &'static str) -> Self {
        let records: Arc<Mutex<Vec<Rec>>> = Arc::default();
        let held = records.clone();
        let server = Server::start(move |asked| {
            let held = held.lock().unwrap();
            let asked_for = |record: &&Rec| match asked.query.get("service_request_id") {
                Some(ids) => ids.split(',').any(|id| id == record.id),
                None => {
                    let (from, to) = (&asked.query["start_date"], &asked.query["end_date"]);
                    record.at >= from.as_str() && record.at <= to.as_str()
                }
            };
            let found: Vec<&Rec> = held.iter().filter(asked_for).take(3).collect();
            if asked.path.ends_with(".xml") {
                let requests: String = found
                    .iter()
                    .map(|r| {
                        format!(
                            "<request><service_request_id>{}</service_request_id><requested_datetime>{}</requested_datetime><status>{}</status></request>",
                            r.id, r.at, r.status
                        )
                    })
                    .collect();
                return Told::json(format!("<?xml version=\"1.0\"?><service_requests>{requests}</service_requests>"))
                    .with("content-type", "text/xml");
            }
            Told::json(format!("[{}]", found.into_iter().map(json).collect::<Vec<_>>().join(",")))
        })
        .await;
        Self { server, records, dir: tempfile::tempdir().unwrap(), format }
    }
}

impl Source for Open311 {
    fn hold(&self, records: &[Rec]) {
        *self.records.lock().unwrap() = records.to_vec();
    }

    fn intake(&self) -> IntakeConfig {
        parsed(&format!(
            r#"
            limits = {{ max_body_bytes = 65536 }}
            [open311]
            url = "{}/open311/v2"
            format = "{}"
            start = "2026-03-01T00:00:00Z"
            page_cap = 3
            "#,
            self.server.url, self.format
        ))
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.server)
    }

    fn error_body(&self) -> String {
        let said = ("403", "unknown jurisdiction");
        match self.format {
            "xml" => {
                format!("<errors><error><code>{}</code><description>{}</description></error></errors>", said.0, said.1)
            }
            _ => format!(r#"[{{"code":"{}","description":"{}"}}]"#, said.0, said.1),
        }
    }
}
