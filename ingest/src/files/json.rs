//! JSON lines and JSON documents. A record is the exact bytes of its object.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::csv::Cutter;
use super::rows::{Line, Row};
use crate::identity::pick_raw;

/// One JSON object a line.
pub(super) struct JsonLines {
    cutter: Cutter,
}

impl JsonLines {
    pub(super) fn new(cutter: Cutter) -> Self {
        Self { cutter }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        while let Some(cut) = self.cutter.line()? {
            let text = cut.raw.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let line = match object(text) {
                Ok(()) => Line::Record(Bytes::copy_from_slice(text)),
                Err(reason) => Line::SetAside {
                    reason: format!("line {} (byte {}): {reason}", cut.line, cut.at),
                    bytes: cut.raw.into(),
                },
            };
            return Ok(Some(Row { line }));
        }
        Ok(None)
    }
}

fn object(text: &[u8]) -> Result<(), String> {
    if let Err(e) = std::str::from_utf8(text) {
        return Err(format!("it is not UTF-8 from byte {} of the line on", e.valid_up_to()));
    }
    if let Err(e) = serde_json::from_slice::<IgnoredAny>(text) {
        return Err(format!("it is not JSON ({e})"));
    }
    if text.first() != Some(&b'{') {
        return Err("it is JSON but not an object".to_owned());
    }
    Ok(())
}

/// An array of objects somewhere in a document, checked whole before its first record.
pub(super) struct Document {
    text: Bytes,
    spans: VecDeque<(usize, usize)>,
    index: usize,
}

impl Document {
    pub(super) fn open(text: Bytes, records: Option<&str>) -> Result<Self, String> {
        let whole = std::str::from_utf8(&text).map_err(|e| {
            format!("it is not UTF-8 from byte {} on; name its encoding in files.encoding", e.valid_up_to())
        })?;
        let document: &RawValue = serde_json::from_str(whole)
            .map_err(|e| format!("it is not whole JSON: {e} (byte {})", byte_of(whole, e.line(), e.column())))?;
        let array = match records {
            None => document,
            Some(path) => pick_raw(document.get().as_bytes(), &[path.to_owned()])
                .ok()
                .and_then(|mut found| found.pop().flatten())
                .ok_or_else(|| format!("it has nothing at files.records = \"{path}\""))?,
        };
        let elements: Vec<&RawValue> = serde_json::from_str(array.get()).map_err(|_| match records {
            None => "it is not an array; say in files.records where its array of records lies".to_owned(),
            Some(path) => format!("files.records = \"{path}\" does not lead to an array"),
        })?;
        let origin = whole.as_ptr() as usize;
        let spans = elements
            .iter()
            .map(|element| {
                let from = element.get().as_ptr() as usize - origin;
                (from, from + element.get().len())
            })
            .collect();
        Ok(Self { text, spans, index: 0 })
    }

    pub(super) fn next(&mut self) -> Option<Row> {
        let (from, to) = self.spans.pop_front()?;
        self.index += 1;
        let bytes = self.text.slice(from..to);
        let line = if bytes.first() == Some(&b'{') {
            Line::Record(bytes)
        } else {
            let reason = format!("element {} (byte {from}) is not an object", self.index);
            Line::SetAside { reason, bytes }
        };
        Some(Row { line })
    }
}

/// The byte serde_json's line and column stand for.
fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column.saturating_sub(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn records(text: &str, path: Option<&str>) -> Result<Vec<String>, String> {
        let mut document = Document::open(Bytes::copy_from_slice(text.as_bytes()), path)?;
        let mut all = Vec::new();
        while let Some(row) = document.next() {
            all.push(match row.line {
                Line::Record(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Line::SetAside { reason, .. } => reason,
            });
        }
        Ok(all)
    }

    #[test]
    fn records_are_the_exact_bytes_of_their_objects() {
        let text = "[ {\"id\": 1.50 , \"big\":12345678901234567890123},\n{\"id\":\"02\"} ]";
        assert_eq!(
            records(text, None).unwrap(),
            ["{\"id\": 1.50 , \"big\":12345678901234567890123}", "{\"id\":\"02\"}"]
        );
        assert_eq!(
            records(r#"{"a":{"b":[{"x":1}, 7]}}"#, Some("a.b")).unwrap(),
            [r#"{"x":1}"#, "element 2 (byte 20) is not an object"]
        );
    }

    #[test]
    fn a_broken_array_names_the_byte() {
        let why = records("[{\"id\":1},\n{\"id\":2", None).unwrap_err();
        assert!(why.contains("byte 17") || why.contains("byte 18"), "{why}");
        let why = records(r#"{"items":[]}"#, None).unwrap_err();
        assert!(why.contains("files.records"), "{why}");
    }
}
