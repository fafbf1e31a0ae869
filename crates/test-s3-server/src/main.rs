//! `test-s3-server`: S3 for tests, over a directory. Each bucket is a directory in it and each object a file in that, so that a test can look at
//! objects, and damage them.
//!
//! The protocol with its signatures is the crate `s3s`, the store is `s3s-fs`. What that store gets wrong is put right here; what it lacks and
//! nobody has needed is refused as not implemented. Objects survive a killed process, not a power cut: nothing is synced.

mod guard;
mod layout;
mod listing;
mod store;
mod uploads;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use roadstead_runtime::Tasks;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use tokio::net::{TcpListener, TcpStream};

use guard::Guard;
use store::Store;

/// An S3 server over a directory, for tests
#[derive(Debug, Parser)]
#[command(name = "test-s3-server", version)]
struct Cli {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The one access key that it knows.
    #[arg(long)]
    access_key: String,
    /// The secret that goes with it.
    #[arg(long)]
    secret_key: String,
    /// Where answered requests are noted: a line each, with method, target and status.
    #[arg(long)]
    access_log: PathBuf,
    /// How long each request is on its way, in milliseconds: a server of another region.
    #[arg(long, default_value_t = 0)]
    answer_after_ms: u64,
    /// The directory of the buckets. It exists.
    root: PathBuf,
}

/// The one key that is known.
struct OneKey {
    access_key: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3_error!(
            InvalidAccessKeyId,
            "the access key {access_key} is not known"
        ))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let root = cli.root.canonicalize().context("the root cannot be read")?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&cli.access_log)
        .context("the access log cannot be opened")?;
    let tasks = Tasks::new();
    let mut builder = S3ServiceBuilder::new(Store::open(&root, tasks.clone())?);
    builder.set_auth(OneKey {
        access_key: cli.access_key,
        secret_key: cli.secret_key.into(),
    });
    builder.set_access(Guard::new(root));
    let service = builder.build();
    let log = Arc::new(log);
    let far = Duration::from_millis(cli.answer_after_ms);
    let listener = TcpListener::bind(cli.listen).await?;
    loop {
        // Whoever gave up before being accepted is no reason to end.
        if let Ok((connection, _)) = listener.accept().await {
            tasks.spawn(serve(connection, service.clone(), Arc::clone(&log), far));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the distance of a server is real time"
)]
async fn serve(connection: TcpStream, service: S3Service, log: Arc<File>, far: Duration) {
    connection.set_nodelay(true).ok();
    let answer = service_fn(|request: Request<Incoming>| {
        let asked = format!("{} {}", request.method(), request.uri());
        let answer = Service::call(&service, request);
        let log = Arc::clone(&log);
        async move {
            if !far.is_zero() {
                tokio::time::sleep(far).await;
            }
            let answer = answer.await;
            if let Ok(answer) = &answer {
                let line = format!("{asked} {}\n", answer.status().as_u16());
                // One write a line, so that lines do not mix. A full disk shows elsewhere.
                (&*log).write_all(line.as_bytes()).ok();
            }
            answer
        }
    });
    // A client that goes away in the middle is its own business.
    auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(connection), answer)
        .await
        .ok();
}
