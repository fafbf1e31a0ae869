//! The tests that `docs/SECURITY.md` names exist.

use std::path::PathBuf;

use anyhow::Result;

use super::read;
use crate::workspace::Workspace;

/// Fewer words than this in a name, and it is no test's.
const WORDS_MIN: usize = 3;

/// Complaints about the document.
pub(super) fn check(workspace: &Workspace, files: &[PathBuf]) -> Result<Vec<String>> {
    let document = read(&workspace.root.join("docs/SECURITY.md"))?;
    let mut sources = String::new();
    for path in files {
        if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&read(path)?);
        }
    }
    Ok(missing(&document, &sources)
        .map(|test| format!("docs/SECURITY.md: there is no test `{test}`"))
        .collect())
}

/// The tests that the document names and the sources do not have.
fn missing<'a>(document: &'a str, sources: &'a str) -> impl Iterator<Item = &'a str> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| is_test(name))
        .filter(move |name| !sources.contains(&format!("fn {name}(")))
}

fn is_test(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && name.split('_').count() >= WORDS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_named_and_not_there_is_found() {
        let document =
            "`config.yaml` is kept out: `what_is_there_is_found`, `what_is_gone_is_not`.";
        let sources = "async fn what_is_there_is_found() {}";
        let found: Vec<&str> = missing(document, sources).collect();
        assert_eq!(found, ["what_is_gone_is_not"]);
    }
}
