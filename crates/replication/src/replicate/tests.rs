//! What becomes of one job.

mod buckets;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roadstead_metadata::{JobId, StorageId};
use roadstead_queue::{Worker, WorkerOptions};
use roadstead_runtime::Tasks;
use roadstead_storage::{Operation, StorageErrorKind};

use roadstead_oci::{Algorithm, Digest};

use super::*;
use crate::QUEUE;
use crate::world::{PATIENCE, World, name};

fn retry_reason(outcome: &JobOutcome) -> &str {
    match outcome {
        JobOutcome::Retry { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn staged_files(root: &Path) -> usize {
    fs::read_dir(root.join("uploads")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_pushed_image_is_copied_verified_and_recorded_and_no_job_is_left() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world
        .push_image("us", "v1", &[b"layer one", &vec![9; 3_000_000]])
        .await;
    assert_eq!(world.work().await, vec![JobOutcome::Recorded; 3]);
    for blob in &blobs {
        assert_eq!(world.present(blob).await, ["eu", "us"]);
        let copied = fs::read(world.object("eu", blob)).unwrap();
        assert_eq!(Digest::of(Algorithm::Sha256, &copied), blob.digest);
    }
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn there_is_one_job_for_each_blob_and_target_however_often_it_is_wanted() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    world.put_manifest("v2", &blobs).await;
    world.replication.reconcile(|_| ()).await.unwrap();
    world.handle(&world.quays_job(&blobs[1])).await;
    assert_eq!(world.jobs().await, 4);
    assert_eq!(world.work().await, vec![JobOutcome::Recorded; 4]);
    assert_eq!(world.work().await, []);
}

#[tokio::test]
async fn a_row_of_quays_becomes_a_job_for_each_location_that_lacks_the_blob() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let blob = world.push_blob("us", b"content").await;
    assert_eq!(
        world.handle(&world.quays_job(&blob)).await,
        JobOutcome::Done
    );
    assert_eq!(world.work().await, vec![JobOutcome::Recorded; 2]);
    assert_eq!(world.present(&blob).await, ["ap", "eu", "us"]);
    assert_eq!(
        world.handle(&world.quays_job(&blob)).await,
        JobOutcome::Obsolete
    );
}

#[tokio::test]
async fn a_dozen_rows_of_quays_for_one_blob_are_worked_off_with_one_copy_for_each_location() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let blob = world.push_blob("us", b"base layer").await;
    for _ in 0..12 {
        assert_eq!(
            world.handle(&world.quays_job(&blob)).await,
            JobOutcome::Done
        );
    }
    assert_eq!(world.jobs().await, 2);
    // A namespace that is gone by now has no regions; what every blob must reach it must reach all the same.
    let mut gone = world.quays_job(&blob);
    gone.body = format!(
        r#"{{"namespace_user_id": 999999, "storage_id": "{}"}}"#,
        blob.uuid
    );
    assert_eq!(world.handle(&gone).await, JobOutcome::Done);
    assert_eq!(world.work().await, vec![JobOutcome::Recorded; 2]);
    for job in [world.quays_job(&blob), gone] {
        assert_eq!(world.handle(&job).await, JobOutcome::Obsolete);
    }
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn a_damaged_source_is_found_the_next_one_used_and_the_damage_repaired() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    let content = fs::read(world.object("us", &blob)).unwrap();
    // Only `eu` gets its copy now.
    world.faults("ap").take_down();
    let mut outcomes = world.work().await;
    outcomes.retain(|outcome| *outcome != JobOutcome::Recorded);
    assert!(
        retry_reason(&outcomes[0]).contains("not available"),
        "{outcomes:?}"
    );
    world.faults("ap").heal();
    let mut damaged = content.clone();
    damaged[3] ^= 1;
    fs::write(world.object("us", &blob), &damaged).unwrap();

    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["ap", "eu"]);
    assert_eq!(fs::read(world.object("ap", &blob)).unwrap(), content);
    assert_eq!(
        world.work().await,
        [JobOutcome::Recorded],
        "the damaged copy was wanted again"
    );
    assert_eq!(world.present(&blob).await, ["ap", "eu", "us"]);
    assert_eq!(fs::read(world.object("us", &blob)).unwrap(), content);
}

#[tokio::test]
async fn the_only_copy_keeps_its_placement_although_it_is_missing_and_the_job_stays_with_the_reason()
 {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    fs::remove_file(world.object("us", &blob)).unwrap();
    let outcomes = world.work().await;
    assert!(
        retry_reason(&outcomes[0]).contains("location `us` does not hold the object"),
        "{outcomes:?}"
    );
    assert_eq!(world.present(&blob).await, ["us"]);
    assert_eq!(world.jobs().await, 1);
}

#[tokio::test]
async fn a_source_that_only_seemed_damaged_keeps_its_placement() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let blob = world.push_image("us", "v1", &[b"layer"]).await.remove(1);
    world.work().await;
    fs::remove_file(world.object("ap", &blob)).unwrap();
    let report = world
        .replication
        .report_lost(&name("ap"), &[blob.storage], "test")
        .await
        .unwrap();
    assert_eq!(report.wanted, [blob.storage]);
    // The first look at the source's object says that it is not there.
    world
        .faults("us")
        .fail_next(Operation::Read, 1, StorageErrorKind::NotFound);
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["ap", "eu", "us"]);
}

#[tokio::test]
async fn a_target_that_lies_or_is_full_is_not_recorded_and_gets_its_copy_later() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    let faults = world.faults("eu");
    for (fault, complaint) in [
        (
            (|faults| faults.flip_written_byte(2)) as fn(&roadstead_storage::faults::Faults),
            "gave back other bytes",
        ),
        (|faults| faults.lose_publications(1), "does not hold it"),
        (|faults| faults.fill_after(1), "the target is full"),
    ] {
        fault(faults);
        let outcomes = world.work().await;
        assert!(
            retry_reason(&outcomes[0]).contains(complaint),
            "{outcomes:?}"
        );
        assert_eq!(world.present(&blob).await, ["us"]);
        assert_eq!(staged_files(world.location("eu").root().unwrap()), 0);
        faults.heal();
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}

#[tokio::test]
async fn a_dead_source_for_three_hours_costs_nothing_but_time() {
    let world = World::new(&["us", "eu"]).await;
    let layers: Vec<Vec<u8>> = (0_u8..10).map(|index| vec![index; 1000]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let blobs = world.push_image("us", "v1", &layers).await;
    world.unmount("us");
    let tasks = Tasks::new();
    start_worker(&world, &tasks);
    for _ in 0..3 * 60 {
        world.clock.advance(Duration::from_mins(1));
        world.database().ping().await.unwrap();
    }
    assert_eq!(world.jobs().await, blobs.len() as u64, "no job has expired");
    world.mount("us");
    tokio::time::timeout(PATIENCE, async {
        while world.jobs().await > 0 {
            world.clock.advance(Duration::from_mins(1));
        }
    })
    .await
    .unwrap();
    assert!(tasks.stop(PATIENCE).await);
    for blob in &blobs {
        assert_eq!(world.present(blob).await, ["eu", "us"]);
    }
}

#[tokio::test]
async fn copies_that_were_put_off_are_made_as_soon_as_the_location_is_back() {
    let world = World::new(&["us", "eu"]).await;
    let layers: Vec<Vec<u8>> = (0_u8..10).map(|index| vec![index; 1000]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let blobs = world.push_image("us", "v1", &layers).await;
    world.faults("eu").take_down();
    let tasks = Tasks::new();
    start_worker(&world, &tasks);
    tasks.spawn({
        let (replication, shutdown) = (world.replication.clone(), tasks.shutdown());
        async move { replication.keep_prompt(&shutdown).await }
    });
    // They fail until each is put off for up to a quarter of an hour.
    for _ in 0..2 * 60 {
        world.clock.advance(Duration::from_mins(1));
        world.database().ping().await.unwrap();
    }
    assert_eq!(world.jobs().await, blobs.len() as u64);
    world.faults("eu").heal();
    let back = world.replication.environment.now();
    tokio::time::timeout(PATIENCE, async {
        while world.jobs().await > 0 {
            world.location("eu").probe().await.ok();
            world.clock.advance(Duration::from_secs(1));
        }
    })
    .await
    .unwrap();
    let waited = world.replication.environment.now() - back;
    assert!(waited < chrono::TimeDelta::minutes(2), "{waited}");
    assert!(tasks.stop(PATIENCE).await);
    for blob in &blobs {
        assert_eq!(world.present(blob).await, ["eu", "us"]);
    }
}

fn start_worker(world: &World, tasks: &Tasks) {
    let options = WorkerOptions {
        concurrency: NonZeroUsize::new(3).unwrap(),
        ..WorkerOptions::new(QUEUE)
    };
    let replication = world.replication.clone();
    let worker = Worker::new(
        replication.database.clone(),
        replication.environment.clone(),
        options,
        replication.wake_up.clone(),
    );
    let shutdown = tasks.shutdown();
    tasks.spawn(async move { worker.run(Arc::new(replication), shutdown).await });
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_a_copy_leaves_no_object_and_the_job_to_another() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world
        .push_image("us", "v1", &[&vec![5; 100_000]])
        .await
        .remove(1);
    let replication = world.replication.clone();
    let options = WorkerOptions::new(QUEUE);
    let lease = options.lease;
    let worker = Worker::new(
        replication.database.clone(),
        replication.environment.clone(),
        options,
        replication.wake_up.clone(),
    );
    world.faults("eu").stall(Operation::Sync);
    {
        let run = worker.run(Arc::new(replication), Shutdown::default());
        tokio::pin!(run);
        tokio::select! {
            () = &mut run => unreachable!("nobody stopped it"),
            () = world.faults("eu").until_stalled(2) => {}
        }
    }
    world.faults("eu").heal();
    assert!(!world.object("eu", &blob).exists());
    assert_eq!(world.work().await, [], "the leases still hold");
    world.clock.advance(lease);
    assert_eq!(world.work().await, vec![JobOutcome::Recorded; 2]);
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}

#[tokio::test]
async fn the_end_of_the_process_gives_the_job_back_and_discards_what_was_staged() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    let tasks = Tasks::new();
    world.faults("eu").stall(Operation::Sync);
    start_worker(&world, &tasks);
    world.faults("eu").until_stalled(1).await;
    assert!(tasks.stop(PATIENCE).await);
    assert_eq!(staged_files(world.location("eu").root().unwrap()), 0);
    world.faults("eu").heal();
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}

#[tokio::test]
async fn a_job_for_a_blob_that_is_gone_is_obsolete() {
    let world = World::new(&["us", "eu"]).await;
    let mut blob = world.push_blob("us", b"content").await;
    blob.uuid = "00000000-0000-4000-8000-000000000000".to_owned();
    assert_eq!(
        world.handle(&world.quays_job(&blob)).await,
        JobOutcome::Obsolete
    );
}

#[tokio::test]
async fn a_copy_that_arrives_after_its_blob_was_deleted_is_put_on_the_list_of_those_to_be_deleted()
{
    let world = World::new(&["us", "eu"]).await;
    let mut blob = world.push_blob("us", b"content").await;
    let job = world.quays_job(&blob);
    blob.digest = Digest::of(Algorithm::Sha256, b"deleted meanwhile");
    let publication = world
        .replication
        .begin_publication(&blob, world.location("eu"))
        .await
        .unwrap()
        .expect("the blob is there still");
    // As if the rows of the blob had gone between its publication and its record.
    blob.storage = StorageId(4711);
    let arrival = world
        .replication
        .record(&blob, publication, &job)
        .await
        .unwrap();
    assert_eq!(arrival, Arrival::NotWanted);
    let doomed = world.database().doomed_objects().await.unwrap();
    assert_eq!(doomed.len(), 1);
    assert_eq!((doomed[0].location.as_str(), doomed[0].objects), ("eu", 1));
}

#[tokio::test]
async fn a_blob_that_was_deleted_while_it_was_copied_never_appears_at_the_target() {
    let world = World::new(&["us", "eu"]).await;
    let mut blob = world.push_blob("us", b"content").await;
    // As if its rows had gone since the copy began.
    blob.storage = StorageId(4711);
    let content = BlobContent {
        digest: blob.digest.clone(),
        size: blob.size,
    };
    let job = world.quays_job(&blob);
    let outcomes = world
        .replication
        .bring(
            &blob,
            &content,
            &[(&job, world.location("eu"))],
            &[name("us")],
            &Shutdown::default(),
        )
        .await
        .unwrap();
    assert_eq!(outcomes[&job.id], JobOutcome::Obsolete);
    assert!(!world.object("eu", &blob).exists());
    assert_eq!(staged_files(world.location("eu").root().unwrap()), 0);
}

#[tokio::test]
async fn an_object_that_an_earlier_attempt_left_is_recorded_without_asking_a_source() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    fs::create_dir_all(world.object("eu", &blob).parent().unwrap()).unwrap();
    fs::copy(world.object("us", &blob), world.object("eu", &blob)).unwrap();
    world.faults("us").take_down();
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}

#[tokio::test]
async fn the_empty_blob_is_replicated_although_no_store_holds_it() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[b""]).await.remove(1);
    fs::remove_file(world.object("us", &blob)).unwrap();
    assert_eq!(world.work().await, vec![JobOutcome::Recorded; 2]);
    assert_eq!(fs::read(world.object("eu", &blob)).unwrap(), b"");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_put_off_with_the_reason_and_kept() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_blob("us", b"content").await;
    let mut job = world.quays_job(&blob);
    job.id = JobId(1);
    job.body = r#"{"version": 9}"#.to_owned();
    match world.handle(&job).await {
        JobOutcome::Postpone { reason, after } => {
            assert!(reason.contains("cannot be read"), "{reason}");
            assert_eq!(after, UNREADABLE_AFTER);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_location_that_is_being_removed_gets_no_copies() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    let now = world.replication.environment.now();
    let removing = roadstead_metadata::LocationState::Removing;
    world
        .database()
        .set_location_state(&name("eu"), removing, now)
        .await
        .unwrap();
    assert_eq!(world.work().await, [JobOutcome::Obsolete]);
    assert!(!world.object("eu", &blob).exists());
}

#[tokio::test]
async fn while_one_source_is_paused_another_is_read() {
    let world = World::new(&["us", "eu", "ap"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    world.faults("ap").take_down();
    world.work().await;
    world.faults("ap").heal();
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
    let us = name("us");
    let now = world.replication.environment.now();
    let database = world.database();
    database.pause_copies(Some(&us), now).await.unwrap();
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.work().await, [JobOutcome::Recorded]);
    assert_eq!(world.present(&blob).await, ["ap", "eu", "us"]);
}

#[tokio::test]
async fn what_was_staged_of_a_copy_that_failed_is_not_gone_on_with() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    let replication = &world.replication;
    world.faults("eu").take_down();
    let claimed = world.claim().await;
    let job = &claimed[0];
    let progress = roadstead_metadata::CopyProgress {
        job: job.id,
        upload: replication.environment.ids.uuid(),
        offset: 3,
        parts: String::new(),
    };
    let state = roadstead_oci::Digester::new(Algorithm::Sha256).save();
    let database = world.database();
    let noted = database.note_copy_progress(std::slice::from_ref(&progress), &state);
    noted.await.unwrap();
    let begun = database.copy_progress(&claimed).await.unwrap();
    assert_eq!(begun[0].progress, progress);
    let large = BlobContent {
        digest: blob.digest.clone(),
        size: 1 << 30,
    };
    let interrupted = [(JobId(job.id.0 + 1), Ok(Arrival::Recorded))];
    replication.begin_anew(&large, &interrupted).await.unwrap();
    assert_eq!(database.copy_progress(&claimed).await.unwrap().len(), 1);
    let failed = [(job.id, Err(no_source(&blob)))];
    replication.begin_anew(&large, &failed).await.unwrap();
    assert!(database.copy_progress(&claimed).await.unwrap().is_empty());
}
