//! A problem a resident reports, and its life: who held it, what was promised, how it
//! ended, and what was put right afterwards. 109 and Open311 tell such lives.

use chrono::{Datelike, NaiveDate};

use super::clock::{day_start, local_day};
use super::dice::{Dice, fnv};
use super::faults::{Faults, Poison};
use super::region::{self, CALLING_HOURS, CATEGORIES, DISTRICTS, LEFT_IN_2022, STREETS};

/// Which door a problem came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// The contact centre; takes enquiries too.
    Line109,
    /// The residents' web service.
    Open311,
}

/// A problem with every version its record will ever have.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) id: String,
    /// Answered on the line; not a problem to solve.
    pub(crate) enquiry: bool,
    pub(crate) district: usize,
    /// Code of a place that has left the region, where the door still sends one.
    pub(crate) old_kato: Option<&'static str>,
    pub(crate) street: &'static str,
    /// Number of the invented applicant; none when anonymous.
    pub(crate) applicant: Option<u32>,
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
    pub(crate) received_at: i64,
    pub(crate) first_due_at: i64,
    /// How the record is spoilt; such a record belongs to no case.
    pub(crate) poison: Option<Poison>,
    pub(crate) versions: Vec<Version>,
}

/// One version of a record.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// From 1.
    pub(crate) number: u32,
    /// When the source wrote it, by its own clock.
    pub(crate) updated_at: i64,
    /// When the door began to show it; later than `updated_at` for a late record.
    pub(crate) visible_at: i64,
    pub(crate) state: State,
}

/// What a version says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) status: &'static str,
    pub(crate) category: usize,
    pub(crate) body: Option<String>,
    pub(crate) due_at: i64,
    pub(crate) assigned_at: Option<i64>,
    pub(crate) assigned_to: Option<String>,
    pub(crate) answered_at: Option<i64>,
    pub(crate) transferred_at: Option<i64>,
    pub(crate) extended_at: Option<i64>,
    pub(crate) first_closed_at: Option<i64>,
    pub(crate) reopened_at: Option<i64>,
    pub(crate) closed_at: Option<i64>,
    pub(crate) withdrawn_at: Option<i64>,
    pub(crate) outcome: Option<&'static str>,
    pub(crate) score: Option<u8>,
    pub(crate) scored_at: Option<i64>,
}

enum Step {
    Assigned(String),
    Answered,
    Transferred(String),
    Extended(i64),
    Closed(&'static str),
    Reopened,
    Withdrawn,
    Scored(u8),
    CloseCorrected(i64),
    CategoryCorrected(usize),
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The problems of one local day through one door, in the order they were received;
/// spoilt extra records come last.
pub(crate) fn of_day(seed: u64, through: Through, day: NaiveDate, scale: f64, faults: &Faults) -> Vec<Problem> {
    let door = match through {
        Through::Line109 => "109",
        Through::Open311 => "open311",
    };
    let mut dice = Dice::new(seed, &format!("{door}/{day}"));
    let weekday = [1.2, 1.1, 1.05, 1.0, 1.0, 0.7, 0.6][day.weekday().num_days_from_monday() as usize];
    let midnight = day_start(day);
    let mut arrivals = Vec::new();
    for (category, about) in CATEGORIES.iter().enumerate() {
        let daily = match through {
            Through::Line109 => about.daily,
            Through::Open311 if about.service_code.is_some() => about.daily * 0.6,
            Through::Open311 => continue,
        };
        for _ in 0..dice.count(daily * about.season.factor(day.month()) * weekday * scale) {
            let at = midnight + dice.weighted(&CALLING_HOURS) as i64 * HOUR + dice.between(0, HOUR - 1);
            // Enquiries are most of what a contact centre hears and none of what it solves.
            arrivals.push((at, category, false));
            if through == Through::Line109 && dice.chance(0.8) {
                let at = midnight + dice.weighted(&CALLING_HOURS) as i64 * HOUR + dice.between(0, HOUR - 1);
                arrivals.push((at, category, true));
            }
        }
    }
    arrivals.sort_unstable();
    let spoilt = Dice::new(seed, &format!("poison/{door}/{day}")).count(arrivals.len() as f64 * faults.poison);
    let honest = arrivals.len();
    let extra: Vec<_> = (0..spoilt.min(honest)).map(|n| arrivals[n * honest / spoilt]).collect();
    arrivals.extend(extra);
    arrivals
        .into_iter()
        .enumerate()
        .map(|(n, (received_at, category, enquiry))| {
            let id = match through {
                Through::Line109 => format!("109-{}-{:05}", day.format("%y%m%d"), n + 1),
                // A leading zero, as real services have: a reader who takes ids for numbers loses it.
                Through::Open311 => format!("0{}{:04}", day.format("%y%m%d"), n + 1),
            };
            let poison = (n >= honest).then_some(if n % 2 == 0 { Poison::UnreadableTime } else { Poison::MissingId });
            problem(seed, id, received_at, category, enquiry && poison.is_none(), poison, faults)
        })
        .collect()
}

fn problem(
    seed: u64,
    id: String,
    received_at: i64,
    category: usize,
    enquiry: bool,
    poison: Option<Poison>,
    faults: &Faults,
) -> Problem {
    let mut dice = Dice::new(seed, &id);
    let weights: Vec<f64> = DISTRICTS.iter().map(|district| district.weight).collect();
    let district = dice.weighted(&weights);
    let reach = if DISTRICTS[district].rural { 0.08 } else { 0.03 };
    let longitude = DISTRICTS[district].longitude + reach * (dice.unit() - 0.5);
    let latitude = DISTRICTS[district].latitude + reach * (dice.unit() - 0.5) * 0.7;
    let street = STREETS[dice.below(STREETS.len())];
    let applicant = dice.chance(0.85).then(|| (dice.unit().powi(2) * 40_000.0) as u32);
    let old_kato = dice.chance(0.004).then(|| LEFT_IN_2022[dice.below(LEFT_IN_2022.len())]);
    let norm = CATEGORIES[category].norm_hours * HOUR;
    let first_due_at = received_at + norm;
    let first = State { status: "registered", category, due_at: first_due_at, ..State::default() };
    let steps = if enquiry {
        let answered_at = received_at + dice.between(90, 480);
        vec![(answered_at, Step::Answered), (answered_at, Step::Closed("enquiry"))]
    } else {
        life(&mut dice, district, category, received_at)
    };
    let mut versions = told(&mut dice, received_at, first, steps);
    if enquiry {
        // The line writes an enquiry down once, when it is over.
        versions.drain(..versions.len() - 1);
        versions[0].number = 1;
    }
    if poison.is_some() {
        versions.truncate(1);
    }
    let mut shown_at = i64::MIN;
    let mut delays = Dice::new(seed, &format!("late/{id}"));
    for version in &mut versions {
        shown_at = shown_at.max(version.updated_at + faults.lateness(&mut delays));
        version.visible_at = shown_at;
    }
    Problem {
        id,
        enquiry,
        district,
        old_kato,
        street,
        applicant,
        longitude: (longitude * 1e5).round() / 1e5,
        latitude: (latitude * 1e5).round() / 1e5,
        received_at,
        first_due_at,
        poison,
        versions,
    }
}

fn life(dice: &mut Dice, district: usize, category: usize, received_at: i64) -> Vec<(i64, Step)> {
    let about = &CATEGORIES[category];
    let norm = about.norm_hours * HOUR;
    let body = region::body(district, about.branch);
    let slowness = region::slowness(&body);
    let due_at = received_at + norm;
    let assigned_at = received_at + (dice.spread(1200.0, 0.8) as i64).clamp(60, DAY);
    let taken = (dice.spread(norm as f64 * 0.45 * slowness, 0.9) as i64).clamp(900, 200 * DAY);
    let mut closed_at = received_at.max(assigned_at) + taken;
    let mut steps = vec![(assigned_at, Step::Assigned(body))];

    if dice.chance(0.015) {
        steps.push((assigned_at + dice.between(HOUR, 2 * DAY), Step::Withdrawn));
    }
    if dice.chance(0.06) {
        let others = ["housing", "utilities", "improvement", "roads", "transport"];
        let to = others[dice.below(others.len())];
        if to != about.branch {
            let at = assigned_at + taken * dice.between(5, 50) / 100;
            closed_at += taken * dice.between(10, 60) / 100;
            steps.push((at, Step::Transferred(region::body(district, to))));
        }
    }
    if dice.chance(0.9) {
        let answered_at = assigned_at + (dice.spread(taken as f64 * 0.3, 0.6) as i64).max(120);
        steps.push((answered_at.min(closed_at), Step::Answered));
    }
    if dice.chance(if closed_at > due_at { 0.45 } else { 0.02 }) {
        let set_at =
            if dice.chance(0.1) { due_at + dice.between(HOUR, DAY) } else { due_at - norm * dice.between(5, 30) / 100 };
        steps.push((set_at.max(assigned_at + 60), Step::Extended(due_at + norm.min(60 * DAY))));
    }
    if dice.chance((0.02 * slowness).min(0.2)) {
        // Nobody ever closes it.
        return steps;
    }
    let outcome = ["resolved", "rejected", "not_ours"][dice.weighted(&[0.84, 0.09, 0.07])];
    steps.push((closed_at, Step::Closed(outcome)));
    if dice.chance(0.03) {
        let truly = closed_at - (closed_at - assigned_at) * dice.between(5, 40) / 100;
        steps.push((closed_at + dice.between(HOUR, 2 * DAY), Step::CloseCorrected(truly)));
    }
    if dice.chance(0.01) {
        let category = dice.below(CATEGORIES.len());
        // A service that the other door does not list would be unknown there.
        if CATEGORIES[category].service_code.is_some() {
            steps.push((assigned_at + dice.between(HOUR, 3 * DAY), Step::CategoryCorrected(category)));
        }
    }
    let mut last_closed_at = closed_at;
    if dice.chance((0.03 * slowness).min(0.15)) {
        let reopened_at = closed_at + (dice.spread(3.0 * DAY as f64, 0.7) as i64).clamp(HOUR, 25 * DAY);
        last_closed_at = reopened_at + (taken * dice.between(30, 90) / 100).max(HOUR);
        steps.push((reopened_at, Step::Reopened));
        steps.push((last_closed_at, Step::Closed("resolved")));
    }
    if dice.chance(0.2) {
        let score = 1 + dice.weighted(&[0.18, 0.1, 0.17, 0.25, 0.3]) as u8;
        steps.push((last_closed_at + dice.between(HOUR, 2 * DAY), Step::Scored(score)));
    }
    steps
}

/// The versions a record has when `steps` are written down one by one.
fn told(dice: &mut Dice, received_at: i64, first: State, mut steps: Vec<(i64, Step)>) -> Vec<Version> {
    steps.sort_by_key(|(at, _)| *at);
    let mut state = first;
    let mut updated_at = received_at + dice.between(5, 90);
    let mut versions = vec![Version { number: 1, updated_at, visible_at: updated_at, state: state.clone() }];
    for (at, step) in steps {
        let before = state.clone();
        apply(&mut state, at, step);
        if state == before {
            continue;
        }
        updated_at = (updated_at + 1).max(at + dice.between(5, 240));
        versions.push(Version {
            number: versions.len() as u32 + 1,
            updated_at,
            visible_at: updated_at,
            state: state.clone(),
        });
    }
    versions
}

/// What does not fit the state any more (a withdrawn problem closed) did not happen.
fn apply(state: &mut State, at: i64, step: Step) {
    if state.withdrawn_at.is_some() {
        return;
    }
    match step {
        Step::Assigned(body) => {
            state.status = "in_progress";
            state.assigned_at = Some(at);
            state.assigned_to = Some(body.clone());
            state.body = Some(body);
        }
        Step::Answered => state.answered_at = Some(at),
        Step::Transferred(body) if state.closed_at.is_none() => {
            state.transferred_at = Some(at);
            state.body = Some(body);
        }
        Step::Extended(due_at) if state.closed_at.is_none() => {
            state.extended_at = Some(at);
            state.due_at = due_at;
        }
        Step::Closed(outcome) => {
            state.status = "closed";
            state.outcome = Some(outcome);
            state.closed_at = Some(at);
            state.first_closed_at.get_or_insert(at);
        }
        Step::Reopened => {
            state.status = "reopened";
            state.outcome = None;
            state.closed_at = None;
            state.reopened_at = Some(at);
        }
        Step::Withdrawn if state.closed_at.is_none() => {
            state.status = "withdrawn";
            state.withdrawn_at = Some(at);
        }
        Step::Scored(score) => {
            state.score = Some(score);
            state.scored_at = Some(at);
        }
        Step::CloseCorrected(truly) if state.closed_at.is_some() && state.reopened_at.is_none() => {
            // A close cannot be put right to before what led to it.
            let truly = [state.assigned_at, state.transferred_at, state.extended_at]
                .into_iter()
                .flatten()
                .fold(truly, i64::max);
            state.closed_at = Some(truly);
            state.first_closed_at = Some(truly);
            // What was answered by closing was answered no later than it.
            state.answered_at = state.answered_at.map(|answered_at| answered_at.min(truly));
        }
        Step::CategoryCorrected(category) => state.category = category,
        Step::Transferred(_) | Step::Extended(_) | Step::Withdrawn | Step::CloseCorrected(_) => {}
    }
}

impl Problem {
    /// The version the door shows at `now`, if any.
    pub(crate) fn shown_at(&self, now: i64) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.visible_at <= now)
    }

    /// KATO code the door sends.
    pub(crate) fn kato(&self) -> &'static str {
        self.old_kato.unwrap_or(DISTRICTS[self.district].kato)
    }

    /// The local day it was received on.
    pub(crate) fn day(&self) -> NaiveDate {
        local_day(self.received_at)
    }

    /// Number of the invented house, or of anything else that must stay the same.
    pub(crate) fn number(&self, salt: u8, below: u64) -> u64 {
        fnv(&self.id, salt) % below
    }
}
