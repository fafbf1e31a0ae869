//! What a removal refuses, and what it leaves.

use std::fs;

use super::*;
use crate::world::{World, name};

async fn remove(world: &World, location: &str) -> Result<Vec<RemovalEvent>, RemovalError> {
    let mut events = Vec::new();
    world
        .replication
        .remove_location(&name(location), |event| {
            if !matches!(event, RemovalEvent::Compared(_)) {
                events.push(event);
            }
        })
        .await?;
    Ok(events)
}

async fn state(world: &World, location: &str) -> LocationState {
    let rows = world.database().locations().await.unwrap();
    rows.into_iter()
        .find(|row| row.name == name(location))
        .unwrap()
        .state
}

fn at_risk(result: Result<Vec<RemovalEvent>, RemovalError>) -> AtRisk {
    match result {
        Err(RemovalError::SoleCopies(at_risk)) => *at_risk,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_location_whose_blobs_are_all_elsewhere_is_removed_with_everything_that_names_it() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    world.work().await;
    let events = remove(&world, "eu").await.unwrap();
    let [uploads, placements @ .., location] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(*uploads, RemovalEvent::UploadsEnded(0));
    assert_eq!(
        *location,
        RemovalEvent::LocationDeleted(ForgottenLocation::default())
    );
    assert!(matches!(
        placements,
        [
            RemovalEvent::PlacementDeleted(_),
            RemovalEvent::PlacementDeleted(_)
        ]
    ));
    assert_eq!(state(&world, "eu").await, LocationState::Removed);
    for blob in &blobs {
        assert_eq!(world.present(blob).await, ["us"]);
        assert!(
            world.object("eu", blob).exists(),
            "objects stay in the store"
        );
    }
    // Nothing is copied there any more, although the configuration still names it.
    world
        .replication
        .reconcile(|uuid| panic!("{uuid}"))
        .await
        .unwrap();
    assert!(matches!(
        world.replication.removable_location("eu").await,
        Err(RemovalError::AlreadyRemoved { .. })
    ));
}

#[tokio::test]
async fn a_location_with_the_only_copy_is_kept_and_the_images_are_named() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"replicated"]).await;
    world.work().await;
    let sole = world.push_image("us", "v2", &[b"not yet"]).await;
    let risk = at_risk(remove(&world, "us").await);
    assert_eq!(
        risk.blobs,
        Amount {
            blobs: 2,
            bytes: 19
        }
    );
    let image = risk.images.some[0].clone();
    assert_eq!(
        (image.image.as_str(), image.other_blobs, risk.images.more),
        ("admin/app:v2", 1, false)
    );
    assert!(sole.iter().any(|blob| blob.digest == image.blob));
    let text = RemovalError::SoleCopies(Box::new(risk)).to_string();
    assert!(text.contains(&format!("\n  {image}\n")), "{text}");
    assert_eq!(state(&world, "us").await, LocationState::Active);
    world.work().await;
    remove(&world, "us").await.unwrap();
    assert_eq!(world.present(&sole[1]).await, ["eu"]);
}

#[tokio::test]
async fn a_copy_that_the_other_store_does_not_hold_does_not_count() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer", b"another"]).await;
    world.work().await;
    fs::remove_file(world.object("eu", &blobs[1])).unwrap();
    fs::write(world.object("eu", &blobs[2]), b"short").unwrap();
    let risk = at_risk(remove(&world, "us").await);
    assert_eq!(risk.blobs.blobs, 2);
    assert_eq!(
        world.present(&blobs[1]).await,
        ["us"],
        "the false promise is gone"
    );
    // Both were wanted again at once.
    world.work().await;
    remove(&world, "us").await.unwrap();
    for blob in &blobs {
        assert_eq!(
            fs::read(world.object("eu", blob)).unwrap().len() as u64,
            blob.size
        );
    }
}

#[tokio::test]
async fn nothing_at_a_location_that_cannot_be_read_counts() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    world.work().await;
    world.unmount("eu");
    let risk = at_risk(remove(&world, "us").await);
    assert_eq!(risk.blobs.blobs, 2);
    let reason = &risk.unreadable[&name("eu")];
    assert!(reason.contains("not available"), "{reason}");
    world.mount("eu");
    remove(&world, "us").await.unwrap();
}

#[tokio::test]
async fn a_copy_at_a_location_that_leaves_too_does_not_count() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    world.work().await;
    let now = world.replication.environment.now();
    world
        .database()
        .set_location_state(&name("eu"), LocationState::Removing, now)
        .await
        .unwrap();
    assert_eq!(at_risk(remove(&world, "us").await).blobs.blobs, 2);
}

#[tokio::test]
async fn a_removal_that_was_interrupted_goes_on_or_is_taken_back() {
    let world = World::new(&["us", "eu"]).await;
    let mut blobs = Vec::new();
    for index in 0_u32..60 {
        blobs.push(world.push_blob("us", &index.to_be_bytes()).await);
    }
    world.replication.reconcile(|_| ()).await.unwrap();
    assert_eq!(world.work().await.len(), 60);
    let interrupted = async {
        let (first_deleted, deleted) = tokio::sync::oneshot::channel();
        let mut first_deleted = Some(first_deleted);
        let leaving = name("eu");
        let removal = world
            .replication
            .remove_in_batches(&leaving, 10, None, |event| {
                if matches!(event, RemovalEvent::PlacementDeleted(_))
                    && let Some(tell) = first_deleted.take()
                {
                    tell.send(()).ok();
                }
            });
        tokio::select! {
            biased;
            _ = deleted => {}
            _ = removal => panic!("it was to be interrupted"),
        }
    };
    interrupted.await;
    let (_, left) = world.replication.removable_location("eu").await.unwrap();
    assert_eq!(left, LocationState::Removing);
    let row = |rows: Vec<roadstead_metadata::LocationRow>| {
        rows.into_iter().find(|row| row.name == name("eu")).unwrap()
    };
    assert_eq!(row(world.database().locations().await.unwrap()).blobs, 50);

    // Taken back, everything comes back.
    world.replication.cancel_removal(&name("eu")).await.unwrap();
    world.replication.reconcile(|_| ()).await.unwrap();
    world.work().await;
    assert_eq!(row(world.database().locations().await.unwrap()).blobs, 60);

    // Begun again, it ends.
    let events = remove(&world, "eu").await.unwrap();
    assert_eq!(events.len(), 62);
    for blob in blobs.iter().step_by(7) {
        assert_eq!(world.present(blob).await, ["us"]);
    }
}

#[tokio::test]
async fn an_unknown_location_is_refused_with_the_known_ones() {
    let world = World::new(&["us", "eu"]).await;
    let error = world
        .replication
        .removable_location("asia")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no location `asia`; known are: eu, us"
    );
}

#[tokio::test]
async fn what_somebody_agreed_to_lose_goes_and_nothing_else() {
    let world = World::new(&["us", "eu"]).await;
    let safe = world.push_image("us", "v1", &[b"replicated"]).await;
    world.work().await;
    let sole = world.push_image("us", "v2", &[b"not yet"]).await;
    let risk = at_risk(remove(&world, "us").await);
    let mut shown = Vec::new();
    let loss = world
        .replication
        .show_loss(&risk, |lost| {
            let images: Vec<String> = lost.images.iter().map(ToString::to_string).collect();
            shown.push((lost.blob.name.clone(), images));
        })
        .await
        .unwrap();
    let mut expected: Vec<_> = sole
        .iter()
        .map(|blob| (blob.digest.to_string(), vec!["admin/app:v2".to_owned()]))
        .collect();
    expected.sort();
    shown.sort();
    assert_eq!(shown, expected);

    // One more came to be at risk meanwhile.
    let late = world.push_blob("us", b"late").await;
    let us = name("us");
    let more = world.replication.remove_location_losing(&us, loss, |_| ());
    let refused = more.await.unwrap_err();
    assert!(
        matches!(refused, RemovalError::MoreAtRisk { .. }),
        "{refused}"
    );
    assert_eq!(state(&world, "us").await, LocationState::Active);
    assert_eq!(world.present(&sole[1]).await, ["us"]);
    assert_eq!(world.present(&late).await, ["us"]);

    let risk = at_risk(remove(&world, "us").await);
    let loss = world.replication.show_loss(&risk, |_| ()).await.unwrap();
    world
        .replication
        .remove_location_losing(&us, loss, |_| ())
        .await
        .unwrap();
    assert_eq!(state(&world, "us").await, LocationState::Removed);
    assert!(world.present(&late).await.is_empty());
    assert_eq!(world.present(&safe[1]).await, ["eu"]);
}
