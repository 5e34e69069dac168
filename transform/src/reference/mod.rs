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

mod files;
mod problem;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

pub use files::{File, Files};
pub use problem::{Problem, ReferenceError};

use crate::clocks::{Calendars, Rules};

/// `[reference]`: where reference data lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReferenceConfig {
    /// Folder laid over the files that ship, relative to the configuration file.
    pub folder: Option<PathBuf>,
}

/// All reference data of a deployment.
#[derive(Debug)]
pub struct Reference {
    /// Working calendars.
    pub calendars: Calendars,
    /// Rules of terms.
    pub rules: Rules,
    fingerprint: String,
}

impl Reference {
    /// What ships with Ahual.
    pub fn built_in() -> Result<Arc<Self>, ReferenceError> {
        Self::read(&Files::built_in())
    }

    /// What ships, under the folder that `config` names, if any. `base` is the folder of
    /// the configuration file.
    pub fn load(config: &ReferenceConfig, base: &Path) -> Result<Arc<Self>, ReferenceError> {
        let mut files = Files::built_in();
        if let Some(folder) = &config.folder {
            files.lay_over(&base.join(folder))?;
        }
        Self::read(&files)
    }

    /// Reads and checks `files`, all of them.
    pub fn read(files: &Files) -> Result<Arc<Self>, ReferenceError> {
        let mut problems = Vec::new();
        let calendars = Calendars::read(files, &mut problems);
        let rules = Rules::read(files, &calendars, &mut problems);
        if !problems.is_empty() {
            return Err(ReferenceError { problems });
        }
        Ok(Arc::new(Self { calendars, rules, fingerprint: files.fingerprint() }))
    }

    /// Names what was loaded: changes when any file does.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
