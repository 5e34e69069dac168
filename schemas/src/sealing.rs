//! Sealing: raw bytes rest unchanged *and* protected.
//!
//! XChaCha20-Poly1305 with a random nonce before the ciphertext. The `sealing`
//! header says how: `xchacha20poly1305;key=<key name>`. The key itself never
//! stands in a configuration: it is named there and read from the environment
//! or a file by whoever builds the [`Sealer`].

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const NONCE_BYTES: usize = 24;
const METHOD: &str = "xchacha20poly1305";

/// Why bytes could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The header names a method or key this process does not have.
    #[error("payload is sealed as '{0}', which this process has no key for; name the key in [sealing]")]
    UnknownSealing(String),
    /// The bytes are not what was sealed.
    #[error("sealed payload does not open: the bytes or the key are not those it was sealed with")]
    DoesNotOpen,
    /// The cipher refused to seal.
    #[error("payload could not be sealed")]
    DoesNotSeal,
}

/// Seals and opens payloads with one key, and derives keyed hashes from it.
#[derive(Clone)]
pub struct Sealer {
    key_name: String,
    cipher: XChaCha20Poly1305,
    content_key: [u8; 32],
    person_key: [u8; 32],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("key_name", &self.key_name).finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer whose keys are derived from `secret` (any length; 32 random bytes advised).
    pub fn new(key_name: &str, secret: &[u8]) -> Self {
        let seal_key = blake3::derive_key("ahual 2026 sealing v1", secret);
        Self {
            key_name: key_name.to_owned(),
            cipher: XChaCha20Poly1305::new(&seal_key.into()),
            content_key: blake3::derive_key("ahual 2026 content id v1", secret),
            person_key: blake3::derive_key("ahual 2026 keyed hash v1", secret),
        }
    }

    /// Seals `plain`; returns the value of the `sealing` header and the sealed bytes.
    pub fn seal(&self, plain: &[u8]) -> Result<(String, Bytes), SealingError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let cipher = self.cipher.encrypt(&nonce, plain).map_err(|_| SealingError::DoesNotSeal)?;
        let mut sealed = Vec::with_capacity(NONCE_BYTES + cipher.len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&cipher);
        Ok((format!("{METHOD};key={}", self.key_name), sealed.into()))
    }

    /// Opens what [`Sealer::seal`] sealed. `none` passes bytes through.
    pub fn open(&self, sealing: &str, sealed: &[u8]) -> Result<Bytes, SealingError> {
        if sealing == "none" {
            return Ok(Bytes::copy_from_slice(sealed));
        }
        if sealing != format!("{METHOD};key={}", self.key_name) {
            return Err(SealingError::UnknownSealing(sealing.to_owned()));
        }
        let (nonce, cipher) = sealed.split_at_checked(NONCE_BYTES).ok_or(SealingError::DoesNotOpen)?;
        let plain = self.cipher.decrypt(XNonce::from_slice(nonce), cipher).map_err(|_| SealingError::DoesNotOpen)?;
        Ok(plain.into())
    }

    /// Names a content without revealing it: keyed BLAKE3, first 16 bytes, hex.
    pub fn content_id(&self, plain: &[u8]) -> String {
        let hash = blake3::keyed_hash(&self.content_key, plain).to_hex();
        hash.as_str()[..32].to_owned()
    }

    /// Keyed hash (HMAC-SHA-256, hex) of something that identifies a person.
    pub fn keyed_hash(&self, value: &str) -> String {
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(&self.person_key) else {
            return String::new();
        };
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let sealer = Sealer::new("dev", b"development");
        let (how, sealed) = sealer.seal(b"a complaint").unwrap();
        assert_eq!(&sealer.open(&how, &sealed).unwrap()[..], b"a complaint");
        let mut bent = sealed.to_vec();
        bent[30] ^= 1;
        assert!(matches!(sealer.open(&how, &bent), Err(SealingError::DoesNotOpen)));
        let other = Sealer::new("dev", b"another secret");
        assert!(matches!(other.open(&how, &sealed), Err(SealingError::DoesNotOpen)));
        assert!(matches!(sealer.open("rot13;key=dev", &sealed), Err(SealingError::UnknownSealing(_))));
    }

    #[test]
    fn sealed_bytes_do_not_show_the_content() {
        let sealer = Sealer::new("dev", b"development");
        let (_, sealed) = sealer.seal(b"Nobody Nowhere, 000000000000").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"Nobody"));
    }
}
