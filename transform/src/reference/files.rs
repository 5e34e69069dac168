//! Where reference data comes from: the files compiled in, and a folder laid over them.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Problem, ReferenceError};

/// Kinds of reference data: the folders there may be, and how their files end.
const KINDS: [(&str, &str); 7] = [
    ("bodies", "csv"),
    ("calendars", "toml"),
    ("categories", "csv"),
    ("category_words", "csv"),
    ("norms", "csv"),
    ("rules", "toml"),
    ("territory", "csv"),
];

/// A file that ships, by path under `reference/`, with what it holds.
macro_rules! file {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../reference/", $path)))
    };
}

/// The files that ship with Ahual. A test compares this list with the folder.
const BUILT_IN: [(&str, &str); 20] = [
    file!("bodies/karaganda.csv"),
    file!("calendars/kz-2018.toml"),
    file!("calendars/kz-2019.toml"),
    file!("calendars/kz-2020.toml"),
    file!("calendars/kz-2021.toml"),
    file!("calendars/kz-2022.toml"),
    file!("calendars/kz-2022-09-28.toml"),
    file!("calendars/kz-2022-10-08.toml"),
    file!("calendars/kz-2023.toml"),
    file!("calendars/kz-2023-04-25.toml"),
    file!("calendars/kz-2024.toml"),
    file!("calendars/kz-2024-04-17.toml"),
    file!("calendars/kz-2025.toml"),
    file!("calendars/kz-2026-01.toml"),
    file!("calendars/kz-2026-03-18.toml"),
    file!("categories/categories.csv"),
    file!("norms/kz.csv"),
    file!("rules/contact-centre-109.toml"),
    file!("rules/kz-statute.toml"),
    file!("territory/territories.csv"),
];

/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One file of reference data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The file, as messages name it.
    pub shown: String,
    /// What it holds.
    pub text: String,
}

impl File {
    /// What is wrong at `at`, a range of bytes of the text.
    pub fn problem(&self, at: Option<Range<usize>>, what: impl Into<String>) -> Problem {
        let line = at.and_then(|at| self.text.get(..at.start)).map(|before| before.matches('\n').count() + 1);
        Problem { file: self.shown.clone(), line, what: what.into() }
    }

    /// Reads the text as TOML.
    pub fn toml<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        toml::from_str(&self.text).map_err(|e| self.problem(e.span(), e.message()))
    }
}

/// Files of reference data, by path under the reference folder (`calendars/kz-2018.toml`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<String, File>,
}

impl Files {
    /// The files that ship with Ahual.
    pub fn built_in() -> Self {
        let mut files = Self::default();
        for (path, text) in BUILT_IN {
            files.put(path, format!("built-in reference/{path}"), text.to_owned());
        }
        files
    }

    /// Adds one file; another of that path is replaced. `shown` is how messages name it.
    pub fn put(&mut self, path: &str, shown: String, text: String) {
        self.files.insert(path.to_owned(), File { shown, text });
    }

    /// Lays a folder over what is there: a file of a known path replaces it, another is
    /// added. Besides the folders of the known kinds there may be a `README.md` anywhere.
    pub fn lay_over(&mut self, folder: &Path) -> Result<(), ReferenceError> {
        let mut problems = Vec::new();
        for entry in list(folder, &mut problems) {
            let Some(kind) = entry.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { continue };
            if kind == "README.md" {
                continue;
            }
            let Some((_, ending)) = KINDS.iter().find(|(name, _)| *name == kind && entry.is_dir()) else {
                let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
                let what = format!("is no kind of reference data; there may be the folders {}", names.join(", "));
                problems.push(Problem { file: entry.display().to_string(), line: None, what });
                continue;
            };
            for path in list(&entry, &mut problems) {
                let shown = path.display().to_string();
                let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
                if name == "README.md" {
                    continue;
                }
                if path.extension().and_then(|e| e.to_str()) != Some(ending) {
                    let what = format!("is no file of {kind}; their names end in .{ending}");
                    problems.push(Problem { file: shown, line: None, what });
                    continue;
                }
                match std::fs::read_to_string(&path) {
                    Ok(text) => self.put(&format!("{kind}/{name}"), shown, text),
                    Err(e) => problems.push(Problem { file: shown, line: None, what: format!("cannot be read: {e}") }),
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ReferenceError { problems }) }
    }

    /// Adds the file that the configuration names under `key`, gzip or not, as `path`.
    pub fn read_named(&mut self, path: &str, key: &str, named: &Path) -> Result<(), ReferenceError> {
        let shown = named.display().to_string();
        let text = std::fs::read(named).and_then(|bytes| {
            let mut text = Vec::new();
            if bytes.starts_with(&GZIP) {
                flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text)?;
            } else {
                text = bytes;
            }
            String::from_utf8(text).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
        });
        match text {
            Ok(text) => {
                self.put(path, shown, text);
                Ok(())
            }
            Err(e) => {
                let what = format!("cannot be read: {e}; {key} names a file");
                Err(ReferenceError { problems: vec![Problem { file: shown, line: None, what }] })
            }
        }
    }

    /// One file.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// The files of one kind, in order of path.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &File> {
        let prefix = format!("{kind}/");
        self.files.iter().filter(move |(path, _)| path.starts_with(&prefix)).map(|(_, file)| file)
    }

    /// Names what the files hold: changes when any of them does.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (path, file) in &self.files {
            for text in [path, &file.text] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// What a folder holds, in order of name.
fn list(folder: &Path, problems: &mut Vec<Problem>) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
    match entries {
        Ok(entries) => {
            let mut entries: Vec<std::path::PathBuf> = entries;
            entries.sort();
            entries
        }
        Err(e) => {
            let what = format!("cannot be listed: {e}; reference.folder names a folder");
            problems.push(Problem { file: folder.display().to_string(), line: None, what });
            Vec::new()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_reference_folder_ships() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference");
        let mut on_disk = Files::default();
        on_disk.lay_over(&folder).unwrap();
        let paths = |files: &Files| files.files.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(paths(&on_disk), paths(&Files::built_in()), "a file came or went: change BUILT_IN");
    }

    #[test]
    fn a_folder_is_laid_over_what_ships() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/kz-statute.toml"), "one").unwrap();
        std::fs::write(folder.path().join("rules/ours.toml"), "two").unwrap();
        std::fs::write(folder.path().join("README.md"), "not data").unwrap();
        let before = Files::built_in();
        let mut files = before.clone();
        files.lay_over(folder.path()).unwrap();
        assert_eq!(files.files.len(), before.files.len() + 1);
        assert_eq!(files.files["rules/kz-statute.toml"].text, "one");
        assert_ne!(files.fingerprint(), before.fingerprint());
    }

    #[test]
    fn what_is_no_reference_data_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("calender")).unwrap(); // spelled wrong on purpose
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/ours.tml"), "").unwrap();
        let said = Files::default().lay_over(folder.path()).unwrap_err().to_string();
        assert!(said.contains("there may be the folders bodies, calendars, categories"), "{said}");
        assert!(said.contains("ours.tml: is no file of rules; their names end in .toml"), "{said}");
        let said = Files::default().lay_over(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(said.contains("nowhere: cannot be listed"), "{said}");
    }
}
