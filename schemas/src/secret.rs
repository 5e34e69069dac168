//! References to secrets. A configuration names where a secret is, never what it is.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where a secret is found. In a configuration file one of
/// `{ env = "NAME" }`, `{ file = "PATH" }` or, for demonstrations only,
/// `{ development = "text" }`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// Name of an environment variable.
    Env(String),
    /// Path of a file. One trailing line break is not part of the secret.
    File(String),
    /// The secret itself: only for demonstrations and tests.
    Development(String),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable {0} is not set; export it or point the secret elsewhere")]
    NotSet(String),
    /// The file cannot be read.
    #[error("secret file {path} cannot be read; create it, readable by this user only")]
    Unreadable {
        /// Path as configured.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("the secret at {0} is empty")]
    Empty(String),
}

impl SecretRef {
    /// The secret. This crate does no I/O, so the caller hands in how a variable is
    /// looked up and how a file is read.
    pub fn reveal_with(
        &self,
        variable: impl FnOnce(&str) -> Option<String>,
        read: impl FnOnce(&str) -> std::io::Result<String>,
    ) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Env(name) => variable(name).ok_or_else(|| SecretError::NotSet(name.clone()))?,
            Self::File(path) => {
                let text = read(path).map_err(|source| SecretError::Unreadable { path: path.clone(), source })?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                text.strip_suffix('\r').unwrap_or(text).to_owned()
            }
            Self::Development(text) => text.clone(),
        };
        if text.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(text.into())
    }

    /// Whether the secret stands in the configuration itself; worth a warning.
    pub fn is_development(&self) -> bool {
        matches!(self, Self::Development(_))
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Development(_) => write!(f, "development text"),
        }
    }
}

impl std::fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretRef({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn no_file(_: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    #[test]
    fn a_table_with_one_key_names_the_place() {
        let read = |text: &str| serde_json::from_str::<SecretRef>(text);
        assert_eq!(read(r#"{"env":"PASSWORD"}"#).unwrap(), SecretRef::Env("PASSWORD".into()));
        assert_eq!(read(r#"{"file":"key"}"#).unwrap(), SecretRef::File("key".into()));
        assert!(read(r#""hunter2""#).is_err());
        assert!(read(r#"{"password":"hunter2"}"#).is_err());
    }

    #[test]
    fn neither_debug_nor_display_shows_a_secret() {
        let secret = SecretRef::Development("hunter2".into());
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
    }

    #[test]
    fn a_trailing_line_break_of_a_file_is_not_part_of_it() {
        let secret = SecretRef::File("key".into()).reveal_with(|_| None, |_| Ok("hunter 2\r\n".into())).unwrap();
        assert_eq!(secret.expose_secret(), "hunter 2");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = SecretRef::Env("A_KEY".into()).reveal_with(|_| None, no_file).unwrap_err();
        assert!(error.to_string().contains("A_KEY"));
        let error = SecretRef::File("a/key".into()).reveal_with(|_| None, no_file).unwrap_err();
        assert!(error.to_string().contains("a/key"));
        let error = SecretRef::Env("A_KEY".into()).reveal_with(|_| Some(String::new()), no_file).unwrap_err();
        assert!(matches!(error, SecretError::Empty(_)));
    }
}
