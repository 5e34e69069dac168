//! The case itself: open, closed, withdrawn, merged or split, and what is known of it.

use std::collections::BTreeSet;

use ahual_schemas::event::{Event, Kind};
use ahual_schemas::table::At;
use ahual_schemas::tables::{Case, Segment};

use super::contents::Said;
use super::custody::Custody;
use super::parts::Parts;
use super::terms::Terms;
use super::{FoldRule, Folded};
use crate::territory;

/// What has been folded so far.
pub(super) struct State<'a> {
    case: Case,
    custody: Custody,
    terms: Terms<'a>,
    parts: Parts,
    attributes: serde_json::Map<String, serde_json::Value>,
    /// What the source itself contradicts, by name.
    flaws: BTreeSet<String>,
}

impl<'a> State<'a> {
    pub(super) fn new(first: &Event, rule: &FoldRule<'a>) -> Self {
        Self {
            case: blank(first, rule.folded_version),
            custody: Custody::default(),
            terms: Terms::new(rule),
            parts: Parts::default(),
            attributes: serde_json::Map::new(),
            flaws: BTreeSet::new(),
        }
    }

    /// Takes the next event.
    pub(super) fn take(&mut self, said: &Said<'_>) {
        self.case.events += 1;
        self.case.first_appended_at = self.case.first_appended_at.min(said.appended_at);
        self.case.last_appended_at = self.case.last_appended_at.max(said.appended_at);
        let kind = Kind::from(said.event.kind.as_str());
        self.terms.advance(&mut self.case, said.at);
        if kind != Kind::Disappeared {
            self.case.disappeared_at = None;
        }
        match &said.event.part_id {
            Some(part_id) => self.parts.take(part_id, said, &kind, self.case.folded_version),
            None => self.take_whole(said, &kind),
        }
    }

    /// An event of the whole case.
    fn take_whole(&mut self, said: &Said<'_>, kind: &Kind) {
        let (event, at) = (said.event, said.at);
        self.describe(event, kind);
        let case = &mut self.case;
        match kind {
            Kind::Received => {
                if case.received_at.is_none() {
                    case.received_at = Some(at);
                    case.received_on = Some(said.on);
                }
                self.terms.received(at);
                self.custody.assigned(at, event.body.as_ref());
            }
            Kind::Registered | Kind::Assigned => self.custody.assigned(at, event.body.as_ref()),
            Kind::Transferred => {
                self.terms.transferred(at);
                self.custody.transferred(at, event.body.as_ref());
            }
            Kind::FirstResponse => {
                case.first_response_at.get_or_insert(at);
            }
            Kind::InterimResponse => {
                case.interim_response_at.get_or_insert(at);
                self.held_while_open(at, event);
            }
            Kind::Paused if case.state == "open" => {
                if self.terms.paused(case, at, event.reason.as_deref()) {
                    self.custody.paused(at);
                }
            }
            Kind::Resumed => {
                self.terms.resumed(case, at);
                self.custody.resumed(at);
            }
            Kind::DeadlineSet => self.terms.take(case, event, at, false),
            Kind::DeadlineExtended => self.terms.take(case, event, at, true),
            Kind::DoneClaimed => {
                case.done_claimed_at = Some(at);
                self.held_while_open(at, event);
            }
            Kind::Closed => self.close(said),
            Kind::Reopened => self.reopen(at, event.body.as_ref()),
            Kind::Confirmed => case.verdict = Some("confirmed".to_owned()),
            Kind::Rejected => case.verdict = Some("rejected".to_owned()),
            Kind::Withdrawn => self.end(said, "withdrawn"),
            Kind::Merged => {
                self.end(said, "merged");
                self.case.parent_case_id.clone_from(&event.parent_case_id);
            }
            // The child says whose part it is and lives on; the parent says it has gone into others.
            Kind::Split => match &event.parent_case_id {
                Some(parent) => case.parent_case_id = Some(parent.clone()),
                None => self.end(said, "split"),
            },
            Kind::Disappeared => {
                case.disappeared_at.get_or_insert(at);
            }
            Kind::ControlSet => {
                case.controlled_by.clone_from(&event.body);
                case.controlled_at = Some(at);
            }
            Kind::ControlLifted => {
                case.controlled_by = None;
                case.controlled_at = None;
            }
            Kind::Feedback => case.score = event.score.or(case.score),
            Kind::Flawed => {
                self.flaws.insert(event.reason.clone().unwrap_or_else(|| "unnamed".to_owned()));
            }
            _ => self.held_while_open(at, event),
        }
    }

    /// News of an open case that names a body says that this body holds it.
    fn held_while_open(&mut self, at: At, event: &Event) {
        if self.case.state == "open" {
            self.custody.assigned(at, event.body.as_ref());
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
        newest(&mut case.territory, &event.territory);
        if event.territory.is_some() {
            // What was wrong with the code before is not wrong with this one.
            for name in [territory::PROBLEM, territory::SAID] {
                self.attributes.shift_remove(name);
            }
        }
        // The body of a mark of control is who marked, not who is responsible.
        if !matches!(kind, Kind::ControlSet | Kind::ControlLifted) {
            newest(&mut case.body, &event.body);
        }
        let ends = matches!(kind, Kind::Closed | Kind::Withdrawn | Kind::Merged | Kind::Split);
        if ends && (*kind != Kind::Closed || matches!(case.state.as_str(), "open" | "closed")) {
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

    /// What was withdrawn, merged or split has ended; to close it changes nothing.
    fn close(&mut self, said: &Said<'_>) {
        let case = &mut self.case;
        if !matches!(case.state.as_str(), "open" | "closed") {
            return;
        }
        self.terms.resumed(case, said.at);
        self.custody.closed(said.at);
        case.state = "closed".to_owned();
        if case.first_closed_at.is_none() {
            case.first_closed_at = Some(said.at);
            case.first_closed_on = Some(said.on);
        }
        case.closed_at = Some(said.at);
        case.closed_on = Some(said.on);
        case.ended_at = Some(said.at);
    }

    fn end(&mut self, said: &Said<'_>, state: &str) {
        self.terms.resumed(&mut self.case, said.at);
        self.custody.closed(said.at);
        self.case.state = state.to_owned();
        self.case.closed_at = None;
        self.case.closed_on = None;
        self.case.ended_at = Some(said.at);
    }

    fn reopen(&mut self, at: At, body: Option<&String>) {
        let case = &mut self.case;
        if case.state == "open" {
            return;
        }
        case.reopened += 1;
        case.first_reopened_at.get_or_insert(at);
        case.state = "open".to_owned();
        case.closed_at = None;
        case.closed_on = None;
        case.ended_at = None;
        case.outcome = None;
        self.custody.reopened(at, body);
    }

    /// What the events come to.
    pub(super) fn finish(mut self) -> Folded {
        let (deadlines, flaws) = self.terms.finish(&mut self.case);
        self.flaws.extend(flaws.into_iter().map(str::to_owned));
        let problem = self.attributes.get(territory::PROBLEM).and_then(|problem| problem.as_str());
        self.flaws.extend(problem.map(|problem| format!("territory_{problem}")));
        let case = &mut self.case;
        let blank = Segment {
            case_id: case.case_id.clone(),
            source: case.source.clone(),
            ordinal: 0,
            body: None,
            clock: String::new(),
            from_at: At(0),
            to_at: None,
            folded_version: case.folded_version,
        };
        let held = self.custody.finish(case.received_at, case.ended_at, &blank);
        case.paused_us = held.paused_us;
        case.paused_since_at = held.paused_since_at;
        case.transfers = held.transfers;
        case.bounces = held.bounces;
        if !self.attributes.is_empty() {
            case.attributes = Some(serde_json::Value::Object(self.attributes).to_string());
        }
        self.flaws.extend(contradictions(case).into_iter().map(str::to_owned));
        case.flaws = (!self.flaws.is_empty()).then(|| self.flaws.into_iter().collect::<Vec<_>>().join(","));
        let parts = self.parts.finish(case);
        Folded { case: Some(self.case), segments: held.segments, deadlines, parts, ledger: Vec::new() }
    }
}

/// What cannot be true of a case, by name.
fn contradictions(case: &Case) -> Vec<&'static str> {
    let Some(received) = case.received_at else { return vec!["no_receipt"] };
    let before = |at: Option<At>| at.is_some_and(|at| at < received);
    [
        ("closed_before_received", before(case.closed_at)),
        ("ended_before_received", case.closed_at.is_none() && before(case.ended_at)),
        ("answered_before_received", before(case.first_response_at)),
        ("due_before_received", before(case.due_at)),
    ]
    .into_iter()
    .filter_map(|(name, is_so)| is_so.then_some(name))
    .collect()
}

fn blank(first: &Event, folded_version: i64) -> Case {
    Case {
        case_id: first.case_id.clone(),
        source: first.source.clone(),
        state: "open".to_owned(),
        first_appended_at: At(i64::MAX),
        last_appended_at: At(i64::MIN),
        folded_version,
        ..Case::default()
    }
}
