//! What namespaces demand: pushes that wait until several locations hold them, and repositories that never leave a location.

use std::time::Duration;

use roadstead_client::ClientError;
use roadstead_oci::{Reference, RepositoryName};
use roadstead_testkit::{ImageKind, LOCATIONS, TestImage, Universe, UniverseOptions};

fn repository() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn tag(number: u64) -> Reference {
    format!("v{number}").parse().unwrap()
}

fn image(number: u64) -> TestImage {
    TestImage::new(number, ImageKind::Oci, &[200_000 + number, 1_000])
}

async fn demand_two(universe: &Universe, seconds: u64) {
    universe
        .region(0)
        .replication
        .set_min_locations("team", Some((2, Duration::from_secs(seconds))), true)
        .await
        .unwrap();
}

/// Whether a location has every byte of an image, by what lies on its disk.
fn has(universe: &Universe, location: &str, image: &TestImage) -> bool {
    let objects = universe.files(location).objects();
    image.blobs.iter().all(|blob| objects.contains_key(blob))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_was_acknowledged_lies_at_as_many_locations_as_its_namespace_demands() {
    let universe = UniverseOptions::two_regions().start().await;
    let (us, eu) = (universe.client_of(0), universe.client_of(1));
    image(0).push(&us, &repository(), &tag(0)).await.unwrap();
    demand_two(&universe, 120).await;
    for number in 1..=10 {
        let client = if number % 2 == 0 { &us } else { &eu };
        let image = image(number);
        image
            .push(client, &repository(), &tag(number))
            .await
            .unwrap();
        for location in LOCATIONS {
            assert!(has(&universe, location, &image), "{number} at {location}");
        }
    }
    universe.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_location_is_down_such_a_push_ends_in_time_says_why_and_can_be_taken_up_again() {
    let universe = UniverseOptions::two_regions().start().await;
    let us = universe.client_of(0);
    image(0).push(&us, &repository(), &tag(0)).await.unwrap();
    universe.wait_until_replicated().await;
    demand_two(&universe, 2).await;
    universe.faults("eustorage").take_down();
    let image = image(1);
    let refused = image.push(&us, &repository(), &tag(1)).await.unwrap_err();
    let ClientError::Refused { status, errors, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(status.as_u16(), 503, "{refused}");
    let said = format!("{errors:?}");
    assert!(
        said.contains("is stored, but") && said.contains("`eustorage` still lacks"),
        "{said}"
    );
    // Stored it is.
    image.pull(&us, &repository(), &tag(1)).await.unwrap();
    assert!(!has(&universe, "eustorage", &image));

    universe.faults("eustorage").heal();
    demand_two(&universe, 120).await;
    image.push(&us, &repository(), &tag(1)).await.unwrap();
    assert!(has(&universe, "eustorage", &image));
    universe.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confined_stays_where_it_may_be_whoever_pushes_and_pulls_it() {
    let mut universe = UniverseOptions::two_regions().start().await;
    let (us, eu) = (universe.client_of(0), universe.client_of(1));
    image(0).push(&us, &repository(), &tag(0)).await.unwrap();
    universe.wait_until_replicated().await;
    universe.confine("team/app", "eustorage").await;
    let confined = image(1);
    confined.push(&us, &repository(), &tag(1)).await.unwrap();
    // Neither a pull nor a reconciliation brings it to the other region.
    for client in [&us, &eu] {
        confined.pull(client, &repository(), &tag(1)).await.unwrap();
    }
    let replication = &universe.region(0).replication;
    replication.reconcile(|_| ()).await.unwrap();
    universe.wait_until_replicated().await;
    assert!(has(&universe, "eustorage", &confined));
    let at_us = universe.files("usstorage").objects();
    let leaked = confined.blobs.iter().any(|blob| at_us.contains_key(blob));
    assert!(!leaked);
    assert!(universe.files("usstorage").staged().is_empty());

    // Another repository that holds the same layers demands them elsewhere.
    let other = "team/other".parse().unwrap();
    confined.push(&us, &other, &tag(1)).await.unwrap();
    universe.wait_until_replicated().await;
    assert!(has(&universe, "usstorage", &confined));
    universe.expect_leftovers();
    universe.finish().await;
}
