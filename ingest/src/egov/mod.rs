//! The open data portal of Kazakhstan (data.egov.kz), API v4.
//!
//! A question is an Elasticsearch query in the parameter `source`; the answer is a bare
//! array, or, with the same HTTP 200, an object that says what went wrong. Rows are asked
//! for by when they were changed, in windows of the portal's own clock that are halved
//! until none is full: an offset alone would drift while rows change. Only rows of one
//! and the same second (a whole set loaded at once) are read on by offset, each page
//! beginning with the last row of the one before, so that a shift is noticed.
//!
//! Windows are kept in *local* seconds as the portal writes them. When its clock is set
//! back an hour, the watermark goes back with it, and that hour is asked for again.

mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

pub use self::config::EgovConfig;
use crate::config::{ConfigError, LimitsConfig, setting};
use crate::connector::{Connector, ConnectorError, Cursor, Description, Item, Page, Refused, Replay};
use crate::http::{Answer, AuthConfig, Fetcher, excerpt, records_of, said, web_page};
use crate::identity::Identity;
use crate::rest::address;
use crate::seen::Seen;
use crate::turn::Turn;

const SHAPE: u32 = 1;
/// As the portal writes times.
const WRITTEN: &str = "%Y-%m-%d %H:%M:%S";
/// Calls a minute, unless the configuration says otherwise; the portal tolerates about 35.
pub(crate) const CALLS_A_MINUTE: u32 = 30;
/// The portal refuses offsets and sizes beyond this.
const MOST_ROWS: u64 = 10_000;
/// How often a run of pages that shifted is begun anew.
const MOST_RESTARTS: u32 = 3;
/// Words by which a 403 speaks of the key; without them the portal is merely too busy.
const KEY_WORDS: [&str; 6] = ["apikey", "api key", "api_key", "ключ", "кілт", "unauthorized"];

/// Reads one data set.
pub struct EgovConnector {
    config: EgovConfig,
    url: Url,
    fetcher: Fetcher,
    identity: Arc<Identity>,
    zone: Tz,
    start_s: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    #[serde(flatten)]
    turn: Turn,
    /// Rows changed before this were asked for; seconds of the portal's local clock.
    watermark_s: Option<i64>,
    /// What is still to be asked in this cycle, the next one last.
    plan: Vec<Ask>,
    seen: Seen,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ask {
    /// Rows changed from the first and before the second, local seconds; all when absent.
    window: Option<(i64, i64)>,
    /// Rows passed over.
    offset: u64,
    /// Rows asked for.
    size: u64,
    /// Hash of the row just before `offset`: the page begins with it again.
    joint: Option<String>,
    /// How often this window was begun anew because its pages shifted.
    restarts: u32,
}

impl Ask {
    fn new(window: Option<(i64, i64)>, size: u64) -> Self {
        Self { window, offset: 0, size, joint: None, restarts: 0 }
    }

    /// Two windows that together are this one; none where it is a second or has none.
    fn halves(&self) -> Option<[Self; 2]> {
        let (from_s, to_s) = self.window.filter(|(from_s, to_s)| to_s - from_s > 1)?;
        let middle_s = from_s + (to_s - from_s) / 2;
        Some([(from_s, middle_s), (middle_s, to_s)].map(|window| Self::new(Some(window), self.size)))
    }
}

impl EgovConnector {
    /// Checks the configuration and reads its secret; asks nothing of the network.
    pub fn new(
        name: &str,
        config: EgovConfig,
        base_dir: &Path,
        identity: Arc<Identity>,
        limits: &LimitsConfig,
    ) -> Result<Self, ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("egov.{key}"), what);
        for (key, part) in [("dataset", &config.dataset), ("version", &config.version)] {
            let plain = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if !plain {
                return Err(wrong(key, "holds only letters, digits, '_' and '-', as in the address of the data set"));
            }
        }
        let path = format!("api/v4/{}/{}", config.dataset, config.version);
        let url = address(&config.url, &path).map_err(|what| wrong("url", &what))?;
        let Ok(zone) = config.zone.parse() else {
            return Err(wrong("zone", "is no zone of the tz database; write one such as Asia/Almaty"));
        };
        let Ok(start) = NaiveDateTime::parse_from_str(&config.start, WRITTEN) else {
            return Err(wrong("start", "is no local time; write one such as 2026-01-01 00:00:00"));
        };
        if !(2..=MOST_ROWS).contains(&config.page_size) {
            return Err(wrong("page_size", "must be from 2 to 10000"));
        }
        if config.modified.is_empty() {
            return Err(wrong("modified", "names no field; say whole = true where rows do not tell when they changed"));
        }
        let auth =
            AuthConfig { header: None, query: Some("apiKey".to_owned()), bearer: false, secret: config.key.clone() };
        // 403 is what the portal says when it has no key, and when it has too much to do.
        let fetcher = Fetcher::new(name, &url, Some(&auth), base_dir, limits, &[403])?;
        Ok(Self { config, url, fetcher, identity, zone, start_s: start.and_utc().timestamp() })
    }

    /// What a cycle that begins `now` asks for, and the watermark it leads to.
    fn plan(&self, watermark_s: Option<i64>, now: DateTime<Utc>) -> (Vec<Ask>, Option<i64>) {
        if self.config.whole {
            return (vec![Ask::new(None, self.config.page_size)], None);
        }
        let to_s = now.with_timezone(&self.zone).naive_local().and_utc().timestamp() - i64::from(self.config.lag_s);
        let overlap_s = i64::from(self.config.overlap_s);
        // The portal's clock may have been set back since.
        let from_s = watermark_s.map_or(self.start_s, |at| at.min(to_s) - overlap_s).max(self.start_s);
        if from_s >= to_s {
            return (Vec::new(), watermark_s.map(|at| at.min(to_s)));
        }
        (vec![Ask::new(Some((from_s, to_s)), self.config.page_size)], Some(to_s))
    }

    fn address(&self, ask: &Ask) -> Url {
        let mut source = serde_json::Map::new();
        source.insert("from".to_owned(), (ask.offset - u64::from(ask.joint.is_some())).into());
        source.insert("size".to_owned(), ask.size.into());
        if let Some((from_s, to_s)) = ask.window {
            let field = &self.config.modified;
            let range = serde_json::json!({"gte": written(from_s), "lt": written(to_s)});
            source.insert("query".to_owned(), serde_json::json!({"range": {field: range}}));
            source.insert("sort".to_owned(), serde_json::json!([{field: "asc"}]));
        }
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("source", &serde_json::Value::Object(source).to_string());
        url
    }

    /// A failure as this portal means it.
    fn meant(error: ConnectorError) -> ConnectorError {
        let ConnectorError::Busy { what, status: 403, after } = error else { return error };
        let words = what.rsplit_once("(it says ").map_or(String::new(), |(_, words)| words.to_lowercase());
        if KEY_WORDS.iter().any(|word| words.contains(word)) {
            let hint = "check egov.key: an account of the portal shows its own";
            return ConnectorError::Denied { what, status: 403, hint };
        }
        ConnectorError::Busy { what, status: 403, after }
    }

    fn records<'a>(&self, answer: &'a Answer) -> Result<Vec<&'a RawValue>, ConnectorError> {
        let what = || answer.what.clone();
        let unreadable = |found: String, expected| ConnectorError::Unreadable { what: what(), found, expected };
        if let Some(page) = web_page(answer) {
            return Err(unreadable(page, "JSON"));
        }
        let document: &RawValue =
            serde_json::from_slice(&answer.body).map_err(|_| unreadable(excerpt(&answer.body), "whole JSON"))?;
        if document.get().starts_with('[') {
            return records_of(answer, document, &self.identity);
        }
        match said(document.get()) {
            Some(said) => Err(ConnectorError::Said { what: what(), said }),
            None => Err(unreadable(excerpt(&answer.body), "an array of rows")),
        }
    }

    fn take(&self, position: &mut Position, body: &Bytes, records: &[&RawValue]) -> Vec<Item> {
        let mut items = Vec::new();
        let origin = body.as_ptr() as usize;
        for (at, raw) in records.iter().enumerate() {
            let from = raw.get().as_ptr() as usize - origin;
            let payload = body.slice(from..from + raw.get().len());
            let id = self.identity.column_id(&payload);
            let id = id.as_ref().map_or(&payload[..], |id| id.as_bytes());
            if !position.seen.note(id, in_texts(&payload).as_bytes(), self.config.remember) {
                continue;
            }
            let delivery = position.turn.delivery(at + 1);
            items.push(Item::of_json(payload, delivery, None));
        }
        items
    }

    /// What to ask after `ask` was answered with `records`; the first ask last. `Err`
    /// where the rows of a window cannot be had for certain.
    fn follow_up(&self, ask: &Ask, records: &[&RawValue]) -> Result<Vec<Ask>, String> {
        let hash = |raw: &&RawValue| blake3::hash(in_texts(raw.get().as_bytes()).as_bytes()).to_hex().to_string();
        if ask.joint.is_some() && ask.joint != records.first().map(hash) {
            if ask.restarts == MOST_RESTARTS {
                return Err(format!(
                    "rows shifted {} times while they were read by offset: some may be missing until they change",
                    ask.restarts + 1
                ));
            }
            let again = Ask { offset: 0, joint: None, restarts: ask.restarts + 1, ..ask.clone() };
            return Ok(vec![again]);
        }
        if (records.len() as u64) < ask.size {
            return Ok(Vec::new());
        }
        if let Some([first, second]) = ask.halves().filter(|_| ask.offset == 0) {
            return Ok(vec![second, first]);
        }
        let offset = ask.offset - u64::from(ask.joint.is_some()) + records.len() as u64;
        // What had to be asked for in small parts is asked for in larger ones again.
        let size = (ask.size * 2).min(self.config.page_size);
        Ok(vec![Ask { offset, size, joint: records.last().map(hash), ..ask.clone() }])
    }

    /// What to ask instead of `ask`, whose answer was over the cap; the first ask last.
    /// Where it is a single row, how to go on behind it.
    fn smaller(ask: &Ask) -> Result<Vec<Ask>, Ask> {
        match ask.halves().filter(|_| ask.offset == 0) {
            Some([first, second]) => Ok(vec![second, first]),
            None if ask.size > 2 || (ask.size == 2 && ask.joint.is_none()) => {
                Ok(vec![Ask { size: ask.size / 2, ..ask.clone() }])
            }
            // One row, read without its neighbour: it is the one that is too large.
            None if ask.joint.is_some() => Ok(vec![Ask { size: 1, joint: None, ..ask.clone() }]),
            None => Err(Ask { offset: ask.offset + 1, joint: None, ..ask.clone() }),
        }
    }

    fn page(position: Position, items: Vec<Item>) -> Result<Page, ConnectorError> {
        let mut position = position;
        position.turn.note(&items);
        let more = !position.plan.is_empty();
        position.turn.advance(more);
        Ok(Page { items, cursor: Cursor::of(SHAPE, &position)?, more })
    }
}

#[async_trait]
impl Connector for EgovConnector {
    fn describe(&self) -> Description {
        Description { kind: "egov", replay: Replay::Latest, endless: true }
    }

    async fn next_page(&mut self, cursor: Option<&Cursor>, now: DateTime<Utc>) -> Result<Page, ConnectorError> {
        let mut position: Position = match cursor {
            Some(cursor) => cursor.position(SHAPE)?,
            None => Position::default(),
        };
        if position.plan.is_empty() {
            // The rows below the new watermark are safe in the plan, which is kept with it.
            (position.plan, position.watermark_s) = self.plan(position.watermark_s, now);
        }
        let Some(ask) = position.plan.pop() else { return Self::page(position, Vec::new()) };
        let answer = match self.fetcher.get(&self.address(&ask), "application/json", now).await {
            Ok(answer) => answer,
            Err(ConnectorError::TooLarge { what, size, cap_bytes, head }) => {
                let items = match Self::smaller(&ask) {
                    Ok(asks) => {
                        position.plan.extend(asks);
                        Vec::new()
                    }
                    Err(behind) => {
                        position.plan.push(behind);
                        let reason = format!(
                            "{what} answered with {size} for one row, over the cap of {cap_bytes} bytes; the row was stepped past: raise limits.max_body_bytes and read the source again"
                        );
                        let delivery = position.turn.to_string();
                        vec![Item::SetAside(Refused { reason, delivery, bytes: head })]
                    }
                };
                return Self::page(position, items);
            }
            Err(error) => return Err(Self::meant(error)),
        };
        let records = self.records(&answer)?;
        let mut items = self.take(&mut position, &answer.body, &records);
        match self.follow_up(&ask, &records) {
            Ok(asks) => position.plan.extend(asks),
            Err(reason) => {
                let delivery = position.turn.delivery("shifted");
                let reason = format!("{}: {reason}", answer.what);
                items.push(Item::SetAside(Refused { reason, delivery, bytes: Bytes::new() }));
            }
        }
        Self::page(position, items)
    }

    fn summarise(&self, cursor: &Cursor) -> String {
        let Ok(position) = cursor.position::<Position>(SHAPE) else { return "unreadable".to_owned() };
        let upto = position.watermark_s.map_or_else(|| "whole set".to_owned(), |at| format!("up to {}", written(at)));
        format!("{}, {upto}, {} questions left in this cycle", position.turn.summary(), position.plan.len())
    }
}

/// A local second as the portal writes it.
fn written(local_s: i64) -> String {
    DateTime::<Utc>::from_timestamp(local_s, 0).unwrap_or_default().format(WRITTEN).to_string()
}

/// The row with its numbers as texts: the portal writes a value now as a number, now as a
/// text, and that alone is no news.
fn in_texts(row: &[u8]) -> String {
    let members: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(row);
    let Ok(members) = members else { return String::from_utf8_lossy(row).into_owned() };
    let mut text = String::with_capacity(row.len());
    for (name, value) in members {
        let value = value.get();
        let plain = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        // Lengths keep two rows apart whose texts would run together to the same.
        text.push_str(&format!("{}:{name}{}:{plain}", name.len(), plain.len()));
    }
    text
}
