//! Drives the real binary as a user would.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that holds `data`, absolute. Where it is missing the test says so and is
/// skipped; in CI that is a failure.
pub fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("AHUAL_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let folder = root().join(named);
    if folder.join("data").is_dir() {
        return Some(folder.canonicalize().unwrap());
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "there is no real data in {}", folder.display());
    eprintln!("SKIPPED: there is no real data in {}; name its folder in AHUAL_SHARED", folder.display());
    None
}

/// What a gzipped file holds.
pub fn unpacked(path: &Path) -> String {
    let out = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(out.status.success(), "{} cannot be unpacked", path.display());
    String::from_utf8(out.stdout).unwrap()
}

/// A CSV text as its header and its rows. No row of these files holds a line break.
pub fn table(text: &str) -> (&str, Vec<&str>) {
    let mut lines = text.lines();
    (lines.next().unwrap(), lines.collect())
}

/// Header and rows as a file.
pub fn write_table(path: &Path, header: &str, rows: &[&str]) {
    std::fs::write(path, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
}

/// The same rows in another order, the same one for the same seed (SplitMix64,
/// Fisher and Yates).
pub fn shuffle<T>(rows: &mut [T], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    for last in (1..rows.len()).rev() {
        let other = next() % (last as u64 + 1);
        rows.swap(last, usize::try_from(other).unwrap());
    }
}

/// The text of an example's configuration, for reading from elsewhere: each source reads
/// `paths` (a TOML value each, in order), mappings are named absolutely.
pub fn rewired(example: &str, paths: &[String]) -> String {
    let folder = root().join("examples").join(example);
    let text = std::fs::read_to_string(folder.join("ahual.toml")).unwrap();
    let mut paths = paths.iter();
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with("path = ") {
            out.push_str(&format!("path = {}", paths.next().expect("a path for each source")));
        } else if let Some(sql) = line.strip_prefix("sql = ") {
            let sql = folder.join(sql.trim_matches('"'));
            out.push_str(&format!("sql = {}", quoted(&sql)));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    assert!(paths.next().is_none(), "more paths than sources");
    out
}

/// A path as a TOML text.
pub fn quoted(path: &Path) -> String {
    Value::from(path.to_str().unwrap()).to_string()
}

/// A configuration and a folder of state.
pub struct Deployment {
    pub config: PathBuf,
    pub data: PathBuf,
}

impl Deployment {
    /// An example as it stands in the repository.
    pub fn example(name: &str, data: PathBuf) -> Self {
        Self { config: root().join("examples").join(name).join("ahual.toml"), data }
    }

    /// A command of the binary, with the deployment named.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ahual"));
        command.arg(name).arg("--config").arg(&self.config).arg("--data").arg(&self.data);
        for variable in ["AHUAL_LOG", "AHUAL_KAFKA_BROKERS", "AHUAL_KAFKA_TOPIC_PREFIX", "RUST_LOG"] {
            command.env_remove(variable);
        }
        if let Some(shared) = shared() {
            command.env("AHUAL_SHARED", shared);
        }
        command
    }

    /// Runs until everything is read and folded; gives the summary.
    pub fn run(&self) -> Value {
        let out = self.command("run").arg("--until-idle").output().unwrap();
        let text = done(out, "ahual run");
        serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("the summary is no JSON ({e}): {text}"))
    }

    /// Lines of JSON that answer a question, as they are.
    pub fn lines(&self, as_of: Option<&str>, sql: &str) -> Vec<String> {
        let mut command = self.command("query");
        if let Some(moment) = as_of {
            command.args(["--as-of", moment]);
        }
        let out = command.args(["--output", "json", sql]).output().unwrap();
        done(out, sql).lines().map(str::to_owned).collect()
    }

    /// Rows that answer a question.
    pub fn query(&self, sql: &str) -> Vec<Value> {
        self.lines(None, sql).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one row that answers a question.
    pub fn row(&self, sql: &str) -> Value {
        self.row_as_of(None, sql)
    }

    /// The one row that answers a question as of a moment.
    pub fn row_as_of(&self, as_of: Option<&str>, sql: &str) -> Value {
        let lines = self.lines(as_of, sql);
        let [line] = lines.as_slice() else { panic!("{} rows answer {sql}", lines.len()) };
        serde_json::from_str(line).unwrap()
    }

    /// Names of all metrics.
    pub fn metrics(&self) -> Vec<String> {
        // Boards are formed from metrics and have no cells of their own.
        let sql = "SELECT replace(table_name, '_cells', '') AS table_name FROM information_schema.tables \
                   WHERE table_schema = 'metrics' AND table_name LIKE '%\\_cells' ORDER BY 1";
        let names: Vec<String> = self.query(sql).iter().map(|r| r["table_name"].as_str().unwrap().to_owned()).collect();
        assert!(names.len() >= 13, "metrics are missing: {names:?}");
        names
    }
}

/// What a command said, when it went well.
pub fn done(out: Output, what: &str) -> String {
    let said = String::from_utf8_lossy(&out.stderr);
    let shown: String = said.chars().take(3_000).collect();
    assert!(out.status.success(), "{what}: {}\n{shown}", out.status);
    String::from_utf8(out.stdout).unwrap()
}

/// How long another process may take for what it is about to do.
pub const SOON: Duration = Duration::from_secs(120);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Waits until `holds` finds that another process has done `what`. It has no way to tell
/// us, so it is looked at until [`SOON`] is over.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}: not within {SOON:?}");
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
}

/// Fails with what is only in one of two multisets of lines.
#[track_caller]
pub fn assert_same(what: &str, left: &[String], right: &[String]) {
    let sorted = |lines: &[String]| {
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        lines
    };
    let (left, right) = (sorted(left), sorted(right));
    if left == right {
        return;
    }
    let only = |a: &[String], b: &[String]| {
        let rest: Vec<&String> = a.iter().filter(|line| b.binary_search(line).is_err()).collect();
        let shown: Vec<&str> = rest.iter().take(4).map(|line| line.as_str()).collect();
        format!("{} of {} only here:\n{}", rest.len(), a.len(), shown.join("\n"))
    };
    panic!("{what} differs\n--- first: {}\n--- second: {}", only(&left, &right), only(&right, &left));
}
