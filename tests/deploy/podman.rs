//! The image in podman's store, and podman that runs it.
//!
//! Where the tests run there may be no cgroups to set limits in, no bridges to make and no limits to raise, so that podman is told to use
//! runc, user-space networking and small limits. The command lines are a user's all the same.

use std::fs;
use std::path::Path;
use std::time::Duration;

use roadstead_testkit::{Finished, run};
use roadstead_tests::{Workshop, minimal_system};
use tokio::process::Command;

use crate::{shipped, shipped_programs};

/// What the image is called here.
pub(crate) const IMAGE: &str = "localhost/roadstead";

/// Where a container finds the servers that listen on this machine's loopback.
pub(crate) const HOST: &str = "10.0.2.2";

/// The longest that building the image may take: some 200 MiB are copied a few times.
const BUILD_LIMIT: Duration = Duration::from_mins(10);

/// The longest that one command may take: one waits until everything is replicated.
const RUN_LIMIT: Duration = Duration::from_mins(10);

const CONTAINERS_CONF: &str = r#"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "slirp4netns"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
network_cmd_options = ["allow_host_loopback=true"]
"#;

/// A machine with podman on it and the image in its store.
pub(crate) struct Podman {
    workshop: Workshop,
}

impl Podman {
    /// Builds the image of the programs that are tested.
    pub(crate) async fn with_image() -> Self {
        let workshop = Workshop::new(&[]);
        fs::write(workshop.path("containers.conf"), CONTAINERS_CONF).unwrap();
        let arguments = format!(
            "--storage-driver vfs --root {} --runroot {}",
            workshop.path("store").display(),
            workshop.path("run").display()
        );
        let mut build = Command::new(shipped("image/build.sh"));
        build
            .env("BUILDAH_ARGUMENTS", arguments)
            .env("BUILDAH_ISOLATION", "chroot")
            .env("TMPDIR", workshop.path("tmp"))
            .arg(minimal_system().await)
            .arg(shipped_programs())
            .arg(IMAGE);
        run(&mut build, BUILD_LIMIT).await.expect_success();
        Self { workshop }
    }

    /// A directory of this machine.
    pub(crate) fn directory(&self, name: &str) -> std::path::PathBuf {
        let directory = self.workshop.path(name);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// `podman ARGUMENTS`, which may fail.
    pub(crate) async fn attempt(&self, arguments: &[&str]) -> Finished {
        let mut command = self.workshop.podman();
        command
            .env("CONTAINERS_CONF", self.workshop.path("containers.conf"))
            .args(arguments);
        run(&mut command, RUN_LIMIT).await
    }

    /// `podman ARGUMENTS`, which must succeed: what it printed, without the spaces around it.
    pub(crate) async fn go(&self, arguments: &[&str]) -> String {
        let finished = self.attempt(arguments).await;
        finished.expect_success().trim().to_owned()
    }

    /// Where an image's files lie, for looking at them.
    pub(crate) async fn unpacked(&self) -> String {
        self.go(&["image", "mount", IMAGE]).await
    }
}

impl Drop for Podman {
    /// Containers outlive a test that fails.
    fn drop(&mut self) {
        let mut command = self.workshop.podman();
        command.args(["rm", "--all", "--force", "--time", "0"]);
        let removed = command.as_std_mut().output();
        if !std::thread::panicking() {
            removed.expect("podman can be started");
        }
    }
}

/// Every file below a directory with its mode, symbolic links left alone.
pub(crate) fn modes(directory: &Path) -> Vec<(std::path::PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file() {
                found.push((entry.path(), metadata.permissions().mode()));
            }
        }
    }
    found
}
