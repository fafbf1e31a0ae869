//! Azure's blob storage.

use std::ops::{Deref, DerefMut};
use std::process::{Command, Output};

use crate::programs::installed_program;
use crate::server::{Program, Server};

/// The program, where `cargo xtask test` installs it.
const PROGRAM: &str = "azurite-3.35.0/node_modules/azurite/dist/src/blob/main.js";

/// The one account, and its key: 64 bytes in base64, as Azure's are. Not secret: nothing but a test ever listens with them, on the loopback
/// interface.
const ACCOUNT: &str = "roadsteadtest";
const KEY: &str =
    "bm90IGEgc2VjcmV0LCBub3QgYSBzZWNyZXQsIG5vdCBhIHNlY3JldCwgbm90IGEgc2VjcmV0LCBub3QgYSBzZWM=";

const CREATE_CONTAINER: &str = include_str!("azurite/create_container.js");

/// Azurite: a server that speaks the protocol of Azure's blob storage, written by Microsoft. Dropping it ends it and removes its files.
///
/// It checks signatures with the account's key and shared access signatures, and takes any version of the protocol. What it was asked, a
/// [`FaultProxy`](crate::FaultProxy) before it counts; it prints each request, too, soon after it was answered. When it is killed, what was written
/// in the last seconds may be gone: it keeps its index in memory and writes it every five seconds.
#[derive(Debug)]
pub struct Azurite {
    server: Server,
}

impl Azurite {
    /// Starts one without containers. That takes a second or two.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        let server = Server::start("azurite", |directory, port| Program {
            path: "node".into(),
            arguments: vec![
                installed_program(PROGRAM).into(),
                "--blobPort".into(),
                port.to_string().into(),
                "--location".into(),
                directory.into(),
                "--disableTelemetry".into(),
                "--skipApiVersionCheck".into(),
            ],
            environment: vec![("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}").into())],
        });
        Self { server }
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`: the account is in the path.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port())
    }

    /// The one account that it knows.
    #[expect(clippy::unused_self, reason = "as for other servers")]
    pub const fn account_name(&self) -> &'static str {
        ACCOUNT
    }

    /// The account's key, in base64.
    #[expect(clippy::unused_self, reason = "as for other servers")]
    pub const fn account_key(&self) -> &'static str {
        KEY
    }

    /// Makes an empty container: three lower-case characters at least.
    ///
    /// # Panics
    /// When there is one of that name.
    pub fn create_container(&self, name: &str) {
        let made = self.try_create_container(name);
        assert!(
            made.status.success(),
            "the container {name} cannot be made: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    fn try_create_container(&self, name: &str) -> Output {
        Command::new("node")
            .args(["-e", CREATE_CONTAINER])
            .args([&self.port().to_string(), ACCOUNT, KEY, name])
            .output()
            .expect("`node` can be run")
    }

    /// Starts it again, on the same port. If it runs, it is asked to end before, and loses nothing.
    ///
    /// # Panics
    /// When it does not end or does not start.
    pub fn restart(&mut self) {
        self.server.stop();
        self.server.restart();
    }
}

impl Deref for Azurite {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Azurite {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;

    #[test]
    fn strangers_are_refused_and_containers_survive_a_restart() {
        let mut server = Azurite::start();
        server.create_container("container");
        let path = format!("/{ACCOUNT}/container/blob");
        let mut client = Client::connect(server.port()).unwrap();
        assert_eq!(client.get(&path).unwrap().status, 403);
        server.restart();
        let again = server.try_create_container("container");
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(said.contains("ContainerAlreadyExists"), "{said}");
        server.kill();
        assert!(Client::connect(server.port()).is_err());
        server.restart();
    }
}
