//! The head of a metric's or board's file: comments, then one SELECT.

use super::MetricError;
use crate::reading::MetricInfo;

/// A file that has been taken apart.
#[derive(Debug, Clone)]
pub(super) struct Headed {
    pub(super) info: MetricInfo,
    /// Days after which what a day contributes no longer changes, where the file says so.
    pub(super) matures_days: Option<i32>,
    pub(super) sql: String,
}

/// Reads `-- title:`, `-- unit:`, `-- matures: N days`; other comments before the SELECT are
/// the description.
pub(super) fn read(name: &str, text: &str) -> Result<Headed, MetricError> {
    let shape = |what: &str| MetricError::Shape { metric: name.to_owned(), what: what.to_owned() };
    let (mut title, mut unit, mut matures_days) = (None, None, None);
    let mut description = Vec::new();
    let mut sql = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("--") {
            Some(comment) if sql.is_empty() => {
                let comment = comment.trim();
                if let Some(text) = comment.strip_prefix("title:") {
                    title = Some(text.trim().to_owned());
                } else if let Some(text) = comment.strip_prefix("unit:") {
                    unit = Some(text.trim().to_owned());
                } else if let Some(text) = comment.strip_prefix("matures:") {
                    let days = text.trim().strip_suffix("days").and_then(|n| n.trim().parse::<u16>().ok());
                    let days =
                        days.ok_or_else(|| shape("its header's '-- matures:' names no days; write '30 days'"))?;
                    matures_days = Some(i32::from(days));
                } else {
                    description.push(comment.to_owned());
                }
            }
            _ => {
                if !(sql.is_empty() && line.trim().is_empty()) {
                    sql.push(line);
                }
            }
        }
    }
    Ok(Headed {
        info: MetricInfo {
            name: name.to_owned(),
            title: title.ok_or_else(|| shape("its header has no line '-- title: …'"))?,
            unit: unit.ok_or_else(|| shape("its header has no line '-- unit: …'"))?,
            description: description.join("\n").trim().to_owned(),
        },
        matures_days,
        sql: sql.join("\n").trim().trim_end_matches(';').to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_told_from_the_query() {
        let text = "-- title: T\n-- unit: ratio\n-- matures: 30 days\n-- Meaning.\n\nSELECT 1 -- not header\n;";
        let read = read("m", text).unwrap();
        assert_eq!((read.info.title.as_str(), read.info.description.as_str()), ("T", "Meaning."));
        assert_eq!((read.matures_days, read.sql.as_str()), (Some(30), "SELECT 1 -- not header\n"));
    }

    #[test]
    fn what_is_missing_or_unreadable_is_named() {
        let told = |text| read("m", text).unwrap_err().to_string();
        assert!(told("-- unit: ratio\nSELECT 1").contains("-- title"));
        assert!(told("-- title: T\nSELECT 1").contains("-- unit"));
        assert!(told("-- title: T\n-- unit: u\n-- matures: a month\nSELECT 1").contains("30 days"));
    }
}
