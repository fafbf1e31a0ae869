//! An error with all its causes on one line.

use std::error::Error;
use std::fmt;

/// The most causes that are followed: a chain that is longer has most likely been built in a circle.
const CAUSES_MAX: usize = 32;

/// Displays an error and its causes, outermost first, separated by `: `.
///
/// Errors here do not repeat their cause in their own text. Those of other crates sometimes do; a cause that the text
/// before it already ends with is left out.
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        formatter.write_str(&said)?;
        let mut source = self.0.source();
        for _ in 0..CAUSES_MAX {
            let Some(cause) = source else {
                return Ok(());
            };
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(formatter, ": {text}")?;
                said = text;
            }
            source = cause.source();
        }
        match source {
            Some(_) => formatter.write_str(": ..."),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        cause: Option<Box<Self>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (text, rest) = texts.split_first().expect("a chain has a link");
        let cause = (!rest.is_empty()).then(|| Box::new(chain(rest)));
        Link { text, cause }
    }

    #[test]
    fn every_cause_is_told_once() {
        let error = chain(&["could not push", "could not write", "disk full"]);
        assert_eq!(
            ErrorChain(&error).to_string(),
            "could not push: could not write: disk full"
        );
        assert_eq!(ErrorChain(&chain(&["alone"])).to_string(), "alone");
    }

    #[test]
    fn a_cause_that_the_text_before_it_repeats_is_left_out() {
        let error = chain(&[
            "request failed: refused",
            "refused",
            "refused",
            "os error 111",
        ]);
        assert_eq!(
            ErrorChain(&error).to_string(),
            "request failed: refused: os error 111"
        );
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let texts: Vec<_> = ["a", "b"].into_iter().cycle().take(100).collect();
        let shown = ErrorChain(&chain(&texts)).to_string();
        assert!(shown.ends_with(": ..."), "{shown}");
    }
}
