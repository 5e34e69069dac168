//! The Postgres server through the real `psql`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod fake;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::secret::SecretRef;
use ahual_sinks::postgres::{PostgresConfig, PostgresUser, serve};
use ahual_sinks::{Bound, SinkError};
use fake::Fake;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse";

/// Whether `psql` is on this machine. Its absence is a failure where it is promised.
async fn psql_is_here() -> bool {
    let found = Command::new("psql").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "psql is missing: install postgresql-client");
    eprintln!("SKIPPED: psql is missing; install postgresql-client to run this test");
    false
}

struct Server {
    bound: Bound,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Answer {
    ok: bool,
    out: String,
    err: String,
}

impl Server {
    async fn start(fake: &Arc<Fake>) -> Self {
        Self::start_with(fake, PostgresConfig::default()).await
    }

    async fn start_with(fake: &Arc<Fake>, config: PostgresConfig) -> Self {
        let password = SecretRef::Development(PASSWORD.into());
        let config = PostgresConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            users: vec![PostgresUser { name: "analyst".into(), password }],
            ..config
        };
        let stop = CancellationToken::new();
        let bound = serve(config, fake.clone(), stop.clone()).await.unwrap();
        Self { bound, stop }
    }

    fn psql(&self, user: &str, password: Option<&str>) -> Command {
        let mut command = Command::new("psql");
        command
            .args(["-X", "-w", "-A", "-t", "-h", "127.0.0.1", "-d", "ahual", "-U", user])
            .args(["-p", &self.bound.address.port().to_string()])
            .args(["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"])
            .env_remove("PGPASSWORD")
            .env("PGPASSFILE", "/dev/null")
            .env("PGCONNECT_TIMEOUT", "30")
            .stdin(Stdio::piped())
            .kill_on_drop(true);
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        command
    }

    async fn run(&self, sql: &str) -> Answer {
        answer(self.psql("analyst", Some(PASSWORD)).args(["-c", sql])).await
    }

    /// The output of what must succeed.
    async fn ask(&self, sql: &str) -> String {
        let answer = self.run(sql).await;
        assert!(answer.ok, "{sql} → {answer:?}");
        answer.out.trim().to_owned()
    }

    /// What psql says about what must fail.
    async fn refused(&self, sql: &str, code: &str) -> String {
        let answer = self.run(sql).await;
        assert!(!answer.ok, "{sql} → {answer:?}");
        assert!(answer.err.contains(code), "{sql} → {answer:?}");
        answer.err
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.bound.task).await.unwrap().unwrap().unwrap();
    }
}

async fn answer(command: &mut Command) -> Answer {
    let output = timeout(PATIENCE, command.output()).await.expect("psql hangs").unwrap();
    Answer {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn only_the_right_password_opens() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    assert_eq!(server.ask("SELECT 1").await, "1");
    for (user, password) in
        [("analyst", Some("wrong")), ("analyst", Some("")), ("stranger", Some(PASSWORD)), ("analyst", None)]
    {
        let answer = answer(server.psql(user, password).args(["-c", "SELECT 1"])).await;
        assert!(!answer.ok && answer.out.is_empty(), "{user} {password:?} → {answer:?}");
        let said =
            if password.is_none_or(str::is_empty) { "password" } else { "password authentication failed for user" };
        assert!(answer.err.contains(said), "{user} {password:?} → {answer:?}");
    }
    assert_eq!(*fake.sessions.lock().unwrap(), 1, "nobody else reached the tables");
    server.stop().await;
}

#[tokio::test]
async fn counts_follow_the_newest_epoch_statement_by_statement() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    fake.publish_cases(3);
    let server = Server::start(&fake).await;
    assert_eq!(server.ask("SELECT count(*) FROM core.cases").await, "3");
    let mut psql = server.psql("analyst", Some(PASSWORD)).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = psql.stdin.take().unwrap();
    let mut output = psql.stdout.take().unwrap();
    for count in [4, 5] {
        fake.publish_cases(count);
        input.write_all(b"SELECT count(*) FROM core.cases;\n").await.unwrap();
        input.flush().await.unwrap();
        let mut said = [0; 2];
        timeout(PATIENCE, output.read_exact(&mut said)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&said), format!("{count}\n"));
    }
    drop(input);
    assert!(timeout(PATIENCE, psql.wait()).await.unwrap().unwrap().success());
    server.stop().await;
}

#[tokio::test]
async fn psql_can_look_around() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    for command in ["\\dt", "\\dt core.*"] {
        let out = server.ask(command).await;
        assert!(out.contains("core|cases|table"), "{command} → {out}");
    }
    let out = server.ask("\\d core.cases").await;
    for column in ["case_id|text", "received_at|timestamp with time zone", "longitude|double precision"] {
        assert!(out.contains(column), "{column} is not in\n{out}");
    }
    assert!(server.ask("\\l").await.contains("ahual|"));
    let out = server.ask("\\dn").await;
    assert!(out.lines().any(|line| line.starts_with("core|")), "{out}");
    assert!(!server.ask("SELECT version()").await.is_empty());
    assert_eq!(server.ask("SELECT current_database()").await, "ahual");
    assert_eq!(server.ask("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'core'").await, "1");
    server.stop().await;
}

#[tokio::test]
async fn values_come_as_a_client_expects_them() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    fake.publish_cases(1);
    let server = Server::start(&fake).await;
    let out = server.ask("SELECT case_id, status IS NULL, received_on, extended, longitude FROM core.cases").await;
    assert_eq!(out, "call-centre:0|t|2023-11-14|f|73.1");
    assert!(server.ask("SELECT received_at FROM core.cases").await.starts_with("2023-11-14 22:13:20"));
    server.stop().await;
}

#[tokio::test]
async fn the_search_path_is_honoured() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    server.refused("SELECT count(*) FROM cases", "42P01").await;
    let answer = answer(server.psql("analyst", Some(PASSWORD)).args([
        "-q",
        "-c",
        "SET search_path TO nowhere, core",
        "-c",
        "SELECT count(*) FROM cases",
        "-c",
        "SHOW search_path",
    ]))
    .await;
    assert!(answer.ok, "{answer:?}");
    assert_eq!(answer.out, "2\nnowhere, core\n");
    server.stop().await;
}

#[tokio::test]
async fn nothing_can_be_written() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    for sql in [
        "INSERT INTO core.cases (case_id) VALUES ('x')",
        "DELETE FROM core.cases",
        "UPDATE core.cases SET state = 'closed'",
        "DROP TABLE core.cases",
        "CREATE TABLE core.x (n INT)",
        "CREATE VIEW core.x AS SELECT 1",
        "TRUNCATE core.cases",
        "COPY core.cases FROM STDIN",
        "SELECT * INTO core.x FROM core.cases",
    ] {
        let said = server.refused(sql, "25006").await;
        assert!(said.contains("only reads"), "{said}");
    }
    server.refused("SET datafusion.execution.batch_size = 1", "42704").await;
    assert_eq!(server.ask("SELECT count(*) FROM core.cases").await, "2");
    server.stop().await;
}

#[tokio::test]
async fn a_mistake_gets_a_code_and_the_connection_lives_on() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    let said = server.refused("SELECT * FROM core.casses", "42P01").await;
    assert!(said.contains("casses"), "{said}");
    let said = server.refused("SELECT colour FROM core.cases", "42703").await;
    assert!(said.contains("colour"), "{said}");
    server.refused("SELEC 1", "42601").await;
    let mut psql = server.psql("analyst", Some(PASSWORD));
    let answer = answer(psql.args(["-v", "ON_ERROR_STOP=0", "-c", "SELECT nothing", "-c", "SELECT 7"])).await;
    assert_eq!(answer.out, "7\n");
    server.stop().await;
}

#[tokio::test]
async fn before_anything_is_published_a_statement_says_so() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    *fake.published.lock().unwrap() = false;
    let server = Server::start(&fake).await;
    assert!(server.refused("SELECT 1", "55000").await.contains("nothing is published yet"));
    server.stop().await;
}

/// Ends on no machine, and needs hardly any memory.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b, \
                       generate_series(1, 1000000) c WHERE a.value + b.value + c.value < 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_cancelled() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let mut psql = server.psql("analyst", Some(PASSWORD));
    let answer = answer(psql.args(["-c", "SET statement_timeout = 200", "-c", ENDLESS])).await;
    assert!(answer.err.contains("57014") && answer.err.contains("statement timeout"), "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_idle_connections_and_overdue_statements() {
    if !psql_is_here().await {
        return;
    }
    let fake = Fake::new();
    let config = PostgresConfig { drain_seconds: 1, ..PostgresConfig::default() };
    let server = Server::start_with(&fake, config).await;
    let mut idle = server.psql("analyst", Some(PASSWORD));
    let mut idle = idle.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = idle.stdin.take().unwrap();
    input.write_all(b"SELECT 1;\n").await.unwrap();
    let mut said = [0; 2];
    timeout(PATIENCE, idle.stdout.as_mut().unwrap().read_exact(&mut said)).await.unwrap().unwrap();
    let mut busy = server.psql("analyst", Some(PASSWORD));
    let busy = busy.args(["-c", ENDLESS]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The statement has begun once it has taken its session.
    let begun = async {
        while *fake.sessions.lock().unwrap() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    server.stop().await;
    let busy = timeout(PATIENCE, busy.wait_with_output()).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&busy.stderr).contains("stopping"), "{busy:?}");
    drop(input);
    timeout(PATIENCE, idle.wait()).await.unwrap().unwrap();
}

/// A message of the wire protocol.
fn message(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend(body);
    message
}

#[tokio::test]
async fn a_client_that_skips_the_login_runs_nothing() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let startup = message(None, b"\x00\x03\x00\x00user\x00analyst\x00\x00");
    let query = message(Some(b'Q'), b"SELECT 1\x00");
    let nonsense = message(Some(b'p'), b"SCRAM-SHA-256\x00\x00\x00\x00\x04nope");
    for after_startup in [vec![query.clone()], vec![nonsense, query.clone(), query]] {
        let mut socket = TcpStream::connect(server.bound.address).await.unwrap();
        socket.write_all(&startup).await.unwrap();
        for message in after_startup {
            // The server may have hung up already, which is as well.
            if socket.write_all(&message).await.is_err() {
                break;
            }
        }
        let _ = socket.shutdown().await;
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut said)).await.unwrap();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("SELECT 1"), "a statement was run: {said}");
    }
    assert_eq!(*fake.sessions.lock().unwrap(), 0);
    server.stop().await;
}

#[tokio::test]
async fn an_address_off_loopback_is_refused() {
    let config = PostgresConfig { listen: "0.0.0.0:0".parse().unwrap(), ..PostgresConfig::default() };
    let error = serve(config, Fake::new(), CancellationToken::new()).await.unwrap_err();
    let SinkError::Config { faults, .. } = error else { panic!("{error}") };
    assert_eq!(faults.len(), 2);
}
