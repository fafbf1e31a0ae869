//! Where a registry is, and as whom to speak to it.

use std::net::SocketAddr;

use roadstead_client::{Client, Credentials};
use roadstead_oci::RepositoryName;
use roadstead_testkit::RegistrySettings;

/// A registry as clients see it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its host and port.
    pub address: SocketAddr,
    /// User name and password; none where it does not ask.
    pub credentials: Option<(String, String)>,
}

impl Remote {
    /// Our registry, as `admin`.
    pub fn ours(settings: &RegistrySettings) -> Self {
        Self {
            address: settings.address,
            credentials: Some(("admin".to_owned(), settings.password())),
        }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let credentials = self
            .credentials
            .as_ref()
            .map(|(name, password)| Credentials::new(name, password));
        Client::new(&format!("http://{}", self.address), credentials)
            .expect("a socket address is one")
    }

    /// `HOST:PORT/REPOSITORY`, as other clients name a repository.
    pub fn repository(&self, repository: &RepositoryName) -> String {
        format!("{}/{repository}", self.address)
    }
}
