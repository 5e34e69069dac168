//! Bodies that answer for cases.

use std::collections::BTreeMap;

use super::{Files, Line, Problem, Sheet, Validity};
use crate::territory::{Kato, Territories};

/// One body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its code: what `body` is in `core`.
    pub code: String,
    /// Name in Kazakh.
    pub name_kk: Option<String>,
    /// Name in Russian.
    pub name_ru: Option<String>,
    /// Name in English.
    pub name_en: Option<String>,
    /// What it does: `akimat`, `utilities`, `ambulance`, …
    pub branch: Option<String>,
    /// The territory it answers for.
    pub territory: Option<Kato>,
    /// The body above it.
    pub parent: Option<String>,
    /// When it exists.
    pub validity: Validity,
    /// The body that took its place.
    pub successor: Option<String>,
    /// Version of its table.
    pub version: String,
}

/// All bodies, by code.
#[derive(Debug, Default)]
pub struct Bodies {
    bodies: BTreeMap<String, Body>,
}

const COLUMNS: [&str; 10] =
    ["code", "name_kk", "name_ru", "name_en", "branch", "territory", "parent", "valid_from", "valid_to", "successor"];

impl Bodies {
    /// Reads the files of kind `bodies`.
    pub fn read(files: &Files, territories: &Territories, problems: &mut Vec<Problem>) -> Self {
        let mut all = Self::default();
        let mut links = Vec::new();
        for file in files.of("bodies") {
            let Some(sheet) = Sheet::read(file, &COLUMNS, problems) else { continue };
            for line in sheet.lines() {
                let Some(body) = body(&line, &sheet.version, territories, problems) else { continue };
                if all.bodies.contains_key(&body.code) {
                    problems.push(line.problem(format!("body {} stands in reference data twice", body.code)));
                    continue;
                }
                for (what, other) in [("parent", &body.parent), ("successor", &body.successor)] {
                    links.extend(other.clone().map(|other| (what, other, line.problem(""))));
                }
                all.bodies.insert(body.code.clone(), body);
            }
        }
        for (what, other, at) in links {
            if !all.bodies.contains_key(&other) {
                problems.push(Problem { what: format!("its {what} '{other}' is no body"), ..at });
            }
        }
        all
    }

    /// A body by code.
    pub fn get(&self, code: &str) -> Option<&Body> {
        self.bodies.get(code)
    }

    /// All bodies, in order of code.
    pub fn iter(&self) -> impl Iterator<Item = &Body> {
        self.bodies.values()
    }
}

fn body(line: &Line<'_>, version: &str, territories: &Territories, problems: &mut Vec<Problem>) -> Option<Body> {
    let code = line.required("code", problems)?;
    let territory = line.text("territory").and_then(|text| {
        let kato = Kato::new(text).filter(|kato| territories.get(*kato).is_some());
        if kato.is_none() {
            problems.push(line.problem(format!("territory '{text}' is no known code")));
        }
        kato
    });
    let text = |column: &str| line.text(column).map(str::to_owned);
    Some(Body {
        code: code.to_owned(),
        name_kk: text("name_kk"),
        name_ru: text("name_ru"),
        name_en: text("name_en"),
        branch: text("branch"),
        territory,
        parent: text("parent"),
        validity: line.validity(problems),
        successor: text("successor"),
        version: version.to_owned(),
    })
}
