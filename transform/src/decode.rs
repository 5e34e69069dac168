//! From a record's JSON to the text columns a mapping reads. Numbers keep the digits
//! the source wrote; blank text and null are the same: nothing was said.

use std::collections::HashMap;

use sonic_rs::{JsonValueTrait, LazyValue};

/// Which text a mapping reads from a record, by column.
#[derive(Debug, Clone)]
pub struct Columns {
    names: Vec<String>,
    by_key: HashMap<String, Vec<(usize, Vec<String>)>>,
}

impl Columns {
    /// Columns and the dotted path of each. A path whose first step is a whole key
    /// with dots in it (`":@computed.x"`) is found as that key first.
    pub fn new(columns: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut names = Vec::new();
        let mut by_key: HashMap<String, Vec<(usize, Vec<String>)>> = HashMap::new();
        for (index, (name, path)) in columns.into_iter().enumerate() {
            names.push(name);
            by_key.entry(path.clone()).or_default().push((index, Vec::new()));
            if let Some((first, rest)) = path.split_once('.') {
                let rest = rest.split('.').map(str::to_owned).collect();
                by_key.entry(first.to_owned()).or_default().push((index, rest));
            }
        }
        Self { names, by_key }
    }

    /// Column names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The texts of one record, in column order, or why it cannot be read.
    pub fn read(&self, payload: &[u8]) -> Result<Vec<Option<String>>, String> {
        let text = std::str::from_utf8(payload)
            .map_err(|e| format!("payload is not UTF-8: bad byte at position {}", e.valid_up_to()))?;
        let mut row = vec![None; self.names.len()];
        let trimmed = text.trim_start();
        if !trimmed.starts_with('{') {
            return Err("payload is not a JSON object".to_owned());
        }
        for entry in sonic_rs::to_object_iter(trimmed) {
            let (key, value) = entry.map_err(|e| format!("payload is not JSON: {}", first_line(&e.to_string())))?;
            let Some(wanted) = self.by_key.get(&*key) else { continue };
            for (index, rest) in wanted {
                let found = if rest.is_empty() { scalar(&value) } else { descend(value.as_raw_str(), rest) };
                if let (Some(slot), Some(found)) = (row.get_mut(*index), found) {
                    *slot = Some(found);
                }
            }
        }
        Ok(row)
    }
}

/// The text at a dotted path of a JSON value; null, blank or absent is `None`.
pub fn json_text(json: &str, path: &str) -> Option<String> {
    let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
    descend(json, &steps)
}

fn descend(json: &str, steps: &[String]) -> Option<String> {
    let Some((step, rest)) = steps.split_first() else {
        return scalar(&sonic_rs::from_str::<LazyValue<'_>>(json).ok()?);
    };
    let value = match step.parse::<usize>() {
        Ok(index) if json.trim_start().starts_with('[') => sonic_rs::get(json, [index]).ok()?,
        _ => sonic_rs::get(json, [step.as_str()]).ok()?,
    };
    descend(value.as_raw_str(), rest)
}

fn scalar(value: &LazyValue<'_>) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match value.as_str() {
        Some(text) => (!text.trim().is_empty()).then(|| text.to_owned()),
        None => Some(value.as_raw_str().to_owned()),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Columns {
        Columns::new(names.iter().map(|n| ((*n).to_owned(), (*n).to_owned())))
    }

    #[test]
    fn numbers_keep_their_digits_and_blank_is_nothing() {
        let row = columns(&["id", "zip", "note", "gone", "flag"])
            .read(br#"{"id": 0.10, "zip": "02131", "note": " ", "gone": null, "flag": true}"#)
            .unwrap();
        assert_eq!(row, [Some("0.10".into()), Some("02131".into()), None, None, Some("true".into())]);
    }

    #[test]
    fn nested_values_are_found_by_path() {
        let row = columns(&["place.lat", "place", "list.1.x"])
            .read(br#"{"place": {"lat": "49.8"}, "list": [1, {"x": "\u0430"}]}"#)
            .unwrap();
        assert_eq!(row, [Some("49.8".into()), Some(r#"{"lat": "49.8"}"#.into()), Some("\u{430}".into())]);
    }

    #[test]
    fn what_is_no_object_says_so() {
        assert!(columns(&["a"]).read(b"[1]").unwrap_err().contains("not a JSON object"));
        assert!(columns(&["a"]).read(br#"{"a": }"#).unwrap_err().contains("not JSON"));
        assert!(columns(&["a"]).read(b"{\"a\": \"\xff\"}").unwrap_err().contains("position 7"));
    }
}
