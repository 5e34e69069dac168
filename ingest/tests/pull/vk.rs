//! One open wall on which residents write, three posts at once, the newest first.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ahual_ingest::IntakeConfig;
use chrono::DateTime;

use super::server::{Server, Told};
use super::sources::{Rec, Source, parsed};

pub(crate) struct Vk {
    server: Server,
    records: Arc<Mutex<Vec<Rec>>>,
    dir: tempfile::TempDir,
}

impl Vk {
    pub(crate) async fn start() -> Self {
        let records: Arc<Mutex<Vec<Rec>>> = Arc::default();
        let held = records.clone();
        let server = Server::start(move |asked| {
            assert_eq!((asked.path.as_str(), asked.query["owner_id"].as_str()), ("/method/wall.get", "-7"));
            let number = |name: &str| asked.query[name].parse::<usize>().unwrap();
            let mut held = held.lock().unwrap().clone();
            held.sort_by_key(|rec| std::cmp::Reverse((rec.at, rec.id)));
            let items: Vec<String> = held
                .iter()
                .skip(number("offset"))
                .take(number("count"))
                .map(|rec| {
                    let date = DateTime::parse_from_rfc3339(rec.at).unwrap().timestamp();
                    format!(
                        r#"{{"id":{},"owner_id":-7,"from_id":17,"date":{date},"text":"{}","comments":{{"count":0}}}}"#,
                        rec.id.trim_start_matches('0'),
                        rec.status
                    )
                })
                .collect();
            Told::json(format!(r#"{{"response":{{"count":{},"items":[{}]}}}}"#, held.len(), items.join(",")))
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "w0rd-of-the-token\n").unwrap();
        let directory = "version = \"1\"\n[[account]]\nnetwork = \"vk\"\nhandle = \"invented\"\nid = -7\nbody = \"invented-akimat\"\nkato = \"352400000\"\nvalid_from = \"2024-01-01\"\n";
        std::fs::write(dir.path().join("accounts.toml"), directory).unwrap();
        Self { server, records, dir }
    }
}

impl Source for Vk {
    fn hold(&self, records: &[Rec]) {
        *self.records.lock().unwrap() = records.to_vec();
    }

    fn intake(&self) -> IntakeConfig {
        parsed(&format!(
            r#"
            limits = {{ max_body_bytes = 65536, rate_limit_per_minute = 4000000000 }}
            [vk]
            url = "{}"
            token = {{ file = "token" }}
            accounts = "accounts.toml"
            count = 3
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
        r#"{"error":{"error_code":10,"error_msg":"Internal server error: unknown jurisdiction"}}"#.to_owned()
    }

    fn id_of(&self) -> fn(&str) -> String {
        |record_id| format!("{:04}", record_id.strip_prefix("-7/").unwrap().parse::<u32>().unwrap())
    }

    fn told(&self, payload: &serde_json::Value) -> (String, String) {
        let post = &payload["post"];
        (format!("{:04}", post["id"].as_u64().unwrap()), post["text"].as_str().unwrap().to_owned())
    }
}
