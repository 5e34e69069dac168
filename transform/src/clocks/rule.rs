//! Rules of terms as files, read and checked whole. The format: `docs/calendars.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::Calendars;
use super::calendars::day;
use crate::reference::{File, Files, Problem};

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Working days; ends with the last of them.
    WorkingDays(i32),
    /// Calendar days; ends with the last of them.
    CalendarDays(i32),
    /// Time within opening hours, in minutes; ends at an instant.
    WorkingMinutes(i64),
    /// Time by the clock, in minutes; ends at an instant.
    Minutes(i64),
}

/// What "from the day of receipt" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// Day 1 is the next day (the next working day, in working days).
    #[default]
    NextDay,
    /// Day 1 is the day of receipt (in working days: where it is worked, otherwise the
    /// next working day).
    DayOfReceipt,
}

/// What becomes of a term in calendar days whose last day is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastDay {
    /// It ends on that day.
    #[default]
    Stays,
    /// It ends with the next working day.
    NextWorkingDay,
}

/// From where the most an extension may give is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedFrom {
    /// From the due day the rule gave.
    #[default]
    Due,
    /// From the day of receipt.
    Receipt,
}

/// How far a term may be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionLimit {
    /// Most months, of the calendar.
    pub at_most_months: u32,
    /// From where they are counted.
    #[serde(default)]
    pub counted_from: CountedFrom,
}

/// One version of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    id: String,
    /// Name, the same for all versions.
    pub name: String,
    /// Version.
    pub version: String,
    /// What it is, for readers.
    pub title: String,
    /// First local day of receipt it applies to.
    pub applies_from: NaiveDate,
    /// First local day of receipt it no longer applies to.
    pub applies_to: Option<NaiveDate>,
    /// The act behind it, or who set it.
    pub act: String,
    /// Name of the calendar it counts by.
    pub calendar: String,
    /// The term.
    pub term: Term,
    /// How the day of receipt counts.
    pub counting: Counting,
    /// What becomes of a last day that is off.
    pub last_day: LastDay,
    /// How far it may be extended; without one, no limit is checked.
    pub extension: Option<ExtensionLimit>,
    /// Working days within which the case may be sent on to another body.
    pub redirect_working_days: Option<i32>,
    /// What silence until expiry amounts to.
    pub silence: Option<String>,
    /// Reasons for which the clock may stop.
    pub pauses: Vec<String>,
}

impl Rule {
    /// `name@version`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it applies to what was received on `day`.
    pub fn applies(&self, day: NaiveDate) -> bool {
        self.applies_from <= day && self.applies_to.is_none_or(|to| day < to)
    }

    /// Whether it is counted in days, so that it ends with a day and not at an instant.
    pub fn is_in_days(&self) -> bool {
        matches!(self.term, Term::WorkingDays(_) | Term::CalendarDays(_))
    }

    /// Whether a case's clock may stop for `reason`.
    pub fn permits_pause(&self, reason: Option<&str>) -> bool {
        reason.is_some_and(|reason| self.pauses.iter().any(|listed| listed == reason))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    rule: Vec<Spanned<RuleEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    name: String,
    version: String,
    title: String,
    applies_from: Datetime,
    applies_to: Option<Datetime>,
    act: String,
    calendar: String,
    working_days: Option<i32>,
    calendar_days: Option<i32>,
    working_hours: Option<f64>,
    hours: Option<f64>,
    #[serde(default)]
    counting: Counting,
    #[serde(default)]
    last_day: LastDay,
    extension: Option<ExtensionLimit>,
    redirect_working_days: Option<i32>,
    silence: Option<String>,
    #[serde(default)]
    pauses: Vec<String>,
}

/// All versions of all rules.
#[derive(Debug, Default)]
pub struct Rules {
    /// By name, in order of `applies_from`.
    by_name: BTreeMap<String, Vec<Arc<Rule>>>,
}

impl Rules {
    /// Reads the rules among `files`; what is wrong with them is added to `problems`.
    pub fn read(files: &Files, calendars: &Calendars, problems: &mut Vec<Problem>) -> Self {
        let mut rules = Self::default();
        for file in files.of("rules") {
            match file.toml::<RuleFile>() {
                Ok(told) => {
                    for entry in told.rule {
                        rules.take(file, &entry, calendars, problems);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        rules
    }

    /// A version by `name@version`.
    pub fn get(&self, id: &str) -> Option<&Arc<Rule>> {
        self.iter().find(|rule| rule.id == id)
    }

    /// The version of `name` for what was received on `day`. `name` may be
    /// `name@version`: then that one, whatever the day.
    pub fn for_receipt(&self, name: &str, day: NaiveDate) -> Option<&Arc<Rule>> {
        match self.by_name.get(name) {
            Some(versions) => versions.iter().find(|rule| rule.applies(day)),
            None => self.get(name),
        }
    }

    /// Whether `name`, with or without a version, names a rule.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.get(name).is_some()
    }

    /// Every version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.by_name.values().flatten()
    }

    /// Names of all rules.
    pub fn names(&self) -> Vec<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    fn take(&mut self, file: &File, entry: &Spanned<RuleEntry>, calendars: &Calendars, problems: &mut Vec<Problem>) {
        let (span, entry) = (entry.span(), entry.get_ref());
        let wrong = |what: String| file.problem(Some(span.clone()), format!("rule {}: {what}", entry.name));
        let before = problems.len();
        let terms = [
            entry.working_days.map(Term::WorkingDays),
            entry.calendar_days.map(Term::CalendarDays),
            entry.working_hours.and_then(minutes).map(Term::WorkingMinutes),
            entry.hours.and_then(minutes).map(Term::Minutes),
        ];
        let mut terms = terms.into_iter().flatten();
        let term = match (terms.next(), terms.next()) {
            (Some(Term::WorkingDays(n) | Term::CalendarDays(n)), None) if n < 1 => {
                problems.push(wrong("a term has at least one day".to_owned()));
                None
            }
            (Some(term), None) => Some(term),
            _ => {
                let what = "needs exactly one term: working_days, calendar_days, working_hours or hours (above 0, whole minutes)";
                problems.push(wrong(what.to_owned()));
                None
            }
        };
        for (word, text) in [("name", &entry.name), ("version", &entry.version)] {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            if text.is_empty() || !text.chars().all(plain) {
                problems.push(wrong(format!("{word} '{text}' must be of lower case letters, digits, '-' and '.'")));
            }
        }
        if calendars.versions(&entry.calendar).is_empty() {
            problems.push(wrong(format!(
                "calendar '{}' is none; there are {}",
                entry.calendar,
                calendars.ids().join(", ")
            )));
        }
        if entry.last_day == LastDay::NextWorkingDay && entry.calendar_days.is_none() {
            problems.push(wrong("last_day is for calendar_days; leave it out".to_owned()));
        }
        let applies_from = day(&entry.applies_from);
        let applies_to = entry.applies_to.as_ref().map(day);
        if applies_from.is_none() || applies_to == Some(None) {
            problems.push(wrong("applies_from and applies_to must be days, like 2021-07-01".to_owned()));
        }
        let (Some(term), Some(applies_from), true) = (term, applies_from, problems.len() == before) else { return };
        let rule = Rule {
            id: format!("{}@{}", entry.name, entry.version),
            name: entry.name.clone(),
            version: entry.version.clone(),
            title: entry.title.clone(),
            applies_from,
            applies_to: applies_to.flatten(),
            act: entry.act.clone(),
            calendar: entry.calendar.clone(),
            term,
            counting: entry.counting,
            last_day: entry.last_day,
            extension: entry.extension,
            redirect_working_days: entry.redirect_working_days,
            silence: entry.silence.clone(),
            pauses: entry.pauses.clone(),
        };
        let versions = self.by_name.entry(rule.name.clone()).or_default();
        let overlaps = |other: &Rule| {
            rule.applies_to.is_none_or(|to| other.applies_from < to)
                && other.applies_to.is_none_or(|to| rule.applies_from < to)
        };
        if let Some(other) = versions.iter().find(|other| other.id == rule.id || overlaps(other)) {
            let what = format!("{} and {} apply to the same days; end one with applies_to", other.id, rule.id);
            problems.push(wrong(what));
            return;
        }
        versions.push(Arc::new(rule));
        versions.sort_by_key(|rule| rule.applies_from);
    }
}

/// Hours as whole minutes, above 0.
fn minutes(hours: f64) -> Option<i64> {
    let minutes = hours * 60.0;
    // Exact below 2^53, far above any term.
    #[allow(clippy::cast_possible_truncation)]
    ((1.0..1e9).contains(&minutes) && minutes.fract() == 0.0).then_some(minutes as i64)
}
