//! Why a run ended before its time.

use std::time::Duration;

use ahual_schemas::sealing::SealingError;
use ahual_schemas::{Advice, LogError};

use crate::connector::ConnectorError;
use crate::state::StateError;

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source needs a person.
    #[error("source {name} stopped")]
    Stopped {
        /// Source.
        name: String,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// The source failed too often in a row.
    #[error("source {name} gave up after {attempts} failures in a row")]
    GaveUp {
        /// Source.
        name: String,
        /// How often.
        attempts: u32,
        /// The last failure.
        #[source]
        source: ConnectorError,
    },
    /// The log refuses.
    #[error("source {name} cannot append to the log")]
    Log {
        /// Source.
        name: String,
        /// Why.
        #[source]
        source: LogError,
    },
    /// The cursor cannot be read or saved.
    #[error("source {name} cannot keep its cursor")]
    State {
        /// Source.
        name: String,
        /// Why.
        #[source]
        source: StateError,
    },
    /// Payloads cannot be sealed.
    #[error("source {name} cannot seal its records")]
    Sealing {
        /// Source.
        name: String,
        /// Why.
        #[source]
        source: SealingError,
    },
}

impl RunError {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            Self::GaveUp { .. } => Advice::RetryAfter(Duration::from_secs(60)),
            Self::Log { source, .. } => match source.advice() {
                Advice::SetAside => Advice::Stop,
                other => other,
            },
            Self::Stopped { .. } | Self::State { .. } | Self::Sealing { .. } => Advice::Stop,
        }
    }
}
