//! Documents taken in by the one-stop halls and their results, as the open data portal
//! publishes them: a row each, changed in place.

use chrono::{Datelike, Days, NaiveDate};

use super::clock::{day_start, local_day};
use super::dice::Dice;
use super::faults::{Faults, Poison};
use super::region::{self, DISTRICTS};

/// Services of the story: code, branch of the body that decides, term in days.
pub(crate) const SERVICES: [(&str, &str, u64); 5] = [
    ("00801001", "housing", 15),
    ("00803005", "utilities", 5),
    ("01301002", "roads", 10),
    ("02003001", "transport", 3),
    ("02401004", "improvement", 20),
];

/// One document.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Number of the row; the portal writes it now as a number, now as a text.
    pub(crate) id: u64,
    pub(crate) number: String,
    pub(crate) service: usize,
    pub(crate) district: usize,
    pub(crate) body: String,
    pub(crate) filed_at: i64,
    pub(crate) due_on: NaiveDate,
    pub(crate) poison: Option<Poison>,
    pub(crate) versions: Vec<Version>,
}

/// One state of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Version {
    /// When the portal wrote it, by its own stamp.
    pub(crate) modified_at: i64,
    /// When the portal began to show it.
    pub(crate) visible_at: i64,
    pub(crate) status: &'static str,
    pub(crate) result: Option<&'static str>,
    pub(crate) result_at: Option<i64>,
    pub(crate) issued_at: Option<i64>,
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The documents filed on one local day.
pub(crate) fn of_day(seed: u64, day: NaiveDate, scale: f64, faults: &Faults) -> Vec<Document> {
    let mut dice = Dice::new(seed, &format!("documents/{day}"));
    let open = [1.0, 1.0, 1.0, 1.0, 1.0, 0.4, 0.0][day.weekday().num_days_from_monday() as usize];
    let mut filed: Vec<i64> =
        (0..dice.count(80.0 * scale * open)).map(|_| day_start(day) + dice.between(9 * HOUR, 18 * HOUR)).collect();
    filed.sort_unstable();
    let honest = filed.len();
    let spoilt = Dice::new(seed, &format!("poison/documents/{day}")).count(honest as f64 * faults.poison).min(honest);
    let extra: Vec<i64> = filed[..spoilt].to_vec();
    filed.extend(extra);
    filed
        .into_iter()
        .enumerate()
        .map(|(n, filed_at)| {
            let poison = (n >= honest).then_some(if n % 2 == 0 { Poison::UnreadableTime } else { Poison::MissingId });
            let id = u64::from(day.num_days_from_ce().unsigned_abs()) * 10_000 + n as u64;
            document(seed, id, filed_at, poison, faults)
        })
        .collect()
}

fn document(seed: u64, id: u64, filed_at: i64, poison: Option<Poison>, faults: &Faults) -> Document {
    let mut dice = Dice::new(seed, &format!("document/{id}"));
    let weights: Vec<f64> = DISTRICTS.iter().map(|district| district.weight).collect();
    let district = dice.weighted(&weights);
    let service = dice.weighted(&[0.15, 0.3, 0.15, 0.25, 0.15]);
    let (_, branch, term) = SERVICES[service];
    let body = region::body(district, branch);
    let slowness = region::slowness(&body);
    let due_on = local_day(filed_at) + Days::new(term);
    let taken = (dice.spread(term as f64 * DAY as f64 * 0.5 * slowness, 0.6) as i64).clamp(HOUR, 120 * DAY);
    let first = Version {
        modified_at: filed_at + dice.between(30, 600),
        visible_at: 0,
        status: "accepted",
        result: None,
        result_at: None,
        issued_at: None,
    };
    let mut versions = vec![first.clone()];
    if poison.is_none() {
        versions.push(Version {
            modified_at: first.modified_at + dice.between(HOUR, DAY).min(taken / 2),
            status: "in_work",
            ..first.clone()
        });
        let result_at = filed_at + taken.max(2 * HOUR);
        let result = if dice.chance(0.88) { "granted" } else { "refused" };
        let ready = Version {
            modified_at: result_at + dice.between(60, 900),
            status: "ready",
            result: Some(result),
            result_at: Some(result_at),
            ..first
        };
        versions.push(ready.clone());
        if dice.chance(0.9) {
            let issued_at = result_at + dice.between(2 * HOUR, 6 * DAY);
            versions.push(Version {
                modified_at: issued_at + dice.between(30, 300),
                status: "issued",
                issued_at: Some(issued_at),
                ..ready
            });
        }
    }
    let mut delays = Dice::new(seed, &format!("late/document/{id}"));
    let (mut written_at, mut shown_at) = (i64::MIN, i64::MIN);
    for version in &mut versions {
        version.modified_at = version.modified_at.max(written_at + 1);
        written_at = version.modified_at;
        shown_at = shown_at.max(written_at + faults.lateness(&mut delays));
        version.visible_at = shown_at;
    }
    Document { id, number: format!("KRG-{id:010}"), service, district, body, filed_at, due_on, poison, versions }
}

impl Document {
    /// The state the portal shows at `now`, if any.
    pub(crate) fn shown_at(&self, now: i64) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.visible_at <= now)
    }
}
