//! A location's store is lost, unreadable, emptied or damaged.

use std::fs;

use roadstead_testkit::{eventually, setting};

use crate::deployment::{Deployment, NamedImage, location, stop};

#[tokio::test]
async fn when_the_first_location_is_deleted_every_image_pulls_from_the_other_and_the_status_says_what_is_gone()
 {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    let images: Vec<NamedImage> = (0..setting("ROADSTEAD_TEST_IMAGES", 100))
        .map(NamedImage::new)
        .collect();
    for named in &images {
        named
            .image
            .push(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    deployment.wait_until_replicated().await;
    let objects = deployment.settings.files("usstorage").objects();
    assert_eq!(deployment.settings.files("eustorage").objects(), objects);

    fs::remove_dir_all(deployment.store("usstorage")).unwrap();
    for named in &images {
        named
            .image
            .pull(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    let status = deployment.settings.admin().replication_status().await;
    assert_eq!(status["complete"], false, "{status}");
    let lost = location(&status, "usstorage");
    assert_eq!(lost["store"]["checked"], "unreadable", "{status}");
    assert_eq!(lost["unreadable"]["blobs"], objects.len(), "{status}");
    assert_eq!(
        lost["unreadable"]["bytes"],
        objects.values().sum::<u64>(),
        "{status}"
    );
    assert_eq!(
        location(&status, "eustorage")["present"]["blobs"],
        objects.len(),
        "{status}"
    );
    // Some of the images are named, and it is said that there are more.
    let named = status["images"].as_array().unwrap();
    assert!(
        !named.is_empty() && (status["images_more"] == true || named.len() == images.len()),
        "{status}"
    );
    for image in named {
        assert!(
            images.iter().any(|named| image["image"] == named.name()),
            "{image}"
        );
    }
    // It is said to people too, and the exit status says that something is wrong.
    let shown = deployment
        .settings
        .admin()
        .run(&["replication", "status"])
        .await;
    shown.expect_failure();
    assert!(
        shown.stdout.contains("usstorage cannot be read"),
        "{}",
        shown.stdout
    );

    // The missing disk is not taken for an empty one: nothing was made in its place, and pushes go to the other location.
    assert!(!deployment.store("usstorage").exists());
    let later = NamedImage::new(1_000_003);
    later
        .image
        .push(&client, &later.repository, &later.reference)
        .await
        .unwrap();
    later
        .image
        .pull(&client, &later.repository, &later.reference)
        .await
        .unwrap();

    // A new disk is filled again.
    fs::create_dir(deployment.store("usstorage")).unwrap();
    deployment.wait_until_replicated().await;
    let files = deployment.settings.files("usstorage");
    assert_eq!(
        files.objects(),
        deployment.settings.files("eustorage").objects()
    );
    assert_eq!(files.damaged(), []);
    stop(registry).await;
}

#[tokio::test]
async fn a_registry_starts_while_a_store_is_missing_and_serves_from_the_other() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let named = NamedImage::new(1);
    let client = deployment.settings.client();
    named
        .image
        .push(&client, &named.repository, &named.reference)
        .await
        .unwrap();
    deployment.wait_until_replicated().await;
    stop(registry).await;

    let (store, away) = (
        deployment.store("usstorage"),
        deployment.store("usstorage.away"),
    );
    fs::rename(&store, &away).unwrap();
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    named
        .image
        .pull(&client, &named.repository, &named.reference)
        .await
        .unwrap();
    let other = NamedImage::new(2);
    other
        .image
        .push(&client, &other.repository, &other.reference)
        .await
        .unwrap();
    assert!(!store.exists());

    fs::rename(&away, &store).unwrap();
    deployment.wait_until_replicated().await;
    let files = deployment.settings.files("usstorage");
    assert!(
        other
            .image
            .blobs
            .iter()
            .all(|digest| files.objects().contains_key(digest))
    );
    stop(registry).await;
}

/// The status and the body of a health check.
async fn ask(
    client: &roadstead_client::Client,
    path: &str,
) -> (http::StatusCode, serde_json::Value) {
    let request = http::Request::get(path)
        .body(roadstead_client::RequestBody::empty())
        .unwrap();
    let answer = client.exchange(request, "").await.unwrap();
    let status = answer.status;
    let body = answer.bytes(1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// How the registry sees a location.
async fn state_of(client: &roadstead_client::Client, location: &str) -> String {
    let (_, report) = ask(client, "/health/locations").await;
    let locations = report["data"]["locations"].as_array().unwrap();
    let found = locations.iter().find(|found| found["location"] == location);
    found.unwrap()["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_store_that_cannot_be_read_does_not_stop_a_pull() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let named = NamedImage::new(5);
    let client = deployment.settings.client();
    named
        .image
        .push(&client, &named.repository, &named.reference)
        .await
        .unwrap();
    deployment.wait_until_replicated().await;
    let (store, away) = (
        deployment.store("usstorage"),
        deployment.store("usstorage.away"),
    );
    fs::rename(&store, &away).unwrap();
    // A file where the directory was: neither missing nor usable, also to root.
    fs::write(&store, "not a store").unwrap();
    named
        .image
        .pull(&client, &named.repository, &named.reference)
        .await
        .unwrap();
    eventually("the location is down", async || {
        (state_of(&client, "usstorage").await == "down").then_some(())
    })
    .await;
    // The region serves, so that no balancer is to drain it; which store has failed is told elsewhere.
    eventually("the region is content all the same", async || {
        (ask(&client, "/health/endtoend").await.0 == 200).then_some(())
    })
    .await;
    fs::remove_file(&store).unwrap();
    fs::rename(&away, &store).unwrap();
    eventually("the location is healthy again", async || {
        (state_of(&client, "usstorage").await == "healthy").then_some(())
    })
    .await;
    deployment.wait_until_replicated().await;
    stop(registry).await;
}

#[tokio::test]
async fn objects_that_vanish_or_shrink_are_noticed_and_copied_again() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    let images: Vec<NamedImage> = (0..6).map(NamedImage::new).collect();
    for named in &images {
        named
            .image
            .push(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    deployment.wait_until_replicated().await;
    let files = deployment.settings.files("eustorage");
    let (gone, short) = (&images[1].image.blobs[1], &images[2].image.blobs[1]);
    fs::remove_file(files.path(gone)).unwrap();
    fs::write(files.path(short), "short").unwrap();
    let status = deployment.settings.admin().replication_status().await;
    assert_eq!(
        location(&status, "eustorage")["lost"]["blobs"],
        2,
        "{status}"
    );
    assert_eq!(
        location(&status, "usstorage")["lost"]["blobs"],
        0,
        "{status}"
    );
    let named = status["images"].to_string();
    assert!(
        named.contains(&images[1].name()) && named.contains(&images[2].name()),
        "{status}"
    );
    deployment.wait_until_replicated().await;
    assert_eq!(files.damaged(), []);
    assert_eq!(
        files.objects(),
        deployment.settings.files("usstorage").objects()
    );
    stop(registry).await;
}
