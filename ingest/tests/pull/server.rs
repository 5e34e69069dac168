//! A small HTTP server on loopback that answers as told, lies about lengths, and breaks
//! off where asked to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as far as tests look at it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) length: Length,
}

/// What an answer says about its length.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    True,
    Claimed(u64),
    /// Nothing: the body ends when the connection does.
    Unsaid,
}

impl Told {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status: 200, headers, body: body.into(), length: Length::True }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::json("[]") }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn claiming(mut self, bytes: u64) -> Self {
        self.length = Length::Claimed(bytes);
        self
    }

    pub(crate) fn without_length(mut self) -> Self {
        self.length = Length::Unsaid;
        self
    }
}

type Answering = dyn Fn(&Asked) -> Told + Send + Sync;

/// The server; it stops with the runtime of its test.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    faults: Arc<Mutex<VecDeque<Told>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let faults: Arc<Mutex<VecDeque<Told>>> = Arc::default();
        let answer: Arc<Answering> = Arc::new(answer);
        let (seen, planned) = (asked.clone(), faults.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, seen, planned) = (answer.clone(), seen.clone(), planned.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let asked = parse(&String::from_utf8_lossy(&head));
                    seen.lock().unwrap().push(asked.clone());
                    let fault = planned.lock().unwrap().pop_front();
                    let told = fault.unwrap_or_else(|| answer(&asked));
                    let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", told.status);
                    match told.length {
                        Length::True => text.push_str(&format!("content-length: {}\r\n", told.body.len())),
                        Length::Claimed(bytes) => text.push_str(&format!("content-length: {bytes}\r\n")),
                        Length::Unsaid => {}
                    }
                    for (name, value) in &told.headers {
                        text.push_str(&format!("{name}: {value}\r\n"));
                    }
                    text.push_str("\r\n");
                    let _ = stream.write_all(text.as_bytes()).await;
                    let _ = stream.write_all(&told.body).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, asked, faults }
    }

    /// The next answers, before the server answers by itself again.
    pub(crate) fn fail_with(&self, told: impl IntoIterator<Item = Told>) {
        self.faults.lock().unwrap().extend(told);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn parse(head: &str) -> Asked {
    let mut lines = head.lines();
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let url = url::Url::parse("http://x").unwrap().join(&target).unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Asked { path: url.path().to_owned(), query: url.query_pairs().into_owned().collect(), headers }
}
