//! Makes a page durable: its records in the log, the rest in dead letters with reasons.

use ahual_schemas::log::{DEAD_LETTERS, MAX_RECORD_BYTES, raw_topic};
use ahual_schemas::record::SetAside;
use ahual_schemas::sealing::SealingError;
use ahual_schemas::{Advice, LogError, NewRecord, RawRecord};
use tokio_util::sync::CancellationToken;

use super::{RunError, Runner, Wait};
use crate::connector::{Found, Item, Page, Refused, Replay};

/// Records appended in one call hold about this many bytes at most.
const APPEND_BYTES: usize = 16 * 1024 * 1024;
/// A reason is cut at this many bytes.
const MAX_REASON_BYTES: usize = 2_000;
/// Room kept in a dead letter for sealing, key and headers.
const ENVELOPE_BYTES: usize = 64 * 1024;

impl Runner {
    /// Appends the page; returns how many records and how much was set aside, `None`
    /// when told to stop before all was durable.
    pub(super) async fn make_durable(
        &mut self,
        page: &Page,
        stop: &CancellationToken,
    ) -> Result<Option<(u64, u64)>, RunError> {
        let drifting = self.connector.describe().replay == Replay::Latest;
        let mut records = Vec::new();
        let mut dead = Vec::new();
        for item in &page.items {
            match item {
                Item::Record(found) => match self.seal(found, drifting)? {
                    Ok(record) => records.push((record, found)),
                    Err(reason) => dead.push(self.dead_letter(&refused(found, reason), drifting)?),
                },
                Item::SetAside(refused) => dead.push(self.dead_letter(refused, drifting)?),
            }
        }
        let topic = raw_topic(&self.name);
        let mut appended = 0;
        // Batches still to append, the first one last.
        let mut waiting = batches(records);
        while let Some(batch) = waiting.pop() {
            let copies = batch.iter().map(|(record, _)| record.clone()).collect();
            match self.append(&topic, copies, stop).await? {
                Appended::Durable => appended += batch.len() as u64,
                Appended::Stopped => return Ok(None),
                Appended::TooLarge(error) => match <[_; 1]>::try_from(batch) {
                    Ok([(_, found)]) => dead.push(self.dead_letter(&refused(found, error.to_string()), drifting)?),
                    Err(mut batch) => {
                        let later = batch.split_off(batch.len() / 2);
                        waiting.push(later);
                        waiting.push(batch);
                    }
                },
            }
        }
        let set_aside = dead.len() as u64;
        if set_aside > 0 {
            tracing::warn!(source = %self.name, set_aside, "set aside with their reasons in dead-letters");
        }
        for batch in batches(dead.into_iter().map(|letter| (letter, ())).collect()).into_iter().rev() {
            let letters = batch.into_iter().map(|(letter, ())| letter).collect();
            match self.append(DEAD_LETTERS, letters, stop).await? {
                Appended::Durable => {}
                Appended::Stopped => return Ok(None),
                Appended::TooLarge(source) => return Err(RunError::Log { name: self.name.clone(), source }),
            }
        }
        Ok(Some((appended, set_aside)))
    }

    /// The record sealed for the log, or why it has to be set aside.
    fn seal(&self, found: &Found, drifting: bool) -> Result<Result<NewRecord, String>, RunError> {
        let identity = found.identity.as_ref().unwrap_or(&self.identity);
        let named = match identity.name(found, &self.sealer) {
            Ok(named) => named,
            Err(reason) => return Ok(Err(reason)),
        };
        let raw = RawRecord {
            source: self.name.clone(),
            record_id: named.record_id,
            case_key: named.case_key,
            delivery: self.delivery(&found.delivery, &found.payload, drifting),
            occurrence: found.occurrence,
            content_type: found.content_type.to_owned(),
            payload: found.payload.clone(),
        };
        let record = raw.seal(&self.sealer).map_err(|source| self.cannot_seal(source))?;
        if record.size() > MAX_RECORD_BYTES {
            let reason = format!(
                "record of {} bytes is over the log's limit of {MAX_RECORD_BYTES}; its first bytes are kept",
                record.size()
            );
            return Ok(Err(reason));
        }
        Ok(Ok(record))
    }

    fn dead_letter(&self, refused: &Refused, drifting: bool) -> Result<NewRecord, RunError> {
        let delivery = cut_text(&refused.delivery, MAX_REASON_BYTES);
        let room = MAX_RECORD_BYTES - ENVELOPE_BYTES;
        let letter = SetAside {
            source: self.name.clone(),
            reason: cut_text(&refused.reason, MAX_REASON_BYTES).to_owned(),
            delivery: self.delivery(delivery, &refused.bytes, drifting),
            payload: refused.bytes.slice(..refused.bytes.len().min(room)),
        };
        tracing::debug!(source = %self.name, delivery = %letter.delivery, reason = %letter.reason, "set aside");
        letter.seal(&self.sealer).map_err(|source| self.cannot_seal(source))
    }

    /// Where places shift, a place alone does not say which delivery it was: the content
    /// found there is part of the name.
    fn delivery(&self, place: &str, content: &[u8], drifting: bool) -> String {
        if drifting { format!("{place}~{}", &self.sealer.content_id(content)[..8]) } else { place.to_owned() }
    }

    fn cannot_seal(&self, source: SealingError) -> RunError {
        RunError::Sealing { name: self.name.clone(), source }
    }

    async fn append(
        &mut self,
        topic: &str,
        records: Vec<NewRecord>,
        stop: &CancellationToken,
    ) -> Result<Appended, RunError> {
        let mut backoff = self.backoff();
        loop {
            let Err(error) = self.log.append(topic, records.clone()).await else { return Ok(Appended::Durable) };
            match error.advice() {
                Advice::Stop => return Err(RunError::Log { name: self.name.clone(), source: error }),
                Advice::SetAside => return Ok(Appended::TooLarge(error)),
                Advice::RetryAfter(asked) => {
                    let wait = asked.max(backoff.next().unwrap_or(self.limits.retry_most()));
                    self.log_is_away(&error, wait);
                    if let Wait::Stopped = self.wait(wait, stop).await {
                        return Ok(Appended::Stopped);
                    }
                }
            }
        }
    }
}

enum Appended {
    Durable,
    Stopped,
    TooLarge(LogError),
}

fn refused(found: &Found, reason: String) -> Refused {
    Refused { reason, delivery: found.delivery.clone(), bytes: found.payload.clone() }
}

/// Records in batches of about [`APPEND_BYTES`], the first batch last.
fn batches<T>(records: Vec<(NewRecord, T)>) -> Vec<Vec<(NewRecord, T)>> {
    let mut all = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (record, with) in records {
        let size = record.size();
        if bytes + size > APPEND_BYTES && !batch.is_empty() {
            all.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push((record, with));
    }
    if !batch.is_empty() {
        all.push(batch);
    }
    all.reverse();
    all
}

fn cut_text(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
