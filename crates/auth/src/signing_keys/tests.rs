//! What the instance's key promises, on a real database.

use super::*;
use crate::testing::{World, private_key, signing_keys};

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// A world, and keys beside its own; of the prepared ones the last is used first.
async fn world(prepared: &[usize]) -> (World, SigningKeys) {
    let world = World::new().await;
    let keys = signing_keys(&world.database, &world.environment, &world.tasks)
        .with_prepared(prepared.iter().map(|number| private_key(*number)));
    (world, keys)
}

/// When the key of this number ends, by the database.
async fn end_of(world: &World, number: usize) -> Option<Timestamp> {
    let kid = &private_key(number).kid;
    let row = world.database.find_service_key(kid).await.unwrap();
    row.unwrap().expires
}

#[tokio::test]
async fn a_key_is_made_when_it_is_wanted_and_shared_approved() {
    let (world, keys) = world(&[0]).await;
    assert!(!keys.is_valid().await.unwrap());
    assert_eq!(world.number("SELECT count(*) FROM servicekey").await, 0);
    let key = keys.current().await.unwrap();
    let row = world.database.find_service_key(&key.kid).await;
    let row = row.unwrap().unwrap();
    assert_eq!((row.service.as_str(), row.approved), ("quay", true));
    assert_eq!(row.expires, Some(world.environment.now() + KEY_LIFE));
    assert_eq!(row.jwk, key.jwk);
    assert!(keys.is_valid().await.unwrap());
    assert_eq!(keys.current().await.unwrap().kid, key.kid);
    assert_eq!(world.number("SELECT count(*) FROM servicekey").await, 1);
}

#[tokio::test]
async fn the_first_wishes_at_once_make_one_key() {
    let (world, keys) = world(&[0, 1]).await;
    let mut wishes = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let keys = keys.clone();
        wishes.spawn(async move { keys.current().await.unwrap().kid.clone() });
    }
    let mut kids = wishes.join_all().await;
    kids.dedup();
    assert_eq!(kids, [private_key(1).kid.clone()]);
    assert_eq!(world.number("SELECT count(*) FROM servicekey").await, 1);
}

#[tokio::test]
async fn a_key_that_nobody_waits_for_any_more_is_made_all_the_same() {
    let (_world, keys) = world(&[0]).await;
    drop(keys.start_refresh());
    while !keys.is_valid().await.unwrap() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_key_outlives_every_token_that_it_signs() {
    let (world, keys) = world(&[0]).await;
    let key = keys.current().await.unwrap();
    for _ in 0..30 {
        world.clock.advance(7 * MINUTE);
        assert_eq!(keys.current().await.unwrap().kid, key.kid);
        assert!(end_of(&world, 0).await.unwrap() >= world.environment.now() + TOKEN_LIFE);
    }
}

#[tokio::test]
async fn preparing_extends_the_key_after_fifty_five_minutes_and_not_before() {
    let (world, keys) = world(&[0]).await;
    keys.prepare().await.unwrap();
    let first = end_of(&world, 0).await.unwrap();
    world.clock.advance(KEY_REFRESH.saturating_sub(SECOND));
    keys.prepare().await.unwrap();
    assert_eq!(end_of(&world, 0).await, Some(first));
    world.clock.advance(SECOND);
    keys.prepare().await.unwrap();
    assert_eq!(end_of(&world, 0).await, Some(first + KEY_REFRESH));
}

#[tokio::test]
async fn a_key_that_ended_or_was_deleted_is_replaced() {
    let (world, keys) = world(&[2, 1, 0]).await;
    let first = keys.current().await.unwrap().kid.clone();
    world.clock.advance(KEY_LIFE);
    assert!(!keys.is_valid().await.unwrap());
    let second = keys.current().await.unwrap().kid.clone();
    world.execute("DELETE FROM servicekey").await;
    world.clock.advance(KEY_REFRESH);
    keys.prepare().await.unwrap();
    let third = keys.current().await.unwrap().kid.clone();
    let expected = [0, 1, 2].map(|number| private_key(number).kid.clone());
    assert_eq!([first, second, third], expected);
    assert!(keys.is_valid().await.unwrap());
}

#[tokio::test]
async fn a_database_that_is_away_does_not_stop_a_key_that_lives() {
    let (world, keys) = world(&[0]).await;
    let key = keys.current().await.unwrap();
    world.lose_database().await;
    world.clock.advance(KEY_REFRESH);
    assert!(keys.prepare().await.is_err());
    world.clock.advance(LEFT_AT_REFRESH.saturating_sub(SECOND));
    assert_eq!(keys.current().await.unwrap().kid, key.kid);
    world.clock.advance(SECOND);
    assert!(keys.current().await.is_err());
}

#[tokio::test]
async fn those_who_waited_for_a_refresh_that_failed_do_not_try_again_one_after_the_other() {
    let (world, keys) = world(&[0]).await;
    world.lose_database().await;
    let waiting: Vec<_> = (0..10).map(|_| keys.start_refresh()).collect();
    for answer in waiting {
        assert!(answer.await.unwrap().is_err());
    }
    assert_eq!(keys.inner.refreshes.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn the_keeper_makes_the_key_refreshes_it_and_ends_with_the_shutdown() {
    let (world, keys) = world(&[0]).await;
    let shutdown = world.tasks.shutdown();
    let keeper = keys.clone();
    world
        .tasks
        .spawn(async move { keeper.keep_fresh(shutdown).await });
    let expires = || keys.inner.active().map(|active| active.expires);
    while expires().is_none() {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let before = expires();
        // The keeper may not have gone to sleep yet when the clock moves; then the next step wakes it.
        while expires() == before {
            world.clock.advance(MINUTE);
            tokio::task::yield_now().await;
        }
    }
    assert!(world.tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_key_of_2048_bits_is_drawn_from_the_environments_chance() {
    let key = private_key(0);
    let jwk: serde_json::Value = serde_json::from_str(&key.jwk).unwrap();
    assert_eq!(jwk["n"].as_str().unwrap().len(), 342, "256 bytes in base64");
    assert_ne!(key.kid, private_key(1).kid);
}
