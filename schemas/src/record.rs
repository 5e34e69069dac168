//! A raw record: what a door said, unchanged, and what is known about it before
//! anyone has read it. Headers carry CloudEvents 1.0 names (Kafka binding, `ce_`).

use bytes::Bytes;

use crate::log::{NewRecord, StoredRecord};
use crate::sealing::{Sealer, SealingError};

/// Media type of a record whose payload is one JSON value as the source sent it.
pub const JSON: &str = "application/json";

/// What a connector hands to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Name of the source in the configuration.
    pub source: String,
    /// Identity of the record within its source, stable across deliveries. How it
    /// was found is declared by the profile.
    pub record_id: String,
    /// Key of the case the record belongs to; keys the log.
    pub case_key: String,
    /// Where this copy was found (file and row, page and index). Two copies with
    /// one delivery are one pull said twice, e.g. after a crash.
    pub delivery: String,
    /// 1 for the first record of this content in its delivery unit (a file), 2 for
    /// the next exact repeat, and so on. Always 1 unless identity is by content.
    pub occurrence: u32,
    /// Media type of `payload`.
    pub content_type: String,
    /// Content. A table row (CSV, XLSX) is a JSON object of its cells, text untouched.
    pub payload: Bytes,
}

/// Something that could not be taken as a record, kept with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Name of the source in the configuration.
    pub source: String,
    /// Why, in words a person can act on.
    pub reason: String,
    /// Where it was found (file and row, page and index).
    pub delivery: String,
    /// The bytes as they came, cut at what the log can hold.
    pub payload: Bytes,
}

/// Header names.
pub mod header {
    /// CloudEvents version, always `1.0`.
    pub const SPECVERSION: &str = "ce_specversion";
    /// Identity and content of the record.
    pub const ID: &str = "ce_id";
    /// Name of the source.
    pub const SOURCE: &str = "ce_source";
    /// `ahual.record.v1` or `ahual.set-aside.v1`.
    pub const TYPE: &str = "ce_type";
    /// Record identity within the source.
    pub const RECORD: &str = "ce_recordid";
    /// Case key within the source.
    pub const SUBJECT: &str = "ce_subject";
    /// Where this copy was found.
    pub const DELIVERY: &str = "ce_delivery";
    /// Occurrence number.
    pub const OCCURRENCE: &str = "ce_occurrence";
    /// BLAKE3 of the content before sealing, hex, first 16 bytes, keyed by the sealing key.
    pub const CONTENT: &str = "ce_contentid";
    /// How the payload is sealed.
    pub const SEALING: &str = "ce_sealing";
    /// Why it was set aside.
    pub const REASON: &str = "ce_reason";
    /// Media type before sealing.
    pub const CONTENT_TYPE: &str = "content-type";
}

/// `ce_type` of a raw record.
pub const RECORD_TYPE: &str = "ahual.record.v1";
/// `ce_type` of something set aside at the door.
pub const SET_ASIDE_TYPE: &str = "ahual.set-aside.v1";

impl RawRecord {
    /// Seals the record for the log.
    pub fn seal(&self, sealer: &Sealer) -> Result<NewRecord, SealingError> {
        let content = sealer.content_id(&self.payload);
        let (sealing, payload) = sealer.seal(&self.payload)?;
        Ok(NewRecord {
            key: Bytes::copy_from_slice(self.case_key.as_bytes()),
            headers: vec![
                text(header::SPECVERSION, "1.0"),
                text(header::ID, &format!("{}#{content}", self.record_id)),
                text(header::SOURCE, &self.source),
                text(header::TYPE, RECORD_TYPE),
                text(header::RECORD, &self.record_id),
                text(header::SUBJECT, &self.case_key),
                text(header::DELIVERY, &self.delivery),
                text(header::OCCURRENCE, &self.occurrence.to_string()),
                text(header::CONTENT, &content),
                text(header::SEALING, &sealing),
                text(header::CONTENT_TYPE, &self.content_type),
            ],
            payload,
        })
    }
}

impl SetAside {
    /// Seals what was set aside for the dead-letters topic.
    pub fn seal(&self, sealer: &Sealer) -> Result<NewRecord, SealingError> {
        let content = sealer.content_id(&self.payload);
        let (sealing, payload) = sealer.seal(&self.payload)?;
        Ok(NewRecord {
            key: Bytes::copy_from_slice(self.delivery.as_bytes()),
            headers: vec![
                text(header::SPECVERSION, "1.0"),
                text(header::ID, &format!("{}#{content}", self.delivery)),
                text(header::SOURCE, &self.source),
                text(header::TYPE, SET_ASIDE_TYPE),
                text(header::DELIVERY, &self.delivery),
                text(header::CONTENT, &content),
                text(header::SEALING, &sealing),
                text(header::REASON, &self.reason),
                text(header::CONTENT_TYPE, "application/octet-stream"),
            ],
            payload,
        })
    }
}

/// Opens the payload of a stored record.
pub fn open(record: &StoredRecord, sealer: &Sealer) -> Result<Bytes, SealingError> {
    sealer.open(record.header(header::SEALING).unwrap_or("none"), &record.payload)
}

fn text(name: &str, value: &str) -> (String, Bytes) {
    (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}
