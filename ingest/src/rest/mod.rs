//! Any JSON API by configuration: where the records are, how pages follow one another,
//! and how to ask only for what changed.
//!
//! A *cycle* asks for everything there is (or everything since the last cycle's newest
//! record, less an overlap) and ends where paging ends. What was met before with the
//! same content is passed over, so an endlessly polled list gives news only.

mod config;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, LINK};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

pub use self::config::{PagingConfig, RestConfig, WindowConfig};
use crate::config::{ConfigError, LimitsConfig, setting};
use crate::connector::{Connector, ConnectorError, Cursor, Description, Item, Page, Refused, Replay};
pub use crate::http::AuthConfig;
use crate::http::{Answer, Fetcher, excerpt, records_of, said, web_page};
use crate::identity::{Identity, Picked, pick, pick_raw};
use crate::seen::Seen;
use crate::times::TimeShape;
use crate::turn::Turn;

const SHAPE: u32 = 1;

/// Reads a JSON API.
pub struct RestConnector {
    config: RestConfig,
    url: Url,
    fetcher: Fetcher,
    identity: Arc<Identity>,
    times: Option<TimeShape>,
    start_us: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    #[serde(flatten)]
    turn: Turn,
    at: At,
    /// Everything up to here was asked for; microseconds.
    watermark_us: Option<i64>,
    /// Newest time met in this cycle.
    newest_us: Option<i64>,
    /// The window of this cycle.
    window: Option<Window>,
    /// Hash of the page before.
    before: Option<String>,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    from_us: Option<i64>,
    to_us: Option<i64>,
}

/// Where in a cycle the next page is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
enum At {
    #[default]
    Start,
    Number(u64),
    Token(String),
    Link(String),
    From(i64),
}

impl RestConnector {
    /// Checks the configuration and reads its secret; asks nothing of the network.
    pub fn new(
        name: &str,
        config: RestConfig,
        base_dir: &Path,
        identity: Arc<Identity>,
        limits: &LimitsConfig,
    ) -> Result<Self, ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("rest.{key}"), what);
        let url = address(&config.url, &config.path).map_err(|what| wrong("url", &what))?;
        let fetcher = Fetcher::new(name, &url, config.auth.as_ref(), base_dir, limits, &config.busy_statuses)?;
        let mut times = None;
        let mut start_us = None;
        if let Some(window) = &config.window {
            let Ok(zone) = window.zone.parse() else {
                return Err(wrong("window.zone", "is no zone of the tz database; write one such as Asia/Almaty"));
            };
            if !matches!(window.format.as_str(), "rfc3339" | "unix" | "unix_ms") && !window.format.contains('%') {
                return Err(wrong("window.format", "must be rfc3339, unix, unix_ms or a strftime pattern"));
            }
            if let Some(start) = &window.start {
                let Ok(start) = DateTime::parse_from_rfc3339(start) else {
                    return Err(wrong("window.start", "must be an RFC 3339 instant such as 2026-01-01T00:00:00Z"));
                };
                start_us = Some(start.timestamp_micros());
            }
            if window.span_s.is_some() && (window.to_param.is_none() || start_us.is_none()) {
                return Err(wrong("window.span_s", "needs window.to_param and window.start"));
            }
            if window.span_s == Some(0) {
                return Err(wrong("window.span_s", "must be at least 1"));
            }
            times = Some(TimeShape { format: window.format.clone(), zone });
        }
        if matches!(config.paging, PagingConfig::Time) {
            if config.window.is_none() {
                return Err(wrong("paging", "by time needs a window with field and from_param"));
            }
            if config.page_size.is_none() {
                return Err(wrong("page_size", "is needed to know when a page is full"));
            }
        }
        if let PagingConfig::Offset { overlap, .. } = &config.paging
            && config.page_size.is_some_and(|size| *overlap >= size)
        {
            return Err(wrong("paging.overlap", "must be less than page_size"));
        }
        if config.page_size == Some(0) {
            return Err(wrong("page_size", "must be at least 1"));
        }
        Ok(Self { config, url, fetcher, identity, times, start_us })
    }

    /// The window of a cycle that begins now.
    fn window(&self, position: &Position, now: DateTime<Utc>) -> Option<Window> {
        let window = self.config.window.as_ref()?;
        let second = 1_000_000;
        let from_us = match position.watermark_us {
            Some(at) => Some(at - i64::from(window.overlap_s) * second),
            None => self.start_us,
        };
        let mut to_us = now.timestamp_micros() - i64::from(window.lag_s) * second;
        if let (Some(span), Some(from)) = (window.span_s, position.watermark_us.or(self.start_us)) {
            to_us = to_us.min(from + i64::from(span) * second);
        }
        Some(Window { from_us, to_us: window.to_param.as_ref().map(|_| to_us) })
    }

    fn address(&self, position: &Position) -> Result<Url, ConnectorError> {
        if let At::Link(link) = &position.at {
            return self.link(link);
        }
        let mut url = self.url.clone();
        let mut pairs: Vec<(&str, String)> =
            self.config.query.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        if let (Some(param), Some(size)) = (&self.config.page_size_param, self.config.page_size) {
            pairs.push((param, size.to_string()));
        }
        match (&self.config.paging, &position.at) {
            (PagingConfig::Page { param, first, .. }, At::Start) => pairs.push((param, first.to_string())),
            (PagingConfig::Offset { param, .. }, At::Start) => pairs.push((param, "0".to_owned())),
            (PagingConfig::Page { param, .. } | PagingConfig::Offset { param, .. }, At::Number(number)) => {
                pairs.push((param, number.to_string()));
            }
            (PagingConfig::Cursor { param, .. }, At::Token(token)) => pairs.push((param, token.clone())),
            _ => {}
        }
        if let (Some(window), Some(config), Some(times)) = (position.window, &self.config.window, &self.times) {
            let from = if let At::From(from) = position.at { Some(from) } else { window.from_us };
            if let Some(from) = from {
                pairs.push((&config.from_param, times.write(from)));
            }
            if let (Some(param), Some(to)) = (&config.to_param, window.to_us) {
                pairs.push((param, times.write(to)));
            }
        }
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }

    /// An address the source gave, which must lie at the source.
    fn link(&self, link: &str) -> Result<Url, ConnectorError> {
        match self.url.join(link) {
            Ok(url) if url.origin() == self.url.origin() => Ok(self.fetcher.without_secret(url)),
            _ => Err(ConnectorError::Unreadable {
                what: format!("GET {}", self.url),
                found: "a next page at another host".to_owned(),
                expected: "one at its own",
            }),
        }
    }

    /// Where the page after this one is; `None` where paging ends.
    fn after(
        &self,
        position: &Position,
        answer: &Answer,
        given: u64,
        hash: &str,
    ) -> Result<Option<At>, ConnectorError> {
        let unreadable = |found: &str, expected| {
            let found = found.to_owned();
            Err(ConnectorError::Unreadable { what: answer.what.clone(), found, expected })
        };
        match &self.config.paging {
            PagingConfig::None => Ok(None),
            PagingConfig::Page { .. } | PagingConfig::Offset { .. } if given == 0 => Ok(None),
            // Some sources give their last page for every number beyond it.
            PagingConfig::Page { .. } if position.before.as_deref() == Some(hash) => Ok(None),
            PagingConfig::Offset { .. } if position.before.as_deref() == Some(hash) => {
                unreadable("the page just read", "the next: does it know the offset parameter?")
            }
            PagingConfig::Page { .. } => Ok(self.step(&position.at, 1)),
            PagingConfig::Offset { overlap, .. } => Ok(self.step(&position.at, given.saturating_sub(*overlap).max(1))),
            PagingConfig::Cursor { next, .. } => {
                let found = pick(&answer.body, std::slice::from_ref(next)).ok().and_then(|mut found| found.pop());
                match found {
                    Some(Picked::Text(token)) if !token.is_empty() && token != "false" => {
                        let at = if token.starts_with("http://")
                            || token.starts_with("https://")
                            || token.starts_with('/')
                        {
                            At::Link(self.link(&token)?.into())
                        } else {
                            At::Token(token)
                        };
                        if at == position.at {
                            return unreadable("the token of the page just read", "that of the next");
                        }
                        Ok(Some(at))
                    }
                    _ => Ok(None),
                }
            }
            PagingConfig::Link => match next_link(&answer.headers) {
                Some(link) => {
                    let at = At::Link(self.link(&link)?.into());
                    if at == position.at {
                        return unreadable("a link to the page just read", "one to the next");
                    }
                    Ok(Some(at))
                }
                None => Ok(None),
            },
            PagingConfig::Time => {
                let size = self.config.page_size.unwrap_or(u64::MAX);
                if given < size {
                    return Ok(None);
                }
                let from = match position.at {
                    At::From(from) => Some(from),
                    _ => position.window.and_then(|window| window.from_us),
                };
                match position.newest_us {
                    Some(newest) if from.is_none_or(|from| newest > from) => Ok(Some(At::From(newest))),
                    _ => Err(ConnectorError::Input {
                        place: answer.what.clone(),
                        what: format!(
                            "at least {size} records share one instant, so time does not lead past them; raise rest.page_size"
                        ),
                    }),
                }
            }
        }
    }

    fn step(&self, at: &At, by: u64) -> Option<At> {
        match (&self.config.paging, at) {
            (_, At::Number(number)) => Some(At::Number(number + by)),
            (PagingConfig::Page { first, .. }, _) => Some(At::Number(first + by)),
            _ => Some(At::Number(by)),
        }
    }

    /// The records of an answer.
    fn records<'a>(&self, answer: &'a Answer) -> Result<Vec<&'a RawValue>, ConnectorError> {
        let what = || answer.what.clone();
        let unreadable = |found: String, expected| ConnectorError::Unreadable { what: what(), found, expected };
        if let Some(page) = web_page(answer) {
            return Err(unreadable(page, "JSON"));
        }
        let document: &RawValue =
            serde_json::from_slice(&answer.body).map_err(|_| unreadable(excerpt(&answer.body), "whole JSON"))?;
        let array = match &self.config.records {
            None => Some(document),
            Some(path) => pick_raw(document.get().as_bytes(), std::slice::from_ref(path))
                .ok()
                .and_then(|mut found| found.pop().flatten()),
        };
        let array = array.filter(|raw| raw.get().starts_with('['));
        let Some(array) = array else {
            return Err(match said(document.get()) {
                Some(said) => ConnectorError::Said { what: what(), said },
                None => unreadable(excerpt(&answer.body), "an array of records where rest.records leads"),
            });
        };
        records_of(answer, array, &self.identity)
    }

    fn take(&self, position: &mut Position, body: &Bytes, records: &[&RawValue]) -> Vec<Item> {
        let mut items = Vec::new();
        let origin = body.as_ptr() as usize;
        for (at, raw) in records.iter().enumerate() {
            let from = raw.get().as_ptr() as usize - origin;
            let payload = body.slice(from..from + raw.get().len());
            let id = self.identity.column_id(&payload);
            let id = id.as_ref().map_or(&payload[..], |id| id.as_bytes());
            if let (Some(window), Some(times)) = (&self.config.window, &self.times) {
                let time = pick(&payload, std::slice::from_ref(&window.field)).ok().and_then(|mut found| found.pop());
                position.newest_us = position.newest_us.max(time.and_then(|time| times.read(&time)));
            }
            if !position.seen.note(id, &payload, self.config.remember) {
                continue;
            }
            let delivery = position.turn.delivery(at + 1);
            items.push(Item::of_json(payload, delivery, None));
        }
        items
    }

    /// Goes to the page at `next`, or ends the cycle. Says whether more is there already.
    fn advance(&self, position: &mut Position, next: Option<At>, now: DateTime<Utc>) -> bool {
        if let Some(at) = next {
            position.at = at;
            position.turn.advance(true);
            return true;
        }
        let mut more = false;
        position.watermark_us = position.watermark_us.max(position.newest_us);
        if let (Some(config), Some(Window { to_us: Some(to), .. })) = (&self.config.window, position.window)
            && config.span_s.is_some()
        {
            position.watermark_us = position.watermark_us.max(Some(to));
            more = to < now.timestamp_micros() - i64::from(config.lag_s) * 1_000_000;
        }
        position.turn.advance(false);
        position.at = At::Start;
        position.newest_us = None;
        position.window = None;
        position.before = None;
        more
    }
}

#[async_trait]
impl Connector for RestConnector {
    fn describe(&self) -> Description {
        Description { kind: "rest", replay: Replay::Latest, endless: true }
    }

    async fn next_page(&mut self, cursor: Option<&Cursor>, now: DateTime<Utc>) -> Result<Page, ConnectorError> {
        let mut position: Position = match cursor {
            Some(cursor) => cursor.position(SHAPE)?,
            None => Position::default(),
        };
        if position.at == At::Start {
            position.window = self.window(&position, now);
        }
        let url = self.address(&position)?;
        if position.turn.page() >= self.config.max_pages {
            return Err(ConnectorError::Input {
                place: format!("GET {url}"),
                what: format!(
                    "paging does not end after {} pages; correct rest.paging or raise rest.max_pages",
                    position.turn.page()
                ),
            });
        }
        let answer = match self.fetcher.get(&url, "application/json", now).await {
            Ok(answer) => answer,
            Err(ConnectorError::TooLarge { what, size, cap_bytes, head }) => {
                let by = match &self.config.paging {
                    PagingConfig::Page { .. } => Some(1),
                    PagingConfig::Offset { .. } => self.config.page_size,
                    _ => None,
                };
                let Some(next) = by.and_then(|by| self.step(&position.at, by)) else {
                    return Err(ConnectorError::TooLarge { what, size, cap_bytes, head });
                };
                let reason = format!(
                    "{what} answered with {size}, over the cap of {cap_bytes} bytes; the page was stepped past: raise limits.max_body_bytes or lower rest.page_size, and read the source again"
                );
                let delivery = position.turn.to_string();
                let items = vec![Item::SetAside(Refused { reason, delivery, bytes: head })];
                position.turn.note(&items);
                let more = self.advance(&mut position, Some(next), now);
                return Ok(Page { items, cursor: Cursor::of(SHAPE, &position)?, more });
            }
            Err(error) => return Err(error),
        };
        let records = self.records(&answer)?;
        let hash = blake3::hash(&answer.body).to_hex().to_string();
        let items = self.take(&mut position, &answer.body, &records);
        position.turn.note(&items);
        let next = self.after(&position, &answer, records.len() as u64, &hash)?;
        position.before = Some(hash);
        let more = self.advance(&mut position, next, now);
        Ok(Page { items, cursor: Cursor::of(SHAPE, &position)?, more })
    }

    fn summarise(&self, cursor: &Cursor) -> String {
        let Ok(position) = cursor.position::<Position>(SHAPE) else { return "unreadable".to_owned() };
        let upto = position.watermark_us.and_then(DateTime::<Utc>::from_timestamp_micros);
        let upto = upto.map_or_else(String::new, |at| format!(", newest {}", at.to_rfc3339()));
        format!("{}{upto}", position.turn.summary())
    }
}

/// The base address with the path below it.
pub(crate) fn address(base: &str, path: &str) -> Result<Url, String> {
    let mut url = Url::parse(base).map_err(|e| format!("'{base}' is no address ({e})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("'{base}' is no http:// or https:// address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; use auth with a secret reference".to_owned());
    }
    if !path.is_empty() {
        let whole = format!("{}/{}", url.path().trim_end_matches('/'), path.trim_start_matches('/'));
        url.set_path(&whole);
    }
    Ok(url)
}

/// The target of `rel="next"`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    for value in headers.get_all(LINK) {
        for link in value.to_str().ok()?.split(',') {
            let (target, about) = link.trim().strip_prefix('<')?.split_once('>')?;
            let next = about.split(';').any(|part| {
                part.trim().split_once('=').is_some_and(|(name, rel)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && rel.trim().trim_matches('"').split(' ').any(|r| r == "next")
                })
            });
            if next {
                return Some(target.to_owned());
            }
        }
    }
    None
}
