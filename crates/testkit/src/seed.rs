//! Chance in tests: one seed per test, printed, and settable to see a failure again.

use roadstead_runtime::{Ids as _, SeededIds};

/// The number in an environment variable; `default` if it is not set.
///
/// # Panics
/// When it is set to something else than a number.
pub fn setting(variable: &str, default: u64) -> u64 {
    match std::env::var_os(variable) {
        None => default,
        Some(value) => value
            .to_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{variable}={} is not a number", value.display())),
    }
}

/// A seed and the chance that comes from it.
#[derive(Debug)]
pub struct Seed {
    number: u64,
    ids: SeededIds,
}

impl Seed {
    /// The seed in `ROADSTEAD_TEST_SEED`, else `default`; printed, so that a test that fails shows it.
    #[expect(
        clippy::print_stdout,
        reason = "a test's output is shown when it fails"
    )]
    pub fn for_test(test: &str, default: u64) -> Self {
        let number = setting("ROADSTEAD_TEST_SEED", default);
        println!("{test}: ROADSTEAD_TEST_SEED={number}");
        Self::new(number)
    }

    /// This seed.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            ids: SeededIds::new(number),
        }
    }

    /// The seed itself.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next number below `end`, about evenly spread.
    ///
    /// # Panics
    /// When `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        let mut bytes = [0; 8];
        self.ids.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers_and_others_draw_others() {
        let draw = |seed| -> Vec<u64> {
            let seed = Seed::new(seed);
            (0..30).map(|_| seed.below(300)).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|number| *number < 300));
    }
}
