//! The client against a server that follows a script: flows that need a server of a certain kind, or a broken one.

mod authorization;
mod transfers;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roadstead_oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Client, ClientError, ClientOptions, Credentials, Mounted, RequestBody};

/// One request, on a connection of its own: what its head has to contain, and what is answered.
struct Step {
    wanted: &'static [&'static str],
    answer: String,
}

fn step(wanted: &'static [&'static str], answer: impl Into<String>) -> Step {
    Step {
        wanted,
        answer: answer.into(),
    }
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers
        .iter()
        .flat_map(|header| {
            [
                header, "
",
            ]
        })
        .collect();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A client and the server that it speaks to; `run` lets both go on until the client is done and the script is.
struct Play {
    listener: TcpListener,
    client: Client,
}

impl Play {
    async fn new(credentials: Option<Credentials>) -> Self {
        Self::with_options(credentials, ClientOptions::default()).await
    }

    /// Of a client that does not wait long for a server that falls silent.
    async fn impatient() -> Self {
        let options = ClientOptions {
            stall_timeout: Duration::from_secs(2),
            ..ClientOptions::default()
        };
        Self::with_options(None, options).await
    }

    async fn with_options(credentials: Option<Credentials>, options: ClientOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let options = ClientOptions {
            entries_max: 3,
            ..options
        };
        let client = Client::with_options(&address, credentials, options).unwrap();
        Self { listener, client }
    }

    async fn run<F: Future>(&self, script: Vec<Step>, action: F) -> F::Output {
        let serve = async {
            for step in script {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let head = read_request(&mut stream).await;
                for wanted in step.wanted {
                    assert!(head.contains(wanted), "{wanted:?} is not in {head:?}");
                }
                stream.write_all(step.answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        };
        tokio::join!(serve, action).1
    }
}

/// Reads a request's head and as much of a body as it announces.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        assert_ne!(count, 0, "the request ends early: {text}");
    }
}

fn repository() -> RepositoryName {
    "ns/repo".parse().unwrap()
}

fn blob(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}
