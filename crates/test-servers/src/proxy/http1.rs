//! As much of HTTP/1.1 as a proxy needs that changes answers: heads, and where bodies end.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest head, and the longest line within a chunked body.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// What comes from one end, and has not been looked at yet.
#[derive(Debug)]
pub(super) struct Wire<R> {
    half: R,
    buffer: BytesMut,
}

/// The first line and the fields of a request or an answer.
#[derive(Clone, Debug)]
pub(super) struct Head(String);

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Length(u64),
    /// Everything until the connection is closed.
    UntilClosed,
    /// Chunks.
    Chunked(Chunk),
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The line with a chunk's length.
    Length,
    /// So much of a chunk.
    Data(u64),
    /// The end of the line after a chunk.
    End,
    /// Fields after the last chunk, or the empty line.
    Trailer,
    /// Nothing.
    Over,
}

/// A part of a body.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// What says where chunks end.
    Framing(Bytes),
    /// What is meant.
    Data(Bytes),
}

impl<R: AsyncRead + Unpin> Wire<R> {
    pub(super) fn new(half: R) -> Self {
        Self {
            half,
            buffer: BytesMut::new(),
        }
    }

    pub(super) fn half(&mut self) -> &mut R {
        &mut self.half
    }

    /// Reads more. Returns whether there was any.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }

    /// Forgets what has come.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// The next head; none when the connection was closed before it. Loses nothing when dropped.
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                let text = str::from_utf8(&head).map_err(|_| malformed("a head is not text"))?;
                return Ok(Some(Head(text.to_owned())));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(malformed("a head has no end"));
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The next part of a body; none at its end. Loses nothing when dropped.
    pub(super) async fn piece(&mut self, body: &mut Body) -> io::Result<Option<Piece>> {
        match body {
            Body::Length(0) | Body::Chunked(Chunk::Over) => Ok(None),
            Body::Length(left) => Ok(Some(Piece::Data(self.data(left).await?))),
            Body::UntilClosed => {
                if self.buffer.is_empty() && !self.fill().await? {
                    return Ok(None);
                }
                Ok(Some(Piece::Data(self.buffer.split().freeze())))
            }
            Body::Chunked(Chunk::Data(left)) => {
                let data = self.data(left).await?;
                if *left == 0 {
                    *body = Body::Chunked(Chunk::End);
                }
                Ok(Some(Piece::Data(data)))
            }
            Body::Chunked(chunk) => {
                let line = self.line().await?;
                *chunk = match chunk {
                    Chunk::Length => match chunk_length(&line)? {
                        0 => Chunk::Trailer,
                        length => Chunk::Data(length),
                    },
                    Chunk::Trailer if !line.trim_ascii().is_empty() => Chunk::Trailer,
                    Chunk::Trailer => Chunk::Over,
                    Chunk::End | Chunk::Data(_) | Chunk::Over => Chunk::Length,
                };
                Ok(Some(Piece::Framing(line)))
            }
        }
    }

    /// Some of what has `left` bytes.
    async fn data(&mut self, left: &mut u64) -> io::Result<Bytes> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(*left)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        *left -= length as u64;
        Ok(self.buffer.split_to(length).freeze())
    }

    /// A line with its end.
    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n") {
                return Ok(self.buffer.split_to(end + 1).freeze());
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(malformed("a line has no end"));
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Head {
    /// The words of the first line: method and target, or version and status.
    pub(super) fn first_words(&self) -> (&str, &str) {
        let mut words = self.0.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        (first, words.next().unwrap_or_default())
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> io::Result<u16> {
        let (_, status) = self.first_words();
        status.parse().map_err(|_| malformed("no status"))
    }

    /// A field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name, value.trim()))
        })
    }

    /// The same with another value of a field that is there.
    pub(super) fn with(self, name: &str, value: &str) -> Self {
        let lines = self.0.split_inclusive("\r\n").map(|line| {
            let is_it = line
                .split_once(':')
                .is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
            if is_it {
                format!("{name}: {value}\r\n")
            } else {
                line.to_owned()
            }
        });
        Self(lines.collect())
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0.into_bytes().into()
    }

    /// The body that follows this head of a request.
    pub(super) fn request_body(&self) -> io::Result<Body> {
        Ok(self.stated_body()?.unwrap_or(Body::Length(0)))
    }

    /// The body that follows this head of an answer to a request with this method.
    pub(super) fn answer_body(&self, method: &str) -> io::Result<Body> {
        let status = self.status()?;
        if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
            return Ok(Body::Length(0));
        }
        Ok(self.stated_body()?.unwrap_or(Body::UntilClosed))
    }

    fn stated_body(&self) -> io::Result<Option<Body>> {
        if self.has_word("transfer-encoding", "chunked") {
            return Ok(Some(Body::Chunked(Chunk::Length)));
        }
        let length = self.field("content-length").map(str::parse);
        let length = length
            .transpose()
            .map_err(|_| malformed("no number as Content-Length"))?;
        Ok(length.map(Body::Length))
    }

    /// Whether a field's value names this among others.
    pub(super) fn has_word(&self, name: &str, word: &str) -> bool {
        self.field(name).is_some_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    }
}

fn chunk_length(line: &[u8]) -> io::Result<u64> {
    let text = str::from_utf8(line).unwrap_or_default();
    let digits = text.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(|_| malformed("no number before a chunk"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn bodies_end_where_they_end_however_they_come() {
        let text = "PUT /x HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;note=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nSum: 1\r\n\r\nGET /y HTTP/1.1\r\n\r\n";
        for at_once in [1, 7, 1000] {
            let (mut sender, receiver) = tokio::io::duplex(at_once);
            let mut wire = Wire::new(receiver);
            let received = async {
                let head = wire.head().await.unwrap().unwrap();
                let mut all = head.clone().into_bytes().to_vec();
                let mut data = Vec::new();
                let mut body = head.request_body().unwrap();
                while let Some(piece) = wire.piece(&mut body).await.unwrap() {
                    match piece {
                        Piece::Framing(bytes) => all.extend_from_slice(&bytes),
                        Piece::Data(bytes) => {
                            all.extend_from_slice(&bytes);
                            data.extend_from_slice(&bytes);
                        }
                    }
                }
                let next = wire.head().await.unwrap().unwrap();
                assert_eq!(next.request_body().unwrap(), Body::Length(0));
                all.extend_from_slice(&next.into_bytes());
                (all, data)
            };
            let (sent, (all, data)) = tokio::join!(sender.write_all(text.as_bytes()), received);
            sent.unwrap();
            assert_eq!(String::from_utf8(all).unwrap(), text);
            assert_eq!(data, b"abc0123456789");
        }
    }

    #[test]
    fn fields_are_found_and_changed_whatever_their_case() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nETag: \"a:b\"\r\n\r\n";
        let head = Head(head.to_owned());
        assert_eq!(head.field("ETAG"), Some("\"a:b\""));
        assert_eq!(head.answer_body("GET").unwrap(), Body::Length(5));
        assert_eq!(head.answer_body("HEAD").unwrap(), Body::Length(0));
        let changed = head.with("Content-Length", "6").into_bytes();
        assert_eq!(
            changed,
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nETag: \"a:b\"\r\n\r\n"
        );
    }
}
