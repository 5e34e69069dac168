//! Norms: how long something may take, by category and day.

use std::collections::HashMap;

use ahual_schemas::Day;

use super::{Categories, Files, Line, Problem, Sheet, Validity};

/// How sure a norm is.
const CERTAINTIES: [&str; 4] = ["read", "second_hand", "memory", "configuration"];

/// One norm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Norm {
    /// What is measured: `arrival`, `resolution`, `queue_wait`, …
    pub measure: String,
    /// The category it holds for, with those below that have none of their own; none is
    /// every category.
    pub category: Option<String>,
    /// At most so long, seconds.
    pub limit_s: i64,
    /// When it holds.
    pub validity: Validity,
    /// Where it stands.
    pub basis: String,
    /// `read` in the act, `second_hand`, from `memory`, or `configuration` of the centre.
    pub certainty: String,
    /// Version of its table.
    pub version: String,
}

/// All norms.
#[derive(Debug, Default)]
pub struct Norms {
    norms: Vec<Norm>,
    /// Measure → category → its rows in `norms`.
    by_measure: HashMap<String, HashMap<Option<String>, Vec<usize>>>,
}

const COLUMNS: [&str; 7] = ["measure", "category", "limit_s", "valid_from", "valid_to", "basis", "certainty"];

impl Norms {
    /// Reads the files of kind `norms`.
    pub fn read(files: &Files, categories: &Categories, problems: &mut Vec<Problem>) -> Self {
        let mut all = Self::default();
        for file in files.of("norms") {
            let Some(sheet) = Sheet::read(file, &COLUMNS, problems) else { continue };
            for line in sheet.lines() {
                let Some(norm) = norm(&line, &sheet.version, categories, problems) else { continue };
                let by_category = all.by_measure.entry(norm.measure.clone()).or_default();
                let rows = by_category.entry(norm.category.clone()).or_default();
                if rows.iter().filter_map(|n| all.norms.get(*n)).any(|other| other.validity.meets(norm.validity)) {
                    let what = format!("two norms of {} hold on one day for one category", norm.measure);
                    problems.push(line.problem(what));
                    continue;
                }
                rows.push(all.norms.len());
                all.norms.push(norm);
            }
        }
        all
    }

    /// The norm of a measure for a category on a day: its own, else the nearest category's
    /// above it, else the one of every category.
    pub fn of(&self, categories: &Categories, measure: &str, category: Option<&str>, day: Day) -> Option<&Norm> {
        let by_category = self.by_measure.get(measure)?;
        let above = category.into_iter().flat_map(|code| categories.upwards(code)).map(|c| Some(c.code.clone()));
        above.chain([None]).find_map(|category| {
            let rows = by_category.get(&category)?;
            rows.iter().filter_map(|n| self.norms.get(*n)).find(|norm| norm.validity.covers(day))
        })
    }

    /// All norms, in the order of their files.
    pub fn iter(&self) -> impl Iterator<Item = &Norm> {
        self.norms.iter()
    }
}

fn norm(line: &Line<'_>, version: &str, categories: &Categories, problems: &mut Vec<Problem>) -> Option<Norm> {
    let measure = line.required("measure", problems)?;
    let category = line.text("category");
    if category.is_some_and(|code| categories.get(code).is_none()) {
        problems.push(line.problem(format!("there is no category '{}'", category.unwrap_or_default())));
        return None;
    }
    line.required("limit_s", problems)?;
    let limit_s: i64 = line.number("limit_s", problems)?;
    if limit_s <= 0 {
        problems.push(line.problem("limit_s must be more than 0"));
    }
    let basis = line.required("basis", problems)?;
    let certainty = line.required("certainty", problems)?;
    if !CERTAINTIES.contains(&certainty) {
        problems.push(line.problem(format!("'{certainty}' is no certainty; there are {}", CERTAINTIES.join(", "))));
    }
    Some(Norm {
        measure: measure.to_owned(),
        category: category.map(str::to_owned),
        limit_s,
        validity: line.validity(problems),
        basis: basis.to_owned(),
        certainty: certainty.to_owned(),
        version: version.to_owned(),
    })
}
