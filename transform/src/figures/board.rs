//! Boards: what is formed at read from figures and cases and is no sum over cases, or shows
//! several figures side by side. Each is one commented SQL file, a view `metrics.<name>`.

use ahual_schemas::At;

use super::definition::{AS_OF, moment};
use super::{MetricError, header};
use crate::reading::MetricInfo;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../metrics/boards/", $name, ".sql")))),*]
    };
}

/// The boards that ship with Ahual.
const BUILT_IN: [(&str, &str); 14] = files![
    "call_board",
    "control_board",
    "deadline_margin_days",
    "emergency_board",
    "ending_incidence",
    "flaws",
    "outcome_classes",
    "overdue_ageing",
    "queue_board",
    "ranking_completion",
    "ranking_on_time",
    "repeat_complaints",
    "repeat_locations",
    "social_board",
];

/// A view over figures and cases.
#[derive(Debug, Clone)]
pub struct Board {
    /// What catalogues say of it.
    pub info: MetricInfo,
    sql: String,
}

impl Board {
    /// The built-in boards, in order of name.
    pub fn built_in() -> Result<Vec<Self>, MetricError> {
        BUILT_IN
            .iter()
            .map(|(name, text)| {
                let read = header::read(name, text)?;
                Ok(Self { info: read.info, sql: read.sql })
            })
            .collect()
    }

    /// Its SQL at a moment, as it stands in the file.
    pub(super) fn sql(&self, as_of: Option<At>) -> String {
        self.sql.replace(AS_OF, &moment(as_of))
    }
}
