//! skopeo, podman and buildah as a user has them, with everything of theirs in a temporary directory.
//!
//! They run without a daemon, without cgroups and without overlay file systems, so that they work in a container and as root of a
//! small machine alike: storage driver vfs, isolation chroot.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_oci::{Algorithm, Digest, MediaType};
use roadstead_testkit::{Finished, run};
use tempfile::TempDir;
use tokio::process::Command;

use crate::Remote;

/// The longest that one command may take: an image of 200 MiB is built, packed or unpacked in half a minute.
const COMMAND_LIMIT: Duration = Duration::from_mins(5);

/// What form an image has in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An OCI image.
    Oci,
    /// A Docker image, schema 2.
    Docker,
    /// An OCI index of two images.
    OciIndex,
    /// A Docker manifest list of two images.
    DockerList,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Oci, Self::Docker, Self::OciIndex, Self::DockerList];

    /// What the tools call its format.
    pub fn format(self) -> &'static str {
        match self {
            Self::Oci | Self::OciIndex => "oci",
            Self::Docker | Self::DockerList => "v2s2",
        }
    }

    /// Whether it has more than one image.
    pub fn is_list(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Its media type.
    pub fn media_type(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OCI_MANIFEST,
            Self::Docker => MediaType::DOCKER_MANIFEST,
            Self::OciIndex => MediaType::OCI_INDEX,
            Self::DockerList => MediaType::DOCKER_MANIFEST_LIST,
        }
    }

    /// A tag for it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::OciIndex => "oci-index",
            Self::DockerList => "docker-list",
        }
    }
}

/// A machine with skopeo, podman and buildah on it, which share one store.
#[derive(Debug)]
pub struct Workshop {
    directory: TempDir,
}

impl Workshop {
    /// A machine with an empty store, logged in to these registries.
    pub fn new(remotes: &[&Remote]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let logins: serde_json::Map<_, _> = remotes
            .iter()
            .filter_map(|remote| {
                let (name, password) = remote.credentials.as_ref()?;
                let auth = STANDARD.encode(format!("{name}:{password}"));
                Some((
                    remote.address.to_string(),
                    serde_json::json!({ "auth": auth }),
                ))
            })
            .collect();
        let workshop = Self { directory };
        for name in ["home", "run", "tmp"] {
            fs::create_dir(workshop.path(name)).expect("a temporary directory can be written to");
        }
        let logins = serde_json::json!({ "auths": logins });
        fs::write(workshop.path("auth.json"), logins.to_string())
            .expect("a temporary file can be written");
        workshop
    }

    /// A path in the machine's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// skopeo, to which arguments are to be added.
    pub fn skopeo(&self) -> Command {
        self.command("skopeo")
    }

    /// buildah, to which arguments are to be added.
    pub fn buildah(&self) -> Command {
        let mut command = self.command("buildah");
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.path("store"));
        command.arg("--runroot").arg(self.path("run"));
        command
    }

    /// podman, to which arguments are to be added.
    pub fn podman(&self) -> Command {
        let mut command = self.command("podman");
        command.args([
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
        ]);
        command.arg("--root").arg(self.path("store"));
        command.arg("--runroot").arg(self.path("run"));
        command.arg("--tmpdir").arg(self.path("tmp"));
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("TMPDIR", self.path("tmp"))
            .env("REGISTRY_AUTH_FILE", self.path("auth.json"))
            .env("BUILDAH_ISOLATION", "chroot")
            .current_dir(self.directory.path());
        command
    }

    /// Runs a command of this machine's; it may fail.
    pub async fn attempt(&self, command: &mut Command) -> Finished {
        run(command, COMMAND_LIMIT).await
    }

    /// Runs a command of this machine's, which has to succeed, and returns what it printed, without the spaces around it.
    pub async fn go(&self, command: &mut Command) -> String {
        self.attempt(command)
            .await
            .expect_success()
            .trim()
            .to_owned()
    }

    /// Builds an image from nothing with these files in it (where from, where to), for one architecture. The name is the local one.
    pub async fn build(&self, name: &str, architecture: &str, files: &[(&Path, &str)]) {
        let container = self
            .go(self
                .buildah()
                .args(["from", "--arch", architecture, "scratch"]))
            .await;
        for (source, target) in files {
            self.go(self
                .buildah()
                .args(["copy", "--quiet", &container])
                .arg(source)
                .arg(target))
                .await;
        }
        let mut config = self.buildah();
        config.args([
            "config",
            "--os",
            "linux",
            "--arch",
            architecture,
            "--cmd",
            "[\"/bin/sh\"]",
            &container,
        ]);
        self.go(&mut config).await;
        let mut commit = self.buildah();
        commit.args([
            "commit",
            "--quiet",
            "--rm",
            "--timestamp",
            "0",
            &container,
            name,
        ]);
        self.go(&mut commit).await;
    }

    /// Builds an image of Debian's static busybox, under two names for two architectures (`NAME-amd64`, `NAME-arm64`), and a list
    /// of both (`NAME-list`). Each architecture has a layer of its own beside the one they share. Returns the names in this order.
    pub async fn build_busybox(&self, name: &str) -> [String; 3] {
        let list = format!("{name}-list");
        self.go(self.buildah().args(["manifest", "create", &list]))
            .await;
        let mut names = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let image = format!("{name}-{architecture}");
            let mark = self.path(&image);
            fs::write(&mark, &image).expect("a temporary file can be written");
            let busybox = Path::new("/bin/busybox");
            self.build(
                &image,
                architecture,
                &[
                    (busybox, "/bin/busybox"),
                    (busybox, "/bin/sh"),
                    (&mark, "/etc/mark"),
                ],
            )
            .await;
            let source = format!("containers-storage:localhost/{image}");
            self.go(self.buildah().args(["manifest", "add", &list, &source]))
                .await;
            names.push(image);
        }
        let [amd64, arm64] = names.try_into().expect("two architectures");
        [amd64, arm64, list]
    }

    /// A file in which a tool leaves the digest of what it pushed.
    pub fn digest_file(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.digest"))
    }

    /// The digest that a tool left there.
    pub fn read_digest(&self, name: &str) -> Digest {
        let path = self.digest_file(name);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().parse().expect("a tool writes a digest")
    }
}

/// The digest of the manifest in a directory of skopeo's `dir:` transport, whose files it checks against their names.
pub fn digest_of_directory(directory: &Path) -> Digest {
    let mut manifest = None;
    for entry in fs::read_dir(directory).expect("skopeo has made a directory") {
        let path = entry.expect("its entries can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("skopeo's names are text");
        let content = fs::read(&path).expect("its files can be read");
        let digest = Digest::of(Algorithm::Sha256, &content);
        match name.strip_suffix(".manifest.json").unwrap_or(name) {
            "version" => {}
            "manifest.json" => manifest = Some(digest),
            hex => assert_eq!(
                digest.hex(),
                hex,
                "{} is something else than its name says",
                path.display()
            ),
        }
    }
    manifest.expect("there is a manifest in the directory")
}
