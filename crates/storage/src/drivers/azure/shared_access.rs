//! Shared access signatures: URLs that let whoever has them do one thing to one object for a while
//! (<https://learn.microsoft.com/rest/api/storageservices/create-service-sas>).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use roadstead_runtime::Timestamp;
use roadstead_secrets::Secret;
use sha2::Sha256;

use super::{AzureCredentials, AzureOptions};
use crate::query::{encoded_path, push_pair};

/// The version of the service that signatures are made for: the first one of the present form.
const VERSION: &str = "2020-12-06";

/// Signs URLs for the objects of a container, or lends them the token that there is.
#[derive(Clone)]
pub(crate) struct SharedAccess {
    /// Endpoint and container.
    container_url: String,
    /// Account and container, as signatures name them.
    resource: String,
    /// What all keys begin with: nothing, or something that ends with a slash.
    root: String,
    credentials: Credentials,
}

#[derive(Clone)]
enum Credentials {
    Key(Hmac<Sha256>),
    Token(Secret),
}

impl SharedAccess {
    pub(super) fn new(azure: &AzureOptions) -> Result<Self, &'static str> {
        const NO_KEY: &str = "the account's key is not in base64";
        let endpoint = azure.endpoint.trim_end_matches('/');
        let mut root = String::new();
        for segment in azure
            .storage_path
            .split('/')
            .filter(|text| !text.is_empty())
        {
            root.push_str(segment);
            root.push('/');
        }
        let credentials = match &azure.credentials {
            AzureCredentials::AccountKey(key) => {
                let key = STANDARD.decode(key.expose()).map_err(|_| NO_KEY)?;
                Credentials::Key(Hmac::new_from_slice(&key).map_err(|_| NO_KEY)?)
            }
            AzureCredentials::SasToken(token) => Credentials::Token(token.clone()),
        };
        Ok(Self {
            container_url: format!("{endpoint}/{}", azure.container),
            resource: format!("/blob/{}/{}", azure.account_name, azure.container),
            root,
            credentials,
        })
    }

    /// Whether a URL opens no more than one object.
    pub(super) const fn is_per_object(&self) -> bool {
        matches!(self.credentials, Credentials::Key(_))
    }

    /// A URL for the object at `path` with these rights until `expires_at`; with a token, with all that the token gives, for as long as it does.
    pub(crate) fn url(&self, path: &str, rights: &str, expires_at: Timestamp) -> String {
        let mut url = format!(
            "{}/{}",
            self.container_url,
            encoded_path(&format!("{}{path}", self.root))
        );
        match &self.credentials {
            Credentials::Token(token) => {
                url.push('?');
                url.push_str(token.expose());
            }
            Credentials::Key(key) => {
                let expires = expires_at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
                let resource = format!("{}/{}{path}", self.resource, self.root);
                let mut mac = key.clone();
                mac.update(text_to_sign(rights, &expires, &resource).as_bytes());
                push_pair(&mut url, "sv", VERSION);
                push_pair(&mut url, "se", &expires);
                push_pair(&mut url, "sr", "b");
                push_pair(&mut url, "sp", rights);
                push_pair(
                    &mut url,
                    "sig",
                    &STANDARD.encode(mac.finalize().into_bytes()),
                );
            }
        }
        url
    }
}

/// Sixteen fields, of which those that nothing is said about are empty.
fn text_to_sign(rights: &str, expires: &str, resource: &str) -> String {
    let mut fields = [""; 16];
    fields[0] = rights;
    fields[2] = expires;
    fields[3] = resource;
    fields[7] = VERSION;
    fields[8] = "b";
    fields.join("\n")
}

impl fmt::Debug for SharedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedAccess")
            .field("container", &self.container_url)
            .finish_non_exhaustive()
    }
}
