//! The hidden ledger: what was truly said, told from the story itself and not through
//! the doors. Source names are those of `examples/karaganda/ahual.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{Days, NaiveDate};
use serde::Serialize;
use serde_json::{Value, json};

use super::Simulation;
use super::clock::{day_start, local_day, utc};
use super::incident::{Incident, STAGES};
use super::region::{CATEGORIES, DISTRICTS};
use super::social::{self, Talk};
use super::world::{Heard, Problems, World};

/// What one source said, in all or on one local day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Said {
    /// Distinct records, by the day each was first shown. A record is what has an id of
    /// its own: a contact, a unit of an incident, an event of a task, a report.
    pub(crate) records: u64,
    /// Distinct versions of records, by the day each was shown.
    pub(crate) versions: u64,
    /// Spoilt rows, by the day each was shown.
    pub(crate) poison: u64,
    /// Cases, by the local day they were received. Enquiries are cases too.
    pub(crate) received: u64,
    /// Of those, enquiries.
    pub(crate) enquiries: u64,
    /// Cases that are closed now, by the local day of their last close.
    pub(crate) closed: u64,
    /// Cases neither closed nor withdrawn, by the local day they were received.
    pub(crate) open: u64,
}

/// Days and their total.
#[derive(Debug, Default)]
pub(crate) struct Account {
    total: Said,
    days: BTreeMap<NaiveDate, Said>,
}

impl Account {
    fn add(&mut self, at: i64, write: impl Fn(&mut Said)) {
        write(&mut self.total);
        write(self.days.entry(local_day(at)).or_default());
    }

    fn tell(&self) -> Value {
        let mut told = json!(self.total);
        told["days"] = self
            .days
            .iter()
            .map(|(day, said)| {
                let mut row = json!(said);
                row["day"] = json!(day);
                row
            })
            .collect();
        told
    }
}

/// `GET /_truth`: per source and day what was truly said, and how often each door was
/// asked and misbehaved.
pub(super) async fn summary(State(simulation): State<Arc<Simulation>>) -> Response {
    let mut told = simulation.look(|world, now| {
        json!({
            "seed": simulation.options.seed,
            "now": utc(now),
            "sources": {
                "door-109": of_problems(&world.requests, now).tell(),
                "door-112": of_incidents(world, now).tell(),
                "tasks": of_tasks(world, now).tell(),
                "open311": of_problems(&world.reports, now).tell(),
                "egov": of_documents(world, now).tell(),
                "telegram": of_telegram(world, now).tell(),
                "vk": of_vk(world, now).tell(),
            },
        })
    });
    for ((door, event), count) in simulation.counts() {
        told["doors"][door][event] = json!(count);
    }
    Json(told).into_response()
}

/// `GET /_truth/cases?source=…`: the truth of every case, instants in UTC. `due_at` and
/// `due_on` are what is in force by the rules, `said_due_at` what the door shows. Open311
/// cannot tell when a request was closed or answered: `updated_at` is what it shows.
pub(super) async fn cases(
    State(simulation): State<Arc<Simulation>>,
    Query(params): Query<BTreeMap<String, String>>,
) -> Response {
    let source = params.get("source").map_or("", String::as_str);
    let cases = simulation.look(|world, now| match source {
        "door-109" => Some(problem_cases(&world.requests, now)),
        "open311" => Some(problem_cases(&world.reports, now)),
        "door-112" => Some(incident_cases(world, now)),
        "tasks" => Some(task_cases(world, now)),
        "egov" => Some(document_cases(world, now)),
        "telegram" => Some(talk_cases("telegram", &world.telegram, now)),
        "vk" => Some(talk_cases("vk", &world.vk, now)),
        _ => None,
    });
    match cases {
        Some(cases) => Json(Value::Array(cases)).into_response(),
        None => {
            let why = format!("source is '{source}'; ask for door-109, door-112, tasks, open311, egov, telegram or vk");
            (StatusCode::BAD_REQUEST, Json(json!({"error": why}))).into_response()
        }
    }
}

fn of_problems(problems: &Problems, now: i64) -> Account {
    let mut account = Account::default();
    for problem in &problems.all {
        let Some(shown) = problem.shown_at(now) else { continue };
        if problem.poison.is_some() {
            account.add(shown.visible_at, |said| said.poison += 1);
            continue;
        }
        account.add(problem.versions[0].visible_at, |said| said.records += 1);
        for version in problem.versions.iter().filter(|version| version.visible_at <= now) {
            account.add(version.visible_at, |said| said.versions += 1);
        }
        account.add(problem.received_at, |said| said.received += 1);
        if problem.enquiry {
            account.add(problem.received_at, |said| said.enquiries += 1);
        }
        match (shown.state.closed_at, shown.state.withdrawn_at) {
            (Some(closed_at), _) => account.add(closed_at, |said| said.closed += 1),
            (None, Some(_)) => {}
            (None, None) => account.add(problem.received_at, |said| said.open += 1),
        }
    }
    account
}

fn problem_cases(problems: &Problems, now: i64) -> Vec<Value> {
    let told = |problem: &super::problem::Problem| {
        let version = problem.shown_at(now)?;
        let state = &version.state;
        let time = |at: Option<i64>| at.map(utc);
        // An extension set when the term was over does not count.
        let in_time = state.extended_at.is_none_or(|set_at| set_at <= problem.first_due_at);
        let due_at = if in_time { state.due_at } else { problem.first_due_at };
        let due = |at: i64| (!problem.enquiry).then(|| utc(at));
        Some(json!({
            "case": problem.id,
            "version": version.number,
            "kind": if problem.enquiry { "enquiry" } else { "complaint" },
            "category": CATEGORIES[state.category].code,
            "service_code": CATEGORIES[state.category].service_code,
            "body": state.body,
            "territory": problem.kato(),
            "day": problem.day(),
            "received_at": utc(problem.received_at),
            "first_response_at": time(state.answered_at),
            "original_due_at": due(problem.first_due_at),
            "due_at": due(due_at),
            "said_due_at": due(state.due_at),
            "extended_at": time(state.extended_at),
            "first_closed_at": time(state.first_closed_at),
            "reopened_at": time(state.reopened_at),
            "closed_at": time(state.closed_at),
            "withdrawn_at": time(state.withdrawn_at),
            "updated_at": utc(version.updated_at),
            "outcome": if state.withdrawn_at.is_some() { Some("withdrawn") } else { state.outcome },
            "score": state.score,
        }))
    };
    problems.all.iter().filter(|problem| problem.poison.is_none()).filter_map(told).collect()
}

fn of_incidents(world: &World, now: i64) -> Account {
    let mut account = Account::default();
    for incident in &world.incidents {
        let mut seen = false;
        for unit in &incident.units {
            for row in unit.rows.iter().filter(|row| row.visible_at <= now) {
                if row.poison.is_some() {
                    account.add(row.visible_at, |said| said.poison += 1);
                    continue;
                }
                account.add(row.visible_at, |said| said.versions += 1);
                if row.version == 1 {
                    account.add(row.visible_at, |said| said.records += 1);
                    seen = true;
                }
            }
        }
        if seen {
            account.add(incident.received_at, |said| said.received += 1);
            match freed_at(incident, now) {
                Some(freed_at) => account.add(freed_at, |said| said.closed += 1),
                None => account.add(incident.received_at, |said| said.open += 1),
            }
        }
    }
    account
}

/// When the last unit known of was free again; none while one is not.
fn freed_at(incident: &Incident, now: i64) -> Option<i64> {
    let known: Vec<_> = incident.units.iter().filter_map(|unit| Incident::known(unit, now)).collect();
    known.iter().map(|row| row.stamps[6]).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn incident_cases(world: &World, now: i64) -> Vec<Value> {
    let told = |incident: &Incident| {
        let units: Vec<Value> = incident
            .units
            .iter()
            .filter_map(|unit| {
                let row = Incident::known(unit, now)?;
                let mut told = json!({"unit": unit.code, "version": row.version});
                for (stage, at) in STAGES.iter().zip(row.stamps) {
                    told[format!("{stage}_at")] = json!(at.map(utc));
                }
                Some(told)
            })
            .collect();
        (!units.is_empty()).then(|| {
            json!({
                "case": incident.id,
                "service": incident.service,
                "category": incident.category,
                "territory": DISTRICTS[incident.district].kato,
                "received_at": utc(incident.received_at),
                "test": incident.test,
                "cancelled": incident.cancelled,
                "duplicate_of": incident.duplicate_of,
                "units": units,
            })
        })
    };
    world.incidents.iter().filter_map(told).collect()
}

fn of_tasks(world: &World, now: i64) -> Account {
    let mut account = Account::default();
    for task in &world.tasks {
        for entry in task.events.iter().filter(|entry| entry.visible_at <= now) {
            if entry.poison.is_some() {
                account.add(entry.visible_at, |said| said.poison += 1);
                continue;
            }
            account.add(entry.visible_at, |said| said.versions += 1);
            if entry.version == 1 {
                account.add(entry.visible_at, |said| said.records += 1);
            }
        }
        let known = task.known(now);
        // A late first event leaves a task that nobody has received yet.
        if let Some(assigned) = known.iter().find(|entry| entry.event == "assigned") {
            account.add(assigned.at, |said| said.received += 1);
            match known.iter().rev().find(|entry| entry.event == "closed") {
                Some(closed) => account.add(closed.at, |said| said.closed += 1),
                None => account.add(assigned.at, |said| said.open += 1),
            }
        }
    }
    account
}

fn task_cases(world: &World, now: i64) -> Vec<Value> {
    let told = |task: &super::task::Task| {
        let known = task.known(now);
        let at = |event: &str| known.iter().rev().find(|entry| entry.event == event).map(|entry| utc(entry.at));
        let original = known.iter().find_map(|entry| entry.due_on);
        // An extension written down when the term was over does not count.
        let over = original.map_or(i64::MAX, |day| day_start(day + Days::new(1)));
        let moved = known.iter().rev().find(|entry| entry.event == "extended" && entry.recorded_at < over);
        (!known.is_empty()).then(|| {
            json!({
                "case": task.id,
                "system": task.system,
                "category": CATEGORIES[task.category].code,
                "body": task.events[0].executor,
                "territory": DISTRICTS[task.district].kato,
                "received_at": at("assigned"),
                "original_due_on": original,
                "due_on": moved.and_then(|entry| entry.due_on).or(original),
                "extended_at": at("extended"),
                "done_claimed_at": at("done_claimed"),
                "returned_at": at("returned"),
                "closed_at": at("closed"),
                "events": known.len(),
            })
        })
    };
    world.tasks.iter().filter_map(told).collect()
}

fn of_documents(world: &World, now: i64) -> Account {
    let mut account = Account::default();
    for document in &world.documents {
        let Some(shown) = document.shown_at(now) else { continue };
        if document.poison.is_some() {
            account.add(shown.visible_at, |said| said.poison += 1);
            continue;
        }
        account.add(document.versions[0].visible_at, |said| said.records += 1);
        for version in document.versions.iter().filter(|version| version.visible_at <= now) {
            account.add(version.visible_at, |said| said.versions += 1);
        }
        account.add(document.filed_at, |said| said.received += 1);
        match shown.result_at {
            Some(result_at) => account.add(result_at, |said| said.closed += 1),
            None => account.add(document.filed_at, |said| said.open += 1),
        }
    }
    account
}

fn document_cases(world: &World, now: i64) -> Vec<Value> {
    let told = |document: &super::document::Document| {
        let shown = document.shown_at(now)?;
        Some(json!({
            "case": document.id.to_string(),
            "service": super::document::SERVICES[document.service].0,
            "body": document.body,
            "territory": DISTRICTS[document.district].kato,
            "received_at": utc(document.filed_at),
            "due_on": document.due_on,
            "closed_at": shown.result_at.map(utc),
            "outcome": shown.result,
            "issued_at": shown.issued_at.map(utc),
        }))
    };
    world.documents.iter().filter(|document| document.poison.is_none()).filter_map(told).collect()
}

/// What a bot would have heard that had listened from the first day on. Posts, the
/// account's answers and copies of posts are records too; a case is a resident's comment.
fn of_telegram(world: &World, now: i64) -> Account {
    let mut account = Account::default();
    for update in world.telegram_from(i64::MIN, now) {
        match update.heard {
            Heard::Noise => account.add(update.at, |said| said.poison += 1),
            Heard::Copy | Heard::Said { text: 0, .. } => account.add(update.at, |said| {
                said.records += 1;
                said.versions += 1;
            }),
            Heard::Said { .. } => account.add(update.at, |said| said.versions += 1),
        }
    }
    // Bots are not told what was deleted.
    add_threads(&mut account, &world.telegram, now, false);
    account
}

/// What was said at the walls: a version is a text, or that the message is gone. Nobody
/// who looks now and then sees them all.
fn of_vk(world: &World, now: i64) -> Account {
    let mut account = Account::default();
    for message in world.vk.iter().flat_map(|talk| &talk.messages).filter(|message| message.at() <= now) {
        account.add(message.at(), |said| said.records += 1);
        let written = message.texts.iter().map(|(at, _)| *at).chain(message.deleted_at);
        for at in written.filter(|at| *at <= now) {
            account.add(at, |said| said.versions += 1);
        }
    }
    add_threads(&mut account, &world.vk, now, true);
    account
}

/// Residents' comments under posts, each a case that nobody ever closes.
fn add_threads(account: &mut Account, talks: &[Talk], now: i64, deletions: bool) {
    for message in talks.iter().flat_map(|talk| &talk.messages) {
        if message.to == Some(0) && !message.is_own() && message.at() <= now {
            let open = !deletions || message.stands(now);
            account.add(message.at(), |said| {
                said.received += 1;
                said.open += u64::from(open);
            });
        }
    }
}

/// Threads of residents. Bots of Telegram are not told what was deleted.
fn talk_cases(network: &str, talks: &[Talk], now: i64) -> Vec<Value> {
    let telegram = network == "telegram";
    let mut cases = Vec::new();
    for talk in talks {
        let account = social::account(talk.district);
        for (index, message) in talk.messages.iter().enumerate() {
            if message.to != Some(0) || message.is_own() || message.at() > now {
                continue;
            }
            let case = if telegram {
                format!("{}/{}", super::doors::telegram::channel(talk.district) - 1, message.id)
            } else {
                format!("{}/{}/{}", super::doors::vk::wall(talk.district), talk.messages[0].id, message.id)
            };
            let answers: Vec<i64> = talk
                .messages
                .iter()
                .enumerate()
                .filter(|(n, answer)| *n > index && answer.is_own() && talk.root(*n) == index)
                .filter(|(_, answer)| answer.at() <= now && (telegram || answer.stands(now)))
                .filter(|(_, answer)| !answer.text(now).1.starts_with(social::MOVED))
                .map(|(_, answer)| answer.at())
                .collect();
            cases.push(json!({
                "case": case,
                "account": account.handle,
                "body": account.body,
                "territory": DISTRICTS[talk.district].kato,
                "received_at": utc(message.at()),
                "first_response_at": answers.iter().min().map(|at| utc(*at)),
                "deleted_at": message.deleted_at.filter(|at| *at <= now && !telegram).map(utc),
            }));
        }
    }
    cases
}
