//! OpenStack's object storage.

use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};

use crate::http::{Answer, Client};
use crate::ports::free_port;
use crate::request::Request;
use crate::server::{Program, Server, read_text};

/// Debian's own Python, which has Debian's package of Swift.
const PYTHON: &str = "/usr/bin/python3";

/// Runs all of Swift in one process.
const LAUNCHER: &str = include_str!("swift/launcher.py");

/// The one user and its key, as the launcher has them. Not secret: nothing but a test ever listens with them, on the loopback interface.
const USER: &str = "test:tester";
const KEY: &str = "testing";

/// OpenStack Swift as Debian packages it: a proxy with `tempauth`, and one account, container and object server on a directory, in one process.
/// Dropping it ends it and removes its files.
///
/// Tokens come from version 1 of the authentication only. It has large objects of both kinds, temporary addresses, copies and deletion in bulk;
/// nothing replicates, audits or expires. Objects survive a restart, tokens do not. A token that was asked for through another port, a proxy's,
/// comes with a storage address there. The directory of temporary files has to be on a file system with extended attributes.
#[derive(Debug)]
pub struct Swift {
    server: Server,
}

impl Swift {
    /// Starts one without containers. That takes some seconds.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start() -> Self {
        let server = Server::start("swift", |directory, port| {
            let launcher = directory.join("launcher.py");
            fs::write(&launcher, LAUNCHER).expect("a temporary directory can be written");
            let mut arguments = vec![launcher.into(), directory.into(), port.to_string().into()];
            let others = [free_port(), free_port(), free_port()];
            arguments.extend(others.map(|port| port.to_string().into()));
            arguments.push(directory.join("access").into());
            Program {
                path: PYTHON.into(),
                arguments,
                environment: Vec::new(),
            }
        });
        Self { server }
    }

    /// Where tokens come from: `http://127.0.0.1:PORT/auth/v1.0`.
    pub fn auth_url(&self) -> String {
        format!("http://127.0.0.1:{}/auth/v1.0", self.port())
    }

    /// The one user, `ACCOUNT:NAME`.
    #[expect(clippy::unused_self, reason = "as for other servers")]
    pub const fn user(&self) -> &'static str {
        USER
    }

    /// The user's key.
    #[expect(clippy::unused_self, reason = "as for other servers")]
    pub const fn key(&self) -> &'static str {
        KEY
    }

    /// A token and the address of the account that it opens.
    ///
    /// # Panics
    /// When the server gives none.
    pub fn token(&self) -> (String, String) {
        let fields = format!(
            "Host: 127.0.0.1:{}\r\nX-Auth-User: {USER}\r\nX-Auth-Key: {KEY}\r\n",
            self.port()
        );
        let answer = self.ask("GET", "/auth/v1.0", &fields);
        let field = |name: &str| {
            let value = answer.fields.get(name);
            value.expect("a token comes with an address").clone()
        };
        (field("x-auth-token"), field("x-storage-url"))
    }

    /// Makes a container if there is none of that name.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_container(&self, name: &str) {
        self.change("PUT", &format!("/{name}"), "");
    }

    /// Sets the key that temporary addresses in the account are signed with.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn set_temporary_url_key(&self, key: &str) {
        self.change(
            "POST",
            "",
            &format!("X-Account-Meta-Temp-URL-Key: {key}\r\n"),
        );
    }

    fn change(&self, method: &str, path: &str, fields: &str) {
        let (token, _) = self.token();
        let fields = format!("X-Auth-Token: {token}\r\n{fields}");
        self.ask(method, &format!("/v1/AUTH_test{path}"), &fields);
    }

    fn ask(&self, method: &str, target: &str, fields: &str) -> Answer {
        let asked = || -> io::Result<Answer> {
            Client::connect(self.port())?.exchange(method, target, fields, b"")
        };
        let answer = asked().expect("a running server answers");
        assert!(
            (200..300).contains(&answer.status),
            "{method} {target} was answered with {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        answer
    }

    /// Every request that it has answered, oldest first. Those of this type's own methods are among them.
    pub fn requests(&self) -> Vec<Request> {
        let log = read_text(&self.directory().join("access"));
        log.lines().filter_map(Request::parse).collect()
    }
}

impl Deref for Swift {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Swift {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_survive_a_kill_and_tokens_do_not() {
        let mut server = Swift::start();
        server.create_container("container");
        let target = "/v1/AUTH_test/container/a/b";
        let ask = |server: &Swift, token: &str, method, body| {
            let fields = format!("X-Auth-Token: {token}\r\n");
            let mut client = Client::connect(server.port()).unwrap();
            client.exchange(method, target, &fields, body).unwrap()
        };
        let (token, url) = server.token();
        assert!(url.ends_with("/v1/AUTH_test"), "{url}");
        assert_eq!(ask(&server, &token, "PUT", b"bytes").status, 201);
        server.kill();
        assert!(Client::connect(server.port()).is_err());
        server.restart();
        assert_eq!(ask(&server, &token, "GET", b"").status, 401);
        let (token, _) = server.token();
        assert_eq!(ask(&server, &token, "GET", b"").body, b"bytes");
        let seen = server.requests();
        let of_object = seen.iter().filter(|seen| seen.path() == target);
        let shown: Vec<String> = of_object.map(Request::to_string).collect();
        let expected = [201, 401, 200].map(|status| {
            let method = if status == 201 { "PUT" } else { "GET" };
            format!("{method} {target} {status}")
        });
        assert_eq!(shown, expected);
    }
}
