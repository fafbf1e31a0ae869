//! What is noted of images while copies are made, and that it agrees with their status.

use roadstead_metadata::ImageEvent;

use super::*;
use crate::world::World;
use crate::{ImageState, StatusOptions};

async fn events(world: &World) -> Vec<ImageEvent> {
    world.database().image_events(0, 100).await.unwrap()
}

/// Where images are complete by their status, as tag and location.
async fn complete(world: &World, tags: &[&str]) -> Vec<(String, String)> {
    let mut complete = Vec::new();
    for tag in tags {
        let image = format!("admin/app:{tag}").parse().unwrap();
        let options = StatusOptions { store_check: false };
        let status = world.replication.image_status(&image, None, options).await;
        for here in status.unwrap().locations {
            if here.state == ImageState::Complete && here.required {
                complete.push(((*tag).to_owned(), here.location.to_string()));
            }
        }
    }
    complete.sort();
    complete
}

#[tokio::test]
async fn what_is_noted_is_what_the_status_of_images_says_after_every_copy() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let tags = ["v1", "v2", "v3"];
    world.push_image("us", "v1", &[b"base", b"one"]).await;
    world.push_image("us", "v2", &[b"base", b"two"]).await;
    world.push_image("eu", "v3", &[b"three"]).await;
    loop {
        world.replication.note_complete_images().await.unwrap();
        let mut noted: Vec<_> = events(&world)
            .await
            .into_iter()
            .map(|event| (event.tags[0].clone(), event.location.to_string()))
            .collect();
        noted.sort();
        assert_eq!(noted, complete(&world, &tags).await);
        // One copy at a time.
        let Some(job) = world.claim().await.into_iter().next() else {
            assert_eq!(noted.len(), 9);
            return;
        };
        world.handle(&job).await;
        world.database().complete_job(&job).await.unwrap();
        // The leases of the others end.
        world.clock.advance(Duration::from_secs(61));
    }
}

#[tokio::test]
async fn a_process_that_ends_between_the_last_copy_and_its_event_loses_no_event() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    world.replication.note_complete_images().await.unwrap();
    assert_eq!(events(&world).await.len(), 1);
    world.work().await;
    // What was only in its memory is lost.
    assert_eq!(world.replication.arrivals.take().len(), 2);
    world.replication.note_complete_images().await.unwrap();
    assert_eq!(events(&world).await.len(), 1);
    world.clock.advance(Duration::from_secs(2));
    world.replication.note_complete_images().await.unwrap();
    let events = events(&world).await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].location.as_str(), "eu");
}

#[tokio::test]
async fn a_copy_that_this_process_made_is_noted_at_once() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    world.replication.note_complete_images().await.unwrap();
    world.work().await;
    world.replication.note_complete_images().await.unwrap();
    assert_eq!(events(&world).await.len(), 2);
    // Lost and brought back: it was told.
    world.clock.advance(Duration::from_hours(1));
    world.replication.note_complete_images().await.unwrap();
    assert_eq!(events(&world).await.len(), 2);
}

#[tokio::test]
async fn an_image_that_quay_pushed_is_awaited_when_its_job_is_taken() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = [
        world.push_blob("us", b"{}").await,
        world.push_blob("us", b"layer").await,
    ];
    world.put_manifest_with("v1", &blobs, None).await;
    world.replication.note_complete_images().await.unwrap();
    assert_eq!(events(&world).await.len(), 0);
    for blob in &blobs {
        world.handle(&world.quays_job(blob)).await;
    }
    world.replication.note_complete_images().await.unwrap();
    world.work().await;
    world.replication.note_complete_images().await.unwrap();
    let events = events(&world).await;
    assert_eq!(events.len(), 1, "of what was missing when it was seen");
    assert_eq!(events[0].location.as_str(), "eu");
}

#[test]
fn what_is_remembered_of_copies_is_bounded() {
    let arrivals = Arrivals::default();
    for storage in 0..20_000 {
        arrivals.note(StorageId(storage), &crate::world::name("eu"));
    }
    assert_eq!(arrivals.take().len(), ARRIVALS_MAX);
    assert!(arrivals.take().is_empty());
}
