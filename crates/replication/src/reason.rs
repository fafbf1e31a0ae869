//! Failures in words for an operator: one line of bounded length, the cause after each message.

use std::error::Error;

/// The longest reason that is kept, in characters. The database's column has no bound, a terminal has.
const REASON_CHARACTERS_MAX: usize = 500;

/// An error and its causes in one line.
pub(crate) fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // A transparent wrapper says what its cause says.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    one_line(&text)
}

/// `text` on one line, cut to [`REASON_CHARACTERS_MAX`].
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(REASON_CHARACTERS_MAX)
        .collect();
    if text.chars().nth(REASON_CHARACTERS_MAX).is_some() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the copy failed")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the disk\nis full")]
    struct Inner;

    #[test]
    fn a_reason_is_one_line_with_every_cause_and_is_cut() {
        assert_eq!(reason(&Outer(Inner)), "the copy failed: the disk is full");
        assert_eq!(
            one_line(&"é".repeat(1000)).chars().count(),
            REASON_CHARACTERS_MAX + 3
        );
    }
}
