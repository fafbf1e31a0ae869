//! What Quay left in buckets of an S3 server, and what is pushed into them: the same objects under the same keys.

use roadstead_oci::{Algorithm, Digest};
use roadstead_testkit::{ImageKind, TestImage, eventually};
use roadstead_tests::{Remote, Workshop, digest_of_directory};

use crate::sample::Sample;
use crate::takeover::pull_everything;

/// Nobody is sent to the store: the bytes come through the registry.
const STREAMED: (&str, &[&str]) = ("ROADSTEAD_STREAM_NETWORKS", &["127.0.0.0/8"]);

#[tokio::test]
async fn every_tag_pulls_byte_identical_from_the_buckets_and_pushes_lie_beside_it() {
    let mut sample = Sample::restore_in_buckets();
    sample.set(STREAMED.0, STREAMED.1.to_vec());
    let settings = sample.settings();
    let blobs_read = pull_everything(&sample, &settings, |_| true).await;
    assert_eq!(blobs_read, 43, "configs and layers of every tag");

    let registry = settings.start().await;
    let client = sample.client(&settings, "admin");
    let image = TestImage::new(7, ImageKind::Oci, &[100_000, 9_000_000]);
    let repository = "acme/app".parse().unwrap();
    let reference = "pushed".parse().unwrap();
    image.push(&client, &repository, &reference).await.unwrap();
    image.pull(&client, &repository, &reference).await.unwrap();
    for digest in &image.blobs {
        for location in ["us_east", "eu_west"] {
            let path = sample.store(location).path(digest);
            let object = eventually("the blob is in both buckets", async || {
                std::fs::read(&path).ok()
            })
            .await;
            assert_eq!(Digest::of(Algorithm::Sha256, &object), *digest);
        }
    }
    eventually("both placements are recorded", async || {
        let waiting = sample
            .database
            .number("SELECT count(*) FROM roadstead_copy");
        (waiting == 0).then_some(())
    })
    .await;
    assert!(registry.stop().await.success());
    sample.world().assert_sound();
}

#[tokio::test]
async fn clients_are_sent_to_the_buckets_and_get_the_same() {
    let sample = Sample::restore_in_buckets();
    let settings = sample.settings();
    let registry = settings.start().await;
    let remote = Remote {
        address: settings.address,
        credentials: Some(("acme+ci".to_owned(), sample.secret("acme+ci").to_owned())),
    };
    let workshop = Workshop::new(&[&remote]);
    let directory = workshop.path("redirected");
    let mut copy = workshop.skopeo();
    copy.args([
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        &format!(
            "docker://{}:latest",
            remote.repository(&"acme/app".parse().unwrap())
        ),
        &format!("dir:{}", directory.display()),
    ]);
    workshop.go(&mut copy).await;
    let tag = sample
        .tags()
        .into_iter()
        .find(|(repository, tag, _)| repository == "acme/app" && tag == "latest");
    assert_eq!(digest_of_directory(&directory).to_string(), tag.unwrap().2);
    let signed = sample
        .server
        .as_ref()
        .unwrap()
        .requests()
        .into_iter()
        .filter(|request| request.method == "GET" && request.target.contains("X-Amz-Signature"))
        .count();
    assert!(signed > 0, "the client has read from the store itself");
    assert!(registry.stop().await.success());
}
