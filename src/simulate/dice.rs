//! Seeded chance. Every draw comes from a ChaCha stream keyed by the seed and by what
//! is being decided, so one decision never shifts the outcome of another.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of draws for one decision or one group of decisions.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `seed` for the thing called `what`.
    pub(crate) fn new(seed: u64, what: &str) -> Self {
        let mut key = [0_u8; 32];
        for (chunk, value) in key.chunks_exact_mut(8).zip([seed, fnv(what, 0), fnv(what, 1), 0x4148_5541_4c00_0001]) {
            chunk.copy_from_slice(&value.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low + 1).max(1) as f64) as i64
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// An index drawn by weight.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len().saturating_sub(1)
    }

    /// Log-normal around `median`. The normal is a sum of uniforms: no tail so long
    /// that a month of simulation would hang on one draw.
    pub(crate) fn spread(&mut self, median: f64, sigma: f64) -> f64 {
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        median * (sigma * normal).exp()
    }

    /// A count whose mean is `mean`, a fifth more or less.
    pub(crate) fn count(&mut self, mean: f64) -> usize {
        let mean = mean * (0.8 + 0.4 * self.unit());
        let whole = mean.floor();
        whole as usize + usize::from(self.chance(mean - whole))
    }
}

/// FNV-1a over `salt` and `text`.
pub(crate) fn fnv(text: &str, salt: u8) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in std::iter::once(salt).chain(text.bytes()) {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
