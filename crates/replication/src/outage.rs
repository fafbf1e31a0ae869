//! A backfill through an outage of hours with workers that die all the time, on a clock of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roadstead_metadata::{Blob, Job};
use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::LocationName;
use roadstead_queue::{Handler, JobOutcome, Worker, WorkerOptions};
use roadstead_runtime::{Clock as _, Ids as _, SeededIds, Shutdown, SystemClock};
use tokio::sync::Notify;

use crate::world::{PATIENCE, World};
use crate::{QUEUE, Replication};

const SEED: u64 = 20_261_126;

/// How often a worker is killed.
const KILLS: u32 = 100;

/// During which of its lives the source is down, for three hours together.
const OUTAGE: std::ops::Range<u32> = 20..56;

const IMAGES: usize = 40;

/// Counts what the replication is given and what it has done.
struct Counted {
    replication: Replication,
    begun: AtomicUsize,
    ended: AtomicUsize,
    changed: Notify,
    done: Mutex<BTreeMap<(String, LocationName), usize>>,
}

#[async_trait::async_trait]
impl Handler for Counted {
    async fn handle(&self, jobs: &[Job], shutdown: &Shutdown) -> Vec<JobOutcome> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        let outcomes = self.replication.handle(jobs, shutdown).await;
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            if *outcome == JobOutcome::Recorded
                && let Some(target) = &job.target
            {
                let copy = (job.name.clone(), target.clone());
                *self.done.lock().unwrap().entry(copy).or_default() += 1;
            }
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        outcomes
    }
}

impl Counted {
    /// Returns when so many more have been counted.
    async fn until(&self, counter: &AtomicUsize, more: u32) {
        let wanted = counter.load(Ordering::SeqCst) + more as usize;
        loop {
            let changed = self.changed.notified();
            if counter.load(Ordering::SeqCst) >= wanted {
                return;
            }
            changed.await;
        }
    }
}

fn worker(world: &World) -> Worker {
    let Replication {
        database,
        environment,
        wake_up,
        ..
    } = &world.replication;
    Worker::new(
        database.clone(),
        environment.clone(),
        WorkerOptions::new(QUEUE),
        wake_up.clone(),
    )
}

async fn assert_all_is_there(world: &World, blobs: &[Blob]) {
    for blob in blobs {
        assert_eq!(world.present(blob).await, ["ap", "eu", "us"]);
        for location in ["ap", "eu", "us"] {
            let object = fs::read(world.object(location, blob)).unwrap();
            assert_eq!(Digest::of(Algorithm::Sha256, &object), blob.digest);
        }
    }
}

#[tokio::test]
async fn an_outage_of_three_hours_and_a_hundred_killed_workers_lose_nothing_and_do_nothing_twice() {
    println!("seed {SEED}");
    let world = World::new(&["us", "eu", "ap"]).await;
    let chance = SeededIds::new(SEED);
    let below = |limit: u32| {
        let mut bytes = [0; 4];
        chance.fill(&mut bytes);
        u32::from_le_bytes(bytes) % limit
    };
    let mut blobs = Vec::new();
    for image in 0..IMAGES {
        let layer: Vec<u8> = (0..=250_u8).cycle().take(50_000 + image).collect();
        blobs.extend(
            world
                .push_image("us", &format!("v{image}"), &[&layer])
                .await,
        );
    }
    let counted = Arc::new(Counted {
        replication: world.replication.clone(),
        begun: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        changed: Notify::new(),
        done: Mutex::default(),
    });
    for life in 0..KILLS {
        if life == OUTAGE.start {
            world.faults("us").take_down();
        }
        if life == OUTAGE.end {
            world.faults("us").heal();
        }
        let worker = worker(&world);
        {
            let run = worker.run(Arc::clone(&counted), Shutdown::default());
            tokio::pin!(run);
            let death = async {
                // While everything waits for its time, nothing begins.
                let counter = match below(2) {
                    0 => &counted.begun,
                    _ => &counted.ended,
                };
                let counts = counted.until(counter, 1 + below(3));
                tokio::time::timeout(Duration::from_millis(300), counts)
                    .await
                    .ok();
                for _ in 0..below(60) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                () = &mut run => unreachable!("nobody stopped it"),
                () = death => {}
            }
        }
        // Its leases run out; in the outage five minutes pass each time.
        let seconds = if OUTAGE.contains(&life) { 300 } else { 61 };
        world.clock.advance(Duration::from_secs(seconds));
    }
    let jobs = world.jobs().await;
    println!("{jobs} jobs are left after {KILLS} kills");

    let worker = worker(&world);
    let shutdown = Shutdown::default();
    let run = worker.run(Arc::clone(&counted), shutdown.clone());
    let finish = async {
        while world.jobs().await > 0 {
            // Slow enough for leases to hold.
            world.clock.advance(Duration::from_secs(5));
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        shutdown.request();
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(run, finish) })
        .await
        .expect("everything converges");

    assert_all_is_there(&world, &blobs).await;
    assert!(
        world
            .replication
            .status(crate::StatusOptions { store_check: true })
            .await
            .unwrap()
            .complete
    );
    let done = counted.done.lock().unwrap();
    let twice = done.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "of {} copies", done.len());
    assert!(
        done.len() <= blobs.len() * 2,
        "{} copies of {} blobs to two locations",
        done.len(),
        blobs.len()
    );
}
