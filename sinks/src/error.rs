//! Why a sink could not do its work.

use std::net::SocketAddr;
use std::time::Duration;

use ahual_schemas::log::{Advice, LogError};
use ahual_schemas::secret::SecretError;
use ahual_transform::reading::ReadError;

/// Why a sink could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The configuration cannot work; each text names a key and what to change.
    #[error("the configuration of {sink} cannot work: {}", faults.join("; "))]
    Config {
        /// Section of the configuration.
        sink: &'static str,
        /// What is wrong.
        faults: Vec<String>,
    },
    /// A secret could not be had.
    #[error("the secret of {of} could not be had")]
    Secret {
        /// Whose secret.
        of: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// The address cannot be bound.
    #[error("{sink} cannot listen on {address}; free the port or configure another")]
    Bind {
        /// Section of the configuration.
        sink: &'static str,
        /// Address as configured.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server broke off.
    #[error("{sink} stopped serving")]
    Serve {
        /// Section of the configuration.
        sink: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The feed could not be read.
    #[error("could not read the feed")]
    Feed(#[source] ReadError),
    /// The log refused.
    #[error("could not publish the feed to topic {topic}")]
    Log {
        /// Topic.
        topic: String,
        /// Why.
        #[source]
        source: LogError,
    },
}

impl SinkError {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Feed(_) => Advice::RetryAfter(Duration::from_secs(1)),
            // An entry of the feed cannot be set aside: the topic would show an old total for ever.
            Self::Log { source, .. } => match source.advice() {
                Advice::SetAside => Advice::Stop,
                other => other,
            },
            Self::Config { .. } | Self::Secret { .. } | Self::Bind { .. } | Self::Serve { .. } => Advice::Stop,
        }
    }
}

/// The error and its causes on one line, for the log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
