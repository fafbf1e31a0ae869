//! What looking up keys promises, on a real database.

use roadstead_metadata::NewServiceKey;

use super::*;
use crate::testing::{World, private_key};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

async fn share(world: &World, number: usize, service: &str, life: Duration) -> String {
    let key = private_key(number);
    let now = world.environment.now();
    world
        .database
        .add_service_key(&NewServiceKey {
            kid: &key.kid,
            service,
            name: "test",
            jwk: &key.jwk,
            created: now,
            expires: now + life,
        })
        .await
        .unwrap();
    key.kid.clone()
}

fn known_keys(world: &World) -> KnownKeys {
    KnownKeys::new(
        world.database.clone(),
        world.environment.clone(),
        "quay".to_owned(),
    )
}

async fn stranger(keys: &KnownKeys, kid: &str) -> Stranger {
    match keys.find(kid).await {
        Err(NoKey::Stranger(stranger)) => stranger,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_approved_key_of_the_service_is_trusted_until_its_end() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = share(&world, 0, "quay", HOUR).await;
    keys.find(&kid).await.unwrap();
    world.clock.advance(HOUR.saturating_sub(SECOND));
    keys.find(&kid).await.unwrap();
    world.clock.advance(SECOND);
    assert_eq!(stranger(&keys, &kid).await, Stranger::Ended);
}

#[tokio::test]
async fn a_key_whose_life_was_extended_is_trusted_on() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = share(&world, 0, "quay", HOUR).await;
    keys.find(&kid).await.unwrap();
    let end = world.environment.now() + 3 * HOUR;
    assert!(world.database.extend_service_key(&kid, end).await.unwrap());
    world.clock.advance(2 * HOUR);
    keys.find(&kid).await.unwrap();
}

#[tokio::test]
async fn keys_of_other_services_and_keys_without_approval_are_not_known() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let other = share(&world, 0, "other", HOUR).await;
    assert_eq!(stranger(&keys, &other).await, Stranger::Unknown);
    let unapproved = share(&world, 1, "quay", HOUR).await;
    world
        .execute("UPDATE servicekey SET approval_id = NULL WHERE service = 'quay'")
        .await;
    assert_eq!(stranger(&keys, &unapproved).await, Stranger::Unknown);
}

#[tokio::test]
async fn a_row_that_holds_no_rsa_key_is_not_known() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = share(&world, 0, "quay", HOUR).await;
    world
        .execute(r#"UPDATE servicekey SET jwk = '{"kty":"oct","k":"AAAA"}'"#)
        .await;
    assert_eq!(stranger(&keys, &kid).await, Stranger::Unknown);
}

#[tokio::test]
async fn a_key_that_was_deleted_is_trusted_for_a_minute_at_most() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = share(&world, 0, "quay", HOUR).await;
    keys.find(&kid).await.unwrap();
    world.execute("DELETE FROM servicekey").await;
    world.clock.advance(REREAD_AFTER.saturating_sub(SECOND));
    keys.find(&kid).await.unwrap();
    world.clock.advance(SECOND);
    for _ in 0..2 {
        assert_eq!(stranger(&keys, &kid).await, Stranger::Unknown);
    }
}

#[tokio::test]
async fn an_id_that_was_not_known_is_looked_up_again_after_a_while() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = private_key(0).kid.clone();
    assert_eq!(stranger(&keys, &kid).await, Stranger::Unknown);
    share(&world, 0, "quay", HOUR).await;
    assert_eq!(stranger(&keys, &kid).await, Stranger::Unknown);
    world.clock.advance(STRANGER_FOR);
    keys.find(&kid).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_unknown_ids_costs_bounded_queries_and_memory_and_known_keys_go_on() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = share(&world, 0, "quay", 24 * HOUR).await;
    keys.find(&kid).await.unwrap();
    // Long enough that known keys have to be read again in the middle of it.
    for second in 0..(REREAD_AFTER.as_secs() + 5) {
        let mut refused = 0;
        for number in 0..500 {
            let unknown = format!("unknown-{second}-{number}");
            if let Err(NoKey::TooManyLookups) = keys.find(&unknown).await {
                refused += 1;
            }
        }
        assert!(refused >= 500 - LOOKUPS_PER_SECOND, "{refused}");
        assert!(keys.lookups() <= LOOKUPS_PER_SECOND);
        let (known, strangers) = keys.remembered();
        assert!(
            known == 1 && strangers <= STRANGERS_MAX,
            "{known} {strangers}"
        );
        keys.find(&kid).await.unwrap();
        world.clock.advance(SECOND);
    }
}

#[tokio::test]
async fn the_same_unknown_id_again_and_again_costs_one_query() {
    let world = World::new().await;
    let keys = known_keys(&world);
    for _ in 0..1000 {
        assert_eq!(stranger(&keys, "unknown").await, Stranger::Unknown);
    }
    assert_eq!(keys.lookups(), 1);
}

#[tokio::test]
async fn an_id_that_no_row_can_have_costs_no_query() {
    let world = World::new().await;
    let keys = known_keys(&world);
    for kid in ["", "a b", "ä", "a\0", &"x".repeat(256)] {
        assert_eq!(stranger(&keys, kid).await, Stranger::Unknown, "{kid}");
    }
    assert_eq!(keys.lookups(), 0);
    assert_eq!(keys.remembered(), (0, 0));
}

#[tokio::test]
async fn known_keys_are_trusted_to_their_end_while_the_database_is_away() {
    let world = World::new().await;
    let keys = known_keys(&world);
    let kid = share(&world, 0, "quay", HOUR).await;
    keys.find(&kid).await.unwrap();
    world.lose_database().await;
    world.clock.advance(HOUR.saturating_sub(SECOND));
    keys.find(&kid).await.unwrap();
    world.clock.advance(SECOND);
    assert!(matches!(keys.find(&kid).await, Err(NoKey::Backend(_))));
    assert!(matches!(keys.find("unknown").await, Err(NoKey::Backend(_))));
}
