//! Health endpoints, with Quay's bodies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_client::Client;
use roadstead_testkit::{Content, Universe, UniverseOptions, eventually};
use serde_json::json;

use crate::call::{call, push_blob};

/// Returns once every check is content but that of how full this machine's disk is: it answers as soon as it listens, then it asks its services and makes the key that signs tokens.
async fn ready(client: &Client) {
    for path in [
        "/health/instance",
        "/health/endtoend",
        "/health/ready/pull",
        "/health/ready/push",
    ] {
        call("GET", path).until(client, 200).await;
    }
}

#[tokio::test]
async fn a_healthy_registry_says_so_in_quays_words() {
    let universe = Universe::start().await;
    let client = universe.client_as(0, None);
    ready(&client).await;
    for path in [
        "/health",
        "/health/instance",
        "/health/endtoend",
        "/status",
        "/health/ready/pull",
        "/health/ready/push",
    ] {
        let reply = call("GET", path).send(&client).await.expect(200);
        let body = reply.json();
        assert_eq!(body["status_code"], 200, "{path}: {body}");
        let services = body["data"]["services"].as_object().unwrap();
        assert!(
            services.values().all(|healthy| healthy == true),
            "{path}: {body}"
        );
        assert!(
            services.contains_key("auth") || path.contains("ready"),
            "{path}: {body}"
        );
        let age = reply.header("x-roadstead-health-age");
        assert!(age.parse::<u64>().is_ok(), "{path}: {age}");
        assert!(reply.header("cache-control").contains("no-store"), "{path}");
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
    }
    let instance = call("GET", "/health/instance").send(&client).await.json();
    assert_eq!(
        instance["data"]["services"]["disk_space"], true,
        "{instance}"
    );
    assert_eq!(
        instance["data"]["services"].get("storage"),
        None,
        "{instance}"
    );
    let end_to_end = call("GET", "/health/endtoend").send(&client).await.json();
    assert_eq!(
        end_to_end["data"]["services"]["storage"],
        json!(true),
        "{end_to_end}"
    );
    universe.finish().await;
}

#[tokio::test]
async fn a_region_without_any_store_is_seen_from_end_to_end_and_not_by_the_instance() {
    let universe = Universe::start().await;
    let client = universe.client_as(0, None);
    ready(&client).await;
    universe.faults("usstorage").take_down();
    eventually("the location is down", async || {
        let report = call("GET", "/health/locations").send(&client).await.json();
        let locations = report["data"]["locations"].as_array().unwrap().clone();
        locations
            .iter()
            .any(|found| found["location"] == "usstorage" && found["state"] == "down")
            .then_some(())
    })
    .await;
    // The other one will do.
    call("GET", "/health/endtoend")
        .send(&client)
        .await
        .expect(200);
    universe.faults("eustorage").take_down();
    let body = call("GET", "/health/endtoend")
        .until(&client, 503)
        .await
        .json();
    assert_eq!(body["status_code"], 503, "{body}");
    assert_eq!(body["data"]["services"]["storage"], false, "{body}");
    assert_eq!(body["data"]["services"]["database"], true, "{body}");
    for (path, service) in [
        ("/health/ready/pull", "storage_read"),
        ("/health/ready/push", "storage_write"),
    ] {
        let body = call("GET", path).until(&client, 503).await.json();
        assert_eq!(body["data"]["services"][service], false, "{path}: {body}");
    }
    call("GET", "/health/instance")
        .send(&client)
        .await
        .expect(200);
    universe.faults("usstorage").heal();
    universe.faults("eustorage").heal();
    call("GET", "/health/endtoend").until(&client, 200).await;
    universe.finish().await;
}

#[tokio::test]
async fn a_region_that_is_taken_out_says_so_and_serves_all_the_same() {
    let universe = UniverseOptions::two_regions().start().await;
    let clients = [0, 1].map(|region| universe.client_as(region, None));
    for client in &clients {
        ready(client).await;
    }
    let replication = &universe.region(1).replication;
    // Each process tells of itself within seconds.
    eventually("the other region runs", async || {
        replication.drain_site(Some("usstorage"), false).await.ok()
    })
    .await;
    let body = call("GET", "/health/endtoend")
        .until(&clients[0], 503)
        .await
        .json();
    let services = &body["data"]["services"];
    assert_eq!(
        (&services["site"], &services["storage"]),
        (&json!(false), &json!(true)),
        "{body}"
    );
    call("GET", "/health/ready/push")
        .until(&clients[0], 503)
        .await;
    for path in ["/health/ready/pull", "/health/instance"] {
        call("GET", path).send(&clients[0]).await.expect(200);
    }
    call("GET", "/health/endtoend")
        .send(&clients[1])
        .await
        .expect(200);
    // Both to and from it.
    let digest = push_blob(&universe.client(), "team/app", b"taken all the same").await;
    let path = format!("/v2/team/app/blobs/{digest}");
    call("GET", path).send(&universe.client()).await.expect(200);
    // The last one stays.
    replication
        .drain_site(Some("eustorage"), false)
        .await
        .unwrap_err();
    replication.undrain_site(Some("usstorage")).await.unwrap();
    let body = call("GET", "/health/endtoend")
        .until(&clients[0], 200)
        .await
        .json();
    assert_eq!(body["data"]["services"].get("site"), None, "{body}");
    universe.finish().await;
}

#[tokio::test]
async fn superusers_are_told_why_and_nobody_else_is() {
    let universe = UniverseOptions::default()
        .key("USER_EVENTS_REDIS", json!({"host": "127.0.0.1", "port": 1}))
        .start()
        .await;
    let client = universe.client_as(0, None);
    ready(&client).await;
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("admin:{password}")));
    let asked = async |authorization: String| {
        let path = "/health/endtoend";
        let call = call("GET", path).header("authorization", authorization);
        call.send(&client).await.expect(200).json()["data"].clone()
    };
    // A busy machine may take longer over a password than a health check waits.
    let told = eventually("the superuser is told", async || {
        let told = asked(basic(&universe.password())).await;
        told.get("services_expanded").is_some().then_some(told)
    })
    .await;
    assert_eq!(told["services_expanded"]["storage"]["status"], true);
    // Redis is not there, and that is all that it means.
    assert_eq!(told["services"]["redis"], false);
    let failure = &told["services_expanded"]["redis"]["failure"];
    assert!(failure.as_str().unwrap().contains("127.0.0.1:1"), "{told}");
    assert_eq!(told["notes"][0], "redis skipped in compute health");
    assert_eq!(told["is_testing"], false);
    assert_eq!(told["config_provider"], "file");
    assert!(told["local_service_key_id"].is_string() && told["hostname"].is_string());
    for stranger in [
        basic("wrong"),
        "Bearer a.b.c".to_owned(),
        "Nonsense".to_owned(),
    ] {
        let told = asked(stranger).await;
        let members: Vec<_> = told.as_object().unwrap().keys().collect();
        assert_eq!(members, ["services"]);
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_registry_that_only_reads_is_ready_for_pulls_alone() {
    let universe = UniverseOptions::default()
        .key("DISABLE_PUSHES", true)
        .key("FEATURE_BILLING", true)
        .without_replication()
        .start()
        .await;
    let client = universe.client_as(0, None);
    call("GET", "/health/ready/pull").until(&client, 200).await;
    let body = call("GET", "/health/ready/push")
        .until(&client, 503)
        .await
        .json();
    assert_eq!(body["data"]["services"]["pushes"], false, "{body}");
    call("GET", "/health/endtoend").until(&client, 200).await;
    let revision = call("GET", "/health/dbrevision")
        .until(&client, 200)
        .await
        .json();
    assert_eq!(
        revision["data"]["db_revision"], revision["data"]["local_revision"],
        "{revision}"
    );
    call("GET", "/health/enabledebug/secret")
        .send(&client)
        .await
        .expect(404);
    universe.finish().await;
}

#[tokio::test]
async fn prometheus_is_told_of_every_location_on_an_address_of_its_own() {
    let universe = Universe::start().await;
    let (client, metrics) = (universe.client(), universe.metrics(0));
    let content = Content::new(1, 100_000).bytes();
    push_blob(&client, "team/app", &content).await;
    universe.faults("eustorage").take_down();
    let told = eventually("the location that fails is told of", async || {
        let reply = call("GET", "/metrics").send(&metrics).await.expect(200);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let down = text.contains(
            r#"roadstead_location_state{location="eustorage",state="down",use="read"} 1"#,
        );
        // Measured in the background, for the first time at the start.
        let measured =
            text.contains(r#"roadstead_replication_missing_blobs{location="eustorage"}"#);
        (down && measured).then_some(text)
    })
    .await;
    let value = |series: &str| -> f64 {
        let line = told.lines().find_map(|line| line.strip_prefix(series));
        let value = line.unwrap_or_else(|| panic!("{series} is not in {told}"));
        value.trim().parse().unwrap()
    };
    let written = r#"roadstead_location_transferred_bytes_total{location="usstorage",use="write"}"#;
    assert!(value(written) >= 100_000.0, "{told}");
    for (series, expected) in [
        (
            r#"roadstead_location_state{location="usstorage",state="healthy",use="write"}"#,
            1.0,
        ),
        (
            r#"roadstead_location_state{location="eustorage",state="healthy",use="read"}"#,
            0.0,
        ),
        (
            r#"roadstead_location_circuit{circuit="open",location="eustorage",use="read"}"#,
            1.0,
        ),
    ] {
        assert!((value(series) - expected).abs() < f64::EPSILON, "{told}");
    }
    let failed = r#"roadstead_location_requests_total{location="eustorage",outcome="unreachable",use="read"}"#;
    assert!(value(failed) >= 1.0, "{told}");
    assert!(value(r#"roadstead_location_free_bytes{location="usstorage"}"#) > 0.0);
    // Help and type come once for each name, as the format demands.
    let mut headings: Vec<&str> = told.lines().filter(|line| line.starts_with('#')).collect();
    let all = headings.len();
    headings.sort_unstable();
    headings.dedup();
    assert_eq!(headings.len(), all, "{told}");

    // Nothing else is there, and none of it is where clients go.
    call("GET", "/v2/").send(&metrics).await.expect(404);
    let refused = call("POST", "/metrics").send(&metrics).await.expect(405);
    assert_eq!(refused.header("allow"), "GET, HEAD");
    call("GET", "/metrics").send(&client).await.expect(404);
    universe.finish().await;
}
