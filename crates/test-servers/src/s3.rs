//! S3 servers.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::programs::program_directory;
use crate::request::Request;
use crate::server::{Program, Server, read_text};

/// The program, and the package that it is built from.
const PROGRAM: &str = "test-s3-server";

/// An S3 server that runs, or did until it was killed: `s3s-fs` behind a program of ours. Dropping it ends it and removes its files.
///
/// It checks signatures (version 4, in headers and in addresses), takes any region and wants the bucket in the path. It has what the crate
/// `test-s3-server` says; buckets survive a restart.
#[derive(Debug)]
pub struct S3Server {
    server: Server,
    access_key: String,
    secret_key: String,
}

impl S3Server {
    /// Starts one without buckets.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        Self::start_far(Duration::ZERO)
    }

    /// As [`S3Server::start`], as far away as each answer comes later.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_far(later: Duration) -> Self {
        static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAMS
            .get_or_init(|| program_directory(&[PROGRAM]))
            .join(PROGRAM);
        assert!(
            program.is_file(),
            "{} is missing: build it with `cargo build -p {PROGRAM}`, or run the tests with `cargo xtask test`",
            program.display()
        );
        let server = Server::start("s3", |directory, port| {
            let root = directory.join("buckets");
            fs::create_dir(&root).expect("a temporary directory can be written");
            let [access_key, secret_key] = keys(port);
            Program {
                path: program,
                arguments: vec![
                    "--listen".into(),
                    format!("127.0.0.1:{port}").into(),
                    "--access-key".into(),
                    access_key.into(),
                    "--secret-key".into(),
                    secret_key.into(),
                    "--answer-after-ms".into(),
                    later.as_millis().to_string().into(),
                    "--access-log".into(),
                    directory.join("access").into(),
                    root.into(),
                ],
                environment: Vec::new(),
            }
        });
        let [access_key, secret_key] = keys(server.port());
        Self {
            server,
            access_key,
            secret_key,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The one access key that it knows, which no other server does.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret that goes with it.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Makes an empty bucket: three lower-case characters at least.
    ///
    /// # Panics
    /// When there is one of that name.
    pub fn create_bucket(&self, name: &str) {
        fs::create_dir(self.bucket_directory(name)).expect("there is no such bucket yet");
    }

    /// Where a bucket's objects are: a file each, under their keys. Files that a test changes, removes or adds are objects that have changed, gone
    /// or appeared; the `ETag` of an object that was written through the server stays.
    pub fn bucket_directory(&self, name: &str) -> PathBuf {
        self.directory().join("buckets").join(name)
    }

    /// Every request that it has answered, oldest first. Presigned ones show their signatures.
    pub fn requests(&self) -> Vec<Request> {
        let log = read_text(&self.directory().join("access"));
        log.lines().filter_map(Request::parse).collect()
    }
}

impl Deref for S3Server {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for S3Server {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// The keys of the server on a port: another server's do not fit. Not secret: nothing but a test ever listens with them, on the loopback interface.
fn keys(port: u16) -> [String; 2] {
    [
        format!("AKIAROADSTEAD{port:07}"),
        format!("not/a+secret/not/a+secret/not/a+sec{port}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;
    use crate::http::s3_signature::signed;

    #[test]
    fn strangers_are_refused_and_the_files_go_with_the_server() {
        let server = S3Server::start();
        server.create_bucket("bucket");
        let object = server.bucket_directory("bucket").join("key");
        fs::write(&object, "bytes").unwrap();
        let mut client = Client::connect(server.port()).unwrap();
        assert_eq!(client.get("/bucket/key").unwrap().status, 403);
        let fields = signed(&server, "GET", "/bucket/key");
        let answer = client.exchange("GET", "/bucket/key", &fields, b"").unwrap();
        assert_eq!((answer.status, answer.body), (200, b"bytes".to_vec()));
        let forged = client.exchange("GET", "/bucket/other", &fields, b"");
        assert_eq!(forged.unwrap().status, 403);
        let asked: Vec<String> = server.requests().iter().map(Request::to_string).collect();
        assert_eq!(
            asked,
            [
                "GET /bucket/key 403",
                "GET /bucket/key 200",
                "GET /bucket/other 403"
            ]
        );
        drop(server);
        assert!(!object.exists());
    }

    #[test]
    fn what_was_acknowledged_survives_a_kill_and_an_upload_can_go_on() {
        let mut server = S3Server::start();
        server.create_bucket("bucket");
        let part = vec![7; 5 * 1024 * 1024];
        let mut client = Client::connect(server.port()).unwrap();
        let ask = |client: &mut Client, server: &S3Server, method, target: &str, body: &[u8]| {
            let fields = signed(server, method, target);
            let answer = client.exchange(method, target, &fields, body).unwrap();
            assert_eq!(answer.status, 200, "{}", text(&answer.body));
            text(&answer.body)
        };
        ask(&mut client, &server, "PUT", "/bucket/key", b"bytes");
        let begun = ask(&mut client, &server, "POST", "/bucket/large?uploads=", b"");
        let (_, id) = begun.split_once("<UploadId>").unwrap();
        let (id, _) = id.split_once('<').unwrap();
        let part_target = |number| format!("/bucket/large?partNumber={number}&uploadId={id}");
        ask(&mut client, &server, "PUT", &part_target(1), &part);
        server.kill();
        assert!(Client::connect(server.port()).is_err());
        server.restart();
        let mut client = Client::connect(server.port()).unwrap();
        assert_eq!(
            ask(&mut client, &server, "GET", "/bucket/key", b""),
            "bytes"
        );
        ask(&mut client, &server, "PUT", &part_target(2), b"end");
        let target = format!("/bucket/large?uploadId={id}");
        let list = ask(&mut client, &server, "GET", &target, b"");
        assert_eq!(list.matches("<PartNumber>").count(), 2, "{list}");
        let parts = [1, 2].map(|number| format!("<Part><PartNumber>{number}</PartNumber></Part>"));
        let wanted = format!(
            "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
            parts.concat()
        );
        ask(&mut client, &server, "POST", &target, wanted.as_bytes());
        let object = fs::read(server.bucket_directory("bucket").join("large")).unwrap();
        assert!(object == [&part[..], b"end"].concat());
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }
}
