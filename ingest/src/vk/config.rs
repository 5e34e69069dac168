//! `[source.vk]`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::secret::SecretRef;

/// Walls of VK communities and what is said under their posts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VkConfig {
    /// Address of the API, without `/method`.
    #[serde(default = "official")]
    pub url: String,
    /// Version of the API that is spoken.
    #[serde(default = "spoken")]
    pub api_version: String,
    /// Where the access token lies (of the application: a service token suffices for open
    /// walls).
    pub token: SecretRef,
    /// The directory of accounts, relative to the configuration file.
    pub accounts: PathBuf,
    /// Posts and comments one answer may have, 2 to 100.
    #[serde(default = "hundred")]
    pub count: u64,
    /// Days back for which posts are looked at.
    #[serde(default = "month")]
    pub rescan_days: u32,
    /// Seconds after which the comments of a post are read again although their number has
    /// not changed: that is how edits and deletions are found.
    #[serde(default = "six_hours")]
    pub rescan_every_s: u32,
    /// Posts and comments remembered so that unchanged ones are not taken again.
    #[serde(default = "remember")]
    pub remember: usize,
}

fn official() -> String {
    "https://api.vk.com".to_owned()
}

fn spoken() -> String {
    "5.199".to_owned()
}

fn hundred() -> u64 {
    100
}

fn month() -> u32 {
    30
}

fn six_hours() -> u32 {
    6 * 3_600
}

fn remember() -> usize {
    20_000
}
