//! Every minute of 2018 to 2026, worked or not: built minute by minute from the calendar
//! files, by code that shares nothing with the product but the files and the tz database.

use std::collections::HashMap;
use std::path::Path;

use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Timelike};

const ZONE: chrono_tz::Tz = chrono_tz::Asia::Almaty;
const DAYS: usize = 3287;
/// Nine years, one hour longer than their days: 29 February 2024 had 25.
pub(crate) const MINUTES: usize = DAYS * 1440 + 60;

/// The first minute of a local year, in minutes since 1970.
pub(crate) fn minute_of(year: i32) -> i64 {
    ZONE.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap().timestamp() / 60
}

pub(crate) fn first_minute() -> i64 {
    minute_of(2018)
}

/// The days and hours of one calendar version, all files it rests on laid over each other.
#[derive(Clone, Default)]
struct Told {
    off: HashMap<String, bool>,
    /// Day → the day whose hours it has.
    like: HashMap<String, NaiveDate>,
    last_year: i64,
    /// Body → its hours.
    hours: HashMap<String, Vec<Open>>,
}

/// Weekdays, from, to, also on days off.
type Open = (Vec<String>, u32, u32, bool);

fn read(id: &str) -> Told {
    let (name, version) = id.split_once('@').unwrap();
    let file = format!("../reference/calendars/{name}-{version}.toml");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let file: toml::Table = text.parse().unwrap();
    let mut told = file.get("extends").map(|e| read(e.as_str().unwrap())).unwrap_or_default();
    if let Some(years) = file.get("years") {
        told.last_year = years.as_array().unwrap().iter().map(|y| y.as_integer().unwrap()).max().unwrap();
    }
    let entries = |list: &str| file.get(list).map(|l| l.as_array().unwrap().clone()).unwrap_or_default();
    let date = |entry: &toml::Value, key: &str| entry.get(key).map(|d| d.as_datetime().unwrap().to_string());
    for entry in entries("off") {
        told.off.insert(date(&entry, "date").unwrap(), true);
    }
    for entry in entries("worked") {
        let day = date(&entry, "date").unwrap();
        told.off.insert(day.clone(), false);
        told.like.insert(day, date(&entry, "in_place_of").unwrap().parse().unwrap());
    }
    for entry in entries("ordinary") {
        told.off.remove(&date(&entry, "date").unwrap());
    }
    let hours = entries("hours");
    if !hours.is_empty() {
        told.hours.clear();
    }
    for entry in hours {
        let body = entry.get("body").map(|b| b.as_str().unwrap()).unwrap_or_default().to_owned();
        let days: Vec<String> =
            entry["days"].as_array().unwrap().iter().map(|d| d.as_str().unwrap().to_owned()).collect();
        let always = entry.get("on_days_off").is_some_and(|a| a.as_bool().unwrap());
        for open in entry["open"].as_array().unwrap() {
            let (from, to) = open.as_str().unwrap().split_once('-').unwrap();
            let minute = |t: &str| t[..2].parse::<u32>().unwrap() * 60 + t[3..].parse::<u32>().unwrap();
            told.hours.entry(body.clone()).or_default().push((days.clone(), minute(from), minute(to), always));
        }
    }
    told
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

fn weekday(day: NaiveDate) -> &'static str {
    WEEKDAYS[day.weekday().num_days_from_monday() as usize]
}

impl Told {
    fn works(&self, day: NaiveDate) -> bool {
        match self.off.get(&day.to_string()) {
            Some(off) => !off,
            None => !["saturday", "sunday"].contains(&weekday(day)),
        }
    }

    /// Minutes of the day at which `body` is open.
    fn open(&self, day: NaiveDate, body: &str) -> [bool; 1440] {
        let mut open = [false; 1440];
        let off = self.off.get(&day.to_string());
        let mut like = weekday(day);
        let hours = &self.hours[body];
        let any = |name: &str| hours.iter().any(|(days, ..)| days.iter().any(|d| d == name));
        if off == Some(&false) && !any(like) {
            like = weekday(self.like[&day.to_string()]);
        }
        for (days, from, to, always) in hours {
            if days.iter().any(|d| d == like) && (off != Some(&true) || *always) {
                open[*from as usize..*to as usize].fill(true);
            }
        }
        open
    }
}

/// One calendar version and body.
pub(crate) struct Table {
    /// Worked minutes before each minute.
    before: Vec<u32>,
    /// Days since 2018-01-01 that are worked.
    working_days: Vec<bool>,
    first: i64,
    last_year: i64,
}

fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2018, 1, 1).unwrap()
}

fn local(minute: i64) -> DateTime<chrono_tz::Tz> {
    DateTime::from_timestamp(minute * 60, 0).unwrap().with_timezone(&ZONE)
}

/// The last microsecond of a day.
fn end_of(day: NaiveDate) -> i64 {
    let next = day.succ_opt().unwrap().and_hms_opt(0, 0, 0).unwrap();
    ZONE.from_local_datetime(&next).earliest().unwrap().timestamp_micros() - 1
}

impl Table {
    fn build(told: &Told, body: &str, locals: &[(u16, u16)]) -> Self {
        let days: Vec<NaiveDate> = first_day().iter_days().take(DAYS).collect();
        let open: Vec<[bool; 1440]> = days.iter().map(|day| told.open(*day, body)).collect();
        let mut before = Vec::with_capacity(MINUTES + 1);
        let mut worked = 0;
        for (day, minute) in locals {
            before.push(worked);
            worked += u32::from(open[usize::from(*day)][usize::from(*minute)]);
        }
        before.push(worked);
        let working_days = days.iter().map(|day| told.works(*day)).collect();
        Self { before, working_days, first: first_minute(), last_year: told.last_year }
    }

    fn until(&self, minute: i64) -> i64 {
        i64::from(self.before[usize::try_from(minute - self.first).unwrap()])
    }

    pub(crate) fn worked(&self, from: i64, to: i64) -> i64 {
        self.until(to) - self.until(from)
    }

    pub(crate) fn worked_on(&self, day: NaiveDate) -> i64 {
        let midnight = |day: NaiveDate| end_of(day.pred_opt().unwrap()).div_euclid(60_000_000) + 1;
        self.worked(midnight(day), midnight(day.succ_opt().unwrap()))
    }

    /// The next worked day after `day`, if it is covered.
    fn next(&self, day: NaiveDate) -> Option<NaiveDate> {
        let mut day = day.succ_opt()?;
        while i64::from(day.year()) <= self.last_year {
            if self.working_days[usize::try_from((day - first_day()).num_days()).unwrap()] {
                return Some(day);
            }
            day = day.succ_opt()?;
        }
        None
    }

    /// The due instant, counted out day by day or minute by minute.
    pub(crate) fn due(&self, from: i64, rule: &str) -> Option<i64> {
        let received = local(from).date_naive();
        let count = |mut day: NaiveDate, days: usize| {
            for _ in 0..days {
                day = self.next(day)?;
            }
            Some(end_of(day))
        };
        match rule.split('@').next().unwrap() {
            "kz-appeal" if rule.ends_with("2007") => Some(end_of(received + chrono::Duration::days(15))),
            "kz-appeal" => count(received, 15),
            "kz-complaint" => count(received, 20),
            "appeal-from-receipt" => count(received.pred_opt().unwrap(), 15),
            "109-ordinary" => count(received, 5),
            "109-emergency" => Some((from + 4 * 60) * 60_000_000),
            "109-planned" => {
                let last = received + chrono::Duration::days(30);
                Some(end_of(self.next(last.pred_opt().unwrap())?))
            }
            "109-urgent" => {
                let mut minute = from;
                let end = if self.last_year < 2026 {
                    minute_of(i32::try_from(self.last_year).unwrap() + 1)
                } else {
                    self.first + MINUTES as i64
                };
                while self.worked(from, minute) < 8 * 60 {
                    minute += 1;
                    if minute > end {
                        return None;
                    }
                }
                Some(minute * 60_000_000)
            }
            other => panic!("no rule {other}"),
        }
    }
}

/// Tables by calendar version and body.
pub(crate) struct Tables(HashMap<(&'static str, &'static str), Table>);

impl Tables {
    pub(crate) fn build(calendars: &[&'static str], bodies: &[&'static str]) -> Self {
        // The local day and minute of every minute, one by one.
        let locals: Vec<(u16, u16)> = (0..MINUTES as i64)
            .map(|minute| {
                let local = local(first_minute() + minute);
                let day = (local.date_naive() - first_day()).num_days();
                (u16::try_from(day).unwrap(), u16::try_from(local.hour() * 60 + local.minute()).unwrap())
            })
            .collect();
        let mut tables = HashMap::new();
        for calendar in calendars {
            let told = read(calendar);
            for body in bodies {
                tables.insert((*calendar, *body), Table::build(&told, body, &locals));
            }
        }
        Self(tables)
    }

    pub(crate) fn of(&self, calendar: &'static str, body: &'static str) -> &Table {
        &self.0[&(calendar, body)]
    }
}
