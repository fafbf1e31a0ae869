//! The state and the control of replication, as superusers ask for them.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use roadstead_metadata::{ClaimCopies, ClaimCursor};
use roadstead_placement::FailureClass;
use roadstead_replication::QUEUE;
use roadstead_runtime::{Clock as _, Ids as _, SeededIds};
use serde_json::{Value, json};

use super::world::{Answer, World};

const ROUTES: [(&str, &str); 10] = [
    ("GET", "/api/v1/replication"),
    ("GET", "/api/v1/replication/at-risk/us"),
    ("GET", "/api/v1/replication/failed"),
    ("POST", "/api/v1/replication/retry"),
    ("POST", "/api/v1/replication/pause"),
    ("POST", "/api/v1/replication/resume"),
    ("GET", "/api/v1/replication/limit"),
    ("PUT", "/api/v1/replication/limit"),
    ("GET", "/api/v1/replication/webhooks"),
    ("GET", "/api/v1/replication/events"),
];

async fn get(world: &World, path: &str) -> Value {
    let answer = world.get(&format!("/api/v1/replication{path}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    assert!(answer.header("cache-control").contains("no-store"));
    answer.json()
}

async fn send(world: &World, method: &str, path: &str, document: &Value) -> Answer {
    let path = format!("/api/v1/replication{path}");
    let body = if document.is_null() {
        String::new()
    } else {
        document.to_string()
    };
    world.request(method, &path).body(body).await
}

/// Takes every job and puts it off for an hour.
async fn fail_jobs(world: &World, reason: &str) {
    let now = world.clock.now();
    let claim = ClaimCopies {
        queue: QUEUE,
        blobs: 1000,
        region: None,
        elsewhere: &BTreeSet::new(),
        now,
        lease_until: now + Duration::from_mins(1),
        token: SeededIds::new(7).uuid(),
    };
    let mut cursor = ClaimCursor::default();
    let claimed = world.database.claim_copies(&claim, &mut cursor);
    for job in claimed.await.unwrap() {
        let until = now + Duration::from_hours(1);
        let class = FailureClass::TargetFull;
        let put_off = world.database.postpone_job(&job, until, reason, class, now);
        assert!(put_off.await.unwrap());
    }
}

#[tokio::test]
async fn nobody_but_superusers_sees_or_says_anything() {
    let world = World::with(|settings| {
        settings.auth.superusers = ["root"].into();
    })
    .await;
    let administered = World::new().await;
    for (method, path) in ROUTES {
        let anonymous = world.request(method, path).anonymously().send().await;
        assert_eq!(
            anonymous.problem(),
            (401, "invalid_token".to_owned()),
            "{path}"
        );
        assert!(anonymous.header("www-authenticate").starts_with("Bearer"));
        let answer = world.request(method, path).send().await;
        assert_eq!(
            answer.problem(),
            (403, "insufficient_scope".to_owned()),
            "{path}"
        );
        let token = format!("Bearer {}", administered.token);
        let by_token = administered
            .request(method, path)
            .anonymously()
            .with("authorization", &token);
        let answer = by_token.send().await;
        assert_eq!(
            answer.problem(),
            (401, "invalid_token".to_owned()),
            "a token for pushing and pulling opens nothing here: {path}"
        );
        let known = administered.request(method, path).send().await;
        assert_eq!(known.status, 200, "{method} {path}: {known:?}");
    }
    let control = administered.replication().control().await.unwrap();
    assert!(control.paused.is_none(), "what was paused is resumed");
}

#[tokio::test]
async fn what_is_missing_is_told_of_everything_one_location_or_one_image() {
    let world = World::new().await;
    world.push_image("v1").await;
    let report = get(&world, "").await;
    assert_eq!(report["complete"], false);
    assert_eq!(report["locations"][0]["location"], "eu");
    assert_eq!(
        report["locations"][0]["missing"],
        json!({"blobs": 2, "bytes": 4})
    );
    let us = get(&world, "?location=us").await;
    assert_eq!(
        (&us["complete"], us["locations"].as_array().unwrap().len()),
        (&json!(true), 1)
    );
    let image = get(&world, "?image=acme/app:v1").await;
    let states: Vec<&Value> = image["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|here| &here["state"])
        .collect();
    assert_eq!(states, ["copying", "complete"]);
    let there = get(&world, "?image=acme%2Fapp%3Av1&location=us").await;
    assert_eq!(there["complete"], true);
}

#[tokio::test]
async fn failed_copies_and_images_at_risk_are_listed_in_pages_to_their_end() {
    let world = World::new().await;
    for tag in ["v1", "v2", "v3"] {
        world.push_image(tag).await;
    }
    fail_jobs(&world, "the disk is full").await;
    let mut digests = BTreeSet::new();
    let mut path = "/failed?limit=3".to_owned();
    loop {
        let page = get(&world, &path).await;
        for copy in page["copies"].as_array().unwrap() {
            assert_eq!(copy["reason"], "the disk is full");
            digests.insert(copy["digest"].as_str().unwrap().to_owned());
        }
        if page["next_page"].is_null() {
            break;
        }
        path = format!("/failed?limit=3&next_page={}", page["next_page"]);
    }
    assert_eq!(digests.len(), 4);

    let first = get(&world, "/at-risk/us?limit=2").await;
    assert_eq!(
        (
            &first["images"].as_array().unwrap().len(),
            &first["lost"]["blobs"]
        ),
        (&2, &json!(4))
    );
    let next = first["next_page"].as_str().unwrap();
    let second = get(&world, &format!("/at-risk/us?limit=2&next_page={next}")).await;
    assert_eq!(
        second["images"],
        json!([{"image": "acme/app:v3", "blobs": 2, "bytes": 4}])
    );
    assert_eq!(second["next_page"], Value::Null);
    assert_eq!(second.get("lost"), None, "only the first page counts");
    assert_eq!(get(&world, "/at-risk/eu").await["images"], json!([]));

    let one = digests.first().unwrap();
    let retried = send(&world, "POST", "/retry", &json!({"digest": one})).await;
    assert_eq!(retried.json(), json!({"retried": 1}));
    let retried = send(&world, "POST", "/retry", &json!({"location": "eu"})).await;
    assert_eq!(retried.json(), json!({"retried": 3}));
    let retried = send(&world, "POST", "/retry", &Value::Null).await;
    assert_eq!(retried.json(), json!({"retried": 0}));
}

#[tokio::test]
async fn copying_is_paused_resumed_and_limited_and_every_answer_says_how_it_is_now() {
    let world = World::new().await;
    let eu = json!({"location": "eu"});
    let paused = send(&world, "POST", "/pause", &eu).await;
    assert_eq!(
        paused.json(),
        json!({"everything_paused": false, "paused_locations": ["eu"], "limits": []})
    );
    let paused = send(&world, "POST", "/pause", &Value::Null).await;
    assert_eq!(paused.json()["everything_paused"], true);
    let status = get(&world, "").await;
    assert_eq!(status["locations"][1]["paused"], true);
    send(&world, "POST", "/resume", &json!({})).await;
    let resumed = send(&world, "POST", "/resume", &eu).await;
    assert_eq!(
        resumed.json(),
        json!({"everything_paused": false, "paused_locations": [], "limits": []})
    );
    let by_night =
        json!({"source": "us", "target": "eu", "bytes_per_second": 1000, "between": "22:00-06:00"});
    let always = json!({"location": "eu", "bytes_per_second": 500});
    send(&world, "PUT", "/limit", &by_night).await;
    let limited = send(&world, "PUT", "/limit", &always).await.json();
    assert_eq!(
        limited["limits"],
        json!([{"location": "eu", "bytes_per_second": 500, "between": null}, by_night])
    );
    assert_eq!(get(&world, "/limit").await, limited);
    let lifted = json!({"source": "us", "target": "eu", "bytes_per_second": null});
    let left = send(&world, "PUT", "/limit", &lifted).await.json();
    assert_eq!(left["limits"].as_array().unwrap().len(), 1, "{left}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_and_changes_nothing() {
    let world = World::new().await;
    world.push_image("v1").await;
    let gets = [
        ("?location=nowhere", (404, "not_found")),
        ("?location=", (404, "not_found")),
        ("?location=%00", (400, "invalid_request")),
        ("?image=acme/app:v2", (404, "not_found")),
        ("?image=app", (400, "invalid_request")),
        ("?image=acme/app@sha256:beef", (400, "invalid_request")),
        ("?image=ACME/app:v1", (400, "invalid_request")),
        ("/at-risk/nowhere", (404, "not_found")),
        ("/at-risk/%ff", (400, "invalid_request")),
        ("/at-risk/us?next_page=x", (400, "invalid_request")),
        ("/at-risk/us?limit=0", (400, "invalid_request")),
        ("/at-risk/us?limit=10001", (400, "invalid_request")),
        ("/failed?limit=many", (400, "invalid_request")),
        (
            "/failed?next_page=9999999999999999999999",
            (400, "invalid_request"),
        ),
        ("/failed?location=nowhere", (404, "not_found")),
        ("/at-risk/", (404, "not_found")),
        ("/at-risk/us/eu", (404, "not_found")),
        ("/nothing", (404, "not_found")),
        ("s", (404, "not_found")),
        ("/pause", (405, "invalid_request")),
    ];
    for (path, (status, kind)) in gets {
        let answer = world.get(&format!("/api/v1/replication{path}")).await;
        assert_eq!(answer.problem(), (status, kind.to_owned()), "{path}");
    }
    let long = format!(r#"{{"location": "{}"}}"#, "a".repeat(70_000));
    let sends = [
        ("POST", "/pause", r#"{"location": "nowhere"}"#, 404),
        ("POST", "/pause", r#"{"location": 7}"#, 400),
        ("POST", "/pause", r#"{"locatoin": "eu"}"#, 400),
        ("POST", "/pause", "[", 400),
        ("POST", "/pause", &long, 413),
        ("POST", "/retry", r#"{"digest": "sha256:beef"}"#, 400),
        (
            "PUT",
            "/limit",
            r#"{"location": "eu", "bytes_per_second": 0}"#,
            400,
        ),
        (
            "PUT",
            "/limit",
            r#"{"location": "eu", "bytes_per_second": -5}"#,
            400,
        ),
        (
            "PUT",
            "/limit",
            r#"{"location": "eu", "source": "us", "bytes_per_second": 5}"#,
            400,
        ),
        (
            "PUT",
            "/limit",
            r#"{"source": "us", "target": "us", "bytes_per_second": 5}"#,
            400,
        ),
        (
            "PUT",
            "/limit",
            r#"{"location": "nowhere", "bytes_per_second": 5}"#,
            404,
        ),
        (
            "PUT",
            "/limit",
            r#"{"bytes_per_second": 5, "between": "at night"}"#,
            400,
        ),
        ("DELETE", "/limit", "", 405),
        ("POST", "", "", 405),
    ];
    for (method, path, body, status) in sends {
        let target = format!("/api/v1/replication{path}");
        let answer = world.request(method, &target).body(body.to_owned()).await;
        assert_eq!(answer.problem().0, status, "{path} {body}");
    }
    let control = world.replication().control().await.unwrap();
    assert_eq!(control, roadstead_placement::CopyControl::default());
}

#[tokio::test]
async fn webhooks_are_added_listed_and_removed_and_say_nothing_secret() {
    let world = World::new().await;
    let added = send(
        &world,
        "POST",
        "/webhooks",
        &json!({
            "url": "https://user:s3cret@hooks.example/s3cret",
            "secret": "s3cret of some length",
            "location": "eu",
            "namespace": "acme",
        }),
    )
    .await;
    assert_eq!(
        (added.status, added.json()),
        (StatusCode::CREATED, json!({ "id": 1 }))
    );
    let list = get(&world, "/webhooks").await;
    let webhook = &list["webhooks"][0];
    assert_eq!(
        (
            &webhook["address"],
            &webhook["location"],
            &webhook["namespace"],
            &webhook["signed"]
        ),
        (
            &json!("https://hooks.example"),
            &json!("eu"),
            &json!("acme"),
            &json!(true)
        )
    );
    assert!(!list.to_string().contains("s3cret"), "{list}");
    let removed = send(&world, "DELETE", "/webhooks/1", &Value::Null).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let again = send(&world, "DELETE", "/webhooks/1", &Value::Null).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "{again:?}");
    assert_eq!(get(&world, "/webhooks").await, json!({ "webhooks": [] }));
}

#[tokio::test]
async fn what_cannot_be_a_webhook_is_refused() {
    let world = World::new().await;
    let url = "http://hooks.example/";
    for (document, status) in [
        (json!(null), 400),
        (json!({}), 400),
        (json!({"url": 7}), 400),
        (json!({"url": url, "more": 1}), 400),
        (json!({"url": "ftp://hooks.example/"}), 400),
        (json!({"url": "http://169.254.169.254/latest"}), 400),
        (json!({"url": url, "secret": "short"}), 400),
        (json!({"url": url, "location": "mars"}), 404),
        (json!({"url": url, "namespace": "mars"}), 404),
        (
            json!({"url": format!("http://hooks.example/{}", "a".repeat(70_000))}),
            413,
        ),
    ] {
        let answer = send(&world, "POST", "/webhooks", &document).await;
        assert_eq!(answer.status, status, "{document}: {answer:?}");
    }
    for (method, path, status) in [
        ("DELETE", "/webhooks/", 405),
        ("DELETE", "/webhooks/x", 404),
        ("DELETE", "/webhooks/-1", 404),
        ("DELETE", "/webhooks/1/2", 404),
        ("DELETE", "/webhooks/99999999999999999999", 404),
        ("GET", "/webhooks/1", 405),
        ("DELETE", "/webhooks", 405),
        ("POST", "/events", 405),
        ("GET", "/events?after=x", 400),
        ("GET", "/events?limit=0", 400),
    ] {
        let answer = send(&world, method, path, &Value::Null).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    assert_eq!(get(&world, "/webhooks").await, json!({ "webhooks": [] }));
    let others = World::with(|settings| {
        settings.auth.superusers = ["root"].into();
    })
    .await;
    for (method, path) in [("POST", "/webhooks"), ("DELETE", "/webhooks/1")] {
        let answer = send(&others, method, path, &json!({ "url": url })).await;
        assert_eq!(
            answer.problem(),
            (403, "insufficient_scope".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn events_are_listed_from_where_the_last_page_ended() {
    let world = World::new().await;
    for tag in ["v1", "v2"] {
        world.push_image(tag).await;
    }
    let settled = world.database.settle_awaited_images(10, world.clock.now());
    assert_eq!(settled.await.unwrap().complete, 2);
    let first = get(&world, "/events?limit=1").await;
    let event = &first["events"][0];
    assert_eq!(
        (&event["kind"], &event["repository"], &event["location"]),
        (&json!("image.complete"), &json!("acme/app"), &json!("us"))
    );
    let second = get(&world, &format!("/events?after={}", event["id"])).await;
    assert_eq!(second["events"].as_array().unwrap().len(), 1);
    assert_ne!(second["events"][0]["digest"], event["digest"]);
}
