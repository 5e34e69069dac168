//! The fold: from the *set* of a case's event rows to its current state.
//!
//! A pure function. Processing order and repetition never matter; no clock is read.
//!
//! 1. Each record's contents are found, and for each content the append stamps of its
//!    distinct deliveries (a delivery said twice counts once, at its earliest stamp).
//! 2. `known_at` cuts deliveries by append stamp.
//! 3. Of each record one content is chosen: the highest source version; where that is
//!    equal or absent, the latest append stamp. All events of a record's chosen content
//!    supersede those of its others, so a corrected close is not a reopening.
//! 4. `as_of` cuts what is left by `occurred_at`.
//! 5. The remaining events, in order of occurrence, are folded.

mod terms;

use std::collections::{BTreeMap, BTreeSet};

use ahual_schemas::event::{Event, Kind};
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::{Case, Deadline, LedgerRow, Part, Segment};
use chrono_tz::Tz;

use crate::functions::local_day;
use crate::reference::Reference;
use crate::territory;
use terms::Terms;

/// What the fold is told besides the events.
#[derive(Debug, Clone, Copy)]
pub struct FoldRule<'a> {
    /// What had happened by then.
    pub as_of: Option<At>,
    /// What was known by then.
    pub known_at: Option<At>,
    /// Zone of ledger days.
    pub zone: Tz,
    /// Version of `core.events` being folded; stands in every row.
    pub folded_version: i64,
    /// Calendars and rules. Of the calendars' versions those count that were known by
    /// `as_of` and `known_at`.
    pub reference: &'a Reference,
}

/// What one case becomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded {
    /// The case; none when nothing about it had happened or was known.
    pub case: Option<Case>,
    /// Who held it.
    pub segments: Vec<Segment>,
    /// Every due date.
    pub deadlines: Vec<Deadline>,
    /// Units and the like.
    pub parts: Vec<Part>,
    /// What it adds to the delivery ledger.
    pub ledger: Vec<LedgerRow>,
}

/// Folds the rows of one case.
pub fn fold(rows: &[Event], rule: &FoldRule<'_>) -> Folded {
    let contents = contents(rows, rule.known_at);
    let ledger = ledger(&contents, rule);
    let mut events = chosen(&contents);
    if let Some(as_of) = rule.as_of {
        events.retain(|(e, _)| e.occurred_at <= as_of);
    }
    events.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    let Some((first, _)) = events.first() else {
        return Folded { ledger, ..Folded::default() };
    };
    let mut state = State::new(first, rule);
    for (event, appended_at) in &events {
        state.take(event, *appended_at);
    }
    let (case, segments, deadlines, parts) = state.finish();
    Folded { case: Some(case), segments, deadlines, parts, ledger }
}

/// One content of one record.
struct Content<'a> {
    version: Option<i64>,
    occurrence: i32,
    set_aside: bool,
    source: &'a str,
    /// Delivery → earliest append stamp.
    deliveries: BTreeMap<&'a str, At>,
    /// Events by ordinal.
    events: BTreeMap<i32, &'a Event>,
}

impl Content<'_> {
    fn first_stamp(&self) -> At {
        self.deliveries.values().min().copied().unwrap_or(At(i64::MAX))
    }
    fn last_stamp(&self) -> At {
        self.deliveries.values().max().copied().unwrap_or(At(i64::MIN))
    }
}

type Contents<'a> = BTreeMap<(&'a str, &'a str), Content<'a>>;

fn contents(rows: &[Event], known_at: Option<At>) -> Contents<'_> {
    let mut contents: Contents<'_> = BTreeMap::new();
    for row in rows {
        let content = contents.entry((&row.record_id, &row.content_id)).or_insert_with(|| Content {
            version: None,
            occurrence: row.occurrence,
            set_aside: false,
            source: &row.source,
            deliveries: BTreeMap::new(),
            events: BTreeMap::new(),
        });
        let stamp = content.deliveries.entry(&row.delivery_id).or_insert(row.appended_at);
        *stamp = (*stamp).min(row.appended_at);
        match Kind::from(row.kind.as_str()) {
            Kind::SeenAgain => {}
            Kind::SetAside => content.set_aside = true,
            _ => {
                content.version = content.version.max(row.version);
                content.events.insert(row.ordinal, row);
            }
        }
    }
    if let Some(known_at) = known_at {
        for content in contents.values_mut() {
            content.deliveries.retain(|_, stamp| *stamp <= known_at);
        }
        contents.retain(|_, content| !content.deliveries.is_empty());
    }
    contents
}

fn chosen<'a>(contents: &Contents<'a>) -> Vec<(&'a Event, At)> {
    let mut best: BTreeMap<&str, (&&str, &Content<'a>)> = BTreeMap::new();
    for ((record, id), content) in contents {
        if content.events.is_empty() {
            continue;
        }
        let rank = |c: &Content<'_>, id: &str| (c.version, c.last_stamp(), id.to_owned());
        match best.get(record) {
            Some((other_id, other)) if rank(other, other_id) >= rank(content, id) => {}
            _ => {
                best.insert(record, (id, content));
            }
        }
    }
    best.into_values()
        .flat_map(|(_, content)| {
            let stamp = content.first_stamp();
            content.events.values().map(move |event| (*event, stamp))
        })
        .collect()
}

fn ledger(contents: &Contents<'_>, rule: &FoldRule<'_>) -> Vec<LedgerRow> {
    let mut rows: BTreeMap<(String, Day), LedgerRow> = BTreeMap::new();
    for content in contents.values() {
        let mut deliveries: Vec<_> = content.deliveries.iter().map(|(d, stamp)| (*stamp, *d)).collect();
        deliveries.sort_unstable();
        for (nth, (stamp, _)) in deliveries.into_iter().enumerate() {
            let day = Day(local_day(stamp.0, rule.zone).unwrap_or_default());
            let row = rows.entry((content.source.to_owned(), day)).or_insert_with(|| LedgerRow {
                source: content.source.to_owned(),
                day,
                pulled: 0,
                stored: 0,
                set_aside: 0,
                duplicates: 0,
                repeats: 0,
                folded_version: rule.folded_version,
            });
            row.pulled += 1;
            if content.set_aside && content.events.is_empty() {
                row.set_aside += 1;
            } else if nth == 0 {
                row.stored += 1;
                row.repeats += i64::from(content.occurrence > 1);
            } else {
                row.duplicates += 1;
            }
        }
    }
    rows.into_values().collect()
}

/// Order of events in time. Among simultaneous ones the kinds that open come before
/// those that close, then the source's own version and order decide.
fn order(event: &Event) -> (At, u8, Option<i64>, Option<At>, &str, i32) {
    let rank = match Kind::from(event.kind.as_str()) {
        Kind::Received => 0,
        Kind::Registered => 1,
        Kind::DeadlineSet => 2,
        Kind::Assigned => 3,
        Kind::Reopened => 4,
        Kind::Closed => 8,
        Kind::Confirmed | Kind::Rejected | Kind::Feedback | Kind::Merged | Kind::Withdrawn => 9,
        _ => 5,
    };
    (event.occurred_at, rank, event.version, event.recorded_at, &event.record_id, event.ordinal)
}

struct State<'a> {
    case: Case,
    segments: Vec<Segment>,
    terms: Terms<'a>,
    parts: BTreeMap<String, Part>,
    attributes: serde_json::Map<String, serde_json::Value>,
    paused_since: Option<At>,
    open_segment: Option<(At, Option<String>)>,
}

impl<'a> State<'a> {
    fn new(first: &Event, rule: &FoldRule<'a>) -> Self {
        let case = Case {
            case_id: first.case_id.clone(),
            source: first.source.clone(),
            regime: None,
            status: None,
            state: "open".to_owned(),
            outcome: None,
            category: None,
            body: None,
            territory: None,
            received_at: None,
            received_on: None,
            first_response_at: None,
            due_at: None,
            due_on: None,
            original_due_at: None,
            original_due_on: None,
            due_compare: None,
            first_closed_at: None,
            closed_at: None,
            closed_on: None,
            reopened: 0,
            transfers: 0,
            extended: false,
            paused_us: 0,
            parent_case_id: None,
            score: None,
            longitude: None,
            latitude: None,
            flaws: None,
            attributes: None,
            events: 0,
            first_appended_at: At(i64::MAX),
            last_appended_at: At(i64::MIN),
            folded_version: rule.folded_version,
        };
        Self {
            case,
            segments: Vec::new(),
            terms: Terms::new(rule),
            parts: BTreeMap::new(),
            attributes: serde_json::Map::new(),
            paused_since: None,
            open_segment: None,
        }
    }

    fn take(&mut self, event: &Event, appended_at: At) {
        self.case.events += 1;
        self.case.first_appended_at = self.case.first_appended_at.min(appended_at);
        self.case.last_appended_at = self.case.last_appended_at.max(appended_at);
        let at = event.occurred_at;
        let kind = Kind::from(event.kind.as_str());
        self.terms.advance(&mut self.case, at);
        if event.part_id.is_none() {
            self.describe(event, &kind);
        }
        match kind {
            Kind::Received => {
                if self.case.received_at.is_none() {
                    self.case.received_at = Some(at);
                    self.case.received_on = Some(event.occurred_on);
                }
                self.terms.received(at);
                self.hold(at, event.body.clone());
            }
            Kind::Registered | Kind::Assigned => self.hold(at, event.body.clone()),
            Kind::Transferred => {
                self.case.transfers += 1;
                self.terms.transferred(at);
                self.hold(at, event.body.clone());
            }
            Kind::FirstResponse => {
                self.case.first_response_at.get_or_insert(at);
            }
            Kind::Paused => self.pause(at, event.reason.as_deref()),
            Kind::Resumed => self.resume(at),
            Kind::DeadlineSet => self.terms.take(&mut self.case, event, at, false),
            Kind::DeadlineExtended => self.terms.take(&mut self.case, event, at, true),
            Kind::Closed => {
                self.resume(at);
                self.release(at);
                self.case.state = "closed".to_owned();
                self.case.first_closed_at.get_or_insert(at);
                self.case.closed_at = Some(at);
                self.case.closed_on = Some(event.occurred_on);
            }
            Kind::Reopened => {
                if self.case.state != "open" {
                    self.case.reopened += 1;
                    self.case.state = "open".to_owned();
                    self.case.closed_at = None;
                    self.case.closed_on = None;
                    self.case.outcome = None;
                    let body = event.body.clone().or_else(|| self.case.body.clone());
                    self.hold(at, body);
                }
            }
            Kind::Withdrawn => self.end(at, "withdrawn"),
            Kind::Merged => {
                self.end(at, "merged");
                self.case.parent_case_id.clone_from(&event.parent_case_id);
            }
            Kind::Feedback => self.case.score = event.score.or(self.case.score),
            Kind::Stage => self.stage(event),
            _ => {
                if event.part_id.is_none() && event.body.is_some() && self.case.state == "open" {
                    self.hold(at, event.body.clone());
                }
            }
        }
    }

    /// Attributes: what an event says replaces what was said before; what it does not
    /// say stays.
    fn describe(&mut self, event: &Event, kind: &Kind) {
        let case = &mut self.case;
        let newest = |slot: &mut Option<String>, said: &Option<String>| {
            if said.is_some() {
                slot.clone_from(said);
            }
        };
        newest(&mut case.regime, &event.regime);
        newest(&mut case.status, &event.status);
        newest(&mut case.category, &event.category);
        newest(&mut case.body, &event.body);
        newest(&mut case.territory, &event.territory);
        if event.territory.is_some() {
            // What was wrong with the code before is not wrong with this one.
            for name in [territory::PROBLEM, territory::SAID] {
                self.attributes.shift_remove(name);
            }
        }
        if matches!(kind, Kind::Closed | Kind::Withdrawn | Kind::Merged) {
            newest(&mut case.outcome, &event.outcome);
        }
        if event.longitude.is_some() && event.latitude.is_some() {
            case.longitude = event.longitude;
            case.latitude = event.latitude;
        }
        if let Some(Ok(serde_json::Value::Object(said))) = event.attributes.as_deref().map(serde_json::from_str) {
            self.attributes.extend(said);
        }
    }

    fn hold(&mut self, at: At, body: Option<String>) {
        match &self.open_segment {
            Some((_, held_by)) if body.is_none() || *held_by == body => {}
            Some(_) => {
                self.release(at);
                self.open_segment = Some((at, body));
            }
            None => self.open_segment = Some((at, body)),
        }
    }

    fn release(&mut self, at: At) {
        if let Some((from_at, body)) = self.open_segment.take() {
            self.push_segment(body, from_at, Some(at));
        }
    }

    fn push_segment(&mut self, body: Option<String>, from_at: At, to_at: Option<At>) {
        if to_at.is_some_and(|to| to <= from_at) {
            return;
        }
        let clock = if self.paused_since.is_some() { "paused" } else { "running" };
        self.segments.push(Segment {
            case_id: self.case.case_id.clone(),
            source: self.case.source.clone(),
            ordinal: i32::try_from(self.segments.len()).unwrap_or(i32::MAX),
            body,
            clock: clock.to_owned(),
            from_at,
            to_at,
            folded_version: self.case.folded_version,
        });
    }

    fn pause(&mut self, at: At, reason: Option<&str>) {
        if self.case.state == "open" && self.terms.paused(&self.case, at, reason) && self.paused_since.is_none() {
            self.split(at);
            self.paused_since = Some(at);
        }
    }

    fn resume(&mut self, at: At) {
        self.terms.resumed(&mut self.case, at);
        if let Some(since) = self.paused_since {
            self.split(at);
            self.case.paused_us += at.since(since).max(0);
            self.paused_since = None;
        }
    }

    /// Ends the current segment and goes on with the same holder, for a change of clock.
    fn split(&mut self, at: At) {
        if let Some((from_at, body)) = self.open_segment.take() {
            self.push_segment(body.clone(), from_at, Some(at));
            self.open_segment = Some((at.max(from_at), body));
        }
    }

    fn end(&mut self, at: At, state: &str) {
        self.resume(at);
        self.release(at);
        self.case.state = state.to_owned();
        self.case.closed_at = None;
        self.case.closed_on = None;
    }

    fn stage(&mut self, event: &Event) {
        let Some(part_id) = &event.part_id else { return };
        let part = self.parts.entry(part_id.clone()).or_insert_with(|| Part {
            case_id: event.case_id.clone(),
            source: event.source.clone(),
            part_id: part_id.clone(),
            category: None,
            body: None,
            territory: None,
            received_at: None,
            received_on: None,
            entered_at: None,
            dispatched_at: None,
            en_route_at: None,
            on_scene_at: None,
            transport_at: None,
            available_at: None,
            first_on_scene: false,
            folded_version: self.case.folded_version,
        });
        if event.category.is_some() {
            part.category.clone_from(&event.category);
        }
        if event.body.is_some() {
            part.body.clone_from(&event.body);
        }
        if event.territory.is_some() {
            part.territory.clone_from(&event.territory);
        }
        let at = Some(event.occurred_at);
        match event.status.as_deref() {
            Some("received") => {
                part.received_at = at;
                part.received_on = Some(event.occurred_on);
            }
            Some("entered") => part.entered_at = at,
            Some("dispatched") => part.dispatched_at = at,
            Some("en_route") => part.en_route_at = at,
            Some("on_scene") => part.on_scene_at = at,
            Some("transport") => part.transport_at = at,
            Some("available") => part.available_at = at,
            _ => {}
        }
    }

    fn finish(mut self) -> (Case, Vec<Segment>, Vec<Deadline>, Vec<Part>) {
        if let Some((from_at, body)) = self.open_segment.take() {
            self.push_segment(body, from_at, None);
        }
        let territory_flaw = self
            .attributes
            .get(territory::PROBLEM)
            .and_then(|problem| Some(format!("territory_{}", problem.as_str()?)));
        let (deadlines, flaws) = self.terms.finish(&mut self.case);
        let mut flaws: BTreeSet<&str> = flaws;
        let case = &mut self.case;
        if !self.attributes.is_empty() {
            case.attributes = Some(serde_json::Value::Object(self.attributes).to_string());
        }
        match case.received_at {
            None => {
                flaws.insert("no_receipt");
            }
            Some(received) => {
                if case.closed_at.is_some_and(|closed| closed < received) {
                    flaws.insert("closed_before_received");
                }
                if case.first_response_at.is_some_and(|answered| answered < received) {
                    flaws.insert("answered_before_received");
                }
                if case.due_at.is_some_and(|due| due < received) {
                    flaws.insert("due_before_received");
                }
            }
        }
        flaws.extend(territory_flaw.as_deref());
        case.flaws = (!flaws.is_empty()).then(|| flaws.into_iter().collect::<Vec<_>>().join(","));
        let mut parts: Vec<Part> = self.parts.into_values().collect();
        let first = parts.iter().filter_map(|p| p.on_scene_at.map(|at| (at, p.part_id.clone()))).min();
        for part in &mut parts {
            part.category = part.category.take().or_else(|| case.category.clone());
            part.body = part.body.take().or_else(|| case.body.clone());
            part.territory = part.territory.take().or_else(|| case.territory.clone());
            part.first_on_scene = first.as_ref().is_some_and(|(_, id)| *id == part.part_id);
            if part.received_at.is_none() {
                part.received_at = case.received_at;
                part.received_on = case.received_on;
            }
        }
        (self.case, self.segments, deadlines, parts)
    }
}
