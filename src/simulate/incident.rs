//! Emergencies of 112 and the units sent to them.

use chrono::NaiveDate;

use super::clock::day_start;
use super::dice::Dice;
use super::faults::{Faults, Poison};
use super::region::{DISTRICTS, EMERGENCY_HOURS};

/// Names of the stages, in order.
pub(crate) const STAGES: [&str; 7] =
    ["received", "entered", "dispatched", "en_route", "on_scene", "transport", "available"];

/// Instants of the stages, in the order of [`STAGES`].
pub(crate) type Stamps = [Option<i64>; 7];

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) service: &'static str,
    /// 1 is the most urgent.
    pub(crate) category: u8,
    pub(crate) district: usize,
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
    pub(crate) received_at: i64,
    pub(crate) test: bool,
    pub(crate) cancelled: bool,
    /// The incident this one repeats.
    pub(crate) duplicate_of: Option<String>,
    pub(crate) units: Vec<Unit>,
}

/// A unit sent, with every row the feed will ever say about it.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) code: String,
    pub(crate) rows: Vec<Row>,
}

/// One row of the feed.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) version: u32,
    pub(crate) visible_at: i64,
    pub(crate) stamps: Stamps,
    pub(crate) poison: Option<Poison>,
}

/// The incidents of one local day in the order they were received.
pub(crate) fn of_day(seed: u64, day: NaiveDate, scale: f64, faults: &Faults) -> Vec<Incident> {
    let mut dice = Dice::new(seed, &format!("112/{day}"));
    let midnight = day_start(day);
    let mut arrivals: Vec<i64> = (0..dice.count(900.0 * scale))
        .map(|_| midnight + dice.weighted(&EMERGENCY_HOURS) as i64 * 3600 + dice.between(0, 3599))
        .collect();
    arrivals.sort_unstable();
    let mut incidents: Vec<Incident> = Vec::with_capacity(arrivals.len());
    for (n, received_at) in arrivals.into_iter().enumerate() {
        let id = format!("112-{}-{:05}", day.format("%y%m%d"), n + 1);
        let earlier = incidents.last().filter(|last| received_at - last.received_at < 300).map(|last| last.id.clone());
        incidents.push(incident(seed, id, received_at, earlier, faults));
    }
    let spoilt = Dice::new(seed, &format!("poison/112/{day}")).count(incidents.len() as f64 * faults.poison);
    for n in 0..spoilt.min(incidents.len()) {
        let unit = &mut incidents[n].units[0];
        let mut row = unit.rows[0].clone();
        row.visible_at += 1;
        row.poison = Some(if n % 2 == 0 { Poison::UnreadableTime } else { Poison::MissingId });
        unit.rows.push(row);
    }
    incidents
}

fn incident(seed: u64, id: String, received_at: i64, earlier: Option<String>, faults: &Faults) -> Incident {
    let mut dice = Dice::new(seed, &id);
    let weights: Vec<f64> = DISTRICTS.iter().map(|district| district.weight).collect();
    let district = dice.weighted(&weights);
    let place = &DISTRICTS[district];
    let service = ["ambulance", "police", "fire"][dice.weighted(&[0.6, 0.32, 0.08])];
    let category = 1 + dice.weighted(&[0.12, 0.33, 0.35, 0.2]) as u8;
    let reach = if place.rural { 0.2 } else { 0.04 };
    let longitude = place.longitude + reach * (dice.unit() - 0.5);
    let latitude = place.latitude + reach * (dice.unit() - 0.5) * 0.7;
    let duplicate_of = earlier.filter(|_| dice.chance(0.06));
    let cancelled = duplicate_of.is_none() && dice.chance(0.03);
    let test = duplicate_of.is_none() && !cancelled && dice.chance(0.005);
    let many = if duplicate_of.is_some() { 1 } else { 1 + dice.weighted(&[0.72, 0.2, 0.08]) };
    let mut used: Vec<usize> = Vec::new();
    let units = (0..many)
        .map(|_| {
            let mut number = dice.below(24);
            while used.contains(&number) {
                number = (number + 1) % 24;
            }
            used.push(number);
            let code = format!("{}-{}-{:02}", &service[..1].to_uppercase(), place.code, number + 1);
            let stamps =
                stages(&mut dice, received_at, service, category, place.rural, cancelled || duplicate_of.is_some());
            let mut delays = Dice::new(seed, &format!("late/{id}/{code}"));
            let rows = rows(&mut dice, stamps, faults, &mut delays);
            Unit { code, rows }
        })
        .collect();
    Incident {
        id,
        service,
        category,
        district,
        longitude: (longitude * 1e3).round() / 1e3,
        latitude: (latitude * 1e3).round() / 1e3,
        received_at,
        test,
        cancelled,
        duplicate_of,
        units,
    }
}

fn stages(dice: &mut Dice, received_at: i64, service: &str, category: u8, rural: bool, stopped: bool) -> Stamps {
    let urgency = f64::from(category);
    let entered = received_at + dice.spread(55.0, 0.4) as i64;
    let dispatched = entered + dice.spread(45.0 * urgency, 0.6) as i64;
    let en_route = dispatched + dice.spread(70.0, 0.4) as i64;
    let travel = dice.spread((300.0 + 130.0 * urgency) * if rural { 2.2 } else { 1.0 }, 0.5);
    let on_scene = en_route + travel as i64;
    let busy = dice.spread(1500.0, 0.5) as i64;
    let transport = (service == "ambulance" && dice.chance(0.45)).then_some(on_scene + busy / 2);
    let mut stamps = [
        Some(received_at),
        Some(entered),
        Some(dispatched),
        Some(en_route),
        Some(on_scene),
        transport,
        Some(on_scene + busy + transport.map_or(0, |_| 1200)),
    ];
    if stopped {
        stamps[4] = None;
        stamps[5] = None;
        stamps[6] = Some(en_route + dice.between(30, 600));
    } else {
        // A crew forgets the button; the stage is unknown, not zero.
        for stage in [3, 4] {
            if dice.chance(0.04) {
                stamps[stage] = None;
            }
        }
    }
    stamps
}

/// The feed says a unit when it is dispatched, when it arrives and when it is free, and
/// once more when somebody puts a stamp right.
fn rows(dice: &mut Dice, stamps: Stamps, faults: &Faults, delays: &mut Dice) -> Vec<Row> {
    let mut marks: Vec<i64> = [stamps[2], stamps[4], stamps[6]].into_iter().flatten().collect();
    marks.sort_unstable();
    let mut rows: Vec<Row> = Vec::new();
    for mark in marks {
        let said = stamps.map(|stamp| stamp.filter(|at| *at <= mark));
        let visible_at = (mark + 4 + faults.lateness(delays)).max(rows.last().map_or(0, |row| row.visible_at + 1));
        rows.push(Row { version: rows.len() as u32 + 1, visible_at, stamps: said, poison: None });
    }
    if dice.chance(0.015)
        && let (Some(on_scene), Some(en_route), Some(last)) = (stamps[4], stamps[3], rows.last().cloned())
    {
        let mut said = last.stamps;
        said[4] = Some(on_scene - (on_scene - en_route) * dice.between(5, 30) / 100);
        rows.push(Row {
            version: last.version + 1,
            visible_at: last.visible_at + dice.between(1800, 30_000),
            stamps: said,
            poison: None,
        });
    }
    rows
}

impl Incident {
    /// What the feed has last said about `unit` by `now`.
    pub(crate) fn known(unit: &Unit, now: i64) -> Option<&Row> {
        unit.rows.iter().filter(|row| row.poison.is_none() && row.visible_at <= now).max_by_key(|row| row.version)
    }
}
