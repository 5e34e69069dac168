//! Reveals what a [`SecretRef`] points at.

use std::path::Path;

pub use ahual_schemas::secret::{SecretError, SecretRef};
use secrecy::SecretString;

/// The secret `reference` points at, from this process's environment or file system. A
/// relative file is sought in `base_dir`, the folder of the configuration file.
pub fn reveal(reference: &SecretRef, base_dir: &Path) -> Result<SecretString, SecretError> {
    reference.reveal_with(|name| std::env::var(name).ok(), |path| std::fs::read_to_string(base_dir.join(path)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_is_sought_beside_the_configuration_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "s3cr3t-word\n").unwrap();
        let secret = reveal(&SecretRef::File("key".into()), dir.path()).unwrap();
        assert_eq!(secret.expose_secret(), "s3cr3t-word");
        assert!(!format!("{secret:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_missing_secret_names_where_it_should_be() {
        let gone = reveal(&SecretRef::Env("AHUAL_TEST_NO_SUCH_SECRET".into()), Path::new(".")).unwrap_err();
        assert!(gone.to_string().contains("AHUAL_TEST_NO_SUCH_SECRET"));
    }
}
