//! Which regions are taken out, and which must stay.

use roadstead_metadata::Instance;

use super::*;
use crate::world::{World, name};

/// Lets a process of a region tell of itself.
async fn run(world: &World, region: &str) {
    let now = world.replication.environment.now();
    let instance = Instance {
        name: format!("a registry in {region}"),
        region: name(region),
        seen_at: now,
        locations: "[]".to_owned(),
    };
    let database = &world.replication.database;
    database
        .note_instance(&instance, now - ENDED_AFTER)
        .await
        .unwrap();
}

async fn out(world: &World) -> Vec<String> {
    let sites = world.replication.sites().await.unwrap();
    let out = sites.into_iter().filter(|site| site.drained.is_some());
    out.map(|site| site.region.to_string()).collect()
}

#[tokio::test]
async fn a_region_is_taken_out_and_back_and_the_last_stays_unless_somebody_insists() {
    let world = World::new(&["us", "eu"]).await;
    for region in ["us", "eu"] {
        run(&world, region).await;
    }
    let replication = &world.replication;
    // Its own, and once more.
    for _ in 0..2 {
        assert_eq!(
            replication.drain_site(None, false).await.unwrap(),
            name("us")
        );
    }
    assert_eq!(out(&world).await, ["us"]);
    let refused = replication.drain_site(Some("eu"), false).await.unwrap_err();
    assert!(
        matches!(&refused, SiteError::Last { region, .. } if *region == name("eu")),
        "{refused}"
    );
    assert!(refused.to_string().contains("running: eu, us"), "{refused}");
    assert_eq!(out(&world).await, ["us"]);
    replication.drain_site(Some("eu"), true).await.unwrap();
    assert_eq!(out(&world).await, ["eu", "us"]);
    for was_out in [true, false] {
        let undrained = replication.undrain_site(Some("us")).await.unwrap();
        assert_eq!(undrained, (name("us"), was_out));
    }
    assert_eq!(out(&world).await, ["eu"]);
}

#[tokio::test]
async fn a_region_that_nobody_hears_of_does_not_stand_in_for_another() {
    let world = World::new(&["us", "eu"]).await;
    run(&world, "eu").await;
    world.clock.advance(std::time::Duration::from_mins(3));
    run(&world, "us").await;
    let refused = world.replication.drain_site(Some("us"), false).await;
    assert!(matches!(refused, Err(SiteError::Last { .. })));
    // One that does not run can be taken out for the time when it does.
    world
        .replication
        .drain_site(Some("eu"), false)
        .await
        .unwrap();
    let sites = world.replication.sites().await.unwrap();
    let seen: Vec<_> = sites
        .iter()
        .map(|site| (site.region.as_str(), site.running, site.drained.is_some()))
        .collect();
    assert_eq!(seen, [("eu", false, true), ("us", true, false)]);
}

#[tokio::test]
async fn a_region_that_was_removed_while_it_was_out_can_be_taken_back() {
    let world = World::new(&["us", "eu"]).await;
    let (gone, now) = (name("gone"), world.replication.environment.now());
    let database = &world.replication.database;
    let drained = database.drain_site(&gone, now, now, |_| true).await;
    assert!(drained.unwrap().0);
    let undrained = world.replication.undrain_site(Some("gone")).await;
    assert_eq!(undrained.unwrap(), (gone, true));
    assert!(out(&world).await.is_empty());
    let again = world.replication.undrain_site(Some("gone")).await;
    assert!(matches!(again, Err(SiteError::Unknown { .. })));
}

#[tokio::test]
async fn a_region_that_is_none_is_named_with_those_that_are() {
    let world = World::new(&["us", "eu"]).await;
    for refused in [
        world.replication.drain_site(Some("mars"), true).await.err(),
        world.replication.undrain_site(Some("mars")).await.err(),
    ] {
        let refused = refused.unwrap().to_string();
        assert!(
            refused.contains("`mars`") && refused.contains("eu, us"),
            "{refused}"
        );
    }
}
