//! `[source.files]`.

use encoding_rs::Encoding;
use serde::Deserialize;

/// Which files, and how they are written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// A file, a folder, or a pattern with `*` and `?` in its last component; or a list of
    /// them. Relative to the folder of the configuration file.
    pub path: Paths,
    /// How the files are written; by their extension (before `.gz`) when absent.
    pub format: Option<Format>,
    /// Delimiter of CSV cells, one ASCII character; `,` when absent (tab for `.tsv`).
    pub delimiter: Option<char>,
    /// Encoding label (`windows-1251`, `utf-16le`, …) or `detect`. When absent: the byte
    /// order mark, else UTF-8, and rows that are not UTF-8 are set aside.
    pub encoding: Option<String>,
    /// Lines (of a sheet: rows) before the header.
    #[serde(default)]
    pub skip_rows: usize,
    /// Rows the header of a sheet spans; merged cells are filled, levels joined by ` / `.
    #[serde(default = "one")]
    pub header_rows: usize,
    /// Columns the header must hold. A file that lacks one stops the source.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Which rows are totals, to be set aside.
    pub total_rows: Option<TotalRows>,
    /// Path to the array of records in a JSON document; the document itself when absent.
    pub records: Option<String>,
    /// Sheet of a workbook; the first when absent.
    pub sheet: Option<String>,
    /// Whether to look for new and changed files again and again.
    #[serde(default)]
    pub watch: bool,
    /// Seconds a file must have rested before it is read.
    #[serde(default)]
    pub settle_s: f64,
    /// Rows on a page.
    #[serde(default = "two_thousand")]
    pub page_rows: usize,
    /// Bytes a file may have when unpacked; a larger one is set aside.
    #[serde(default = "sixteen_gib")]
    pub max_unpacked_bytes: u64,
}

fn one() -> usize {
    1
}

fn two_thousand() -> usize {
    2_000
}

fn sixteen_gib() -> u64 {
    16 << 30
}

/// One path or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Paths {
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Self::One(path) => vec![path.clone()],
            Self::Several(paths) => paths.clone(),
        }
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Delimited text with a header.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// A document with an array of JSON objects.
    Json,
    /// A workbook.
    Xlsx,
}

impl Format {
    /// The format an extension stands for, `.gz` left aside.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match extension(name).as_str() {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" | "geojson" => Some(Self::Json),
            "xlsx" | "xlsm" => Some(Self::Xlsx),
            _ => None,
        }
    }
}

/// Extension in lower case, `.gz` left aside.
pub(super) fn extension(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map(|(_, extension)| extension.to_owned()).unwrap_or_default()
}

/// What makes a row a total rather than a record.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TotalRows {
    /// The row's cell of this column is blank.
    pub where_blank: Option<String>,
    /// The row's first cell that is not blank begins with one of these, in any case.
    pub starts_with: Vec<String>,
}

/// How text is encoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Charset {
    /// By byte order mark, else UTF-8, strictly.
    Default,
    /// Guessed from the first megabyte.
    Detect,
    /// As named.
    Named(&'static Encoding),
}

impl Charset {
    pub(super) fn of(label: Option<&str>) -> Option<Self> {
        match label {
            None => Some(Self::Default),
            Some("detect") => Some(Self::Detect),
            Some(label) => Encoding::for_label(label.as_bytes()).map(Self::Named),
        }
    }
}
