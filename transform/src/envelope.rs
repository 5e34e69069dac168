//! From a stored record to rows: what its headers say, joined with what its mapping made.

use ahual_schemas::StoredRecord;
use ahual_schemas::event::{Event, Kind};
use ahual_schemas::record::{self, header};
use ahual_schemas::table::{At, Day};
use ahual_schemas::tables::RawRow;

use crate::mapping::{MappedEvent, Outcome};

/// What a record's headers say.
pub(crate) struct Envelope<'a> {
    pub(crate) record: &'a StoredRecord,
    pub(crate) source: &'a str,
    pub(crate) record_id: &'a str,
    pub(crate) case_key: &'a str,
    pub(crate) content_id: &'a str,
    pub(crate) delivery: &'a str,
    pub(crate) occurrence: i32,
    pub(crate) reason: Option<&'a str>,
    pub(crate) case_id: String,
}

impl<'a> Envelope<'a> {
    pub(crate) fn of(record: &'a StoredRecord) -> Self {
        let text = |name| record.header(name).unwrap_or_default();
        let delivery = text(header::DELIVERY);
        let set_aside = text(header::TYPE) == record::SET_ASIDE_TYPE;
        let source = text(header::SOURCE);
        let case_id =
            if set_aside { format!("{source}:!{delivery}") } else { format!("{source}:{}", text(header::SUBJECT)) };
        Self {
            record,
            source,
            record_id: if set_aside { delivery } else { text(header::RECORD) },
            case_key: text(header::SUBJECT),
            content_id: text(header::CONTENT),
            delivery,
            occurrence: text(header::OCCURRENCE).parse().unwrap_or(1),
            reason: set_aside.then(|| text(header::REASON)),
            case_id,
        }
    }

    pub(crate) fn appended_at(&self) -> At {
        At(self.record.appended_at_ms.saturating_mul(1000))
    }

    pub(crate) fn event(&self, kind: Kind, reason: Option<String>) -> Event {
        let appended_at = self.appended_at();
        let days = i32::try_from(appended_at.0.div_euclid(86_400_000_000)).unwrap_or_default();
        Event {
            case_id: self.case_id.clone(),
            kind: kind.as_str().to_owned(),
            occurred_at: appended_at,
            occurred_on: Day(days),
            appended_at,
            source: self.source.to_owned(),
            record_id: self.record_id.to_owned(),
            content_id: self.content_id.to_owned(),
            delivery_id: self.delivery.to_owned(),
            occurrence: self.occurrence,
            topic: self.record.at.topic.clone(),
            partition: i32::try_from(self.record.at.partition).unwrap_or(i32::MAX),
            offset: i64::try_from(self.record.offset).unwrap_or(i64::MAX),
            reason,
            ..Event::default()
        }
        .identified()
    }

    pub(crate) fn events(&self, outcome: Outcome, regime: &str) -> Vec<Event> {
        let mapped = match outcome {
            Err(reason) => return vec![self.event(Kind::SetAside, Some(reason))],
            Ok(mapped) => mapped,
        };
        mapped
            .into_iter()
            .enumerate()
            .map(|(ordinal, mut m)| {
                let mut text = |name: &'static str| m.text.remove(name);
                let parent =
                    text("parent_case_id").map(|p| if p.contains(':') { p } else { format!("{}:{p}", self.source) });
                Event {
                    ordinal: i32::try_from(ordinal).unwrap_or(i32::MAX),
                    status: text("status"),
                    outcome: text("outcome"),
                    category: text("category"),
                    body: text("body"),
                    territory: text("territory"),
                    due_compare: text("due_compare"),
                    basis: text("basis"),
                    rule: text("rule"),
                    calendar: text("calendar"),
                    reason: text("reason"),
                    time_rule: text("time_rule"),
                    attributes: text("attributes"),
                    regime: Some(text("regime").unwrap_or_else(|| regime.to_owned())),
                    parent_case_id: parent,
                    ..self.mapped(&m)
                }
                .identified()
            })
            .collect()
    }

    fn mapped(&self, m: &MappedEvent) -> Event {
        Event {
            part_id: m.part_id.clone(),
            kind: m.kind.clone(),
            occurred_at: At(m.occurred_at),
            occurred_on: Day(m.occurred_on),
            recorded_at: m.recorded_at.map(At),
            version: m.version,
            due_at: m.due_at.map(At),
            due_on: m.due_on.map(Day),
            score: m.score,
            longitude: m.longitude,
            latitude: m.latitude,
            ..self.event(Kind::Updated, None)
        }
    }
}

trait Identified {
    fn identified(self) -> Self;
}

impl Identified for Event {
    /// Sets `event_id`: the same record content gives the same event the same name.
    fn identified(mut self) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.source, &self.record_id, &self.content_id, &self.kind] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        hasher.update(&self.ordinal.to_be_bytes());
        if Kind::from(self.kind.as_str()).is_bookkeeping() {
            hasher.update(self.delivery_id.as_bytes());
        }
        self.event_id = hasher.finalize().to_hex()[..32].to_owned();
        self
    }
}

pub(crate) fn raw_row(record: &StoredRecord) -> RawRow {
    let text = |name| record.header(name).unwrap_or_default().to_owned();
    RawRow {
        source: text(header::SOURCE),
        record_id: record.header(header::RECORD).map(str::to_owned),
        delivery: text(header::DELIVERY),
        topic: record.at.topic.clone(),
        partition: i32::try_from(record.at.partition).unwrap_or(i32::MAX),
        offset: i64::try_from(record.offset).unwrap_or(i64::MAX),
        appended_at: At(record.appended_at_ms.saturating_mul(1000)),
        sealing: text(header::SEALING),
        content_type: text(header::CONTENT_TYPE),
        payload: record.payload.to_vec(),
    }
}
