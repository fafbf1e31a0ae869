//! `cargo xtask dev`: two regions on this machine, over one database, for a developer to work with.
//!
//! As in a deployment, both read the same `config.yaml`; only the preference variable and the address differ.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Step, say};
use crate::regions::Region;
use crate::workspace::Workspace;

/// The locations, and the short names of the regions that prefer them.
const REGIONS: [(&str, &str); 2] = [("us", "usstorage"), ("eu", "eustorage")];

/// Builds the registry and runs both regions until one of them ends or Ctrl-C.
pub(crate) fn run(
    workspace: &Workspace,
    data_dir: Option<PathBuf>,
    reset: bool,
    release: bool,
) -> Result<()> {
    let build = ["build", "--package", "registry", "--locked"];
    let build = build.into_iter().chain(release.then_some("--release"));
    Step::cargo(build, Duration::from_mins(30))
        .directory(&workspace.root)
        .run()?;
    let profile = if release { "release" } else { "debug" };
    let registry = workspace.target.join(profile).join("registry");

    let data = data_dir.unwrap_or_else(|| workspace.target.join("dev"));
    if reset && data.join("config.yaml").is_file() {
        fs::remove_dir_all(&data)
            .with_context(|| format!("could not remove {}", data.display()))?;
    }
    let addresses = [free_address()?, free_address()?];
    write_configuration(&data, addresses[0])?;

    let mut regions = Vec::new();
    for ((name, preference), address) in REGIONS.into_iter().zip(addresses) {
        let mut region = Region::start(name, &registry, &data, preference, address)?;
        // One after the other: the first lays out the database.
        region.wait_until_serving(Duration::from_mins(1))?;
        regions.push(region);
    }
    say("");
    for ((name, preference), address) in REGIONS.into_iter().zip(addresses) {
        say(&format!(
            "region {name}: http://{address}, writes to {preference}"
        ));
    }
    say(&format!("data in {}; Ctrl-C ends both", data.display()));
    Region::wait_for_any(regions)
}

/// An address on the loopback that is free now. It is let go of before the region takes it; what takes it in between makes
/// the region fail with a message.
fn free_address() -> Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not find a free port")?;
    listener.local_addr().context("could not find a free port")
}

/// Writes `config.yaml`. The database and the blobs of earlier runs stay; the registry itself makes the directories of
/// locations that it has never seen, and only those.
fn write_configuration(data: &Path, hostname: SocketAddr) -> Result<()> {
    let data = std::path::absolute(data)
        .with_context(|| format!("could not resolve {}", data.display()))?;
    fs::create_dir_all(&data).with_context(|| format!("could not make {}", data.display()))?;
    let inside = |name: &str| data.join(name).display().to_string();
    let locations = REGIONS.map(|(_, location)| {
        format!(
            "  {location}: [LocalStorage, {{storage_path: {}}}]\n",
            quoted(&inside(location))
        )
    });
    let text = format!(
        "SERVER_HOSTNAME: {hostname}\n\
         PREFERRED_URL_SCHEME: http\n\
         DB_URI: {}\n\
         SUPER_USERS: [admin]\n\
         FEATURE_SUPERUSERS_FULL_ACCESS: true\n\
         CREATE_NAMESPACE_ON_PUSH: true\n\
         FEATURE_STORAGE_REPLICATION: true\n\
         DISTRIBUTED_STORAGE_PREFERENCE: [usstorage, eustorage]\n\
         DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [usstorage, eustorage]\n\
         DISTRIBUTED_STORAGE_CONFIG:\n{}",
        quoted(&format!("sqlite:///{}", inside("roadstead.db"))),
        locations.concat()
    );
    let file = data.join("config.yaml");
    fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))
}

/// A YAML scalar in single quotes, in which only the quote itself is special.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_both_locations_and_keeps_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("it's here");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        write_configuration(&data, address).unwrap();
        fs::create_dir(data.join("usstorage")).unwrap();
        write_configuration(&data, address).unwrap();
        assert!(data.join("usstorage").is_dir() && !data.join("eustorage").exists());
        let text = fs::read_to_string(data.join("config.yaml")).unwrap();
        assert!(text.contains("SERVER_HOSTNAME: 127.0.0.1:5000\n"), "{text}");
        assert!(text.contains("it''s here/eustorage'}]\n"), "{text}");
        assert!(text.contains("DB_URI: 'sqlite:////"), "{text}");
    }

    #[test]
    fn two_free_addresses_differ_and_can_be_listened_on() {
        let (one, other) = (free_address().unwrap(), free_address().unwrap());
        assert_ne!(one, other);
        TcpListener::bind(one).unwrap();
    }
}
