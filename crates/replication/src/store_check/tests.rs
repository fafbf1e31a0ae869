//! What differs between the database and a store is found.

use std::fs;

use roadstead_storage::StorageErrorKind;

use super::*;
use crate::world::World;

async fn defects(
    world: &World,
    location: &str,
) -> Result<Vec<(Digest, Option<Defect>)>, StoreCheckError> {
    let mut found = Vec::new();
    compare(
        world.database(),
        world.location(location),
        |blob, defect| {
            found.push((blob.digest.clone(), defect));
        },
    )
    .await?;
    Ok(found)
}

#[tokio::test]
async fn every_placed_blob_is_compared_once_and_strangers_in_the_store_do_not_matter() {
    let world = World::new(&["us", "eu"]).await;
    let mut pushed = Vec::new();
    for index in 0_u32..60 {
        pushed.push(world.push_blob("us", &index.to_be_bytes()).await.digest);
    }
    world.push_blob("eu", b"only in the other location").await;
    let stranger = world.push_blob("us", b"in the store and not placed").await;
    fs::write(
        world.object("us", &stranger).with_extension("txt"),
        b"not a digest",
    )
    .unwrap();
    pushed.push(stranger.digest);
    pushed.sort();
    let found = defects(&world, "us").await.unwrap();
    assert!(found.iter().all(|(_, defect)| defect.is_none()));
    let found: Vec<Digest> = found.into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(found, pushed);
}

#[tokio::test]
async fn missing_and_cut_objects_are_found_and_only_those() {
    let world = World::new(&["us", "eu"]).await;
    let missing = world.push_blob("us", b"missing").await;
    let cut = world.push_blob("us", b"cut off in the middle").await;
    let intact = world.push_blob("us", b"intact").await;
    fs::remove_file(world.object("us", &missing)).unwrap();
    fs::write(world.object("us", &cut), b"cut off").unwrap();
    let mut found = defects(&world, "us").await.unwrap();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let mut expected = vec![
        (missing.digest, Some(Defect::Missing)),
        (cut.digest, Some(Defect::Damaged)),
        (intact.digest, None),
    ];
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_store_that_is_down_says_nothing_about_its_objects() {
    let world = World::new(&["us", "eu"]).await;
    world.push_blob("us", b"content").await;
    world.unmount("us");
    match defects(&world, "us").await {
        Err(StoreCheckError::Store(error)) => {
            assert_eq!(error.kind(), StorageErrorKind::Unavailable);
        }
        other => panic!("{other:?}"),
    }
}
