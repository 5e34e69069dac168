//! Bad input gets a clear error and loses nothing: through the binary, end to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Bound of liveness: a child that says nothing for so long hangs.
const DEADLINE: Duration = Duration::from_secs(120);

const MAPPING: &str = "
SELECT _record, 'received' AS kind, parse_when(opened, 'Asia/Almaty') AS occurred_at, status, category FROM raw
UNION ALL
SELECT _record, 'closed', parse_when(closed, 'Asia/Almaty'), status, NULL FROM raw WHERE closed IS NOT NULL
";

const HEADER: &str = "id,opened,closed,status,category\n";

// --- a deployment of one source ---------------------------------------------------------

struct Deployment {
    folder: tempfile::TempDir,
}

impl Deployment {
    /// A deployment whose source has this connector table (and whatever else is given).
    fn new(connector: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deployment = Self { folder };
        deployment.write("calls.sql", MAPPING);
        deployment.write("ahual.toml", config(connector));
        deployment
    }

    fn of_file(name: &str) -> Self {
        Self::new(&format!("[source.files]\npath = \"{name}\"\n[source.identity]\ncolumns = [\"id\"]\n"))
    }

    /// An HTTP source tried thrice in quick succession, whose bodies are capped at 1 MB.
    fn of_server(connector: &str) -> Self {
        Self::new(&format!(
            "{connector}\n[source.limits]\nretry_first_s = 0.01\nretry_most_s = 0.05\ngive_up_after = 3\ntimeout_s = 20.0\nmax_body_bytes = 1000000\n"
        ))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ahual"));
        command.args([verb, "--config"]).arg(self.path("ahual.toml")).arg("--data").arg(self.data());
        for name in ["AHUAL_LOG", "AHUAL_KAFKA_BROKERS", "AHUAL_KAFKA_TOPIC_PREFIX", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self) -> Said {
        Said::of(&self.command("run").arg("--until-idle").output().unwrap())
    }

    fn ask(&self, sql: &str) -> Vec<Value> {
        let output = self.command("query").args(["--output", "json", sql]).output().unwrap();
        let said = Said::of(&output);
        assert_eq!(said.code, 0, "{sql}: {}", said.err);
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn case_ids(&self) -> Vec<String> {
        let rows = self.ask("SELECT case_id FROM core.cases ORDER BY case_id");
        rows.iter().map(|row| row["case_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Every dead letter; each says where it lies, and its bytes lie there.
    fn dead_letters(&self) -> Vec<Value> {
        let letters = self.ask(
            "SELECT d.source, d.reason, d.delivery, d.topic, d.\"partition\", d.\"offset\", count(r.\"offset\") AS kept \
             FROM ops.dead_letters d LEFT JOIN raw.records r ON r.topic = d.topic \
             AND r.\"partition\" = d.\"partition\" AND r.\"offset\" = d.\"offset\" \
             GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY d.delivery",
        );
        for letter in &letters {
            assert_eq!(letter["source"], "calls", "{letter}");
            assert!(letter["topic"] == "dead-letters" || letter["topic"] == "raw.calls", "{letter}");
            assert!(letter["partition"].is_i64() && letter["offset"].is_i64(), "{letter}");
            assert_eq!(letter["kept"], 1, "its bytes are kept: {letter}");
        }
        letters
    }

    /// The reason of the only dead letter.
    fn reason(&self) -> String {
        let letters = self.dead_letters();
        assert_eq!(letters.len(), 1, "{letters:?}");
        letters[0]["reason"].as_str().unwrap().to_owned()
    }

    /// The ledger's sums: pulled, stored, set aside, duplicates. It must close.
    fn ledger(&self) -> [i64; 4] {
        let rows = self.ask(
            "SELECT coalesce(sum(pulled), 0) AS pulled, coalesce(sum(stored), 0) AS stored, \
             coalesce(sum(set_aside), 0) AS set_aside, coalesce(sum(duplicates), 0) AS duplicates FROM ops.ledger",
        );
        let ledger = ["pulled", "stored", "set_aside", "duplicates"].map(|name| rows[0][name].as_i64().unwrap());
        assert_eq!(ledger[0], ledger[1] + ledger[2] + ledger[3], "the ledger closes: {ledger:?}");
        ledger
    }
}

fn config(connector: &str) -> String {
    format!(
        "[deployment]\ntime_zone = \"Asia/Almaty\"\n\n[[source]]\nname = \"calls\"\n{connector}\n[source.mapping]\n\
         sql = \"calls.sql\"\nregime = \"request_109\"\ntime_zone = \"Asia/Almaty\"\n\
         columns = [\"opened\", \"closed\", \"status\", \"category\"]\n"
    )
}

/// What a finished process said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    fn fails_with(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "{}", self.err);
        contains(&self.err, words);
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }

    #[track_caller]
    fn succeeds(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(self.out.lines().last().unwrap()).unwrap()
    }
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "'{word}' is missing in: {text}");
    }
}

// --- a server that answers what it is told ----------------------------------------------

/// What the n-th request is answered with: the whole answer, head and body.
type Answers = Box<dyn FnMut(usize) -> Vec<u8> + Send>;

struct Server {
    address: SocketAddr,
    asked: mpsc::Receiver<(Instant, String)>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(mut answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (note, asked) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(line) = request(&stream) else { continue };
                if line == "stop" {
                    return;
                }
                note.send((Instant::now(), line)).unwrap();
                // A client that has seen enough may hang up while it is still told.
                let _ = stream.write_all(&answers(count)).and_then(|()| stream.flush());
                count += 1;
            }
        });
        Self { address, asked, thread: Some(thread) }
    }

    fn always(answer: Vec<u8>) -> Self {
        Self::start(Box::new(move |_| answer.clone()))
    }

    /// What was asked until now.
    fn asked(&self) -> Vec<(Instant, String)> {
        self.asked.try_iter().collect()
    }

    fn rest(&self) -> String {
        format!(
            "[source.rest]\nurl = \"http://{}\"\npath = \"calls\"\n[source.identity]\ncolumns = [\"id\"]",
            self.address
        )
    }

    fn open311(&self) -> String {
        format!("[source.open311]\nurl = \"http://{}/open311/v2\"\nwindow_days = 365", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"stop\r\n\r\n");
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The first line of a request, whose head is read to its end.
fn request(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(|line| line.is_empty())?;
    Some(first)
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn json_answer(value: &Value) -> Vec<u8> {
    answer("200 OK", "Content-Type: application/json\r\n", &value.to_string())
}

fn two_calls() -> Value {
    json!([
        {"id": "1", "opened": "2026-01-05 09:00:00", "closed": "2026-01-06 09:00:00", "status": "closed", "category": "water"},
        {"id": "2", "opened": "2026-01-05 10:00:00", "closed": null, "status": "open", "category": "roads"},
    ])
}

// --- configuration ----------------------------------------------------------------------

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_name_and_nothing_starts() {
    let deployment = Deployment::of_file("calls.csv");
    let text = fs::read_to_string(deployment.path("ahual.toml")).unwrap();
    deployment.write("ahual.toml", text.replace("regime =", "regim ="));
    let line = text.lines().position(|line| line.starts_with("regime")).unwrap() + 1;
    let said = deployment.run();
    said.fails_with(&["ahual.toml", &format!("line {line}"), "unknown key 'regim'", "did you mean 'regime'"]);
    assert!(!deployment.data().exists(), "nothing was made");
}

#[test]
fn a_missing_mapping_is_named_with_its_source_and_nothing_starts() {
    let deployment = Deployment::of_file("calls.csv");
    fs::remove_file(deployment.path("calls.sql")).unwrap();
    let said = deployment.run();
    said.fails_with(&["ahual.toml", "source calls", "mapping.sql", "calls.sql"]);
    assert!(!deployment.data().exists(), "nothing was made");
}

#[test]
fn a_mapping_that_does_not_plan_names_its_file_and_what_it_misses_and_no_record_is_taken() {
    let deployment = Deployment::of_file("calls.csv");
    deployment.write("calls.csv", format!("{HEADER}1,2026-01-05 09:00:00,,open,water\n"));
    deployment.write("calls.sql", MAPPING.replace("category FROM", "categry FROM"));
    deployment.run().fails_with(&["source calls", "calls.sql", "categry"]);
    deployment.write("calls.sql", MAPPING);
    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), ["calls:1"]);
    assert_eq!(deployment.ledger(), [1, 1, 0, 0]);
}

#[test]
fn a_moment_that_cannot_be_read_is_said_with_how_to_write_one() {
    let deployment = Deployment::of_file("calls.csv");
    deployment.write("calls.csv", format!("{HEADER}1,2026-01-05 09:00:00,,open,water\n"));
    deployment.run().succeeds();
    let sql = "SELECT count(*) FROM core.cases";
    let output = deployment.command("query").args(["--as-of", "last tuesday", sql]).output().unwrap();
    Said::of(&output).fails_with(&["--as-of", "'last tuesday'", "2026-01-31T09:00:00+05:00"]);
}

// --- files ------------------------------------------------------------------------------

#[test]
fn a_truncated_gzip_is_set_aside_whole_and_taken_when_sent_again_whole() {
    let deployment = Deployment::new("[source.files]\npath = \"in/*.csv.gz\"\n[source.identity]\ncolumns = [\"id\"]\n");
    fs::create_dir(deployment.path("in")).unwrap();
    let whole = gzip_stored(format!("{HEADER}1,2026-01-05 09:00:00,,open,water\n2,2026-01-05 10:00:00,,open,roads\n"));
    deployment.write("in/a.csv.gz", &whole[..whole.len() - 20]);
    deployment.write("in/b.csv.gz", gzip_stored(format!("{HEADER}3,2026-01-05 11:00:00,,open,roads\n")));
    deployment.run().succeeds();
    contains(&deployment.reason(), &["a.csv.gz", "truncated", "send it again"]);
    assert_eq!(deployment.case_ids(), ["calls:3"], "no row of a broken file is taken, the other file is");
    assert_eq!(deployment.ledger(), [2, 1, 1, 0]);

    deployment.write("in/a.csv.gz", &whole);
    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), ["calls:1", "calls:2", "calls:3"]);
    assert_eq!(deployment.ledger(), [4, 3, 1, 0]);
}

/// A gzip stream of one stored block.
fn gzip_stored(text: String) -> Vec<u8> {
    let bytes = text.into_bytes();
    let length = u16::try_from(bytes.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(&bytes);
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// Takes two good rows and a bad one between them; returns why the bad one was set aside.
fn reason_of_row(bad: &[u8]) -> String {
    let deployment = Deployment::of_file("calls.csv");
    let mut text = format!("{HEADER}1,2026-01-05 09:00:00,2026-01-06 09:00:00,closed,water\n").into_bytes();
    text.extend(bad);
    text.extend(b"\n3,2026-01-05 11:00:00,,open,roads\n");
    deployment.write("calls.csv", text);
    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), ["calls:1", "calls:3"], "the rows around it are taken");
    assert_eq!(deployment.ledger(), [3, 2, 1, 0]);
    let reason = deployment.reason();
    // Reading on finds nothing new: what was set aside is not lost and not set aside twice.
    deployment.run().succeeds();
    assert_eq!(deployment.ledger(), [3, 2, 1, 0]);
    assert_eq!(deployment.reason(), reason);
    reason
}

#[test]
fn a_row_with_a_shifted_column_is_set_aside_with_its_line_and_counts() {
    let reason = reason_of_row(b"2,2026-01-05 10:00:00,,open,roads, and pavements");
    contains(&reason, &["line 3", "6 cells where the header has 5", "shifted"]);
}

#[test]
fn a_row_that_is_not_utf8_is_set_aside_with_the_byte_and_the_setting_to_change() {
    let reason = reason_of_row(b"2,2026-01-05 10:00:00,,open,\xe4\xee\xf0\xee\xe3\xe8");
    let byte = HEADER.len()
        + "1,2026-01-05 09:00:00,2026-01-06 09:00:00,closed,water\n".len()
        + "2,2026-01-05 10:00:00,,open,".len();
    contains(&reason, &["line 3", &format!("byte {byte} "), "not UTF-8", "files.encoding"]);
}

#[test]
fn a_row_whose_time_cannot_be_read_is_set_aside_with_the_event_and_column() {
    let reason = reason_of_row(b"2,05/32/2026,,open,roads");
    contains(&reason, &["unreadable time", "occurred_at of received"]);
}

#[test]
fn a_row_without_an_id_is_set_aside_with_the_column_that_names_it() {
    let reason = reason_of_row(b",2026-01-05 10:00:00,,open,roads");
    contains(&reason, &["no id", "column id is missing or blank"]);
}

#[test]
fn a_row_closed_before_it_was_received_is_set_aside_with_the_difference() {
    let reason = reason_of_row(b"2,2026-01-05 10:00:00,2026-01-05 09:00:00,closed,roads");
    contains(&reason, &["closed before received", "3600 s"]);
}

#[test]
fn a_header_without_the_id_column_stops_the_source_naming_the_nearest_and_is_read_once_it_is_right() {
    let deployment = Deployment::of_file("calls.csv");
    let row = "1,2026-01-05 09:00:00,,open,water\n";
    deployment.write("calls.csv", format!("{}{row}", HEADER.replacen("id,", "idd,", 1)));
    deployment.run().fails_with(&["calls.csv", "no column 'id'", "'idd'", "correct the profile or the file"]);
    deployment.write("calls.csv", format!("{HEADER}{row}"));
    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), ["calls:1"]);
    assert_eq!(deployment.ledger(), [1, 1, 0, 0]);
}

// --- servers ----------------------------------------------------------------------------

/// A source whose server first answers badly and then well: the first run fails with these
/// words and takes nothing, and the second takes everything.
fn first_bad_then_good(server: Server, connector: &str, bad_answers: usize, words: &[&str], cases: &[&str]) {
    let deployment = Deployment::of_server(connector);
    let said = deployment.run();
    said.fails_with(words);
    contains(&said.err, &["calls", "did not come through"]);
    assert_eq!(server.asked().len(), bad_answers, "tried as often as limits.give_up_after says");
    assert_eq!(deployment.case_ids(), Vec::<String>::new());
    assert_eq!(deployment.dead_letters(), Vec::<Value>::new(), "an answer that may be right later is no record");

    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), cases, "the cursor had not moved");
    let taken = i64::try_from(cases.len()).unwrap();
    assert_eq!(deployment.ledger(), [taken, taken, 0, 0]);
}

#[test]
fn an_open311_error_array_is_told_in_the_endpoints_words_and_does_not_move_the_cursor() {
    let server = Server::start(Box::new(|count| {
        if count < 3 {
            return json_answer(&json!([{"code": 400, "description": "jurisdiction_id was not found"}]));
        }
        let request = |id: &str| json!({"service_request_id": id, "status": "open", "requested_datetime": "2026-01-05T09:00:00Z"});
        json_answer(&json!([request("1"), request("2")]))
    }));
    let connector = format!("{}\nstart = \"2026-01-01T00:00:00Z\"\nrescan = \"none\"\n", server.open311());
    let words = ["requests.json", "answered with an error of its own", "400 jurisdiction_id was not found"];
    let deployment = Deployment::of_server(&connector);
    deployment
        .write("calls.sql", "SELECT _record, 'received' AS kind, parse_when(opened, 'UTC') AS occurred_at FROM raw");
    let text = fs::read_to_string(deployment.path("ahual.toml")).unwrap();
    let columns = text.lines().find(|line| line.starts_with("columns")).unwrap();
    deployment.write("ahual.toml", text.replace(columns, "columns = { opened = \"requested_datetime\" }"));
    let said = deployment.run();
    said.fails_with(&words);
    assert_eq!(server.asked().len(), 3, "tried as often as limits.give_up_after says");
    assert_eq!(deployment.dead_letters(), Vec::<Value>::new());

    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), ["calls:1", "calls:2"], "the window was asked for again");
    assert_eq!(deployment.ledger(), [2, 2, 0, 0]);
}

#[test]
fn a_web_page_with_status_200_is_named_and_does_not_move_the_cursor() {
    let server = Server::start(Box::new(|count| {
        if count < 3 {
            let page = "<!DOCTYPE html><html><head><title>Under maintenance</title></head></html>";
            answer("200 OK", "Content-Type: text/html\r\n", page)
        } else {
            json_answer(&two_calls())
        }
    }));
    let connector = server.rest();
    let words = ["/calls", "a web page titled 'under maintenance'", "instead of JSON"];
    first_bad_then_good(server, &connector, 3, &words, &["calls:1", "calls:2"]);
}

#[test]
fn a_server_that_is_busy_is_asked_again_no_sooner_than_it_says() {
    let server = Server::start(Box::new(|count| match count {
        0 => answer("429 Too Many Requests", "Retry-After: 1\r\n", ""),
        _ => json_answer(&two_calls()),
    }));
    let deployment = Deployment::of_server(&server.rest());
    let said = deployment.run();
    said.succeeds();
    contains(&said.err, &["is busy: HTTP 429"]);
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let waited = asked[1].0 - asked[0].0;
    assert!(waited >= Duration::from_secs(1), "asked again after {waited:?}");
    assert_eq!(deployment.case_ids(), ["calls:1", "calls:2"]);
    assert_eq!(deployment.ledger(), [2, 2, 0, 0]);
}

#[test]
fn a_body_that_claims_nine_gigabytes_is_refused_unread_and_does_not_move_the_cursor() {
    let server = Server::start(Box::new(|count| {
        match count {
        0 => b"HTTP/1.1 200 OK\r\nContent-Length: 9663676416\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[".to_vec(),
        _ => json_answer(&two_calls()),
    }
    }));
    let connector = server.rest();
    let words = ["/calls", "claims 9663676416 bytes", "over the cap of 1000000 bytes", "raise limits.max_body_bytes"];
    first_bad_then_good(server, &connector, 1, &words, &["calls:1", "calls:2"]);
}

#[test]
fn a_page_that_is_too_large_is_set_aside_and_stepped_past_where_pages_are_numbered() {
    let server = Server::start(Box::new(|count| match count {
        0 => b"HTTP/1.1 200 OK\r\nContent-Length: 9663676416\r\nConnection: close\r\n\r\n[".to_vec(),
        1 => json_answer(&two_calls()),
        _ => json_answer(&json!([])),
    }));
    let connector = format!("{}\n[source.rest.paging]\nkind = \"page\"", server.rest());
    let deployment = Deployment::of_server(&connector);
    deployment.run().succeeds();
    contains(
        &deployment.reason(),
        &["page=1", "claims 9663676416 bytes", "stepped past", "raise limits.max_body_bytes"],
    );
    assert_eq!(deployment.case_ids(), ["calls:1", "calls:2"]);
    assert_eq!(deployment.ledger(), [3, 2, 1, 0]);
}

#[test]
fn a_server_that_does_not_let_us_in_is_asked_once_and_the_secret_is_pointed_at() {
    let server = Server::always(answer("401 Unauthorized", "", "{\"error\":\"bad key\"}"));
    let deployment = Deployment::of_server(&server.rest());
    deployment.run().fails_with(&["/calls", "HTTP 401", "check the source's auth and secret"]);
    assert_eq!(server.asked().len(), 1);
}

// --- one owner --------------------------------------------------------------------------

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the process says so; what it says after that is read and forgotten.
fn wait_for(child: &mut Child, word: &'static str) {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (note, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.contains(word) {
                let _ = note.send(());
            }
        }
    });
    heard.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("the running process never said '{word}'"));
}

#[test]
fn a_data_folder_owned_by_a_running_process_is_refused_by_name_and_left_alone() {
    let deployment = Deployment::new(
        "[source.files]\npath = \"in\"\nwatch = true\nsettle_s = 0.0\n[source.identity]\ncolumns = [\"id\"]\n",
    );
    fs::create_dir(deployment.path("in")).unwrap();
    deployment.write("in/a.csv", format!("{HEADER}1,2026-01-05 09:00:00,,open,water\n"));
    let text = fs::read_to_string(deployment.path("ahual.toml")).unwrap();
    deployment.write("ahual.toml", format!("{text}\n[sinks.http]\nlisten = \"127.0.0.1:0\"\n"));
    let mut owner = Running(deployment.command("run").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    wait_for(&mut owner.0, "http://127.0.0.1:");

    let said = deployment.run();
    assert!(matches!(said.code, 1 | 75), "{}: {}", said.code, said.err);
    contains(&said.err, &["another process", "stop", deployment.data().to_str().unwrap()]);
    assert!(owner.0.try_wait().unwrap().is_none(), "the owner runs on");

    drop(owner);
    deployment.run().succeeds();
    assert_eq!(deployment.case_ids(), ["calls:1"]);
    assert_eq!(deployment.ledger(), [1, 1, 0, 0]);
}
