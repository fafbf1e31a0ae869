//! A location's directory is gone: pulls and pushes go on, the status says what is missing, and nothing has to be done afterwards.

use std::fs;

use roadstead_client::{Client, RequestBody};
use roadstead_oci::{Algorithm, Digest, Reference, RepositoryName};
use roadstead_testkit::{
    Content, ImageKind, RegistrySettings, TestImage, UniverseOptions, eventually,
};
use serde_json::Value;

/// Images that a test pushes.
const IMAGES: u64 = 100;

fn repository(number: u64) -> RepositoryName {
    format!("team{}/app{number}", number % 7).parse().unwrap()
}

fn tag() -> Reference {
    "1.0".parse().unwrap()
}

fn images() -> Vec<TestImage> {
    (0..IMAGES)
        .map(|number| TestImage::new(number, ImageKind::Oci, &[4_000 + number, 70_000, 0]))
        .collect()
}

async fn pull_all(client: &Client, images: &[TestImage]) {
    for (number, image) in (0..).zip(images) {
        image
            .pull(client, &repository(number), &tag())
            .await
            .unwrap_or_else(|error| panic!("image {number}: {error:?}"));
    }
}

/// What the status says of a location.
fn of<'a>(status: &'a Value, location: &str) -> &'a Value {
    status["locations"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["location"] == location))
        .unwrap_or_else(|| panic!("{location} is not in {status}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_100_images_pulls_from_the_other_location_when_the_first_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let client = settings.client();
    let images = images();
    for (number, image) in (0..).zip(&images) {
        image
            .push(&client, &repository(number), &tag())
            .await
            .unwrap();
    }
    let admin = settings.admin();
    admin
        .run(&["replication", "status", "--wait", "--timeout", "60s"])
        .await
        .expect_success();
    let objects = settings.files("usstorage").objects();
    assert_eq!(objects, settings.files("eustorage").objects());

    fs::remove_dir_all(settings.files("usstorage").root()).unwrap();
    pull_all(&client, &images).await;
    // 100 configs, 200 layers, and the empty blob that all have in common.
    let blobs = objects.len() as u64;
    let status = admin.replication_status().await;
    assert_eq!(status["complete"], false);
    let us = of(&status, "usstorage");
    assert_eq!(us["unreadable"]["blobs"], blobs, "{us}");
    assert_eq!(us["store"]["checked"], "unreadable", "{us}");
    assert_eq!(of(&status, "eustorage")["present"]["blobs"], blobs);
    let printed = admin.run(&["replication", "status"]).await;
    printed.expect_failure();
    assert!(printed.stdout.contains("usstorage"), "{}", printed.stdout);
    assert!(
        !settings.files("usstorage").root().exists(),
        "an empty directory in its place would hide the loss"
    );

    // A restart does not make it anew either, and pushes go to the other location.
    assert!(registry.stop().await.success());
    let registry = settings.start().await;
    pull_all(&client, &images).await;
    let late = TestImage::new(1_000, ImageKind::Docker, &[5_000]);
    late.push(&client, &repository(1_000), &tag())
        .await
        .unwrap();
    late.pull(&client, &repository(1_000), &tag())
        .await
        .unwrap();
    assert!(!settings.files("usstorage").root().exists());

    // The operator puts an empty disk in its place: what is asked for comes home, and the status closes the rest.
    fs::create_dir(settings.files("usstorage").root()).unwrap();
    pull_all(&client, &images).await;
    admin
        .run(&["replication", "status", "--wait", "--timeout", "90s"])
        .await
        .expect_success();
    assert_eq!(
        settings.files("usstorage").objects(),
        settings.files("eustorage").objects()
    );
    assert_eq!(settings.files("usstorage").damaged(), []);
    assert!(registry.stop().await.success());
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
        .fail_reads_at(5_000_000, roadstead_storage::StorageErrorKind::Unavailable);
    image.pull(&us, &repository(3), &tag()).await.unwrap();
    universe.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_vanished_or_were_damaged_are_found_named_and_copied_again() {
    let universe = UniverseOptions::two_regions().start().await;
    let us = universe.client_of(0);
    let image = TestImage::new(4, ImageKind::Oci, &[60_000, 80_000]);
    image.push(&us, &repository(4), &tag()).await.unwrap();
    universe.wait_until_replicated().await;
    let files = universe.files("usstorage");
    fs::remove_file(files.path(&image.blobs[1])).unwrap();
    let truncated = files.path(&image.blobs[2]);
    fs::write(&truncated, b"short").unwrap();

    let status = universe.status(true).await;
    assert!(!status.complete);
    assert_eq!(
        status
            .images
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .len(),
        1
    );
    // A pull is answered from the other location and has the objects brought back.
    image.pull(&us, &repository(4), &tag()).await.unwrap();
    eventually("both objects are back", async || {
        (files.damaged().is_empty() && files.objects().len() == 3).then_some(())
    })
    .await;
    universe.wait_until_replicated().await;
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
