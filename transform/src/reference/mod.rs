//! Reference data: what the centre looks things up in, loaded once from files.
//!
//! Ahual ships with the files of `reference/` compiled in. A deployment may name a folder
//! (`[reference] folder = …`) that is laid over them: a file of the same path replaces
//! the one that ships, another is added, so that a new calendar version is one new file.
//! Everything is checked before anything is used; what is wrong is told at once, with
//! file, line and what to write.
//!
//! Tables are versioned, results carry the version they used (`name@version`), and the
//! [`Reference::fingerprint`] tells whether anything has changed since a fold.

mod bodies;
mod categories;
mod files;
pub(crate) mod functions;
mod norms;
mod problem;
mod sheet;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde::Deserialize;

pub use bodies::{Bodies, Body};
pub use categories::{Categories, Category, CategoryWord};
pub use files::{File, Files};
pub use norms::{Norm, Norms};
pub use problem::{Problem, ReferenceError};
pub use sheet::Validity;
pub(crate) use sheet::{Line, Sheet};

use crate::clocks::{Calendars, Rules};
use crate::territory::{Boundaries, BoundariesConfig, Classifier, Places, Settlements, SettlementsConfig, Territories};

/// `[reference]`: where reference data lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReferenceConfig {
    /// Folder laid over the files that ship, relative to the configuration file.
    pub folder: Option<PathBuf>,
    /// The national classifier of territories, CSV, gzip or not; without it only what
    /// ships is known.
    pub classifier: Option<PathBuf>,
    /// Boundaries of territories.
    pub boundaries: Option<BoundariesConfig>,
    /// Settlements, for where there are no boundaries.
    pub settlements: SettlementsConfig,
}

/// Files that the configuration names one by one, among the others.
const CLASSIFIER: &str = "named/classifier";
const BOUNDARIES: &str = "named/boundaries";
const SETTLEMENTS: &str = "named/settlements";

/// All reference data of a deployment.
#[derive(Debug)]
pub struct Reference {
    /// Working calendars.
    pub calendars: Calendars,
    /// Rules of terms.
    pub rules: Rules,
    /// Territories.
    pub territories: Territories,
    /// Where points lie.
    pub places: Places,
    /// Bodies.
    pub bodies: Bodies,
    /// Categories, and the words sources use for them.
    pub categories: Categories,
    /// Norms.
    pub norms: Norms,
    fingerprint: String,
    tables: Vec<(&'static str, RecordBatch)>,
}

impl Reference {
    /// What ships with Ahual.
    pub fn built_in() -> Result<Arc<Self>, ReferenceError> {
        Self::read(&Files::built_in(), &ReferenceConfig::default())
    }

    /// What ships, under the folder that `config` names, if any. `base` is the folder of
    /// the configuration file.
    pub fn load(config: &ReferenceConfig, base: &Path) -> Result<Arc<Self>, ReferenceError> {
        let mut files = Files::built_in();
        if let Some(folder) = &config.folder {
            files.lay_over(&base.join(folder))?;
        }
        let named = [
            (CLASSIFIER, "reference.classifier", config.classifier.as_ref()),
            (BOUNDARIES, "reference.boundaries.file", config.boundaries.as_ref().map(|b| &b.file)),
            (SETTLEMENTS, "reference.settlements.file", config.settlements.file.as_ref()),
        ];
        for (path, key, named) in named {
            if let Some(named) = named {
                files.read_named(path, key, &base.join(named))?;
            }
        }
        Self::read(&files, config)
    }

    /// Reads and checks `files`, all of them. `config` says how those it names are read.
    pub fn read(files: &Files, config: &ReferenceConfig) -> Result<Arc<Self>, ReferenceError> {
        let mut problems = Vec::new();
        let calendars = Calendars::read(files, &mut problems);
        let rules = Rules::read(files, &calendars, &mut problems);
        let classifier = files.get(CLASSIFIER).and_then(|file| Classifier::read(file, &mut problems));
        let territories = Territories::read(files, classifier, &mut problems);
        let boundaries = config.boundaries.as_ref().zip(files.get(BOUNDARIES));
        let settlements = files.get(SETTLEMENTS);
        let places = Places {
            boundaries: boundaries.and_then(|(c, file)| Boundaries::read(c, file, &territories, &mut problems)),
            settlements: Settlements::read(&config.settlements, settlements, &territories, &mut problems),
        };
        let bodies = Bodies::read(files, &territories, &mut problems);
        let categories = Categories::read(files, &mut problems);
        let norms = Norms::read(files, &categories, &mut problems);
        if !problems.is_empty() {
            return Err(ReferenceError { problems });
        }
        let fingerprint = files.fingerprint();
        let mut reference =
            Self { calendars, rules, territories, places, bodies, categories, norms, fingerprint, tables: Vec::new() };
        reference.tables = tables::of(&reference).map_err(|e| ReferenceError {
            problems: vec![Problem { file: "schema ref".to_owned(), line: None, what: e.to_string() }],
        })?;
        Ok(Arc::new(reference))
    }

    /// The tables of schema `ref`: name and rows.
    pub fn tables(&self) -> &[(&'static str, RecordBatch)] {
        &self.tables
    }

    /// Names what was loaded: changes when any file does.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
