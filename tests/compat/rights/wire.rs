//! One request on a connection of its own, sent as it is: a client would answer challenges, and change what is asked.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest that a test waits for an answer.
const LIMIT: Duration = Duration::from_mins(2);

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl<'a> Asked<'a> {
    pub(crate) const fn get(path: &'a str, authorization: Option<String>) -> Self {
        Self {
            method: "GET",
            path,
            authorization,
            body: Vec::new(),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} {}: {error}", self.status, self.text()))
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn ask(address: SocketAddr, asked: Asked<'_>) -> Answer {
    let Asked {
        method,
        path,
        authorization,
        body,
    } = asked;
    let authorization = authorization
        .map(|value| format!("Authorization: {value}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
         application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json\r\n\
         Content-Type: application/vnd.docker.distribution.manifest.v2+json\r\n{authorization}\r\n",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        std::io::Result::Ok(bytes)
    };
    let bytes = tokio::time::timeout(LIMIT, exchange)
        .await
        .expect("an answer in time")
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let end = bytes
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{method} {path}: no whole head"));
    let (head, body) = bytes.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_lowercase();
    assert!(
        !head.contains("transfer-encoding"),
        "{method} {path}: {head}"
    );
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("{method} {path}: {head}")),
        body: body.to_vec(),
    }
}

/// A name and a password as `Authorization` carries them.
pub(crate) fn basic(login: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{login}:{secret}")))
}

/// A token for a scope; none where there is none.
pub(crate) async fn token(
    address: SocketAddr,
    service: SocketAddr,
    password: &str,
    scope: &str,
) -> Option<String> {
    let path = format!("/v2/auth?service={service}&scope={scope}");
    let answer = ask(address, Asked::get(&path, Some(password.to_owned()))).await;
    (answer.status == 200).then(|| {
        answer.json()["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    })
}
