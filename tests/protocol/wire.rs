//! Bytes on a connection: requests that no HTTP library would send.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::call::call;
use roadstead_client::Client;

/// The longest that a test waits for bytes from the registry.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What came back on a connection.
#[derive(Debug)]
pub(crate) struct WireAnswer {
    /// The status of the first answer; none if the connection was closed without one.
    pub(crate) status: Option<u16>,
    /// Everything, what is not UTF-8 replaced.
    pub(crate) text: String,
}

/// Sends bytes on a new connection and reads until the registry closes it. A registry may close before it has read all.
pub(crate) async fn send_bytes(address: SocketAddr, request: &[u8]) -> WireAnswer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Being cut off while sending is one of the answers.
    let sent = stream.write_all(request).await;
    read_answer(&mut stream, sent.is_err()).await
}

/// Reads until the registry closes the connection; it may be broken already.
pub(crate) async fn read_answer(stream: &mut TcpStream, broken: bool) -> WireAnswer {
    let mut bytes = Vec::new();
    let mut limited = stream.take(ANSWER_BYTES_MAX);
    let read = tokio::time::timeout(LIMIT, limited.read_to_end(&mut bytes))
        .await
        .expect("the registry answers or closes the connection");
    assert!(read.is_ok() || broken || !bytes.is_empty(), "{read:?}");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    WireAnswer { status, text }
}

/// A token of `admin` for a repository, as the value of `Authorization`.
pub(crate) async fn bearer(client: &Client, password: &str, repository: &str) -> String {
    let basic = STANDARD.encode(format!("admin:{password}"));
    let reply = call(
        "GET",
        format!("/v2/auth?service=localhost&scope=repository:{repository}:pull,push"),
    )
    .header("authorization", format!("Basic {basic}"))
    .send(client)
    .await
    .expect(200);
    format!("Bearer {}", reply.json()["token"].as_str().unwrap())
}
