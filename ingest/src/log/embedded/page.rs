//! A page: neighbouring records of one partition, stored as one value.
//!
//! A page names the place it was written for and carries a checksum over that
//! place and its content, so damage *and* a page found where another belongs are
//! both seen. A header whose value repeats that of the record before costs one
//! byte: on raw topics that is most of them.
//!
//! Layout: version (1 byte), BLAKE3 (32 bytes) over place and body, body. Body:
//! append stamp (i64), number of records, header names of the page, then each
//! record as key, headers, payload. Integers without a width are LEB128.

use ahual_schemas::{NewRecord, StoredRecord, TopicPartition};
use bytes::Bytes;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 32;
const BODY_AT: usize = 1 + CHECKSUM_BYTES;

/// A page is closed before it grows over this. Just under a power of two, which
/// is what the store rounds its allocations up to.
pub(super) const PAGE_BYTES: usize = (1 << 20) - (8 << 10);
/// A page is closed when it has this many records.
pub(super) const PAGE_RECORDS: usize = 1000;

/// Topic id, partition and offset of the page's first record.
pub(super) type Place = (u32, u32, u64);

/// What is wrong with a page.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("page has version {0}, this program reads version {VERSION}")]
    Version(u8),
    #[error("page does not match its checksum")]
    Checksum,
    #[error("page ends early at byte {0}")]
    Short(usize),
    #[error("page is not in the expected form at byte {0}")]
    Form(usize),
}

/// How many of `records` go into the next page.
pub(super) fn take(records: &[NewRecord]) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for record in records.iter().take(PAGE_RECORDS) {
        bytes += record.size() + 16;
        if count > 0 && bytes > PAGE_BYTES {
            break;
        }
        count += 1;
    }
    count
}

/// The value stored for `records`.
pub(super) fn encode(place: Place, appended_at_ms: i64, records: &[NewRecord]) -> Vec<u8> {
    let mut names: Vec<&str> = Vec::new();
    for record in records {
        for (name, _) in &record.headers {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let content: usize = records.iter().map(|r| r.size() + 8).sum();
    let mut page = Vec::with_capacity(BODY_AT + 64 + content);
    page.push(VERSION);
    page.resize(BODY_AT, 0);
    page.extend_from_slice(&appended_at_ms.to_le_bytes());
    put_len(&mut page, records.len());
    put_len(&mut page, names.len());
    for name in &names {
        put(&mut page, name.as_bytes());
    }
    let mut last: Vec<Option<&[u8]>> = vec![None; names.len()];
    for record in records {
        put(&mut page, &record.key);
        put_len(&mut page, record.headers.len());
        for (name, value) in &record.headers {
            let index = names.iter().position(|n| n == name).unwrap_or_default();
            if last[index] == Some(value.as_ref()) {
                put_len(&mut page, index << 1 | 1);
            } else {
                put_len(&mut page, index << 1);
                put(&mut page, value);
                last[index] = Some(value);
            }
        }
        put(&mut page, &record.payload);
    }
    let sum = checksum(place, &page[BODY_AT..]);
    page[1..BODY_AT].copy_from_slice(sum.as_bytes());
    page
}

/// Records of a page from offset `from` on. Their bytes are slices of `page`.
pub(super) fn decode(place: Place, at: &TopicPartition, page: Bytes, from: u64) -> Result<Vec<StoredRecord>, Damage> {
    match page.first() {
        Some(&VERSION) => {}
        Some(&other) => return Err(Damage::Version(other)),
        None => return Err(Damage::Short(0)),
    }
    if page.len() < BODY_AT {
        return Err(Damage::Short(page.len()));
    }
    if checksum(place, &page[BODY_AT..]).as_bytes() != &page[1..BODY_AT] {
        return Err(Damage::Checksum);
    }
    let mut cursor = Cursor { page, at: BODY_AT };
    let appended_at_ms = cursor.stamp()?;
    let count = cursor.len()?;
    let names = (0..cursor.len()?).map(|_| cursor.text()).collect::<Result<Vec<String>, Damage>>()?;
    let mut last: Vec<Option<Bytes>> = vec![None; names.len()];
    let mut records = Vec::new();
    for ordinal in 0..count {
        let key = cursor.bytes()?;
        let width = cursor.len()?;
        let offset = place.2 + ordinal as u64;
        let wanted = offset >= from;
        let mut headers = Vec::with_capacity(if wanted { width.min(64) } else { 0 });
        for _ in 0..width {
            let code = cursor.len()?;
            let index = code >> 1;
            let (Some(name), Some(slot)) = (names.get(index), last.get_mut(index)) else {
                return Err(Damage::Form(cursor.at));
            };
            if code & 1 == 0 {
                *slot = Some(cursor.bytes()?);
            }
            let value = slot.clone().ok_or(Damage::Form(cursor.at))?;
            if wanted {
                headers.push((name.clone(), value));
            }
        }
        let payload = cursor.bytes()?;
        if wanted {
            records.push(StoredRecord { at: at.clone(), offset, appended_at_ms, key, headers, payload });
        }
    }
    if cursor.at != cursor.page.len() {
        return Err(Damage::Form(cursor.at));
    }
    Ok(records)
}

fn checksum(place: Place, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&place.0.to_le_bytes());
    hasher.update(&place.1.to_le_bytes());
    hasher.update(&place.2.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn put_len(page: &mut Vec<u8>, len: usize) {
    let mut rest = len;
    while rest >= 0x80 {
        page.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    page.push(rest as u8);
}

fn put(page: &mut Vec<u8>, bytes: &[u8]) {
    put_len(page, bytes.len());
    page.extend_from_slice(bytes);
}

struct Cursor {
    page: Bytes,
    at: usize,
}

impl Cursor {
    fn slice(&mut self, len: usize) -> Result<Bytes, Damage> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.page.len());
        let end = end.ok_or(Damage::Short(self.at))?;
        let bytes = self.page.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn len(&mut self) -> Result<usize, Damage> {
        let mut value = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = *self.page.get(self.at).ok_or(Damage::Short(self.at))?;
            self.at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damage::Form(self.at))
    }

    fn bytes(&mut self) -> Result<Bytes, Damage> {
        let len = self.len()?;
        self.slice(len)
    }

    fn text(&mut self) -> Result<String, Damage> {
        let at = self.at;
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Damage::Form(at))
    }

    fn stamp(&mut self) -> Result<i64, Damage> {
        let bytes = self.slice(8)?;
        let array: [u8; 8] = bytes.as_ref().try_into().map_err(|_| Damage::Short(self.at))?;
        Ok(i64::from_le_bytes(array))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn home() -> TopicPartition {
        TopicPartition { topic: "raw.door".into(), partition: 3 }
    }

    fn record() -> impl Strategy<Value = NewRecord> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let header = (prop_oneof!["[a-c]", "\\PC{0,8}"], prop_oneof![Just(Bytes::from("same")), bytes()]);
        (bytes(), proptest::collection::vec(header, 0..6), bytes()).prop_map(|(key, headers, payload)| NewRecord {
            key,
            headers,
            payload,
        })
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(records in proptest::collection::vec(record(), 1..20), skip in 0_u64..25) {
            let place = (7, 3, 1_000);
            let page = Bytes::from(encode(place, -5, &records));
            let read = decode(place, &home(), page, 1_000 + skip).unwrap();
            let expected = records.iter().enumerate().skip(skip as usize);
            prop_assert_eq!(read.len(), expected.len());
            for (stored, (ordinal, new)) in read.iter().zip(expected) {
                prop_assert_eq!(stored.offset, 1_000 + ordinal as u64);
                prop_assert_eq!(stored.appended_at_ms, -5);
                prop_assert_eq!(&stored.key, &new.key);
                prop_assert_eq!(&stored.headers, &new.headers);
                prop_assert_eq!(&stored.payload, &new.payload);
            }
        }

        #[test]
        fn any_flipped_bit_is_seen(records in proptest::collection::vec(record(), 1..5), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut page = encode((1, 2, 3), 4, &records);
            let index = at.index(page.len());
            page[index] ^= 1_u8 << bit;
            prop_assert!(decode((1, 2, 3), &home(), page.into(), 0).is_err());
        }

        #[test]
        fn a_cut_page_is_seen(records in proptest::collection::vec(record(), 1..5), at in any::<prop::sample::Index>()) {
            let mut page = encode((1, 2, 3), 4, &records);
            page.truncate(at.index(page.len()));
            prop_assert!(decode((1, 2, 3), &home(), page.into(), 0).is_err());
        }
    }

    #[test]
    fn a_page_found_in_another_place_is_seen() {
        let record = NewRecord { key: "k".into(), headers: vec![], payload: "p".into() };
        let page = Bytes::from(encode((1, 2, 3), 4, &[record]));
        assert!(matches!(decode((1, 2, 4), &home(), page, 0), Err(Damage::Checksum)));
    }

    #[test]
    fn a_header_said_again_costs_one_byte() {
        let record = |n: u8| NewRecord {
            key: Bytes::from(vec![n]),
            headers: vec![("ce_source".into(), Bytes::from("a-rather-long-name-of-a-source"))],
            payload: Bytes::new(),
        };
        let one = encode((0, 0, 0), 0, &[record(0)]).len();
        let two = encode((0, 0, 0), 0, &[record(0), record(1)]).len();
        assert_eq!(two - one, 2 + 1 + 1 + 1, "key, header count, header, payload length");
    }

    #[test]
    fn pages_end_at_their_limits() {
        let of = |size: usize| NewRecord { key: Bytes::new(), headers: vec![], payload: vec![0; size].into() };
        assert_eq!(take(&vec![of(0); 2 * PAGE_RECORDS]), PAGE_RECORDS);
        assert_eq!(take(&vec![of(PAGE_BYTES / 4); 10]), 3);
        assert_eq!(take(&[of(8 << 20), of(1)]), 1);
        assert_eq!(take(&[]), 0);
    }
}
