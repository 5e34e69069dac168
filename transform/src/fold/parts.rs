//! Parts: what of a case has stages of its own (a unit, a ticket, a call, a reply, one of
//! several recipients). What happens to a part does not happen to the case.

use std::collections::BTreeMap;

use ahual_schemas::event::{Event, Kind};
use ahual_schemas::tables::{Case, Part};

use super::contents::Said;

/// The parts of a case by name.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<String, Part>);

impl Parts {
    /// Takes an event of a part.
    pub(super) fn take(&mut self, part_id: &str, said: &Said<'_>, kind: &Kind, folded_version: i64) {
        let event = said.event;
        let part = self.0.entry(part_id.to_owned()).or_insert_with(|| blank(event, part_id, folded_version));
        for (slot, news) in [
            (&mut part.category, &event.category),
            (&mut part.body, &event.body),
            (&mut part.territory, &event.territory),
            (&mut part.outcome, &event.outcome),
        ] {
            if news.is_some() {
                slot.clone_from(news);
            }
        }
        let at = Some(said.at);
        let stage = match kind {
            Kind::Stage => event.status.as_deref().unwrap_or_default(),
            Kind::Received => "received",
            Kind::FirstResponse => "answered",
            Kind::Closed | Kind::Withdrawn => "ended",
            Kind::DeadlineSet | Kind::DeadlineExtended => {
                part.due_at = event.due_at.or(part.due_at);
                return;
            }
            _ => return,
        };
        match stage {
            "received" => {
                part.received_at = at;
                part.received_on = Some(said.on);
            }
            "entered" => part.entered_at = at,
            "dispatched" => part.dispatched_at = at,
            "en_route" => part.en_route_at = at,
            "on_scene" => part.on_scene_at = at,
            "transport" => part.transport_at = at,
            "available" => part.available_at = at,
            // The slot lies ahead of the booking: an event that had not happened by a past
            // moment would not be known then.
            "booked" => part.slot_at = event.due_at,
            "queued" => part.queued_at = at,
            "called" => part.called_at = at,
            "answered" => part.answered_at = at,
            "ended" => part.ended_at = at,
            _ => {}
        }
    }

    /// The parts, with what they share with their case.
    pub(super) fn finish(self, case: &Case) -> Vec<Part> {
        let mut parts: Vec<Part> = self.0.into_values().collect();
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
        parts
    }
}

fn blank(event: &Event, part_id: &str, folded_version: i64) -> Part {
    Part {
        case_id: event.case_id.clone(),
        source: event.source.clone(),
        part_id: part_id.to_owned(),
        category: None,
        body: None,
        territory: None,
        outcome: None,
        due_at: None,
        received_at: None,
        received_on: None,
        entered_at: None,
        dispatched_at: None,
        en_route_at: None,
        on_scene_at: None,
        transport_at: None,
        available_at: None,
        first_on_scene: false,
        slot_at: None,
        queued_at: None,
        called_at: None,
        answered_at: None,
        ended_at: None,
        folded_version,
    }
}
