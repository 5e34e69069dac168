//! Deadlines: every due date ever set, the one in force, and the rule behind them.
//!
//! An event gives a due date, or names a rule, and the due date follows from it by the
//! calendar version known at that time. A version that becomes known later moves the due
//! date of a case that is still open and whose term has not run out: a row of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahual_schemas::event::{Event, Regime};
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::{Case, Deadline};

use super::FoldRule;
use crate::clocks::{Calendar, Counting, Rule, due, latest_extension};
use crate::functions::local_day;
use crate::reference::Reference;

/// The deadlines of one case.
pub(super) struct Terms<'a> {
    reference: &'a Reference,
    /// What is known of calendars by then; all of it where absent.
    horizon: Option<At>,
    rows: Vec<Deadline>,
    /// The rule that limits extensions, redirects and pauses.
    rule: Option<&'a Rule>,
    /// The term that still follows calendars.
    running: Option<Running<'a>>,
    /// Due day of the last term that was no extension.
    term_due_on: Option<Day>,
    /// Since when the body that has the case has had it.
    held_since: Option<At>,
    paused_since: Option<At>,
    flaws: BTreeSet<&'static str>,
}

/// A term by rule.
struct Running<'a> {
    rule: &'a Rule,
    start: At,
    extension: bool,
    body: Option<String>,
    basis: Option<String>,
    /// Versions of its calendar, in the order in which they became known.
    versions: &'a [Arc<Calendar>],
    /// How many of them have been reckoned with.
    known: usize,
    /// Stretches in which the clock stood.
    stood: Vec<(At, At)>,
    /// Whether it has given a due date.
    answered: bool,
}

/// A due date about to be set.
struct Proposal<'a> {
    due_at: At,
    due_on: Option<Day>,
    due_compare: Option<&'a str>,
    set_at: At,
    body: Option<&'a String>,
    basis: Option<&'a String>,
    rule: Option<&'a str>,
    calendar: Option<&'a str>,
    extension: bool,
}

impl<'a> Terms<'a> {
    pub(super) fn new(rule: &FoldRule<'a>) -> Self {
        Self {
            reference: rule.reference,
            horizon: [rule.as_of, rule.known_at].into_iter().flatten().min(),
            rows: Vec::new(),
            rule: None,
            running: None,
            term_due_on: None,
            held_since: None,
            paused_since: None,
            flaws: BTreeSet::new(),
        }
    }

    /// Reckons with the calendar versions that became known by `until`.
    pub(super) fn advance(&mut self, case: &mut Case, until: At) {
        while let Some(running) = &mut self.running {
            let Some(version) = running.versions.get(running.known).filter(|v| v.known_from() <= until) else { return };
            running.known += 1;
            let known_from = version.known_from();
            let run_out = case.due_at.is_some_and(|due| due <= known_from);
            if case.state == "open" && !run_out {
                self.reckon(case, known_from);
            }
        }
    }

    /// Takes a deadline event.
    pub(super) fn take(&mut self, case: &mut Case, event: &Event, at: At, extension: bool) {
        let set_at = event.recorded_at.unwrap_or(at);
        let rule = event.rule.as_deref().and_then(|name| self.find(name, at));
        if event.rule.is_some() && rule.is_none() {
            self.flaws.insert("no_such_rule");
        }
        match (rule, event.due_at) {
            (None, None) => {}
            (Some(rule), None) => self.begin(case, event, rule, at, set_at, extension),
            (rule, Some(due_at)) => self.state(case, event, rule, due_at, set_at, extension),
        }
    }

    /// A due date that the source states.
    fn state(
        &mut self,
        case: &mut Case,
        event: &Event,
        rule: Option<&'a Rule>,
        due_at: At,
        set_at: At,
        extension: bool,
    ) {
        if self.rows.last().is_some_and(|last| last.due_at == due_at && last.basis == event.basis) {
            return;
        }
        if rule.is_some() {
            self.rule = rule;
        }
        let proposal = Proposal {
            due_at,
            due_on: event.due_on,
            due_compare: event.due_compare.as_deref(),
            set_at,
            body: event.body.as_ref(),
            basis: event.basis.as_ref(),
            rule: rule.map(Rule::id),
            calendar: None,
            extension,
        };
        if self.set(case, &proposal) {
            // What was stated does not follow calendars.
            self.running = None;
        }
    }

    /// The case came to a body.
    pub(super) fn received(&mut self, at: At) {
        self.held_since.get_or_insert(at);
    }

    /// A body sent the case on. Later than its rule allows is a flaw.
    pub(super) fn transferred(&mut self, at: At) {
        if let (Some(since), Some(rule)) = (self.held_since, self.rule)
            && let Some(days) = rule.redirect_working_days
            && let Some(calendar) = self.reference.calendars.known_at(&rule.calendar, at)
            && redirected_late(rule, calendar, days, since, at)
        {
            self.flaws.insert("redirected_late");
        }
        self.held_since = Some(at);
    }

    /// Whether the clock may stop: by the rule for listed reasons only, in a formal appeal
    /// without one for none. A pause that does not count is a flaw.
    pub(super) fn paused(&mut self, case: &Case, at: At, reason: Option<&str>) -> bool {
        let permitted = match self.rule {
            Some(rule) => rule.permits_pause(reason),
            None => case.regime.as_deref() != Some(Regime::FormalAppeal.as_str()),
        };
        if permitted {
            self.paused_since.get_or_insert(at);
        } else {
            self.flaws.insert("pause_not_permitted");
        }
        permitted
    }

    /// The clock runs again: a term by rule is longer by what stood.
    pub(super) fn resumed(&mut self, case: &mut Case, at: At) {
        let Some(since) = self.paused_since.take() else { return };
        let Some(running) = &mut self.running else { return };
        let from = since.max(running.start);
        let run_out = case.due_at.is_some_and(|due| due <= from);
        if from < at && !run_out {
            running.stood.push((from, at));
            self.reckon(case, at);
        }
    }

    /// Every due date, and what is wrong.
    pub(super) fn finish(mut self, case: &mut Case) -> (Vec<Deadline>, BTreeSet<&'static str>) {
        self.advance(case, self.horizon.unwrap_or(At(i64::MAX)));
        if self.running.as_ref().is_some_and(|running| !running.answered) {
            self.flaws.insert("calendar_does_not_cover");
        }
        (self.rows, self.flaws)
    }

    /// The version of a rule for what began at `start`: the day is local to its calendar.
    fn find(&self, name: &str, start: At) -> Option<&'a Rule> {
        let Reference { rules, calendars, .. } = self.reference;
        let some = rules.iter().find(|rule| rule.name == name || rule.id() == name)?;
        let zone = calendars.versions(&some.calendar).last()?.zone();
        let day = chrono::DateTime::from_timestamp_micros(start.0)?.with_timezone(&zone).date_naive();
        rules.for_receipt(name, day).map(Arc::as_ref)
    }

    /// A term by rule begins at `start`.
    fn begin(&mut self, case: &mut Case, event: &Event, rule: &'a Rule, start: At, set_at: At, extension: bool) {
        let again = self.running.as_ref().is_some_and(|running| {
            running.rule.id() == rule.id() && running.start == start && running.extension == extension
        });
        if again {
            return;
        }
        let calendars = &self.reference.calendars;
        let named = event.calendar.as_deref().unwrap_or(&rule.calendar);
        let (versions, known) = match calendars.get(named) {
            // One version by name: no other will do.
            Some(one) => (std::slice::from_ref(one), 1),
            None => {
                let versions = calendars.versions(named);
                (versions, versions.iter().take_while(|v| v.known_from() <= set_at).count())
            }
        };
        let running = Running {
            rule,
            start,
            extension,
            body: event.body.clone(),
            basis: event.basis.clone(),
            versions,
            known,
            stood: Vec::new(),
            answered: false,
        };
        let before = (self.running.replace(running), self.rule);
        // An extension is limited by the rule it extends.
        if !extension || self.rule.is_none() {
            self.rule = Some(rule);
        }
        if !self.reckon(case, set_at) && extension {
            // An extension that does not count leaves the term as it was.
            if self.running.as_ref().is_some_and(|running| !running.answered) {
                self.flaws.insert("calendar_does_not_cover");
            }
            (self.running, self.rule) = before;
        }
    }

    /// Sets the due date that the running term has by the newest version known to it.
    /// Returns whether one is in force by it.
    fn reckon(&mut self, case: &mut Case, set_at: At) -> bool {
        let Some(mut running) = self.running.take() else { return false };
        let body = running.body.as_deref().or(case.body.as_deref());
        let version = running.known.checked_sub(1).and_then(|last| running.versions.get(last));
        let answer = version.and_then(|calendar| {
            due(running.start, running.rule, calendar, body, &running.stood).ok().map(|due| (due, calendar))
        });
        let mut in_force = running.answered;
        if let Some((due, calendar)) = answer
            && !(running.answered && case.due_at == Some(due.at))
        {
            running.answered = true;
            let proposal = Proposal {
                due_at: due.at,
                due_on: Some(Day(due.day)),
                due_compare: Some(if running.rule.is_in_days() { "date" } else { "instant" }),
                set_at,
                body: running.body.as_ref(),
                basis: running.basis.as_ref(),
                rule: Some(running.rule.id()),
                calendar: Some(calendar.id()),
                extension: running.extension,
            };
            in_force = self.set(case, &proposal);
        }
        self.running = Some(running);
        in_force
    }

    /// Adds a row. Returns whether it is the due date in force from now on: an extension
    /// that does not count is not.
    fn set(&mut self, case: &mut Case, proposal: &Proposal<'_>) -> bool {
        let invalid_reason = self.invalid(case, proposal);
        let valid = invalid_reason.is_none();
        self.rows.push(Deadline {
            case_id: case.case_id.clone(),
            source: case.source.clone(),
            ordinal: i32::try_from(self.rows.len()).unwrap_or(i32::MAX),
            due_at: proposal.due_at,
            due_on: proposal.due_on,
            set_at: proposal.set_at,
            body: proposal.body.cloned(),
            basis: proposal.basis.cloned(),
            rule: proposal.rule.map(str::to_owned),
            calendar: proposal.calendar.map(str::to_owned),
            on_expiry: self.rule.and_then(|rule| rule.silence.clone()),
            valid,
            invalid_reason,
            folded_version: case.folded_version,
        });
        if proposal.extension && !valid {
            return false;
        }
        if case.original_due_at.is_none() {
            case.original_due_at = Some(proposal.due_at);
            case.original_due_on = proposal.due_on;
        }
        if !proposal.extension {
            self.term_due_on = proposal.due_on;
        }
        case.extended |= proposal.extension;
        case.due_at = Some(proposal.due_at);
        case.due_on = proposal.due_on;
        case.due_compare = proposal.due_compare.map(str::to_owned);
        true
    }

    /// Why a due date does not count.
    fn invalid(&self, case: &Case, proposal: &Proposal<'_>) -> Option<String> {
        if case.received_at.is_some_and(|received| proposal.due_at < received) {
            return Some("due before received".to_owned());
        }
        if !proposal.extension {
            return None;
        }
        if case.due_at.is_some_and(|current| proposal.set_at > current) {
            return Some("set after the deadline had passed".to_owned());
        }
        let limit = self.rule?.extension?;
        let latest = latest_extension(&limit, case.received_on?.0, self.term_due_on?.0)?;
        (proposal.due_on?.0 > latest).then(|| format!("longer than {} months", limit.at_most_months))
    }
}

/// Whether a body that had a case since `since` sent it on too late.
fn redirected_late(rule: &Rule, calendar: &Calendar, days: i32, since: At, at: At) -> bool {
    let local = |at: At| local_day(at.0, calendar.zone());
    let (Some(since), Some(sent)) = (local(since), local(at)) else { return false };
    let first_counts = rule.counting == Counting::DayOfReceipt && calendar.is_working_day(since).unwrap_or(false);
    calendar.add_working_days(since, days - i32::from(first_counts)).is_ok_and(|last| sent > last)
}
