//! The PROXY protocol, versions 1 and 2: what a balancer that passes bytes on says first of the connection that it took.
//!
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::networks::Networks;

/// How long the header may take to arrive.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest header, in bytes: what fits into the smallest segment of TCP, as the protocol promises.
const HEADER_BYTES_MAX: usize = 536;

/// The longest line of version 1, in bytes, its end included.
const LINE_BYTES_MAX: usize = 107;

const LINE_BEGIN: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed beginning of a header of version 2, in bytes.
const FIXED_BYTES: usize = 16;

/// How the PROXY protocol is spoken at a port.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Who may speak it. The connection of anybody else is closed.
    pub from: Networks,
    /// Whether a connection may do without.
    pub header: ProxyHeader,
}

/// Whether a connection has to begin with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Without one it is closed.
    Required,
    /// Without one it is what it looks like. Only for a port where nothing depends on who the client is.
    Optional,
}

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Not enough of it to say.
    Unfinished,
    /// A header.
    Header {
        /// Its length.
        bytes: usize,
        /// The client that the balancer names. None where it speaks for itself, as in checks: then the connection's own counts.
        client: Option<SocketAddr>,
    },
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It begins with something else.
    #[error("it does not begin with a header of the PROXY protocol")]
    NoHeader,
    /// It begins like a header and is none.
    #[error("its header of the PROXY protocol is malformed: {0}")]
    Malformed(&'static str),
    /// The peer may not speak for others.
    #[error("TRUSTED_PROXY_CIDR does not name it")]
    Stranger,
    /// It did not come in time.
    #[error("the header of the PROXY protocol did not come within {} s", HEADER_TIMEOUT.as_secs())]
    TimedOut,
    /// The connection broke off.
    #[error("the connection ended before the header of the PROXY protocol")]
    Ended(#[source] io::Error),
}

/// Reads a header from the beginning of a connection. Returns whom it names, and the bytes behind it that were read with it.
pub(crate) async fn read_header<S>(
    stream: &mut S,
    peer: IpAddr,
    protocol: &ProxyProtocol,
) -> Result<(IpAddr, Vec<u8>), Refused>
where
    S: AsyncRead + Unpin,
{
    let required = protocol.header == ProxyHeader::Required;
    if required && !protocol.from.contains(peer) {
        return Err(Refused::Stranger);
    }
    let reading = async {
        let mut bytes = Vec::with_capacity(HEADER_BYTES_MAX);
        loop {
            match parse(&bytes) {
                Ok(Parsed::Header {
                    bytes: length,
                    client,
                }) => {
                    if !protocol.from.contains(peer) {
                        return Err(Refused::Stranger);
                    }
                    let client = client.map_or(peer, |client| client.ip().to_canonical());
                    return Ok((client, bytes.split_off(length)));
                }
                Ok(Parsed::Unfinished) => {}
                Err(Refused::NoHeader) if !required => return Ok((peer, bytes)),
                Err(refused) => return Err(refused),
            }
            let left = HEADER_BYTES_MAX.saturating_sub(bytes.len()) as u64;
            let read = (&mut *stream).take(left).read_buf(&mut bytes).await;
            if read.map_err(Refused::Ended)? == 0 {
                return Err(Refused::Ended(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    };
    tokio::time::timeout(HEADER_TIMEOUT, reading)
        .await
        .unwrap_or(Err(Refused::TimedOut))
}

/// Reads the beginning of a connection, as far as it has come.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Refused> {
    if bytes.starts_with(SIGNATURE) {
        return parse_binary(bytes);
    }
    if bytes.starts_with(LINE_BEGIN) {
        return parse_line(bytes);
    }
    if SIGNATURE.starts_with(bytes) || LINE_BEGIN.starts_with(bytes) {
        return Ok(Parsed::Unfinished);
    }
    Err(Refused::NoHeader)
}

fn parse_line(bytes: &[u8]) -> Result<Parsed, Refused> {
    let within = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if within.len() == LINE_BYTES_MAX {
            Err(Refused::Malformed("the line is too long"))
        } else {
            Ok(Parsed::Unfinished)
        };
    };
    let line = within.get(LINE_BEGIN.len()..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| Refused::Malformed("it is not text"))?;
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    let bytes = end + 2;
    if family == "UNKNOWN" {
        return Ok(Parsed::Header {
            bytes,
            client: None,
        });
    }
    let addresses: Vec<&str> = words.collect();
    let [source, target, source_port, target_port] = addresses.as_slice() else {
        return Err(Refused::Malformed("it has another number of parts"));
    };
    let (source, target) = match family {
        "TCP4" => (
            source.parse::<Ipv4Addr>().map(IpAddr::from),
            target.parse::<Ipv4Addr>().map(IpAddr::from),
        ),
        "TCP6" => (
            source.parse::<Ipv6Addr>().map(IpAddr::from),
            target.parse::<Ipv6Addr>().map(IpAddr::from),
        ),
        _ => return Err(Refused::Malformed("it is of no family that there is")),
    };
    let (Ok(source), Ok(_)) = (source, target) else {
        return Err(Refused::Malformed("an address is none of its family"));
    };
    let port = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u16>().ok())
            .flatten()
            .ok_or(Refused::Malformed("a port is none"))
    };
    port(target_port)?;
    Ok(Parsed::Header {
        bytes,
        client: Some(SocketAddr::new(source, port(source_port)?)),
    })
}

fn parse_binary(bytes: &[u8]) -> Result<Parsed, Refused> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(Parsed::Unfinished);
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let total = FIXED_BYTES + length;
    if version_and_command >> 4 != 2 {
        return Err(Refused::Malformed("it is of a version that nobody knows"));
    }
    let local = match version_and_command & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(Refused::Malformed("its command is unknown")),
    };
    if total > HEADER_BYTES_MAX {
        return Err(Refused::Malformed("it is longer than 536 bytes"));
    }
    let Some(addresses) = bytes.get(FIXED_BYTES..total) else {
        return Ok(Parsed::Unfinished);
    };
    let short = Refused::Malformed("it is too short for its addresses");
    let client = match (local, family) {
        // The balancer's own connection, or one of which it does not say where it is from.
        (true, _) | (false, 0x00) => None,
        (false, 0x11) => {
            let &[a, b, c, d, _, _, _, _, high, low, _, _] =
                addresses.first_chunk::<12>().ok_or(short)?;
            let port = u16::from_be_bytes([high, low]);
            Some((Ipv4Addr::new(a, b, c, d), port).into())
        }
        (false, 0x21) => {
            let addresses = addresses.first_chunk::<36>().ok_or(short)?;
            let [source @ .., high, low, _, _] = addresses;
            let source = source.first_chunk::<16>().copied().unwrap_or_default();
            let port = u16::from_be_bytes([*high, *low]);
            Some((Ipv6Addr::from(source), port).into())
        }
        (false, _) => return Err(Refused::Malformed("it is not about a connection of TCP")),
    };
    Ok(Parsed::Header {
        bytes: total,
        client,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of version 2.
    fn binary(version_and_command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap();
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_and_command, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    fn v4() -> Vec<u8> {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x20, 0xfb];
        binary(0x21, 0x11, &addresses)
    }

    fn v6() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let mut addresses = source.octets().to_vec();
        addresses.extend([0; 16]);
        addresses.extend([0x30, 0x39, 0x20, 0xfb]);
        // A part that nobody needs to know, as balancers add them.
        addresses.extend([4, 0, 3, 1, 2, 3]);
        binary(0x21, 0x21, &addresses)
    }

    #[test]
    fn a_header_names_the_client_and_ends_where_it_ends() {
        for (header, client) in [
            (
                &b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 8443\r\n"[..],
                Some("192.0.2.7:12345"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 8443\r\n",
                Some("[2001:db8::7]:12345"),
            ),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n", None),
            (&v4(), Some("192.0.2.7:12345")),
            (&v6(), Some("[2001:db8::7]:12345")),
            (&binary(0x20, 0x00, &[]), None),
            (&binary(0x20, 0x11, &[1; 12]), None),
            (&binary(0x21, 0x00, &[9; 20]), None),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            let whole = Parsed::Header {
                bytes: header.len(),
                client,
            };
            let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed).unwrap(), whole, "{header:?}");
            for end in 0..header.len() {
                let begun = parse(&header[..end]).unwrap();
                assert_eq!(begun, Parsed::Unfinished, "{end} of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_or_a_broken_one_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
        for begin in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"PROXX",
            b"\r\n\r\n\r",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 8443 more\r\n",
            b"PROXY TCP4  192.0.2.7 198.51.100.1 12345 8443\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::1 12345 8443\r\n",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 12345 8443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 123456 8443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 8443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 \r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY \xff\xfe\r\n",
            &long,
            &binary(0x11, 0x11, &[0; 12]),
            &binary(0x22, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 11]),
            &binary(0x21, 0x21, &[0; 35]),
            &binary(0x21, 0x12, &[0; 12]),
            &binary(0x21, 0x31, &[0; 216]),
            &binary(0x21, 0x11, &[0; 521]),
        ] {
            assert!(parse(begin).is_err(), "{begin:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..700), begin in 0..3_usize) {
            let begin = [&b""[..], LINE_BEGIN, SIGNATURE][begin];
            let bytes = [begin, &bytes].concat();
            if let Ok(Parsed::Header { bytes: length, .. }) = parse(&bytes) {
                prop_assert!(length <= bytes.len() && length <= HEADER_BYTES_MAX);
            }
        }
    }
}
