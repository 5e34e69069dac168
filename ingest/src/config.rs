//! The intake part of a `[[source]]` table: parsed, then checked without I/O.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::accounts::DirectoryError;
use crate::connector::Connector;
use crate::egov::{EgovConfig, EgovConnector};
use crate::files::{FilesConfig, FilesConnector};
use crate::identity::{Identity, IdentityConfig, IdentityError};
use crate::open311::{Open311Config, Open311Connector};
use crate::rest::{RestConfig, RestConnector};
use crate::secret::SecretError;
use crate::telegram::{TelegramConfig, TelegramConnector};
use crate::vk::{VkConfig, VkConnector};

/// What is wrong with the configuration of a source.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The name cannot be part of a topic.
    #[error(
        "source name '{0}' may hold only lowercase letters, digits and '-', begin with a letter, and have at most 64 characters"
    )]
    Name(String),
    /// Not exactly one connector.
    #[error("source {name} names {count} connectors; it needs exactly one of the tables {tables}")]
    Connectors {
        /// Source.
        name: String,
        /// How many it names.
        count: usize,
        /// The tables there are.
        tables: String,
    },
    /// How records are named is not said right.
    #[error("source {name}")]
    Identity {
        /// Source.
        name: String,
        /// What is wrong.
        #[source]
        source: IdentityError,
    },
    /// A secret is not where the configuration says.
    #[error("source {name}")]
    Secret {
        /// Source.
        name: String,
        /// What is wrong.
        #[source]
        source: SecretError,
    },
    /// The directory of accounts cannot be used.
    #[error("source {name}")]
    Accounts {
        /// Source.
        name: String,
        /// What is wrong.
        #[source]
        source: DirectoryError,
    },
    /// A setting is wrong.
    #[error("source {name}: {key} {what}")]
    Setting {
        /// Source.
        name: String,
        /// Key within the source's table.
        key: String,
        /// What is wrong and what to write.
        what: String,
    },
}

impl ConfigError {
    /// What to do about it: only a person can.
    pub fn advice(&self) -> ahual_schemas::Advice {
        ahual_schemas::Advice::Stop
    }
}

/// How a source is read. The root's `[[source]]` table carries these fields beside its
/// name and mapping.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// How a record and its case are named.
    pub identity: Option<IdentityConfig>,
    /// How often, how fast, how large.
    pub limits: LimitsConfig,
    /// Files in a folder.
    pub files: Option<FilesConfig>,
    /// A JSON API.
    pub rest: Option<RestConfig>,
    /// A GeoReport v2 endpoint.
    pub open311: Option<Open311Config>,
    /// A data set of the open data portal.
    pub egov: Option<EgovConfig>,
    /// What a Telegram bot hears.
    pub telegram: Option<TelegramConfig>,
    /// Walls of VK communities.
    pub vk: Option<VkConfig>,
}

impl IntakeConfig {
    /// The connectors there are and whether each is named.
    fn named(&self) -> [(&'static str, bool); 6] {
        [
            ("files", self.files.is_some()),
            ("rest", self.rest.is_some()),
            ("open311", self.open311.is_some()),
            ("egov", self.egov.is_some()),
            ("telegram", self.telegram.is_some()),
            ("vk", self.vk.is_some()),
        ]
    }
}

/// `[source.limits]`: what the runner keeps to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Seconds between two looks at a drained source.
    pub poll_every_s: f64,
    /// Pages asked for in a minute at most; unlimited when absent.
    pub rate_limit_per_minute: Option<u32>,
    /// Seconds one request may take.
    pub timeout_s: f64,
    /// Bytes one answer may have.
    pub max_body_bytes: u64,
    /// First wait after a failure, seconds; doubles with each further one.
    pub retry_first_s: f64,
    /// Longest wait between two tries, seconds, where the source asks for none.
    pub retry_most_s: f64,
    /// Failures in a row after which a run that is to end (`--until-idle`) gives up. A
    /// run that follows never does.
    pub give_up_after: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            poll_every_s: 60.0,
            rate_limit_per_minute: None,
            timeout_s: 30.0,
            max_body_bytes: 64 * 1024 * 1024,
            retry_first_s: 1.0,
            retry_most_s: 300.0,
            give_up_after: 6,
        }
    }
}

impl LimitsConfig {
    pub(crate) fn poll_every(&self) -> Duration {
        seconds(self.poll_every_s)
    }

    pub(crate) fn timeout(&self) -> Duration {
        seconds(self.timeout_s)
    }

    pub(crate) fn retry_first(&self) -> Duration {
        seconds(self.retry_first_s)
    }

    pub(crate) fn retry_most(&self) -> Duration {
        seconds(self.retry_most_s)
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let wrong = |key: &str, what: &str| setting(name, &format!("limits.{key}"), what);
        for (key, value) in [
            ("poll_every_s", self.poll_every_s),
            ("timeout_s", self.timeout_s),
            ("retry_first_s", self.retry_first_s),
            ("retry_most_s", self.retry_most_s),
        ] {
            if !(value > 0.0 && value <= 31_536_000.0) {
                return Err(wrong(key, "must be more than 0 and at most a year of seconds"));
            }
        }
        if self.rate_limit_per_minute == Some(0) {
            return Err(wrong("rate_limit_per_minute", "must be at least 1; leave it out for no limit"));
        }
        if self.max_body_bytes == 0 {
            return Err(wrong("max_body_bytes", "must be at least 1"));
        }
        if self.give_up_after == 0 {
            return Err(wrong("give_up_after", "must be at least 1"));
        }
        Ok(())
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::from_secs(1))
}

pub(crate) fn setting(name: &str, key: &str, what: &str) -> ConfigError {
    ConfigError::Setting { name: name.to_owned(), key: key.to_owned(), what: what.to_owned() }
}

/// A source ready to be run.
pub struct Door {
    /// Name of the source.
    pub name: String,
    /// Reads pages.
    pub connector: Box<dyn Connector>,
    /// Names records.
    pub identity: Arc<Identity>,
    /// Bounds the runner.
    pub limits: LimitsConfig,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("name", &self.name).field("kind", &self.connector.describe().kind).finish()
    }
}

/// Checks the configuration of source `name` and makes its door. Relative paths are
/// relative to `base_dir`, the folder of the configuration file. Reads secrets, but
/// neither opens inputs nor the network.
pub fn build(name: &str, intake: IntakeConfig, base_dir: &Path) -> Result<Door, ConfigError> {
    let named_well = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !named_well {
        return Err(ConfigError::Name(name.to_owned()));
    }
    let known = intake.named();
    let wrong_count = |count| {
        let tables = known.map(|(table, _)| table).join(", ");
        ConfigError::Connectors { name: name.to_owned(), count, tables }
    };
    let count = known.iter().filter(|(_, named)| *named).count();
    if count != 1 {
        return Err(wrong_count(count));
    }
    intake.limits.check(name)?;
    let wrong = |source| ConfigError::Identity { name: name.to_owned(), source };
    let names_itself = intake.telegram.is_some() || intake.vk.is_some();
    let identity = match &intake.identity {
        Some(_) if names_itself => {
            return Err(setting(name, "identity", "is fixed by the protocol of this connector; leave it out"));
        }
        None if names_itself => crate::accounts::record_identity(),
        Some(config) => Identity::new(config).map_err(wrong)?,
        None if intake.open311.is_some() => crate::open311::request_identity(),
        None => return Err(wrong(IdentityError::Ways(0))),
    };
    if identity.is_by_row() && intake.files.is_none() {
        return Err(wrong(IdentityError::NoRows));
    }
    let identity = Arc::new(identity);
    let mut limits = intake.limits;
    if intake.egov.is_some() {
        limits.rate_limit_per_minute.get_or_insert(crate::egov::CALLS_A_MINUTE);
    }
    if intake.vk.is_some() {
        limits.rate_limit_per_minute.get_or_insert(crate::vk::CALLS_A_MINUTE);
    }
    let connector: Box<dyn Connector> = if let Some(config) = intake.files {
        Box::new(FilesConnector::new(name, config, base_dir, Arc::clone(&identity))?)
    } else if let Some(config) = intake.rest {
        Box::new(RestConnector::new(name, config, base_dir, Arc::clone(&identity), &limits)?)
    } else if let Some(config) = intake.open311 {
        Box::new(Open311Connector::new(name, config, base_dir, Arc::clone(&identity), &limits)?)
    } else if let Some(config) = intake.egov {
        Box::new(EgovConnector::new(name, config, base_dir, Arc::clone(&identity), &limits)?)
    } else if let Some(config) = intake.telegram {
        Box::new(TelegramConnector::new(name, config, base_dir, &limits)?)
    } else if let Some(config) = intake.vk {
        Box::new(VkConnector::new(name, config, base_dir, &limits)?)
    } else {
        return Err(wrong_count(count));
    };
    Ok(Door { name: name.to_owned(), connector, identity, limits })
}
