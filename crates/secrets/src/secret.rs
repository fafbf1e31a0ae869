//! Passwords and tokens: text that is wiped when dropped and never printed. Where such text comes from and goes to is the caller's business.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A password or a token. Its `Debug` form is masked, it has no `Display`, and its bytes are overwritten when it is dropped.
///
/// Copies that others made on the way here, an HTTP header for example, are theirs to wipe.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; it is not copied.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. The caller answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the other holds the same text. Takes as long whatever the two have in common, but not whatever their lengths.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_it_is_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret)),
            "*** Some(\n    ***,\n)"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn secrets_match_when_their_texts_are_the_same() {
        let secret = Secret::new("hunter2");
        for (other, same) in [
            ("hunter2", true),
            ("hunter3", false),
            ("hunter", false),
            ("", false),
        ] {
            assert_eq!(secret.matches(&Secret::new(other)), same, "{other}");
        }
    }
}
