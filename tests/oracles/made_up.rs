//! A made-up month of telephony, queues, akims' accounts and formal appeals: what no public file
//! at hand has. Seeded, with the edge cases each metric's header names.

use serde_json::{Map, Value, json};

/// Seconds since 2026-03-01T00:00:00Z.
const START: i64 = 1_772_323_200;
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

struct Story {
    state: u64,
    lines: Vec<String>,
}

/// Events as JSON lines.
pub(crate) fn events(seed: u64) -> String {
    let mut story = Story { state: seed, lines: Vec::new() };
    (0..900).for_each(|n| story.call(n));
    (0..700).for_each(|n| story.visit(n));
    (0..400).for_each(|n| story.thread(n));
    (0..120).for_each(|n| story.post(n));
    (0..500).for_each(|n| story.appeal(n));
    story.lines.join("\n")
}

impl Story {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    fn say(&mut self, case: &str, regime: &str, kind: &str, at: i64, more: Value) {
        let mut event = Map::new();
        event.insert("id".into(), json!(format!("{case}/{}", self.lines.len())));
        event.insert("case".into(), json!(case));
        event.insert("regime".into(), json!(regime));
        event.insert("kind".into(), json!(kind));
        event.insert("at".into(), json!(instant(at)));
        event.extend(more.as_object().cloned().unwrap_or_default());
        self.lines.push(Value::Object(event).to_string());
    }

    /// A call: answered, given up, called back, passed on, or still ringing.
    fn call(&mut self, n: i64) {
        let (case, line) = (format!("call-{n}"), ["109", "112"][usize::from(self.chance(30))]);
        let at = self.below(30 * DAY);
        let hour = format!("{:02}", (at / HOUR + 5) % 24);
        let about = json!({ "part": "call", "status": "received", "body": line, "category": hour });
        self.say(&case, "call", "received", at, json!({ "body": line, "category": hour }));
        self.say(&case, "call", "stage", at, about);
        if self.chance(80) {
            self.say(&case, "call", "deadline_set", at, json!({ "part": "call", "due": instant(at + 20) }));
        }
        if self.chance(60) {
            self.say(&case, "call", "stage", at + 1, json!({ "part": "call", "status": "queued" }));
        }
        let wait = self.below(90);
        let answered = self.chance(70);
        if answered {
            self.say(&case, "call", "stage", at + wait, json!({ "part": "call", "status": "answered" }));
        }
        if self.chance(97) {
            let outcome = match (answered, self.below(4)) {
                (true, 0) => "transferred",
                (true, _) => "answered",
                (false, 0) => "called_back",
                (false, _) => "abandoned",
            };
            let over = at + wait + if answered { 30 + self.below(600) } else { 0 };
            self.say(&case, "call", "stage", over, json!({ "part": "call", "status": "ended", "outcome": outcome }));
            self.say(&case, "call", "closed", over, json!({ "outcome": outcome }));
        }
    }

    /// A visit of one or two tickets.
    fn visit(&mut self, n: i64) {
        let (case, hall) = (format!("visit-{n}"), format!("hall {}", self.below(3)));
        let at = self.below(30) * DAY + 4 * HOUR + self.below(8 * HOUR);
        let regime = "front_office_visit";
        self.say(&case, regime, "received", at, json!({ "body": hall }));
        let mut over = Some(at);
        for ticket in 0..=i64::from(self.chance(20)) {
            let class = ["ordinary", "priority", "accessible", "self_service"][usize::try_from(self.below(4)).unwrap()];
            let part = format!("A{ticket}");
            let from = at + ticket * 40 * MINUTE;
            self.say(&case, regime, "stage", from, json!({ "part": part, "status": "received", "category": class }));
            let mut wait_from = from;
            if self.chance(15) {
                let slot = from + self.below(HOUR) - 20 * MINUTE;
                wait_from = from.max(slot);
                let booked = json!({ "part": part, "status": "booked", "due": instant(slot) });
                self.say(&case, regime, "stage", from - DAY, booked);
            }
            if self.chance(70) {
                let norm = json!({ "part": part, "due": instant(wait_from + 15 * MINUTE) });
                self.say(&case, regime, "deadline_set", from, norm);
            }
            let called = wait_from + self.below(40 * MINUTE);
            let ended = match self.below(12) {
                // Left, or the hall closed on them; or forgot to leave.
                0 => Some((called, "abandoned")),
                1 => Some((called, "hall_closed")),
                2 => None,
                3 => {
                    // Called twice; the last call counts.
                    self.say(&case, regime, "stage", called, json!({ "part": part, "status": "called" }));
                    self.say(&case, regime, "stage", called + MINUTE, json!({ "part": part, "status": "called" }));
                    Some((called + 3 * MINUTE, "no_show"))
                }
                _ => {
                    self.say(&case, regime, "stage", called, json!({ "part": part, "status": "called" }));
                    Some((called + 2 * MINUTE + self.below(20 * MINUTE), "served"))
                }
            };
            if let Some((ended, outcome)) = ended {
                self.say(&case, regime, "stage", ended, json!({ "part": part, "status": "ended", "outcome": outcome }));
                over = over.map(|over| over.max(ended));
            } else {
                over = None;
            }
        }
        // Some visits are never closed, and some are though a ticket is not.
        match over {
            Some(over) if self.chance(95) => self.say(&case, regime, "closed", over, json!({ "outcome": "resolved" })),
            None if self.chance(30) => self.say(&case, regime, "closed", at + 5 * HOUR, json!({})),
            _ => {}
        }
    }

    /// A thread under an akim's account.
    fn thread(&mut self, n: i64) {
        let (case, holder, regime) = (format!("thread-{n}"), format!("account {}", self.below(4)), "social_appeal");
        let at = self.below(30 * DAY);
        let applicant = format!("+7 000 {}", self.below(60));
        let topic = format!("topic {}", self.below(3));
        self.say(&case, regime, "received", at, json!({ "body": holder, "category": topic, "applicant": applicant }));
        if self.chance(90) {
            self.say(&case, regime, "deadline_set", at, json!({ "due": instant(at + 2 * DAY) }));
        }
        if self.chance(15) {
            // To direct messages: a reply in between.
            self.say(&case, regime, "interim_response", at + HOUR, json!({}));
        }
        if self.chance(65) {
            let reply = at + self.below(4 * DAY);
            self.say(&case, regime, "first_response", reply, json!({}));
            let said = json!({ "part": "reply 1", "status": "received", "outcome": "official_reply", "body": holder });
            self.say(&case, regime, "stage", reply, said);
            if self.chance(30) {
                let more = json!({ "part": "comment 2", "status": "received", "outcome": "comment" });
                self.say(&case, regime, "stage", reply + HOUR, more);
            }
        }
        if self.chance(50) {
            let outcome = ["resolved", "spam", "not_ours"][usize::try_from(self.below(3)).unwrap()];
            self.say(&case, regime, "closed", at + 5 * DAY, json!({ "outcome": outcome }));
        }
    }

    /// An account's own post.
    fn post(&mut self, n: i64) {
        let (case, holder) = (format!("post-{n}"), format!("account {}", self.below(4)));
        let at = self.below(30 * DAY);
        self.say(&case, "post", "received", at, json!({ "body": holder }));
        if self.chance(40) {
            let said = json!({ "part": "reply", "status": "received", "outcome": "official_reply", "body": holder });
            self.say(&case, "post", "stage", at + HOUR, said);
        }
    }

    /// A formal appeal and all that can become of it.
    fn appeal(&mut self, n: i64) {
        let (case, regime) = (format!("appeal-{n}"), if self.chance(70) { "formal_appeal" } else { "request_109" });
        let at = self.below(28 * DAY);
        let topic = ["roads", "heating", "land"][usize::try_from(self.below(3)).unwrap()];
        let applicant = self.chance(80).then(|| format!("+7 000 {}", self.below(60)));
        self.say(&case, regime, "received", at, json!({ "category": topic, "applicant": applicant }));
        let due = at + self.below(20 * DAY) - DAY / 2;
        if self.chance(90) {
            self.say(&case, regime, "deadline_set", at, json!({ "due": instant(due) }));
        }
        let mut now = at;
        for _ in 0..self.below(5) {
            now += 1 + self.below(2 * DAY);
            let body = format!("body {}", self.below(4));
            match self.below(7) {
                0 => self.say(&case, regime, "transferred", now, json!({})),
                1 | 2 => self.say(&case, regime, "transferred", now, json!({ "body": body })),
                3 => {
                    self.say(&case, regime, "paused", now, json!({ "reason": "expert opinion" }));
                    if self.chance(70) {
                        self.say(&case, regime, "resumed", now + DAY, json!({}));
                    }
                }
                4 => {
                    let extended = json!({ "due": instant(due + 10 * DAY), "recorded_at": instant(now + HOUR) });
                    self.say(&case, regime, "deadline_extended", now, extended);
                }
                _ => self.say(&case, regime, "assigned", now, json!({ "body": body })),
            }
        }
        if self.chance(20) {
            self.say(&case, regime, "control_set", now, json!({ "body": "akim 7" }));
            if self.chance(30) {
                self.say(&case, regime, "control_lifted", now + DAY, json!({}));
            }
        }
        now += self.below(5 * DAY);
        match self.below(12) {
            0 => self.say(&case, regime, "withdrawn", now, json!({ "outcome": "withdrawn" })),
            1 => self.say(&case, regime, "merged", now, json!({ "parent": "appeal-0" })),
            2 => self.say(&case, regime, "split", now, json!({})),
            3 => self.say(&case, regime, "disappeared", now, json!({})),
            4 => self.say(&case, regime, "flawed", now, json!({ "reason": "close_date_without_close" })),
            5 | 6 => {}
            _ => {
                let outcome = ["resolved", "rejected", "not_ours"][usize::try_from(self.below(3)).unwrap()];
                self.say(&case, regime, "closed", now, json!({ "outcome": outcome }));
                if self.chance(25) {
                    let again = now + self.below(40 * DAY);
                    self.say(&case, regime, "reopened", again, json!({}));
                    let finally = again + self.below(3 * DAY);
                    self.say(&case, regime, "closed", finally, json!({ "outcome": "resolved" }));
                }
                if self.chance(40) {
                    let score = 1 + self.below(5);
                    self.say(&case, regime, "feedback", now + HOUR, json!({ "score": score.to_string() }));
                }
            }
        }
    }
}

fn instant(second: i64) -> String {
    chrono::DateTime::from_timestamp(START + second, 0).unwrap().to_rfc3339()
}
