//! TLS, balancers, limits.

use super::*;

fn with_certificate(lines: &str) -> Fixture {
    let fixture = small_and(lines);
    for name in ["ssl.cert", "ssl.key"] {
        fs::write(fixture.directory.path().join(name), "").expect("a file");
    }
    fixture
}

#[test]
fn a_key_beside_the_configuration_switches_tls_and_its_scheme_on() {
    let fixture = with_certificate("");
    let hosting = fixture.loaded().config.hosting;
    let tls = hosting.tls.expect("TLS");
    assert_eq!(tls.key, fixture.directory.path().join("ssl.key"));
    assert_eq!(tls.versions, [TlsVersion::V12, TlsVersion::V13]);
    assert_eq!(hosting.preferred_url_scheme, UrlScheme::Https);
    assert!(fixture.warnings().is_empty());
    // A link that leads nowhere is one that is being swapped.
    let link = small_and("");
    let path = link.directory.path().join("ssl.key");
    std::os::unix::fs::symlink("nowhere", path).expect("a link");
    assert!(link.loaded().config.hosting.tls.is_some());

    let old = with_certificate(
        "SSL_PROTOCOLS: [TLSv1.1, TLSv1.3]\nSSL_CIPHERS: [AES]\nPREFERRED_URL_SCHEME: http",
    );
    let hosting = old.loaded().config.hosting;
    assert_eq!(hosting.tls.expect("TLS").versions, [TlsVersion::V13]);
    assert_eq!(hosting.preferred_url_scheme, UrlScheme::Http);
    let warnings = old.warnings();
    for word in [
        "TLSv1.1 is not offered",
        "SSL_CIPHERS: without effect",
        "set it to https",
    ] {
        let told = warnings.iter().filter(|line| line.contains(word)).count();
        assert_eq!(told, 1, "{word}: {warnings:#?}");
    }

    let outside =
        with_certificate("EXTERNAL_TLS_TERMINATION: true\nTRUSTED_PROXY_CIDR: [10.0.0.0/8]");
    let hosting = outside.loaded().config.hosting;
    assert!(hosting.tls.is_none() && hosting.balancers.tls_ends_before);
    assert_eq!(hosting.preferred_url_scheme, UrlScheme::Https);
    assert!(outside.warnings().is_empty());
}

#[test]
fn balancers_are_named_in_a_list_or_a_text_and_missing_ones_are_warned_of() {
    for written in [
        "[10.0.0.0/8, 'fd00::/8']",
        "10.0.0.0/8,fd00::/8",
        "'10.0.0.0/8, fd00::/8'",
    ] {
        let fixture = small_and(&format!(
            "TRUSTED_PROXY_CIDR: {written}\nPROXY_COUNT: 2\nFEATURE_LISTEN_IP_VERSION: Dual-Stack"
        ));
        let hosting = fixture.loaded().config.hosting;
        let networks = hosting.balancers.trusted.unwrap_or_default();
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "fd00::/8"], "{written}");
        assert_eq!(hosting.balancers.hops, Some(2));
        assert_eq!(hosting.ip_version, Some(IpVersion::Both));
        assert!(fixture.warnings().is_empty());
    }
    let open = small_and("EXTERNAL_TLS_TERMINATION: true\nFEATURE_PROXY_PROTOCOL: true");
    let warnings = open.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    for (words, count) in [
        ("TRUSTED_PROXY_CIDR", 2),
        ("PROXY protocol is spoken beside HTTPS only", 1),
    ] {
        let told = warnings.iter().filter(|line| line.contains(words)).count();
        assert_eq!(told, count, "{words}: {warnings:#?}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    assert_refused(
        &small_and(
            "SSL_PROTOCOLS: [TLSv13]\nTRUSTED_PROXY_CIDR: [10.1.2.3/8]\nPROXY_COUNT: -1\nFEATURE_LISTEN_IP_VERSION: IPv5\n\
             ROADSTEAD_SHUTDOWN_SECONDS: 0\nFEATURE_RATE_LIMITS: sometimes\nROADSTEAD_RATE_LIMIT_ADDRESS_BURST: 0\n\
             ROADSTEAD_REQUESTS_MAX: 0",
        ),
        &[
            "SSL_PROTOCOLS: \"TLSv13\" is no version of TLS",
            "TRUSTED_PROXY_CIDR: \"10.1.2.3/8\" is an address inside a network",
            "PROXY_COUNT: out of range",
            "FEATURE_LISTEN_IP_VERSION: unknown value",
            "ROADSTEAD_SHUTDOWN_SECONDS: out of range",
            "FEATURE_RATE_LIMITS: text does not fit here",
            "ROADSTEAD_RATE_LIMIT_ADDRESS_BURST: out of range",
            "ROADSTEAD_REQUESTS_MAX: out of range",
        ],
    );
    assert_refused(
        &small_and("SSL_PROTOCOLS: [TLSv1]"),
        &["SSL_PROTOCOLS: it offers no version of TLS"],
    );
}

#[test]
fn limits_have_defaults_and_can_be_set() {
    let fixture = small_and(
        "FEATURE_RATE_LIMITS: true\nNON_RATE_LIMITED_NAMESPACES: [ci]\nROADSTEAD_RATE_LIMIT_ACCOUNT_PER_SECOND: 5\nROADSTEAD_SHUTDOWN_SECONDS: 300\nROADSTEAD_UPLOADS_MAX: 64",
    );
    let limits = fixture.loaded().config.limits;
    assert_eq!(limits.shutdown, Duration::from_mins(5));
    assert_eq!(
        limits.concurrency,
        Concurrency {
            requests: None,
            uploads: Some(64),
            downloads: None,
        }
    );
    let rates = limits.rates.expect("they are on");
    assert_eq!(
        rates.address,
        Rate {
            per_second: 60,
            burst: 600
        }
    );
    assert_eq!(
        rates.account,
        Rate {
            per_second: 5,
            burst: 1200
        }
    );
    assert_eq!(rates.exempt, ["ci"]);
}
