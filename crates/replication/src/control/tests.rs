//! What is said about locations that there are and that there are not.

use super::*;
use crate::world::{World, name};

fn limit(link: Link, rate: u64) -> CopyLimit {
    CopyLimit {
        link,
        bytes_per_second: NonZeroU64::new(rate).unwrap(),
        window: None,
    }
}

#[tokio::test]
async fn only_locations_that_there_are_can_be_paused_or_limited() {
    let world = World::new(&["us", "eu"]).await;
    let replication = &world.replication;
    let nowhere = Link::Location(name("nowhere"));
    for error in [
        replication.pause(Some("nowhere")).await.unwrap_err(),
        replication
            .resume(Some("nowhere"))
            .await
            .map(drop)
            .unwrap_err(),
        replication
            .limit(&limit(nowhere.clone(), 1))
            .await
            .unwrap_err(),
        replication
            .unlimit(&nowhere, None)
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "there is no location `nowhere`; known are: eu, us"
        );
    }
    let loop_ = Link::Pair {
        source: name("us"),
        target: name("us"),
    };
    let error = replication.limit(&limit(loop_, 1)).await.unwrap_err();
    assert!(error.to_string().contains("name two locations"), "{error}");
    let error = replication.resume(Some("a\nb")).await.unwrap_err();
    assert!(error.to_string().contains("a\\nb"), "{error}");
    assert_eq!(replication.control().await.unwrap(), CopyControl::default());
}

#[tokio::test]
async fn resuming_everything_leaves_locations_resting_that_were_paused_by_themselves() {
    let world = World::new(&["us", "eu"]).await;
    let replication = &world.replication;
    replication.pause(Some("eu")).await.unwrap();
    replication.pause(None).await.unwrap();
    assert!(replication.resume(None).await.unwrap());
    assert!(!replication.resume(None).await.unwrap());
    let control = replication.control().await.unwrap();
    assert!(control.is_paused(Some(&name("us")), &name("eu")));
    assert!(replication.resume(Some("eu")).await.unwrap());
    assert!(replication.control().await.unwrap().paused.is_none());
}

#[tokio::test]
async fn what_was_paused_is_copied_as_soon_as_it_is_resumed() {
    let world = World::new(&["us", "eu"]).await;
    world.replication.pause(Some("eu")).await.unwrap();
    let blob = world.push_image("us", "v1", &[]).await.remove(0);
    world.work().await;
    assert!(world.work().await.is_empty(), "it is put off");
    assert!(world.replication.resume(Some("eu")).await.unwrap());
    // As long as a process goes by what it knew before.
    world.clock.advance(std::time::Duration::from_secs(5));
    world.work().await;
    assert_eq!(world.present(&blob).await, ["eu", "us"]);
}

#[test]
fn a_limit_is_read_as_it_is_written_and_names_all_ends_of_its_link_or_none() {
    let links = [
        Link::All,
        Link::Location(name("eu")),
        Link::Pair {
            source: name("us"),
            target: name("eu"),
        },
    ];
    for link in links {
        let document = LimitDocument::from(&limit(link.clone(), 5));
        let text = serde_json::to_string(&document).unwrap();
        let read: LimitDocument = serde_json::from_str(&text).unwrap();
        assert_eq!(read, document);
        assert_eq!(read.link(), Some(link), "{text}");
    }
    for text in [
        r#"{"location": "eu", "source": "us", "bytes_per_second": 5}"#,
        r#"{"target": "us", "bytes_per_second": 5}"#,
    ] {
        let read: LimitDocument = serde_json::from_str(text).unwrap();
        assert_eq!(read.link(), None, "{text}");
    }
    for text in [
        r#"{"bytes_per_second": 0}"#,
        r#"{"bytes_per_second": -1}"#,
        r#"{"bytes_per_second": 5, "locaton": "eu"}"#,
        r#"{"location": "", "bytes_per_second": 5}"#,
    ] {
        assert!(
            serde_json::from_str::<LimitDocument>(text).is_err(),
            "{text}"
        );
    }
}
