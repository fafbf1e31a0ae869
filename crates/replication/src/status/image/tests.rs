//! Where an image is said to be, against where it is.

use std::fs;
use std::time::Duration;

use roadstead_metadata::CopyAttempt;
use roadstead_oci::Algorithm;

use super::*;
use crate::WaitOptions;
use crate::world::{World, name};

const LOOK: StatusOptions = StatusOptions { store_check: true };
const BELIEVE: StatusOptions = StatusOptions { store_check: false };

fn v1() -> ImageName {
    "admin/app:v1".parse().unwrap()
}

async fn look(world: &World, options: StatusOptions) -> ImageStatus {
    world
        .replication
        .image_status(&v1(), None, options)
        .await
        .unwrap()
}

fn at<'a>(status: &'a ImageStatus, location: &str) -> &'a ImageAt {
    status
        .locations
        .iter()
        .find(|here| here.location.as_str() == location)
        .unwrap()
}

fn states(status: &ImageStatus) -> Vec<(&str, ImageState)> {
    status
        .locations
        .iter()
        .map(|here| (here.location.as_str(), here.state))
        .collect()
}

#[test]
fn an_image_is_named_with_its_namespace_and_a_tag_or_a_digest() {
    let digest = Digest::of(Algorithm::Sha256, b"manifest");
    for text in [
        "admin/app:v1".to_owned(),
        "acme/web/front:latest".to_owned(),
        format!("admin/app@{digest}"),
    ] {
        assert_eq!(text.parse::<ImageName>().unwrap().to_string(), text);
    }
    for (text, expected) in [
        ("", "say which image"),
        ("admin/app", "say which image"),
        ("localhost:5000/app", "say which image"),
        ("app:v1", "name the namespace"),
        ("admin/app:", "tag"),
        ("admin/app:v1:v2", "name"),
        ("admin/app@v1", "digest"),
        ("admin/app@sha256:beef", "digest"),
        ("Admin/App:v1", "name"),
    ] {
        let error = text.parse::<ImageName>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[tokio::test]
async fn an_image_is_complete_where_all_of_it_is_and_copying_failed_or_not_required_elsewhere() {
    let world = World::with_defaults(&["us", "eu", "ap"], &["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer", b"another"]).await;
    let status = look(&world, LOOK).await;
    assert_eq!(
        states(&status),
        [
            ("ap", ImageState::NotRequired),
            ("eu", ImageState::Copying),
            ("us", ImageState::Complete),
        ]
    );
    assert!(!status.complete);
    assert_eq!(
        (status.needs.blobs, at(&status, "eu").missing.blobs),
        (3, 3)
    );

    world.faults("eu").take_down();
    world.work().await;
    let status = look(&world, BELIEVE).await;
    let eu = at(&status, "eu");
    assert_eq!((eu.state, eu.failing), (ImageState::Failed, 3));
    assert!(eu.reason.as_deref().unwrap().contains("not available"));

    world.faults("eu").heal();
    world
        .replication
        .retry(None, Some(&blobs[1].digest))
        .await
        .unwrap();
    world.work().await;
    world.replication.pause(Some("eu")).await.unwrap();
    let status = look(&world, BELIEVE).await;
    let eu = at(&status, "eu");
    assert_eq!(
        (eu.present, eu.missing.blobs, eu.paused),
        (Amount::one(5), 2, true)
    );
    world.replication.resume(Some("eu")).await.unwrap();

    world.replication.retry(None, None).await.unwrap();
    world.work().await;
    let status = look(&world, LOOK).await;
    assert!(status.complete, "{status:?}");
    assert_eq!(at(&status, "eu").state, ImageState::Complete);
    let ap = world
        .replication
        .image_status(&v1(), Some(&name("ap")), LOOK)
        .await
        .unwrap();
    assert_eq!(
        (states(&ap), ap.complete),
        (vec![("ap", ImageState::NotRequired)], false)
    );
    let json = serde_json::to_value(&ap).unwrap();
    assert_eq!(
        json["locations"],
        serde_json::json!([{
            "location": "ap", "required": false, "state": "not_required", "present": {"blobs": 0, "bytes": 0},
            "missing": {"blobs": 3, "bytes": 24}, "failing": 0, "reason": null, "paused": false,
        }])
    );
}

#[tokio::test]
async fn what_a_store_lost_or_cannot_say_is_a_failure_unless_the_database_is_believed() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    world.work().await;
    fs::remove_file(world.object("eu", &blobs[1])).unwrap();
    assert!(look(&world, BELIEVE).await.complete);
    let status = look(&world, LOOK).await;
    let eu = at(&status, "eu");
    assert_eq!((eu.state, eu.missing.blobs), (ImageState::Failed, 1));
    assert!(
        eu.reason
            .as_deref()
            .unwrap()
            .contains(blobs[1].digest.as_str()),
        "{eu:?}"
    );
    world.unmount("us");
    let status = look(&world, LOOK).await;
    let us = at(&status, "us");
    assert_eq!(us.state, ImageState::Failed);
    assert!(
        us.reason.as_deref().unwrap().contains("cannot be read"),
        "{us:?}"
    );
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named() {
    let world = World::new(&["us"]).await;
    world.push_image("us", "v1", &[]).await;
    for image in ["admin/app:v2", "admin/other:v1", "nobody/app:v1"] {
        let error = world
            .replication
            .image_status(&image.parse().unwrap(), None, BELIEVE)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("there is no image `{image}`")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn waiting_for_an_image_ends_when_it_is_there_and_brings_back_what_a_store_lost() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    world.work().await;
    fs::remove_file(world.object("eu", &blobs[1])).unwrap();
    let options = WaitOptions {
        timeout: Some(Duration::from_hours(1)),
        status: LOOK,
        location: None,
    };
    let image = v1();
    let waiting = world.replication.wait_for_image(&image, &options, |_| ());
    let others_work = async {
        loop {
            world.work().await;
            world.clock.advance(Duration::from_secs(1));
        }
    };
    let status = tokio::select! {
        status = waiting => status.unwrap(),
        () = others_work => unreachable!("work has no end"),
    };
    assert!(status.complete, "{status:?}");
    assert!(world.object("eu", &blobs[1]).exists());
}

#[tokio::test]
async fn waiting_for_an_image_ends_with_the_time_or_at_once_where_it_need_not_be() {
    let world = World::with_defaults(&["us", "eu", "ap"], &["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    let wait = async |location: &str| {
        let options = WaitOptions {
            timeout: Some(Duration::ZERO),
            status: LOOK,
            location: Some(name(location)),
        };
        world
            .replication
            .wait_for_image(&v1(), &options, |_| ())
            .await
            .unwrap()
            .complete
    };
    assert!(wait("us").await);
    assert!(!wait("eu").await);
    assert!(!wait("ap").await);
}

fn blob(number: i32, present: &[&str], failed_at: Option<i64>) -> ImageBlob {
    let wanted = failed_at.map(|seconds| CopyAttempt {
        last_attempt: Timestamp::from_timestamp(seconds, 0),
        failure: Some(format!("failed at {seconds}")),
    });
    ImageBlob {
        storage: StorageId(number),
        digest: Digest::of(Algorithm::Sha256, number.to_string().as_bytes()),
        size: 10,
        present: present.iter().map(|location| name(location)).collect(),
        wanted: wanted
            .into_iter()
            .map(|attempt| (name("eu"), attempt))
            .collect(),
    }
}

#[test]
fn the_latest_failure_is_told_unless_a_blob_is_nowhere() {
    let mut blobs = vec![
        blob(1, &["us", "eu"], None),
        blob(2, &["us"], Some(200)),
        blob(3, &["us"], Some(100)),
    ];
    let eu = judge(&name("eu"), true, &blobs, &Looked::default());
    assert_eq!(eu.reason.as_deref(), Some("failed at 200"));
    assert_eq!(
        (eu.state, eu.failing, eu.missing.blobs),
        (ImageState::Failed, 2, 2)
    );
    let unrequired = judge(&name("eu"), false, &blobs, &Looked::default());
    assert_eq!(
        (unrequired.state, unrequired.reason),
        (ImageState::NotRequired, None)
    );
    blobs.push(blob(4, &[], None));
    let eu = judge(&name("eu"), true, &blobs, &Looked::default());
    assert!(eu.reason.unwrap().starts_with("no location holds"));
    let none: Vec<ImageBlob> = Vec::new();
    let eu = judge(&name("eu"), true, &none, &Looked::default());
    assert_eq!(eu.state, ImageState::Complete);
}

#[test]
fn where_nothing_is_required_one_copy_anywhere_is_enough() {
    let somewhere = [blob(1, &["us"], None)];
    let nowhere = [blob(1, &[], None)];
    for (blobs, complete) in [(&somewhere, true), (&nowhere, false)] {
        let eu = judge(&name("eu"), false, blobs, &Looked::default());
        assert_eq!(
            is_complete(std::slice::from_ref(&eu), false, blobs),
            complete
        );
        assert!(!is_complete(&[eu], true, blobs));
    }
}
