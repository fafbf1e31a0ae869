//! docker-registry, the registry of Debian: somebody else's end of a copy.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use roadstead_testkit::{eventually, free_port};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::Remote;

/// A docker-registry on an empty directory, to which anybody may do anything. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    _directory: TempDir,
    _child: Child,
}

impl Peer {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, free_port()).into();
        let configuration = serde_json::json!({
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {
                "filesystem": {"rootdirectory": directory.path().join("data")},
                "delete": {"enabled": true},
            },
            "http": {"addr": address.to_string(), "secret": "not one"},
        });
        // JSON is YAML.
        let path = directory.path().join("config.yml");
        fs::write(&path, configuration.to_string()).expect("a temporary file can be written");
        let log = File::create(directory.path().join("log")).expect("a temporary file can be made");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(
                log.try_clone()
                    .expect("an open file can be opened once more"),
            )
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry could not be started: {error}"));
        let peer = Self {
            address,
            _directory: directory,
            _child: child,
        };
        let client = peer.remote().client();
        eventually("docker-registry answers", async || client.ping().await.ok()).await;
        peer
    }

    /// Where it is.
    pub fn remote(&self) -> Remote {
        Remote {
            address: self.address,
            credentials: None,
        }
    }
}
