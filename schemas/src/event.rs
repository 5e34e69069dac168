//! Events: what is known to have happened to a case. Immutable; everything else is
//! derived from the set of them.

use serde::{Deserialize, Serialize};

use crate::table::{At, Day};

/// What kind of thing happened. Unknown words survive as they are: a new word from
/// a source is not an error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Kind {
    /// The case reached a door.
    Received,
    /// The receiving body registered it.
    Registered,
    /// A body became responsible.
    Assigned,
    /// First substantive public reply.
    FirstResponse,
    /// A reply that does not end the case.
    InterimResponse,
    /// The clock stopped, for a reason.
    Paused,
    /// The clock runs again.
    Resumed,
    /// A due date was set.
    DeadlineSet,
    /// A due date was moved.
    DeadlineExtended,
    /// Responsibility went from one body to another.
    Transferred,
    /// The executor says it is done; control has not confirmed.
    DoneClaimed,
    /// The case was closed with an outcome.
    Closed,
    /// A closed case was opened again.
    Reopened,
    /// The applicant confirmed the result.
    Confirmed,
    /// The applicant rejected the result.
    Rejected,
    /// The applicant withdrew.
    Withdrawn,
    /// The case was found to be part of another.
    Merged,
    /// The case was split off from its parent; without a parent: it went into its children
    /// and is counted there.
    Split,
    /// The source no longer shows the case. Not a close.
    Disappeared,
    /// A head took the case under personal control: `body` is who.
    ControlSet,
    /// Personal control was lifted.
    ControlLifted,
    /// The applicant gave a score.
    Feedback,
    /// The source contradicts itself: `reason` names how. Counted, not corrected.
    Flawed,
    /// Attributes of the case or a part changed, nothing else.
    Updated,
    /// A part reached a stage: `status` is the stage's name.
    Stage,
    /// The same content of a record was delivered again. Carries no news about the case.
    SeenAgain,
    /// A record was set aside; `reason` says why. Belongs to no case.
    SetAside,
    /// A word this version does not know.
    Other(String),
}

impl Kind {
    /// The word used in tables.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Received => "received",
            Self::Registered => "registered",
            Self::Assigned => "assigned",
            Self::FirstResponse => "first_response",
            Self::InterimResponse => "interim_response",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::DeadlineSet => "deadline_set",
            Self::DeadlineExtended => "deadline_extended",
            Self::Transferred => "transferred",
            Self::DoneClaimed => "done_claimed",
            Self::Closed => "closed",
            Self::Reopened => "reopened",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Merged => "merged",
            Self::Split => "split",
            Self::Disappeared => "disappeared",
            Self::ControlSet => "control_set",
            Self::ControlLifted => "control_lifted",
            Self::Feedback => "feedback",
            Self::Flawed => "flawed",
            Self::Updated => "updated",
            Self::Stage => "stage",
            Self::SeenAgain => "seen_again",
            Self::SetAside => "set_aside",
            Self::Other(word) => word,
        }
    }

    /// Whether the event says something about delivery rather than about a case.
    pub fn is_bookkeeping(&self) -> bool {
        matches!(self, Self::SeenAgain | Self::SetAside)
    }
}

const KNOWN: [Kind; 27] = [
    Kind::Received,
    Kind::Registered,
    Kind::Assigned,
    Kind::FirstResponse,
    Kind::InterimResponse,
    Kind::Paused,
    Kind::Resumed,
    Kind::DeadlineSet,
    Kind::DeadlineExtended,
    Kind::Transferred,
    Kind::DoneClaimed,
    Kind::Closed,
    Kind::Reopened,
    Kind::Confirmed,
    Kind::Rejected,
    Kind::Withdrawn,
    Kind::Merged,
    Kind::Split,
    Kind::Disappeared,
    Kind::ControlSet,
    Kind::ControlLifted,
    Kind::Feedback,
    Kind::Flawed,
    Kind::Updated,
    Kind::Stage,
    Kind::SeenAgain,
    Kind::SetAside,
];

impl From<String> for Kind {
    fn from(word: String) -> Self {
        KNOWN.iter().find(|k| k.as_str() == word).cloned().unwrap_or(Self::Other(word))
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().to_owned()
    }
}

impl From<&str> for Kind {
    fn from(word: &str) -> Self {
        Self::from(word.to_owned())
    }
}

/// A word of [`Event::time_rule`]: of the versions of a record that say the same event without
/// a break, the first one's time holds. For sources whose time of an event is overwritten by
/// later edits of something else.
pub const FIRST_OBSERVED: &str = "first_observed";

/// The legal regime of a case. Each case has exactly one; regimes are never added up
/// without saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// A request to the 109 contact centre.
    #[serde(rename = "request_109")]
    Request109,
    /// An incident of 112.
    #[serde(rename = "incident_112")]
    Incident112,
    /// A formal appeal under the Administrative Procedural Code.
    FormalAppeal,
    /// A complaint on an akim's social account. Not a formal appeal.
    SocialAppeal,
    /// A visit to a front office.
    FrontOfficeVisit,
    /// A document taken in.
    Document,
    /// A task assigned to a body.
    Task,
    /// Answered at once; never counted as a solved problem.
    Enquiry,
    /// A call on a line, as telephony tells it. Not a case: only the call board counts it.
    Call,
    /// An akim's own post. Not a case: only activity counts it.
    Post,
}

impl Regime {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request109 => "request_109",
            Self::Incident112 => "incident_112",
            Self::FormalAppeal => "formal_appeal",
            Self::SocialAppeal => "social_appeal",
            Self::FrontOfficeVisit => "front_office_visit",
            Self::Document => "document",
            Self::Task => "task",
            Self::Enquiry => "enquiry",
            Self::Call => "call",
            Self::Post => "post",
        }
    }
}

crate::table! {
    /// One event. Attributes are news only where they are not null: a field missing
    /// from a message is *not* null-ed.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    pub struct Event: "core.events" {
        /// Identity: derived from record, content, kind, part, instant and ordinal.
        pub event_id: String,
        /// `<source>:<case key>`.
        pub case_id: String,
        /// The part of the case it concerns (unit, transaction, recipient, comment).
        pub part_id: Option<String>,
        /// A word of [`Kind`].
        pub kind: String,
        /// When it happened, by the source.
        pub occurred_at: At,
        /// The local day on which it happened, in the source's zone.
        pub occurred_on: Day,
        /// When the source wrote it down, where it says so.
        pub recorded_at: Option<At>,
        /// When we appended the record it came from, once.
        pub appended_at: At,
        /// Name of the source.
        pub source: String,
        /// Legal regime.
        pub regime: Option<String>,
        /// Record the event came from.
        pub record_id: String,
        /// Content of that record ([`crate::record::header::CONTENT`]).
        pub content_id: String,
        /// Where that copy of the record was found (file and row, page and index).
        pub delivery_id: String,
        /// Occurrence number of that record.
        pub occurrence: i32,
        /// The source's own version of the record, where it has one; higher wins.
        pub version: Option<i64>,
        /// Log topic.
        pub topic: String,
        /// Log partition.
        pub partition: i32,
        /// Log offset.
        pub offset: i64,
        /// Ordinal of the event among those of its record.
        pub ordinal: i32,
        /// Current status in the source's words, or the stage's name.
        pub status: Option<String>,
        /// How it ended: `resolved`, `rejected`, `not_ours`, `enquiry`, …
        pub outcome: Option<String>,
        /// Category.
        pub category: Option<String>,
        /// Responsible body (for a transfer: the one it goes to).
        pub body: Option<String>,
        /// Territory code.
        pub territory: Option<String>,
        /// Due instant (of a deadline event).
        pub due_at: Option<At>,
        /// Local day of `due_at`.
        pub due_on: Option<Day>,
        /// `instant` or `date`: how closing is compared with the due date.
        pub due_compare: Option<String>,
        /// On what a deadline or extension rests; who decided.
        pub basis: Option<String>,
        /// Rule of a deadline event, `name` or `name@version`: its term gives the due instant
        /// where none is stated, and limits extensions, redirects and pauses.
        pub rule: Option<String>,
        /// Calendar of that term, where it is not the rule's own: `name`, or `name@version` for
        /// that version alone.
        pub calendar: Option<String>,
        /// Why (pause, transfer, set aside); what is wrong (flawed).
        pub reason: Option<String>,
        /// Which version's time holds: [`FIRST_OBSERVED`]; null: the newest's.
        pub time_rule: Option<String>,
        /// The case this one was merged into or split off from.
        pub parent_case_id: Option<String>,
        /// Applicant's score, 1–5.
        pub score: Option<i32>,
        /// WGS 84 degrees.
        pub longitude: Option<f64>,
        /// WGS 84 degrees.
        pub latitude: Option<f64>,
        /// Anything else worth keeping, a JSON object as text.
        pub attributes: Option<String>,
    }
}
