//! What was met before, bounded, so that a source that is asked for the same list again
//! and again gives only what changed.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hashes of ids and of the content each had last; the least recently met are forgotten
/// first. What is forgotten is given again and is a duplicate downstream: no harm.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    by_age: BTreeMap<u64, (u64, u64)>,
    by_id: HashMap<u64, u64>,
    next_age: u64,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.by_age.values().eq(other.by_age.values())
    }
}

impl Seen {
    /// Notes that `id` was met with `content`; says whether that is news.
    pub(crate) fn note(&mut self, id: &[u8], content: &[u8], most: usize) -> bool {
        let (id, content) = (hash(id), hash(content));
        let known = self.by_id.get(&id).and_then(|age| self.by_age.remove(age));
        self.put(id, content);
        while self.by_age.len() > most {
            if let Some((_, (id, _))) = self.by_age.pop_first() {
                self.by_id.remove(&id);
            }
        }
        known.is_none_or(|(_, before)| before != content)
    }

    fn put(&mut self, id: u64, content: u64) {
        self.by_id.insert(id, self.next_age);
        self.by_age.insert(self.next_age, (id, content));
        self.next_age += 1;
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write;
        let mut text = String::with_capacity(self.by_age.len() * 32);
        for (id, content) in self.by_age.values() {
            // Writing into a text does not fail.
            let _ = write!(text, "{id:016x}{content:016x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || serde::de::Error::custom("what was seen is not pairs of 16 hexadecimal digits");
        let mut seen = Self::default();
        for pair in text.as_bytes().chunks(32) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 32).ok_or_else(bad)?;
            let number = |part: &str| u64::from_str_radix(part, 16).map_err(|_| bad());
            seen.put(number(&pair[..16])?, number(&pair[16..])?);
        }
        Ok(seen)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_id_or_a_new_content_is_news_and_the_oldest_is_forgotten() {
        let mut seen = Seen::default();
        assert!(seen.note(b"1", b"open", 2));
        assert!(!seen.note(b"1", b"open", 2));
        assert!(seen.note(b"1", b"closed", 2));
        assert!(seen.note(b"2", b"open", 2));
        let text = serde_json::to_string(&seen).unwrap();
        let mut seen: Seen = serde_json::from_str(&text).unwrap();
        assert!(!seen.note(b"1", b"closed", 2));
        assert!(seen.note(b"3", b"open", 2));
        assert!(seen.note(b"2", b"open", 2), "2 was met longest ago");
    }
}
