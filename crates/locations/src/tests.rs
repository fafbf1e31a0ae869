//! Circuits that open and close by what is really asked of real directories that fail on demand, and probes that notice what nobody asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt};
use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::{
    CircuitState, FailureKind, HealthOptions, HealthState, HedgeOptions, LocationName, Outcome,
    Progress, Reason, Topology, Use, UseView,
};
use roadstead_runtime::{Clock, Environment, ManualClock, SeededIds, SystemClock, Tasks};
use roadstead_storage::faults::Faults;
use roadstead_storage::{
    LocalOptions, Location, ObjectKey, Operation, Staged, StorageError, StorageErrorKind,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{LocationReport, Locations, ProbeOptions, Wish};

const CONTENT: &[u8] = b"content";
const SECOND: Duration = Duration::from_secs(1);

/// How long a circuit is open the first time.
const OPEN: Duration = SECOND;

struct World {
    locations: Locations,
    topology: Topology,
    clock: Arc<ManualClock>,
    us: Faults,
    eu: Faults,
    _directory: TempDir,
}

fn name(location: &str) -> LocationName {
    LocationName::new(location).unwrap()
}

fn key() -> ObjectKey {
    ObjectKey::Blob(Digest::of(Algorithm::Sha256, CONTENT))
}

impl World {
    async fn new() -> Self {
        Self::with(HedgeOptions::default()).await
    }

    /// `us` and `eu`, in this order, with the same object.
    async fn with(hedge: HedgeOptions) -> Self {
        let directory = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let (us, eu) = (Faults::new(clock.clone()), Faults::new(clock.clone()));
        let at = |location: &str, faults: &Faults| {
            let root = directory.path().join(location);
            let options = LocalOptions::default();
            Location::local_with_faults(name(location), root, options, faults).unwrap()
        };
        let locations = Locations::new(
            [at("us", &us), at("eu", &eu)],
            HealthOptions::default(),
            hedge,
            clock.clone(),
        );
        let world = Self {
            locations,
            topology: Topology::new(
                vec![name("us"), name("eu")],
                vec![name("us")],
                [name("us"), name("eu")].into(),
            )
            .unwrap(),
            clock,
            us,
            eu,
            _directory: directory,
        };
        for location in ["us", "eu"] {
            world.at(location).create_root().await.unwrap();
            world.put(location, 1).await.unwrap();
        }
        world
    }

    fn at(&self, location: &str) -> &Location {
        self.locations.get(&name(location)).unwrap()
    }

    async fn put(&self, location: &str, upload: u128) -> Result<(), StorageError> {
        let (location, id) = (self.at(location), Uuid::from_u128(upload));
        let mut writer = location.stage(id, &Staged::NOTHING).await?;
        writer.write(Bytes::from_static(CONTENT)).await?;
        writer.sync().await?;
        let staged = writer.staged();
        drop(writer);
        location.publish(id, &staged, &key()).await
    }

    async fn read(&self, location: &str) -> Result<(), StorageError> {
        read(self.at(location)).await
    }

    fn view(&self, location: &str, wanted: Use) -> UseView {
        *self.locations.standings().get(&name(location)).of(wanted)
    }

    fn state(&self, location: &str, wanted: Use) -> HealthState {
        self.view(location, wanted).state
    }

    fn reads(&self) -> Vec<String> {
        let present = [name("us"), name("eu")].into();
        let ranked = self.locations.rank_reads(&self.topology, &present);
        ranked.iter().map(ToString::to_string).collect()
    }

    fn write(&self) -> String {
        let chosen = self
            .locations
            .choose_write(&self.topology, &std::collections::BTreeSet::new());
        chosen.unwrap().to_string()
    }

    /// Reads as whoever goes by the admission does. `None` when that was refused.
    async fn admitted_read(&self, location: &str) -> Option<Result<(), StorageError>> {
        match self.locations.admit(&name(location), Use::Read).unwrap() {
            Wish::Refused => None,
            Wish::Granted(admitted) => Some(read(admitted.location()).await),
        }
    }
}

async fn read(location: &Location) -> Result<(), StorageError> {
    let chunks: Vec<Bytes> = location.read(&key(), ..).await?.try_collect().await?;
    assert_eq!(chunks.concat(), CONTENT);
    Ok(())
}

#[tokio::test]
async fn a_location_that_cannot_be_reached_is_down_for_everything_at_once_and_back_after_three_answers()
 {
    let world = World::new().await;
    assert_eq!(
        (world.reads(), world.write()),
        (vec!["us".into(), "eu".into()], "us".into())
    );
    world.us.take_down();
    world.read("us").await.unwrap_err();
    for wanted in [Use::Read, Use::Write] {
        let view = world.view("us", wanted);
        assert_eq!(view.state, HealthState::Down);
        assert_eq!(view.reason, Some(FailureKind::Unreachable.into()));
        assert!(!view.admits());
    }
    assert_eq!(
        (world.reads(), world.write()),
        (vec!["eu".into(), "us".into()], "eu".into())
    );
    assert!(world.admitted_read("us").await.is_none());
    assert_eq!(world.state("eu", Use::Read), HealthState::Healthy);

    world.us.heal();
    world.clock.advance(OPEN);
    // Trials are at its usual place again.
    assert_eq!(world.reads(), ["us", "eu"]);
    for _ in 0..3 {
        assert_eq!(world.state("us", Use::Read), HealthState::Down);
        world.admitted_read("us").await.unwrap().unwrap();
    }
    assert_eq!(world.state("us", Use::Read), HealthState::Healthy);
    assert!(world.view("us", Use::Read).is_closed());
}

#[tokio::test]
async fn a_trial_that_fails_keeps_it_shut_for_longer() {
    let world = World::new().await;
    world.us.take_down();
    world.read("us").await.unwrap_err();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let mut waited = Duration::ZERO;
        while !world.view("us", Use::Read).admits() {
            world.clock.advance(SECOND);
            waited += SECOND;
        }
        waits.push(waited.as_secs());
        world.admitted_read("us").await.unwrap().unwrap_err();
    }
    assert_eq!(waits, [1, 2, 4, 8]);
}

#[tokio::test]
async fn no_more_than_three_trials_are_under_way_and_one_that_is_over_makes_room() {
    let world = World::new().await;
    world.us.take_down();
    world.read("us").await.unwrap_err();
    world.clock.advance(OPEN);
    let admit = || world.locations.admit(&name("us"), Use::Read).unwrap();
    let mut trials: Vec<Wish> = (0..3).map(|_| admit()).collect();
    assert!(trials.iter().all(|wish| matches!(wish, Wish::Granted(_))));
    assert!(matches!(admit(), Wish::Refused));
    assert_eq!(world.reads(), ["eu", "us"]);
    trials.pop();
    assert!(matches!(admit(), Wish::Granted(_)));
    assert!(world.locations.admit(&name("mars"), Use::Read).is_none());
}

#[tokio::test]
async fn server_errors_count_only_when_there_are_several_in_a_row() {
    let world = World::new().await;
    for failures in 1..=4 {
        world
            .us
            .fail_next(Operation::Read, 1, StorageErrorKind::ServerError);
        world.read("us").await.unwrap_err();
        assert_eq!(
            world.state("us", Use::Read),
            HealthState::Healthy,
            "{failures}"
        );
    }
    // An answer between them, and it begins anew.
    world.read("us").await.unwrap();
    for failures in 1..=5 {
        assert_eq!(
            world.view("us", Use::Read).consecutive_failures,
            failures - 1
        );
        world
            .us
            .fail_next(Operation::Read, 1, StorageErrorKind::ServerError);
        world.read("us").await.unwrap_err();
    }
    assert_eq!(world.state("us", Use::Read), HealthState::Down);
    // That it cannot be read says nothing about writing.
    assert_eq!(world.state("us", Use::Write), HealthState::Healthy);
}

#[tokio::test]
async fn a_full_location_is_read_and_not_written() {
    let world = World::new().await;
    world
        .us
        .fail_always(Operation::Write, StorageErrorKind::Full);
    world
        .us
        .fail_always(Operation::Sync, StorageErrorKind::Full);
    world.put("us", 2).await.unwrap_err();
    let view = world.view("us", Use::Write);
    assert_eq!(view.state, HealthState::Down);
    assert_eq!(view.reason, Some(FailureKind::Full.into()));
    assert_eq!(world.state("us", Use::Read), HealthState::Healthy);
    assert_eq!(
        (world.reads(), world.write()),
        (vec!["us".into(), "eu".into()], "eu".into())
    );
}

#[tokio::test]
async fn what_is_not_the_locations_fault_is_not_held_against_it() {
    let world = World::new().await;
    let missing = ObjectKey::Blob(Digest::of(Algorithm::Sha256, b"nobody has it"));
    for _ in 0..20 {
        assert!(world.at("us").read(&missing, ..).await.is_err());
        assert!(world.at("us").read(&key(), 0..100).await.is_err());
        let short = world
            .at("us")
            .stage(Uuid::from_u128(7), &Staged::at(9))
            .await;
        assert!(matches!(
            short.unwrap_err().kind(),
            StorageErrorKind::StagedShort { .. }
        ));
    }
    for wanted in [Use::Read, Use::Write] {
        assert_eq!(world.state("us", wanted), HealthState::Healthy);
    }
}

#[tokio::test]
async fn wrong_bytes_of_three_objects_shut_it_and_right_ones_bring_it_back() {
    let world = World::new().await;
    let us = name("us");
    for object in [1, 1, 1, 2] {
        world
            .locations
            .tell(&us, Use::Read, Outcome::Damaged { object });
    }
    assert_eq!(world.state("us", Use::Read), HealthState::Healthy);
    world
        .locations
        .tell(&us, Use::Read, Outcome::Damaged { object: 3 });
    assert_eq!(world.view("us", Use::Read).reason, Some(Reason::WrongBytes));
    world.clock.advance(OPEN);
    // That it answers does not show that it is right.
    for _ in 0..5 {
        world.read("us").await.unwrap();
    }
    assert_eq!(world.state("us", Use::Read), HealthState::Down);
    let verified = Outcome::Transferred {
        bytes: 0,
        waited: Duration::ZERO,
        progress: Progress::Verified,
    };
    for _ in 0..3 {
        world.locations.tell(&us, Use::Read, verified);
    }
    assert_eq!(world.state("us", Use::Read), HealthState::Healthy);
}

#[tokio::test]
async fn shut_returns_when_requests_are_let_through_no_more() {
    let world = World::new().await;
    let us = name("us");
    let mut shut = std::pin::pin!(world.locations.shut(&us, Use::Read));
    assert!(shut.as_mut().now_or_never().is_none());
    world.eu.take_down();
    world.read("eu").await.unwrap_err();
    assert!(shut.as_mut().now_or_never().is_none());
    world.us.take_down();
    world.read("us").await.unwrap_err();
    shut.await;
    // It is shut already.
    assert!(
        world
            .locations
            .shut(&us, Use::Read)
            .now_or_never()
            .is_some()
    );
    world.clock.advance(OPEN);
    assert!(
        world
            .locations
            .shut(&us, Use::Read)
            .now_or_never()
            .is_none()
    );
}

#[tokio::test]
async fn the_hedge_time_is_known_after_ten_answers_and_the_budget_is_a_share_of_the_reads() {
    let world = World::with(HedgeOptions {
        per_cent: 50,
        burst: 2,
        trickle: Duration::from_hours(1),
        ..HedgeOptions::default()
    })
    .await;
    let us = name("us");
    assert!(world.locations.take_hedge() && world.locations.take_hedge());
    assert!(!world.locations.take_hedge());
    assert_eq!(
        world.locations.hedge_after(&us),
        HedgeOptions::default().ceiling
    );
    for _ in 0..10 {
        world.read("us").await.unwrap();
    }
    let after = world.locations.hedge_after(&us);
    assert_eq!(after, HedgeOptions::default().floor);
    // Two reads, half a hedge each.
    assert!(world.locations.take_hedge());
    assert!(!world.locations.take_hedge());
    world.clock.advance(Duration::from_hours(1));
    assert!(world.locations.take_hedge());
}

async fn report(world: &World, location: &str) -> LocationReport {
    let reports = world.locations.report(SECOND * 20).await;
    let names: Vec<&str> = reports
        .iter()
        .map(|report| report.location.as_str())
        .collect();
    assert_eq!(names, ["eu", "us"]);
    let found = reports
        .into_iter()
        .find(|report| report.location == name(location));
    found.unwrap()
}

#[tokio::test]
async fn a_report_says_how_a_location_is_and_since_when() {
    let world = World::new().await;
    let begun = world.clock.now();
    let well = report(&world, "us").await;
    assert_eq!(well.health.state(), HealthState::Healthy);
    assert_eq!(well.since, begun);
    assert!(well.free_bytes.unwrap() > 0);
    assert!(!well.capabilities.signed_urls);
    world.clock.advance(SECOND * 90);
    world.us.take_down();
    world.read("us").await.unwrap_err();
    world.clock.advance(SECOND / 2);
    let down = report(&world, "us").await;
    assert_eq!(down.health.state(), HealthState::Down);
    assert_eq!(down.since, begun + SECOND * 90);
    assert_eq!(down.health.reason(), Some(FailureKind::Unreachable.into()));
    assert!(matches!(
        down.health.read.circuit,
        CircuitState::Open { .. }
    ));
}

/// Returns once the condition holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        SystemClock.sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

impl World {
    fn keep_probed(&self, tasks: &Tasks) {
        let (locations, shutdown) = (self.locations.clone(), tasks.shutdown());
        let environment = Environment {
            clock: self.clock.clone(),
            ids: Arc::new(SeededIds::new(1)),
        };
        tasks.spawn(async move {
            locations
                .keep_probed(ProbeOptions::default(), &environment, &shutdown)
                .await;
        });
    }
}

#[tokio::test]
async fn probes_notice_what_nobody_asks_and_that_it_is_back() {
    let world = World::new().await;
    let tasks = Tasks::new();
    world.us.stall(Operation::Probe);
    world.keep_probed(&tasks);
    world.us.until_stalled(1).await;
    // One that hangs keeps no other from being probed.
    world.eu.take_down();
    until("eu is down", || {
        world.clock.advance(SECOND);
        world.state("eu", Use::Read) == HealthState::Down
    })
    .await;
    assert_eq!(world.state("us", Use::Read), HealthState::Healthy);
    world.us.heal();
    world.eu.heal();
    let since = world.clock.now();
    until("eu is back", || {
        world.clock.advance(SECOND / 4);
        world.locations.standings().get(&name("eu")).state() == HealthState::Healthy
    })
    .await;
    assert!((world.clock.now() - since).to_std().unwrap() >= SECOND);
    assert!(tasks.stop(SECOND * 20).await);
}

#[tokio::test]
async fn trouble_that_traffic_has_noticed_is_probed_at_once() {
    let world = World::new().await;
    let tasks = Tasks::new();
    let before = world.view("us", Use::Write).outcomes;
    world.keep_probed(&tasks);
    // Its first probe is over, and the next is far away.
    until("it was probed", || {
        world.view("us", Use::Write).outcomes > before
    })
    .await;
    world.us.stall(Operation::Probe);
    for _ in 0..2 {
        world
            .us
            .fail_next(Operation::Read, 1, StorageErrorKind::Denied);
        world.read("us").await.unwrap_err();
    }
    assert_eq!(world.state("us", Use::Read), HealthState::Down);
    // The clock has not moved.
    world.us.until_stalled(1).await;
    world.us.heal();
    assert!(tasks.stop(SECOND * 20).await);
}

/// The value of a series, and nothing when it has none.
async fn told(world: &World, name: &str, labels: &[&str]) -> Option<f64> {
    let families = world.locations.metrics(SECOND).await;
    let family = families.iter().find(|family| family.name() == name)?;
    let metric = family.get_metric().iter().find(|metric| {
        let values: Vec<&str> = metric
            .get_label()
            .iter()
            .map(prometheus::proto::LabelPair::value)
            .collect();
        values == labels
    })?;
    Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
}

#[tokio::test]
async fn what_is_asked_of_a_location_is_counted_once_and_only_for_what_it_was_asked_for() {
    const REQUESTS: &str = "roadstead_location_requests_total";
    let world = World::new().await;
    let before = told(&world, REQUESTS, &["eu", "answered", "read"])
        .await
        .unwrap_or_default();
    world.read("eu").await.unwrap();
    let after = told(&world, REQUESTS, &["eu", "answered", "read"]).await;
    assert_eq!(after, Some(before + 1.0));
    world.us.take_down();
    world.read("us").await.unwrap_err();
    let failed = |wanted| {
        let world = &world;
        async move { told(world, REQUESTS, &["us", "unreachable", wanted]).await }
    };
    assert_eq!(failed("read").await, Some(1.0));
    // It is down for writing too, and yet nothing was asked of it.
    assert_eq!(failed("write").await, None);
    assert_eq!(world.state("us", Use::Write), HealthState::Down);
    const STATE: &str = "roadstead_location_state";
    assert_eq!(
        told(&world, STATE, &["us", "down", "write"]).await,
        Some(1.0)
    );
    assert_eq!(
        told(&world, STATE, &["eu", "down", "write"]).await,
        Some(0.0)
    );
}

#[tokio::test]
async fn a_location_that_is_not_configured_gets_no_series() {
    let world = World::new().await;
    let damaged = Outcome::Damaged { object: 1 };
    for location in ["us", "nowhere"] {
        world.locations.tell(&name(location), Use::Read, damaged);
    }
    const DAMAGED: &str = "roadstead_location_damaged_reads_total";
    assert_eq!(told(&world, DAMAGED, &["us"]).await, Some(1.0));
    assert_eq!(told(&world, DAMAGED, &["nowhere"]).await, None);
}
