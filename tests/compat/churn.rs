//! Eight clients push, move, delete, pull and collect over two regions and one PostgreSQL, all over the same few blobs; afterwards
//! exactly what their tags need is there, in both locations.
//!
//! The time machine's window and the protection of pushed blobs are as short as they can be, so that collections take whatever is
//! let go of while others push it again.

mod images;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{join_all, select_all};
use roadstead_oci::{Digest, RepositoryName};
use roadstead_storage::{Operation, StorageErrorKind};
use roadstead_testkit::{
    ImageKind, LOCATIONS, Seed, TestImage, Universe, UniverseOptions, attempt, setting,
};

use self::images::Images;
use self::worker::{Tally, Wish, Worker};
use crate::database::TestDatabase;
use crate::invariants::World;

/// Clients at work at the same time, half of them in each region.
const CLIENTS: u64 = 8;

/// How many deletions a location refuses at most, when a collection begins.
const REFUSALS_MAX: usize = 5;

/// How many operations others begin while deletions hang, if they can, and how often that is looked at, 50 ms apart.
const HANGS_FOR: u64 = 10;
const HANG_CHECKS_MAX: u32 = 20;

/// How long a pushed blob is protected without a manifest. A push that takes longer has to begin again.
const PROTECTED_SECONDS: u32 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_thousands_of_mixed_operations_what_tags_need_is_there_and_nothing_else() {
    let seed = Seed::for_test("churn", 20_261_122);
    let operations = setting("ROADSTEAD_TEST_OPERATIONS", 1000);
    let database = TestDatabase::empty();
    let universe = UniverseOptions::two_regions()
        .key("DB_URI", database.uri())
        .key("PUSH_TEMP_TAG_EXPIRATION_SEC", PROTECTED_SECONDS)
        .key("FEATURE_QUOTA_MANAGEMENT", true)
        .start()
        .await;
    shorten_time_machine(&universe, &database).await;

    let images = Images::new(&seed);
    let (left, collected) = (AtomicU64::new(operations), AtomicU64::new(0));
    let mut workers: Vec<Worker<'_>> = (0..CLIENTS)
        .map(|number| {
            let client = universe.client_of(region_of(number));
            Worker::new(number, client, &images, seed.number())
        })
        .collect();
    join_all(workers.iter_mut().zip(0..).map(async |(worker, number)| {
        let take = || {
            left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
        };
        while take().is_ok() {
            if worker.step().await == Wish::Collection {
                let trouble = Trouble::draw(worker);
                let blobs = collect(&universe, region_of(number), trouble, &left).await;
                collected.fetch_add(blobs, Ordering::Relaxed);
            }
        }
    }))
    .await;
    let tally = workers
        .iter()
        .fold(Tally::default(), |sum, worker| sum.plus(worker.tally));
    let collected = collected.into_inner();
    println!("{operations} operations, {collected} blobs collected on the way: {tally:?}");
    assert!(collected > 0, "nothing was let go of while others pushed");

    come_to_rest(&universe, &database).await;
    for worker in &mut workers {
        worker.pull_all().await;
    }
    assert_tags(&universe, &workers).await;
    let needed: BTreeSet<Digest> = workers
        .iter()
        .flat_map(|worker| worker.live.values())
        .flat_map(|image| images.blobs_below(*image))
        .collect();
    for location in LOCATIONS {
        let there: BTreeSet<Digest> = universe.files(location).objects().into_keys().collect();
        let extra: Vec<&Digest> = there.difference(&needed).collect();
        let lost: Vec<&Digest> = needed.difference(&there).collect();
        assert!(
            extra.is_empty() && lost.is_empty(),
            "{location} has {extra:?} for nobody and lacks {lost:?}"
        );
    }
    let stores = LOCATIONS.map(|location| (location.to_owned(), universe.files(location)));
    let world = World {
        database: &database,
        stores: BTreeMap::from(stores),
        protected_seconds: PROTECTED_SECONDS,
        quota: true,
        collected: true,
    };
    world.assert_sound();
    universe.finish().await;
}

fn region_of(client: u64) -> usize {
    usize::from(client >= CLIENTS / 2)
}

/// Makes the namespace, and lets its time machine keep nothing.
async fn shorten_time_machine(universe: &Universe, database: &TestDatabase) {
    let first = TestImage::new(1, ImageKind::Oci, &[10]);
    let (repository, tag) = ("team/a".parse().unwrap(), "first".parse().unwrap());
    let client = universe.client();
    first.push(&client, &repository, &tag).await.unwrap();
    client.delete_manifest(&repository, &tag).await.unwrap();
    database.run("UPDATE \"user\" SET removed_tag_expiration_s = 0 WHERE username = 'team'");
}

/// What a collection meets at the stores.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// A location refuses so many deletions, which are put off by that.
    Refusals(&'static str, usize),
    /// Deletions hang at both locations while other clients go on, and then go on too.
    Hang,
}

impl Trouble {
    const NONE: Self = Self::Refusals(LOCATIONS[0], 0);

    fn draw(worker: &Worker<'_>) -> Self {
        let location = LOCATIONS[worker.draw(LOCATIONS.len())];
        match worker.draw(REFUSALS_MAX * 2) {
            refusals if refusals < REFUSALS_MAX => Self::Refusals(location, refusals),
            _ => Self::Hang,
        }
    }
}

/// Runs a collection in a region. `left` is how many operations are still to be begun. Tells how many blobs went.
async fn collect(universe: &Universe, region: usize, trouble: Trouble, left: &AtomicU64) -> u64 {
    let collection = universe.region(region).garbage.run_to_end(|_| ());
    let collection = async {
        let round = collection.await;
        round.unwrap_or_else(|error| panic!("no collection in region {region}: {error:?}"))
    };
    let round = match trouble {
        Trouble::Refusals(location, count) => {
            let unavailable = StorageErrorKind::Unavailable;
            let faults = universe.faults(location);
            faults.fail_next(Operation::Delete, count, unavailable);
            collection.await
        }
        Trouble::Hang => {
            let faults = LOCATIONS.map(|location| universe.faults(location));
            for faults in faults {
                faults.stall(Operation::Delete);
            }
            let others_go_on = async {
                select_all(faults.map(|faults| Box::pin(faults.until_stalled(1)))).await;
                let begun = left.load(Ordering::Relaxed);
                // Whoever waits for one of these deletions does not go on.
                let gone_on = async || {
                    let left = left.load(Ordering::Relaxed);
                    (left == 0 || left + HANGS_FOR <= begun).then_some(())
                };
                attempt(HANG_CHECKS_MAX, gone_on).await;
                heal(universe);
            };
            let mut collection = std::pin::pin!(collection);
            let round = tokio::select! {
                round = &mut collection => round,
                () = others_go_on => collection.await,
            };
            heal(universe);
            round
        }
    };
    round.removed.blobs
}

/// Lets deletions go on.
fn heal(universe: &Universe) {
    for location in LOCATIONS {
        universe.faults(location).heal();
    }
}

/// Lets every protection and every postponement end, all copies be made, and everything be collected that nobody holds.
async fn come_to_rest(universe: &Universe, database: &TestDatabase) {
    heal(universe);
    database.run(
        "UPDATE uploadedblob SET uploaded_at = uploaded_at - interval '1 hour', expires_at = expires_at - interval '1 hour';
         UPDATE tag SET lifetime_end_ms = lifetime_start_ms WHERE hidden AND lifetime_end_ms IS NOT NULL;
         UPDATE roadstead_doomed_object SET not_before = not_before - interval '1 hour'",
    );
    universe.wait_until_replicated().await;
    for region in 0..2 {
        collect(universe, region, Trouble::NONE, &AtomicU64::new(0)).await;
    }
    let left = database.rows("SELECT * FROM roadstead_doomed_object");
    assert!(left.is_empty(), "objects that nobody deletes: {left:?}");
}

/// The registry lists the tags that its clients know, and no other.
async fn assert_tags(universe: &Universe, workers: &[Worker<'_>]) {
    let mut known: BTreeMap<RepositoryName, BTreeSet<String>> = BTreeMap::new();
    for (repository, tag) in workers.iter().flat_map(|worker| worker.live.keys()) {
        known
            .entry(repository.clone())
            .or_default()
            .insert(tag.clone());
    }
    let client = universe.client();
    for (repository, tags) in known {
        let listed = client.tags(&repository).await.unwrap();
        assert_eq!(listed, tags.into_iter().collect::<Vec<_>>(), "{repository}");
    }
}
