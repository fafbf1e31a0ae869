//! How clients reach the registry.

use super::{Key, Kind, absent, fixed, harmless, used};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    used("SERVER_HOSTNAME", Kind::Text, "", "The name, with a port unless it is the scheme's own, that clients use in every region: the load balancer's. Required."),
    used("PREFERRED_URL_SCHEME", Kind::Choice(&["http", "https"]), "http", "The scheme of the addresses in responses."),
    used("SETUP_COMPLETE", Kind::Flag, "true", "`false` says that the configuration is unfinished, and stops the start."),
    used("TESTING", Kind::Flag, "false", "Read and without effect; in Quay it defaults to true and turns off locks."),
    fixed("EXTERNAL_TLS_TERMINATION", Kind::Flag, "false", "true", "TLS ends at a proxy in front of the registry."),
    absent("PROXY_COUNT", Kind::Number(0, 100), "1", "How many proxies stand in front of the registry."),
    absent("TRUSTED_PROXY_CIDR", Kind::Any, "", "The networks whose forwarding headers are believed."),
    fixed("FEATURE_PROXY_PROTOCOL", Kind::Flag, "false", "false", "Whether the PROXY protocol is spoken."),
    absent("SSL_PROTOCOLS", Kind::Texts, "", "The versions of TLS that are spoken."),
    absent("SSL_CIPHERS", Kind::Texts, "", "The ciphers of TLS 1.2 that are taken."),
    absent("FEATURE_LISTEN_IP_VERSION", Kind::Choice(&["IPv4", "IPv6", "dual-stack"]), "IPv4", "Say it with --listen."),
    fixed("FEATURE_RATE_LIMITS", Kind::Flag, "false", "false", "Whether requests are limited by rate."),
    harmless("NON_RATE_LIMITED_NAMESPACES", Kind::Texts, "[]", "Belongs to FEATURE_RATE_LIMITS."),
    harmless("MANIFESTS_ENDPOINT_READ_TIMEOUT", Kind::Any, "", "Of Quay's nginx. Requests have deadlines of their own here."),
    absent("CORS_ORIGIN", Kind::Any, "", "Answers to pages of other origins."),
    fixed("FEATURE_FIPS", Kind::Flag, "false", "false", "The cryptography here is not validated for FIPS 140."),
];
