//! What stands before the registry, and what of it is believed.

use figment::value::Value;

use crate::reader::{Keys, Remark};
use crate::sections::delivery::{Network, read_networks};

/// What stands before the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancers {
    /// `EXTERNAL_TLS_TERMINATION`: TLS ends before this process, which speaks plain HTTP also where there is an `ssl.key` (default: false).
    pub tls_ends_before: bool,
    /// `FEATURE_PROXY_PROTOCOL`: the port for HTTPS with the PROXY protocol is opened, and the port for HTTP takes the protocol too where TLS
    /// is on (default: false).
    pub proxy_protocol: bool,
    /// `TRUSTED_PROXY_CIDR`: the networks of the balancers whose `X-Forwarded-For`, `X-Forwarded-Proto` or `Forwarded` counts, and which may
    /// speak the PROXY protocol; a list, or a text with commas. Default (`None`): headers count from this machine only, and the PROXY
    /// protocol is taken from everybody. (Quay believes everybody's headers then.)
    pub trusted: Option<Vec<Network>>,
    /// `PROXY_COUNT`: how many balancers in a row are believed; 0: none. Default (`None`): as many as are trusted.
    pub hops: Option<u64>,
}

const TRUSTED: &str = "TRUSTED_PROXY_CIDR";

/// More balancers than anybody has.
const HOPS_MAX: u64 = 100;

pub(super) fn read(keys: &mut Keys) -> Balancers {
    let balancers = Balancers {
        tls_ends_before: keys.flag("EXTERNAL_TLS_TERMINATION", false),
        proxy_protocol: keys.flag("FEATURE_PROXY_PROTOCOL", false),
        trusted: trusted(keys),
        hops: keys
            .value("PROXY_COUNT")
            .and_then(|value| keys.number_of("PROXY_COUNT", &value, 0..=HOPS_MAX)),
    };
    if balancers.tls_ends_before && balancers.trusted.is_none() {
        let value = keys.value("EXTERNAL_TLS_TERMINATION");
        let remark = Remark::new(
            "the addresses of clients that the balancer tells are believed only from this machine",
            "",
            "name the balancer's networks in TRUSTED_PROXY_CIDR",
        );
        keys.warn("EXTERNAL_TLS_TERMINATION", value.as_ref(), remark);
    }
    if balancers.proxy_protocol && balancers.trusted.is_none() {
        let value = keys.value("FEATURE_PROXY_PROTOCOL");
        let remark = Remark::new(
            "whoever reaches the port of the PROXY protocol can say that it is anybody",
            "",
            "name the balancer's networks in TRUSTED_PROXY_CIDR",
        );
        keys.warn("FEATURE_PROXY_PROTOCOL", value.as_ref(), remark);
    }
    balancers
}

fn trusted(keys: &mut Keys) -> Option<Vec<Network>> {
    let texts = match keys.value(TRUSTED)? {
        Value::String(_, text) => text
            .split([',', ' '])
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect(),
        _ => keys.texts(TRUSTED, "networks such as 10.0.0.0/8")?,
    };
    Some(read_networks(keys, TRUSTED, texts))
}
