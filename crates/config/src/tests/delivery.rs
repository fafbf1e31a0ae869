//! How blobs get to clients.

use std::net::IpAddr;

use super::*;

#[test]
fn networks_and_namespaces_decide_who_is_redirected() {
    let fixture = small_and(
        "FEATURE_PROXY_STORAGE: yes\nCDN_SPECIFIC_NAMESPACES: [redhat]\nROADSTEAD_STREAM_NETWORKS: [10.0.0.0/8, '::1']\n\
         ROADSTEAD_REDIRECT_NETWORKS: ['2001:db8::/32']\nROADSTEAD_UPLOAD_MEMORY_BYTES: 1G",
    );
    let Config {
        delivery, storage, ..
    } = fixture.loaded().config;
    assert!(delivery.proxy_storage);
    assert_eq!(delivery.cdn_namespaces, ["redhat"]);
    let address: IpAddr = "::ffff:10.1.2.3".parse().expect("an address");
    assert!(delivery.stream_networks[0].contains(address));
    let networks: Vec<_> = delivery
        .stream_networks
        .iter()
        .chain(delivery.redirect_networks.iter().flatten())
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128", "2001:db8::/32"]);
    assert_eq!(storage.upload_memory_bytes, 1 << 30);
    assert_eq!(
        fixture.warnings(),
        [""; 0],
        "what has no effect in Quay either is not missed"
    );
    let nobody = small_and("ROADSTEAD_REDIRECT_NETWORKS: []").loaded();
    assert_eq!(nobody.config.delivery.redirect_networks, Some(Vec::new()));
}

#[test]
fn what_is_no_network_or_too_little_memory_is_refused() {
    assert_refused(
        &small_and(
            "FEATURE_PROXY_STORAGE: sometimes\nCDN_SPECIFIC_NAMESPACES: redhat\n\
             ROADSTEAD_STREAM_NETWORKS: [10.0.0.0/33, 10, 10.1.2.3/8]\nROADSTEAD_REDIRECT_NETWORKS: 10.0.0.0/8\n\
             ROADSTEAD_UPLOAD_MEMORY_BYTES: 15M",
        ),
        &[
            "FEATURE_PROXY_STORAGE: text does not fit here",
            "CDN_SPECIFIC_NAMESPACES: text does not fit here (found \"redhat\"); allowed: a list of namespaces",
            "ROADSTEAD_STREAM_NETWORKS: \"10.0.0.0/33\" has no such length of a prefix",
            "ROADSTEAD_STREAM_NETWORKS: \"10.1.2.3/8\" is an address inside a network (found [\"10.0.0.0/33\", 10, \
             \"10.1.2.3/8\"]); allowed: an address and the length of its prefix, such as 10.0.0.0/8 or 2001:db8::/32; \
             write 10.0.0.0/8, or 10.1.2.3 for this one address",
            "ROADSTEAD_STREAM_NETWORKS[1]: a number does not fit here",
            "ROADSTEAD_REDIRECT_NETWORKS: text does not fit here (found \"10.0.0.0/8\"); \
             allowed: a list of networks such as 10.0.0.0/8",
            "ROADSTEAD_UPLOAD_MEMORY_BYTES: not a size that can be used (found \"15M\"); allowed: 16777216 to",
        ],
    );
}
