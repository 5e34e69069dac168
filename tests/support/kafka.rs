//! A real Apache Kafka broker for tests, of the root and of `ingest`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `host:port` of the broker all tests of this process share: the one `AHUAL_KAFKA`
/// names, or one started for them. Without Java and Maven it says so; with `CI=true`
/// that is a failure.
pub(crate) fn broker() -> Option<&'static str> {
    static BROKER: OnceLock<Option<String>> = OnceLock::new();
    BROKER.get_or_init(|| std::env::var("AHUAL_KAFKA").ok().or_else(start)).as_deref()
}

fn start() -> Option<String> {
    let on_path = |program: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(program).is_file())
    };
    let missing: Vec<_> = ["java", "mvn"].into_iter().filter(|program| !on_path(program)).collect();
    if !missing.is_empty() {
        let told = format!("no {} here, so no Kafka broker to test against", missing.join(" and "));
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{told}");
        eprintln!("SKIPPED: {told}");
        return None;
    }
    // The script stops the broker and removes the folder once this process has ended.
    let dir = tempfile::Builder::new().prefix("ahual-kafka-").tempdir().unwrap().keep();
    let id = std::process::id().to_string();
    let started = Command::new(script()).args(["start", "--while", &id, "--dir"]).arg(&dir).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&started.stdout), String::from_utf8_lossy(&started.stderr));
    assert!(started.status.success(), "the broker did not start: {err}");
    Some(out.lines().find_map(|line| line.strip_prefix("bootstrap=")).expect("bootstrap=").to_owned())
}

/// `tests/kafka/broker` of the workspace, seen from whichever package is tested.
fn script() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = package.ancestors().take(2).map(|folder| folder.join("tests/kafka/broker")).find(|path| path.is_file());
    found.expect("tests/kafka/broker")
}
