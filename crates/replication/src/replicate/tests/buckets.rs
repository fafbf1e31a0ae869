//! Blobs that a store copies by itself.

use std::path::PathBuf;

use roadstead_storage::ObjectKey;
use roadstead_test_servers::S3Server;

use super::*;

fn large(seed: u8) -> Vec<u8> {
    let numbers = 0..(9_u32 << 18);
    numbers
        .flat_map(|number| (number ^ u32::from(seed)).to_le_bytes())
        .collect()
}

fn object(server: &S3Server, location: &str, blob: &Blob) -> PathBuf {
    let bucket = server.bucket_directory(&format!("bucket-{location}"));
    let path = ObjectKey::Blob(blob.digest.clone()).path();
    bucket.join("registry").join(path)
}

/// How often the object of a blob was read at a location.
fn reads(server: &S3Server, location: &str, blob: &Blob) -> usize {
    let path = format!(
        "/bucket-{location}/registry/{}",
        ObjectKey::Blob(blob.digest.clone()).path()
    );
    let requests = server.requests();
    let reads = requests.iter().filter(|request| request.is("GET", &path));
    reads.count()
}

#[tokio::test]
async fn a_large_blob_is_copied_by_the_store_of_both_ends_and_read_back() {
    let server = S3Server::start();
    let world = World::in_buckets(&server, &["us", "eu", "ap"]).await;
    let blobs = world.push_image("us", "v1", &[&large(1)]).await;
    for outcome in world.work().await {
        assert_eq!(outcome, JobOutcome::Recorded);
    }
    let layer = &blobs[1];
    assert_eq!(world.present(layer).await, ["ap", "eu", "us"]);
    assert_eq!(reads(&server, "us", layer), 0);
    for target in ["eu", "ap"] {
        assert_eq!(reads(&server, target, layer), 1);
        assert!(fs::read(object(&server, target, layer)).unwrap() == large(1));
    }
    // What is small is read once for all.
    assert_eq!(reads(&server, "us", &blobs[0]), 1);
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn what_a_store_copied_from_a_damaged_source_is_replaced_from_another_and_the_source_reported()
 {
    let server = S3Server::start();
    let world = World::in_buckets(&server, &["us", "ap", "eu"]).await;
    let blob = world.push_blob("us", &large(2)).await;
    world.push_blob("ap", &large(2)).await;
    let mut damaged = large(2);
    damaged[5] ^= 1;
    fs::write(object(&server, "us", &blob), damaged).unwrap();
    world
        .replication
        .want_copies_of(blob.storage)
        .await
        .unwrap();
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["ap", "eu"]);
    assert!(fs::read(object(&server, "eu", &blob)).unwrap() == large(2));
    // Its own copy is made again.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["ap", "eu", "us"]);
    assert!(fs::read(object(&server, "us", &blob)).unwrap() == large(2));
}

#[tokio::test]
async fn what_the_store_lost_meanwhile_is_not_recorded_as_copied() {
    let server = S3Server::start();
    let world = World::in_buckets(&server, &["us", "eu"]).await;
    let blob = world.push_blob("us", &large(3)).await;
    fs::remove_file(object(&server, "us", &blob)).unwrap();
    world
        .replication
        .want_copies_of(blob.storage)
        .await
        .unwrap();
    let outcomes = world.work().await;
    assert!(
        retry_reason(&outcomes[0]).contains("does not hold the object"),
        "{outcomes:?}"
    );
    assert!(!world.present(&blob).await.contains(&"eu".to_owned()));
}
