//! What every member's `Cargo.toml` has to say: a description, the workspace's lints, and no version of its own for any
//! dependency.
//!
//! Read as lines, not as TOML: the workspace's manifests are plain, and a parser would be one more thing to build first.

use anyhow::Result;

use super::read;
use crate::workspace::Workspace;

/// Complaints about members' manifests.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for member in &workspace.members {
        let path = workspace.relative(&member.manifest);
        let text = read(&member.manifest)?;
        let mut found = manifest_complaints(&text);
        if member.description.trim().is_empty() {
            found.push("the package has no description".to_owned());
        }
        complaints.extend(
            found
                .into_iter()
                .map(|complaint| format!("{path}: {complaint}")),
        );
    }
    Ok(complaints)
}

fn manifest_complaints(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inherits_lints = false;
    for Section { name, entries } in sections(text) {
        if name == "lints" {
            inherits_lints = entries.iter().any(|(_, entry)| is_inherited(entry));
        }
        let own = entries.iter().filter(|(_, entry)| !is_inherited(entry));
        match dependency_table(name) {
            Some(DependencyTable::All) => complaints.extend(own.map(|(line, entry)| {
                format!("line {line}: not taken from the workspace's table: {entry}")
            })),
            Some(DependencyTable::Of(dependency)) if own.count() == entries.len() => {
                complaints.push(format!(
                    "{dependency} is not taken from the workspace's table"
                ));
            }
            Some(DependencyTable::Of(_)) | None => {}
        }
    }
    if !inherits_lints {
        complaints.push("it does not inherit the workspace's lints".to_owned());
    }
    complaints
}

/// `[name]` and what follows it, with line numbers from 1.
struct Section<'t> {
    name: &'t str,
    entries: Vec<(usize, &'t str)>,
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            sections.push(Section {
                name,
                entries: Vec::new(),
            });
        } else if let Some(section) = sections.last_mut() {
            section.entries.push((index + 1, line));
        }
    }
    sections
}

enum DependencyTable<'t> {
    /// `[dependencies]`: a dependency a line.
    All,
    /// `[dependencies.name]`: one dependency.
    Of(&'t str),
}

fn dependency_table(section: &str) -> Option<DependencyTable<'_>> {
    // `[target.'cfg(unix)'.dependencies]` is one too.
    let start = section.rfind("dependencies")?;
    match section.get(start..)?.strip_prefix("dependencies")? {
        "" => Some(DependencyTable::All),
        rest => rest.strip_prefix('.').map(DependencyTable::Of),
    }
}

fn is_inherited(entry: &str) -> bool {
    let entry = entry.replace(' ', "");
    entry.contains("workspace=true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_inherits_everything_is_fine() {
        let text = "[package]\nname = \"a\"\n\n[dependencies]\nbytes.workspace = true # buffers\n\
                    serde = { workspace = true, features = [\"rc\"] }\n\n[dev-dependencies.rand]\nworkspace = true\n\
                    [lints]\nworkspace = true\n";
        assert_eq!(manifest_complaints(text), [""; 0]);
    }

    #[test]
    fn versions_and_missing_lints_are_named() {
        let text = "[dependencies]\nbytes = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\nrand = { version = \"0.9\" }\n\
                    [build-dependencies.cc]\nversion = \"1\"\n[lints.rust]\nunsafe_code = \"allow\"\n";
        assert_eq!(
            manifest_complaints(text),
            [
                "line 2: not taken from the workspace's table: bytes = \"1\"",
                "line 4: not taken from the workspace's table: rand = { version = \"0.9\" }",
                "cc is not taken from the workspace's table",
                "it does not inherit the workspace's lints",
            ]
        );
    }
}
