//! A Telegram bot in one discussion group. To ask from a number on forgets all before it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use ahual_ingest::IntakeConfig;
use chrono::DateTime;

use super::server::{Server, Told};
use super::sources::{Rec, Source, parsed};

const GROUP: i64 = -1_009_000_000_002;

/// What the Bot API holds for the bot.
#[derive(Default)]
struct Held {
    /// Number and text of updates that were not confirmed.
    updates: Vec<(i64, String)>,
    /// Records as they are now.
    records: Vec<Rec>,
    next: i64,
}

pub(crate) struct Telegram {
    server: Server,
    held: Arc<Mutex<Held>>,
    dir: tempfile::TempDir,
}

impl Telegram {
    pub(crate) async fn start() -> Self {
        let held = Arc::new(Mutex::new(Held { next: 501, ..Held::default() }));
        let answering = held.clone();
        let server = Server::start(move |asked| {
            assert_eq!(asked.path, "/bot1234:w0rd-of-the-token/getUpdates");
            let mut held = answering.lock().unwrap();
            if let Some(offset) = asked.query.get("offset") {
                let offset: i64 = offset.parse().unwrap();
                held.updates.retain(|(number, _)| *number >= offset);
            }
            let limit = asked.query["limit"].parse().unwrap();
            let updates: Vec<&str> = held.updates.iter().take(limit).map(|(_, text)| text.as_str()).collect();
            Told::json(format!("{{\"ok\":true,\"result\":[{}]}}", updates.join(",")))
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "1234:w0rd-of-the-token\n").unwrap();
        let directory = format!(
            "version = \"1\"\n[[account]]\nnetwork = \"telegram\"\nhandle = \"invented\"\nid = -1009000000001\ndiscussion = {GROUP}\nbody = \"invented-akimat\"\nkato = \"352400000\"\nvalid_from = \"2024-01-01\"\n"
        );
        std::fs::write(dir.path().join("accounts.toml"), directory).unwrap();
        Self { server, held, dir }
    }

    /// The numbers of updates go on from here.
    pub(crate) fn number_from(&self, next: i64) {
        self.held.lock().unwrap().next = next;
    }
}

impl Source for Telegram {
    /// What is new is a message, what changed is an edit, each an update of its own.
    fn hold(&self, records: &[Rec]) {
        let mut held = self.held.lock().unwrap();
        for record in records {
            let member = match held.records.iter().find(|known| known.id == record.id) {
                Some(known) if known == record => continue,
                Some(_) => "edited_message",
                None => "message",
            };
            let date = DateTime::parse_from_rfc3339(record.at).unwrap().timestamp();
            let number = held.next;
            held.next += 1;
            let message: i64 = record.id.parse().unwrap();
            let edited = if member == "message" { String::new() } else { format!("\"edit_date\":{},", date + 60) };
            let text = format!(
                "{{\"update_id\":{number},\"{member}\":{{\"message_id\":{message},\"from\":{{\"id\":900000017}},\"chat\":{{\"id\":{GROUP},\"type\":\"supergroup\"}},\"date\":{date},{edited}\"text\":\"{}\"}}}}",
                record.status
            );
            held.updates.push((number, text));
        }
        held.records = records.to_vec();
    }

    fn intake(&self) -> IntakeConfig {
        parsed(&format!(
            r#"
            limits = {{ max_body_bytes = 65536 }}
            [telegram]
            url = "{}"
            token = {{ file = "token" }}
            accounts = "accounts.toml"
            limit = 2
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
        r#"{"ok":false,"error_code":400,"description":"Bad Request: unknown jurisdiction"}"#.to_owned()
    }

    fn id_of(&self) -> fn(&str) -> String {
        |record_id| {
            let message = record_id.strip_prefix(&format!("{GROUP}/")).unwrap();
            format!("{:04}", message.parse::<u32>().unwrap())
        }
    }

    fn told(&self, payload: &serde_json::Value) -> (String, String) {
        let update = &payload["update"];
        let message = if update["message"].is_null() { &update["edited_message"] } else { &update["message"] };
        (format!("{:04}", message["message_id"].as_u64().unwrap()), message["text"].as_str().unwrap().to_owned())
    }
}
