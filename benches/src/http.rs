//! As much of HTTP/1.1 as it takes to ask the registry over one connection: bodies have lengths, and nothing is read ahead.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// More than any answer has that is kept: the longest is a list of tags.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// How much of an answer is read at once.
const READ_BYTES: usize = 64 << 10;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// The path, with its query.
    pub path: &'a str,
    /// Names and values, without `Host` and `Content-Length`.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent, except with `GET` and `HEAD`.
    pub body: &'a [u8],
}

/// As much of an answer as somebody looks at.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer whose body is still to be read.
struct Head {
    status: u16,
    location: Option<String>,
    length: u64,
}

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    /// Connects. Each part of an answer may take as long as `patience`.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream: BufReader::with_capacity(READ_BYTES, stream),
            host: address.to_string(),
        })
    }

    /// Asks, and reads the answer to its end.
    pub fn exchange(&mut self, request: Request<'_>) -> io::Result<Answer> {
        let Head {
            status,
            location,
            length,
        } = self.ask(request)?;
        if length > BODY_BYTES_MAX {
            return Err(malformed("is longer than anything that was asked for"));
        }
        let mut body = Vec::new();
        if self.stream.by_ref().take(length).read_to_end(&mut body)? as u64 != length {
            return Err(malformed("ends too early"));
        }
        Ok(Answer {
            status,
            location,
            body,
        })
    }

    /// Asks, reads the answer to its end and keeps nothing of it but the status.
    pub fn status(&mut self, request: Request<'_>) -> io::Result<u16> {
        let head = self.ask(request)?;
        let mut body = self.stream.by_ref().take(head.length);
        if io::copy(&mut body, &mut io::sink())? != head.length {
            return Err(malformed("ends too early"));
        }
        Ok(head.status)
    }

    fn ask(&mut self, request: Request<'_>) -> io::Result<Head> {
        let Request {
            method,
            path,
            headers,
            body,
        } = request;
        let mut message = Vec::new();
        write!(
            message,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n",
            self.host
        )?;
        for (name, value) in headers {
            write!(message, "{name}: {value}\r\n")?;
        }
        if !matches!(method, "GET" | "HEAD") {
            write!(message, "Content-Length: {}\r\n", body.len())?;
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message)?;
        self.head(method)
    }

    fn head(&mut self, method: &str) -> io::Result<Head> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| malformed("has no status"))?;
        let mut length: Option<u64> = None;
        let mut location = None;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("has a header without a colon"))?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "location" => location = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let length = if method == "HEAD" {
            0
        } else {
            length.ok_or_else(|| malformed("does not tell its length"))?
        };
        Ok(Head {
            status,
            location,
            length,
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        line.strip_suffix("\r\n")
            .map(str::to_owned)
            .ok_or_else(|| malformed("ends too early"))
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer {what}"))
}
