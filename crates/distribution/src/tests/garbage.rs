//! Garbage collection over real directories: what leaves, what a store in trouble delays, and pushes at the same moment.

mod model;

use std::time::Duration;

use roadstead_metadata::{MarkDeleted, Publishing, Repository};
use roadstead_oci::{Digest, Reference};
use roadstead_runtime::{Clock, Shutdown};
use roadstead_storage::{ObjectKey, Operation, StorageErrorKind};

use super::world::{World, content, sha256};
use crate::{GarbageCollector, GarbageOptions, GarbageParts, GarbageRound, PushError};

/// Quay's window of a new namespace.
const WINDOW: Duration = Duration::from_hours(14 * 24);

/// A millisecond less.
const ALMOST: Duration = Duration::from_millis(14 * 24 * 60 * 60 * 1000 - 1);

impl World {
    pub(super) fn collector(&self) -> GarbageCollector {
        self.collector_with(GarbageOptions::default())
    }

    fn collector_with(&self, options: GarbageOptions) -> GarbageCollector {
        GarbageCollector::new(GarbageParts {
            database: self.database.clone(),
            locations: self.registry.locations().clone(),
            environment: self.environment(),
            options,
        })
    }

    /// Rounds until nothing is left to do now.
    async fn collect(&self) -> GarbageRound {
        self.collector().run_to_end(|_| {}).await.unwrap()
    }

    async fn delete(&self, repository: &Repository, reference: &str) {
        let reference: Reference = reference.parse().unwrap();
        self.registry
            .manifests()
            .delete(
                repository,
                &reference,
                &roadstead_metadata::Actor::default(),
            )
            .await
            .unwrap();
    }

    fn has_object(&self, location: &str, digest: &Digest) -> bool {
        self.file(location, &ObjectKey::Blob(digest.clone()))
            .exists()
    }

    /// How many objects a location holds.
    fn objects(&self, location: &str) -> usize {
        self.object_names(location).len()
    }

    /// The hex digests of what a location holds.
    fn object_names(&self, location: &str) -> Vec<String> {
        let root = self
            .file(location, &ObjectKey::Probe)
            .parent()
            .unwrap()
            .join("sha256");
        let names = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
            match std::fs::read_dir(folder) {
                Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
                Err(_) => Vec::new(),
            }
        };
        let mut found: Vec<String> = names(&root)
            .iter()
            .flat_map(|shard| names(shard))
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort();
        found
    }

    /// A blob at both locations that nothing holds any more.
    async fn abandoned(&self, seed: u64) -> Digest {
        let digest = self.push(&content(seed, 2_000)).await;
        self.replicate(&digest).await;
        self.clock.advance(Duration::from_hours(1));
        digest
    }
}

#[tokio::test]
async fn an_image_leaves_every_location_when_the_window_of_its_tag_is_over() {
    let world = World::new().await;
    let layer = content(1, 5_000);
    world.push_image(Some("v1"), &[&layer]).await;
    for blob in [b"{}".as_slice(), &layer] {
        world.replicate(&sha256(blob)).await;
    }
    let tagged = world.clock.now();
    world.delete(&world.repository, "v1").await;
    world.clock.advance(ALMOST);
    assert!(world.collect().await.removed.is_nothing());
    assert_eq!((world.objects("us"), world.objects("eu")), (2, 2));
    world.clock.advance(Duration::from_millis(1));
    let report = world.collector().report().await.unwrap();
    assert_eq!(
        (
            report.forecast.tags,
            report.forecast.manifests,
            report.forecast.blobs,
            report.forecast.bytes
        ),
        (1, 1, 2, 5_002)
    );
    assert_eq!(
        world.collector().names(10).await.unwrap().tags,
        ["admin/app:v1"]
    );
    let done = world.collect().await;
    assert_eq!(done.failures, 0);
    assert_eq!(
        (
            done.removed.tags,
            done.removed.manifests,
            done.removed.blobs,
            done.removed.objects
        ),
        (1, 1, 2, 4)
    );
    assert_eq!((world.objects("us"), world.objects("eu")), (0, 0));
    let report = world.collector().report().await.unwrap();
    assert!(report.waiting.is_empty());
    assert!(report.looked_at.unwrap() >= tagged + WINDOW - Duration::from_mins(5));
    let last = report.last_run.unwrap();
    assert_eq!(last.removed, done.removed);
}

#[tokio::test]
async fn a_location_that_does_not_answer_delays_its_own_objects_only() {
    let world = World::new().await;
    let digest = world.abandoned(2).await;
    world.eu.take_down();
    let done = world.collect().await;
    assert_eq!((done.removed.blobs, done.removed.objects), (1, 1));
    assert!(done.failures > 0);
    assert!(!world.has_object("us", &digest));
    assert!(world.has_object("eu", &digest));
    let report = world.collector().report().await.unwrap();
    assert_eq!(report.waiting.len(), 1);
    let waiting = &report.waiting[0];
    assert!(waiting.configured);
    assert_eq!(
        (
            waiting.doomed.location.as_str(),
            waiting.doomed.objects,
            waiting.doomed.bytes,
            waiting.doomed.failing
        ),
        ("eu", 1, 2_000, 1)
    );
    assert!(waiting.doomed.last_failure.is_some());
    world.eu.heal();
    world.clock.advance(Duration::from_mins(15));
    let done = world.collect().await;
    assert_eq!((done.removed.objects, done.failures), (1, 0));
    assert!(!world.has_object("eu", &digest));
}

#[tokio::test]
async fn what_a_location_has_to_lose_that_is_not_configured_here_stays_on_the_list() {
    let world = World::new().await;
    let digest = world.push(&content(3, 2_000)).await;
    world
        .database
        .ensure_locations(&["mars".parse().unwrap()])
        .await
        .unwrap();
    let blob = world
        .database
        .find_blob_anywhere(&digest)
        .await
        .unwrap()
        .unwrap();
    world.record_copy(&blob, &"mars".parse().unwrap()).await;
    world.clock.advance(Duration::from_hours(1));
    let done = world.collect().await;
    assert_eq!((done.removed.objects, done.failures), (1, 0));
    let report = world.collector().report().await.unwrap();
    assert_eq!(report.waiting.len(), 1);
    assert_eq!(report.waiting[0].doomed.location.as_str(), "mars");
    assert!(!report.waiting[0].configured);
    assert_eq!(report.waiting[0].doomed.failing, 0);
}

#[tokio::test]
async fn an_object_that_is_absent_already_counts_as_deleted() {
    let world = World::new().await;
    let digest = world.abandoned(4).await;
    std::fs::remove_file(world.file("us", &ObjectKey::Blob(digest))).unwrap();
    let done = world.collect().await;
    assert_eq!((done.removed.objects, done.failures), (2, 0));
    assert!(world.collector().report().await.unwrap().waiting.is_empty());
}

#[tokio::test]
async fn a_push_of_the_same_bytes_waits_for_the_deletion_and_keeps_its_object() {
    let world = World::new().await;
    let blob = content(5, 2_000);
    let digest = world.abandoned(5).await;
    world.us.stall(Operation::Delete);
    let collector = world.collector();
    let push = async {
        world.us.until_stalled(1).await;
        let pushing = world.push(&blob);
        let helping = async {
            // The push looks again every 100 ms of this clock.
            for _ in 0..3 {
                tokio::task::yield_now().await;
                world.clock.advance(Duration::from_millis(100));
            }
            world.us.heal();
            loop {
                world.clock.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { digest = pushing => digest, () = helping => unreachable!() }
    };
    let (collected, pushed) = tokio::join!(collector.run_once(), push);
    assert_eq!(collected.unwrap().removed.blobs, 1);
    assert_eq!(pushed, digest);
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    world.collect().await;
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn a_deletion_that_ran_out_of_time_keeps_pushes_of_the_same_bytes_off_until_it_cannot_happen_any_more()
 {
    let world = World::with(|options| options.deletion_wait = Duration::ZERO).await;
    let blob = content(6, 2_000);
    let digest = world.abandoned(6).await;
    world
        .us
        .fail_next(Operation::Delete, 1, StorageErrorKind::Timeout);
    let done = world.collector().run_once().await.unwrap();
    assert_eq!(done.failures, 1);
    let refused = world
        .registry
        .uploads()
        .monolithic(&world.repository, &digest, None, super::world::whole(&blob))
        .await
        .unwrap_err();
    assert!(matches!(refused, PushError::ObjectBusy { .. }), "{refused}");
    assert_eq!(refused.code(), roadstead_oci::ErrorCode::Unavailable);
    assert_eq!(world.staged("us").await, 0);
    world.clock.advance(Duration::from_mins(15));
    world.push(&blob).await;
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    world.collect().await;
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn a_push_that_comes_before_the_deletion_finds_its_object_kept() {
    let world = World::new().await;
    let blob = content(7, 2_000);
    let digest = world.abandoned(7).await;
    world.us.take_down();
    world.collector().run_once().await.unwrap();
    world.us.heal();
    // The row is gone and the object waits to be deleted.
    assert!(
        world
            .database
            .find_blob_anywhere(&digest)
            .await
            .unwrap()
            .is_none()
    );
    assert!(world.has_object("us", &digest));
    world.push(&blob).await;
    world.clock.advance(Duration::from_mins(15));
    world.collect().await;
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn an_object_that_was_published_and_never_recorded_is_deleted_after_an_hour() {
    let world = World::new().await;
    let digest = sha256(b"left by a crash");
    let now = world.clock.now();
    let publishing = world
        .database
        .begin_publication(
            &digest,
            world.location("us").name(),
            now + Duration::from_hours(1),
            now,
        )
        .await
        .unwrap();
    assert!(matches!(publishing, Publishing::Begun(_)));
    let file = world.file("us", &ObjectKey::Blob(digest.clone()));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, b"left by a crash").unwrap();
    world.clock.advance(Duration::from_mins(59));
    world.collect().await;
    assert!(world.has_object("us", &digest));
    world.clock.advance(Duration::from_mins(1));
    world.collect().await;
    assert!(!world.has_object("us", &digest));
}

#[tokio::test]
async fn deleted_repositories_and_namespaces_leave_with_everything_in_them() {
    let world = World::new().await;
    let shared = content(8, 1_000);
    world.push_image(Some("v1"), &[&shared]).await;
    world.push_into(&world.other, &shared).await;
    world.push_into(&world.other, &content(9, 1_000)).await;
    let now = world.clock.now();
    let environment = world.environment();
    let marked = world
        .database
        .mark_repository_deleted(
            &MarkDeleted {
                subject: world.other.id,
                ids: environment.ids.as_ref(),
                available_at: now,
                now,
            },
            &roadstead_metadata::Actor::default(),
        )
        .await
        .unwrap();
    assert!(marked);
    let off = world.collector_with(GarbageOptions {
        repositories: false,
        namespaces: false,
        ..GarbageOptions::default()
    });
    assert_eq!(off.run_once().await.unwrap().removed.repositories, 0);
    let done = world.collect().await;
    assert_eq!(done.removed.repositories, 1);
    assert_eq!(done.removed.blobs, 1);
    assert_eq!(world.objects("us"), 2);
    world
        .database
        .mark_namespace_deleted(&MarkDeleted {
            subject: world.repository.namespace_id,
            ids: environment.ids.as_ref(),
            available_at: now + Duration::from_hours(1),
            now,
        })
        .await
        .unwrap();
    assert!(world.collect().await.removed.is_nothing());
    world.clock.advance(Duration::from_hours(1));
    let done = world.collect().await;
    assert_eq!((done.removed.namespaces, done.removed.repositories), (1, 1));
    assert_eq!(world.objects("us"), 0);
}

#[tokio::test]
async fn nothing_is_removed_while_the_collection_is_switched_off() {
    let world = World::new().await;
    world.abandoned(10).await;
    let off = world.collector_with(GarbageOptions {
        content: false,
        repositories: false,
        namespaces: false,
        ..GarbageOptions::default()
    });
    assert!(off.run_once().await.unwrap().removed.is_nothing());
    off.keep_collecting(&Shutdown::default()).await;
    assert_eq!(world.objects("us"), 1);
}

#[tokio::test]
async fn the_collection_goes_on_by_itself_until_the_shutdown() {
    let world = World::new().await;
    let digest = world.abandoned(11).await;
    let (shutdown, collector) = (Shutdown::default(), world.collector());
    let watching = async {
        while world.has_object("us", &digest) || world.has_object("eu", &digest) {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        shutdown.request();
    };
    tokio::join!(collector.keep_collecting(&shutdown), watching);
    assert_eq!((world.objects("us"), world.objects("eu")), (0, 0));
}
