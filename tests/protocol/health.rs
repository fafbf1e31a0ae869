//! Health endpoints, with Quay's bodies.

use roadstead_testkit::{Content, Universe, eventually};
use serde_json::json;

use crate::call::{call, push_blob};

#[tokio::test]
async fn a_healthy_registry_says_so_in_quays_words() {
    let universe = Universe::start().await;
    let client = universe.client_as(0, None);
    // It answers as soon as it listens; then it makes the key that signs tokens.
    eventually("the registry is ready", async || {
        let reply = call("GET", "/health/instance").send(&client).await;
        (reply.status == 200).then_some(())
    })
    .await;
    for path in ["/health", "/health/instance", "/health/endtoend", "/status"] {
        let reply = call("GET", path).send(&client).await.expect(200);
        let body = reply.json();
        assert_eq!(body["status_code"], 200, "{path}: {body}");
        let services = body["data"]["services"].as_object().unwrap();
        assert!(
            services.values().all(|healthy| healthy == true),
            "{path}: {body}"
        );
        assert!(
            services.contains_key("database") && services.contains_key("auth"),
            "{path}: {body}"
        );
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
    // It answers as soon as it listens; then it makes the key that signs tokens.
    eventually("the registry is ready", async || {
        let reply = call("GET", "/health/instance").send(&client).await;
        (reply.status == 200).then_some(())
    })
    .await;
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
    eventually("the end-to-end check notices", async || {
        let reply = call("GET", "/health/endtoend").send(&client).await;
        (reply.status == 503).then(|| {
            let body = reply.json();
            assert_eq!(body["status_code"], 503, "{body}");
            assert_eq!(body["data"]["services"]["storage"], false, "{body}");
            assert_eq!(body["data"]["services"]["database"], true, "{body}");
        })
    })
    .await;
    call("GET", "/health/instance")
        .send(&client)
        .await
        .expect(200);
    universe.faults("usstorage").heal();
    universe.faults("eustorage").heal();
    eventually("the end-to-end check is content again", async || {
        let reply = call("GET", "/health/endtoend").send(&client).await;
        (reply.status == 200).then_some(())
    })
    .await;
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
