//! A client for what has to be asked of a server here: HTTP/1.1 over one connection.

#[cfg(test)]
pub(crate) mod s3_signature;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

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
    #[cfg(test)]
    pub(crate) fn limit(&self, limit: Duration) {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(limit)).unwrap();
    }

    #[cfg(test)]
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
        let host = if fields.contains("Host: ") {
            ""
        } else {
            "Host: test\r\n"
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{host}Content-Length: {}\r\n{fields}\r\n",
            body.len()
        );
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
                let length =
                    u64::from_str_radix(self.line()?.trim(), 16).map_err(io::Error::other)?;
                self.read(length, &mut body)?;
                self.line()?;
                if length == 0 {
                    break;
                }
            }
        } else if let Some(length) = fields.get("content-length")
            && method != "HEAD"
        {
            self.read(length.parse().map_err(io::Error::other)?, &mut body)?;
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
