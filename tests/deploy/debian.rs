//! The Debian package, installed into a Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roadstead_testkit::run;
use roadstead_tests::minimal_system;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{TURN, shipped, shipped_programs};

const LIMIT: Duration = Duration::from_mins(5);

async fn build(directory: &TempDir) -> PathBuf {
    let mut command = Command::new(shipped("debian/build.sh"));
    // The programs of a debug build are large.
    command
        .env("DPKG_DEB_ARGUMENTS", "-Zgzip -z1")
        .arg(shipped_programs())
        .arg(directory.path());
    let built = run(&mut command, LIMIT).await;
    PathBuf::from(built.expect_success().trim())
}

/// A program in the system at `root`.
async fn inside(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("chroot");
    command.arg(root).args(arguments).env("LC_ALL", "C");
    let finished = run(&mut command, LIMIT).await;
    finished.expect_success().trim().to_owned()
}

#[tokio::test]
async fn the_package_does_what_a_package_should() {
    let _turn = TURN.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let package = build(&directory).await;
    it_installs_runs_and_leaves_configuration_and_data_when_it_goes(&directory, &package).await;
    its_units_start_what_it_installs(&directory, &package).await;
}

async fn it_installs_runs_and_leaves_configuration_and_data_when_it_goes(
    directory: &TempDir,
    package: &Path,
) {
    let root = directory.path().join("root");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(minimal_system().await).arg(&root);
    run(&mut copy, LIMIT).await.expect_success();
    fs::copy(package, root.join("roadstead.deb")).unwrap();

    inside(&root, &["dpkg", "--install", "/roadstead.deb"]).await;
    for program in [
        "roadstead-registry",
        "roadstead-replicator",
        "roadstead-admin",
    ] {
        inside(&root, &[program, "--version"]).await;
    }
    let account = inside(&root, &["getent", "passwd", "roadstead"]).await;
    assert!(
        account.ends_with(":/var/lib/roadstead:/usr/sbin/nologin"),
        "{account}"
    );
    let rights = inside(&root, &["stat", "-c", "%U:%G %a", "/etc/roadstead"]).await;
    assert_eq!(rights, "root:roadstead 750");
    // A second time is an upgrade.
    inside(&root, &["dpkg", "--install", "/roadstead.deb"]).await;

    fs::write(
        root.join("etc/roadstead/config.yaml"),
        "SERVER_HOSTNAME: x\n",
    )
    .unwrap();
    inside(&root, &["dpkg", "--purge", "roadstead"]).await;
    assert!(root.join("etc/roadstead/config.yaml").is_file());
    assert!(!root.join("usr/bin/roadstead-registry").exists());
}

async fn its_units_start_what_it_installs(directory: &TempDir, package: &Path) {
    let root = directory.path().join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(package).arg(&root);
    run(&mut unpack, LIMIT).await.expect_success();
    for (unit, arguments) in [
        (
            "roadstead-registry",
            &["serve", "--config-dir", "/etc/roadstead"][..],
        ),
        ("roadstead-replicator", &["--config-dir", "/etc/roadstead"]),
    ] {
        let path = root.join(format!("usr/lib/systemd/system/{unit}.service"));
        let text = fs::read_to_string(path).unwrap();
        let start = format!("ExecStart=/usr/bin/{unit} {}\n", arguments.join(" "));
        assert!(text.contains(&start), "{text}");
        assert!(root.join("usr/bin").join(unit).is_file());
        // The program knows these arguments: only the directory is missing here.
        let mut program = Command::new(root.join("usr/bin").join(unit));
        program.args(arguments);
        let told = run(&mut program, LIMIT).await;
        assert!(
            told.expect_failure().contains("/etc/roadstead"),
            "{}",
            told.stderr
        );
    }
}
