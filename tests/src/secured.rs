//! A registry that serves HTTPS: the real program with a certificate of a test's own authority.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use roadstead_test_servers::{CertificateAuthority, IssuedCertificate};
use roadstead_testkit::{RegistrySettings, free_port};
use tempfile::TempDir;

/// A registry with a certificate for `localhost` and 127.0.0.1, which is named `localhost` with the port for HTTPS.
#[derive(Debug)]
pub struct Secured {
    /// How it is started.
    pub settings: RegistrySettings,
    /// Where it listens for HTTPS.
    pub tls: SocketAddr,
    /// Where it listens for HTTPS behind the PROXY protocol.
    pub tls_proxy: SocketAddr,
    /// Who has issued its certificate.
    pub authority: CertificateAuthority,
    /// Its first certificate.
    pub issued: IssuedCertificate,
    directory: TempDir,
}

impl Secured {
    /// One that does not run yet, with these lines of configuration besides. The authority's certificate is beside `config.yaml`, too, as
    /// `ca.crt`.
    pub fn new(lines: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut settings = RegistrySettings::new(directory.path().join("data"));
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (tls, tls_proxy) = (local(free_port()), local(free_port()));
        let stack = directory.path().join("stack");
        for path in [&settings.data_dir, &stack] {
            fs::create_dir(path).expect("a temporary directory can be written to");
        }
        let data = settings.data_dir.display();
        let yaml = format!(
            "SERVER_HOSTNAME: localhost:{}
DB_URI: sqlite:///{data}/registry.db
DISTRIBUTED_STORAGE_CONFIG:
  us: [LocalStorage, {{storage_path: {data}/us}}]
DISTRIBUTED_STORAGE_PREFERENCE: [us]
SUPER_USERS: [admin]
FEATURE_SUPERUSERS_FULL_ACCESS: true
CREATE_NAMESPACE_ON_PUSH: true
{lines}
",
            tls.port()
        );
        settings.configuration = Some(stack);
        settings.arguments = vec![
            "--listen-tls".to_owned(),
            tls.to_string(),
            "--listen-tls-proxy".to_owned(),
            tls_proxy.to_string(),
        ];
        let authority = CertificateAuthority::default();
        let secured = Self {
            issued: authority.issue(&["localhost", "127.0.0.1"]),
            directory,
            settings,
            tls,
            tls_proxy,
            authority,
        };
        secured.write("config.yaml", &yaml);
        secured.write("ca.crt", secured.authority.pem());
        secured.install(&secured.issued);
        secured
    }

    /// A path beside `config.yaml`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("stack").join(name)
    }

    /// Puts a file beside `config.yaml`.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a temporary file can be written");
    }

    /// Replaces the certificate and its key.
    pub fn install(&self, issued: &IssuedCertificate) {
        self.write("ssl.cert", &issued.certificate);
        self.write("ssl.key", &issued.key);
    }
}
