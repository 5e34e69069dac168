//! Tables in CSV: `# version: …` in a comment, a header, rows. What is wrong is told
//! with the line it stands on.

use ahual_schemas::Day;
use chrono::NaiveDate;

use super::{File, Problem};

/// When a row holds: from its first day up to, not including, `to`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validity {
    /// First day; open where the row is older than anything it is asked about.
    pub from: Option<Day>,
    /// First day after; open where it still holds.
    pub to: Option<Day>,
}

impl Validity {
    /// Whether it holds on `day`.
    pub fn covers(self, day: Day) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day < to)
    }

    /// Whether there is a day on which both hold.
    pub fn meets(self, other: Self) -> bool {
        let before = |a: Self, b: Self| a.to.zip(b.from).is_some_and(|(to, from)| to <= from);
        !before(self, other) && !before(other, self)
    }
}

/// A file read as a table.
pub(crate) struct Sheet<'a> {
    file: &'a File,
    /// What `# version:` says.
    pub(crate) version: String,
    columns: Vec<&'static str>,
    lines: Vec<(usize, csv::StringRecord)>,
}

/// One row.
pub(crate) struct Line<'a> {
    sheet: &'a Sheet<'a>,
    number: usize,
    cells: &'a csv::StringRecord,
}

impl<'a> Sheet<'a> {
    /// Reads `file`, whose header names `columns` and nothing else, in any order.
    pub(crate) fn read(file: &'a File, columns: &[&'static str], problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let version = file.text.lines().filter_map(|l| l.strip_prefix("# version:")).map(str::trim).next();
        if version.is_none_or(str::is_empty) {
            problems.push(file.problem(Some(0..0), "says no version; begin with a line '# version: 2026-01-31'"));
        }
        let mut reader =
            csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(file.text.as_bytes());
        let mut found = Vec::new();
        match reader.headers() {
            Ok(header) => {
                for name in header {
                    match columns.iter().find(|known| **known == name) {
                        Some(known) => found.push(*known),
                        None => {
                            let what = format!("there is no column '{name}'; there are {}", columns.join(", "));
                            problems.push(Problem { file: file.shown.clone(), line: None, what });
                        }
                    }
                }
            }
            Err(e) => problems.push(Problem { file: file.shown.clone(), line: None, what: e.to_string() }),
        }
        for missing in columns.iter().filter(|column| !found.contains(column)) {
            let what = format!("has no column '{missing}'");
            problems.push(Problem { file: file.shown.clone(), line: None, what });
        }
        if problems.len() > before {
            return None;
        }
        let mut lines = Vec::new();
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = record.position().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
                    lines.push((line, record));
                }
                Err(e) => {
                    let line = e.position().map(|at| usize::try_from(at.line()).unwrap_or(0));
                    problems.push(Problem { file: file.shown.clone(), line, what: e.to_string() });
                }
            }
        }
        Some(Self { file, version: version.unwrap_or_default().to_owned(), columns: found, lines })
    }

    /// The rows, in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|(number, cells)| Line { sheet: self, number: *number, cells })
    }
}

impl Line<'_> {
    /// What is wrong with this row.
    pub(crate) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem { file: self.sheet.file.shown.clone(), line: Some(self.number), what: what.into() }
    }

    /// A cell; none where it is blank.
    pub(crate) fn text(&self, column: &str) -> Option<&str> {
        let index = self.sheet.columns.iter().position(|c| *c == column)?;
        self.cells.get(index).filter(|cell| !cell.is_empty())
    }

    /// A cell that must not be blank.
    pub(crate) fn required(&self, column: &str, problems: &mut Vec<Problem>) -> Option<&str> {
        let text = self.text(column);
        if text.is_none() {
            problems.push(self.problem(format!("{column} is blank")));
        }
        text
    }

    /// `valid_from` and `valid_to`.
    pub(crate) fn validity(&self, problems: &mut Vec<Problem>) -> Validity {
        let mut day = |column: &str| {
            let text = self.text(column)?;
            let day = parse_day(text);
            if day.is_none() {
                problems.push(self.problem(format!("{column} '{text}' is no day; write 2022-06-08")));
            }
            day
        };
        let validity = Validity { from: day("valid_from"), to: day("valid_to") };
        if validity.from.zip(validity.to).is_some_and(|(from, to)| to <= from) {
            problems.push(self.problem("valid_to, the first day after, is not later than valid_from"));
        }
        validity
    }

    /// A number.
    pub(crate) fn number<T: std::str::FromStr>(&self, column: &str, problems: &mut Vec<Problem>) -> Option<T> {
        let text = self.text(column)?;
        let number = text.parse().ok();
        if number.is_none() {
            problems.push(self.problem(format!("{column} '{text}' is no number")));
        }
        number
    }
}

fn parse_day(text: &str) -> Option<Day> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(date.signed_duration_since(epoch).num_days()).ok().map(Day)
}
