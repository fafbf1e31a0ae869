//! Who asks the registry: the account of its first start, with a token for the one repository that there is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_oci::{Digest, MediaType};

use crate::content::Hashed;
use crate::http::{Answer, Connection, Request};

/// The account.
pub const ACCOUNT: &str = "admin";

/// The repository, in the account's own namespace.
pub const REPOSITORY: &str = "admin/app";

/// A client with one connection. Where its methods expect an answer, they panic when it is another one or does not come.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    address: SocketAddr,
    patience: Duration,
    /// The header `Authorization` with the password.
    password: String,
    /// The header `Authorization` with the token; none where nobody is asked who they are.
    token: Option<String>,
}

impl Client {
    /// Connects and asks for a token. Each part of an answer may take as long as `patience`.
    pub fn new(address: SocketAddr, password: &str, patience: Duration) -> Self {
        let credentials = STANDARD.encode(format!("{ACCOUNT}:{password}"));
        let mut client = Self {
            password: format!("Basic {credentials}"),
            ..Self::of_nobody(address, patience)
        };
        let token = client.new_token();
        client.token = Some(format!("Bearer {token}"));
        client
    }

    /// Connects to a registry that asks nobody who they are.
    pub fn of_nobody(address: SocketAddr, patience: Duration) -> Self {
        Self {
            connection: connect(address, patience),
            address,
            patience,
            password: String::new(),
            token: None,
        }
    }

    /// One with a connection of its own and the same token.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            connection: connect(self.address, self.patience),
            address: self.address,
            patience: self.patience,
            password: self.password.clone(),
            token: self.token.clone(),
        }
    }

    /// Begins a new connection, with the same token.
    pub fn reconnect(&mut self) {
        self.connection = connect(self.address, self.patience);
    }

    /// Asks for a token, and goes on with the one that there is.
    ///
    /// # Panics
    /// When none is given.
    pub fn new_token(&mut self) -> String {
        let path = format!(
            "/v2/auth?service={}&scope=repository:{REPOSITORY}:pull,push",
            self.address
        );
        let request = Request {
            method: "GET",
            path: &path,
            headers: &[("Authorization", &self.password)],
            body: &[],
        };
        let answer = exchange(&mut self.connection, request, 200);
        let document: serde_json::Value =
            serde_json::from_slice(&answer.body).expect("the answer with a token is JSON");
        document["token"].as_str().expect("there is one").to_owned()
    }

    /// Asks whether there is a registry.
    pub fn ping(&mut self) {
        self.ask("GET", "/v2/", &[], &[], 200);
    }

    /// Asks for a manifest by tag or digest.
    pub fn pull_manifest(&mut self, reference: &str) {
        let path = in_repository(&format!("manifests/{reference}"));
        let kind = MediaType::OCI_MANIFEST;
        self.ask("GET", &path, &[("Accept", kind.as_str())], &[], 200);
    }

    /// Asks how large a blob is.
    pub fn look_at_blob(&mut self, blob: &Hashed) {
        let path = in_repository(&format!("blobs/{}", blob.digest));
        self.ask("HEAD", &path, &[], &[], 200);
    }

    /// Reads a blob.
    pub fn pull_blob(&mut self, blob: &Hashed) {
        let path = in_repository(&format!("blobs/{}", blob.digest));
        self.ask("GET", &path, &[], &[], 200);
    }

    /// Reads the first bytes of a blob.
    pub fn pull_range(&mut self, blob: &Hashed, bytes: usize) {
        let path = in_repository(&format!("blobs/{}", blob.digest));
        let range = format!("bytes=0-{}", bytes - 1);
        self.ask("GET", &path, &[("Range", &range)], &[], 206);
    }

    /// Reads the first page of the list of tags.
    pub fn list_tags(&mut self, count: u64) {
        let path = in_repository(&format!("tags/list?n={count}"));
        self.ask("GET", &path, &[], &[], 200);
    }

    /// Reads the list of what refers to a manifest.
    pub fn list_referrers(&mut self, subject: &Digest) {
        let path = in_repository(&format!("referrers/{subject}"));
        self.ask("GET", &path, &[], &[], 200);
    }

    /// Reads something of the repository and keeps nothing of it: the status, whatever it is.
    pub fn status(&mut self, path: &str) -> io::Result<u16> {
        let kind = MediaType::OCI_MANIFEST;
        let accepted = ("Accept", kind.as_str());
        let headers: Vec<_> = std::iter::once(accepted)
            .chain(bearer(self.token.as_deref()))
            .collect();
        self.connection.status(Request {
            method: "GET",
            path: &in_repository(path),
            headers: &headers,
            body: &[],
        })
    }

    /// Begins an upload and ends it with all its bytes.
    ///
    /// # Panics
    /// When it is not told where to send them.
    pub fn push_blob(&mut self, blob: &Hashed) {
        let begun = self.ask("POST", &in_repository("blobs/uploads/"), &[], &[], 202);
        let location = begun.location.expect("an upload has an address");
        // It is absolute, as the configuration says what the registry is called.
        let own = format!("http://{}", self.address);
        let path = location.strip_prefix(&own).unwrap_or(&location);
        let sign = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{sign}digest={}", blob.digest);
        let kind = ("Content-Type", "application/octet-stream");
        self.ask("PUT", &path, &[kind], &blob.bytes, 201);
    }

    /// Puts a manifest under a tag.
    pub fn push_manifest(&mut self, tag: &str, manifest: &Hashed) {
        let path = in_repository(&format!("manifests/{tag}"));
        let kind = MediaType::OCI_MANIFEST;
        let headers = [("Content-Type", kind.as_str())];
        self.ask("PUT", &path, &headers, &manifest.bytes, 201);
    }

    /// Asks with the token, if there is one.
    fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        expected: u16,
    ) -> Answer {
        let headers: Vec<_> = headers
            .iter()
            .copied()
            .chain(bearer(self.token.as_deref()))
            .collect();
        let request = Request {
            method,
            path,
            headers: &headers,
            body,
        };
        exchange(&mut self.connection, request, expected)
    }
}

fn connect(address: SocketAddr, patience: Duration) -> Connection {
    Connection::open(address, patience)
        .unwrap_or_else(|error| panic!("{address} cannot be reached: {error}"))
}

/// The header with the token.
fn bearer(token: Option<&str>) -> Option<(&str, &str)> {
    token.map(|token| ("Authorization", token))
}

fn in_repository(path: &str) -> String {
    format!("/v2/{REPOSITORY}/{path}")
}

fn exchange(connection: &mut Connection, request: Request<'_>, expected: u16) -> Answer {
    let (method, path) = (request.method, request.path);
    let answer = connection
        .exchange(request)
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    assert_eq!(
        answer.status,
        expected,
        "{method} {path}: {}",
        String::from_utf8_lossy(&answer.body)
    );
    answer
}
