//! What CSV files and sheets share: a header, rows of cells, totals.

use bytes::Bytes;

use super::config::{FilesConfig, TotalRows};
use crate::connector::ConnectorError;

/// The header of one file and how its rows become records.
pub(super) struct Table {
    /// `"name":` of each column, as JSON.
    keys: Vec<Vec<u8>>,
    totals: Option<Totals>,
}

struct Totals {
    where_blank: Option<usize>,
    starts_with: Vec<String>,
}

impl Table {
    /// Checks `header` against what the profile needs.
    pub(super) fn new(
        file: &str,
        header: &[String],
        config: &FilesConfig,
        needed: &[String],
    ) -> Result<Self, ConnectorError> {
        let names = distinct(header);
        for column in config.columns.iter().chain(needed) {
            if !names.contains(column) {
                return Err(missing(file, column, &names));
            }
        }
        let totals = config.total_rows.as_ref().map(|rule| Totals::new(file, rule, &names)).transpose()?;
        let keys = names.iter().map(|name| [json_text(name).as_slice(), b":"].concat()).collect();
        Ok(Self { keys, totals })
    }

    /// A table of a file without rows.
    pub(super) fn empty() -> Self {
        Self { keys: Vec::new(), totals: None }
    }

    pub(super) fn width(&self) -> usize {
        self.keys.len()
    }

    /// A JSON object of the cells, their text untouched.
    pub(super) fn payload<'a>(&self, cells: impl Iterator<Item = &'a str>) -> Bytes {
        let mut json = Vec::with_capacity(64 + self.keys.len() * 32);
        for (key, cell) in self.keys.iter().zip(cells) {
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(key);
            push_json_text(&mut json, cell);
        }
        if json.is_empty() {
            json.push(b'{');
        }
        json.push(b'}');
        json.into()
    }

    /// Why a row is no record but a total.
    pub(super) fn is_total<'a>(&self, mut cells: impl Iterator<Item = &'a str> + Clone) -> bool {
        let Some(totals) = &self.totals else { return false };
        if let Some(column) = totals.where_blank
            && cells.clone().nth(column).is_none_or(|cell| cell.trim().is_empty())
        {
            return true;
        }
        let first = cells.find(|cell| !cell.trim().is_empty()).unwrap_or_default().trim_start().to_lowercase();
        totals.starts_with.iter().any(|start| first.starts_with(start))
    }
}

impl Totals {
    fn new(file: &str, rule: &TotalRows, names: &[String]) -> Result<Self, ConnectorError> {
        let where_blank = match &rule.where_blank {
            None => None,
            Some(column) => match names.iter().position(|name| name == column) {
                None => return Err(missing(file, column, names)),
                found => found,
            },
        };
        let starts_with = rule.starts_with.iter().map(|start| start.to_lowercase()).collect();
        Ok(Self { where_blank, starts_with })
    }
}

/// Header names, each once: blank ones are numbered, repeated ones get `_2`, `_3`, ….
pub(super) fn distinct(header: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (at, cell) in header.iter().enumerate() {
        let cell = cell.trim();
        let name = if cell.is_empty() { format!("column_{}", at + 1) } else { cell.to_owned() };
        let mut free = name.clone();
        let mut count = 1;
        while names.contains(&free) {
            count += 1;
            free = format!("{name}_{count}");
        }
        names.push(free);
    }
    names
}

fn missing(file: &str, column: &str, names: &[String]) -> ConnectorError {
    let wanted = column.to_lowercase();
    let nearest = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        _ if names.len() == 1 && names[0].contains([';', '\t', '|', ',']) => {
            "the whole header is one cell: is files.delimiter right?".to_owned()
        }
        Some((likeness, name)) if likeness > 0.75 => format!("the nearest is '{name}'"),
        _ => format!("it has {}", shortened(names)),
    };
    ConnectorError::Input {
        place: format!("file {file}"),
        what: format!("the header has no column '{column}'; {hint}; correct the profile or the file"),
    }
}

fn shortened(names: &[String]) -> String {
    let mut list = names.iter().take(12).map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    if names.len() > 12 {
        list.push_str(", …");
    }
    list
}

fn json_text(text: &str) -> Vec<u8> {
    let mut json = Vec::with_capacity(text.len() + 2);
    push_json_text(&mut json, text);
    json
}

fn push_json_text(json: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else if serde_json::to_writer(&mut *json, text).is_err() {
        // Writing a text into memory does not fail.
        json.extend_from_slice(b"null");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_blank_headers_become_distinct() {
        let header = ["a", "a", " b ", "", "a", "a_2"].map(str::to_owned);
        assert_eq!(distinct(&header), ["a", "a_2", "b", "column_4", "a_3", "a_2_2"]);
    }

    #[test]
    fn a_missing_column_names_its_nearest_match() {
        let names = ["id", "open_date"].map(str::to_owned);
        let text = missing("calls.csv", "open_dt", &names).to_string();
        assert!(text.contains("no column 'open_dt'; the nearest is 'open_date'"), "{text}");
        let text = missing("calls.csv", "open_dt", &["id;open_dt".to_owned()]).to_string();
        assert!(text.contains("is files.delimiter right?"), "{text}");
    }
}
