//! The figures of a report, and waiting for completeness.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use roadstead_queue::{Worker, WorkerOptions};
use roadstead_runtime::{Clock, ManualClock, Tasks};

use super::*;
use crate::QUEUE;
use crate::world::{PATIENCE, World};

const LOOK: StatusOptions = StatusOptions { store_check: true };

fn at<'a>(report: &'a StatusReport, location: &str) -> &'a LocationStatus {
    report
        .locations
        .iter()
        .find(|status| status.location.as_str() == location)
        .unwrap()
}

fn amount(blobs: u64, bytes: u64) -> Amount {
    Amount { blobs, bytes }
}

fn images(report: &StatusReport) -> Vec<String> {
    report
        .images
        .iter()
        .map(|image| image.image.clone())
        .collect()
}

#[tokio::test]
async fn an_empty_registry_is_complete() {
    let world = World::new(&["us", "eu"]).await;
    let report = world.replication.status(LOOK).await.unwrap();
    assert!(report.complete);
    assert_eq!(report.locations.len(), 2, "{report:?}");
    assert!(
        report
            .locations
            .iter()
            .all(|status| status.store == StoreStatus::Yes && status.default)
    );
}

#[tokio::test]
async fn what_is_missing_is_counted_with_its_age_its_failure_and_its_images() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    world.faults("eu").take_down();
    world.work().await;
    world.clock.advance(Duration::from_secs(90));
    let report = world
        .replication
        .status(StatusOptions { store_check: false })
        .await
        .unwrap();
    assert!(!report.complete);
    assert_eq!(at(&report, "us").present, amount(2, 17));
    assert!(at(&report, "us").is_complete());
    let eu = at(&report, "eu");
    assert_eq!(
        (eu.present, eu.missing, eu.lost),
        (amount(0, 0), amount(2, 17), amount(0, 0))
    );
    assert_eq!(
        (eu.queued, eu.failing, eu.oldest_gap_seconds),
        (2, 2, Some(90))
    );
    assert!(
        eu.last_failure
            .as_deref()
            .unwrap()
            .contains("not available"),
        "{eu:?}"
    );
    assert_eq!(report.jobs, 2);
    assert_eq!(images(&report), ["admin/app:v1"]);
    assert_eq!(report.images[0].other_blobs, 1);
    world.faults("eu").heal();
    world.work().await;
    assert!(world.replication.status(LOOK).await.unwrap().complete);
}

#[tokio::test]
async fn objects_that_a_store_does_not_hold_are_missing_unless_the_check_is_skipped() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world
        .push_image("us", "v1", &[b"layer", b"another layer"])
        .await;
    world.work().await;
    fs::remove_file(world.object("eu", &blobs[1])).unwrap();
    fs::write(world.object("eu", &blobs[2]), b"short").unwrap();
    let report = world.replication.status(LOOK).await.unwrap();
    assert!(!report.complete);
    let eu = at(&report, "eu");
    assert_eq!(
        (eu.present, eu.missing, eu.lost),
        (amount(1, 12), amount(2, 18), amount(2, 18))
    );
    assert_eq!(images(&report), ["admin/app:v1"]);
    let without = world
        .replication
        .status(StatusOptions { store_check: false })
        .await
        .unwrap();
    assert!(without.complete);
    assert_eq!(at(&without, "eu").store, StoreStatus::No);
}

#[tokio::test]
async fn an_unreadable_store_counts_all_its_blobs_and_says_why() {
    let world = World::new(&["us", "eu"]).await;
    for index in 0..22 {
        world
            .push_image("us", &format!("v{index}"), &[b"shared layer"])
            .await;
    }
    world.work().await;
    world.unmount("us");
    let report = world.replication.status(LOOK).await.unwrap();
    assert!(!report.complete);
    let us = at(&report, "us");
    assert_eq!(
        (us.present, us.unreadable.blobs, us.missing.blobs),
        (amount(0, 0), 23, 0)
    );
    match &us.store {
        StoreStatus::Unreadable { reason } => {
            assert!(reason.contains("location is not available"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(at(&report, "eu").is_complete());
    assert_eq!((report.images.len(), report.images_more), (20, true));
    world.mount("us");
    assert!(world.replication.status(LOOK).await.unwrap().complete);
}

#[tokio::test]
async fn the_json_form_is_stable() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[]).await;
    let report = world.replication.status(LOOK).await.unwrap();
    let value = serde_json::to_value(&report).unwrap();
    let digest = value["images"][0]["blob"].clone();
    let expected = serde_json::json!({
        "complete": false,
        "at": "2026-01-01T00:00:00Z",
        "locations": [
            {
                "location": "eu", "state": "active", "configured": true, "default": true,
                "present": {"blobs": 0, "bytes": 0}, "missing": {"blobs": 1, "bytes": 12}, "lost": {"blobs": 0, "bytes": 0},
                "unreadable": {"blobs": 0, "bytes": 0}, "queued": 1, "failing": 0,
                "oldest_gap": "2026-01-01T00:00:00Z", "oldest_gap_seconds": 0, "last_failure": null,
                "paused": false, "bytes_per_second": null, "eta_seconds": null, "store": {"checked": "yes"},
            },
            {
                "location": "us", "state": "active", "configured": true, "default": true,
                "present": {"blobs": 1, "bytes": 12}, "missing": {"blobs": 0, "bytes": 0}, "lost": {"blobs": 0, "bytes": 0},
                "unreadable": {"blobs": 0, "bytes": 0}, "queued": 0, "failing": 0,
                "oldest_gap": null, "oldest_gap_seconds": null, "last_failure": null,
                "paused": false, "bytes_per_second": null, "eta_seconds": null, "store": {"checked": "yes"},
            },
        ],
        "blobs_nowhere": 0,
        "jobs": 1,
        "images": [{"image": "admin/app:v1", "blob": digest, "other_blobs": 0}],
        "images_more": false,
    });
    assert_eq!(value, expected);
}

#[tokio::test]
async fn locations_are_listed_with_what_is_there_and_whether_they_work() {
    let world = World::with_defaults(&["us", "eu"], &["us"]).await;
    world.push_blob("eu", b"content").await;
    world.unmount("us");
    let listed = world.replication.list_locations().await.unwrap();
    let brief: Vec<_> = listed
        .iter()
        .map(|listing| {
            (
                listing.location.as_str(),
                listing.default,
                listing.reachable,
                listing.placed,
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("eu", false, Some(true), amount(1, 7)),
            ("us", true, Some(false), amount(0, 0))
        ]
    );
    assert!(
        listed[1]
            .problem
            .as_deref()
            .unwrap()
            .contains("not available")
    );
}

/// Waits while time passes and a worker works beside it.
async fn wait(world: &World, timeout: Duration) -> (StatusReport, Vec<Progress>) {
    let tasks = Tasks::new();
    let replication = world.replication.clone();
    let worker = Worker::new(
        replication.database.clone(),
        replication.environment.clone(),
        WorkerOptions::new(QUEUE),
        replication.wake_up.clone(),
    );
    let shutdown = tasks.shutdown();
    tasks.spawn(async move { worker.run(Arc::new(replication), shutdown).await });
    let mut shown = Vec::new();
    let options = WaitOptions {
        timeout: Some(timeout),
        status: LOOK,
        location: None,
    };
    let report = {
        let waiting = world
            .replication
            .wait(options, |progress| shown.push(progress.clone()));
        let time_passes = async {
            loop {
                world.clock.advance(Duration::from_millis(100));
                world.database().ping().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                report = waiting => report.unwrap(),
                () = time_passes => unreachable!("time does not end"),
            }
        })
        .await
        .unwrap()
    };
    assert!(tasks.stop(PATIENCE).await);
    (report, shown)
}

/// A clock on which a sleep passes at once, and takes its time all the same.
#[derive(Debug)]
struct Dream(Arc<ManualClock>);

#[async_trait::async_trait]
impl Clock for Dream {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.advance(duration);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn waiting_queues_every_gap_repairs_lost_objects_and_ends_when_nothing_is_missing() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer", b""]).await;
    world.work().await;
    let unqueued = world.push_blob("us", b"nobody asked for a copy").await;
    fs::remove_file(world.object("eu", &blobs[1])).unwrap();
    // Its only other copy is gone as well; the empty blob needs none.
    fs::remove_file(world.object("eu", &blobs[2])).unwrap();
    fs::remove_file(world.object("us", &blobs[2])).unwrap();
    let (report, shown) = wait(&world, Duration::from_hours(1)).await;
    assert!(report.complete, "{report:?}");
    assert!(shown.last().unwrap().missing.is_none());
    for blob in blobs.iter().chain([&unqueued]) {
        assert!(world.object("eu", blob).exists() && world.object("us", blob).exists());
    }
}

#[tokio::test]
async fn waiting_without_a_worker_ends_incomplete_when_the_time_is_up_and_says_since_when_nothing_moves()
 {
    let world = World::new(&["us", "eu"]).await;
    world.push_blob("us", b"content").await;
    let began = world.clock.now();
    let mut replication = world.replication.clone();
    replication.environment.clock = Arc::new(Dream(Arc::clone(&world.clock)));
    let options = WaitOptions {
        timeout: Some(Duration::from_mins(2)),
        status: LOOK,
        location: None,
    };
    let mut shown = Vec::new();
    let report = replication
        .wait(options, |progress| shown.push(progress.clone()))
        .await
        .unwrap();
    assert!(!report.complete);
    assert_eq!(report.at - began, chrono::TimeDelta::minutes(2));
    assert!(shown.len() >= 120, "{}", shown.len());
    for progress in shown {
        assert_eq!(
            (progress.missing, progress.still_since),
            (amount(1, 7), began)
        );
    }
}

#[tokio::test]
async fn waiting_outlasts_a_location_that_comes_back() {
    let world = World::new(&["us", "eu"]).await;
    world.push_blob("us", b"content").await;
    world.unmount("eu");
    let back_at = world.replication.environment.now() + chrono::TimeDelta::minutes(3);
    let (report, _) = {
        let comes_back = async {
            while world.replication.environment.now() < back_at {
                tokio::task::yield_now().await;
            }
            world.mount("eu");
        };
        let (waited, ()) = tokio::join!(wait(&world, Duration::from_hours(10)), comes_back);
        waited
    };
    assert!(report.complete, "{report:?}");
    assert!(report.at > back_at);
}

#[tokio::test]
async fn one_location_is_asked_about_as_if_there_were_no_other() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    let of = async |location: &str| {
        let location = crate::world::name(location);
        world
            .replication
            .location_status(&location, LOOK)
            .await
            .unwrap()
    };
    let us = of("us").await;
    assert!(us.complete);
    assert_eq!((us.locations.len(), us.images.len()), (1, 0));
    let eu = of("eu").await;
    assert!(!eu.complete);
    assert_eq!(at(&eu, "eu").missing, amount(2, 17));
    assert_eq!(images(&eu), ["admin/app:v1"]);
}

#[tokio::test]
async fn the_speed_of_all_processes_together_says_how_long_it_takes_and_a_pause_is_told() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[b"layer"]).await;
    for (process, rate) in [("one", 1), ("two", 2)] {
        let mut documents = world.replication.locations.documents(PATIENCE).await;
        for document in &mut documents {
            if document.location == "eu" {
                document.copied_bytes_per_second = Some(rate);
            }
        }
        let instance = roadstead_metadata::Instance {
            name: process.to_owned(),
            region: crate::world::name("us"),
            seen_at: world.clock.now(),
            locations: LocationDocument::list_as_text(&documents),
        };
        world
            .database()
            .note_instance(&instance, world.clock.now())
            .await
            .unwrap();
    }
    world.replication.pause(Some("eu")).await.unwrap();
    let report = world
        .replication
        .status(StatusOptions { store_check: false })
        .await
        .unwrap();
    let eu = at(&report, "eu");
    assert_eq!(
        (eu.bytes_per_second, eu.eta_seconds, eu.paused),
        (Some(3), Some(6), true)
    );
    let us = at(&report, "us");
    assert_eq!(
        (us.bytes_per_second, us.eta_seconds, us.paused),
        (None, None, false)
    );
}

#[tokio::test]
async fn what_arrives_is_counted_as_the_speed_of_the_process_that_copied_it() {
    let world = World::new(&["us", "eu"]).await;
    world.push_image("us", "v1", &[&[7; 1_000]]).await;
    world.work().await;
    let rates = world.replication.bytes_per_second();
    assert_eq!(
        rates,
        BTreeMap::from([(crate::world::name("eu"), 1_012 / 10)])
    );
    world.clock.advance(Duration::from_mins(3));
    assert!(world.replication.bytes_per_second().is_empty());
}
