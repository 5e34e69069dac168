//! Custody: who held the case, from its receipt to its end, without gap or overlap, so
//! that the segments of a case add up to its whole time, exactly.
//!
//! Each body is charged only what it held. Time that no body held (before the first
//! assignment, after a transfer that does not say to whom, between a close and a
//! reopening) has no body: it is the coordination centre's.

use std::collections::BTreeSet;

use ahual_schemas::table::At;
use ahual_schemas::tables::Segment;

/// What happened to the custody of a case, in order of occurrence.
#[derive(Debug, Default)]
pub(super) struct Custody {
    marks: Vec<(At, Mark)>,
}

#[derive(Debug)]
enum Mark {
    /// Held by this body from now on; by none.
    Held(Option<String>),
    /// The clock stopped.
    Paused,
    /// The clock runs again.
    Resumed,
    /// Closed: nobody holds it, unless it goes on.
    Closed,
    /// Goes on with this body, or with the last one.
    Reopened(Option<String>),
}

/// What custody comes to.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) segments: Vec<Segment>,
    /// Time paused, in pauses that are over.
    pub(super) paused_us: i64,
    /// Start of the pause that lasts.
    pub(super) paused_since_at: Option<At>,
    /// How often it went from one body to another.
    pub(super) transfers: i32,
    /// How often it came back to a body that had given it away.
    pub(super) bounces: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Running,
    Paused,
    Closed,
}

impl Clock {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
}

impl Custody {
    /// A body became responsible. An event that names none leaves the holder.
    pub(super) fn assigned(&mut self, at: At, body: Option<&String>) {
        if let Some(body) = body {
            self.marks.push((at, Mark::Held(Some(body.clone()))));
        }
    }

    /// It went to another body, or to one that is not named.
    pub(super) fn transferred(&mut self, at: At, body: Option<&String>) {
        self.marks.push((at, Mark::Held(body.cloned())));
    }

    pub(super) fn paused(&mut self, at: At) {
        self.marks.push((at, Mark::Paused));
    }

    pub(super) fn resumed(&mut self, at: At) {
        self.marks.push((at, Mark::Resumed));
    }

    pub(super) fn closed(&mut self, at: At) {
        self.marks.push((at, Mark::Closed));
    }

    pub(super) fn reopened(&mut self, at: At, body: Option<&String>) {
        self.marks.push((at, Mark::Reopened(body.cloned())));
    }

    /// The custody of a case received at `received_at` (at the first mark where nobody says
    /// so) that ended at `ended_at`, or lasts. `blank` is a segment of the case.
    pub(super) fn finish(self, received_at: Option<At>, ended_at: Option<At>, blank: &Segment) -> Held {
        let Some(start) = received_at.or_else(|| self.marks.first().map(|(at, _)| *at)) else {
            return Held::default();
        };
        let mut walk = Walk {
            blank,
            start,
            from_at: start,
            holder: None,
            last_body: None,
            clock: Clock::Running,
            paused_at: None,
            held_before: BTreeSet::new(),
            held: Held::default(),
        };
        for (at, mark) in self.marks {
            if ended_at.is_some_and(|end| at >= end) {
                break;
            }
            walk.take(at, mark);
        }
        walk.finish(ended_at)
    }
}

struct Walk<'a> {
    blank: &'a Segment,
    start: At,
    from_at: At,
    holder: Option<String>,
    last_body: Option<String>,
    clock: Clock,
    paused_at: Option<At>,
    held_before: BTreeSet<String>,
    held: Held,
}

impl Walk<'_> {
    fn take(&mut self, at: At, mark: Mark) {
        let at = at.max(self.start);
        let (holder, clock) = match mark {
            Mark::Held(holder) if self.clock == Clock::Closed => (holder, Clock::Running),
            Mark::Held(holder) => (holder, self.clock),
            Mark::Paused if self.clock == Clock::Running => (self.holder.clone(), Clock::Paused),
            Mark::Resumed if self.clock == Clock::Paused => (self.holder.clone(), Clock::Running),
            Mark::Closed => (None, Clock::Closed),
            Mark::Reopened(body) => (body.or_else(|| self.last_body.clone()), Clock::Running),
            Mark::Paused | Mark::Resumed => return,
        };
        if holder != self.holder || clock != self.clock {
            self.cut(at);
        }
        if clock == Clock::Paused {
            self.paused_at.get_or_insert(at);
        } else if let Some(since) = self.paused_at.take() {
            self.held.paused_us += at.since(since);
        }
        if let Some(body) = &holder
            && self.last_body.as_ref() != Some(body)
        {
            self.held.transfers += i32::from(self.last_body.is_some());
            self.held.bounces += i32::from(!self.held_before.insert(body.clone()));
            self.last_body = Some(body.clone());
        }
        self.holder = holder;
        self.clock = clock;
    }

    /// Ends the current segment.
    fn cut(&mut self, at: At) {
        if at > self.from_at {
            self.push(Some(at));
            self.from_at = at;
        }
    }

    fn push(&mut self, to_at: Option<At>) {
        let ordinal = i32::try_from(self.held.segments.len()).unwrap_or(i32::MAX);
        self.held.segments.push(Segment {
            ordinal,
            body: self.holder.clone(),
            clock: self.clock.as_str().to_owned(),
            from_at: self.from_at,
            to_at,
            ..self.blank.clone()
        });
    }

    fn finish(mut self, ended_at: Option<At>) -> Held {
        match ended_at {
            Some(end) => {
                self.cut(end);
                if let Some(since) = self.paused_at.take() {
                    self.held.paused_us += end.since(since).max(0);
                }
            }
            None => {
                self.push(None);
                self.held.paused_since_at = self.paused_at;
            }
        }
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Segment {
        Segment {
            case_id: "door:1".to_owned(),
            source: "door".to_owned(),
            ordinal: 0,
            body: None,
            clock: String::new(),
            from_at: At(0),
            to_at: None,
            folded_version: 0,
        }
    }

    fn told(held: &Held) -> Vec<(&str, &str, i64, Option<i64>)> {
        let tell = |s: &Segment| s.to_at.map(|at| at.0);
        held.segments
            .iter()
            .map(|s| (s.body.as_deref().unwrap_or("-"), s.clock.as_str(), s.from_at.0, tell(s)))
            .collect()
    }

    #[test]
    fn each_body_is_charged_what_it_held_and_the_centre_the_rest() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let mut custody = Custody::default();
        custody.assigned(At(10), Some(&a));
        custody.transferred(At(30), Some(&b));
        custody.transferred(At(40), None);
        custody.transferred(At(50), Some(&a));
        custody.closed(At(90));
        let held = custody.finish(Some(At(0)), Some(At(90)), &blank());
        let run = |body, from, to| (body, "running", from, Some(to));
        assert_eq!(
            told(&held),
            [run("-", 0, 10), run("a", 10, 30), run("b", 30, 40), run("-", 40, 50), run("a", 50, 90)]
        );
        assert_eq!((held.transfers, held.bounces), (2, 1), "to b, and back to a");
    }

    #[test]
    fn a_reopened_case_is_nobodys_while_closed_and_goes_back_to_who_had_it() {
        let a = "a".to_owned();
        let mut custody = Custody::default();
        custody.assigned(At(0), Some(&a));
        custody.closed(At(10));
        custody.reopened(At(25), None);
        custody.closed(At(40));
        let held = custody.finish(Some(At(0)), Some(At(40)), &blank());
        assert_eq!(
            told(&held),
            [("a", "running", 0, Some(10)), ("-", "closed", 10, Some(25)), ("a", "running", 25, Some(40))]
        );
        assert_eq!(held.bounces, 0, "it came back to nobody else's hands");
    }

    #[test]
    fn pauses_merge_and_what_comes_after_the_end_is_not_charged() {
        let a = "a".to_owned();
        let mut custody = Custody::default();
        custody.assigned(At(-5), Some(&a));
        custody.paused(At(10));
        custody.paused(At(12));
        custody.resumed(At(20));
        custody.paused(At(30));
        custody.assigned(At(70), Some(&"late paperwork".to_owned()));
        let held = custody.finish(Some(At(0)), Some(At(50)), &blank());
        assert_eq!(held.paused_us, 30);
        assert_eq!(told(&held).last(), Some(&("a", "paused", 30, Some(50))));
        assert_eq!(held.segments.iter().filter_map(|s| Some(s.to_at?.since(s.from_at))).sum::<i64>(), 50);
    }

    #[test]
    fn a_pause_that_lasts_is_told_by_its_start() {
        let mut custody = Custody::default();
        custody.paused(At(3));
        custody.resumed(At(4));
        custody.paused(At(7));
        custody.assigned(At(9), Some(&"a".to_owned()));
        let held = custody.finish(Some(At(0)), None, &blank());
        assert_eq!((held.paused_us, held.paused_since_at), (1, Some(At(7))));
        assert_eq!(told(&held).last(), Some(&("a", "paused", 9, None)));
    }
}
