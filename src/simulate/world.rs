//! The region's story: a pure function of the seed, the scale, the faults of the data
//! and the day the story begins. What a door says at an instant is a function of the
//! story and that instant, so a door that is started again tells the same.

use chrono::{Days, NaiveDate};

use super::clock::local_day;
use super::document::{self, Document};
use super::doors::telegram;
use super::faults::Faults;
use super::incident::{self, Incident, Row};
use super::problem::{self, Problem, Through, Version};
use super::social::{self, Talk};
use super::task::{self, Entry, Task};

/// The story from its first day on; days are added as time reaches them.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    scale: f64,
    faults: Faults,
    next_day: NaiveDate,
    /// Contacts of 109.
    pub(crate) requests: Problems,
    /// Reports of the Open311 door.
    pub(crate) reports: Problems,
    pub(crate) incidents: Vec<Incident>,
    /// The 112 feed in the order of its ids: (id, incident, unit, row).
    pub(crate) feed: Vec<(i64, u32, u32, u32)>,
    pub(crate) tasks: Vec<Task>,
    /// The task log in the order of its offsets: (visible at, task, entry).
    pub(crate) task_log: Vec<(i64, u32, u32)>,
    pub(crate) documents: Vec<Document>,
    /// States of documents in the order they were written: (modified at, document, version).
    documents_written: Vec<(i64, u32, u32)>,
    /// Talks at the accounts of Telegram.
    pub(crate) telegram: Vec<Talk>,
    /// Talks at the walls of VK.
    pub(crate) vk: Vec<Talk>,
    /// What a bot hears of those on Telegram, in the order of its numbers.
    pub(crate) telegram_updates: Vec<Update>,
}

/// Something a bot hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Update {
    pub(crate) number: i64,
    pub(crate) at: i64,
    pub(crate) talk: u32,
    pub(crate) heard: Heard,
}

/// What a bot hears of a talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// A text of a message.
    Said {
        /// Index of the message.
        message: u32,
        /// Index of its text.
        text: u32,
    },
    /// The copy of the post that opens its discussion.
    Copy,
    /// Something that is no message.
    Noise,
}

/// Problems of one door and the order in which their versions were written.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) all: Vec<Problem>,
    /// (updated at, problem, version index), sorted.
    written: Vec<(i64, u32, u32)>,
}

impl World {
    /// A story that begins with the local day `first_day`; nothing has been told yet.
    pub(crate) fn new(seed: u64, first_day: NaiveDate, scale: f64, faults: Faults) -> Self {
        Self {
            seed,
            scale,
            faults,
            next_day: first_day,
            requests: Problems::default(),
            reports: Problems::default(),
            incidents: Vec::new(),
            feed: Vec::new(),
            tasks: Vec::new(),
            task_log: Vec::new(),
            documents: Vec::new(),
            documents_written: Vec::new(),
            telegram: Vec::new(),
            vk: Vec::new(),
            telegram_updates: Vec::new(),
        }
    }

    /// Whether the story already covers `now`.
    pub(crate) fn reaches(&self, now: i64) -> bool {
        local_day(now) < self.next_day
    }

    /// Adds days until the story covers `now`.
    pub(crate) fn reach(&mut self, now: i64) {
        if self.reaches(now) {
            return;
        }
        let last = local_day(now);
        let first_incident = self.incidents.len();
        let first_task = self.tasks.len();
        let first_document = self.documents.len();
        let first_talk = self.telegram.len();
        while self.next_day <= last {
            let day = self.next_day;
            self.requests.add(problem::of_day(self.seed, Through::Line109, day, self.scale, &self.faults));
            self.reports.add(problem::of_day(self.seed, Through::Open311, day, self.scale, &self.faults));
            self.incidents.extend(incident::of_day(self.seed, day, self.scale, &self.faults));
            self.tasks.extend(task::of_day(self.seed, day, self.scale, &self.faults));
            self.documents.extend(document::of_day(self.seed, day, self.scale, &self.faults));
            self.telegram.extend(social::of_day(self.seed, "telegram", day, self.scale, &self.faults));
            self.vk.extend(social::of_day(self.seed, "vk", day, self.scale, &self.faults));
            self.next_day = day + Days::new(1);
        }
        self.requests.order();
        self.reports.order();
        self.order_feed(first_incident);
        self.order_task_log(first_task);
        for (d, document) in self.documents.iter().enumerate().skip(first_document) {
            let states = document.versions.iter().enumerate();
            self.documents_written.extend(states.map(|(v, version)| (version.modified_at, d as u32, v as u32)));
        }
        self.documents_written.sort_unstable();
        self.order_telegram(first_talk);
    }

    fn order_telegram(&mut self, first: usize) {
        for (t, talk) in self.telegram.iter().enumerate().skip(first) {
            let mut hear = |at: i64, heard: Heard| {
                let number = (at - social::EPOCH) * 1_000 + telegram::rank(talk, heard);
                self.telegram_updates.push(Update { number, at, talk: t as u32, heard });
            };
            for (m, message) in talk.messages.iter().enumerate() {
                for (n, (at, _)) in message.texts.iter().enumerate() {
                    hear(*at, Heard::Said { message: m as u32, text: n as u32 });
                }
            }
            hear(talk.messages[0].at() + 3, Heard::Copy);
            if let Some(at) = talk.noise_at {
                hear(at, Heard::Noise);
            }
        }
        self.telegram_updates.sort_unstable();
        for n in 1..self.telegram_updates.len() {
            let before = self.telegram_updates[n - 1].number;
            if self.telegram_updates[n].number <= before {
                self.telegram_updates[n].number = before + 1;
            }
        }
    }

    /// Updates from `number` on that were heard by `now`, in the order of their numbers.
    pub(crate) fn telegram_from(&self, number: i64, now: i64) -> impl Iterator<Item = &Update> {
        let from = self.telegram_updates.partition_point(|update| update.number < number);
        self.telegram_updates[from..].iter().take_while(move |update| update.at <= now)
    }

    /// A feed id is the second a row became visible, times 10,000, plus a rank that
    /// depends on the row alone, so that ids do not depend on where the story begins.
    fn order_feed(&mut self, first: usize) {
        for (i, incident) in self.incidents.iter().enumerate().skip(first) {
            for (u, unit) in incident.units.iter().enumerate() {
                for (r, row) in unit.rows.iter().enumerate() {
                    let rank = super::dice::fnv(&format!("{}/{}/{r}", incident.id, unit.code), 3) % 10_000;
                    self.feed.push((row.visible_at * 10_000 + rank as i64, i as u32, u as u32, r as u32));
                }
            }
        }
        self.feed.sort_unstable();
        for n in 1..self.feed.len() {
            if self.feed[n].0 <= self.feed[n - 1].0 {
                self.feed[n].0 = self.feed[n - 1].0 + 1;
            }
        }
    }

    fn order_task_log(&mut self, first: usize) {
        for (t, task) in self.tasks.iter().enumerate().skip(first) {
            for (e, entry) in task.events.iter().enumerate() {
                self.task_log.push((entry.visible_at, t as u32, e as u32));
            }
        }
        // A tie is broken by what was there first, or offsets would move.
        self.task_log.sort();
    }

    /// Rows of the 112 feed after `since_id` that are visible at `now`, oldest first.
    pub(crate) fn feed_after(&self, since_id: i64, now: i64) -> impl Iterator<Item = (i64, &Incident, usize, &Row)> {
        let from = self.feed.partition_point(|(id, ..)| *id <= since_id);
        self.feed[from..]
            .iter()
            .map(|(id, i, u, r)| {
                let incident = &self.incidents[*i as usize];
                (*id, incident, *u as usize, &incident.units[*u as usize].rows[*r as usize])
            })
            .take_while(move |(.., row)| row.visible_at <= now)
    }

    /// The task log as far as it was appended at or after `since` and is visible at `now`.
    pub(crate) fn task_log_since(&self, since: i64, now: i64) -> impl ExactSizeIterator<Item = (&Task, &Entry)> {
        let end = self.task_log.partition_point(|(at, ..)| *at <= now);
        let start = self.task_log.partition_point(|(at, ..)| *at < since).min(end);
        self.task_log[start..end].iter().map(|(_, t, e)| {
            let task = &self.tasks[*t as usize];
            (task, &task.events[*e as usize])
        })
    }
}

impl World {
    /// The documents whose shown state was written in `[from, to)`, oldest first.
    pub(crate) fn documents_modified(&self, from: i64, to: i64, now: i64) -> Vec<(&Document, &document::Version)> {
        let start = self.documents_written.partition_point(|(at, ..)| *at < from);
        self.documents_written[start..]
            .iter()
            .take_while(|(at, ..)| *at < to && *at <= now)
            .filter_map(|(_, d, v)| {
                let document = &self.documents[*d as usize];
                let version = &document.versions[*v as usize];
                (document.shown_at(now) == Some(version)).then_some((document, version))
            })
            .collect()
    }
}

impl Problems {
    fn add(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            let p = self.all.len() as u32;
            self.written
                .extend(problem.versions.iter().enumerate().map(|(v, version)| (version.updated_at, p, v as u32)));
            self.all.push(problem);
        }
    }

    fn order(&mut self) {
        self.written.sort_unstable();
    }

    /// What the door shows at `now` of the records written at or after `since`, each in
    /// the version it shows, in the order they were written.
    pub(crate) fn updated_since(&self, since: i64, now: i64) -> Vec<(&Problem, &Version)> {
        let from = self.written.partition_point(|(at, ..)| *at < since);
        self.written[from..]
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .filter_map(|(_, p, v)| {
                let problem = &self.all[*p as usize];
                let version = &problem.versions[*v as usize];
                let superseded = problem.versions.get(*v as usize + 1).is_some_and(|next| next.visible_at <= now);
                (version.visible_at <= now && !superseded).then_some((problem, version))
            })
            .collect()
    }
}
