//! `[source.telegram]`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::secret::SecretRef;

/// What a Telegram bot hears, by `getUpdates`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelegramConfig {
    /// Address of the Bot API.
    #[serde(default = "official")]
    pub url: String,
    /// Where the bot's token lies.
    pub token: SecretRef,
    /// The directory of accounts, relative to the configuration file.
    pub accounts: PathBuf,
    /// Handle of the account that private messages to this bot are meant for; they are
    /// set aside when absent.
    pub direct: Option<String>,
    /// Updates one answer may have, 1 to 100.
    #[serde(default = "hundred")]
    pub limit: u32,
    /// Hours without an update after which the next one may have a lower number. The
    /// server keeps updates no longer than a day, so nothing is asked for twice by it.
    #[serde(default = "day")]
    pub forget_after_h: u32,
    /// Replies remembered, so that a reply to a reply finds its thread.
    #[serde(default = "remember")]
    pub remember: usize,
}

fn official() -> String {
    "https://api.telegram.org".to_owned()
}

fn hundred() -> u32 {
    100
}

fn day() -> u32 {
    24
}

fn remember() -> usize {
    20_000
}
