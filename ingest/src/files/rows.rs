//! The rows of one file, whatever it is written in.

use std::io::{self, Read as _};

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::config::{Charset, FilesConfig, Format, extension};
use super::csv::{CsvRows, Cutter, texts};
use super::json::{Document, JsonLines};
use super::sheet::SheetRows;
use super::snapshot::Snapshot;
use super::table::Table;
use crate::connector::ConnectorError;

/// Formats that are read whole may have this many bytes.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: Line,
}

/// What a row is.
#[derive(Debug)]
pub(super) enum Line {
    Record(Bytes),
    SetAside { reason: String, bytes: Bytes },
}

/// Why a file cannot be read.
pub(super) enum Fault {
    /// The file is to be set aside whole, for this reason.
    File(String),
    /// The source stops or tries again.
    Source(ConnectorError),
}

pub(super) enum Rows {
    Csv(CsvRows),
    Lines(JsonLines),
    Document(Document),
    Sheet(SheetRows),
    Empty,
}

impl Rows {
    pub(super) fn open(
        file: &str,
        snapshot: &mut Snapshot,
        config: &FilesConfig,
        charset: Charset,
        needed: &[String],
    ) -> Result<Self, Fault> {
        let format = config.format.or_else(|| Format::of_name(file)).ok_or_else(|| {
            Fault::Source(ConnectorError::Input {
                place: format!("file {file}"),
                what: "its extension says nothing about its format; set files.format to csv, jsonl, json or xlsx"
                    .to_owned(),
            })
        })?;
        let io =
            |source| Fault::Source(ConnectorError::Io { doing: "read the copy of", place: file.to_owned(), source });
        if format == Format::Xlsx {
            let bytes = snapshot.bytes(MAX_DOCUMENT_BYTES).map_err(io)?.ok_or_else(too_long)?;
            return SheetRows::open(file, bytes, config, needed).map(Self::Sheet);
        }
        let (encoding, skip) = settle_encoding(snapshot, charset).map_err(io)??;
        match format {
            Format::Csv => {
                let mut source = snapshot.reader().map_err(io)?;
                io::copy(&mut io::Read::take(&mut source, skip), &mut io::sink()).map_err(io)?;
                let delimiter = match config.delimiter {
                    Some(delimiter) => delimiter as u8,
                    None if extension(file) == "tsv" => b'\t',
                    None => b',',
                };
                let mut cutter = Cutter::new(source, delimiter, skip);
                for _ in 0..config.skip_rows {
                    cutter.line().map_err(io)?;
                }
                let Some(header) = cutter.row().map_err(io)? else { return Ok(Self::Empty) };
                let header: Vec<String> = texts(&header, encoding)
                    .map_err(|reason| Fault::File(format!("its header cannot be read: {reason}")))?
                    .into_iter()
                    .map(Into::into)
                    .collect();
                let table = Table::new(file, &header, config, needed).map_err(Fault::Source)?;
                Ok(Self::Csv(CsvRows { cutter, table, encoding }))
            }
            Format::Jsonl | Format::Json if encoding.is_some() => {
                let bytes = snapshot.bytes(MAX_DOCUMENT_BYTES).map_err(io)?.ok_or_else(too_long)?;
                transcode(snapshot, encoding.unwrap_or(UTF_8), &bytes)?;
                Self::json(format, snapshot, config, 0).map_err(io)?
            }
            _ => Self::json(format, snapshot, config, skip).map_err(io)?,
        }
    }

    fn json(
        format: Format,
        snapshot: &mut Snapshot,
        config: &FilesConfig,
        skip: u64,
    ) -> io::Result<Result<Self, Fault>> {
        if format == Format::Jsonl {
            let mut source = snapshot.reader()?;
            io::copy(&mut io::Read::take(&mut source, skip), &mut io::sink())?;
            return Ok(Ok(Self::Lines(JsonLines::new(Cutter::new(source, b',', skip)))));
        }
        let Some(bytes) = snapshot.bytes(MAX_DOCUMENT_BYTES)? else { return Ok(Err(too_long())) };
        let bytes = bytes.slice(usize::try_from(skip).unwrap_or(0)..);
        Ok(Document::open(bytes, config.records.as_deref()).map(Self::Document).map_err(Fault::File))
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        match self {
            Self::Csv(rows) => rows.next(),
            Self::Lines(rows) => rows.next(),
            Self::Document(rows) => Ok(rows.next()),
            Self::Sheet(rows) => Ok(rows.next()),
            Self::Empty => Ok(None),
        }
    }
}

fn too_long() -> Fault {
    Fault::File(format!(
        "it has more than {MAX_DOCUMENT_BYTES} bytes, too many for a format that is read whole; split it or use JSON lines"
    ))
}

/// The encoding cells are to be decoded with (`None`: strict UTF-8) and the bytes of the
/// byte order mark. Text whose delimiters are not single ASCII bytes is rewritten first.
fn settle_encoding(
    snapshot: &mut Snapshot,
    charset: Charset,
) -> io::Result<Result<(Option<&'static Encoding>, u64), Fault>> {
    let mut start = Vec::new();
    io::Read::take(snapshot.reader()?, 1024 * 1024).read_to_end(&mut start)?;
    let mark = Encoding::for_bom(&start);
    let encoding = match (mark, charset) {
        (Some((encoding, _)), _) => encoding,
        (None, Charset::Default) => UTF_8,
        (None, Charset::Named(encoding)) => encoding,
        (None, Charset::Detect) => {
            let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
            detector.feed(&start, start.len() < 1024 * 1024);
            detector.guess(None, chardetng::Utf8Detection::Allow)
        }
    };
    let skip = mark.map_or(0, |(_, length)| length as u64);
    if encoding == UTF_8 {
        return Ok(Ok((None, skip)));
    }
    if encoding.is_single_byte() {
        return Ok(Ok((Some(encoding), skip)));
    }
    let Some(bytes) = snapshot.bytes(MAX_DOCUMENT_BYTES)? else { return Ok(Err(too_long())) };
    debug_assert!(encoding == UTF_16LE || encoding == UTF_16BE || !encoding.is_single_byte());
    Ok(transcode(snapshot, encoding, &bytes).map(|()| (None, 0)))
}

fn transcode(snapshot: &mut Snapshot, encoding: &'static Encoding, bytes: &[u8]) -> Result<(), Fault> {
    let (text, _, malformed) = encoding.decode(bytes);
    if malformed {
        return Err(Fault::File(format!(
            "it is not {} throughout; correct files.encoding or the file",
            encoding.name()
        )));
    }
    let text = text.into_owned();
    snapshot.replace(text.into());
    Ok(())
}
