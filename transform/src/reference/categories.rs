//! Categories of cases, in three levels, and the words each source uses for them.

use std::collections::{BTreeMap, HashMap};

use ahual_schemas::Day;

use super::{Files, Line, Problem, Sheet, Validity};

/// One category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its code: what `category` is in `core`.
    pub code: String,
    /// 1 is a field, 2 a subject, 3 what exactly is wrong with it.
    pub level: i32,
    /// The category one level above; none at level 1.
    pub parent: Option<String>,
    /// Name in Kazakh.
    pub name_kk: Option<String>,
    /// Name in Russian.
    pub name_ru: Option<String>,
    /// Name in English.
    pub name_en: Option<String>,
    /// When it holds.
    pub validity: Validity,
    /// Version of its table.
    pub version: String,
}

/// What a source calls a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryWord {
    /// Name of the source; `*` is every source that has no word of its own.
    pub source: String,
    /// The source's word, as it writes it.
    pub word: String,
    /// The category it means.
    pub category: String,
    /// When it means that.
    pub validity: Validity,
    /// Version of its table.
    pub version: String,
}

/// All categories and words.
#[derive(Debug, Default)]
pub struct Categories {
    categories: BTreeMap<String, Category>,
    words: Vec<CategoryWord>,
    /// Source → word as compared → its rows in `words`.
    by_source: HashMap<String, HashMap<String, Vec<usize>>>,
}

const COLUMNS: [&str; 8] = ["code", "level", "parent", "name_kk", "name_ru", "name_en", "valid_from", "valid_to"];
const WORD_COLUMNS: [&str; 5] = ["source", "word", "category", "valid_from", "valid_to"];
/// Stands for every source.
const ANY: &str = "*";

impl Categories {
    /// Reads the files of kinds `categories` and `category_words`.
    pub fn read(files: &Files, problems: &mut Vec<Problem>) -> Self {
        let mut all = Self::default();
        let mut parents = Vec::new();
        for file in files.of("categories") {
            let Some(sheet) = Sheet::read(file, &COLUMNS, problems) else { continue };
            for line in sheet.lines() {
                let Some(category) = category(&line, &sheet.version, problems) else { continue };
                if all.categories.contains_key(&category.code) {
                    problems.push(line.problem(format!("category {} stands in reference data twice", category.code)));
                    continue;
                }
                parents.push((category.code.clone(), line.problem("")));
                all.categories.insert(category.code.clone(), category);
            }
        }
        for (code, at) in parents {
            let Some(category) = all.categories.get(&code) else { continue };
            let above = category.parent.as_ref().and_then(|parent| all.categories.get(parent));
            let what = match (category.level, &category.parent, above) {
                (1, None, _) => continue,
                (1, Some(_), _) => format!("{code} is of level 1 and has a parent"),
                (level, _, Some(above)) if above.level == level - 1 => continue,
                (level, _, _) => {
                    format!("{code} is of level {level}; its parent must be a category of level {}", level - 1)
                }
            };
            problems.push(Problem { what, ..at });
        }
        for file in files.of("category_words") {
            let Some(sheet) = Sheet::read(file, &WORD_COLUMNS, problems) else { continue };
            for line in sheet.lines() {
                all.take_word(&line, &sheet.version, problems);
            }
        }
        all
    }

    fn take_word(&mut self, line: &Line<'_>, version: &str, problems: &mut Vec<Problem>) {
        let [source, word, category] = ["source", "word", "category"].map(|column| line.required(column, problems));
        let (Some(source), Some(word), Some(category)) = (source, word, category) else { return };
        if !self.categories.contains_key(category) {
            problems.push(line.problem(format!("there is no category '{category}'")));
            return;
        }
        let validity = line.validity(problems);
        let rows = self.by_source.entry(source.to_owned()).or_default().entry(compared(word)).or_default();
        if rows.iter().filter_map(|n| self.words.get(*n)).any(|other| other.validity.meets(validity)) {
            let what = format!("'{word}' of {source} has two meanings on one day; say until when each holds");
            problems.push(line.problem(what));
            return;
        }
        rows.push(self.words.len());
        self.words.push(CategoryWord {
            source: source.to_owned(),
            word: word.to_owned(),
            category: category.to_owned(),
            validity,
            version: version.to_owned(),
        });
    }

    /// The category that `word` of `source` means on `day`; without a day, in the newest
    /// state. A source's own words come first, then those of every source, then the codes
    /// themselves. Blanks around a word and capitals make no difference.
    pub fn of(&self, source: &str, word: &str, day: Option<Day>) -> Option<&str> {
        let word = compared(word);
        let said = [source, ANY].into_iter().find_map(|source| {
            let rows = self.by_source.get(source)?.get(&word)?;
            let mut rows = rows.iter().filter_map(|n| self.words.get(*n));
            match day {
                Some(day) => rows.find(|row| row.validity.covers(day)),
                None => rows.max_by_key(|row| row.validity.to.map_or(i32::MAX, |to| to.0)),
            }
        });
        match said {
            Some(row) => Some(&row.category),
            None => self.categories.get(&word).map(|category| category.code.as_str()),
        }
    }

    /// A category by code.
    pub fn get(&self, code: &str) -> Option<&Category> {
        self.categories.get(code)
    }

    /// A category and those above it, nearest first.
    pub fn upwards(&self, code: &str) -> impl Iterator<Item = &Category> {
        std::iter::successors(self.get(code), |category| category.parent.as_deref().and_then(|parent| self.get(parent)))
    }

    /// All categories, in order of code.
    pub fn iter(&self) -> impl Iterator<Item = &Category> {
        self.categories.values()
    }

    /// All words, in the order of their files.
    pub fn words(&self) -> &[CategoryWord] {
        &self.words
    }
}

fn compared(word: &str) -> String {
    word.trim().to_lowercase()
}

fn category(line: &Line<'_>, version: &str, problems: &mut Vec<Problem>) -> Option<Category> {
    let code = line.required("code", problems)?;
    if code != compared(code) {
        problems.push(line.problem(format!("code '{code}' has capitals; codes are written small")));
    }
    line.required("level", problems)?;
    let level: i32 = line.number("level", problems)?;
    if !(1..=3).contains(&level) {
        problems.push(line.problem(format!("level {level}: there are the levels 1, 2 and 3")));
        return None;
    }
    let text = |column: &str| line.text(column).map(str::to_owned);
    Some(Category {
        code: code.to_owned(),
        level,
        parent: text("parent"),
        name_kk: text("name_kk"),
        name_ru: text("name_ru"),
        name_en: text("name_en"),
        validity: line.validity(problems),
        version: version.to_owned(),
    })
}
