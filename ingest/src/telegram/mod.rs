//! A Telegram bot that is a member of akims' channels and of the groups where they are
//! discussed, read by `getUpdates`.
//!
//! To ask for updates from a number on *confirms*, and so deletes, all before it. A page
//! is asked for with the cursor of the page before, and the runner saves a cursor only
//! when its page is durable: so nothing is confirmed that could still be lost.
//!
//! Numbers of updates rise, except that after a week of silence the server begins at
//! another number. After a day of silence no number is sent: the server then begins with
//! the earliest it has, and it keeps none for longer than a day.

mod config;
mod message;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ahual_schemas::record::JSON;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

pub use self::config::TelegramConfig;
use self::message::{Message, Threads, Update};
use crate::accounts::{Account, Directory, Network};
use crate::config::{ConfigError, LimitsConfig, setting};
use crate::connector::{Connector, ConnectorError, Cursor, Description, Found, Item, Page, Refused, Replay};
use crate::http::{Answer, Fetcher, excerpt, said, web_page};
use crate::identity::Identity;
use crate::rest::address;
use crate::secret::reveal;

const SHAPE: u32 = 1;
/// What is asked for; the server remembers it for the bot.
const KINDS: &str = r#"["message","edited_message","channel_post","edited_channel_post"]"#;

/// Reads what one bot hears.
pub struct TelegramConnector {
    config: TelegramConfig,
    url: Url,
    token: SecretString,
    fetcher: Fetcher,
    directory: Directory,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Position {
    /// Number after the highest that was read: what comes before it may be forgotten by
    /// the server.
    offset: Option<i64>,
    /// When the last update was read; seconds.
    heard_s: i64,
    /// Updates asked for at once, where the configured number was too many.
    limit: Option<u32>,
    threads: Threads,
}

/// What the Bot API answers.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    result: Option<Vec<&'a RawValue>>,
}

/// All that is needed of an update that is not understood otherwise.
#[derive(Deserialize)]
struct Numbered {
    update_id: i64,
}

impl TelegramConnector {
    /// Checks the configuration, reads its secret and the directory; asks nothing of the
    /// network.
    pub fn new(
        name: &str,
        config: TelegramConfig,
        base_dir: &Path,
        limits: &LimitsConfig,
    ) -> Result<Self, ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("telegram.{key}"), what);
        let url = address(&config.url, "").map_err(|what| wrong("url", &what))?;
        if !(1..=100).contains(&config.limit) {
            return Err(wrong("limit", "must be from 1 to 100"));
        }
        if config.forget_after_h == 0 || config.forget_after_h > 7 * 24 {
            return Err(wrong("forget_after_h", "must be from 1 to 168: after a week the server begins anew"));
        }
        let token =
            reveal(&config.token, base_dir).map_err(|source| ConfigError::Secret { name: name.to_owned(), source })?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
        if !token.expose_secret().chars().all(plain) {
            return Err(wrong("token", "refers to a secret that is no token of a bot (digits, ':', letters)"));
        }
        let directory = Directory::load(&base_dir.join(&config.accounts))
            .map_err(|source| ConfigError::Accounts { name: name.to_owned(), source })?;
        if let Some(handle) = &config.direct
            && !directory
                .accounts
                .iter()
                .any(|account| account.network == Network::Telegram && account.handle == *handle)
        {
            return Err(wrong("direct", &format!("names '{handle}', which is no telegram account of the directory")));
        }
        let fetcher = Fetcher::new(name, &url, None, base_dir, limits, &[])?.keeping(token.clone());
        Ok(Self { config, url, token, fetcher, directory })
    }

    /// What is asked, once as it is sent and once for messages.
    fn question(&self, position: &Position, now: DateTime<Utc>) -> (Url, String) {
        let address_of = |token: &str| {
            let path = format!("{}/bot{token}/getUpdates", self.url.path().trim_end_matches('/'));
            let mut url = self.url.clone();
            url.set_path(&path);
            let mut query = url.query_pairs_mut();
            let quiet_s = now.timestamp() - position.heard_s;
            if let Some(offset) = position.offset.filter(|_| quiet_s < i64::from(self.config.forget_after_h) * 3_600) {
                query.append_pair("offset", &offset.to_string());
            }
            query.append_pair("limit", &self.limit(position).to_string());
            // The runner waits between polls; the server must not hold the answer back.
            query.append_pair("timeout", "0");
            query.append_pair("allowed_updates", KINDS);
            drop(query);
            url
        };
        (address_of(self.token.expose_secret()), format!("GET {}", address_of("TOKEN")))
    }

    fn limit(&self, position: &Position) -> u32 {
        position.limit.unwrap_or(self.config.limit)
    }

    /// A failure as the Bot API means it.
    fn meant(error: ConnectorError) -> ConnectorError {
        match error {
            ConnectorError::Failed { what, status: 409 } => ConnectorError::Denied {
                what,
                status: 409,
                hint: "only one may read a bot: stop the other process that polls it, or remove its webhook (deleteWebhook), and start again",
            },
            ConnectorError::Denied { what, status: status @ (401 | 404), .. } => {
                ConnectorError::Denied { what, status, hint: "check telegram.token, the bot's secret for auth" }
            }
            ConnectorError::Busy { what, status, after: None } => {
                let after = what.rsplit_once("retry after ").and_then(|(_, rest)| {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    digits.parse().ok().map(|seconds: u64| Duration::from_secs(seconds.min(6 * 3_600)))
                });
                ConnectorError::Busy { what, status, after }
            }
            other => other,
        }
    }

    fn updates(answer: &Answer) -> Result<Vec<&RawValue>, ConnectorError> {
        let what = || answer.what.clone();
        let unreadable = |found: String, expected| ConnectorError::Unreadable { what: what(), found, expected };
        if let Some(page) = web_page(answer) {
            return Err(unreadable(page, "JSON"));
        }
        let told: Told<'_> = match serde_json::from_slice(&answer.body) {
            Ok(told) => told,
            Err(_) => return Err(unreadable(excerpt(&answer.body), "whole JSON of the Bot API")),
        };
        match (told.result, std::str::from_utf8(&answer.body).ok().and_then(said)) {
            (Some(updates), _) => Ok(updates),
            (None, Some(said)) => Err(ConnectorError::Said { what: what(), said }),
            (None, None) => Err(unreadable(excerpt(&answer.body), "a result of the Bot API")),
        }
    }

    /// Whose message it is, and whether it is the account's own.
    fn account(&self, message: &Message) -> Result<(&Account, bool), &'static str> {
        let at = DateTime::<Utc>::from_timestamp(message.date, 0).unwrap_or_default();
        let day = self.directory.day(at);
        let (account, missing) = if message.is_private() {
            let direct = self.config.direct.as_deref();
            (
                self.directory.find(Network::Telegram, day, |account| Some(account.handle.as_str()) == direct),
                "a private message, and telegram.direct names no account it could be meant for",
            )
        } else {
            let chat = message.chat.id;
            (
                self.directory.find(Network::Telegram, day, |account| {
                    account.id == Some(chat) || account.discussion == Some(chat)
                }),
                "its chat is in no account of the directory; add it there, or take the bot out of the chat",
            )
        };
        let account = account.ok_or(missing)?;
        Ok((account, message.senders().any(|sender| account.is_spoken_for_by(sender))))
    }

    fn take(&self, position: &mut Position, raw: &RawValue) -> Item {
        let number = serde_json::from_str::<Numbered>(raw.get()).map_or(0, |update| update.update_id);
        let delivery = format!("u{number}");
        let aside = |reason: String| {
            let bytes = Bytes::copy_from_slice(raw.get().as_bytes());
            Item::SetAside(Refused { reason, delivery: delivery.clone(), bytes })
        };
        let update: Update = match serde_json::from_str(raw.get()) {
            Ok(update) => update,
            Err(e) => return aside(format!("an update of a shape the Bot API does not have ({e})")),
        };
        let Some(message) = update.message() else {
            return aside("an update that is neither a message nor a post".to_owned());
        };
        let (account, own) = match self.account(message) {
            Ok(found) => found,
            Err(reason) => return aside(reason.to_owned()),
        };
        let case_key = message.thread(&mut position.threads, self.config.remember);
        let identity = Identity::given(message.record_id(), case_key);
        let payload = self.directory.record(account, own, &[], "update", raw.get());
        Item::Record(Found {
            payload: payload.into(),
            content_type: JSON,
            delivery,
            occurrence: 1,
            place: None,
            identity: Some(Arc::new(identity)),
        })
    }
}

#[async_trait]
impl Connector for TelegramConnector {
    fn describe(&self) -> Description {
        Description { kind: "telegram", replay: Replay::Latest, endless: true }
    }

    async fn next_page(&mut self, cursor: Option<&Cursor>, now: DateTime<Utc>) -> Result<Page, ConnectorError> {
        let mut position: Position = match cursor {
            Some(cursor) => cursor.position(SHAPE)?,
            None => Position::default(),
        };
        let (url, what) = self.question(&position, now);
        let answer = match self.fetcher.get_at(url, what, "application/json", now).await {
            Ok(answer) => answer,
            Err(ConnectorError::TooLarge { .. }) if self.limit(&position) > 1 => {
                position.limit = Some(self.limit(&position) / 2);
                return Ok(Page { items: Vec::new(), cursor: Cursor::of(SHAPE, &position)?, more: true });
            }
            Err(error) => return Err(Self::meant(error)),
        };
        let updates = Self::updates(&answer)?;
        let numbers: Result<Vec<Numbered>, _> = updates.iter().map(|raw| serde_json::from_str(raw.get())).collect();
        let Ok(numbers) = numbers else {
            return Err(ConnectorError::Unreadable {
                what: answer.what.clone(),
                found: "an update without its number".to_owned(),
                expected: "update_id",
            });
        };
        let full = updates.len() as u64 >= u64::from(self.limit(&position));
        let items = updates.iter().map(|raw| self.take(&mut position, raw)).collect();
        if let Some(highest) = numbers.iter().map(|update| update.update_id).max() {
            position.offset = Some(highest.saturating_add(1));
            position.heard_s = now.timestamp();
            position.limit = None;
        }
        Ok(Page { items, cursor: Cursor::of(SHAPE, &position)?, more: full })
    }

    fn summarise(&self, cursor: &Cursor) -> String {
        let Ok(position) = cursor.position::<Position>(SHAPE) else { return "unreadable".to_owned() };
        let heard = DateTime::<Utc>::from_timestamp(position.heard_s, 0).unwrap_or_default();
        let upto = match position.offset {
            Some(offset) => format!("before update {offset}, last heard {}", heard.to_rfc3339()),
            None => "nothing heard yet".to_owned(),
        };
        let unread = self.directory.unread(Network::Telegram);
        format!("{upto}, {} replies known{unread}", position.threads.len())
    }
}
