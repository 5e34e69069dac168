//! The clocks as SQL functions. Stateless: calendar and rule are named in the call,
//! calendars always by `name@version`, so that a result never depends on the day of asking.
//!
//! What a calendar does not cover is null, and the function's `…_reason` says why. A name
//! that is not there is an error.

use std::sync::Arc;

use ahual_schemas::At;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Int32Type, TimestampMicrosecondType};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::ScalarUDF;

use super::calendar::{Calendar, date};
use super::{Rule, due};
use crate::functions::{UNREADABLE, function, local_day, texts, timestamp};
use crate::reference::Reference;

const MINUTE_US: i64 = 60_000_000;

/// What a call comes to: an answer, or why there is none.
type Answer<T> = std::result::Result<T, String>;

/// The functions, over `reference`.
pub(crate) fn all(reference: &Arc<Reference>) -> Vec<ScalarUDF> {
    let with = || Arc::clone(reference);
    let (minutes, minutes_reason) = (with(), with());
    let (due, due_reason) = (with(), with());
    let (is_working, add, between) = (with(), with(), with());
    let (known, rule_for) = (with(), with());
    vec![
        function("working_minutes", &[3, 4], DataType::Int64, move |args, rows| {
            let out = working_minutes(&minutes, args, rows)?;
            let out: Int64Array = out.into_iter().map(|answer| answer.and_then(Answer::ok)).collect();
            Ok(Arc::new(out))
        }),
        function("working_minutes_reason", &[3, 4], DataType::Utf8, move |args, rows| {
            Ok(reasons(working_minutes(&minutes_reason, args, rows)?))
        }),
        function("due_at", &[3, 4], timestamp(), move |args, rows| {
            let out = due_at(&due, args, rows)?;
            let out: TimestampMicrosecondArray = out.into_iter().map(|answer| answer.and_then(Answer::ok)).collect();
            Ok(Arc::new(out.with_timezone("UTC")))
        }),
        function("due_at_reason", &[3, 4], DataType::Utf8, move |args, rows| {
            Ok(reasons(due_at(&due_reason, args, rows)?))
        }),
        function("is_working_day", &[2], DataType::Boolean, move |args, rows| {
            let (days, calendars) = (days(&args[0])?, texts(&args[1])?);
            let mut named = Named::new(&is_working);
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                let calendar = named.calendar(&calendars, row)?;
                out.push(calendar.filter(|_| days.is_valid(row)).and_then(|c| c.is_working_day(days.value(row)).ok()));
            }
            Ok(Arc::new(BooleanArray::from(out)))
        }),
        function("add_working_days", &[3], DataType::Date32, move |args, rows| {
            let (days, calendars) = (days(&args[0])?, texts(&args[2])?);
            let counts = arrow::compute::cast(&args[1], &DataType::Int32)?;
            let counts = counts.as_primitive::<Int32Type>();
            let mut named = Named::new(&add);
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                let calendar = named.calendar(&calendars, row)?;
                let calendar = calendar.filter(|_| days.is_valid(row) && counts.is_valid(row));
                out.push(calendar.and_then(|c| c.add_working_days(days.value(row), counts.value(row)).ok()));
            }
            Ok(Arc::new(Date32Array::from(out)))
        }),
        function("working_days", &[3], DataType::Int32, move |args, rows| {
            let (from, to, calendars) = (days(&args[0])?, days(&args[1])?, texts(&args[2])?);
            let mut named = Named::new(&between);
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                let calendar = named.calendar(&calendars, row)?;
                let calendar = calendar.filter(|_| from.is_valid(row) && to.is_valid(row));
                out.push(calendar.and_then(|c| c.working_days(from.value(row), to.value(row)).ok()));
            }
            Ok(Arc::new(Int32Array::from(out)))
        }),
        function("calendar_known_at", &[2], DataType::Utf8, move |args, rows| {
            let (names, at) = (texts(&args[0])?, instants(&args[1])?);
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                if names.is_null(row) || at.is_null(row) || at.value(row) == UNREADABLE {
                    out.push(None);
                    continue;
                }
                let name = names.value(row);
                if known.calendars.versions(name).is_empty() {
                    let there = known.calendars.names().join(", ");
                    return exec_err!("there is no calendar '{name}'; there are {there}");
                }
                out.push(known.calendars.known_at(name, At(at.value(row))).map(|c| c.id().to_owned()));
            }
            Ok(Arc::new(StringArray::from(out)))
        }),
        function("rule_for", &[2], DataType::Utf8, move |args, rows| {
            let (names, received) = (texts(&args[0])?, instants(&args[1])?);
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                if names.is_null(row) || received.is_null(row) || received.value(row) == UNREADABLE {
                    out.push(None);
                    continue;
                }
                let rule = rule_for_receipt(&rule_for, names.value(row), At(received.value(row)))?;
                out.push(rule.ok().map(|rule| rule.id().to_owned()));
            }
            Ok(Arc::new(StringArray::from(out)))
        }),
    ]
}

fn working_minutes(reference: &Reference, args: &[ArrayRef], rows: usize) -> Result<Vec<Option<Answer<i64>>>> {
    let (start, end, calendars) = (instants(&args[0])?, instants(&args[1])?, texts(&args[2])?);
    let bodies = args.get(3).map(texts).transpose()?;
    let mut named = Named::new(reference);
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let calendar = named.calendar(&calendars, row)?;
        let usable = |at: &TimestampMicrosecondArray| at.is_valid(row) && at.value(row) != UNREADABLE;
        let Some(calendar) = calendar.filter(|_| usable(&start) && usable(&end)) else {
            out.push(None);
            continue;
        };
        let worked = calendar.working_us(At(start.value(row)), At(end.value(row)), body(&bodies, row));
        out.push(Some(worked.map(|us| us / MINUTE_US).map_err(|e| e.to_string())));
    }
    Ok(out)
}

fn due_at(reference: &Reference, args: &[ArrayRef], rows: usize) -> Result<Vec<Option<Answer<i64>>>> {
    let (start, rules, calendars) = (instants(&args[0])?, texts(&args[1])?, texts(&args[2])?);
    let bodies = args.get(3).map(texts).transpose()?;
    let mut named = Named::new(reference);
    let mut out = Vec::with_capacity(rows);
    for row in 0..rows {
        let calendar = named.calendar(&calendars, row)?;
        let Some(calendar) = calendar.filter(|_| start.is_valid(row) && rules.is_valid(row)) else {
            out.push(None);
            continue;
        };
        let start = start.value(row);
        if start == UNREADABLE {
            // Passed on, so that the mapping sets the record aside.
            out.push(Some(Ok(UNREADABLE)));
            continue;
        }
        let rule = match rule_on(reference, rules.value(row), At(start), calendar)? {
            Ok(rule) => rule,
            Err(reason) => {
                out.push(Some(Err(reason)));
                continue;
            }
        };
        let due = due(At(start), rule, calendar, body(&bodies, row), &[]);
        out.push(Some(due.map(|due| due.at.0).map_err(|e| e.to_string())));
    }
    Ok(out)
}

/// The version of a rule for what was received at an instant, in the zone of the newest
/// version of the calendar it counts by.
fn rule_for_receipt<'a>(reference: &'a Reference, name: &str, received: At) -> Result<Answer<&'a Rule>> {
    let calendar = reference
        .rules
        .iter()
        .find(|rule| rule.name == name || rule.id() == name)
        .and_then(|rule| reference.calendars.versions(&rule.calendar).last());
    match calendar {
        Some(calendar) => rule_on(reference, name, received, calendar),
        None => no_rule(reference, name),
    }
}

fn rule_on<'a>(reference: &'a Reference, name: &str, received: At, calendar: &Calendar) -> Result<Answer<&'a Rule>> {
    let day = local_day(received.0, calendar.zone()).and_then(date).unwrap_or_default();
    match reference.rules.for_receipt(name, day) {
        Some(rule) => Ok(Ok(rule)),
        None if reference.rules.contains(name) => Ok(Err(format!("rule {name} has no version for {day}"))),
        None => no_rule(reference, name),
    }
}

fn no_rule<T>(reference: &Reference, name: &str) -> Result<T> {
    exec_err!("there is no rule '{name}'; there are {}", reference.rules.names().join(", "))
}

fn reasons(answers: Vec<Option<Answer<i64>>>) -> ArrayRef {
    let reasons: StringArray = answers.into_iter().map(|answer| answer.and_then(Answer::err)).collect();
    Arc::new(reasons)
}

fn instants(array: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    Ok(arrow::compute::cast(array, &timestamp())?.as_primitive::<TimestampMicrosecondType>().clone())
}

pub(crate) fn days(array: &ArrayRef) -> Result<Date32Array> {
    Ok(arrow::compute::cast(array, &DataType::Date32)?.as_primitive::<Date32Type>().clone())
}

fn body(bodies: &Option<StringArray>, row: usize) -> Option<&str> {
    bodies.as_ref().filter(|bodies| bodies.is_valid(row)).map(|bodies| bodies.value(row))
}

/// Finds calendars by name; the one of the row before is at hand.
struct Named<'a> {
    reference: &'a Reference,
    last: Option<&'a Arc<Calendar>>,
}

impl<'a> Named<'a> {
    fn new(reference: &'a Reference) -> Self {
        Self { reference, last: None }
    }

    fn calendar(&mut self, names: &StringArray, row: usize) -> Result<Option<&'a Calendar>> {
        if names.is_null(row) {
            return Ok(None);
        }
        let id = names.value(row);
        if self.last.is_none_or(|last| last.id() != id) {
            let found = self.reference.calendars.get(id).ok_or_else(|| {
                let there = self.reference.calendars.ids().join(", ");
                exec_datafusion_err!(
                    "there is no calendar version '{id}'; there are {there} (calendar_known_at(name, at) finds one)"
                )
            })?;
            self.last = Some(found);
        }
        Ok(self.last.map(Arc::as_ref))
    }
}
