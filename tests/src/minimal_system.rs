//! A Debian system of the smallest kind, for images with a real tree of files in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roadstead_testkit::run;
use tokio::process::Command;

/// The longest that debootstrap may take: half a minute with a mirror nearby.
const BOOTSTRAP_LIMIT: Duration = Duration::from_mins(8);

/// The release that is made when this machine does not say which it runs.
const RELEASE: &str = "stable";

/// The directory of a Debian system (variant minbase with curl and certificate authorities, some 200 MiB), made by debootstrap from the mirror that this machine uses.
/// It is kept in the target directory, so that only the first run of the tests makes it. Needs root, as debootstrap does.
pub async fn minimal_system() -> PathBuf {
    let release = release();
    let directory = target_directory()
        .join("test-cache")
        .join(format!("minbase-with-curl-{release}"));
    // Of the tests of one process one makes it.
    static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _making = MAKING.lock().await;
    if directory.exists() {
        return directory;
    }
    let unfinished = directory.with_extension(std::process::id().to_string());
    let mut command = Command::new("debootstrap");
    command
        .args([
            "--variant=minbase",
            "--include=ca-certificates,curl",
            &release,
        ])
        .arg(&unfinished);
    run(&mut command, BOOTSTRAP_LIMIT).await.expect_success();
    // Another process may have been faster; both trees are good.
    if let Err(error) = fs::rename(&unfinished, &directory) {
        assert!(directory.exists(), "{}: {error}", directory.display());
    }
    directory
}

/// The code name of the Debian release of this machine.
fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map_or_else(
            || RELEASE.to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

/// Cargo's target directory: test programs lie in `target/PROFILE/deps`.
fn target_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let target = test
        .ancestors()
        .nth(3)
        .expect("cargo puts test programs three directories deep");
    Path::to_owned(target)
}
