//! How a record's identity and its case key are found: declared by the profile,
//! computed here for every connector.

use std::fmt;

use ahual_schemas::sealing::Sealer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::connector::Found;

/// `[source.identity]`: exactly one of `columns`, `content` and `row`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Columns that together name a record; dotted paths reach into nested JSON.
    pub columns: Vec<String>,
    /// The content names the record, with an occurrence number for exact repeats within
    /// one file.
    pub content: bool,
    /// File name and row name the record. A file sent again under another name doubles.
    pub row: bool,
    /// Columns that together name the case; the record's identity when empty.
    pub case_key: Vec<String>,
}

/// What is wrong with an [`IdentityConfig`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Not exactly one way.
    #[error(
        "identity says {0} ways to name a record, it needs exactly one of columns = […], content = true, row = true"
    )]
    Ways(usize),
    /// A blank column name.
    #[error("identity names a blank column in {0}")]
    Blank(&'static str),
    /// Rows exist only in files.
    #[error("identity by row needs numbered rows, which only files have; use columns = […] or content = true")]
    NoRows,
}

/// How the records of a source are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    way: Way,
    case_key: Vec<String>,
    prefix: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Columns(Vec<String>),
    Content,
    Row,
    Given(Named),
}

/// A record's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Identity within the source.
    pub record_id: String,
    /// Key of its case within the source.
    pub case_key: String,
}

impl Identity {
    /// Checks the configuration.
    pub fn new(config: &IdentityConfig) -> Result<Self, IdentityError> {
        let ways = usize::from(!config.columns.is_empty()) + usize::from(config.content) + usize::from(config.row);
        if ways != 1 {
            return Err(IdentityError::Ways(ways));
        }
        for (names, of) in [(&config.columns, "columns"), (&config.case_key, "case_key")] {
            if names.iter().any(|name| name.trim().is_empty()) {
                return Err(IdentityError::Blank(of));
            }
        }
        let way = if config.content {
            Way::Content
        } else if config.row {
            Way::Row
        } else {
            Way::Columns(config.columns.clone())
        };
        Ok(Self { way, case_key: config.case_key.clone(), prefix: "" })
    }

    /// Identity by columns, for protocols that fix it. `prefix` keeps the names of a
    /// second shape of records apart.
    pub fn by_columns(columns: &[&str], case_key: &[&str], prefix: &'static str) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self { way: Way::Columns(owned(columns)), case_key: owned(case_key), prefix }
    }

    /// The names of one record, found by its connector: for protocols whose names lie in
    /// no fixed place of a record, or not in the record at all.
    pub fn given(record_id: String, case_key: String) -> Self {
        Self { way: Way::Given(Named { record_id, case_key }), case_key: Vec::new(), prefix: "" }
    }

    /// Whether exact repeats within a file need an occurrence number.
    pub fn counts_occurrences(&self) -> bool {
        self.way == Way::Content
    }

    /// Whether records are named by file and row.
    pub fn is_by_row(&self) -> bool {
        self.way == Way::Row
    }

    /// The way in a word, for the ledger: `columns`, `content` or `row`.
    pub fn way(&self) -> &'static str {
        match self.way {
            Way::Columns(_) => "columns",
            Way::Content => "content",
            Way::Row => "row",
            // What the protocol names is a matter of its own columns.
            Way::Given(_) => "columns",
        }
    }

    /// All columns the profile needs, dotted paths included.
    pub fn needed_columns(&self) -> impl Iterator<Item = &str> {
        let columns: &[String] = match &self.way {
            Way::Columns(columns) => columns,
            Way::Content | Way::Row | Way::Given(_) => &[],
        };
        columns.iter().chain(&self.case_key).map(String::as_str)
    }

    /// The names of a record, or why it has none. Ids keep leading zeros; a JSON number
    /// keeps the text it was written with.
    pub fn name(&self, found: &Found, sealer: &Sealer) -> Result<Named, String> {
        let record_id = match &self.way {
            Way::Columns(columns) => self.joined(&found.payload, columns, "id")?,
            Way::Content => format!("{}~{}", sealer.content_id(&found.payload), found.occurrence),
            Way::Row => found.place.clone().ok_or("no id: the record has no row")?,
            Way::Given(named) => return Ok(named.clone()),
        };
        let record_id = format!("{}{record_id}", self.prefix);
        let case_key = if self.case_key.is_empty() {
            record_id.clone()
        } else {
            self.joined(&found.payload, &self.case_key, "case key")?
        };
        Ok(Named { record_id, case_key })
    }

    /// The id columns joined, when the way is columns and all are there.
    pub(crate) fn column_id(&self, payload: &[u8]) -> Option<String> {
        match &self.way {
            Way::Columns(columns) => self.joined(payload, columns, "id").ok().map(|id| format!("{}{id}", self.prefix)),
            Way::Content | Way::Row | Way::Given(_) => None,
        }
    }

    fn joined(&self, payload: &[u8], columns: &[String], of: &str) -> Result<String, String> {
        let texts = pick(payload, columns).map_err(|e| format!("no {of}: the record is not a JSON object ({e})"))?;
        let mut whole = String::new();
        for (column, text) in columns.iter().zip(texts) {
            let text = match text {
                Picked::Text(text) if !text.trim().is_empty() => text,
                Picked::Nested => return Err(format!("no {of}: column {column} holds no single value")),
                _ => return Err(format!("no {of}: column {column} is missing or blank")),
            };
            if columns.len() == 1 {
                return Ok(text);
            }
            if !whole.is_empty() {
                whole.push('/');
            }
            whole.push_str(&text.replace('~', "~0").replace('/', "~1"));
        }
        Ok(whole)
    }
}

/// What a path led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Picked {
    /// Nothing, or null.
    Absent,
    /// The text of a plain value; of a number, as it was written.
    Text(String),
    /// An object or an array.
    Nested,
}

/// The plain values `paths` lead to in a JSON object. A key that equals the whole path
/// comes before a nested one.
pub(crate) fn pick(json: &[u8], paths: &[String]) -> Result<Vec<Picked>, serde_json::Error> {
    let raws = pick_raw(json, paths)?;
    raws.iter().map(|raw| raw.map_or(Ok(Picked::Absent), plain)).collect()
}

/// The raw JSON `paths` lead to.
pub(crate) fn pick_raw<'a>(json: &'a [u8], paths: &[String]) -> Result<Vec<Option<&'a RawValue>>, serde_json::Error> {
    let mut read = serde_json::Deserializer::from_slice(json);
    let found = Picker { paths }.deserialize(&mut read)?;
    read.end()?;
    let mut raws = Vec::with_capacity(paths.len());
    for (path, (whole, head)) in paths.iter().zip(found) {
        let raw = match (whole, head, path.split_once('.')) {
            (Some(raw), _, _) => Some(raw),
            (None, Some(raw), Some((_, rest))) if raw.get().starts_with('{') => {
                pick_raw(raw.get().as_bytes(), &[rest.to_owned()])?.pop().flatten()
            }
            _ => None,
        };
        raws.push(raw);
    }
    Ok(raws)
}

fn plain(raw: &RawValue) -> Result<Picked, serde_json::Error> {
    let text = raw.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => Picked::Text(serde_json::from_str(text)?),
        Some(b'{' | b'[') => Picked::Nested,
        Some(b'n') | None => Picked::Absent,
        Some(_) => Picked::Text(text.to_owned()),
    })
}

struct Picker<'p> {
    paths: &'p [String],
}

type Hits<'de> = Vec<(Option<&'de RawValue>, Option<&'de RawValue>)>;

impl<'de> DeserializeSeed<'de> for Picker<'_> {
    type Value = Hits<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Picker<'_> {
    type Value = Hits<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut hits: Hits<'de> = vec![(None, None); self.paths.len()];
        while let Some(key) = map.next_key_seed(Key)? {
            let whole = |path: &String| path.as_str() == key;
            let head = |path: &String| path.split_once('.').is_some_and(|(head, _)| head == key);
            if !self.paths.iter().any(|path| whole(path) || head(path)) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &'de RawValue = map.next_value()?;
            for (path, hit) in self.paths.iter().zip(&mut hits) {
                if whole(path) {
                    hit.0 = Some(raw);
                } else if head(path) {
                    hit.1 = Some(raw);
                }
            }
        }
        Ok(hits)
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = std::borrow::Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = std::borrow::Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.to_owned().into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn found(json: &str) -> Found {
        Found {
            payload: json.to_owned().into(),
            content_type: "application/json",
            delivery: "calls.csv@0:1".into(),
            occurrence: 2,
            place: Some("calls.csv:1".into()),
            identity: None,
        }
    }

    fn identity(columns: &[&str], case_key: &[&str]) -> Identity {
        Identity::by_columns(columns, case_key, "")
    }

    #[test]
    fn leading_zeros_and_the_text_of_numbers_survive() {
        let sealer = Sealer::new("dev", b"x");
        let named = identity(&["id"], &[]).name(&found(r#"{"id":"0007"}"#), &sealer).unwrap();
        assert_eq!(named, Named { record_id: "0007".into(), case_key: "0007".into() });
        let named = identity(&["id"], &[]).name(&found(r#"{"id":12345678901234567890.10}"#), &sealer).unwrap();
        assert_eq!(named.record_id, "12345678901234567890.10");
    }

    #[test]
    fn several_columns_are_joined_so_that_two_records_never_collide() {
        let sealer = Sealer::new("dev", b"x");
        let both = identity(&["a", "b"], &["a"]);
        let left = both.name(&found(r#"{"a":"1/2","b":"3"}"#), &sealer).unwrap();
        let right = both.name(&found(r#"{"a":"1","b":"2/3"}"#), &sealer).unwrap();
        assert_eq!(left.record_id, "1~12/3");
        assert_ne!(left.record_id, right.record_id);
        assert_eq!(left.case_key, "1/2");
    }

    #[test]
    fn a_path_reaches_into_nested_objects_but_a_key_with_a_dot_comes_first() {
        let sealer = Sealer::new("dev", b"x");
        let one = identity(&["case.id"], &[]);
        assert_eq!(one.name(&found(r#"{"case":{"id":5}}"#), &sealer).unwrap().record_id, "5");
        assert_eq!(one.name(&found(r#"{"case":{"id":5},"case.id":"x"}"#), &sealer).unwrap().record_id, "x");
        assert_eq!(one.name(&found(r#"{"case\u002eid":"esc"}"#), &sealer).unwrap().record_id, "esc");
    }

    #[test]
    fn a_record_without_its_id_says_which_column_is_missing() {
        let sealer = Sealer::new("dev", b"x");
        for json in [r#"{}"#, r#"{"id":null}"#, r#"{"id":"  "}"#] {
            let why = identity(&["id"], &[]).name(&found(json), &sealer).unwrap_err();
            assert_eq!(why, "no id: column id is missing or blank");
        }
        let why = identity(&["id"], &["case"]).name(&found(r#"{"id":1}"#), &sealer).unwrap_err();
        assert_eq!(why, "no case key: column case is missing or blank");
    }

    #[test]
    fn content_and_row_name_records_that_have_no_id() {
        let sealer = Sealer::new("dev", b"x");
        let config = IdentityConfig { content: true, ..IdentityConfig::default() };
        let by_content = Identity::new(&config).unwrap().name(&found("{}"), &sealer).unwrap();
        assert_eq!(by_content.record_id, format!("{}~2", sealer.content_id(b"{}")));
        let config = IdentityConfig { row: true, ..IdentityConfig::default() };
        assert_eq!(Identity::new(&config).unwrap().name(&found("{}"), &sealer).unwrap().record_id, "calls.csv:1");
        assert_eq!(Identity::new(&IdentityConfig::default()), Err(IdentityError::Ways(0)));
    }
}
