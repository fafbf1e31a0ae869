//! Ports: which addresses are listened on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel keeps while none is accepted.
const BACKLOG: u32 = 1024;

/// Which versions of IP a port is reached by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersion {
    /// The address's own.
    #[default]
    AsWritten,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Both,
}

/// A port that is listened on. Nothing is accepted before [`serve`](crate::serve()).
#[derive(Debug)]
pub struct Port {
    pub(crate) listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    /// Listens on `address`; port 0 takes a free one. Where it stands for all addresses or for this machine, `version` says of which
    /// version of IP; another address is taken as it is.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub fn bind(address: SocketAddr, version: IpVersion) -> io::Result<Self> {
        let (address, only_v6) = listened(address, version);
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let (SocketAddr::V6(_), Some(only)) = (address, only_v6) {
            rustix::net::sockopt::set_ipv6_v6only(&socket, only)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that it was given.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The address to bind, and whether a socket of IPv6 takes IPv6 only; `None`: as the system has it.
fn listened(address: SocketAddr, version: IpVersion) -> (SocketAddr, Option<bool>) {
    let (everywhere, here) = (address.ip().is_unspecified(), address.ip().is_loopback());
    let ip: IpAddr = match (version, everywhere, here) {
        (IpVersion::V4, true, _) => Ipv4Addr::UNSPECIFIED.into(),
        (IpVersion::V4, _, true) => Ipv4Addr::LOCALHOST.into(),
        (IpVersion::V6 | IpVersion::Both, true, _) => Ipv6Addr::UNSPECIFIED.into(),
        (IpVersion::V6, _, true) => Ipv6Addr::LOCALHOST.into(),
        _ => address.ip(),
    };
    let only_v6 = match version {
        IpVersion::AsWritten | IpVersion::V4 => None,
        IpVersion::V6 => Some(true),
        IpVersion::Both => Some(false),
    };
    (SocketAddr::new(ip, address.port()), only_v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_ip_changes_addresses_that_name_no_interface_and_leaves_others() {
        for (written, version, expected) in [
            ("0.0.0.0:80", IpVersion::AsWritten, ("0.0.0.0:80", None)),
            ("[::]:80", IpVersion::AsWritten, ("[::]:80", None)),
            ("[::]:80", IpVersion::V4, ("0.0.0.0:80", None)),
            ("0.0.0.0:80", IpVersion::V6, ("[::]:80", Some(true))),
            ("0.0.0.0:80", IpVersion::Both, ("[::]:80", Some(false))),
            ("127.0.0.1:80", IpVersion::V6, ("[::1]:80", Some(true))),
            (
                "127.0.0.1:80",
                IpVersion::Both,
                ("127.0.0.1:80", Some(false)),
            ),
            ("192.0.2.1:80", IpVersion::V6, ("192.0.2.1:80", Some(true))),
        ] {
            let (address, only_v6) = listened(written.parse().unwrap(), version);
            assert_eq!(
                (address, only_v6),
                (expected.0.parse().unwrap(), expected.1),
                "{written} {version:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_port_for_both_versions_takes_clients_of_both() {
        let port = Port::bind("0.0.0.0:0".parse().unwrap(), IpVersion::Both).unwrap();
        for client in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let stream = tokio::net::TcpStream::connect((client, port.address().port()));
            let (_, peer) = tokio::join!(async { stream.await.unwrap() }, async {
                port.listener.accept().await.unwrap().1
            });
            assert_eq!(peer.ip().to_canonical(), client);
        }
    }
}
