//! Delimited text, RFC 4180 with the leniency files need.
//!
//! Rows are cut here rather than by a CSV library because what cannot be taken must be
//! kept with its exact bytes, its line and its place in the file, and because a quote
//! that is never closed may cost one row but not the rest of the file. What is cut from
//! well-formed text equals what the `csv` crate cuts (a property test says so).

use std::io::{self, Read};

use bytes::Bytes;
use encoding_rs::Encoding;
use memchr::{memchr, memchr2};

use super::rows::{Line, Row};
use super::table::Table;

/// A quoted row longer than this is taken for one with a quote that was never closed.
const MAX_ROW_BYTES: usize = 1024 * 1024;
/// A line longer than this is cut, to be set aside in pieces: nothing that long fits the log.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;
const BLOCK_BYTES: usize = 256 * 1024;

/// Cuts text into rows of raw bytes and cells.
pub(super) struct Cutter {
    source: Box<dyn Read + Send + Sync>,
    delimiter: u8,
    buffer: Vec<u8>,
    /// Where the next row starts in `buffer`.
    start: usize,
    ended: bool,
    /// Bytes before `buffer`.
    before: u64,
    line: u64,
}

/// A row as cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// Bytes without the line end.
    pub(super) raw: Vec<u8>,
    /// Line the row begins on, from 1.
    pub(super) line: u64,
    /// Byte the row begins at, from 0.
    pub(super) at: u64,
    /// Cells, unquoted, one after the other.
    cells: Vec<u8>,
    /// Where each cell ends in `cells`.
    ends: Vec<usize>,
    /// A quote was opened and never closed.
    pub(super) unclosed: bool,
}

impl Cut {
    pub(super) fn cells(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|at| {
            let from = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.cells[from..self.ends[at]]
        })
    }
}

enum Scan {
    /// Length of the row in bytes, its line end included.
    Row(usize),
    Unclosed,
    More,
}

impl Cutter {
    pub(super) fn new(source: Box<dyn Read + Send + Sync>, delimiter: u8, before: u64) -> Self {
        Self { source, delimiter, buffer: Vec::new(), start: 0, ended: false, before, line: 1 }
    }

    /// One line without regard to cells; `None` at the end.
    pub(super) fn line(&mut self) -> io::Result<Option<Cut>> {
        loop {
            let data = &self.buffer[self.start..];
            if let Some(end) = memchr(b'\n', data) {
                return Ok(Some(self.take(end + 1, Vec::new(), Vec::new(), false)));
            }
            if self.ended || data.len() > MAX_LINE_BYTES {
                let rest = data.len();
                return Ok((rest > 0).then(|| self.take(rest, Vec::new(), Vec::new(), false)));
            }
            self.fill()?;
        }
    }

    /// The next row that is not a blank line; `None` at the end.
    pub(super) fn row(&mut self) -> io::Result<Option<Cut>> {
        loop {
            let mut cells = Vec::new();
            let mut ends = Vec::new();
            let data = &self.buffer[self.start..];
            if data.is_empty() && self.ended {
                return Ok(None);
            }
            let scan = scan(data, self.delimiter, self.ended, &mut cells, &mut ends);
            match scan {
                Scan::Row(length) => {
                    let cut = self.take(length, cells, ends, false);
                    if !cut.raw.is_empty() {
                        return Ok(Some(cut));
                    }
                }
                Scan::More
                    if data.len() <= MAX_ROW_BYTES
                        || (data.len() <= MAX_LINE_BYTES && memchr(b'\n', data).is_none()) =>
                {
                    self.fill()?;
                }
                Scan::Unclosed | Scan::More => {
                    let length = memchr(b'\n', data).map_or(data.len(), |end| end + 1);
                    return Ok(Some(self.take(length, Vec::new(), Vec::new(), true)));
                }
            }
        }
    }

    fn take(&mut self, length: usize, cells: Vec<u8>, ends: Vec<usize>, unclosed: bool) -> Cut {
        let whole = &self.buffer[self.start..self.start + length];
        let lines = memchr::memchr_iter(b'\n', whole).count() as u64;
        let raw = whole.strip_suffix(b"\n").unwrap_or(whole);
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw).to_vec();
        let cut = Cut { raw, line: self.line, at: self.before + self.start as u64, cells, ends, unclosed };
        self.start += length;
        self.line += lines;
        cut
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.before += self.start as u64;
        self.start = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + BLOCK_BYTES, 0);
        let n = loop {
            match self.source.read(&mut self.buffer[old..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(old + *n.as_ref().unwrap_or(&0));
        self.ended |= n? == 0;
        Ok(())
    }
}

/// Finds the end of the first row of `data` and its cells.
fn scan(data: &[u8], delimiter: u8, ended: bool, cells: &mut Vec<u8>, ends: &mut Vec<usize>) -> Scan {
    let mut at = 0;
    loop {
        if data.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let Some(quote) = memchr(b'"', &data[at..]) else {
                    return if ended { Scan::Unclosed } else { Scan::More };
                };
                cells.extend_from_slice(&data[at..at + quote]);
                at += quote + 1;
                match data.get(at) {
                    Some(b'"') => {
                        cells.push(b'"');
                        at += 1;
                    }
                    None if !ended => return Scan::More,
                    _ => break,
                }
            }
        }
        // What follows a closed quote is part of the cell, as the `csv` crate has it.
        let stop = memchr2(delimiter, b'\n', &data[at..]);
        let text = &data[at..stop.map_or(data.len(), |stop| at + stop)];
        match stop {
            Some(stop) if data[at + stop] == delimiter => {
                cells.extend_from_slice(text);
                ends.push(cells.len());
                at += stop + 1;
            }
            Some(stop) => {
                cells.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                ends.push(cells.len());
                return Scan::Row(at + stop + 1);
            }
            None if ended => {
                cells.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                ends.push(cells.len());
                return Scan::Row(data.len());
            }
            None => return Scan::More,
        }
    }
}

/// The rows of one file as records.
pub(super) struct CsvRows {
    pub(super) cutter: Cutter,
    pub(super) table: Table,
    /// `None` is UTF-8, strictly.
    pub(super) encoding: Option<&'static Encoding>,
}

impl CsvRows {
    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        let Some(cut) = self.cutter.row()? else { return Ok(None) };
        let line = match self.record(&cut) {
            Ok(payload) => Line::Record(payload),
            Err(reason) => Line::SetAside { reason: format!("line {}: {reason}", cut.line), bytes: cut.raw.into() },
        };
        Ok(Some(Row { line }))
    }

    fn record(&self, cut: &Cut) -> Result<Bytes, String> {
        if cut.unclosed {
            return Err("a quote is opened and never closed, or the line has no end".to_owned());
        }
        let cells = texts(cut, self.encoding)?;
        let cells = cells.iter().map(AsRef::as_ref);
        if self.table.is_total(cells.clone()) {
            return Err("it is a total, not a record".to_owned());
        }
        let (found, expected) = (cells.len(), self.table.width());
        if found != expected {
            return Err(format!(
                "{found} cells where the header has {expected}; a column is shifted, missing or not quoted"
            ));
        }
        Ok(self.table.payload(cells))
    }
}

/// The cells as text, or where they cannot be read.
pub(super) fn texts<'a>(
    cut: &'a Cut,
    encoding: Option<&'static Encoding>,
) -> Result<Vec<std::borrow::Cow<'a, str>>, String> {
    if let Some(encoding) = encoding {
        return cut
            .cells()
            .enumerate()
            .map(|(at, cell)| {
                encoding
                    .decode_without_bom_handling_and_without_replacement(cell)
                    .ok_or_else(|| format!("cell {} holds a byte that {} does not have", at + 1, encoding.name()))
            })
            .collect();
    }
    if let Err(e) = std::str::from_utf8(&cut.raw) {
        let place = cut.at + e.valid_up_to() as u64;
        return Err(format!(
            "byte {place} of the unpacked file is not UTF-8; if the file has another encoding, name it in files.encoding"
        ));
    }
    cut.cells()
        .enumerate()
        .map(|(at, cell)| {
            std::str::from_utf8(cell).map(Into::into).map_err(|_| format!("cell {} is not UTF-8", at + 1))
        })
        .collect()
}
