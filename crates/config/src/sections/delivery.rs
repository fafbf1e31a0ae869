//! How blobs get from their stores to clients.

mod network;

pub use network::{Network, NotANetwork};

use crate::reader::{Keys, Remark};

/// How blobs get from their stores to clients: redirected to the store, or streamed through the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// `FEATURE_PROXY_STORAGE`: clients are redirected to addresses of the registry itself, below `/_storage_proxy/`, instead of the store's
    /// (default: false).
    pub proxy_storage: bool,
    /// `CDN_SPECIFIC_NAMESPACES`: the namespaces whose blobs come from the CDN even for clients beside the store (default: none).
    pub cdn_namespaces: Vec<String>,
    /// `ROADSTEAD_STREAM_NETWORKS`: the networks, such as `10.0.0.0/8` or `2001:db8::/32`, whose clients are never redirected to a store:
    /// blobs are streamed to them through the registry (default: none). A client in both lists is streamed to.
    pub stream_networks: Vec<Network>,
    /// `ROADSTEAD_REDIRECT_NETWORKS`: the networks whose clients are redirected, where only these are; an empty list redirects nobody.
    /// Default (`None`): everybody is.
    pub redirect_networks: Option<Vec<Network>>,
}

impl Delivery {
    pub(super) fn read(keys: &mut Keys) -> Self {
        Self {
            proxy_storage: keys.flag("FEATURE_PROXY_STORAGE", false),
            cdn_namespaces: keys
                .texts("CDN_SPECIFIC_NAMESPACES", "namespaces")
                .unwrap_or_default(),
            stream_networks: list_of_networks(keys, "ROADSTEAD_STREAM_NETWORKS")
                .unwrap_or_default(),
            redirect_networks: list_of_networks(keys, "ROADSTEAD_REDIRECT_NETWORKS"),
        }
    }
}

fn list_of_networks(keys: &mut Keys, key: &'static str) -> Option<Vec<Network>> {
    let texts = keys.texts(key, "networks such as 10.0.0.0/8")?;
    Some(read_networks(keys, key, texts))
}

/// The networks of a key; those that are none are refused and left out.
pub(super) fn read_networks(
    keys: &mut Keys,
    key: &'static str,
    texts: Vec<String>,
) -> Vec<Network> {
    let mut networks = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(NotANetwork { problem, action }) => {
                let value = keys.value(key);
                let allowed =
                    "an address and the length of its prefix, such as 10.0.0.0/8 or 2001:db8::/32";
                let remark = Remark::new(format!("{text:?} {problem}"), allowed, action);
                keys.refuse(key, value.as_ref(), remark);
            }
        }
    }
    networks
}
