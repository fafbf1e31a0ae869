//! Every driver with its parameters: what they mean, and what cannot stand.

mod buckets;
mod cdns;
mod containers;
mod refused;
mod secrets;
mod twins;

use super::*;

/// A configuration with these locations, each on a line, and the keys of CDNs beside it.
fn stores(locations: &[&str]) -> Fixture {
    let locations = locations.join("\n  ");
    let fixture = Fixture::new(format!(
        "SERVER_HOSTNAME: r\nDB_URI: sqlite:///r.db\nDISTRIBUTED_STORAGE_CONFIG:\n  {locations}\n"
    ));
    fs::write(fixture.directory.path().join("cdn.pem"), "").expect("a file");
    fixture
}

/// The driver with these parameters, which are worth no warning.
fn driver(name: &str, parameters: &str) -> Driver {
    let fixture = stores(&[&format!("us: [{name}, {{{parameters}}}]")]);
    assert_eq!(fixture.warnings(), [""; 0], "{name} {parameters}");
    let storage = fixture.loaded().config.storage;
    let driver = storage.locations[0].driver.clone();
    assert_eq!(driver.name(), name);
    driver
}

fn endpoint(scheme: UrlScheme, host: &str, port: u16, path: &str) -> Endpoint {
    Endpoint {
        scheme,
        host: host.to_owned(),
        port,
        path: path.to_owned(),
    }
}

/// The example in Quay's own source, with another key.
const MULTI_CDN: &str = "us: [MultiCDNStorage, {storage_config: {s3_access_key: A, s3_secret_key: hunter2, \
    s3_region: us-east-1, s3_bucket: b, storage_path: /images}, providers: {CloudFlare: [CloudFlareStorage, \
    {cloudflare_domain: cdn01.example.org, cloudflare_privatekey_filename: cdn.pem}], AWSCloudFront: [CloudFrontedS3Storage, \
    {cloudfront_distribution_domain: domain.cloudfront.net, cloudfront_key_id: id, cloudfront_privatekey_filename: cdn.pem, \
    cloudfront_distribution_org_overrides: {}}]}, default_provider: AWSCloudFront, rules: [{continent: NA, target: CloudFlare}, \
    {namespace: test-cf, host: 'r:8443', target: CloudFlare}]}]";

/// What is wrong with these parameters: each line without file and location.
fn faults(driver: &str, parameters: &str) -> Vec<String> {
    let fixture = stores(&[&format!("us: [{driver}, {{{parameters}}}]")]);
    let before = "config.yaml:4: DISTRIBUTED_STORAGE_CONFIG.us[1].";
    fixture
        .refused()
        .iter()
        .map(|line| line.replace(before, ""))
        .collect()
}

fn assert_faults(driver: &str, parameters: &str, expected: &[&str]) {
    let lines = faults(driver, parameters);
    assert_eq!(lines.len(), expected.len(), "{driver}: {lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\nlacks {expected}");
    }
}
