//! One location fails under a registry that runs: neither region loses a request, and nothing has to be done afterwards.

use roadstead_client::RequestBody;
use roadstead_oci::{Algorithm, Digest, Reference, RepositoryName};
use roadstead_storage::StorageErrorKind;
use roadstead_testkit::{Content, ImageKind, TestImage, UniverseOptions};

fn repository(number: u64) -> RepositoryName {
    format!("team/app{number}").parse().unwrap()
}

fn tag() -> Reference {
    "1.0".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_location_that_fails_costs_neither_region_a_request_and_comes_home() {
    let universe = UniverseOptions::two_regions().start().await;
    let (us, eu) = (universe.client_of(0), universe.client_of(1));
    let image = TestImage::new(1, ImageKind::Oci, &[300_000, 1_000_000]);
    image.push(&us, &repository(1), &tag()).await.unwrap();
    universe.wait_until_replicated().await;

    universe.faults("usstorage").take_down();
    image.pull(&us, &repository(1), &tag()).await.unwrap();
    image.pull(&eu, &repository(1), &tag()).await.unwrap();
    let second = TestImage::new(2, ImageKind::Oci, &[200_000]);
    second.push(&us, &repository(2), &tag()).await.unwrap();
    second.pull(&eu, &repository(2), &tag()).await.unwrap();
    let status = universe.status(true).await;
    assert!(!status.complete);
    assert!(
        status
            .images
            .iter()
            .any(|image| image.to_string().contains("app2")),
        "{:?}",
        status.images
    );

    universe.faults("usstorage").heal();
    universe.wait_until_replicated().await;
    second.pull(&us, &repository(2), &tag()).await.unwrap();
    universe.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_in_the_middle_goes_on_at_the_other_location_unnoticed() {
    let universe = UniverseOptions::two_regions().start().await;
    let us = universe.client_of(0);
    let image = TestImage::new(3, ImageKind::Oci, &[9_000_000]);
    image.push(&us, &repository(3), &tag()).await.unwrap();
    universe.wait_until_replicated().await;
    universe
        .faults("usstorage")
        .fail_reads_at(5_000_000, StorageErrorKind::Unavailable);
    image.pull(&us, &repository(3), &tag()).await.unwrap();
    universe.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_begun_in_one_region_is_finished_in_the_other() {
    let universe = UniverseOptions::two_regions().start().await;
    let (us, eu) = (universe.client_of(0), universe.client_of(1));
    let content = Content::new(5, 500_000);
    let digest: Digest = content.digest(Algorithm::Sha256);
    let bytes = content.bytes();
    let mut upload = us.start_upload(&repository(5)).await.unwrap();
    us.upload_chunk(&mut upload, bytes.slice(..200_000))
        .await
        .unwrap();
    let elsewhere = upload.location().path().to_owned();
    let request = http::Request::put(format!("{elsewhere}?digest={digest}"))
        .header("Content-Range", "200000-499999")
        .body(RequestBody::bytes(bytes.slice(200_000..)))
        .unwrap();
    let answer = eu
        .exchange(request, &format!("repository:{}:pull,push", repository(5)))
        .await
        .unwrap();
    assert_eq!(answer.status, http::StatusCode::CREATED);
    let pulled = eu.pull_verified(&repository(5), &digest).await.unwrap();
    assert_eq!(pulled.drain().await.unwrap(), 500_000);
    universe.finish().await;
}
