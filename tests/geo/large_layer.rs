//! A layer that is far larger than the memory that the registry may use.

use roadstead_oci::{Algorithm, RepositoryName};
use roadstead_testkit::{Content, RegistrySettings};

/// 2 GiB.
const LAYER_BYTES: u64 = 2 << 30;

/// What the registry may have resident at its peak.
const RESIDENT_BYTES_MAX: u64 = 100 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_of_2_gib_is_pushed_replicated_and_pulled_within_100_mib() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let client = settings.client();
    let repository: RepositoryName = "team/model".parse().unwrap();
    let content = Content::new(1, LAYER_BYTES);

    let mut upload = client.start_upload(&repository).await.unwrap();
    let (body, sent) = content.body_hashed(Algorithm::Sha256);
    client.upload_stream(&mut upload, body).await.unwrap();
    let digest = sent.digest();
    client.finish_upload(upload, &digest).await.unwrap();
    let pushed = registry.resident_bytes_peak();

    // A blob without a manifest is copied by the reconciliation, which `--wait` begins.
    let admin = settings.admin();
    admin
        .run(&["replication", "status", "--wait", "--timeout", "100s"])
        .await
        .expect_success();
    for location in roadstead_testkit::LOCATIONS {
        let objects = settings.files(location).objects();
        assert_eq!(objects.get(&digest), Some(&LAYER_BYTES), "{location}");
    }

    let pulled = client.pull_verified(&repository, &digest).await.unwrap();
    assert_eq!(pulled.drain().await.unwrap(), LAYER_BYTES);
    let peak = registry.resident_bytes_peak();
    println!(
        "peak resident: {} MiB after the push, {} MiB at the end",
        pushed >> 20,
        peak >> 20
    );
    assert!(
        peak < RESIDENT_BYTES_MAX,
        "the registry had {} MiB resident",
        peak >> 20
    );
    assert!(registry.stop().await.success());
}
