//! What social networks truly say: real updates, comments and webhooks that nobody here
//! wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, dead_code, missing_docs)]

#[path = "pull/server.rs"]
mod server;

use std::path::{Path, PathBuf};

use ahual_ingest::{Item, build};
use ahual_schemas::sealing::Sealer;
use serde_json::Value;
use server::{Server, Told};

/// The folder of shared data; a missing one is a visible skip, or a failure under CI.
fn shared(part: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("AHUAL_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let folder = folder.join("data/social").join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", folder.display());
    eprintln!("SKIPPED: {} is missing; name the folder of shared data in AHUAL_SHARED", folder.display());
    None
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[tokio::test]
async fn real_telegram_updates_become_records_or_are_set_aside_with_a_reason() {
    let Some(folder) = shared("telegram_luzrain") else { return };
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("tests_data_events_"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 13);
    let updates: Vec<String> = files.iter().map(|file| text(&folder, file)).collect();
    let body = format!("{{\"ok\":true,\"result\":[{}]}}", updates.join(","));
    let server = Server::start(move |_| Told::json(body.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "1:x").unwrap();
    let directory = "version = \"1\"\n[[account]]\nnetwork = \"telegram\"\nhandle = \"channel\"\nid = -1001505111111\nbody = \"b\"\nkato = \"352400000\"\nvalid_from = \"2022-01-01\"\n";
    std::fs::write(dir.path().join("accounts.toml"), directory).unwrap();
    let toml = format!(
        "[telegram]\nurl = \"{}\"\ntoken = {{ file = \"token\" }}\naccounts = \"accounts.toml\"\ndirect = \"channel\"",
        server.url
    );
    let mut connector = build("talk", toml::from_str(&toml).unwrap(), dir.path()).unwrap().connector;
    let page = connector.next_page(None, chrono::Utc::now()).await.unwrap();
    let sealer = Sealer::new("test", b"a secret of tests");
    let (mut records, mut aside) = (Vec::new(), Vec::new());
    for (file, item) in files.iter().zip(page.items) {
        match item {
            Item::Record(found) => {
                let named = found.identity.as_ref().unwrap().name(&found, &sealer).unwrap();
                let payload: Value = serde_json::from_slice(&found.payload).unwrap();
                let said: Value = serde_json::from_str(&text(&folder, file)).unwrap();
                assert_eq!(payload["update"], said, "{file}: what was said is kept");
                records.push((file.trim_start_matches("tests_data_events_"), named.record_id, payload["own"] == true));
            }
            Item::SetAside(refused) => aside.push((file.clone(), refused.reason)),
        }
    }
    let expected = [
        ("channelPost.json", "-1001505111111/2", true),
        ("command.json", "direct/2163", false),
        ("editedChannelPost.json", "-1001505111111/2", true),
        ("editedMessage.json", "direct/2163", false),
        ("message.json", "direct/2166", false),
    ];
    assert_eq!(records, expected.map(|(file, id, own)| (file, id.to_owned(), own)), "an edit keeps its record");
    assert_eq!(aside.len(), 8);
    assert!(aside.iter().all(|(_, reason)| reason.contains("neither a message nor a post")), "{aside:?}");
    // The highest number of the thirteen, and one.
    assert_eq!(page.cursor.position["offset"], 501_394_519);
}
