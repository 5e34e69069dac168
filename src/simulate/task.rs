//! Tasks of the state's information systems: assigned with a due date, extended,
//! claimed done, sent back, closed by control.

use chrono::{Datelike, Days, NaiveDate};

use super::clock::{day_start, local_day};
use super::dice::Dice;
use super::faults::{Faults, Poison};
use super::region::{self, CATEGORIES, DISTRICTS};

/// One task.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) system: &'static str,
    pub(crate) district: usize,
    pub(crate) category: usize,
    pub(crate) events: Vec<Entry>,
}

/// One entry of the event log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Identity of the event; a corrected event keeps it.
    pub(crate) event_id: String,
    /// From 1; higher corrects lower.
    pub(crate) version: u32,
    /// `assigned`, `extended`, `done_claimed`, `returned`, `closed`.
    pub(crate) event: &'static str,
    pub(crate) at: i64,
    pub(crate) recorded_at: i64,
    pub(crate) visible_at: i64,
    pub(crate) executor: String,
    pub(crate) due_on: Option<NaiveDate>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) poison: Option<Poison>,
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The tasks given on one local day.
pub(crate) fn of_day(seed: u64, day: NaiveDate, scale: f64, faults: &Faults) -> Vec<Task> {
    let mut dice = Dice::new(seed, &format!("tasks/{day}"));
    let working = if day.weekday().num_days_from_monday() < 5 { 1.0 } else { 0.05 };
    let mut arrivals: Vec<i64> =
        (0..dice.count(60.0 * scale * working)).map(|_| day_start(day) + dice.between(9 * HOUR, 18 * HOUR)).collect();
    arrivals.sort_unstable();
    let mut tasks: Vec<Task> = arrivals
        .into_iter()
        .enumerate()
        .map(|(n, at)| task(seed, format!("T-{}-{:04}", day.format("%y%m%d"), n + 1), at, faults))
        .collect();
    let spoilt = Dice::new(seed, &format!("poison/tasks/{day}")).count(tasks.len() as f64 * faults.poison);
    for n in 0..spoilt.min(tasks.len()) {
        let task = &mut tasks[n];
        let mut entry = task.events[0].clone();
        entry.event_id = format!("{}-x", task.id);
        entry.visible_at += 1;
        entry.poison = Some(if n % 2 == 0 { Poison::UnreadableTime } else { Poison::MissingId });
        task.events.push(entry);
    }
    tasks
}

fn task(seed: u64, id: String, assigned_at: i64, faults: &Faults) -> Task {
    let mut dice = Dice::new(seed, &id);
    let weights: Vec<f64> = DISTRICTS.iter().map(|district| district.weight).collect();
    let district = dice.weighted(&weights);
    let category = dice.below(CATEGORIES.len());
    let executor = region::body(district, CATEGORIES[category].branch);
    let slowness = region::slowness(&executor);
    let system = ["esedo", "appeals", "control"][dice.weighted(&[0.5, 0.3, 0.2])];
    let term = [5, 10, 15, 30][dice.weighted(&[0.3, 0.3, 0.25, 0.15])];
    let due_on = local_day(assigned_at) + Days::new(term);
    let due_at = day_start(due_on);

    let mut happened: Vec<(i64, &'static str, Option<NaiveDate>, Option<&'static str>)> =
        vec![(assigned_at, "assigned", Some(due_on), None)];
    let mut claimed_at =
        assigned_at + (dice.spread(term as f64 * DAY as f64 * 0.6 * slowness, 0.5) as i64).clamp(HOUR, 150 * DAY);
    if dice.chance(if claimed_at > due_at { 0.5 } else { 0.03 }) {
        // One in eight is asked for when it is too late to count.
        let set_at = if dice.chance(0.125) { due_at + 2 * DAY } else { due_at - dice.between(HOUR, 2 * DAY) };
        let moved = due_on + Days::new(term.min(20));
        happened.push((set_at.max(assigned_at + HOUR), "extended", Some(moved), Some("executor asked")));
    }
    let never = dice.chance((0.02 * slowness).min(0.2));
    if !never {
        happened.push((claimed_at, "done_claimed", None, None));
        if dice.chance((0.1 * slowness).min(0.4)) {
            let returned_at = claimed_at + dice.between(4 * HOUR, 3 * DAY);
            happened.push((returned_at, "returned", None, Some("not done as ordered")));
            claimed_at = returned_at + (dice.spread(3.0 * DAY as f64 * slowness, 0.6) as i64).max(HOUR);
            happened.push((claimed_at, "done_claimed", None, None));
        }
        happened.push((claimed_at + dice.between(2 * HOUR, 3 * DAY), "closed", None, None));
    }
    happened.sort_by_key(|(at, ..)| *at);
    // Nobody extends what is closed.
    if let Some(closed) = happened.iter().position(|(_, event, ..)| *event == "closed") {
        happened.truncate(closed + 1);
    }

    let mut delays = Dice::new(seed, &format!("late/{id}"));
    let mut events: Vec<Entry> = Vec::new();
    for (n, (at, event, due_on, reason)) in happened.into_iter().enumerate() {
        let recorded_at = at + dice.between(1, 900);
        events.push(Entry {
            event_id: format!("{id}-{}", n + 1),
            version: 1,
            event,
            at,
            recorded_at,
            visible_at: recorded_at + faults.lateness(&mut delays),
            executor: executor.clone(),
            due_on,
            reason,
            poison: None,
        });
    }
    if dice.chance(0.02)
        && let Some(claim) = events.iter().find(|entry| entry.event == "done_claimed").cloned()
    {
        let at = claim.at - dice.between(60, HOUR / 2);
        let recorded_at = claim.recorded_at + dice.between(HOUR, DAY);
        let visible_at = recorded_at.max(claim.visible_at + 1);
        events.push(Entry { version: 2, at, recorded_at, visible_at, reason: Some("time corrected"), ..claim });
    }
    Task { id, system, district, category, events }
}

impl Task {
    /// The newest version of each event the log has said by `now`, in order of time.
    pub(crate) fn known(&self, now: i64) -> Vec<&Entry> {
        let mut known: Vec<&Entry> = Vec::new();
        for entry in self.events.iter().filter(|entry| entry.poison.is_none() && entry.visible_at <= now) {
            match known.iter_mut().find(|other| other.event_id == entry.event_id) {
                Some(other) if other.version < entry.version => *other = entry,
                Some(_) => {}
                None => known.push(entry),
            }
        }
        known.sort_by_key(|entry| (entry.at, &entry.event_id));
        known
    }
}
