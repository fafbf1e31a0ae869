//! Ids and chance: drawn through [`Ids`].

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};
use uuid::{Builder, Uuid};

/// Draws new ids and random bytes.
pub trait Ids: Debug + Send + Sync {
    /// Fills `bytes` with chance. From [`SystemIds`] they are fit for secrets.
    fn fill(&self, bytes: &mut [u8]);

    /// A new random (version 4) UUID.
    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A number in `0.0..1.0`, for jitter.
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl<T: Ids + ?Sized> Ids for Arc<T> {
    fn fill(&self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

impl Ids for SystemIds {
    fn fill(&self, bytes: &mut [u8]) {
        SysRng
            .try_fill_bytes(bytes)
            .expect("the system hands out random bytes once it has booted");
    }
}

/// A reproducible sequence, for tests and simulations only.
#[derive(Debug)]
pub struct SeededIds {
    generator: Mutex<StdRng>,
}

impl SeededIds {
    /// The sequence that `seed` starts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            generator: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }
}

impl Ids for SeededIds {
    fn fill(&self, bytes: &mut [u8]) {
        self.generator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_fractions_stay_below_one() {
        let (one, two) = (SeededIds::new(7), SeededIds::new(7));
        for _ in 0..100 {
            assert_eq!(one.uuid(), two.uuid());
            let fraction = one.fraction();
            assert!((0.0..1.0).contains(&fraction));
            two.fraction();
        }
        assert_eq!(one.uuid().get_version_num(), 4);
    }
}
