//! The log of pulls on its way into the database.

use roadstead_metadata::Actor;
use roadstead_oci::{MediaType, Reference};
use roadstead_runtime::Shutdown;

use super::world::World;
use crate::Writes;

fn note(world: &World, count: usize) {
    let reference: Reference = "latest".parse().unwrap();
    for _ in 0..count {
        world.registry.note_pull(
            &world.repository,
            &reference,
            &MediaType::OCI_MANIFEST,
            &Actor::default(),
        );
    }
}

#[tokio::test]
async fn a_pull_is_noted_without_the_database_and_the_oldest_notes_go_when_there_is_no_room() {
    let world = World::new().await;
    world.database.close().await;
    note(&world, 10_000);
    assert_eq!(world.registry.dropped_pull_notes(), 0);
    for _ in 0..2 {
        assert!(world.registry.write_pull_notes().await.is_err());
    }
    assert_eq!(
        world.registry.dropped_pull_notes(),
        0,
        "what the database does not take at present is kept"
    );
    note(&world, 7);
    assert_eq!(world.registry.dropped_pull_notes(), 7);
}

#[tokio::test]
async fn what_was_noted_is_written_at_the_latest_when_the_registry_stops() {
    let world = World::new().await;
    note(&world, 1_234);
    let shutdown = Shutdown::default();
    shutdown.request();
    world.registry.keep_books(&shutdown).await;
    world.database.close().await;
    world
        .registry
        .write_pull_notes()
        .await
        .expect("nothing is left to write");
}

#[tokio::test]
async fn a_registry_that_only_reads_notes_nothing() {
    let world = World::with(|options| options.writes = Writes::ReadOnly).await;
    note(&world, 3);
    world.database.close().await;
    world
        .registry
        .write_pull_notes()
        .await
        .expect("there is nothing to write");
}
