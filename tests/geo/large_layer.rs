//! A layer that is far larger than the memory that the registry may use.

use roadstead_oci::Algorithm;
use roadstead_testkit::{Content, ImageKind, TestImage, setting};

use crate::deployment::{Deployment, stop};

/// What the registry may have resident at most.
const RESIDENT_BYTES_MAX: u64 = 100 * 1024 * 1024;

const GIB: u64 = 1024 * 1024 * 1024;

#[tokio::test]
async fn a_layer_of_two_gibibytes_is_pushed_copied_and_pulled_in_a_hundred_mebibytes() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    let layer = Content::new(2, setting("ROADSTEAD_TEST_LAYER_BYTES", 2 * GIB));
    let (repository, reference) = ("team/large".parse().unwrap(), "latest".parse().unwrap());

    let mut upload = client.start_upload(&repository).await.unwrap();
    let (body, hashed) = layer.body_hashed(Algorithm::Sha256);
    client.upload_stream(&mut upload, body).await.unwrap();
    client
        .finish_upload(upload, &hashed.digest())
        .await
        .unwrap();
    let image =
        TestImage::of_hashed_layers(2, ImageKind::Oci, vec![(layer.clone(), hashed.digest())]);
    client
        .push_blob(
            &repository,
            &image.blobs[0],
            roadstead_client::RequestBody::bytes(image.config.clone()),
        )
        .await
        .unwrap();
    image
        .push_manifest(&client, &repository, &reference)
        .await
        .unwrap();
    image.pull(&client, &repository, &reference).await.unwrap();
    deployment.wait_until_replicated().await;
    assert_eq!(
        deployment.settings.files("eustorage").objects()[&hashed.digest()],
        layer.size()
    );

    let peak = registry.resident_bytes_peak();
    assert!(
        peak < RESIDENT_BYTES_MAX,
        "the registry has had {} MiB resident",
        peak >> 20
    );
    println!("the registry has had {} MiB resident at most", peak >> 20);
    stop(registry).await;
}
