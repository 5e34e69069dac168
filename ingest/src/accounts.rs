//! The directory of akims' accounts: which account of which social network speaks for
//! which body, from when to when, and why one that exists cannot be read.
//!
//! A TOML file with a version, read once at the start. A record of a social network
//! carries what the directory said of its account on the day of the record.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::Deserialize;

use crate::identity::Identity;

/// A directory of accounts, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Version of the directory; records carry it.
    pub version: String,
    /// Zone whose days `valid_from` and `valid_to` are.
    #[serde(default = "almaty", deserialize_with = "zone")]
    pub time_zone: Tz,
    /// The accounts.
    #[serde(default, rename = "account")]
    pub accounts: Vec<Account>,
}

fn almaty() -> Tz {
    chrono_tz::Asia::Almaty
}

fn zone<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| {
        serde::de::Error::custom(format!("'{name}' is no zone of the tz database; write one such as Asia/Almaty"))
    })
}

/// A social network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Telegram: channels and the groups where they are discussed.
    Telegram,
    /// VK: walls of communities.
    Vk,
    /// Instagram: professional accounts.
    Instagram,
    /// Facebook: pages.
    Facebook,
}

impl Network {
    /// The word of files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Vk => "vk",
            Self::Instagram => "instagram",
            Self::Facebook => "facebook",
        }
    }
}

/// One account, as it was for some time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Social network.
    pub network: Network,
    /// Name of the account in its network, without `@`.
    pub handle: String,
    /// The network's own number: of the channel (Telegram), of the wall's owner (VK,
    /// negative for a community), of the page or professional account (Graph).
    pub id: Option<i64>,
    /// The group where a Telegram channel is discussed.
    pub discussion: Option<i64>,
    /// Numbers of persons and pages that speak for the account besides itself.
    #[serde(default)]
    pub speakers: Vec<i64>,
    /// The body whose akim it is.
    pub body: String,
    /// KATO code of the body's territory.
    pub kato: String,
    /// First day.
    pub valid_from: NaiveDate,
    /// First day after the last one.
    pub valid_to: Option<NaiveDate>,
    /// Why it cannot be read. An account that has not consented is listed with the
    /// reason and is never read by other means.
    pub not_connected: Option<String>,
}

impl Account {
    /// Whether the entry holds on `day`.
    pub fn is_valid_on(&self, day: NaiveDate) -> bool {
        self.valid_from <= day && self.valid_to.is_none_or(|end| day < end)
    }

    /// Whether `id` is the account itself or one that speaks for it.
    pub fn is_spoken_for_by(&self, id: i64) -> bool {
        self.id == Some(id) || self.discussion == Some(id) || self.speakers.contains(&id)
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file cannot be read.
    #[error("directory of accounts {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is not what a directory is.
    #[error("directory of accounts {}: {what}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write.
        what: String,
    },
}

impl DirectoryError {
    /// What to do about it: only a person can.
    pub fn advice(&self) -> ahual_schemas::Advice {
        ahual_schemas::Advice::Stop
    }
}

impl Directory {
    /// Reads and checks the directory at `path`.
    pub fn load(path: &Path) -> Result<Self, DirectoryError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DirectoryError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|what| DirectoryError::Wrong { path: path.to_owned(), what })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let directory: Self = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .map_or_else(String::new, |span| format!("line {}: ", text[..span.start].matches('\n').count() + 1));
            format!("{line}{}", e.message())
        })?;
        if directory.version.trim().is_empty() {
            return Err("version is blank; write the day it was made, such as 2026-01-31".to_owned());
        }
        for account in &directory.accounts {
            let called = format!("{} account '{}'", account.network.as_str(), account.handle);
            if account.handle.trim().is_empty() || account.handle.starts_with('@') || account.body.trim().is_empty() {
                return Err(format!("{called} needs a handle without @ and a body"));
            }
            if account.kato.len() != 9 || !account.kato.bytes().all(|b| b.is_ascii_digit()) {
                return Err(format!("{called}: kato '{}' is no code of nine digits", account.kato));
            }
            if account.valid_to.is_some_and(|end| end <= account.valid_from) {
                return Err(format!("{called}: valid_to must come after valid_from"));
            }
            match &account.not_connected {
                Some(why) if why.trim().is_empty() => {
                    return Err(format!("{called}: not_connected must say why; leave it out where it is connected"));
                }
                None if account.id.is_none() => {
                    return Err(format!("{called} needs the network's own id, or not_connected with the reason"));
                }
                _ => {}
            }
        }
        for (n, one) in directory.accounts.iter().enumerate() {
            let clash = directory.accounts[n + 1..].iter().find(|other| {
                other.network == one.network
                    && (other.handle == one.handle || (other.id.is_some() && other.id == one.id))
                    && one.valid_to.is_none_or(|end| other.valid_from < end)
                    && other.valid_to.is_none_or(|end| one.valid_from < end)
            });
            if let Some(other) = clash {
                return Err(format!(
                    "{} accounts '{}' and '{}' are one account at the same time; end the first with valid_to",
                    one.network.as_str(),
                    one.handle,
                    other.handle
                ));
            }
        }
        Ok(directory)
    }

    /// The local day of an instant.
    pub fn day(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.time_zone).date_naive()
    }

    /// Accounts of `network` that hold on `day` and can be read.
    pub fn connected(&self, network: Network, day: NaiveDate) -> impl Iterator<Item = &Account> {
        let held = move |account: &&Account| account.network == network && account.is_valid_on(day);
        self.accounts.iter().filter(held).filter(|account| account.not_connected.is_none())
    }

    /// The account of `network` that `is_it` says it is: as it was on `day`, or, for days
    /// the directory does not cover, in the entry nearest to it.
    pub fn find(&self, network: Network, day: NaiveDate, is_it: impl Fn(&Account) -> bool) -> Option<&Account> {
        let distance = |account: &&Account| match account.valid_to {
            _ if account.is_valid_on(day) => 0,
            _ if day < account.valid_from => (account.valid_from - day).num_days(),
            Some(end) => (day - end).num_days() + 1,
            None => 0,
        };
        self.accounts.iter().filter(|account| account.network == network && is_it(account)).min_by_key(distance)
    }

    /// A record of an account: what was said, unchanged, as member `name` of an object
    /// that says whose it is. `more` are further members, values as JSON.
    pub(crate) fn record(
        &self,
        account: &Account,
        own: bool,
        more: &[(&str, String)],
        name: &str,
        said: &str,
    ) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let mut json = format!(
            "{{\"network\":{},\"account\":{},\"body\":{},\"kato\":{},\"directory\":{},\"own\":{own}",
            text(account.network.as_str()),
            text(&account.handle),
            text(&account.body),
            text(&account.kato),
            text(&self.version),
        );
        for (member, value) in more {
            // Writing into a text does not fail.
            let _ = write!(json, ",{}:{value}", text(member));
        }
        let _ = write!(json, ",{}:{said}}}", text(name));
        json
    }

    /// Accounts that cannot be read, for an operator.
    pub(crate) fn unread(&self, network: Network) -> String {
        let held = self.accounts.iter().filter(|account| account.network == network && account.valid_to.is_none());
        let unread: Vec<String> = held
            .filter_map(|account| Some(format!("{} ({})", account.handle, account.not_connected.as_deref()?)))
            .collect();
        if unread.is_empty() { String::new() } else { format!("; not connected: {}", unread.join(", ")) }
    }
}

/// Names of records of a social network, where a connector gives none of its own.
pub(crate) fn record_identity() -> Identity {
    Identity::by_columns(&["network", "account"], &[], "")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        version = "2026-03-01"
        [[account]]
        network = "vk"
        handle = "invented_before"
        id = -7
        body = "invented-akimat"
        kato = "352400000"
        valid_from = "2024-01-01"
        valid_to = "2026-01-01"
        [[account]]
        network = "vk"
        handle = "invented_after"
        id = -7
        speakers = [41]
        body = "invented-successor"
        kato = "352400000"
        valid_from = "2026-01-01"
        [[account]]
        network = "vk"
        handle = "invented_silent"
        body = "other-akimat"
        kato = "352200000"
        valid_from = "2024-01-01"
        not_connected = "a personal profile that has not consented"
    "#;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn an_account_is_what_it_was_on_the_day() {
        let directory = Directory::parse(TWO).unwrap();
        let body = |on: &str| {
            let account = directory.find(Network::Vk, day(on), |account| account.id == Some(-7)).unwrap();
            account.body.clone()
        };
        assert_eq!(body("2025-12-31"), "invented-akimat");
        assert_eq!(body("2026-01-01"), "invented-successor");
        assert_eq!(body("2019-05-05"), "invented-akimat", "before the directory begins, the nearest entry");
        assert!(directory.find(Network::Telegram, day("2026-01-01"), |_| true).is_none());
        let connected: Vec<&str> =
            directory.connected(Network::Vk, day("2026-02-01")).map(|account| account.handle.as_str()).collect();
        assert_eq!(connected, ["invented_after"]);
        assert_eq!(
            directory.unread(Network::Vk),
            "; not connected: invented_silent (a personal profile that has not consented)"
        );
    }

    #[test]
    fn the_day_is_the_local_one() {
        let directory = Directory::parse(TWO).unwrap();
        let eve = DateTime::parse_from_rfc3339("2025-12-31T19:30:00Z").unwrap().to_utc();
        assert_eq!(directory.day(eve), day("2026-01-01"));
    }

    #[test]
    fn what_was_said_stays_as_it_was_said() {
        let directory = Directory::parse(TWO).unwrap();
        let account = directory.find(Network::Vk, day("2026-02-01"), |account| account.is_spoken_for_by(41)).unwrap();
        let json = directory.record(account, true, &[("post", "12".to_owned())], "comment", "{\"id\":1.50}");
        assert!(json.ends_with(r#""own":true,"post":12,"comment":{"id":1.50}}"#), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["directory"], &value["body"]), (&"2026-03-01".into(), &"invented-successor".into()));
    }

    #[test]
    fn a_directory_that_cannot_be_right_says_what_to_write() {
        let refused = |from: &str, to: &str| Directory::parse(&TWO.replacen(from, to, 1)).unwrap_err();
        assert!(refused("valid_to = \"2026-01-01\"", "").contains("one account at the same time"));
        assert!(refused("352400000", "3524").contains("nine digits"));
        assert!(refused("id = -7", "").contains("needs the network's own id"));
        assert!(refused("a personal profile that has not consented", " ").contains("must say why"));
        assert!(refused("valid_to = \"2026-01-01\"", "valid_to = \"2023-01-01\"").contains("after valid_from"));
        assert!(refused("network = \"vk\"", "network = \"vkk\"").contains("line 4: "));
        assert!(refused("handle = \"invented_before\"", "nick = \"x\"").contains("line 5"));
    }
}
