//! The same of what is done besides pushes: the schema, keys, locations, deletions and garbage collection.

use super::*;

/// A repository with an image that no other has, whose only tag is long past and whose blobs nobody protects.
async fn garbage(world: &World, number: usize) -> Repository {
    let repository = world.repository(&format!("garbage{number}")).await;
    let layer = format!("garbage {number}");
    for content in ["{}", &layer] {
        world.blob_in(&repository, content, &us()).await;
    }
    let manifest = image(&[&layer]);
    let stored = world
        .database
        .put_manifest(&PutManifest {
            repository: &repository,
            digest: &manifest.digest(Algorithm::Sha256),
            manifest: &manifest,
            labels: PushedLabels::NONE,
            tags: &tags(number),
            untagged_until: later(world.now, 3600),
            demand: None,
            queue: QUEUE,
            features: world.features,
            actor: &Actor::default(),
            ids: &world.ids,
            now: world.now,
        })
        .await
        .unwrap();
    assert!(matches!(stored, PutManifestOutcome::Stored { .. }));
    let of = format!("WHERE repository_id = {}", repository.id.0);
    world
        .sql(&format!("UPDATE tag SET lifetime_end_ms = 1 {of}"))
        .await;
    world.sql(&format!("DELETE FROM uploadedblob {of}")).await;
    repository
}

async fn collect_tags(world: &World, repository: &Repository) -> Result<(), MetadataError> {
    let collection = world.database.collection(world.features).await?;
    world
        .database
        .collect_tags(&collection, repository.id, world.now, 10)
        .await
        .map(drop)
}

/// One round over the blobs. True when there was something to look at.
async fn collect_blobs(world: &World) -> Result<bool, MetadataError> {
    let collection = world.database.collection(world.features).await?;
    let collected = world
        .database
        .collect_blobs(&collection, world.now, later(world.now, 60), 10)
        .await?;
    Ok(collected.looked_at > 0)
}

/// What one image leaves for the collection of blobs, and nothing else.
async fn freed(world: &World, number: usize) {
    while collect_blobs(world).await.unwrap() {}
    let repository = garbage(world, number).await;
    collect_tags(world, &repository).await.unwrap();
}

async fn claim_doomed(world: &World, now: Timestamp) -> Result<Vec<DoomedObject>, MetadataError> {
    world
        .database
        .claim_doomed_objects(&ClaimObjects {
            location: &us(),
            limit: 10,
            now,
            lease_until: later(now, 60),
            token: world.ids.uuid(),
        })
        .await
}

/// What one image leaves to be deleted at a location, and nothing else.
async fn doomed(world: &World, number: usize) {
    let left = claim_doomed(world, later(world.now, 3600)).await.unwrap();
    world
        .database
        .complete_doomed_objects(&us(), &left)
        .await
        .unwrap();
    freed(world, number).await;
    while collect_blobs(world).await.unwrap() {}
}

fn mark<T>(world: &World, subject: T) -> MarkDeleted<'_, T> {
    MarkDeleted {
        subject,
        ids: &world.ids,
        available_at: world.now,
        now: world.now,
    }
}

#[tokio::test]
async fn tags_and_manifests_are_collected_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(garbage, async |world, repository| {
            collect_tags(world, repository).await
        })
        .await;
}

#[tokio::test]
async fn blobs_are_collected_and_their_objects_doomed_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(freed, async |world, ()| {
            collect_blobs(world).await.map(drop)
        })
        .await;
}

#[tokio::test]
async fn doomed_objects_are_taken_and_taken_off_the_list_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(doomed, async |world, ()| {
            claim_doomed(world, world.now).await.map(drop)
        })
        .await;
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| {
                doomed(world, number).await;
                claim_doomed(world, world.now).await.unwrap()
            },
            async |world, gone| {
                world
                    .database
                    .complete_doomed_objects(&us(), gone)
                    .await
                    .map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_repository_is_marked_as_deleted_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(garbage, async |world, repository| {
            let mark = mark(world, repository.id);
            world
                .database
                .mark_repository_deleted(&mark, &world.actor)
                .await
                .map(drop)
        })
        .await;
}

#[tokio::test]
async fn a_key_is_shared_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |_, number| format!("key {number}"),
            async |world, kid| {
                world
                    .database
                    .add_service_key(&NewServiceKey {
                        kid,
                        service: "quay",
                        name: "here",
                        jwk: "{}",
                        created: world.now,
                        expires: later(world.now, 3600),
                    })
                    .await
            },
        )
        .await;
}

#[tokio::test]
async fn a_location_is_forgotten_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| {
                let location = LocationName::new(&format!("location{number}")).unwrap();
                let locations = std::slice::from_ref(&location);
                world.database.ensure_locations(locations).await.unwrap();
                location
            },
            async |world, location| {
                world
                    .database
                    .forget_location(location, world.now)
                    .await
                    .map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn the_schema_is_made_whole_or_not_at_all() {
    // Some of its places: each costs a database.
    for at in (2..ENDS_MAX).step_by(8) {
        let server = Postgres::shared().database();
        let proxy = Proxy::start(server.port).await;
        let DatabaseOptions::Postgres(mut options) = options_of(&PostgresDatabase {
            port: proxy.port,
            ..server.clone()
        }) else {
            panic!("it is a server");
        };
        options.tls.mode = SslMode::Disable;
        options.connections = 1;
        let database = Database::open(&DatabaseOptions::Postgres(options))
            .await
            .unwrap();
        proxy.cut_at(at);
        let migrated = database.migrate().await;
        if !proxy.rest() {
            migrated.unwrap();
            assert!(at > 50, "it has more than {at} requests and answers");
            return;
        }
        let tables = server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
        database.migrate().await.unwrap();
        match migrated {
            Ok(()) => {}
            // When the answer to the commit is lost, everything was made.
            Err(MetadataError::Unavailable { .. }) => {
                let whole =
                    server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
                assert!(
                    tables == "0" || tables == whole,
                    "cut at {at}: {tables} of {whole}"
                );
            }
            Err(error) => panic!("cut at {at}: {error}"),
        }
        database.check_schema().await.unwrap();
        database.close().await;
    }
    panic!("never came to its end without a cut");
}
