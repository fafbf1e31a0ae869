//! A client for the tests in here: HTTP/1.1 over one connection, and signatures for S3.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use roadstead_runtime::{Clock as _, SystemClock};
use sha2::{Digest as _, Sha256};

use crate::s3::S3Server;

/// How long an answer may take that comes at all, on a busy machine.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer that has come whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Gives up an answer after this long from now on.
    pub(crate) fn limit(&self, limit: Duration) {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(limit)).unwrap();
    }

    pub(crate) fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.exchange("GET", target, "", b"")
    }

    /// `fields` are whole lines.
    pub(crate) fn exchange(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        self.send(method, target, fields, body)?;
        self.receive(method)
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
    ) -> io::Result<()> {
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nContent-Length: {length}\r\n{fields}\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    pub(crate) fn receive(&mut self, method: &str) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut fields = BTreeMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            fields.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let mut body = Vec::new();
        if fields.contains_key("transfer-encoding") {
            loop {
                let length = u64::from_str_radix(self.line()?.trim(), 16).unwrap();
                self.read(length, &mut body)?;
                self.line()?;
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = fields.get("content-length")
            && method != "HEAD"
        {
            self.read(length.parse().unwrap(), &mut body)?;
        }
        Ok(Answer {
            status,
            fields,
            body,
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let read = (&mut self.stream).take(length).read_to_end(body)?;
        if (read as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// The fields that let a request through to an S3 server. `target` has a path and, sorted and encoded, a query.
pub(crate) fn signed(server: &S3Server, method: &str, target: &str) -> String {
    let now = SystemClock.now();
    let (date, time) = (now.format("%Y%m%d"), now.format("%Y%m%dT%H%M%SZ"));
    let scope = format!("{date}/eu-north-1/s3/aws4_request");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields = format!("host:test\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{time}\n");
    let names = "host;x-amz-content-sha256;x-amz-date";
    let request = format!("{method}\n{path}\n{query}\n{fields}\n{names}\nUNSIGNED-PAYLOAD");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(request))
    );
    let mut key = format!("AWS4{}", server.secret_key()).into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part);
    }
    let key_name = server.access_key();
    let signature = hex(&hmac(&key, &text));
    format!(
        "Host: test\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: {time}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={key_name}/{scope}, SignedHeaders={names}, Signature={signature}\r\n"
    )
}

/// RFC 2104, with SHA-256.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() <= block.len() {
        block[..key.len()].copy_from_slice(key);
    } else {
        block[..32].copy_from_slice(&Sha256::digest(key));
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner);
    outer.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
