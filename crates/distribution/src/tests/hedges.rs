//! Slow first bytes: another location is asked too, after a while and within a budget.

use std::pin::pin;
use std::time::Duration;

use roadstead_oci::Digest;
use roadstead_placement::HedgeOptions;
use roadstead_storage::{Operation, StorageErrorKind};

use super::world::{PIECE, Plan, World, content, name, settle, still_waits};
use crate::PullError;

/// How long a read of a location that answers at once waits before another one is asked.
const HEDGE: Duration = Duration::from_millis(100);
const ALMOST: Duration = Duration::from_millis(99);

/// A blob at both locations, of which so much was read at `us` that it is known how fast that answers.
async fn well_known(world: &World) -> (Vec<u8>, Digest) {
    let blob = content(70, 10 * PIECE + 7);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    for _ in 0..10 {
        assert_eq!(world.pull(&digest).await.unwrap(), blob);
    }
    assert_eq!(answers(world, "eu"), 0);
    (blob, digest)
}

/// How many reads a location has answered lately.
fn answers(world: &World, location: &str) -> u32 {
    let standings = world.registry.locations().standings();
    standings.get(&name(location)).read.outcomes
}

#[tokio::test]
async fn a_location_that_hangs_before_its_first_byte_is_overtaken_after_the_hedge_time() {
    let world = World::new().await;
    let (blob, digest) = well_known(&world).await;
    world.us.stall(Operation::Read);
    let mut pull = pin!(world.pull(&digest));
    let early = async {
        world.us.until_stalled(1).await;
        world.clock.advance(ALMOST);
        settle().await;
    };
    assert!(still_waits(&mut pull, early).await);
    assert_eq!(answers(&world, "eu"), 0);
    world.clock.advance(HEDGE.saturating_sub(ALMOST));
    assert_eq!(pull.await.unwrap(), blob);
    assert_eq!(answers(&world, "eu"), 1);
    // One such read is no reason to go elsewhere.
    world.us.heal();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    assert_eq!(answers(&world, "eu"), 1);
}

#[tokio::test]
async fn whichever_answers_first_is_read() {
    let world = World::new().await;
    let (blob, digest) = well_known(&world).await;
    world.us.stall(Operation::Read);
    world.eu.stall(Operation::Read);
    let mut pull = pin!(world.pull(&digest));
    let both_are_asked = async {
        world.us.until_stalled(1).await;
        world.clock.advance(HEDGE);
        world.eu.until_stalled(1).await;
        settle().await;
    };
    assert!(still_waits(&mut pull, both_are_asked).await);
    world.us.heal();
    assert_eq!(pull.await.unwrap(), blob);
    assert_eq!(answers(&world, "eu"), 0);
}

#[tokio::test]
async fn a_location_that_was_asked_too_and_fails_is_no_loss() {
    let world = World::new().await;
    let (blob, digest) = well_known(&world).await;
    world.us.stall(Operation::Read);
    world.eu.take_down();
    let mut pull = pin!(world.pull(&digest));
    let both_were_asked = async {
        world.us.until_stalled(1).await;
        world.clock.advance(HEDGE);
        settle().await;
    };
    assert!(still_waits(&mut pull, both_were_asked).await);
    world.us.heal();
    assert_eq!(pull.await.unwrap(), blob);
}

#[tokio::test]
async fn a_location_that_is_overtaken_again_and_again_is_asked_last() {
    let world = World::new().await;
    let (blob, digest) = well_known(&world).await;
    world.us.stall(Operation::Read);
    for hedges in 1..=5 {
        let hanging = async {
            // Those that were given up hang on.
            world.us.until_stalled(hedges).await;
            // It is known to be slower each time, and waited for longer.
            world.clock.advance(HedgeOptions::default().ceiling);
        };
        let (pulled, ()) = tokio::join!(world.pull(&digest), hanging);
        assert_eq!(pulled.unwrap(), blob);
        assert_eq!(answers(&world, "eu") as usize, hedges);
    }
    // It still hangs, and nobody notices.
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
    assert_eq!(answers(&world, "eu"), 6);
}

#[tokio::test]
async fn the_budget_bounds_how_often_another_location_is_asked() {
    let world = World::of(Plan {
        hedge: HedgeOptions {
            per_cent: 0,
            burst: 1,
            trickle: Duration::from_hours(1),
            ..HedgeOptions::default()
        },
        ..Plan::default()
    })
    .await;
    let (blob, digest) = well_known(&world).await;
    world.us.stall(Operation::Read);
    let hanging = async {
        world.us.until_stalled(1).await;
        world.clock.advance(HEDGE);
    };
    let (pulled, ()) = tokio::join!(world.pull(&digest), hanging);
    assert_eq!(pulled.unwrap(), blob);
    assert_eq!(answers(&world, "eu"), 1);

    // The second time there is no budget left: it is waited for.
    let mut pull = pin!(world.pull(&digest));
    let much_later = async {
        world.us.until_stalled(2).await;
        for _ in 0..10 {
            world.clock.advance(Duration::from_secs(1));
            settle().await;
        }
    };
    assert!(still_waits(&mut pull, much_later).await);
    assert_eq!(answers(&world, "eu"), 1);
    world.us.heal();
    assert_eq!(pull.await.unwrap(), blob);
}

#[tokio::test]
async fn a_location_of_which_nothing_is_known_is_overtaken_after_the_longest_hedge_time() {
    let longest = HedgeOptions::default().ceiling;
    let world = World::new().await;
    let blob = content(71, 3 * PIECE);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    world.us.stall(Operation::Read);
    let mut pull = pin!(world.pull(&digest));
    let almost = async {
        world.us.until_stalled(1).await;
        world
            .clock
            .advance(longest.saturating_sub(Duration::from_millis(1)));
        settle().await;
    };
    assert!(still_waits(&mut pull, almost).await);
    assert_eq!(answers(&world, "eu"), 0);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(pull.await.unwrap(), blob);
    assert_eq!(answers(&world, "eu"), 1);
}

#[tokio::test]
async fn without_leave_to_ask_another_a_location_is_waited_for_as_long_as_any_may_be_silent() {
    let world = World::of(Plan {
        hedge: HedgeOptions {
            per_cent: 0,
            burst: 0,
            trickle: Duration::from_hours(1),
            ..HedgeOptions::default()
        },
        ..Plan::default()
    })
    .await;
    let blob = content(71, 3 * PIECE);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    world.us.stall(Operation::Read);
    let mut pull = pin!(world.pull(&digest));
    let almost = async {
        world.us.until_stalled(1).await;
        world.clock.advance(Duration::from_millis(29_999));
        settle().await;
    };
    assert!(still_waits(&mut pull, almost).await);
    assert_eq!(answers(&world, "eu"), 0);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(pull.await.unwrap(), blob);
}

#[tokio::test]
async fn a_location_that_is_given_up_while_it_is_waited_for_is_left_at_once_and_for_nothing() {
    let world = World::of(Plan {
        hedge: HedgeOptions {
            per_cent: 0,
            burst: 0,
            trickle: Duration::from_hours(1),
            ..HedgeOptions::default()
        },
        ..Plan::default()
    })
    .await;
    let blob = content(72, 3 * PIECE);
    let digest = world.push(&blob).await;
    world.replicate(&digest).await;
    world.us.stall(Operation::Read);
    let given_up = async {
        world.us.until_stalled(1).await;
        // By whoever else asks it.
        world
            .us
            .fail_next(Operation::Probe, 1, StorageErrorKind::Unavailable);
        world.location("us").probe().await.unwrap_err();
    };
    let (pulled, ()) = tokio::join!(world.pull(&digest), given_up);
    assert_eq!(pulled.unwrap(), blob);
}

#[tokio::test]
async fn when_every_location_hangs_the_pull_fails_in_the_end() {
    let world = World::new().await;
    let (_, digest) = well_known(&world).await;
    world.us.stall(Operation::Read);
    world.eu.stall(Operation::Read);
    let hanging = async {
        world.us.until_stalled(1).await;
        world.clock.advance(HEDGE);
        world.eu.until_stalled(1).await;
        settle().await;
        world.clock.advance(Duration::from_secs(30));
    };
    let (failed, ()) = tokio::join!(world.pull(&digest), hanging);
    assert!(
        matches!(failed, Err(PullError::NoCopy { .. })),
        "{failed:?}"
    );
}
