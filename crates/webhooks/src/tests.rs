//! What receivers are sent, on real databases and over real connections.

mod receiver;
mod world;

use std::time::Duration;

use roadstead_runtime::Tasks;
use roadstead_secrets::{FieldKey, Secret};
use roadstead_test_servers::{CertificateAuthority, HttpsServer};

use crate::address::Address;
use crate::message::signature;
use crate::sender::Sender;
use crate::{AddError, NewHook, SIGNATURE};
use receiver::{Behaviour, Receiver};
use world::{eventually, worlds};

const SECRET: &str = "a secret of some length";

fn hook(url: &str) -> NewHook {
    NewHook {
        url: Secret::new(url),
        secret: None,
        location: None,
        namespace: None,
    }
}

#[tokio::test]
async fn an_event_is_sent_signed_with_everything_that_it_says() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Takes).await;
        let new = NewHook {
            secret: Some(Secret::new(SECRET)),
            location: Some("us".parse().unwrap()),
            namespace: Some("acme".to_owned()),
            ..hook(&receiver.url("/hooks/1?token=t"))
        };
        let id = world.webhooks.add(&new).await.unwrap();
        let digest = world.push("app", "v1").await;
        world.run_once().await;
        let requests = receiver.requests();
        let [request] = &requests[..] else {
            panic!("one request: {requests:?}");
        };
        assert_eq!(request.line, "POST /hooks/1?token=t");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["roadstead-event"], "image.complete");
        assert_eq!(
            request.headers[SIGNATURE],
            signature(&Secret::new(SECRET), &request.body)
        );
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "id": body["id"].as_i64().unwrap(),
                "kind": "image.complete",
                "repository": "acme/app",
                "digest": digest,
                "tags": ["v1"],
                "location": "us",
                "pushed_at": "2026-01-01T00:00:00.000Z",
                "complete_at": "2026-01-01T00:00:00.000Z",
            })
        );
        let listed = world.webhooks.list().await.unwrap().remove(0);
        assert_eq!(
            (listed.id, listed.delivered, listed.pending, listed.signed),
            (id, 1, 0, true)
        );
        assert_eq!(
            (listed.last_delivered, listed.last_failure),
            (Some(world.now()), None)
        );
        let events = world.webhooks.events(0, 10).await.unwrap();
        assert_eq!(serde_json::to_value(&events[0]).unwrap(), body);
    }
}

#[tokio::test]
async fn nothing_secret_is_kept_readable_or_shown() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Answers(500)).await;
        let url = receiver.url("/s3cret-path?token=s3cret-token");
        let url = url.replace("http://", "http://user:s3cret-password@");
        let new = NewHook {
            secret: Some(Secret::new("s3cret of some length")),
            ..hook(&url)
        };
        world.webhooks.add(&new).await.unwrap();
        world.push("app", "v1").await;
        let lease = world.webhooks.claim().await.unwrap().unwrap();
        assert!(!lease.url.contains("s3cret"), "it is encrypted");
        let printed = format!("{new:?} {lease:?} {:?}", world.webhooks);
        world.webhooks.deliver(lease).await;
        let listed = world.webhooks.list().await.unwrap();
        let text = format!(
            "{printed} {listed:?} {}",
            serde_json::to_string(&listed).unwrap()
        );
        assert!(!text.contains("s3cret"), "{text}");
        assert_eq!(listed[0].address, receiver.url(""));
        assert_eq!(listed[0].last_failure.as_deref(), Some("it answered 500"));
        let request = receiver.requests().remove(0);
        assert_eq!(request.line, "POST /s3cret-path?token=s3cret-token");
        assert!(request.headers["authorization"].starts_with("Basic "));
    }
}

#[tokio::test]
async fn what_cannot_be_a_webhook_is_refused() {
    let [world, _] = worlds().await;
    for url in ["ftp://example/", "example", "http://169.254.169.254/latest"] {
        let error = world.webhooks.add(&hook(url)).await.unwrap_err();
        assert!(matches!(error, AddError::Address(_)), "{url}: {error}");
    }
    let short = NewHook {
        secret: Some(Secret::new("short")),
        ..hook("http://example/")
    };
    assert!(matches!(
        world.webhooks.add(&short).await,
        Err(AddError::Secret)
    ));
    let nobody = NewHook {
        namespace: Some("nobody".to_owned()),
        ..hook("http://example/")
    };
    let error = world.webhooks.add(&nobody).await.unwrap_err().to_string();
    assert_eq!(error, "there is no namespace `nobody`");

    let mut keyless = world.webhooks.clone();
    keyless.key = None;
    let signed = NewHook {
        secret: Some(Secret::new(SECRET)),
        ..hook("http://example/")
    };
    for new in [signed, hook("http://user:password@example/")] {
        assert!(matches!(keyless.add(&new).await, Err(AddError::NoKey)));
    }
    keyless.add(&hook("http://example/")).await.unwrap();
    assert!(!world.webhooks.remove(77).await.unwrap());
}

#[tokio::test]
async fn a_receiver_that_was_down_is_told_everything_when_it_is_up() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Takes).await;
        let url = receiver.url("/");
        let address = receiver.stop().await;
        world.webhooks.add(&hook(&url)).await.unwrap();
        for tag in ["v1", "v2", "v3"] {
            world.push("app", tag).await;
        }
        for _ in 0..5 {
            world.run_once().await;
            world.clock.advance(Duration::from_mins(20));
        }
        let listed = world.webhooks.list().await.unwrap().remove(0);
        assert_eq!((listed.delivered, listed.pending), (0, 3));
        let failure = listed.last_failure.unwrap();
        assert!(
            failure.starts_with("it cannot be connected to"),
            "{failure}"
        );

        let receiver = Receiver::start_at(address, Behaviour::Takes).await;
        world.run_once().await;
        assert_eq!(receiver.tags(), ["v1", "v2", "v3"]);
        let listed = world.webhooks.list().await.unwrap().remove(0);
        assert_eq!(
            (listed.delivered, listed.pending, listed.given_up),
            (3, 0, 0)
        );
    }
}

#[tokio::test]
async fn redirects_errors_and_silence_are_failures_and_given_up_after_a_day() {
    for world in worlds().await {
        let elsewhere = Receiver::start(Behaviour::Takes).await;
        let silent = Receiver::start(Behaviour::Hangs).await;
        let behaviours = [
            (
                Behaviour::Redirects(elsewhere.url("/")),
                "it answered 307, and redirects are not followed",
            ),
            (Behaviour::Answers(500), "it answered 500"),
            (Behaviour::Answers(404), "it answered 404"),
        ];
        let mut expected = Vec::new();
        let mut receivers = Vec::new();
        for (behaviour, failure) in behaviours {
            let receiver = Receiver::start(behaviour).await;
            world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
            receivers.push(receiver);
            expected.push(failure);
        }
        world.webhooks.add(&hook(&silent.url("/"))).await.unwrap();
        expected.push("it did not answer within");
        world.push("app", "v1").await;
        world.run_once().await;
        let listed = world.webhooks.list().await.unwrap();
        for (webhook, expected) in listed.iter().zip(&expected) {
            let failure = webhook.last_failure.clone().unwrap();
            assert!(failure.starts_with(expected), "{failure}");
            assert_eq!((webhook.pending, webhook.given_up), (1, 0));
        }
        world.clock.advance(Duration::from_hours(24));
        world.run_once().await;
        for webhook in world.webhooks.list().await.unwrap() {
            assert_eq!((webhook.pending, webhook.given_up), (0, 1), "{webhook:?}");
        }
        assert!(elsewhere.requests().is_empty(), "nobody was sent there");
        assert!(
            receivers
                .iter()
                .all(|receiver| receiver.requests().len() == 2)
        );
    }
}

#[tokio::test]
async fn one_message_that_is_refused_holds_no_other_up() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Refuses("bad")).await;
        world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
        for tag in ["bad", "v1", "v2"] {
            world.push("app", tag).await;
        }
        world.run_once().await;
        let listed = world.webhooks.list().await.unwrap().remove(0);
        assert_eq!((listed.delivered, listed.pending), (2, 1));
        world.push("app", "v3").await;
        world.run_once().await;
        let listed = world.webhooks.list().await.unwrap().remove(0);
        assert_eq!((listed.delivered, listed.pending), (3, 1));
    }
}

#[tokio::test]
async fn two_processes_that_run_send_everything_once() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Takes).await;
        world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
        let mut tags = Vec::new();
        for n in 10..60 {
            let tag = format!("v{n}");
            world.push("app", &tag).await;
            tags.push(tag);
        }
        let tasks = Tasks::new();
        for _ in 0..2 {
            let (webhooks, shutdown) = (world.webhooks.clone(), tasks.shutdown());
            tasks.spawn(async move { webhooks.keep_delivering(&shutdown).await });
        }
        eventually(async || {
            // So little that no lease ends while something is sent.
            world.clock.advance(Duration::from_millis(10));
            let listed = world.webhooks.list().await.unwrap();
            listed.iter().all(|webhook| webhook.pending == 0)
        })
        .await;
        assert!(tasks.stop(Duration::from_secs(30)).await);
        let mut sent = receiver.tags();
        sent.sort();
        assert_eq!(sent, tags);
    }
}

#[tokio::test]
async fn a_message_that_was_sent_and_not_noted_is_sent_again_under_the_same_number() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Takes).await;
        world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
        world.push("app", "v1").await;
        let lease = world.webhooks.claim().await.unwrap().unwrap();
        // Ends behind the sending, before anything is noted.
        let lost = world.webhooks.claim().await.unwrap();
        assert!(lost.is_none(), "it is leased");
        drop(lease);
        world.run_once().await;
        assert!(receiver.requests().is_empty());
        world.clock.advance(Duration::from_mins(2));
        world.run_once().await;
        assert_eq!(receiver.tags(), ["v1"]);
    }
}

#[tokio::test]
async fn a_webhook_that_is_removed_is_not_told_what_was_to_be_told() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Takes).await;
        let id = world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
        world.push("app", "v1").await;
        world.push("app", "v2").await;
        // On its way when it was removed.
        let lease = world.webhooks.claim().await.unwrap().unwrap();
        assert!(world.webhooks.remove(id).await.unwrap());
        world.webhooks.deliver(lease).await;
        assert_eq!(receiver.requests().len(), 2);
        world.push("app", "v3").await;
        world.clock.advance(Duration::from_mins(5));
        world.run_once().await;
        assert_eq!(receiver.requests().len(), 2);
        assert!(world.webhooks.list().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_webhook_whose_key_was_changed_says_so() {
    let [world, _] = worlds().await;
    let receiver = Receiver::start(Behaviour::Takes).await;
    world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
    world.push("app", "v1").await;
    let mut other = world.webhooks.clone();
    other.key = Some(FieldKey::new("another key").unwrap());
    let lease = other.claim().await.unwrap().unwrap();
    other.deliver(lease).await;
    let listed = world.webhooks.list().await.unwrap().remove(0);
    let failure = listed.last_failure.unwrap();
    assert!(failure.contains("DATABASE_SECRET_KEY"), "{failure}");
    assert_eq!(listed.pending, 1);
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn an_image_whose_repository_goes_before_it_is_told_is_told_all_the_same() {
    for world in worlds().await {
        let receiver = Receiver::start(Behaviour::Takes).await;
        world.webhooks.add(&hook(&receiver.url("/"))).await.unwrap();
        world.push("app", "v1").await;
        world.delete_tag("app", "v1").await;
        world.run_once().await;
        assert_eq!(receiver.tags(), ["v1"]);
    }
}

#[tokio::test]
async fn a_receiver_is_trusted_by_the_authorities_that_are_given_and_not_without() {
    const TAKEN: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let authority = CertificateAuthority::default();
    let server = HttpsServer::start(&authority.issue(&["localhost"]), TAKEN);
    let address = Address::parse(&server.url()).unwrap();
    for (authorities, taken) in [(authority.pem(), true), ("", false)] {
        let sender = Sender::new(authorities.as_bytes()).unwrap();
        let sent = sender.send(&address, None, "test", b"{}".to_vec()).await;
        assert_eq!(sent.is_ok(), taken, "{sent:?}");
    }
}
