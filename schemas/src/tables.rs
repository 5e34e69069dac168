//! Derived tables: what the fold makes of events. Each row carries `folded_version`,
//! the version of `core.events` it has folded.

use serde::{Deserialize, Serialize};

use crate::table::{At, Day};

crate::table! {
    /// The current state of a case.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    pub struct Case: "core.cases" {
        /// `<source>:<case key>`.
        pub case_id: String,
        /// Name of the source.
        pub source: String,
        /// Legal regime.
        pub regime: Option<String>,
        /// Status in the source's words.
        pub status: Option<String>,
        /// `open`, `closed`, `withdrawn`, `merged`, or `split` (gone into its children).
        pub state: String,
        /// How it ended, where it has.
        pub outcome: Option<String>,
        /// Category.
        pub category: Option<String>,
        /// Responsible body.
        pub body: Option<String>,
        /// Territory code.
        pub territory: Option<String>,
        /// When it was received; null where no event says so.
        pub received_at: Option<At>,
        /// Local day of `received_at`.
        pub received_on: Option<Day>,
        /// First substantive public reply.
        pub first_response_at: Option<At>,
        /// First reply that did not end it.
        pub interim_response_at: Option<At>,
        /// Due instant in force.
        pub due_at: Option<At>,
        /// Local day of `due_at`.
        pub due_on: Option<Day>,
        /// First due instant set.
        pub original_due_at: Option<At>,
        /// Local day of `original_due_at`.
        pub original_due_on: Option<Day>,
        /// `instant` or `date`.
        pub due_compare: Option<String>,
        /// Last time the executor said it was done.
        pub done_claimed_at: Option<At>,
        /// First close.
        pub first_closed_at: Option<At>,
        /// Local day of `first_closed_at`.
        pub first_closed_on: Option<Day>,
        /// Last close, where the case is closed now.
        pub closed_at: Option<At>,
        /// Local day of `closed_at`.
        pub closed_on: Option<Day>,
        /// When it ended, however it did; null while it is open.
        pub ended_at: Option<At>,
        /// How often it was reopened.
        pub reopened: i32,
        /// First reopening.
        pub first_reopened_at: Option<At>,
        /// How often it went from one body to another.
        pub transfers: i32,
        /// How often it came back to a body that had given it away.
        pub bounces: i32,
        /// Whether a due date was extended while it was still in force.
        pub extended: bool,
        /// Time the clock was paused, microseconds, overlaps merged, in pauses that are over.
        pub paused_us: i64,
        /// Since when the clock has been paused; null while it runs and when the case has ended.
        pub paused_since_at: Option<At>,
        /// The case this one was merged into or split off from.
        pub parent_case_id: Option<String>,
        /// Since when the source no longer shows it. It is not closed by that.
        pub disappeared_at: Option<At>,
        /// Who has it under personal control.
        pub controlled_by: Option<String>,
        /// When they took it.
        pub controlled_at: Option<At>,
        /// What the applicant last said of the result: `confirmed` or `rejected`.
        pub verdict: Option<String>,
        /// Applicant's last score.
        pub score: Option<i32>,
        /// WGS 84 degrees.
        pub longitude: Option<f64>,
        /// WGS 84 degrees.
        pub latitude: Option<f64>,
        /// What is wrong with it (`closed_before_received`, `no_receipt`, …), sorted, comma-separated.
        pub flaws: Option<String>,
        /// Latest attributes, merged, a JSON object as text.
        pub attributes: Option<String>,
        /// How many events made this row.
        pub events: i32,
        /// When we first knew of it.
        pub first_appended_at: At,
        /// When we last learnt something about it.
        pub last_appended_at: At,
        /// Version of `core.events` folded.
        pub folded_version: i64,
    }
}

crate::table! {
    /// Who held a case, from when to when. The segments of a case follow each other without
    /// gap or overlap from its receipt to its end, so their lengths add up to its whole time.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Segment: "core.segments" {
        /// Case.
        pub case_id: String,
        /// Name of the source.
        pub source: String,
        /// Ordinal, from 0.
        pub ordinal: i32,
        /// Holding body; null is time no body held, charged to the coordination centre.
        pub body: Option<String>,
        /// `running`, `paused`, or `closed` (between a close and a reopening).
        pub clock: String,
        /// Start.
        pub from_at: At,
        /// End; null where it lasts, which only the last one can.
        pub to_at: Option<At>,
        /// Version of `core.events` folded.
        pub folded_version: i64,
    }
}

crate::table! {
    /// Every due date ever in force.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Deadline: "core.deadlines" {
        /// Case.
        pub case_id: String,
        /// Name of the source.
        pub source: String,
        /// Ordinal, from 0 (the original).
        pub ordinal: i32,
        /// Due instant.
        pub due_at: At,
        /// Local day of `due_at`.
        pub due_on: Option<Day>,
        /// When it was set.
        pub set_at: At,
        /// Who set it.
        pub body: Option<String>,
        /// On what it rests: a decision, or who says so.
        pub basis: Option<String>,
        /// Rule it follows from or is limited by, `name@version`.
        pub rule: Option<String>,
        /// Calendar version it was computed by, `name@version`; null where it was stated.
        pub calendar: Option<String>,
        /// What silence until it expires amounts to, by its rule: `deemed_refused`. An outcome,
        /// not a close.
        pub on_expiry: Option<String>,
        /// Whether it counts; an extension after expiry does not.
        pub valid: bool,
        /// Why it does not count.
        pub invalid_reason: Option<String>,
        /// Version of `core.events` folded.
        pub folded_version: i64,
    }
}

crate::table! {
    /// A part of a case with stages of its own: a unit on an incident, a ticket of a visit,
    /// a call, a reply in a thread, one of several recipients.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Part: "core.parts" {
        /// Case.
        pub case_id: String,
        /// Name of the source.
        pub source: String,
        /// Part.
        pub part_id: String,
        /// Category of the part, else of the case. Of a ticket: its class; of a call: its local hour.
        pub category: Option<String>,
        /// Body the part belongs to, else of the case: a hall, a line, an account.
        pub body: Option<String>,
        /// Territory code of the case.
        pub territory: Option<String>,
        /// How the part ended (`served`, `no_show`, `abandoned`, …), or what it is (`official_reply`).
        pub outcome: Option<String>,
        /// Its norm: the instant by which its stage was to be reached.
        pub due_at: Option<At>,
        /// Received: the call came in, the ticket was taken, the reply was written.
        pub received_at: Option<At>,
        /// Local day of `received_at`.
        pub received_on: Option<Day>,
        /// Call answered and entered.
        pub entered_at: Option<At>,
        /// Unit dispatched.
        pub dispatched_at: Option<At>,
        /// Unit on its way.
        pub en_route_at: Option<At>,
        /// Unit on scene.
        pub on_scene_at: Option<At>,
        /// Transport begun.
        pub transport_at: Option<At>,
        /// Unit free again.
        pub available_at: Option<At>,
        /// Whether this part was the first of its case on scene.
        pub first_on_scene: bool,
        /// The slot it was booked for.
        pub slot_at: Option<At>,
        /// Put into a queue.
        pub queued_at: Option<At>,
        /// Called to the counter, the last time.
        pub called_at: Option<At>,
        /// Answered by a person.
        pub answered_at: Option<At>,
        /// Over.
        pub ended_at: Option<At>,
        /// Version of `core.events` folded.
        pub folded_version: i64,
    }
}

crate::table! {
    /// The delivery ledger: per source and day, pulled = stored + set aside + duplicates.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LedgerRow: "ops.ledger" {
        /// Name of the source.
        pub source: String,
        /// Day on which the record was appended, in the deployment's zone.
        pub day: Day,
        /// Distinct deliveries.
        pub pulled: i64,
        /// Distinct contents of records that became events.
        pub stored: i64,
        /// Deliveries set aside with a reason.
        pub set_aside: i64,
        /// Deliveries whose record and content had been delivered before.
        pub duplicates: i64,
        /// Of those stored, exact repeats kept because identity is content + occurrence.
        pub repeats: i64,
        /// Version of `core.events` folded.
        pub folded_version: i64,
    }
}

crate::table! {
    /// What an update added to one cell of one metric: the figures as they are kept. A
    /// cell's totals are the sum of its rows, so that an update only appends; compaction
    /// sums rows up. Only what no longer changes with the moment of reading is kept.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct CellRow: "ops.kept_cells" {
        /// Metric.
        pub metric: String,
        /// Name of the source.
        pub source: String,
        /// Responsible body.
        pub body: Option<String>,
        /// Category.
        pub category: Option<String>,
        /// Territory code.
        pub territory: Option<String>,
        /// Local day.
        pub day: Option<Day>,
        /// Duration in microseconds, for metrics of time.
        pub duration_us: Option<i64>,
        /// Whether the duration ended (`false`: censored).
        pub observed: bool,
        /// Added to the numerator.
        pub numerator: i64,
        /// Added to the denominator.
        pub denominator: i64,
        /// Contributions added.
        pub n: i64,
        /// Version of `core.events` folded.
        pub folded_version: i64,
    }
}

crate::table! {
    /// A raw record in the lake: sealed bytes and where they came from.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub struct RawRow: "raw.records" {
        /// Name of the source.
        pub source: String,
        /// Record identity; null for what was set aside at the door.
        pub record_id: Option<String>,
        /// Where the copy was found.
        pub delivery: String,
        /// Log topic.
        pub topic: String,
        /// Log partition.
        pub partition: i32,
        /// Log offset.
        pub offset: i64,
        /// Append stamp.
        pub appended_at: At,
        /// How `payload` is sealed.
        pub sealing: String,
        /// Media type before sealing.
        pub content_type: String,
        /// Sealed bytes.
        pub payload: Vec<u8>,
    }
}

impl LedgerRow {
    /// The row of these [`LedgerRow::counts`].
    pub fn of(source: String, day: Day, counts: [i64; 5], folded_version: i64) -> Self {
        let [pulled, stored, set_aside, duplicates, repeats] = counts;
        Self { source, day, pulled, stored, set_aside, duplicates, repeats, folded_version }
    }

    /// Pulled, stored, set aside, duplicates, repeats.
    pub fn counts(&self) -> [i64; 5] {
        [self.pulled, self.stored, self.set_aside, self.duplicates, self.repeats]
    }
}
