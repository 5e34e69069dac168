//! Reveals what a [`SecretRef`] points at.

use ahual_schemas::secret::{SecretError, SecretRef};
use secrecy::SecretString;

/// The secret `reference` points at, from this process's environment or file system.
pub fn reveal(reference: &SecretRef) -> Result<SecretString, SecretError> {
    reference.reveal_with(|name| std::env::var(name).ok(), |path| std::fs::read_to_string(path))
}
