//! The national classifier, from a file the operator names: all codes that are in force.

use std::collections::HashSet;

use super::{Kato, Level, Territory};
use crate::reference::{File, Problem, Validity};

/// The national classifier as a file told it.
///
/// CSV with `,` or `;`, UTF-8, gzip or not. Columns are found by name: the code in `kato`
/// or `te`, names in `name_ru` or `name_rus` and `name_kk` or `name_kaz`, the kind of
/// unit in `type_code` or `k`, the edition in `kato_version`. Other columns are ignored:
/// levels follow from the digits. The file says what is in force and nothing of what was.
#[derive(Debug, Default)]
pub struct Classifier {
    /// Its territories.
    pub rows: Vec<Territory>,
    /// Names in which a Macedonian `ќ` or `Ќ` stood for `қ` or `Қ`, and was put right.
    pub mended_names: usize,
}

impl Classifier {
    /// Reads such a file.
    pub fn read(file: &File, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let mut wrong =
            |line: Option<usize>, what: String| problems.push(Problem { file: file.shown.clone(), line, what });
        let text = file.text.trim_start_matches('\u{feff}');
        let header = text.lines().next().unwrap_or_default();
        let delimiter = if header.matches(';').count() > header.matches(',').count() { b';' } else { b',' };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(text.as_bytes());
        let columns = match reader.headers() {
            Ok(columns) => columns.clone(),
            Err(e) => {
                wrong(None, e.to_string());
                return None;
            }
        };
        let find = |names: &[&str]| columns.iter().position(|column| names.contains(&column));
        let Some(code) = find(&["kato", "te"]) else {
            wrong(Some(1), "has no column of codes; it is called kato or te".to_owned());
            return None;
        };
        let (ru, kk) = (find(&["name_ru", "name_rus"]), find(&["name_kk", "name_kaz"]));
        let (kind, edition) = (find(&["type_code", "k"]), find(&["kato_version"]));
        let mut classifier = Self::default();
        let mut seen = HashSet::new();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(e) => {
                    wrong(None, e.to_string());
                    continue;
                }
            };
            let line = record.position().and_then(|at| usize::try_from(at.line()).ok());
            let text = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|t| !t.is_empty());
            let written = text(Some(code)).unwrap_or_default();
            let Some(kato) = Kato::new(written) else {
                wrong(line, format!("'{written}' is no code; a code has nine digits"));
                continue;
            };
            if !seen.insert(kato) {
                wrong(line, format!("{kato} stands in the classifier twice"));
                continue;
            }
            let mut name = |column| {
                let written: &str = text(column)?;
                let mended = written.replace('ќ', "қ").replace('Ќ', "Қ");
                classifier.mended_names += usize::from(mended != written);
                Some(mended)
            };
            let (name_ru, name_kk) = (name(ru), name(kk));
            classifier.rows.push(Territory {
                kato,
                level: level(kato, text(kind), name_ru.as_deref().unwrap_or_default()),
                name_kk,
                name_ru,
                name_en: None,
                parent: None,
                validity: Validity::default(),
                successor: None,
                point: None,
                version: text(edition).unwrap_or(&file.shown).to_owned(),
            });
        }
        for row in &classifier.rows {
            if row.level != Level::Region && !row.kato.above().any(|above| seen.contains(&above)) {
                wrong(None, format!("{} has nothing above it in the classifier", row.kato));
            }
        }
        (problems.len() == before).then_some(classifier)
    }
}

/// The kind of a unit. The digits give the depth; what a city is and what a district the
/// classifier says by number (1 and 3 are urban) or in the Russian name.
fn level(kato: Kato, kind: Option<&str>, name_ru: &str) -> Level {
    let town = name_ru.starts_with("г.") || name_ru.starts_with("город ");
    let city_district = name_ru.starts_with("район") || name_ru.starts_with("р.а.") || name_ru.ends_with("р.а.");
    match kato.depth() {
        0 => Level::Region,
        1 => match kind {
            Some("1" | "3") => Level::City,
            Some(_) => Level::District,
            None if name_ru.ends_with("Г.А.") || name_ru.ends_with("г.а.") => Level::City,
            None => Level::District,
        },
        _ if town => Level::Town,
        _ if city_district => Level::CityDistrict,
        2 => Level::SubDistrict,
        _ => Level::Settlement,
    }
}
