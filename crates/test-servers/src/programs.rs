//! Where the programs of this workspace are, and those that its test command brings.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory in which programs are, when they are built already. `cargo xtask test` sets it.
const DIRECTORY_VARIABLE: &str = "ROADSTEAD_BINARIES";

/// The directory of the programs that `cargo xtask test` installs for itself. It says so.
const INSTALLED_VARIABLE: &str = "ROADSTEAD_TEST_PROGRAMS";

/// What cargo names itself to the programs that it runs.
const CARGO_VARIABLE: &str = "CARGO";

/// The directory that holds the programs of these packages, built from the present source: by `cargo xtask test` beforehand, or here, in the
/// profile of the test.
///
/// # Panics
/// When they do not build.
pub fn program_directory(packages: &[&str]) -> PathBuf {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) {
        return directory.into();
    }
    let directory = profile_directory();
    if let Some(cargo) = std::env::var_os(CARGO_VARIABLE) {
        let mut build = Command::new(cargo);
        build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet"]);
        // What cargo tells this test about its package, build scripts take for theirs, and build all that stands on them anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
                build.env_remove(&name);
            }
        }
        if directory.ends_with("release") {
            build.arg("--release");
        }
        for package in packages {
            build.args(["-p", package]);
        }
        let status = build
            .status()
            .expect("the cargo that runs this test can be started");
        assert!(status.success(), "{} do not build", packages.join(", "));
    }
    directory
}

/// Where a program is that `cargo xtask test` installs for itself.
///
/// # Panics
/// When it is not there.
pub fn installed_program(path: &str) -> PathBuf {
    let directory = std::env::var_os(INSTALLED_VARIABLE).map(PathBuf::from);
    // As in xtask.
    let directory = directory.unwrap_or_else(|| profile_directory().join("../test-programs"));
    let program = directory.join(path);
    assert!(
        program.exists(),
        "{} is missing: `cargo xtask test` installs it",
        program.display()
    );
    program
}

/// Test programs lie in target/PROFILE/deps, programs in target/PROFILE.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    test.parent()
        .and_then(Path::parent)
        .expect("cargo puts test programs into a directory of a directory")
        .to_owned()
}
