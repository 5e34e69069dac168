//! The Postgres server through `tokio-postgres`, which prepares every statement.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::secret::SecretRef;
use ahual_sinks::Bound;
use ahual_sinks::postgres::{PostgresConfig, PostgresUser, serve};
use fake::Fake;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    bound: Bound,
    stop: CancellationToken,
}

impl Server {
    async fn start(fake: &Arc<Fake>) -> Self {
        let password = SecretRef::Development("correct horse".into());
        let config = PostgresConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            users: vec![PostgresUser { name: "analyst".into(), password }],
            ..PostgresConfig::default()
        };
        let stop = CancellationToken::new();
        let bound = serve(config, fake.clone(), stop.clone()).await.unwrap();
        Self { bound, stop }
    }

    async fn connect(&self, password: &str) -> Result<(Client, JoinHandle<Result<(), Error>>), Error> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.bound.address.port()).dbname("ahual").user("analyst").password(password);
        let (client, connection) = config.connect(NoTls).await?;
        Ok((client, tokio::spawn(connection)))
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.bound.task).await.unwrap().unwrap().unwrap();
    }
}

fn code(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

#[tokio::test]
async fn a_prepared_statement_follows_the_newest_epoch() {
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    let (client, _connection) = server.connect("correct horse").await.unwrap();
    let sql = "SELECT count(*) FROM core.cases WHERE state = $1 AND events >= $2";
    let statement = client.prepare(sql).await.unwrap();
    for count in [2_i64, 5, 3] {
        fake.publish_cases(usize::try_from(count).unwrap());
        let row = client.query_one(&statement, &[&"open", &1_i32]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), count);
    }
    let row = client.query_one(&statement, &[&"closed", &1_i32]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    let rows = client.query("SELECT case_id, longitude, status FROM core.cases ORDER BY 1", &[]).await.unwrap();
    assert_eq!(rows[1].get::<_, String>(0), "call-centre:1");
    assert_eq!(rows[1].get::<_, f64>(1), 73.1);
    assert_eq!(rows[1].get::<_, Option<String>>(2), None);
    server.stop().await;
}

#[tokio::test]
async fn what_writes_is_refused_when_it_is_prepared() {
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    let (client, _connection) = server.connect("correct horse").await.unwrap();
    for sql in ["INSERT INTO core.cases (case_id) VALUES ('x')", "DROP TABLE core.cases", "CREATE TABLE x (n INT)"] {
        let error = client.execute(sql, &[]).await.unwrap_err();
        assert_eq!(code(&error), "25006", "{sql} → {error:?}");
    }
    assert_eq!(code(&client.query("SELECT * FROM core.x", &[]).await.unwrap_err()), "42P01");
    assert_eq!(client.query_one("SELECT count(*) FROM core.cases", &[]).await.unwrap().get::<_, i64>(0), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_transaction_reads_and_ends() {
    let fake = Fake::new();
    fake.publish_cases(2);
    let server = Server::start(&fake).await;
    let (mut client, _connection) = server.connect("correct horse").await.unwrap();
    let transaction = client.build_transaction().read_only(true).start().await.unwrap();
    assert_eq!(transaction.query_one("SELECT count(*) FROM core.cases", &[]).await.unwrap().get::<_, i64>(0), 2);
    transaction.commit().await.unwrap();
    let error = client.build_transaction().read_only(false).start().await.err().unwrap();
    assert_eq!(code(&error), "25006");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_cancel_what_it_has_asked_for() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let (client, _connection) = server.connect("correct horse").await.unwrap();
    let cancel = client.cancel_token();
    let endless = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b, \
                   generate_series(1, 1000000) c WHERE a.value + b.value + c.value < 0";
    let asked = tokio::spawn(async move { client.simple_query(endless).await.err().unwrap() });
    let begun = async {
        while *fake.sessions.lock().unwrap() < 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    cancel.cancel_query(NoTls).await.unwrap();
    let error = timeout(PATIENCE, asked).await.unwrap().unwrap();
    assert_eq!(code(&error), "57014", "{error:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_has_its_code() {
    let fake = Fake::new();
    let server = Server::start(&fake).await;
    let error = server.connect("wrong").await.err().unwrap();
    assert_eq!(code(&error), "28P01");
    server.stop().await;
}
