//! Links in Markdown: the file that a link names exists, and so does the heading.
//!
//! Links into the web are not followed.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::read;
use crate::workspace::Workspace;

/// Complaints about `.md` files.
pub(super) fn check(workspace: &Workspace, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let documents = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in documents {
        let shown = workspace.relative(path);
        for (line, target) in targets(&read(path)?) {
            if let Some(complaint) = complaint(path, &target)? {
                complaints.push(format!("{shown}:{line}: {complaint}"));
            }
        }
    }
    Ok(complaints)
}

/// What is wrong with a link from `document` to `target`.
fn complaint(document: &Path, target: &str) -> Result<Option<String>> {
    let elsewhere = ["https://", "http://", "mailto:"];
    if elsewhere.iter().any(|scheme| target.starts_with(scheme)) {
        return Ok(None);
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        file => document.parent().unwrap_or(Path::new("")).join(file),
    };
    if !path.exists() {
        return Ok(Some(format!("the link to {target} leads nowhere")));
    }
    let is_document = path.extension().is_some_and(|extension| extension == "md");
    if !heading.is_empty() && is_document && !headings(&read(&path)?).contains(&heading.to_owned())
    {
        return Ok(Some(format!(
            "the link to {target} names a heading that is not there"
        )));
    }
    Ok(None)
}

/// Every line outside code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        in_code ^= fence;
        (!in_code && !fence).then_some((index + 1, line))
    })
}

/// The targets of `[text](target)` and `[name]: target`, with their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or((after, ""));
            // A title may follow the target.
            targets.extend(
                target
                    .split_whitespace()
                    .next()
                    .map(|target| (number, target.to_owned())),
            );
            rest = after;
        }
        let definition = line
            .trim_start()
            .strip_prefix('[')
            .and_then(|line| line.split_once("]: "));
        if let Some((name, target)) = definition
            && !name.contains(']')
        {
            targets.extend(
                target
                    .split_whitespace()
                    .next()
                    .map(|target| (number, target.to_owned())),
            );
        }
    }
    targets
}

/// `line` without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The headings of a document in the form in which links name them: lower case, hyphens for spaces, no punctuation.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|character| {
                    character.is_alphanumeric() || matches!(character, ' ' | '-' | '_')
                })
                .map(|character| if character == ' ' { '-' } else { character })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_prose_and_not_in_code() {
        let text = "See [one](a.md) and [two](b.md#x \"title\").\n```\n[three](c.md)\n```\nUse `[four](d.md)`.\n[five]: e.md\n";
        let found: Vec<_> = targets(text);
        let expected = [(1, "a.md"), (1, "b.md#x"), (6, "e.md")];
        assert_eq!(
            found,
            expected.map(|(line, target)| (line, target.to_owned()))
        );
    }

    #[test]
    fn files_and_headings_that_are_not_there_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let document = directory.path().join("README.md");
        std::fs::write(&document, "# Push a blob, twice\n## `n` and `last`\n").unwrap();
        let complaint = |target| complaint(&document, target).unwrap();
        for good in [
            "README.md",
            "#push-a-blob-twice",
            "README.md#n-and-last",
            "https://example.org/x",
            ".",
        ] {
            assert_eq!(complaint(good), None, "{good}");
        }
        assert_eq!(
            complaint("docs/GONE.md"),
            Some("the link to docs/GONE.md leads nowhere".to_owned())
        );
        assert_eq!(
            complaint("#gone"),
            Some("the link to #gone names a heading that is not there".to_owned())
        );
    }
}
