//! The configuration: one TOML file under an environment layer. Parsed and checked
//! whole, without I/O besides reading the file; unknown keys are refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahual_ingest::files::FilesConfig;
use ahual_ingest::log::{KafkaConfig, LogConfig, LogKind};
use ahual_ingest::open311::Open311Config;
use ahual_ingest::rest::RestConfig;
use ahual_ingest::{IdentityConfig, IntakeConfig, LimitsConfig};
use ahual_schemas::sealing::Sealer;
use ahual_schemas::secret::{SecretError, SecretRef};
use ahual_sinks::feed_topic::FeedTopicConfig;
use ahual_sinks::http::HttpConfig;
use ahual_sinks::postgres::PostgresConfig;
use ahual_transform::mapping::MappingConfig;
use ahual_transform::reference::{Reference, ReferenceConfig, ReferenceError};
use chrono_tz::Tz;
use serde::Deserialize;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {} cannot be read", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is not what a configuration is.
    #[error("configuration {}{line}: {what}", path.display())]
    Wrong {
        /// File.
        path: PathBuf,
        /// `, line N` where it is known.
        line: String,
        /// What is wrong and what to write.
        what: String,
    },
    /// A secret cannot be had.
    #[error("configuration {}: sealing.key", path.display())]
    Secret {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: SecretError,
    },
}

/// Everything a deployment says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What holds for the whole deployment.
    #[serde(default)]
    pub deployment: Deployment,
    /// Which log carries the records.
    #[serde(default)]
    pub log: LogConfig,
    /// How raw bytes are sealed.
    #[serde(default)]
    pub sealing: Sealing,
    /// Calendars, rules and what else is looked up.
    #[serde(default)]
    pub reference: ReferenceConfig,
    /// Source systems.
    #[serde(default, rename = "source")]
    pub sources: Vec<Source>,
    /// Metrics besides the built-in ones.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// Where others read.
    #[serde(default)]
    pub sinks: Sinks,
    /// Folder of the configuration file; relative paths start there.
    #[serde(skip)]
    pub base_dir: PathBuf,
}

/// `[deployment]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deployment {
    /// Zone of ledger days.
    #[serde(deserialize_with = "ahual_transform::mapping::zone")]
    pub time_zone: Tz,
    /// Partitions of every topic, fixed once.
    pub partitions: u32,
    /// Most records folded in one batch.
    pub batch_records: usize,
}

impl Default for Deployment {
    fn default() -> Self {
        Self { time_zone: chrono_tz::Asia::Almaty, partitions: 16, batch_records: 20_000 }
    }
}

/// `[sealing]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sealing {
    /// Name of the key; stands in the header of every sealed record.
    pub key_name: String,
    /// Where the key is.
    pub key: SecretRef,
}

impl Default for Sealing {
    fn default() -> Self {
        Self { key_name: "development".to_owned(), key: SecretRef::Development("not a secret".to_owned()) }
    }
}

/// `[[source]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name: lowercase letters, digits and `-`.
    pub name: String,
    /// How a record and its case are named.
    pub identity: Option<IdentityConfig>,
    /// How often, how fast, how large.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Files in a folder.
    pub files: Option<FilesConfig>,
    /// A JSON API.
    pub rest: Option<RestConfig>,
    /// A GeoReport v2 endpoint.
    pub open311: Option<Open311Config>,
    /// How its records become events.
    pub mapping: MappingConfig,
}

impl Source {
    /// Ingest's part.
    pub fn intake(&self) -> IntakeConfig {
        IntakeConfig {
            identity: self.identity.clone(),
            limits: self.limits.clone(),
            files: self.files.clone(),
            rest: self.rest.clone(),
            open311: self.open311.clone(),
        }
    }
}

/// `[metrics]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Folder of `.sql` files, each a metric named after its file.
    pub folder: Option<PathBuf>,
}

/// `[sinks]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sinks {
    /// HTTP: health, figures, feed.
    pub http: Option<HttpConfig>,
    /// Postgres wire.
    pub postgres: Option<PostgresConfig>,
    /// The feed on a topic of the log.
    pub feed_topic: Option<FeedTopicConfig>,
}

impl Config {
    /// Reads and checks the configuration at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config = Self::parse(path, &text, |name| std::env::var(name).ok())?;
        config.apply_environment(|name| std::env::var(name).ok());
        config.check(path)?;
        Ok(config)
    }

    /// Parses `text`; `${NAME}` and `${NAME:-default}` are replaced by `variable`.
    pub fn parse(path: &Path, text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let wrong = |line: Option<usize>, what: String| ConfigError::Wrong {
            path: path.to_owned(),
            line: line.map(|n| format!(", line {n}")).unwrap_or_default(),
            what,
        };
        let mut expanded = String::with_capacity(text.len());
        for (number, line) in text.lines().enumerate() {
            expanded.push_str(&expand(line, &variable).map_err(|what| wrong(Some(number + 1), what))?);
            expanded.push('\n');
        }
        let mut config: Self = toml::from_str(&expanded).map_err(|e| {
            let line = e.span().map(|span| expanded[..span.start].matches('\n').count() + 1);
            wrong(line, with_nearest(e.message()))
        })?;
        config.base_dir = path.parent().map(Path::to_owned).filter(|p| !p.as_os_str().is_empty()).unwrap_or(".".into());
        config.anchor();
        Ok(config)
    }

    /// Files that hold secrets or certificates lie where the configuration does, like
    /// every relative path.
    fn anchor(&mut self) {
        let (files, kafka) = self.log.kafka.as_mut().map(KafkaConfig::places).unwrap_or_default();
        for file in files {
            *file = self.base_dir.join(&*file);
        }
        let users = self.sinks.postgres.iter_mut().flat_map(|postgres| &mut postgres.users);
        for secret in users.map(|user| &mut user.password).chain(kafka).chain([&mut self.sealing.key]) {
            if let SecretRef::File(path) = secret {
                *path = self.base_dir.join(&*path).to_string_lossy().into_owned();
            }
        }
    }

    /// `AHUAL_LOG` and `AHUAL_KAFKA_BROKERS` switch the log of any configuration.
    fn apply_environment(&mut self, variable: impl Fn(&str) -> Option<String>) {
        match variable("AHUAL_LOG").as_deref() {
            Some("kafka") => self.log.kind = LogKind::Kafka,
            Some("embedded") => self.log.kind = LogKind::Embedded,
            _ => {}
        }
        if let Some(brokers) = variable("AHUAL_KAFKA_BROKERS") {
            match &mut self.log.kafka {
                Some(kafka) => kafka.brokers = brokers,
                none => *none = Some(KafkaConfig::new(&brokers)),
            }
        }
        if let (Some(prefix), Some(kafka)) = (variable("AHUAL_KAFKA_TOPIC_PREFIX"), &mut self.log.kafka) {
            kafka.topic_prefix = prefix;
        }
    }

    /// Folder of the deployment's own metrics.
    pub fn metrics_folder(&self) -> Option<PathBuf> {
        self.metrics.folder.as_ref().map(|folder| self.base_dir.join(folder))
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let mut problems = self.log.problems();
        if self.sources.is_empty() {
            problems.push("there is no [[source]]; name at least one".to_owned());
        }
        if self.deployment.partitions == 0 || self.deployment.partitions > 1024 {
            problems.push("deployment.partitions must be from 1 to 1024".to_owned());
        }
        if self.deployment.batch_records == 0 {
            problems.push("deployment.batch_records must be at least 1".to_owned());
        }
        let mut names: Vec<&str> = self.sources.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if pair.first() == pair.last() {
                problems.push(format!("two sources are called '{}'; names must differ", pair[0]));
            }
        }
        for source in &self.sources {
            if let Err(e) = ahual_ingest::build(&source.name, source.intake(), &self.base_dir) {
                problems.push(chain(&e));
            }
            let sql = self.base_dir.join(&source.mapping.sql);
            if !sql.is_file() {
                problems.push(format!("source {}: mapping.sql names {}, which is no file", source.name, sql.display()));
            }
        }
        if let Err(e) = self.reference_data() {
            problems.push(chain(&e));
        }
        if let Some(folder) = self.metrics_folder().filter(|folder| !folder.is_dir()) {
            problems.push(format!("metrics.folder names {}, which is no folder", folder.display()));
        }
        problems.extend(self.sinks.http.iter().flat_map(HttpConfig::validate));
        problems.extend(self.sinks.postgres.iter().flat_map(PostgresConfig::validate));
        problems.extend(self.sinks.feed_topic.iter().flat_map(FeedTopicConfig::validate));
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Wrong { path: path.to_owned(), line: String::new(), what: problems.join("; ") })
    }

    /// The reference data: what ships, under the folder that `[reference]` names.
    pub fn reference_data(&self) -> Result<Arc<Reference>, ReferenceError> {
        Reference::load(&self.reference, &self.base_dir)
    }

    /// The sealer that `[sealing]` names.
    pub fn sealer(&self) -> Result<Sealer, ConfigError> {
        let secret = ahual_sinks::secret::reveal(&self.sealing.key)
            .map_err(|source| ConfigError::Secret { path: self.base_dir.clone(), source })?;
        use secrecy::ExposeSecret;
        Ok(Sealer::new(&self.sealing.key_name, secret.expose_secret().as_bytes()))
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn expand(line: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if line.trim_start().starts_with('#') {
        return Ok(line.to_owned());
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let tail = &rest[start + 2..];
        let end = tail.find('}').ok_or("'${' without '}'; write ${NAME} or ${NAME:-default}")?;
        let (name, default) = match tail[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&tail[..end], None),
        };
        match variable(name).or_else(|| default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => {
                return Err(format!("environment variable {name} is not set; export it or write ${{{name}:-default}}"));
            }
        }
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Adds the nearest known name to serde's "unknown field" message.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let Some(unknown) = quoted.next() else { return message.to_owned() };
    match quoted.min_by_key(|known| strsim::levenshtein(unknown, known)) {
        Some(nearest) => format!("unknown key '{unknown}'; did you mean '{nearest}'? ({message})"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_match() {
        let text = "[deployment]\ntime_zone = \"Asia/Almaty\"\npartitons = 8\n";
        let error = Config::parse(Path::new("x/ahual.toml"), text, |_| None).unwrap_err().to_string();
        assert!(error.contains("x/ahual.toml, line 3"), "{error}");
        assert!(error.contains("'partitons'; did you mean 'partitions'"), "{error}");
    }

    #[test]
    fn variables_expand_with_defaults_and_a_missing_one_is_named() {
        let get = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand("x = \"${A}/${B:-2}\"", &get).unwrap(), "x = \"1/2\"");
        assert!(expand("x = \"${B}\"", &get).unwrap_err().contains("variable B is not set"));
    }

    #[test]
    fn reference_data_is_checked_with_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ahual.toml");
        let check = |text: &str| Config::parse(&path, text, |_| None).unwrap().check(&path).unwrap_err().to_string();
        let told = check("[reference]\nfolder = \"ours\"\n");
        assert!(told.contains("ours: cannot be listed") && told.contains("reference.folder names a folder"), "{told}");
        std::fs::create_dir_all(folder.path().join("ours/rules")).unwrap();
        std::fs::write(folder.path().join("ours/rules/r.toml"), "[[rule]]\nname = \"r\"\n").unwrap();
        let told = check("[reference]\nfolder = \"ours\"\n");
        assert!(told.contains("ours/rules/r.toml, line 1: missing field `version`"), "{told}");
        assert!(!check("").contains("reference data"), "what ships is right");
    }

    #[test]
    fn a_secret_file_lies_beside_the_configuration() {
        let text = "[sealing]\nkey = { file = \"key\" }\n[log.kafka]\nbrokers = \"b:1\"\n\
                    secrets = { \"sasl.password\" = { file = \"/run/word\" } }\n";
        let config = Config::parse(Path::new("etc/ahual.toml"), text, |_| None).unwrap();
        assert_eq!(config.sealing.key, SecretRef::File("etc/key".to_owned()));
        assert_eq!(config.log.kafka.unwrap().secrets["sasl.password"], SecretRef::File("/run/word".to_owned()));
    }

    #[test]
    fn a_wrong_zone_says_what_to_write() {
        let text = "[deployment]\ntime_zone = \"Karaganda\"\n";
        let error = Config::parse(Path::new("a.toml"), text, |_| None).unwrap_err().to_string();
        assert!(error.contains("Karaganda") && error.contains("Asia/Almaty"), "{error}");
    }
}
