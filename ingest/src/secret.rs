//! References to secrets. A configuration names where a secret lies, never what it is.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

/// Where a secret lies: `{ env = "NAME" }` or `{ file = "path" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// In an environment variable of this name.
    Env(String),
    /// In a file; a trailing line end is not part of it. Relative to the folder of the
    /// configuration file.
    File(PathBuf),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set or empty.
    #[error("environment variable {0} is not set; it should hold the secret the configuration refers to")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("secret file {} cannot be read", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("secret file {} is empty", .0.display())]
    EmptyFile(PathBuf),
}

impl SecretRef {
    /// The secret itself, in a type that does not print it.
    pub fn resolve(&self, base_dir: &Path) -> Result<SecretString, SecretError> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(value.into()),
                _ => Err(SecretError::NoVariable(name.clone())),
            },
            Self::File(path) => {
                let path = base_dir.join(path);
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| SecretError::NoFile { path: path.clone(), source })?;
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.is_empty() {
                    return Err(SecretError::EmptyFile(path));
                }
                Ok(secret.to_owned().into())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_gives_its_text_without_the_line_end_and_never_prints_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "s3cr3t-word\n").unwrap();
        let secret = SecretRef::File("key".into()).resolve(dir.path()).unwrap();
        assert_eq!(secret.expose_secret(), "s3cr3t-word");
        assert!(!format!("{secret:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_missing_secret_names_where_it_should_be() {
        let gone = SecretRef::Env("AHUAL_TEST_NO_SUCH_SECRET".into()).resolve(Path::new(".")).unwrap_err();
        assert!(gone.to_string().contains("AHUAL_TEST_NO_SUCH_SECRET"));
    }
}
