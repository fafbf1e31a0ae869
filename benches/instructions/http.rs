//! As much of HTTP/1.1 as it takes to ask the registry over one connection: bodies have lengths, and nothing is read ahead.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// More than any answer here has: the longest is a range of 64 KiB.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// As much of an answer as somebody looks at.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    /// Connects. Each part of an answer may take as long as `patience`.
    pub(crate) fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: address.to_string(),
        })
    }

    /// Asks, and reads the answer to its end.
    pub(crate) fn exchange(&mut self, request: Request<'_>) -> io::Result<Answer> {
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
        self.answer(method)
    }

    fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| malformed("has no status"))?;
        let mut length: Option<usize> = None;
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
        if length > BODY_BYTES_MAX {
            return Err(malformed("is longer than anything that was asked for"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer {
            status,
            location,
            body,
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
