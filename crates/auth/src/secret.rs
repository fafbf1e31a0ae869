//! Passwords and tokens: text that is wiped when dropped and never printed. Where such text comes from and goes to is the caller's business.

use std::fmt;

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
}
