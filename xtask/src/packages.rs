//! `cargo xtask image` and `cargo xtask deb`: what is shipped, built by the scripts in `deploy/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Step, say};
use crate::workspace::Workspace;

/// What the image's system has beside the smallest Debian: certificate authorities, and the program that documentation has people run there.
const INCLUDED: &str = "--include=ca-certificates,curl";

/// Builds the programs and the container image. Needs debootstrap and buildah, and root.
pub(crate) fn image(workspace: &Workspace, tag: &str) -> Result<()> {
    let programs = build(workspace)?;
    let root = system(workspace)?;
    let script = workspace.root.join("deploy/image/build.sh");
    let arguments = [root.as_os_str(), programs.as_os_str(), tag.as_ref()];
    Step::new(
        &script.to_string_lossy(),
        arguments,
        Duration::from_mins(10),
    )
    .run()?;
    say(&format!("built {tag}: podman run {tag} help"));
    Ok(())
}

/// Builds the programs and the Debian package. Needs dpkg-deb.
pub(crate) fn deb(workspace: &Workspace) -> Result<()> {
    let programs = build(workspace)?;
    let script = workspace.root.join("deploy/debian/build.sh");
    let arguments = [programs.as_os_str(), workspace.target.as_os_str()];
    Step::new(
        &script.to_string_lossy(),
        arguments,
        Duration::from_mins(10),
    )
    .run()
}

/// The directory of the release programs.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--package",
        "registry",
        "--package",
        "replicator",
        "--package",
        "admin",
    ];
    Step::cargo(arguments, Duration::from_hours(1))
        .directory(&workspace.root)
        .run()?;
    Ok(workspace.target.join("release"))
}

/// The directory of the Debian system that is the image's lowest layer. It is made once: remove it to have Debian's latest.
fn system(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("image-root");
    if directory.is_dir() {
        return Ok(directory);
    }
    let unfinished = directory.with_extension("unfinished");
    remove(&unfinished)?;
    let shown = unfinished.to_string_lossy();
    let arguments = ["--variant=minbase", INCLUDED, "stable", &shown];
    Step::new("debootstrap", arguments, Duration::from_mins(10)).run()?;
    fs::rename(&unfinished, &directory)
        .with_context(|| format!("could not make {}", directory.display()))?;
    Ok(directory)
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("could not remove {}", directory.display()))?;
    }
    Ok(())
}
