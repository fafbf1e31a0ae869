//! Programs from outside that a workflow needs: found, installed, or asked for.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Step, say};

/// What the tests run: the program, or the file, that shows whether it is there, and Debian's package that brings it.
const TEST_PROGRAMS: [(&str, &str); 26] = [
    ("skopeo", "skopeo"),
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("docker-registry", "docker-registry"),
    ("debootstrap", "debootstrap"),
    ("busybox", "busybox-static"),
    ("sqlite3", "sqlite3"),
    ("curl", "curl"),
    ("kill", "procps"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("tar", "tar"),
    // Debian starts servers of its own with the packages of servers, on their own ports; the tests leave them alone.
    ("initdb", "postgresql"),
    ("psql", "postgresql-client"),
    // Swift's servers are modules that the tests start themselves; the packages named after them would start daemons.
    (
        "/usr/lib/python3/dist-packages/swift/proxy/server.py",
        "python3-swift",
    ),
    // Debian would start it as a service; the tests start their own.
    ("prometheus", "prometheus"),
    ("pip3", "python3-pip"),
    ("redis-server", "redis-server"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx"),
    ("dpkg-deb", "dpkg"),
    ("strip", "binutils"),
    // What podman runs containers with where crun cannot set limits.
    ("runc", "runc"),
    ("slirp4netns", "slirp4netns"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// The server of Azure's blob storage, from npm: the package, and the day after which nothing that it depends on has changed.
const AZURITE: &str = "azurite@3.35.0";
const AZURITE_DAY: &str = "2025-12-01";

/// Where the tests look for it, in the directory that they are told.
const AZURITE_DIRECTORY: &str = "azurite-3.35.0";

/// The property-based client of the API, from Python's index, with everything that it needs in the versions that it was tried with.
const SCHEMATHESIS: [&str; 27] = [
    "anyio==4.16.0",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.3",
    "click==8.5.1",
    "graphql-core==3.3.2",
    "harfile==0.6.0",
    "hypothesis==6.170.17",
    "hypothesis-graphql==0.13.5",
    "idna==3.20",
    "iniconfig==2.3.1",
    "jsonschema_rs==0.60.3",
    "markdown-it-py==4.3.0",
    "MarkupSafe==3.0.4",
    "mdurl==0.1.2",
    "packaging==26.4",
    "pluggy==1.7.0",
    "Pygments==2.21.0",
    "pyrate-limiter==4.5.1",
    "pytest==9.2.0",
    "PyYAML==6.0.4",
    "requests==2.34.2",
    "rich==15.0.0",
    "schemathesis==4.32.5",
    "sortedcontainers==2.4.0",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
    "Werkzeug==3.1.9",
];

/// Where the tests look for it, in the directory that they are told.
const SCHEMATHESIS_DIRECTORY: &str = "schemathesis-4.32.5";

/// Where Debian keeps the programs of PostgreSQL's server, in a directory for each version.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// The version of cargo-deny that this workspace's `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

/// Makes sure that every program of the tests is there.
pub(crate) fn ensure_test_programs() -> Result<()> {
    ensure_programs(&TEST_PROGRAMS)
}

/// Makes sure that programs are there, each with Debian's package that brings it. As root, with apt-get, installs what is missing; else says how.
pub(crate) fn ensure_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if find("apt-get").is_none() {
        bail!(
            "programs are needed that are not here; install what Debian calls {packages}, then run this again"
        );
    }
    if Step::new("id", ["-u"], Duration::from_secs(10))
        .output()?
        .trim()
        != "0"
    {
        bail!(
            "programs are needed that are not here; run `sudo apt-get install -y {packages}`, then this again"
        );
    }
    say(&format!("installing what is needed: {packages}"));
    apt_get(&["update"])?;
    let install = ["install", "-y", "--no-install-recommends"];
    apt_get(&[&install[..], &missing].concat())?;
    match programs.iter().find(|(program, _)| find(program).is_none()) {
        None => Ok(()),
        Some((program, package)) => {
            bail!("{package} is installed, and yet {program} is not found")
        }
    }
}

/// Makes sure that the programs are in `directory` that come from elsewhere than Debian.
pub(crate) fn ensure_test_program_directory(directory: &Path) -> Result<()> {
    ensure_installed(&directory.join(AZURITE_DIRECTORY), |partial| {
        let arguments = [
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--omit=optional",
            "--loglevel=error",
            "--before",
            AZURITE_DAY,
            "--prefix",
            partial,
            AZURITE,
        ];
        Step::new("npm", arguments, Duration::from_mins(10)).run()
    })?;
    ensure_installed(&directory.join(SCHEMATHESIS_DIRECTORY), |partial| {
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        let place = ["--no-deps", "--only-binary=:all:", "--target", partial];
        let arguments = [&pip[..], &place, &SCHEMATHESIS].concat();
        Step::new("python3", arguments, Duration::from_mins(10)).run()
    })
}

/// Has something put into a directory, under another name until it is whole.
fn ensure_installed(directory: &Path, install: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let partial = directory.with_added_extension("partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("could not remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial)
        .with_context(|| format!("could not make {}", partial.display()))?;
    install(&partial.to_string_lossy())?;
    fs::rename(&partial, directory).with_context(|| {
        format!(
            "could not move what was installed to {}",
            directory.display()
        )
    })
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    // Retried because mirrors close connections; `-q` because a progress bar means nothing in a log.
    let arguments = [&["-q", "-o", "Acquire::Retries=3"], arguments].concat();
    Step::new("apt-get", arguments, Duration::from_mins(10))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// cargo-deny, built on first use into `~/.cargo/bin`, where it serves other checkouts too.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    if let Some(path) = find("cargo-deny") {
        return Ok(path);
    }
    say("cargo-deny is not here and is built now, once");
    // Not optimised: it runs for seconds, and optimising it takes minutes.
    let arguments = [
        "install",
        "cargo-deny",
        "--locked",
        "--version",
        CARGO_DENY,
        "--debug",
    ];
    Step::cargo(arguments, Duration::from_mins(20))
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .run()?;
    find("cargo-deny")
        .or_else(|| {
            let home = env::var_os("CARGO_HOME").map(PathBuf::from);
            let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?;
            Some(home.join("bin/cargo-deny")).filter(|path| path.is_file())
        })
        .context("cargo-deny is installed, and yet it is neither in PATH nor in ~/.cargo/bin")
}

/// Where `program` is: in PATH, or where Debian keeps what a user's PATH may lack: administrators' programs and PostgreSQL's.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(POSTGRESQL).into_iter().flatten().flatten();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(versions.map(|version| version.path().join("bin")))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("there-is-no-such-program"), None);
    }
}
