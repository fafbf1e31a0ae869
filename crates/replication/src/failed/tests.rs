//! What failed is said with its reason, and is tried again at once when somebody wants it.

use std::time::Duration;

use super::*;
use crate::world::World;

const TEN: FailedQuery<'_> = FailedQuery {
    location: None,
    after: 0,
    limit: 10,
};

#[tokio::test]
async fn a_copy_that_failed_is_listed_until_it_is_made() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    world.faults("eu").take_down();
    world.work().await;
    let failed = world.replication.failed(TEN).await.unwrap();
    assert_eq!((failed.copies.len(), failed.next), (2, None));
    let copy = failed
        .copies
        .iter()
        .find(|copy| copy.digest == blobs[1].digest)
        .unwrap();
    assert_eq!(
        (copy.location.as_str(), copy.attempts, copy.image.as_deref()),
        ("eu", 1, Some("admin/app:v1"))
    );
    assert!(copy.reason.contains("not available"), "{copy:?}");
    assert_eq!(copy.class, Some("target-down"));
    let one = FailedQuery { limit: 1, ..TEN };
    let first = world.replication.failed(one).await.unwrap();
    let second = FailedQuery {
        after: first.next.unwrap(),
        ..TEN
    };
    let second = world.replication.failed(second).await.unwrap();
    assert_eq!(second.copies.len(), 1);
    assert_ne!(second.copies[0].digest, first.copies[0].digest);
    let elsewhere = FailedQuery {
        location: Some("us"),
        ..TEN
    };
    assert!(
        world
            .replication
            .failed(elsewhere)
            .await
            .unwrap()
            .copies
            .is_empty()
    );
    world.faults("eu").heal();
    world.clock.advance(Duration::from_mins(1));
    world.work().await;
    let failed = world.replication.failed(TEN).await.unwrap();
    assert!(failed.copies.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn a_retry_does_not_wait_for_the_time_that_a_copy_was_put_off_to() {
    let world = World::new(&["us", "eu"]).await;
    let blobs = world.push_image("us", "v1", &[b"layer"]).await;
    world.faults("eu").take_down();
    world.work().await;
    world.faults("eu").heal();
    assert!(world.work().await.is_empty(), "they are put off");
    let retry = async |location, digest| world.replication.retry(location, digest).await;
    assert_eq!(retry(Some("us"), None).await.unwrap(), 0);
    let layer = Some(&blobs[1].digest);
    assert_eq!(retry(Some("eu"), layer).await.unwrap(), 1);
    assert_eq!(world.work().await.len(), 1);
    assert_eq!(retry(None, layer).await.unwrap(), 0);
    assert_eq!(retry(None, None).await.unwrap(), 1);
    assert_eq!(world.work().await.len(), 1);
    assert_eq!(world.jobs().await, 0);
    let unknown = retry(Some("nowhere"), None).await.unwrap_err();
    assert!(
        unknown.to_string().contains("known are: eu, us"),
        "{unknown}"
    );
}
