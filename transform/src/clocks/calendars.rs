//! Working calendars as files, read and checked whole. The format: `docs/calendars.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahual_schemas::At;
use chrono::{Datelike, NaiveDate, Weekday};
use chrono_tz::Tz;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::calendar::{Calendar, DayKind, Exception, Parts};
use super::hours::{Span, Week};
use crate::reference::{File, Files, Problem};

/// Stands for the act where no source that was read names it.
const NOT_FOUND: &str = "not found";

/// The file of one calendar version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarFile {
    name: Spanned<String>,
    version: Spanned<String>,
    known_from: Spanned<Datetime>,
    extends: Option<Spanned<String>>,
    time_zone: Option<Spanned<String>>,
    weekend: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    years: Vec<Spanned<i32>>,
    #[serde(default)]
    acts: BTreeMap<String, String>,
    #[serde(default)]
    off: Vec<Spanned<DayEntry>>,
    #[serde(default)]
    worked: Vec<Spanned<DayEntry>>,
    #[serde(default)]
    ordinary: Vec<Spanned<DayEntry>>,
    #[serde(default)]
    hours: Vec<Spanned<HoursEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DayEntry {
    date: Datetime,
    name: String,
    act: String,
    in_place_of: Option<Datetime>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoursEntry {
    #[serde(default)]
    body: String,
    days: Vec<String>,
    open: Vec<String>,
    #[serde(default)]
    on_days_off: bool,
}

/// All versions of all working calendars.
#[derive(Debug, Default)]
pub struct Calendars {
    /// By name, in order of `known_from`.
    by_name: BTreeMap<String, Vec<Arc<Calendar>>>,
}

impl Calendars {
    /// Reads the calendars among `files`; what is wrong with them is added to `problems`.
    pub fn read(files: &Files, problems: &mut Vec<Problem>) -> Self {
        let mut waiting = Vec::new();
        for file in files.of("calendars") {
            match file.toml::<CalendarFile>() {
                Ok(told) => waiting.push((file, told)),
                Err(problem) => problems.push(problem),
            }
        }
        let mut calendars = Self::default();
        // A version waits for the one it extends. What still waits when nothing moves
        // any more extends something that is not there, or itself.
        loop {
            let before = waiting.len();
            let mut next = Vec::new();
            for (file, told) in waiting {
                let parent = told.extends.as_ref().map(|e| calendars.get(e.get_ref()).cloned());
                match parent {
                    Some(None) => next.push((file, told)),
                    parent => calendars.take(file, &told, parent.flatten(), problems),
                }
            }
            waiting = next;
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        for (file, told) in &waiting {
            let Some(extends) = &told.extends else { continue };
            let what = format!(
                "extends {}, which is no usable calendar version; there are {}",
                extends.get_ref(),
                calendars.ids().join(", ")
            );
            problems.push(file.problem(Some(extends.span()), what));
        }
        calendars
    }

    /// A version by `name@version`.
    pub fn get(&self, id: &str) -> Option<&Arc<Calendar>> {
        self.iter().find(|calendar| calendar.id() == id)
    }

    /// The version of the calendar `name` known at `at`; none where none was yet.
    pub fn known_at(&self, name: &str, at: At) -> Option<&Arc<Calendar>> {
        self.versions(name).iter().rev().find(|calendar| calendar.known_from() <= at)
    }

    /// The versions of the calendar `name`, in the order in which they became known.
    pub fn versions(&self, name: &str) -> &[Arc<Calendar>] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Calendar>> {
        self.by_name.values().flatten()
    }

    /// Names of all calendars.
    pub fn names(&self) -> Vec<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    /// `name@version` of every version.
    pub fn ids(&self) -> Vec<&str> {
        self.iter().map(|calendar| calendar.id()).collect()
    }

    fn take(&mut self, file: &File, told: &CalendarFile, parent: Option<Arc<Calendar>>, problems: &mut Vec<Problem>) {
        let before = problems.len();
        let Some(parts) = resolve(file, told, parent.as_deref(), problems) else { return };
        let calendar = Calendar::new(parts);
        let span = told.version.span();
        if self.get(calendar.id()).is_some() {
            let what = format!("there is another {}; give this one a version of its own", calendar.id());
            problems.push(file.problem(Some(span), what));
        }
        let versions = self.by_name.entry(calendar.name().to_owned()).or_default();
        if let Some(other) = versions.iter().find(|v| v.known_from == calendar.known_from) {
            let what = format!(
                "{} and {} became known on the same day, so neither is the later; change one known_from",
                other.id(),
                calendar.id()
            );
            problems.push(file.problem(Some(told.known_from.span()), what));
        }
        if problems.len() == before {
            versions.push(Arc::new(calendar));
            versions.sort_by_key(|v| v.known_from);
        }
    }
}

/// What a file and the version it extends make together.
fn resolve(file: &File, told: &CalendarFile, parent: Option<&Calendar>, problems: &mut Vec<Problem>) -> Option<Parts> {
    let before = problems.len();
    let mut wrong = |span: std::ops::Range<usize>, what: String| problems.push(file.problem(Some(span), what));
    for (word, text) in [("name", &told.name), ("version", &told.version)] {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if text.get_ref().is_empty() || !text.get_ref().chars().all(plain) {
            wrong(
                text.span(),
                format!("{word} '{}' must be of lower case letters, digits, '-' and '.'", text.get_ref()),
            );
        }
    }
    let known_from = day(told.known_from.get_ref());
    if known_from.is_none() {
        wrong(told.known_from.span(), "known_from must be a day, like 2026-03-18".to_owned());
    }
    if let (Some(parent), Some(known_from)) = (parent, known_from)
        && parent.name == *told.name.get_ref()
        && parent.known_from >= known_from
    {
        wrong(
            told.known_from.span(),
            format!("{} was known from {}; what extends it must be known later", parent.id(), parent.known_from),
        );
    }
    let zone = match (&told.time_zone, parent) {
        (Some(zone), _) => zone.get_ref().parse::<Tz>().ok().or_else(|| {
            wrong(
                zone.span(),
                format!("'{}' is no time zone of the tz database; write one like 'Asia/Almaty'", zone.get_ref()),
            );
            None
        }),
        (None, Some(parent)) => Some(parent.zone),
        (None, None) => {
            wrong(told.name.span(), "there is no time_zone; write one like \"Asia/Almaty\"".to_owned());
            None
        }
    };
    let weekend = match (&told.weekend, parent) {
        (Some(days), _) => {
            let mut weekend = Vec::new();
            for name in days {
                match weekday(name.get_ref()) {
                    Some(day) => weekend.push(day),
                    None => wrong(name.span(), no_weekday(name.get_ref())),
                }
            }
            weekend
        }
        (None, Some(parent)) => parent.weekend.clone(),
        (None, None) => vec![Weekday::Sat, Weekday::Sun],
    };
    let mut years: BTreeSet<i32> = parent.map_or_else(BTreeSet::new, |p| (p.first_year..=p.last_year).collect());
    years.extend(told.years.iter().map(|y| *y.get_ref()));
    let (first, last) = (years.first().copied().unwrap_or_default(), years.last().copied().unwrap_or_default());
    if years.is_empty() {
        wrong(told.name.span(), "covers no year; write years = [2026]".to_owned());
    } else if !(1900..=2200).contains(&first) || last > 2200 || years.len() as i64 != i64::from(last - first) + 1 {
        let span = told.years.first().map_or(told.name.span(), Spanned::span);
        wrong(span, format!("covers {years:?}; the years of a calendar follow each other, between 1900 and 2200"));
    }

    let mut exceptions = parent.map_or_else(BTreeMap::new, |p| p.exceptions.clone());
    let mut seen = BTreeSet::new();
    let entries = [("off", &told.off), ("worked", &told.worked), ("ordinary", &told.ordinary)];
    for (list, entry) in entries.iter().flat_map(|(list, entries)| entries.iter().map(move |e| (*list, e))) {
        let (span, entry) = (entry.span(), entry.get_ref());
        let Some(date) = day(&entry.date) else {
            wrong(span, format!("date '{}' must be a day, like 2026-08-31", entry.date));
            continue;
        };
        if !years.contains(&date.year()) {
            wrong(span, format!("{date} is in no year this calendar covers; add {} to years", date.year()));
            continue;
        }
        if !seen.insert(date) {
            wrong(span, format!("{date} is said twice; say it once"));
            continue;
        }
        let act = match told.acts.get(&entry.act) {
            Some(act) => act.clone(),
            None if entry.act == NOT_FOUND => NOT_FOUND.to_owned(),
            None => {
                wrong(span, format!("act '{}' is not among [acts]; add it there, or write \"{NOT_FOUND}\"", entry.act));
                continue;
            }
        };
        let off = weekend.contains(&date.weekday());
        let like = match &entry.in_place_of {
            None => None,
            Some(other) if list == "worked" => match day(other) {
                Some(other) => Some(other.weekday()),
                None => {
                    wrong(span, format!("in_place_of '{other}' must be a day, like 2018-08-31"));
                    continue;
                }
            },
            Some(_) => {
                wrong(span, "in_place_of says whose hours a worked day has; leave it out here".to_owned());
                continue;
            }
        };
        let exception = |kind| Exception { kind, name: entry.name.clone(), act };
        match list {
            "off" => {
                exceptions.insert(date, exception(DayKind::Off));
            }
            "worked" => {
                if !off && !exceptions.get(&date).is_some_and(|e| e.kind == DayKind::Off) {
                    wrong(span, format!("{date} is a {} and worked anyway; remove it", date.weekday()));
                    continue;
                }
                let like = like.unwrap_or_else(|| first_worked(&weekend));
                exceptions.insert(date, exception(DayKind::Worked(like)));
            }
            _ => {
                if exceptions.get(&date).is_none_or(|e| e.kind == DayKind::Ordinary) {
                    wrong(span, format!("{date} is ordinary anyway; list here what an earlier version moved"));
                    continue;
                }
                exceptions.insert(date, exception(DayKind::Ordinary));
            }
        }
    }

    let weeks = weeks(told, parent, &mut wrong);
    if !weeks.contains_key("") {
        wrong(
            told.name.span(),
            "there are no [[hours]] without a body, for those that have none of their own".to_owned(),
        );
    }
    let (known_from, zone) = (known_from?, zone?);
    (problems.len() == before).then(|| Parts {
        name: told.name.get_ref().clone(),
        version: told.version.get_ref().clone(),
        known_from,
        zone,
        years: (first, last),
        weekend,
        exceptions,
        weeks,
    })
}

/// Hours by body: the file's own, for each body it speaks of, and otherwise those of the
/// version it extends.
fn weeks(
    told: &CalendarFile,
    parent: Option<&Calendar>,
    wrong: &mut impl FnMut(std::ops::Range<usize>, String),
) -> BTreeMap<String, Week> {
    let mut own: BTreeMap<String, Week> = BTreeMap::new();
    for entry in &told.hours {
        let (span, entry) = (entry.span(), entry.get_ref());
        let mut spans = Vec::new();
        for text in &entry.open {
            match hours(text) {
                Some(hours) => spans.push(hours),
                None => wrong(span.clone(), format!("open '{text}' must be like \"09:00-13:00\"; a day ends at 24:00")),
            }
        }
        let week = own.entry(entry.body.clone()).or_default();
        for name in &entry.days {
            let Some(day) = weekday(name) else {
                wrong(span.clone(), no_weekday(name));
                continue;
            };
            let at = day.num_days_from_monday() as usize;
            week.days[at].extend(&spans);
            week.days[at].sort_unstable();
            if week.days[at].windows(2).any(|pair| pair[0].1 > pair[1].0) {
                wrong(span.clone(), format!("hours of {name} overlap; say each hour once"));
            }
            if entry.on_days_off {
                week.on_days_off[at].extend(&spans);
                week.on_days_off[at].sort_unstable();
            }
        }
    }
    let mut weeks = parent.map_or_else(BTreeMap::new, |p| p.weeks().clone());
    weeks.extend(own);
    weeks
}

fn first_worked(weekend: &[Weekday]) -> Weekday {
    let mut day = Weekday::Mon;
    for _ in 0..7 {
        if !weekend.contains(&day) {
            break;
        }
        day = day.succ();
    }
    day
}

/// A day, where that is all it says.
pub(super) fn day(told: &Datetime) -> Option<NaiveDate> {
    let date = told.date.filter(|_| told.time.is_none() && told.offset.is_none())?;
    NaiveDate::from_ymd_opt(i32::from(date.year), u32::from(date.month), u32::from(date.day))
}

fn weekday(name: &str) -> Option<Weekday> {
    const NAMES: [(&str, Weekday); 7] = [
        ("monday", Weekday::Mon),
        ("tuesday", Weekday::Tue),
        ("wednesday", Weekday::Wed),
        ("thursday", Weekday::Thu),
        ("friday", Weekday::Fri),
        ("saturday", Weekday::Sat),
        ("sunday", Weekday::Sun),
    ];
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, day)| *day)
}

fn no_weekday(name: &str) -> String {
    format!("'{name}' is no weekday; write one like \"monday\"")
}

fn hours(text: &str) -> Option<Span> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
        (minute < 60).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from.trim())?, minute(to.trim())?);
    (from < to && to <= 24 * 60).then_some((from, to))
}
