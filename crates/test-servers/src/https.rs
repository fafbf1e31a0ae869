//! A server that speaks TLS and answers everything with the same text.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::IssuedCertificate;

/// A server on a loopback port until the end of the process. One connection at a time, one request on each.
#[derive(Clone, Copy, Debug)]
pub struct HttpsServer {
    /// Where it listens.
    pub address: SocketAddr,
}

impl HttpsServer {
    /// Starts one with this certificate, which answers with this text, head and body, and hangs up.
    ///
    /// # Panics
    /// When it cannot listen, or the certificate is none.
    pub fn start(issued: &IssuedCertificate, answer: &'static str) -> Self {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.key_der.clone()));
        let chain = vec![CertificateDer::from(issued.der.clone())];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the certificate and its key belong together");
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that does not trust it hangs up.
                serve(stream, &config, answer).ok();
            }
        });
        Self { address }
    }

    /// `https://localhost:PORT`.
    pub fn url(self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

fn serve(stream: TcpStream, config: &Arc<ServerConfig>, answer: &str) -> std::io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = (&mut reader).take(length);
    std::io::copy(&mut body, &mut std::io::sink())?;
    let stream = reader.get_mut();
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
