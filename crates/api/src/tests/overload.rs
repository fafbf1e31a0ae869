//! More requests at once than are answered at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt as _, stream};
use http::{StatusCode, Version};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use roadstead_storage::Operation;

use super::world::{APP, Answer, World};
use crate::ConcurrencyLimits;

/// One place of each kind; two requests wait for it.
async fn one_at_a_time() -> World {
    World::with(|settings| {
        settings.api.concurrency = ConcurrencyLimits {
            requests: 1,
            uploads: 1,
            downloads: 1,
        };
    })
    .await
}

/// What is told of one kind of requests.
fn told(world: &World, metric: &str, kind: &str) -> Option<f64> {
    let families = world.service.metrics();
    let family = families.iter().find(|family| family.name() == metric)?;
    let metric = family
        .get_metric()
        .iter()
        .find(|metric| metric.get_label()[0].value() == kind)?;
    Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
}

#[tokio::test]
async fn requests_beyond_the_bound_wait_in_their_order_and_others_are_told_to_come_back() {
    let world = one_at_a_time().await;
    world.push_image("v1").await;
    world.us.stall(Operation::Stage);
    let uploads = format!("/v2/{APP}/blobs/uploads/");
    let (tags, manifest) = (
        format!("/v2/{APP}/tags/list"),
        format!("/v2/{APP}/manifests/v1"),
    );
    let mut held = Box::pin(world.request("POST", &uploads).send());
    tokio::select! {
        answer = &mut held => panic!("{answer:?}"),
        () = world.us.until_stalled(1) => {}
    }
    let mut first = Box::pin(world.get(&tags));
    let mut second = Box::pin(world.head(&manifest));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());

    let refused = world.get(&manifest).await;
    assert_eq!(refused.error(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(refused.header("retry-after"), "10");
    let refused = world.head(&manifest).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "10");
    assert!(refused.body.is_empty());
    let refused = world.get("/api/v1/user/").await;
    assert_eq!(refused.problem(), (503, "downstream_issue".to_owned()));
    assert_eq!(refused.header("retry-after"), "10");

    for (path, status) in [
        ("/health/instance", 200),
        ("/health/endtoend", 200),
        ("/_internal_ping", 200),
        ("/v2/", 401),
        ("/nothing", 404),
    ] {
        let answer = world.request("GET", path).anonymously().send().await;
        assert_eq!(answer.status, status, "{path}");
    }
    for (metric, value) in [
        ("roadstead_http_places", 1.0),
        ("roadstead_http_places_taken", 1.0),
        ("roadstead_http_places_awaited", 2.0),
        ("roadstead_http_crowded_total", 3.0),
    ] {
        assert_eq!(told(&world, metric, "request"), Some(value), "{metric}");
    }

    world.us.heal();
    assert_eq!(held.await.status, StatusCode::ACCEPTED);
    assert!(second.as_mut().now_or_never().is_none(), "first came first");
    assert_eq!(first.await.status, StatusCode::OK);
    assert_eq!(second.await.status, StatusCode::OK);
    assert_eq!(
        told(&world, "roadstead_http_places_taken", "request"),
        Some(0.0)
    );
}

#[tokio::test]
async fn what_is_answered_from_memory_is_refused_too_when_too_many_ask_at_once() {
    const CLIENTS: usize = 30;
    let world = one_at_a_time().await;
    world.push_image("v1").await;
    let manifest = format!("/v2/{APP}/manifests/v1");
    assert_eq!(world.get(&manifest).await.status, StatusCode::OK);
    // Each on a connection of its own, and as many streams of one.
    for (connections, version) in [(CLIENTS, Version::HTTP_11), (1, Version::HTTP_2)] {
        let connections: Vec<_> = (0..connections)
            .map(|_| world.service.connected())
            .collect();
        let answers = connections.iter().cycle().take(CLIENTS).map(|connection| {
            let request = world.request("GET", &manifest);
            let mut request = request.build(Full::new(Bytes::new()));
            *request.version_mut() = version;
            async { connection.answer(request).await.status() }
        });
        let statuses = join_all(answers).await;
        let with = |status| statuses.iter().filter(|seen| **seen == status).count();
        assert_eq!(with(StatusCode::OK), 3, "one has the place, two wait");
        assert_eq!(with(StatusCode::SERVICE_UNAVAILABLE), CLIENTS - 3);
    }
    assert_eq!(world.get(&manifest).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_place_is_free_again_when_its_client_goes_and_nobody_waits_longer_than_a_second() {
    let world = one_at_a_time().await;
    world.us.stall(Operation::Stage);
    let uploads = format!("/v2/{APP}/blobs/uploads/");
    let tags = format!("/v2/{APP}/tags/list");
    let mut held = Box::pin(world.request("POST", &uploads).send());
    tokio::select! {
        answer = &mut held => panic!("{answer:?}"),
        () = world.us.until_stalled(1) => {}
    }
    let mut gone = Box::pin(world.get(&tags));
    let mut patient = Box::pin(world.get(&tags));
    assert!(gone.as_mut().now_or_never().is_none());
    assert!(patient.as_mut().now_or_never().is_none());
    drop(gone);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(patient.await.error(), (503, "UNAVAILABLE".to_owned()));

    let mut next = Box::pin(world.get(&tags));
    assert!(next.as_mut().now_or_never().is_none());
    drop(held);
    assert_eq!(next.await.status, StatusCode::OK);
}

#[tokio::test]
async fn clients_that_send_slowly_keep_out_neither_pulls_nor_what_is_short() {
    let world = one_at_a_time().await;
    let blob = format!("/v2/{APP}/blobs/{}", world.push_blob(b"pulled").await);
    let upload = world.start_upload().await;
    let reading = Arc::new(AtomicBool::new(false));
    let silence = || {
        let flag = Arc::clone(&reading);
        StreamBody::new(stream::poll_fn(
            move |_| -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
                flag.store(true, Ordering::SeqCst);
                Poll::Pending
            },
        ))
    };
    let mut held = Box::pin(world.request("PATCH", &upload).stream(silence()));
    while !reading.load(Ordering::SeqCst) {
        assert!(held.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(world.get(&blob).await.status, StatusCode::OK);
    assert_eq!(world.get("/v2/").await.status, StatusCode::OK);

    let mut waiting = Box::pin(world.push_blob(b"pushed"));
    assert!(waiting.as_mut().now_or_never().is_none());
    let mut other = Box::pin(world.push_blob(b"also pushed"));
    assert!(other.as_mut().now_or_never().is_none());
    let refused = world.push_manifest("v1", "{}").await;
    assert_eq!(refused.error(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(
        refused.header("connection"),
        "",
        "what little it sent was read, so that its connection can be used again"
    );
    // Who waits to be asked for a body is not asked for one that is thrown away.
    let refused = world
        .request("PATCH", &upload)
        .with("expect", "100-continue")
        .stream(silence())
        .await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("connection"), "close");

    drop(held);
    waiting.await;
    other.await;
}

#[tokio::test]
async fn a_download_has_its_place_until_its_body_has_gone() {
    let world = one_at_a_time().await;
    let blob = format!("/v2/{APP}/blobs/{}", world.push_blob(b"pulled").await);
    let request = || world.request("GET", &blob).build(Full::new(Bytes::new()));
    let unread = Box::pin(world.service.answer(request())).await;
    assert_eq!(unread.status(), StatusCode::OK);
    assert_eq!(world.head(&blob).await.status, StatusCode::OK);
    let mut waiting = Box::pin(world.get(&blob));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(unread);
    let answer = waiting.await;
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::OK, &b"pulled"[..])
    );

    let read = Answer::read(Box::pin(world.service.answer(request())).await).await;
    assert_eq!(read.expect("a whole body").status, StatusCode::OK);
    assert_eq!(
        told(&world, "roadstead_http_places_taken", "download"),
        Some(0.0)
    );
}
