//! Where our own programs are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory in which the programs under test are, when they are built already. `cargo xtask test` sets it.
const DIRECTORY_VARIABLE: &str = "ROADSTEAD_BINARIES";

/// What cargo names itself to the programs that it runs.
const CARGO_VARIABLE: &str = "CARGO";

/// The programs that tests run. Each is a package of the same name.
const PROGRAMS: [&str; 2] = ["registry", "admin"];

/// The path of one of our programs, built from the present source: by `cargo xtask test` beforehand, or here, once per process, in
/// the profile of the test.
///
/// # Panics
/// When it is not there and cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let path = DIRECTORY.get_or_init(directory).join(name);
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build -p {name}`, or run the tests with `cargo xtask test`",
        path.display()
    );
    path
}

fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) {
        return directory.into();
    }
    // Test programs lie in target/PROFILE/deps, programs in target/PROFILE.
    let test = std::env::current_exe().expect("a running program has a path");
    let directory = test
        .parent()
        .and_then(Path::parent)
        .expect("cargo puts test programs into a directory of a directory")
        .to_owned();
    if let Some(cargo) = std::env::var_os(CARGO_VARIABLE) {
        let mut build = Command::new(cargo);
        build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet"]);
        if directory.ends_with("release") {
            build.arg("--release");
        }
        for program in PROGRAMS {
            build.args(["-p", program]);
        }
        let status = build
            .status()
            .expect("the cargo that runs this test can be started");
        assert!(status.success(), "the programs under test do not build");
    }
    directory
}
