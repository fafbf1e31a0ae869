//! Source files: each opens with its purpose, and none has a name that says nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::read;
use crate::workspace::Workspace;

/// Names under which unrelated things gather.
const EMPTY_NAMES: [&str; 5] = ["utils", "util", "common", "helpers", "misc"];

/// Complaints about `.rs` files.
pub(super) fn check(workspace: &Workspace, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let sources = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    for path in sources {
        let shown = workspace.relative(path);
        if !read(path)?.starts_with("//!") {
            complaints.push(format!(
                "{shown}: does not open with //! and what it is for"
            ));
        }
        let inside = path.strip_prefix(&workspace.root).unwrap_or(path);
        complaints.extend(
            name_complaints(inside)
                .into_iter()
                .map(|complaint| format!("{shown}: {complaint}")),
        );
    }
    Ok(complaints)
}

/// Complaints about the names in `path`, which is relative to the workspace.
fn name_complaints(path: &Path) -> Vec<String> {
    let parts = path.iter().filter_map(|part| part.to_str());
    parts
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .filter_map(|name| {
            if name == "mod" {
                Some("name the file by its module: foo.rs beside foo/".to_owned())
            } else if EMPTY_NAMES.contains(&name) {
                Some(format!("{name} says nothing; name it by what it owns"))
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_refused_as_files_and_as_folders() {
        for good in [
            "crates/storage/src/local.rs",
            "crates/commons/src/a.rs",
            "tests/src/modes.rs",
        ] {
            assert_eq!(name_complaints(Path::new(good)), [""; 0], "{good}");
        }
        for bad in [
            "crates/a/src/utils.rs",
            "crates/common/src/lib.rs",
            "crates/a/src/helpers/x.rs",
            "crates/a/src/b/mod.rs",
        ] {
            assert_eq!(name_complaints(Path::new(bad)).len(), 1, "{bad}");
        }
    }
}
