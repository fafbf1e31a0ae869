//! Where our own programs are.

use std::path::PathBuf;
use std::sync::OnceLock;

/// The programs that tests run. Each is a package of the same name.
const PROGRAMS: [&str; 3] = ["registry", "replicator", "admin"];

/// The path of one of our programs, built from the present source: by `cargo xtask test` beforehand, or here, once per process, in
/// the profile of the test.
///
/// # Panics
/// When it is not there and cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| roadstead_test_servers::program_directory(&PROGRAMS));
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build -p {name}`, or run the tests with `cargo xtask test`",
        path.display()
    );
    path
}
