//! What `cargo metadata` says about this workspace.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::Step;

/// The workspace that this program was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of its `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// Its members, by name.
    pub(crate) members: Vec<Member>,
}

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name without the project's prefix, as the table in ARCHITECTURE.md has it.
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    /// What it says about itself; empty when it says nothing.
    pub(crate) description: String,
    /// The members that it depends on.
    pub(crate) edges: Vec<Edge>,
}

/// A dependency on another member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Its name without the project's prefix.
    pub(crate) to: String,
    /// Whether only tests need it.
    pub(crate) dev: bool,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        // Set when this crate was built, which `cargo xtask` does anew for every checkout.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the workspace")?;
        let arguments = ["metadata", "--format-version", "1", "--no-deps"];
        let text = Step::cargo(arguments, Duration::from_mins(2))
            .directory(root)
            .output()?;
        let metadata: Value =
            serde_json::from_str(&text).context("`cargo metadata` printed what is not JSON")?;
        let path = |key: &str| -> Result<PathBuf> {
            let path = metadata[key].as_str();
            Ok(path
                .with_context(|| format!("`cargo metadata` has no {key}"))?
                .into())
        };
        let mut members: Vec<Member> = metadata["packages"]
            .as_array()
            .context("`cargo metadata` has no packages")?
            .iter()
            .map(member)
            .collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            members,
        })
    }

    /// `path` as seen from the root, for messages.
    pub(crate) fn relative<'p>(&self, path: &'p Path) -> std::path::Display<'p> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

fn member(package: &Value) -> Member {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let edges = package["dependencies"].as_array().into_iter().flatten();
    Member {
        name: short_name(&text(&package["name"])),
        manifest: text(&package["manifest_path"]).into(),
        description: text(&package["description"]),
        edges: edges
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| Edge {
                to: short_name(&text(&dependency["name"])),
                dev: dependency["kind"].as_str() == Some("dev"),
            })
            .collect(),
    }
}

fn short_name(package: &str) -> String {
    package
        .strip_prefix("roadstead-")
        .unwrap_or(package)
        .to_owned()
}
