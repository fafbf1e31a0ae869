//! How clients reach the registry.

use super::{Key, Kind, absent, fixed, harmless, used};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    used("SERVER_HOSTNAME", Kind::Text, "", "The name, with a port unless it is the scheme's own, that clients use in every region: the load balancer's. Required."),
    used("PREFERRED_URL_SCHEME", Kind::Choice(&["http", "https"]), "http", "The scheme of the addresses in responses."),
    used("SETUP_COMPLETE", Kind::Flag, "true", "`false` says that the configuration is unfinished, and stops the start."),
    used("TESTING", Kind::Flag, "false", "Read and without effect; in Quay it defaults to true and turns off locks."),
    used("EXTERNAL_TLS_TERMINATION", Kind::Flag, "false", "TLS ends before the registry: HTTP is served whatever lies beside `config.yaml`, and addresses are `https` unless PREFERRED_URL_SCHEME says otherwise.").of_region(),
    used("PROXY_COUNT", Kind::Number(0, 100), "", "How many addresses of X-Forwarded-For are believed at most; 0: none.").of_region(),
    used("TRUSTED_PROXY_CIDR", Kind::Any, "", "The networks whose forwarding headers and PROXY protocol are believed, as a list or a text with commas (default: this machine; the PROXY protocol from everybody who reaches its port).").of_region(),
    used("FEATURE_PROXY_PROTOCOL", Kind::Flag, "false", "Whether port 7443 speaks HTTPS behind the PROXY protocol, and the redirecting port takes it too; without a certificate, or with EXTERNAL_TLS_TERMINATION, without effect.").of_region(),
    used("SSL_PROTOCOLS", Kind::Any, "[TLSv1.2, TLSv1.3]", "The versions of TLS that are spoken, as a list: at least one of TLSv1.2 and TLSv1.3. Older ones are not spoken."),
    used("SSL_CIPHERS", Kind::Any, "", "Read and without effect: the ciphers are those of the TLS library."),
    used("SSL_CIPHERSUITES", Kind::Any, "", "Read and without effect: the ciphers are those of the TLS library."),
    used("FEATURE_LISTEN_IP_VERSION", Kind::Choice(&["IPv4", "IPv6", "dual-stack"]), "", "What the addresses 0.0.0.0 and 127.0.0.1 of ports stand for.").of_region(),
    used("FEATURE_RATE_LIMITS", Kind::Flag, "false", "Whether requests are counted by address and by account, and refused with 429 where they are too many."),
    used("NON_RATE_LIMITED_NAMESPACES", Kind::Texts, "[]", "Namespaces of which requests are not counted."),
    used("ROADSTEAD_RATE_LIMIT_ADDRESS_PER_SECOND", Kind::Number(1, 1_000_000), "60", "Requests that one address has in a second, in the long run.").of_region(),
    used("ROADSTEAD_RATE_LIMIT_ADDRESS_BURST", Kind::Number(1, 1_000_000), "600", "Requests that one address has at once, after a rest.").of_region(),
    used("ROADSTEAD_RATE_LIMIT_ACCOUNT_PER_SECOND", Kind::Number(1, 1_000_000), "120", "Requests that one account or robot has in a second, in the long run.").of_region(),
    used("ROADSTEAD_RATE_LIMIT_ACCOUNT_BURST", Kind::Number(1, 1_000_000), "1200", "Requests that one account or robot has at once, after a rest.").of_region(),
    used("ROADSTEAD_REQUESTS_MAX", Kind::Number(1, 1_000_000), "", "Requests without anything to transfer that are answered at once (default: 128 for each processor); twice as many wait, a second at most, others get 503.").of_region(),
    used("ROADSTEAD_UPLOADS_MAX", Kind::Number(1, 1_000_000), "", "The same of requests that send something (default: 512 for each processor).").of_region(),
    used("ROADSTEAD_DOWNLOADS_MAX", Kind::Number(1, 1_000_000), "", "The same of blobs that are delivered, to their end (default: 2048 for each processor).").of_region(),
    used("ROADSTEAD_SHUTDOWN_SECONDS", Kind::Number(1, 3600), "30", "How long requests in flight may take to end when the process is asked to stop.").of_region(),
    harmless("MANIFESTS_ENDPOINT_READ_TIMEOUT", Kind::Any, "", "Of Quay's nginx. Requests have deadlines of their own here."),
    absent("CORS_ORIGIN", Kind::Any, "", "Answers to pages of other origins."),
    fixed("FEATURE_FIPS", Kind::Flag, "false", "false", "The cryptography here is not validated for FIPS 140."),
];
