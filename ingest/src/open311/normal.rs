//! One JSON object per request, whichever way the endpoint writes it: ids and codes are
//! text with their leading zeros, coordinates are numbers as they were written, an empty
//! XML element is null.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

const TEXTS: [&str; 7] =
    ["service_request_id", "service_code", "token", "update_id", "address_id", "account_id", "zipcode"];
const NUMBERS: [&str; 2] = ["lat", "long"];

/// A JSON object's members in order, values as written.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A request written as JSON. `None` where it is not an object.
pub(super) fn from_json(raw: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(raw).ok()?;
    let mut json = Writer::default();
    for (name, value) in &members.0 {
        let value = value.get();
        let is_text = value.starts_with('"');
        let is_number = value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if TEXTS.contains(&name.as_str()) && is_number {
            json.member(name, &quoted(value));
        } else if NUMBERS.contains(&name.as_str()) && is_text {
            let text: String = serde_json::from_str(value).unwrap_or_default();
            json.member(name, &number_or_text(&text));
        } else {
            json.member(name, value);
        }
    }
    Some(json.done())
}

/// The value of an XML element called `name` with this text.
pub(super) fn from_text(name: &str, text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        "null".to_owned()
    } else if NUMBERS.contains(&name) {
        number_or_text(text)
    } else {
        quoted(text)
    }
}

fn number_or_text(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return "null".to_owned();
    }
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if is_number { text.to_owned() } else { quoted(text) }
}

pub(super) fn quoted(text: &str) -> String {
    // A text always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

/// Writes an object member by member.
#[derive(Default)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn member(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(value);
    }

    pub(super) fn done(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}
