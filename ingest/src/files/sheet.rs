//! Workbooks. Serial dates become ISO 8601 text, whole numbers lose their `.0`.

use std::io::Cursor;

use bytes::Bytes;
use calamine::{Data, Range, Reader, Xlsx};

use super::config::FilesConfig;
use super::rows::{Fault, Line, Row};
use super::table::Table;
use crate::connector::ConnectorError;

pub(super) struct SheetRows {
    rows: std::vec::IntoIter<(u32, Vec<String>)>,
    table: Table,
}

impl SheetRows {
    pub(super) fn open(file: &str, bytes: Bytes, config: &FilesConfig, needed: &[String]) -> Result<Self, Fault> {
        let unreadable = |e: calamine::XlsxError| Fault::File(format!("it is not a readable workbook ({e})"));
        let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(unreadable)?;
        let names = book.sheet_names();
        let sheet = match &config.sheet {
            None => names.first().cloned().ok_or_else(|| Fault::File("the workbook has no sheet".to_owned()))?,
            Some(sheet) if names.contains(sheet) => sheet.clone(),
            Some(sheet) => {
                return Err(Fault::Source(ConnectorError::Input {
                    place: format!("file {file}"),
                    what: format!("it has no sheet '{sheet}'; it has {names:?}; correct files.sheet"),
                }));
            }
        };
        let range = book.worksheet_range(&sheet).map_err(unreadable)?;
        let merged = book.merge_cells_by_sheet_name(&sheet).map_err(unreadable)?;
        let Some((first_row, first_column)) = range.start() else {
            return Ok(Self { rows: Vec::new().into_iter(), table: Table::empty() });
        };
        let mut rows: Vec<(u32, Vec<String>)> = texts(&range)
            .enumerate()
            .map(|(at, cells)| (first_row + u32::try_from(at).unwrap_or(u32::MAX), cells))
            .collect();
        // Only the header's merged cells are filled: in data they mean layout, not values.
        let skipped = u32::try_from(config.skip_rows).unwrap_or(u32::MAX);
        let start = rows
            .iter()
            .position(|(row, cells)| *row >= skipped && cells.iter().any(|cell| !cell.trim().is_empty()))
            .unwrap_or(rows.len());
        let end = (start + config.header_rows.max(1)).min(rows.len());
        for area in &merged {
            fill(&mut rows[start..end], first_column, area);
        }
        let header = joined(&rows[start..end]);
        let table = Table::new(file, &header, config, needed).map_err(Fault::Source)?;
        let data: Vec<_> =
            rows.drain(end..).filter(|(_, cells)| cells.iter().any(|cell| !cell.trim().is_empty())).collect();
        Ok(Self { rows: data.into_iter(), table })
    }

    pub(super) fn next(&mut self) -> Option<Row> {
        let (row, cells) = self.rows.next()?;
        let texts = cells.iter().map(String::as_str);
        let line = if self.table.is_total(texts.clone()) {
            Line::SetAside {
                reason: format!("sheet row {}: it is a total, not a record", row + 1),
                bytes: self.table.payload(texts),
            }
        } else {
            Line::Record(self.table.payload(texts))
        };
        Some(Row { line })
    }
}

fn texts(range: &Range<Data>) -> impl Iterator<Item = Vec<String>> + '_ {
    range.rows().map(|row| row.iter().map(text).collect())
}

fn fill(header: &mut [(u32, Vec<String>)], first_column: u32, area: &calamine::Dimensions) {
    let at = |column: u32| column.checked_sub(first_column).and_then(|c| usize::try_from(c).ok());
    let Some(value) = header
        .iter()
        .find(|(row, _)| *row == area.start.0)
        .and_then(|(_, cells)| cells.get(at(area.start.1)?).cloned())
    else {
        return;
    };
    for (row, cells) in header.iter_mut() {
        if !(area.start.0..=area.end.0).contains(row) {
            continue;
        }
        for column in area.start.1..=area.end.1 {
            if let Some(cell) = at(column).and_then(|c| cells.get_mut(c)) {
                cell.clone_from(&value);
            }
        }
    }
}

/// Header levels of each column, joined where they differ.
fn joined(levels: &[(u32, Vec<String>)]) -> Vec<String> {
    let width = levels.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    (0..width)
        .map(|column| {
            let mut parts: Vec<&str> = Vec::new();
            for (_, cells) in levels {
                let part = cells.get(column).map_or("", |cell| cell.trim());
                if !part.is_empty() && parts.last() != Some(&part) {
                    parts.push(part);
                }
            }
            parts.join(" / ")
        })
        .collect()
}

fn text(cell: &Data) -> String {
    match cell {
        Data::Empty => String::new(),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => number_text(*number),
        Data::Bool(value) => value.to_string(),
        Data::Error(error) => error.to_string(),
        Data::DateTime(serial) if serial.is_duration() => {
            let seconds = serial.as_duration().map_or(0, |d| d.num_seconds());
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
        Data::DateTime(serial) => match serial.as_datetime() {
            Some(at) if serial.as_f64() < 1.0 => at.format("%H:%M:%S").to_string(),
            Some(at) if at.and_utc().timestamp_subsec_millis() == 0 => at.format("%Y-%m-%dT%H:%M:%S").to_string(),
            Some(at) => at.format("%Y-%m-%dT%H:%M:%S%.3f").to_string(),
            None => number_text(serial.as_f64()),
        },
    }
}

/// Whole numbers without `.0`; others as the shortest text that reads back the same.
fn number_text(number: f64) -> String {
    // Within 2^53 every whole number is exact.
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        format!("{number:.0}")
    } else {
        number.to_string()
    }
}
