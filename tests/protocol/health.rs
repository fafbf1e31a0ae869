//! Health endpoints, with Quay's bodies.

use roadstead_testkit::{Universe, eventually};
use serde_json::json;

use crate::call::call;

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
