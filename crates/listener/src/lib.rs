//! The front door: ports, the PROXY protocol, TLS, and connections that speak HTTP.
//!
//! A [`Port`] is bound, a [`Door`] says how it is passed (TLS or not, with the PROXY protocol or without), and [`serve()`] lets connections
//! through it, each to the service that is made for its [`Peer`]. Everything has a bound: connections, unfinished handshakes, how long a
//! header, a handshake or a request's head may take, how long a client may take nothing of an answer, and how long requests in flight may
//! take once the process is asked to stop.
//!
//! [`Certificates`] are read from two files, watched, and replaced while connections go on. [`Forwarding`] says what balancers are believed.
//!
//! Invariant: nothing here knows what a registry is.

mod answers;
mod certificate;
mod certificates;
mod forwarded;
mod networks;
mod port;
mod proxy_protocol;
mod seldom;
mod serve;
mod stream;
#[cfg(test)]
mod tests;

pub use certificate::{CertificateError, CertificateProblem};
pub use certificates::{
    CertificateState, Certificates, TlsFiles, TlsOptions, TlsVersion, check_files,
};
pub use forwarded::{Client, Forwarding};
pub use networks::Networks;
pub use port::{IpVersion, Port};
pub use proxy_protocol::{ProxyHeader, ProxyProtocol};
pub use serve::{Door, Limits, Peer, serve};
