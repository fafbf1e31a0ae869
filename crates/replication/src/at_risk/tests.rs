//! What would be lost is found without the store that might be lost.

use super::*;
use crate::world::{World, name};

async fn all(world: &World, location: &str, limit: u32) -> Vec<String> {
    let mut images = Vec::new();
    let mut after = ExposedPosition::default();
    loop {
        let page = world
            .replication
            .exposed_images(&name(location), after, limit)
            .await
            .unwrap();
        images.extend(page.images.into_iter().map(|image| image.image));
        match page.next {
            // As it goes through a URL.
            Some(next) => after = next.to_string().parse().unwrap(),
            None => return images,
        }
    }
}

#[tokio::test]
async fn images_are_at_risk_until_they_are_copied_also_while_the_store_is_down() {
    let world = World::new(&["us", "eu"]).await;
    for tag in ["v1", "v2", "v3"] {
        world.push_image("us", tag, &[tag.as_bytes()]).await;
    }
    world.faults("us").take_down();
    let exposure = world.replication.exposure("us").await.unwrap();
    assert_eq!((exposure.images, exposure.lost.blobs), (3, 6));
    for limit in [1, 2, 1000] {
        assert_eq!(
            all(&world, "us", limit).await,
            ["admin/app:v1", "admin/app:v2", "admin/app:v3"]
        );
    }
    assert_eq!(world.replication.exposure("eu").await.unwrap().images, 0);
    world.faults("us").heal();
    world.clock.advance(std::time::Duration::from_mins(1));
    world.work().await;
    let exposure = world.replication.exposure("us").await.unwrap();
    assert_eq!((exposure.images, exposure.lost), (0, Amount::default()));
    assert!(all(&world, "us", 10).await.is_empty());
    let unknown = world.replication.exposure("nowhere").await.unwrap_err();
    assert!(
        unknown.to_string().contains("known are: eu, us"),
        "{unknown}"
    );
}

#[test]
fn a_position_that_nobody_wrote_is_refused() {
    for text in [
        "",
        "-",
        "1",
        "1-",
        "-1-2",
        "+1-2",
        "1-2-3",
        "99999999999-1",
        "a-b",
    ] {
        assert_eq!(text.parse::<ExposedPosition>(), Err(NoPosition), "{text}");
    }
    let beginning = ExposedPosition::default();
    assert_eq!(beginning.to_string().parse(), Ok(beginning));
}
