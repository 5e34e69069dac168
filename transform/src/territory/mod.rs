//! Territory: the classifier KATO with validity and successors, and where a point lies.
//!
//! A region is not the same thing at every date. On 2022-06-08 five units left Karaganda
//! region (35) and became Ulytau region (62) under new codes, and sources send the old
//! ones for years. [`Territories::at`] therefore answers two different questions: what a
//! code was called on the day ([`View::Then`]), and what it is called now
//! ([`View::Now`]). Neither reads a clock: *now* is the last state the classifier knows.
//!
//! Nothing is guessed. What a code's text has lost is named by [`Territories::problem`]
//! and not repaired; a code the classifier does not know is taken as the nearest code
//! above it, which its digits state, and is named as unknown beside that.

mod classifier;
mod code;
pub(crate) mod functions;
mod history;
mod places;
mod polygon;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ahual_schemas::Day;

pub use classifier::Classifier;
pub use code::{Kato, Spelling, Written, read};
pub use history::View;
pub use places::{Boundaries, BoundariesConfig, Places, Settlements, SettlementsConfig};

use crate::reference::{Files, Problem, Sheet, Validity};

/// Attribute of an event, and of its case: what is wrong with the code the source gave.
pub(crate) const PROBLEM: &str = "territory_problem";
/// Attribute beside [`PROBLEM`]: what the source wrote, where that is not `territory`.
pub(crate) const SAID: &str = "territory_said";

/// What kind of territory a code names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A region, or a city of the republic.
    Region,
    /// A city of the region, with what belongs to it.
    City,
    /// A district.
    District,
    /// A district of a city.
    CityDistrict,
    /// A rural district, or the administration of a town, settlement or village.
    SubDistrict,
    /// A town by itself.
    Town,
    /// A settlement, a village, or any other place with a code.
    Settlement,
}

impl Level {
    const ALL: [Self; 7] =
        [Self::Region, Self::City, Self::District, Self::CityDistrict, Self::SubDistrict, Self::Town, Self::Settlement];

    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::City => "city",
            Self::District => "district",
            Self::CityDistrict => "city_district",
            Self::SubDistrict => "sub_district",
            Self::Town => "town",
            Self::Settlement => "settlement",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

/// A language of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Kazakh.
    Kazakh,
    /// Russian.
    Russian,
    /// English.
    English,
}

impl Language {
    /// `kk`, `ru` or `en`.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "kk" => Some(Self::Kazakh),
            "ru" => Some(Self::Russian),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// One territory.
#[derive(Debug, Clone, PartialEq)]
pub struct Territory {
    /// Its code.
    pub kato: Kato,
    /// Its kind.
    pub level: Level,
    /// Name in Kazakh.
    pub name_kk: Option<String>,
    /// Name in Russian.
    pub name_ru: Option<String>,
    /// Name in English.
    pub name_en: Option<String>,
    /// The nearest territory above it.
    pub parent: Option<Kato>,
    /// When the code holds; its own, or else its parent's.
    pub validity: Validity,
    /// The code that followed when this one ended.
    pub successor: Option<Kato>,
    /// Degrees, WGS 84: longitude and latitude of a centre point.
    pub point: Option<(f64, f64)>,
    /// Version of the table it comes from.
    pub version: String,
}

/// All territories, by code.
#[derive(Debug, Default)]
pub struct Territories {
    rows: Vec<Territory>,
    by_code: HashMap<Kato, usize>,
    /// Code → the codes it followed.
    before: HashMap<Kato, Vec<Kato>>,
    /// Code → the codes straight below it.
    below: HashMap<Kato, Vec<Kato>>,
}

const COLUMNS: [&str; 10] =
    ["kato", "level", "name_kk", "name_ru", "name_en", "valid_from", "valid_to", "successor", "longitude", "latitude"];

impl Territories {
    /// Reads the files of kind `territory`, and adds what only the national classifier
    /// knows, if one is given. Where both know a code, the files' row stands.
    pub fn read(files: &Files, classifier: Option<Classifier>, problems: &mut Vec<Problem>) -> Self {
        let mut told = Vec::new();
        let mut rows: HashMap<Kato, Territory> = HashMap::new();
        for file in files.of("territory") {
            let Some(sheet) = Sheet::read(file, &COLUMNS, problems) else { continue };
            for line in sheet.lines() {
                let Some(row) = territory(&line, &sheet.version, problems) else { continue };
                if rows.contains_key(&row.kato) {
                    problems.push(line.problem(format!("{} stands in reference data twice; keep one row", row.kato)));
                    continue;
                }
                told.push((row.kato, line.problem("")));
                rows.insert(row.kato, row);
            }
        }
        for row in classifier.into_iter().flat_map(|c| c.rows) {
            rows.entry(row.kato).or_insert(row);
        }
        let mut all: Vec<Territory> = rows.into_values().collect();
        all.sort_by_key(|row| row.kato);
        let territories = Self::index(all);
        territories.check(&told, problems);
        territories
    }

    fn index(mut rows: Vec<Territory>) -> Self {
        let by_code: HashMap<Kato, usize> = rows.iter().enumerate().map(|(n, row)| (row.kato, n)).collect();
        let (mut before, mut below): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
        // Codes are in order, so what lies above a row stands before it.
        for n in 0..rows.len() {
            let kato = rows[n].kato;
            let above = kato.above().find_map(|k| by_code.get(&k).copied());
            if let Some(above) = above {
                let upper = rows[above].validity;
                rows[n].parent = Some(rows[above].kato);
                let own = &mut rows[n].validity;
                own.from = own.from.or(upper.from);
                own.to = own.to.or(upper.to);
                below.entry(rows[above].kato).or_default().push(kato);
            }
            if let Some(successor) = rows[n].successor {
                before.entry(successor).or_default().push(kato);
            }
        }
        Self { rows, by_code, before, below }
    }

    /// Checks what one row cannot know. `told` says where each row of the files stands.
    fn check(&self, told: &[(Kato, Problem)], problems: &mut Vec<Problem>) {
        for (kato, at) in told {
            let Some(row) = self.get(*kato) else { continue };
            let mut wrong = |what: String| problems.push(Problem { what, ..at.clone() });
            if row.parent.is_none() && row.level != Level::Region {
                wrong(format!("{kato} is a {}, and no code above it is known", row.level.as_str()));
            }
            let Some(successor) = row.successor else { continue };
            match self.get(successor) {
                None => wrong(format!("{kato}: its successor {successor} is not known")),
                Some(next) => {
                    if row.validity.to.is_none() {
                        wrong(format!("{kato} has a successor but no valid_to; say when it ended"));
                    }
                    // With a gap there would be days on which neither code holds.
                    if next.validity.from.zip(row.validity.to).is_some_and(|(from, to)| from > to) {
                        wrong(format!("{kato} ends before its successor {successor} begins"));
                    }
                }
            }
            if self.goes_round(*kato) {
                wrong(format!("{kato}: its successors lead back to it"));
            }
        }
    }

    fn goes_round(&self, kato: Kato) -> bool {
        let mut next = self.get(kato).and_then(|row| row.successor);
        for _ in 0..self.rows.len() {
            match next {
                None => return false,
                Some(code) if code == kato => return true,
                Some(code) => next = self.get(code).and_then(|row| row.successor),
            }
        }
        true
    }

    /// The territory of a code.
    pub fn get(&self, kato: Kato) -> Option<&Territory> {
        self.by_code.get(&kato).and_then(|n| self.rows.get(*n))
    }

    /// All territories, in order of code.
    pub fn iter(&self) -> impl Iterator<Item = &Territory> {
        self.rows.iter()
    }

    /// The territory of a code, or else the nearest one above it.
    pub fn known(&self, kato: Kato) -> Option<&Territory> {
        self.get(kato).or_else(|| kato.above().find_map(|k| self.get(k)))
    }

    /// What lies straight below a code.
    fn below(&self, kato: Kato) -> &[Kato] {
        self.below.get(&kato).map_or(&[], Vec::as_slice)
    }

    /// A territory and everything above it, nearest first.
    pub fn upwards(&self, kato: Kato) -> impl Iterator<Item = &Territory> {
        std::iter::successors(self.known(kato), |row| row.parent.and_then(|parent| self.get(parent)))
    }

    /// The region a code lies in.
    pub fn region(&self, kato: Kato) -> Option<Kato> {
        self.upwards(kato).find(|row| row.level == Level::Region).map(|row| row.kato)
    }

    /// The district or city of a region that a code lies in; none for a region.
    pub fn district(&self, kato: Kato) -> Option<Kato> {
        self.upwards(kato).find(|row| matches!(row.level, Level::District | Level::City)).map(|row| row.kato)
    }

    /// The name of exactly this code.
    pub fn name(&self, kato: Kato, language: Language) -> Option<&str> {
        let row = self.get(kato)?;
        match language {
            Language::Kazakh => row.name_kk.as_deref(),
            Language::Russian => row.name_ru.as_deref(),
            Language::English => row.name_en.as_deref(),
        }
    }

    /// What is wrong with a code as it was written, used on `day`; none where nothing is.
    /// The first that holds of `missing`, `not_digits`, `read_as_number`,
    /// `lost_leading_zeros`, `lost_trailing_zeros`, `lost_zeros`, `wrong_length`,
    /// `spaced`, `unknown_region`, `unknown_code`, `ended`, `not_yet`.
    pub fn problem(&self, text: Option<&str>, day: Option<Day>) -> Option<&'static str> {
        let (kato, spelling) = match read(text.unwrap_or_default()) {
            Written::Missing => return Some("missing"),
            Written::NotDigits => return Some("not_digits"),
            Written::Rounded => return Some("read_as_number"),
            Written::OtherLength(digits) => return Some(self.lost(&digits)),
            Written::Code(kato, spelling) => (kato, spelling),
        };
        match spelling {
            Spelling::Number => return Some("read_as_number"),
            Spelling::Spaced => return Some("spaced"),
            Spelling::Exact => {}
        }
        let Some(row) = self.get(kato) else {
            return Some(if self.region(kato).is_some() { "unknown_code" } else { "unknown_region" });
        };
        let day = day?;
        if row.validity.to.is_some_and(|to| to <= day) {
            return Some("ended");
        }
        row.validity.from.is_some_and(|from| day < from).then_some("not_yet")
    }

    fn lost(&self, digits: &str) -> &'static str {
        match self.padded(digits) {
            (Some(_), Some(_)) => "lost_zeros",
            (Some(_), None) => "lost_leading_zeros",
            (None, Some(_)) => "lost_trailing_zeros",
            (None, None) => "wrong_length",
        }
    }

    /// The codes that fewer than nine digits give with zeros before and after them.
    fn padded(&self, digits: &str) -> (Option<Kato>, Option<Kato>) {
        if digits.len() >= 9 {
            return (None, None);
        }
        let known = |text: String| Kato::new(&text).filter(|kato| self.get(*kato).is_some());
        (known(format!("{digits:0>9}")), known(format!("{digits:0<9}")))
    }

    /// The one code that a text which lost zeros can be; none where there are more, or
    /// none. For mappings that choose to repair: nothing else calls it.
    pub fn repaired(&self, text: &str) -> Option<Kato> {
        match read(text) {
            Written::Code(kato, _) => Some(kato),
            Written::OtherLength(digits) => match self.padded(&digits) {
                (Some(kato), None) | (None, Some(kato)) => Some(kato),
                (front, back) => front.filter(|kato| Some(*kato) == back),
            },
            Written::Missing | Written::NotDigits | Written::Rounded => None,
        }
    }
}

fn territory(line: &crate::reference::Line<'_>, version: &str, problems: &mut Vec<Problem>) -> Option<Territory> {
    let code = |column: &str, problems: &mut Vec<Problem>| {
        let text = line.text(column)?;
        let kato = Kato::new(text);
        if kato.is_none() {
            problems.push(line.problem(format!("{column} '{text}' is no code; a code has nine digits")));
        }
        kato
    };
    line.required("kato", problems)?;
    let kato = code("kato", problems)?;
    let word = line.required("level", problems)?;
    let Some(level) = Level::from_word(word) else {
        let known: Vec<&str> = Level::ALL.iter().map(|l| l.as_str()).collect();
        problems.push(line.problem(format!("'{word}' is no level; there are {}", known.join(", "))));
        return None;
    };
    let (longitude, latitude) = (line.number("longitude", problems), line.number("latitude", problems));
    let point = longitude.zip(latitude);
    if longitude.is_some() != latitude.is_some() || point.is_some_and(|(x, y)| !places::are_degrees(x, y)) {
        problems.push(line.problem("longitude and latitude are no point in degrees"));
    }
    let text = |column: &str| line.text(column).map(str::to_owned);
    Some(Territory {
        kato,
        level,
        name_kk: text("name_kk"),
        name_ru: text("name_ru"),
        name_en: text("name_en"),
        parent: None,
        validity: line.validity(problems),
        successor: code("successor", problems),
        point,
        version: version.to_owned(),
    })
}
