//! A secret goes to its source, and into no message.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use ahual_ingest::rest::RestConfig;
use ahual_ingest::{Connector, ConnectorError, IdentityConfig, IntakeConfig, build};
use wiremock::matchers::{header, method, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const CANARY: &str = "canary-5f2e9c";

fn connector(server: &MockServer, auth: &str, folder: &Path) -> Box<dyn Connector> {
    std::fs::write(folder.join("secret"), format!("{CANARY}\n")).unwrap();
    let rest: RestConfig = toml::from_str(&format!(
        "url = \"{}\"\npath = \"/records\"\nauth = {{ {auth}, secret = {{ file = \"secret\" }} }}\n",
        server.uri()
    ))
    .unwrap();
    let identity: IdentityConfig = toml::from_str("columns = [\"id\"]").unwrap();
    let intake = IntakeConfig { rest: Some(rest), identity: Some(identity), ..IntakeConfig::default() };
    build("canary", intake, folder).unwrap().connector
}

fn chain(error: &ConnectorError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(" {inner} {inner:?}"));
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn a_bearer_secret_reaches_the_source() {
    let (server, folder) = (MockServer::start().await, tempfile::tempdir().unwrap());
    Mock::given(method("GET"))
        .and(header("authorization", format!("Bearer {CANARY}")))
        .respond_with(ResponseTemplate::new(200).set_body_string("[{\"id\":\"1\"}]"))
        .expect(1)
        .mount(&server)
        .await;
    let page = connector(&server, "bearer = true", folder.path()).next_page(None, chrono::Utc::now()).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn a_query_secret_reaches_the_source_and_no_error() {
    let (server, folder) = (MockServer::start().await, tempfile::tempdir().unwrap());
    for status in [401_u16, 404, 500] {
        server.reset().await;
        // A source that quotes the request, as some do.
        Mock::given(query_param("key", CANARY))
            .respond_with(ResponseTemplate::new(status).set_body_string(format!("no such key: {CANARY}")))
            .expect(1)
            .mount(&server)
            .await;
        let mut door = connector(&server, "query = \"key\"", folder.path());
        let error = door.next_page(None, chrono::Utc::now()).await.map(|_| ()).unwrap_err();
        assert!(!chain(&error).contains(CANARY), "status {status}: {}", chain(&error));
    }
}
