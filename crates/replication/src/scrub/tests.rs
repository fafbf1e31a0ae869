//! What reading back finds, what becomes of it, and what survives the end of a process.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::time::SystemTime;

use roadstead_metadata::Blob;
use roadstead_oci::Algorithm;
use roadstead_placement::{CopyLimit, Link};
use roadstead_runtime::Clock as _;
use roadstead_storage::{ObjectKey, Operation};

use super::*;
use crate::world::{PATIENCE, World, name};

const DAY: Duration = Duration::from_hours(24);
const PERIOD: Duration = Duration::from_hours(10 * 24);

async fn verify(
    world: &World,
    location: &str,
    options: VerifyOptions,
) -> (Amount, Vec<VerifyEvent>) {
    let mut read = Amount::default();
    let mut events = Vec::new();
    world
        .replication
        .verify_placements(&name(location), options, |event| match event {
            VerifyEvent::Read(more) => read += more,
            other => events.push(other),
        })
        .await
        .unwrap();
    (read, events)
}

fn defects(events: &[VerifyEvent]) -> BTreeMap<Digest, (ObjectDefect, bool)> {
    events
        .iter()
        .map(|event| match event {
            VerifyEvent::Defective(object) => {
                (object.digest.clone(), (object.defect, object.only_copy))
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn findings(world: &World) -> Vec<ScrubFinding> {
    world.replication.scrub_report().await.unwrap().findings
}

/// Truncates, flips, removes and swaps the objects of four blobs at a location, and tells what was done to which.
fn damage(world: &World, location: &str, blobs: &[Blob]) -> BTreeMap<Digest, ObjectDefect> {
    let [truncated, flipped, gone, swapped, other, ..] = blobs else {
        panic!("too few blobs");
    };
    let path = |blob| world.object(location, blob);
    let content = fs::read(path(truncated)).unwrap();
    fs::write(path(truncated), &content[..content.len() / 2]).unwrap();
    let mut content = fs::read(path(flipped)).unwrap();
    content[3] ^= 1;
    fs::write(path(flipped), content).unwrap();
    fs::remove_file(path(gone)).unwrap();
    fs::copy(path(other), path(swapped)).unwrap();
    [
        (truncated, ObjectDefect::Truncated),
        (flipped, ObjectDefect::Damaged),
        (gone, ObjectDefect::Missing),
        (swapped, ObjectDefect::Swapped),
    ]
    .into_iter()
    .map(|(blob, defect)| (blob.digest.clone(), defect))
    .collect()
}

async fn replicated(world: &World, blobs: u32) -> Vec<Blob> {
    let mut pushed = Vec::new();
    for index in 0..blobs {
        let content = format!("the content of blob {index}");
        pushed.push(world.push_blob("us", content.as_bytes()).await);
    }
    world.replication.reconcile(|_| ()).await.unwrap();
    world.work().await;
    pushed
}

/// Takes steps of a location's round until nothing is due.
async fn steps(world: &World, location: &str) -> u32 {
    let pace = Pace::unlimited(&world.replication.environment);
    let mut steps = 0;
    loop {
        let stepped = world
            .replication
            .scrub_step(
                world.location(location),
                PERIOD,
                &pace,
                &Shutdown::default(),
            )
            .await
            .unwrap();
        if stepped == Stepped::Rest {
            return steps;
        }
        steps += 1;
    }
}

async fn round(world: &World, location: &str) -> Option<ScrubState> {
    let states = world.database().scrub_states().await.unwrap();
    states
        .into_iter()
        .find(|state| state.location == name(location))
}

#[tokio::test]
async fn what_was_truncated_flipped_removed_and_swapped_is_found_and_copied_again_and_it_says_so() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = replicated(&world, 6).await;
    let done = damage(&world, "eu", &blobs);
    let (read, events) = verify(&world, "eu", VerifyOptions::default()).await;
    assert_eq!(read.blobs, 6);
    let expected: BTreeMap<_, _> = done
        .iter()
        .map(|(digest, defect)| (digest.clone(), (*defect, false)))
        .collect();
    assert_eq!(defects(&events), expected);
    let noted: BTreeMap<Digest, String> = findings(&world)
        .await
        .into_iter()
        .map(|finding| {
            assert_eq!((finding.kept, finding.repaired_at), (false, None));
            (finding.digest, finding.defect)
        })
        .collect();
    let expected: BTreeMap<_, _> = done
        .iter()
        .map(|(digest, defect)| (digest.clone(), defect.as_str().to_owned()))
        .collect();
    assert_eq!(noted, expected);
    assert!(
        world
            .replication
            .settle_findings()
            .await
            .unwrap()
            .is_empty()
    );

    assert_eq!(world.work().await.len(), 4);
    let repaired = world.replication.settle_findings().await.unwrap();
    assert_eq!(repaired.len(), 4);
    assert!(
        findings(&world)
            .await
            .iter()
            .all(|finding| finding.repaired_at.is_some())
    );
    for blob in &blobs {
        assert_eq!(world.present(blob).await, ["eu", "us"]);
        let verified = world.location("eu").verify(&blob.digest).await.unwrap();
        assert_eq!(verified, Verification::Intact { size: blob.size });
    }
    let (_, events) = verify(&world, "eu", VerifyOptions::default()).await;
    assert_eq!(events, []);
}

#[tokio::test]
async fn the_only_copy_is_left_as_it_is_and_stays_noted_until_it_is_whole_again() {
    let world = World::new(&["us", "eu"]).await;
    let blob = world.push_blob("us", b"the only copy").await;
    fs::write(world.object("us", &blob), b"the only cope").unwrap();
    for _ in 0..2 {
        let (_, events) = verify(&world, "us", VerifyOptions::default()).await;
        assert_eq!(
            defects(&events),
            BTreeMap::from([(blob.digest.clone(), (ObjectDefect::Damaged, true))])
        );
        let [VerifyEvent::Defective(object)] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert!(
            object.to_string().contains("NO OTHER COPY IS KNOWN"),
            "{object}"
        );
        world.clock.advance(DAY * 40);
        assert!(
            world
                .replication
                .settle_findings()
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(world.present(&blob).await, ["us"]);
    assert_eq!(
        fs::read(world.object("us", &blob)).unwrap(),
        b"the only cope"
    );
    let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let [finding] = findings(&world).await.try_into().unwrap();
    assert_eq!(
        (finding.kept, finding.found_at, finding.repaired_at),
        (true, began, None)
    );

    // Somebody puts the bytes back.
    fs::write(world.object("us", &blob), b"the only copy").unwrap();
    let (_, events) = verify(&world, "us", VerifyOptions::default()).await;
    assert_eq!(events, []);
    let [finding] = findings(&world).await.try_into().unwrap();
    assert_eq!(finding.repaired_at, Some(began + DAY * 80));
}

#[tokio::test]
async fn a_store_that_cannot_be_read_has_lost_nothing() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = replicated(&world, 3).await;
    world.unmount("eu");
    let verified = world
        .replication
        .verify_placements(&name("eu"), VerifyOptions::default(), |event| {
            panic!("{event:?}")
        })
        .await;
    assert!(matches!(
        verified,
        Err(VerifyError::StoreCheck(StoreCheckError::Store(_)))
    ));
    assert_eq!(world.present(&blobs[0]).await, ["eu", "us"]);
    assert_eq!(findings(&world).await, []);
    let unknown = world
        .replication
        .verify_placements(&name("asia"), VerifyOptions::default(), |_| ())
        .await;
    assert!(matches!(unknown, Err(VerifyError::NotConfigured { .. })));
}

#[tokio::test]
async fn a_round_takes_its_period_and_repairs_what_it_finds() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = replicated(&world, 40).await;
    let done = damage(&world, "us", &blobs);
    // The first look begins the round, in which nothing is due yet.
    assert_eq!(steps(&world, "us").await, 1);
    assert_eq!(round(&world, "us").await.unwrap().objects, 0);
    world.clock.advance(PERIOD / 2);
    steps(&world, "us").await;
    let half = round(&world, "us").await.unwrap();
    let middle: Digest = format!("sha256:8{}", "0".repeat(63)).parse().unwrap();
    let due = blobs.iter().filter(|blob| blob.digest < middle).count() as u64;
    assert_eq!((half.objects, half.shards), (due, 256));
    world.clock.advance(PERIOD / 2);
    steps(&world, "us").await;
    let next = round(&world, "us").await.unwrap();
    let now = world.replication.environment.now();
    assert_eq!((next.round_began, next.last_ended), (now, Some(now)));
    assert_eq!((next.objects, next.after.as_str()), (0, "sha256:00000000"));
    let noted: BTreeMap<Digest, String> = findings(&world)
        .await
        .into_iter()
        .map(|finding| (finding.digest, finding.defect))
        .collect();
    let expected: BTreeMap<_, _> = done
        .into_iter()
        .map(|(digest, defect)| (digest, defect.as_str().to_owned()))
        .collect();
    assert_eq!(noted, expected);
    world.work().await;
    assert_eq!(world.replication.settle_findings().await.unwrap().len(), 4);
}

#[tokio::test]
async fn another_region_helps_out_only_when_the_locations_own_is_late() {
    let world = World::new(&["us", "eu"]).await;
    replicated(&world, 40).await;
    steps(&world, "eu").await;
    world.clock.advance(PERIOD / 20);
    steps(&world, "eu").await;
    let state = round(&world, "eu").await.unwrap();
    assert_eq!(
        (state.objects, state.after.as_str()),
        (0, "sha256:00000000")
    );
    world.clock.advance(PERIOD * 2);
    steps(&world, "eu").await;
    assert!(round(&world, "eu").await.unwrap().last_ended.is_some());
}

#[tokio::test]
async fn a_process_that_dies_in_the_middle_of_a_page_costs_that_page_and_another_goes_on() {
    let world = World::new(&["us"]).await;
    let blobs = PAGE + 20;
    for index in 0..blobs {
        world.push_blob("us", &index.to_be_bytes()).await;
    }
    steps(&world, "us").await;
    world.clock.advance(PERIOD);
    let pace = Pace::unlimited(&world.replication.environment);
    let shutdown = Shutdown::default();
    let us = world.location("us");
    let step = || world.replication.scrub_step(us, PERIOD, &pace, &shutdown);
    assert_eq!(step().await.unwrap(), Stepped::On);
    let after_first = round(&world, "us").await.unwrap();
    assert_eq!(after_first.objects, u64::from(PAGE));

    // The second page is begun and never ended.
    world.faults("us").stall(Operation::Read);
    tokio::select! {
        stepped = step() => panic!("{stepped:?}"),
        () = world.faults("us").until_stalled(1) => {}
    }
    world.faults("us").heal();
    assert_eq!(round(&world, "us").await.unwrap(), after_first);
    assert_eq!(step().await.unwrap(), Stepped::Rest, "its lease lasts");
    world.clock.advance(LEASE);
    assert_eq!(step().await.unwrap(), Stepped::On);
    assert_eq!(round(&world, "us").await.unwrap().objects, u64::from(blobs));
}

#[tokio::test]
async fn a_process_that_is_asked_to_stop_gives_its_page_back() {
    let world = World::new(&["us"]).await;
    world.push_blob("us", b"blob").await;
    steps(&world, "us").await;
    world.clock.advance(PERIOD);
    let tasks = roadstead_runtime::Tasks::new();
    let options = ScrubOptions {
        period: PERIOD,
        bytes_per_second: NonZeroU64::MAX,
    };
    world.faults("us").stall(Operation::Read);
    let (replication, shutdown) = (world.replication.clone(), tasks.shutdown());
    tasks.spawn(async move { replication.keep_scrubbed(options, &shutdown).await });
    world.faults("us").until_stalled(1).await;
    assert!(tasks.stop(PATIENCE).await);
    world.faults("us").heal();
    steps(&world, "us").await;
    assert!(round(&world, "us").await.unwrap().last_ended.is_some());
}

#[tokio::test]
async fn what_is_read_back_counts_under_the_limit_of_its_location() {
    let world = World::new(&["us", "eu"]).await;
    let content = [7; 90];
    world.push_blob("eu", &content).await;
    let limit = CopyLimit {
        link: Link::Location(name("eu")),
        bytes_per_second: NonZeroU64::new(1_000).unwrap(),
        window: None,
    };
    world.replication.limit(&limit).await.unwrap();
    let throttle = &world.replication.throttle;
    throttle.share(NonZeroU32::new(2).unwrap());
    let clock = world.clock.as_ref();
    throttle.control(world.database(), clock).await;
    // As much as may be read at once after a rest is less than this, so that it has to wait.
    let verified = verify(&world, "eu", VerifyOptions::default());
    tokio::pin!(verified);
    let waited = async {
        // A copy waits for what was read before it.
        while throttle
            .reserve(&name("us"), [&name("eu")], 0, clock.now())
            .is_zero()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut verified => panic!("it does not wait"),
        () = waited => {}
    }
    let wait = throttle.reserve(&name("us"), [&name("eu")], 0, clock.now());
    assert_eq!(
        wait,
        Duration::from_millis(80),
        "90 bytes at half of 1000 a second, 100 ms before"
    );
    assert!(
        throttle
            .reserve(&name("us"), [&name("ap")], 0, clock.now())
            .is_zero()
    );
    world.clock.advance(wait);
    let (read, events) = verified.await;
    assert_eq!((read, events), (Amount::one(90), Vec::new()));
}

#[tokio::test]
async fn an_object_that_nothing_accounts_for_is_told_when_it_is_a_day_old_and_goes_a_day_later_at_the_earliest()
 {
    let world = World::new(&["us", "eu"]).await;
    let placed = world.push_blob("us", b"placed").await;
    let orphan = Digest::of(Algorithm::Sha256, b"orphan");
    let key = ObjectKey::Blob(orphan.clone()).path();
    let root = world.location("us").root().unwrap().to_owned();
    let path = root.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"orphan").unwrap();
    let now = world.replication.environment.now();
    let written_at = |path: &std::path::Path, written: Timestamp| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::from(written)).unwrap();
    };
    written_at(&world.object("us", &placed), now - DAY * 9);
    let all = VerifyOptions {
        orphans: true,
        delete_orphans: true,
    };
    let expected = |first_seen| {
        VerifyEvent::Orphan(Orphan {
            location: name("us"),
            digest: orphan.clone(),
            size: 6,
            first_seen,
        })
    };

    written_at(&path, now);
    assert_eq!(verify(&world, "us", all).await.1, [], "it is new");
    world.clock.advance(DAY);
    let seen = world.replication.environment.now();
    for hours in [0, 23] {
        world.clock.advance(Duration::from_hours(hours));
        assert_eq!(
            verify(&world, "us", all).await.1,
            [expected(seen)],
            "{hours}"
        );
    }
    world.clock.advance(Duration::from_hours(1));
    let look = VerifyOptions {
        delete_orphans: false,
        ..all
    };
    assert_eq!(
        verify(&world, "us", look).await.1,
        [expected(seen)],
        "nobody asked for it"
    );
    assert_eq!(
        verify(&world, "us", all).await.1,
        [expected(seen), VerifyEvent::OrphansDoomed(1)]
    );
    assert!(path.exists(), "that is up to the garbage collection");
    let now = world.replication.environment.now();
    let doomed = world
        .database()
        .claim_doomed_objects(&roadstead_metadata::ClaimObjects {
            location: &name("us"),
            limit: 10,
            now,
            lease_until: now + DAY,
            token: world.replication.environment.ids.uuid(),
        })
        .await
        .unwrap();
    let doomed: Vec<_> = doomed.into_iter().map(|object| object.digest).collect();
    assert_eq!(doomed, [orphan]);
    assert_eq!(verify(&world, "us", all).await.1, [], "it is accounted for");
}

#[tokio::test]
async fn an_orphan_that_comes_to_be_wanted_is_none_any_more() {
    let world = World::new(&["us", "eu"]).await;
    let [blob] = replicated(&world, 1).await.try_into().unwrap();
    let object = fs::File::options()
        .write(true)
        .open(world.object("eu", &blob))
        .unwrap();
    object.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let options = VerifyOptions {
        orphans: true,
        delete_orphans: true,
    };
    // A location that was removed and comes back has the objects and not the placements.
    world
        .replication
        .remove_location(&name("eu"), |_| ())
        .await
        .unwrap();
    let (_, events) = verify(&world, "eu", options).await;
    assert!(
        matches!(events.as_slice(), [VerifyEvent::Orphan(_)]),
        "{events:?}"
    );
    let active = roadstead_metadata::LocationState::Active;
    let now = world.replication.environment.now();
    let database = world.database();
    database
        .set_location_state(&name("eu"), active, now)
        .await
        .unwrap();
    database.ensure_locations(&[name("eu")]).await.unwrap();
    world.clock.advance(DAY * 2);
    world.replication.reconcile(|_| ()).await.unwrap();
    assert_eq!(
        verify(&world, "eu", options).await.1,
        [],
        "a copy to there is wanted"
    );
    world.work().await;
    assert_eq!(verify(&world, "eu", options).await.1, []);
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}
