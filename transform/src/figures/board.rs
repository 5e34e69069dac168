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
const BUILT_IN: [(&str, &str); 12] = files![
    "call_board",
    "control_board",
    "deadline_margin_days",
    "emergency_board",
    "ending_incidence",
    "flaws",
    "outcome_classes",
    "overdue_ageing",
    "queue_board",
    "repeat_complaints",
    "repeat_locations",
    "social_board",
];

/// The board that ranks bodies by a metric, which it calls `:metric`.
const RANKING: &str = include_str!("../../metrics/boards/ranking.sql");
/// The metrics that bodies are ranked by, each a board `ranking_<metric>`.
const RANKED_BY: [&str; 2] = ["completion", "on_time"];

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
        let single = BUILT_IN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let ranked = RANKED_BY.iter().map(|metric| (format!("ranking_{metric}"), RANKING.replace(":metric", metric)));
        let mut boards = Vec::new();
        for (name, text) in single.chain(ranked) {
            let read = header::read(&name, &text)?;
            boards.push(Self { info: read.info, sql: read.sql });
        }
        boards.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        Ok(boards)
    }

    /// Its SQL at a moment, as it stands in the file.
    pub(super) fn sql(&self, as_of: Option<At>) -> String {
        self.sql.replace(AS_OF, &moment(as_of))
    }
}
