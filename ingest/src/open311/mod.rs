//! GeoReport v2, in XML and JSON.
//!
//! The protocol gives requests by the time they were *requested*, at most a thousand of
//! them, and has no paging. So time is cut into windows, a window that comes back full
//! is halved until none is, and open requests are looked at again by their ids, because
//! nothing else tells that one was closed. A cycle does both and, where the endpoint has
//! them, reads the updates of FixMyStreet's extension.

mod config;
mod normal;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

pub use self::config::{Open311Config, Rescan, Wire};
use crate::config::{ConfigError, LimitsConfig, setting};
use crate::connector::{Connector, ConnectorError, Cursor, Description, Item, Page, Refused, Replay};
use crate::http::{Answer, Fetcher, excerpt, said, web_page};
use crate::identity::{Identity, Picked, pick, pick_raw};
use crate::rest::address;
use crate::seen::Seen;
use crate::turn::Turn;

const SHAPE: u32 = 1;
const DAY_S: i64 = 86_400;
/// States after which a request is not asked for again, in lower case with `_`.
const CLOSED: [&str; 5] = ["closed", "fixed", "duplicate", "no_further_action", "not_councils_responsibility"];

/// How requests are named when the profile does not say.
pub(crate) fn request_identity() -> Identity {
    Identity::by_columns(&["service_request_id"], &[], "")
}

/// Reads a GeoReport v2 endpoint.
pub struct Open311Connector {
    config: Open311Config,
    url: Url,
    fetcher: Fetcher,
    identity: Arc<Identity>,
    update_identity: Arc<Identity>,
    start_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    #[serde(flatten)]
    turn: Turn,
    /// What is still to be asked in this cycle, the next one last.
    plan: Vec<Ask>,
    /// Requests up to here were asked for; seconds.
    watermark_s: Option<i64>,
    /// Updates up to here were asked for; seconds.
    updates_s: Option<i64>,
    /// Ids of requests last seen open.
    open: BTreeSet<String>,
    /// Hash of the page before, where the endpoint has pages.
    before: Option<String>,
    seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// Requests of a window, both ends included; seconds.
    Window { from_s: i64, to_s: i64, page: u64, rescan: bool },
    /// Requests by id.
    Ids(Vec<String>),
    /// Updates of a window.
    Updates { from_s: i64, to_s: i64 },
}

impl Open311Connector {
    /// Checks the configuration and reads its secret; asks nothing of the network.
    pub fn new(
        name: &str,
        config: Open311Config,
        base_dir: &Path,
        identity: Arc<Identity>,
        limits: &LimitsConfig,
    ) -> Result<Self, ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("open311.{key}"), what);
        let url = address(&config.url, "").map_err(|what| wrong("url", &what))?;
        let start_s = match &config.start {
            None => None,
            Some(start) => match DateTime::parse_from_rfc3339(start) {
                Ok(start) => Some(start.timestamp()),
                Err(_) => return Err(wrong("start", "must be an RFC 3339 instant such as 2026-01-01T00:00:00Z")),
            },
        };
        for (key, value) in [
            ("window_days", u64::from(config.window_days)),
            ("page_cap", config.page_cap),
            ("rescan_batch", config.rescan_batch as u64),
            ("rescan_days", u64::from(config.rescan_days)),
            ("page_size", config.page_size.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(wrong(key, "must be at least 1"));
            }
        }
        let fetcher = Fetcher::new(name, &url, config.auth.as_ref(), base_dir, limits, &[])?;
        let update_identity = Arc::new(Identity::by_columns(&["update_id"], &["service_request_id"], "update/"));
        Ok(Self { config, url, fetcher, identity, update_identity, start_s })
    }

    /// What a cycle that begins at `now_s` asks for, the first ask last.
    fn plan(&self, position: &Position, now_s: i64) -> Vec<Ask> {
        let overlap = i64::from(self.config.overlap_s);
        let first = self.start_s.unwrap_or(now_s - 90 * DAY_S);
        let from_s = position.watermark_s.map_or(first, |at| (at - overlap).max(first)).min(now_s);
        let mut plan = self.windows(from_s, now_s, false);
        match self.config.rescan {
            Rescan::None => {}
            Rescan::Window => {
                let back = now_s - i64::from(self.config.rescan_days) * DAY_S;
                if back.max(first) < from_s {
                    plan.extend(self.windows(back.max(first), from_s, true));
                }
            }
            Rescan::Ids => {
                let ids: Vec<String> = position.open.iter().cloned().collect();
                plan.extend(ids.chunks(self.config.rescan_batch).map(|ids| Ask::Ids(ids.to_vec())));
            }
        }
        if self.config.updates {
            let from_s = position.updates_s.map_or(first, |at| at - overlap).min(now_s);
            plan.push(Ask::Updates { from_s, to_s: now_s });
        }
        plan.reverse();
        plan
    }

    fn windows(&self, from_s: i64, to_s: i64, rescan: bool) -> Vec<Ask> {
        let span = i64::from(self.config.window_days) * DAY_S;
        let mut windows = Vec::new();
        let mut from = from_s;
        loop {
            let to = (from + span).min(to_s);
            windows.push(Ask::Window { from_s: from, to_s: to, page: 1, rescan });
            if to >= to_s {
                return windows;
            }
            from = to;
        }
    }

    fn address(&self, ask: &Ask) -> Url {
        let mut url = self.url.clone();
        let resource = if let Ask::Updates { .. } = ask { "servicerequestupdates" } else { "requests" };
        let path = format!("{}/{resource}.{}", url.path().trim_end_matches('/'), self.config.format.extension());
        url.set_path(&path);
        {
            let mut query = url.query_pairs_mut();
            if let Some(jurisdiction) = &self.config.jurisdiction_id {
                query.append_pair("jurisdiction_id", jurisdiction);
            }
            if self.config.extensions {
                query.append_pair("extensions", "true");
            }
            match ask {
                Ask::Ids(ids) => {
                    query.append_pair("service_request_id", &ids.join(","));
                }
                Ask::Window { from_s, to_s, .. } | Ask::Updates { from_s, to_s } => {
                    // A second earlier, should the endpoint leave out both ends.
                    query.append_pair("start_date", &instant(from_s - 1));
                    query.append_pair("end_date", &instant(*to_s));
                }
            }
            if let (Ask::Window { page, .. }, Some(size)) = (ask, self.config.page_size) {
                query.append_pair("page", &page.to_string());
                query.append_pair("page_size", &size.to_string());
            }
        }
        url
    }

    /// The records of an answer, each one JSON object.
    fn records(&self, answer: &Answer) -> Result<Vec<String>, ConnectorError> {
        let what = || answer.what.clone();
        let unreadable = |found: String, expected| ConnectorError::Unreadable { what: what(), found, expected };
        if let Some(page) = web_page(answer) {
            return Err(unreadable(page, "GeoReport"));
        }
        if self.config.format == Wire::Xml {
            return match xml::read(&answer.body) {
                Ok(xml::Body::Records(records)) => Ok(records),
                Ok(xml::Body::Error(said)) => Err(ConnectorError::Said { what: what(), said }),
                Err(found) => Err(unreadable(found, "GeoReport XML")),
            };
        }
        let document: &RawValue = serde_json::from_slice(&answer.body)
            .map_err(|_| unreadable(excerpt(&answer.body), "whole GeoReport JSON"))?;
        let mut array = document;
        if document.get().starts_with('{') {
            let names = ["service_requests", "requests", "service_request_updates"].map(str::to_owned);
            let within = pick_raw(document.get().as_bytes(), &names).unwrap_or_default().into_iter().flatten().next();
            array = match (within, said(document.get())) {
                (Some(within), _) => within,
                (None, Some(said)) => return Err(ConnectorError::Said { what: what(), said }),
                (None, None) => document,
            };
        }
        let raws: Vec<&RawValue> =
            serde_json::from_str(array.get()).map_err(|_| unreadable(excerpt(&answer.body), "a GeoReport array"))?;
        if let Some(said) = said(array.get()) {
            return Err(ConnectorError::Said { what: what(), said });
        }
        // What is no object stays as it is, to be set aside.
        Ok(raws.iter().map(|raw| normal::from_json(raw.get()).unwrap_or_else(|| raw.get().to_owned())).collect())
    }

    fn take(&self, position: &mut Position, ask: &Ask, records: &[String]) -> Vec<Item> {
        let is_update = matches!(ask, Ask::Updates { .. });
        let identity = if is_update { &self.update_identity } else { &self.identity };
        let mut items = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let payload = Bytes::copy_from_slice(record.as_bytes());
            if !is_update {
                self.note_state(position, &payload);
            }
            let id = identity.column_id(&payload);
            let id = id.as_ref().map_or(&payload[..], |id| id.as_bytes());
            if !position.seen.note(id, &payload, self.config.remember) {
                continue;
            }
            let delivery = position.turn.delivery(at + 1);
            items.push(Item::of_json(payload, delivery, is_update.then(|| Arc::clone(identity))));
        }
        items
    }

    fn note_state(&self, position: &mut Position, payload: &[u8]) {
        if self.config.rescan != Rescan::Ids {
            return;
        }
        let names = ["service_request_id", "status"].map(str::to_owned);
        let Ok(found) = pick(payload, &names) else { return };
        let [Picked::Text(id), status] = found.as_slice() else { return };
        let closed = match status {
            Picked::Text(status) => CLOSED.contains(&status.trim().to_lowercase().replace(' ', "_").as_str()),
            _ => false,
        };
        if closed {
            position.open.remove(id);
        } else if position.open.len() < self.config.remember && !id.contains(',') {
            position.open.insert(id.clone());
        }
    }

    /// What to ask after `ask` was answered with `given` records: the halves of a full
    /// window, the next page, or nothing more. `Err` where a full window cannot be halved.
    fn follow_up(&self, position: &Position, ask: &Ask, given: u64, hash: &str) -> Result<Vec<Ask>, String> {
        match (ask, self.config.page_size) {
            (Ask::Window { from_s, to_s, page, rescan }, Some(_)) => {
                let repeated = position.before.as_deref() == Some(hash);
                if given == 0 || repeated {
                    return Ok(Vec::new());
                }
                Ok(vec![Ask::Window { from_s: *from_s, to_s: *to_s, page: page + 1, rescan: *rescan }])
            }
            (Ask::Window { .. } | Ask::Updates { .. }, _) if given >= self.config.page_cap => {
                halves(ask).ok_or_else(|| {
                    format!(
                        "at least {given} requests share one second, and the endpoint gives no more at once: some may be missing; set open311.page_size if it has pages, or raise open311.page_cap if it gives more"
                    )
                })
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Marks `ask` as answered.
    fn settle(&self, position: &mut Position, ask: &Ask) {
        match ask {
            Ask::Window { to_s, rescan: false, .. } => position.watermark_s = position.watermark_s.max(Some(*to_s)),
            Ask::Updates { to_s, .. } => position.updates_s = position.updates_s.max(Some(*to_s)),
            Ask::Window { .. } | Ask::Ids(_) => {}
        }
    }

    fn page(&self, mut position: Position, items: Vec<Item>) -> Result<Page, ConnectorError> {
        position.turn.note(&items);
        let more = !position.plan.is_empty();
        position.turn.advance(more);
        if !more {
            position.before = None;
        }
        Ok(Page { items, cursor: Cursor::of(SHAPE, &position)?, more })
    }
}

#[async_trait]
impl Connector for Open311Connector {
    fn describe(&self) -> Description {
        Description { kind: "open311", replay: Replay::Latest, endless: true }
    }

    async fn next_page(&mut self, cursor: Option<&Cursor>, now: DateTime<Utc>) -> Result<Page, ConnectorError> {
        let mut position: Position = match cursor {
            Some(cursor) => cursor.position(SHAPE)?,
            None => Position::default(),
        };
        if position.plan.is_empty() {
            position.plan = self.plan(&position, now.timestamp());
        }
        let Some(ask) = position.plan.pop() else { return self.page(position, Vec::new()) };
        let url = self.address(&ask);
        let answer = match self.fetcher.get(&url, self.config.format.media_type(), now).await {
            Ok(answer) => answer,
            Err(ConnectorError::TooLarge { what, size, cap_bytes, head }) => {
                if let Some(halves) = halves(&ask) {
                    position.plan.extend(halves.into_iter().rev());
                    return self.page(position, Vec::new());
                }
                let reason = format!(
                    "{what} answered with {size}, over the cap of {cap_bytes} bytes, and cannot be asked for in smaller parts; raise limits.max_body_bytes and read the source again"
                );
                let delivery = position.turn.to_string();
                self.settle(&mut position, &ask);
                return self.page(position, vec![Item::SetAside(Refused { reason, delivery, bytes: head })]);
            }
            // An id the endpoint no longer knows has disappeared; it is not closed.
            Err(ConnectorError::Denied { what, status: 404, hint }) => match &ask {
                Ask::Ids(ids) => {
                    match halves(&ask) {
                        Some(halves) => position.plan.extend(halves.into_iter().rev()),
                        None => ids.iter().for_each(|id| {
                            tracing::info!(id, "open311 request disappeared");
                            position.open.remove(id);
                        }),
                    }
                    return self.page(position, Vec::new());
                }
                _ => return Err(ConnectorError::Denied { what, status: 404, hint }),
            },
            Err(error) => return Err(error),
        };
        let records = self.records(&answer)?;
        let hash = blake3::hash(&answer.body).to_hex().to_string();
        let mut items = self.take(&mut position, &ask, &records);
        match self.follow_up(&position, &ask, records.len() as u64, &hash) {
            Ok(asks) if asks.is_empty() => {
                self.settle(&mut position, &ask);
                position.before = None;
            }
            Ok(asks) => {
                position.before = Some(hash);
                position.plan.extend(asks.into_iter().rev());
            }
            Err(reason) => {
                self.settle(&mut position, &ask);
                let delivery = position.turn.delivery("full");
                items.push(Item::SetAside(Refused {
                    reason: format!("{}: {reason}", answer.what),
                    delivery,
                    bytes: Bytes::new(),
                }));
            }
        }
        self.page(position, items)
    }

    fn summarise(&self, cursor: &Cursor) -> String {
        let Ok(position) = cursor.position::<Position>(SHAPE) else { return "unreadable".to_owned() };
        let upto = position.watermark_s.map_or_else(|| "the beginning".to_owned(), instant);
        format!(
            "requests up to {upto}, {} open, {} questions left in this cycle",
            position.open.len(),
            position.plan.len()
        )
    }
}

/// Two smaller asks that together are `ask`; the second they share is asked for twice.
fn halves(ask: &Ask) -> Option<Vec<Ask>> {
    let middle = |from_s: i64, to_s: i64| (to_s - from_s > 1).then(|| from_s + (to_s - from_s) / 2);
    match ask {
        Ask::Window { from_s, to_s, rescan, .. } => {
            let middle = middle(*from_s, *to_s)?;
            let half = |from_s, to_s| Ask::Window { from_s, to_s, page: 1, rescan: *rescan };
            Some(vec![half(*from_s, middle), half(middle, *to_s)])
        }
        Ask::Updates { from_s, to_s } => {
            let middle = middle(*from_s, *to_s)?;
            let half = |from_s, to_s| Ask::Updates { from_s, to_s };
            Some(vec![half(*from_s, middle), half(middle, *to_s)])
        }
        Ask::Ids(ids) if ids.len() > 1 => {
            let (first, second) = ids.split_at(ids.len() / 2);
            Some(vec![Ask::Ids(first.to_vec()), Ask::Ids(second.to_vec())])
        }
        Ask::Ids(_) => None,
    }
}

fn instant(at_s: i64) -> String {
    DateTime::<Utc>::from_timestamp(at_s, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}
