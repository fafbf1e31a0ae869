//! `cargo xtask tidy`: the shape of the tree, held against what the project's documents promise.
//!
//! Each check returns its complaints; all of them are printed, one a line. Style inside a file is clippy's business.

mod edges;
mod links;
mod manifests;
mod sources;
mod threats;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::say;
use crate::workspace::Workspace;

/// Directories that hold nothing of ours.
const SKIPPED_DIRECTORIES: [&str; 3] = ["target", ".git", "roadstead-data"];

/// Runs every check.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let files = files(&workspace.root)?;
    let mut complaints = Vec::new();
    complaints.extend(edges::check(workspace)?);
    complaints.extend(manifests::check(workspace)?);
    complaints.extend(sources::check(workspace, &files)?);
    complaints.extend(links::check(workspace, &files)?);
    complaints.extend(threats::check(workspace, &files)?);
    for complaint in &complaints {
        say(complaint);
    }
    match complaints.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} complaints"),
    }
}

/// Every file below `root` that is ours, sorted.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("could not list {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("could not list {}", directory.display()))?;
            // Links are not followed: what they point at is looked at where it lies.
            let kind = entry
                .file_type()
                .with_context(|| format!("could not look at {}", entry.path().display()))?;
            let skipped = SKIPPED_DIRECTORIES
                .iter()
                .any(|name| entry.file_name() == **name);
            if kind.is_dir() && !skipped {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}
