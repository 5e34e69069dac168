//! Deadlines: every due date ever set, and the one in force.

use ahual_schemas::event::Event;
use ahual_schemas::table::At;
use ahual_schemas::tables::{Case, Deadline};

/// Takes a deadline event of the whole case.
pub(super) fn take(case: &mut Case, deadlines: &mut Vec<Deadline>, event: &Event, at: At, extension: bool) {
    let Some(due_at) = event.due_at else { return };
    let set_at = event.recorded_at.unwrap_or(at);
    let said_already = deadlines.last().is_some_and(|last| last.due_at == due_at && last.basis == event.basis);
    if said_already {
        return;
    }
    let in_force = case.due_at;
    let invalid_reason = match (case.received_at, in_force) {
        (Some(received), _) if due_at < received => Some("due before received"),
        (_, Some(current)) if extension && set_at > current => Some("set after the deadline had passed"),
        _ => None,
    };
    let valid = invalid_reason.is_none();
    deadlines.push(Deadline {
        case_id: case.case_id.clone(),
        source: case.source.clone(),
        ordinal: i32::try_from(deadlines.len()).unwrap_or(i32::MAX),
        due_at,
        due_on: event.due_on,
        set_at,
        body: event.body.clone(),
        basis: event.basis.clone(),
        valid,
        invalid_reason: invalid_reason.map(str::to_owned),
        folded_version: case.folded_version,
    });
    if extension && !valid {
        return;
    }
    if case.original_due_at.is_none() {
        case.original_due_at = Some(due_at);
        case.original_due_on = event.due_on;
    }
    case.extended |= extension;
    case.due_at = Some(due_at);
    case.due_on = event.due_on;
    case.due_compare.clone_from(&event.due_compare);
}
