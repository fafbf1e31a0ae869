//! One trace from a push in one region to the copy in the other, and what becomes of requests when nobody takes traces.

use std::collections::BTreeSet;

use roadstead_client::ClientOptions;
use roadstead_test_servers::{CollectorMood, OtlpCollector, ReceivedSpan};
use roadstead_testkit::{RegistrySettings, eventually};
use tokio::time::Instant;

use crate::deployment::{Deployment, NamedImage, stop};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A region that prefers `location` and sends its traces to `collector`.
fn region(deployment: &Deployment, location: &str, collector: &OtlpCollector) -> RegistrySettings {
    let other = if location == "usstorage" {
        "eustorage"
    } else {
        "usstorage"
    };
    let mut settings = RegistrySettings {
        address: RegistrySettings::new("unused").address,
        ..deployment.settings.clone()
    };
    for (name, value) in [
        (
            "QUAY_DISTRIBUTED_STORAGE_PREFERENCE",
            format!("{location} {other}"),
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-tenant=roadstead".to_owned(),
        ),
        ("OTEL_SERVICE_NAME", "registry".to_owned()),
    ] {
        settings.environment.push((name.to_owned(), value));
    }
    settings
}

/// The spans of the trace, and in which region each of them was.
fn in_trace(collector: &OtlpCollector) -> Vec<ReceivedSpan> {
    let mut spans = collector.spans();
    spans.retain(|span| span.trace == TRACE);
    spans
}

fn attribute<'a>(span: &'a ReceivedSpan, name: &str) -> &'a str {
    span.attributes.get(name).map_or("", String::as_str)
}

#[tokio::test]
async fn one_trace_shows_a_push_in_one_region_and_its_copy_in_the_other() {
    let collector = OtlpCollector::start();
    let deployment = Deployment::new();
    let mut us = region(&deployment, "usstorage", &collector);
    // A region copies what lies in it too; here the other one has to.
    us.arguments.push("--no-replicator".to_owned());
    let us_process = us.start().await;
    let eu = region(&deployment, "eustorage", &collector);
    let eu_process = eu.start().await;
    let client = us.client_with(ClientOptions {
        traceparent: Some(format!("00-{TRACE}-b7ad6b7169203331-01")),
        ..ClientOptions::default()
    });
    let image = NamedImage::new(1);
    image
        .image
        .push(&client, &image.repository, &image.reference)
        .await
        .unwrap();
    deployment.wait_until_replicated().await;

    let blobs = image.image.blobs.len();
    let recorded = |spans: &[ReceivedSpan]| {
        let recorded = spans.iter().filter(|span| span.name == "placement.record");
        recorded.count() >= blobs
    };
    eventually("every copy is in the trace", async || {
        recorded(&in_trace(&collector)).then_some(())
    })
    .await;
    stop(us_process).await;
    stop(eu_process).await;

    let spans = in_trace(&collector);
    let region = |span: &ReceivedSpan| span.service["roadstead.region"].clone();
    let has = |what: &str, fits: &dyn Fn(&ReceivedSpan) -> bool| {
        assert!(
            spans.iter().any(fits),
            "the trace lacks: {what}; it has {:#?}",
            spans
                .iter()
                .map(|span| format!("{} {} {:?}", region(span), span.name, span.attributes))
                .collect::<BTreeSet<_>>()
        );
    };
    has("the request", &|span| {
        region(span) == "usstorage"
            && attribute(span, "url.template") == "/v2/{name}/manifests/{reference}"
            && attribute(span, "http.request.method") == "PUT"
            && attribute(span, "http.response.status_code") == "201"
            && attribute(span, "server.address") == us.address.to_string()
    });
    has("the authentication", &|span| span.name == "authenticate");
    has("the write to the store", &|span| {
        region(span) == "usstorage"
            && span.name == "store publish"
            && attribute(span, "roadstead.location") == "usstorage"
    });
    has("the queue", &|span| {
        region(span) == "usstorage"
            && span.name == "queue the copies that are missing"
            && attribute(span, "db.system.name") == "sqlite"
    });
    has("the copying", &|span| span.name == "replication.copy");
    has("the reading of the copy", &|span| {
        span.name == "store read" && attribute(span, "roadstead.location") == "usstorage"
    });
    has("the writing of the copy", &|span| {
        attribute(span, "roadstead.location") == "eustorage" && span.name.starts_with("store ")
    });
    has("the record of the placement", &|span| {
        span.name == "placement.record" && attribute(span, "roadstead.location") == "eustorage"
    });
    // Every span hangs on another of the trace, or on the client's.
    let known: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    for span in &spans {
        assert!(
            span.parent == "b7ad6b7169203331" || known.contains(span.parent.as_str()),
            "{span:?}"
        );
        assert_eq!(span.headers["x-tenant"], "roadstead");
        assert_eq!(span.service["service.name"], "registry");
    }
    for span in &spans {
        if ["replication.copy", "placement.record"].contains(&span.name.as_str()) {
            assert_eq!(region(span), "eustorage", "{span:?}");
        }
    }
    // No digest, name or value of a statement is in any of them.
    let text = format!("{spans:?}");
    for secret in ["SELECT", "INSERT", "sha256:", us.password().as_str()] {
        assert!(!text.contains(secret), "{secret}");
    }
    // What is left at the end is sent, metrics too.
    let metrics = collector.metrics();
    for name in [
        "roadstead_http_requests_total",
        "roadstead_database_statement_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains_key(name), "{name}: {metrics:?}");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_refuses_or_babbles_costs_a_warning_and_no_request() {
    let collector = OtlpCollector::start();
    let deployment = Deployment::new();
    let mut settings = region(&deployment, "usstorage", &collector);
    let always = "parentbased_always_on".to_owned();
    settings
        .environment
        .push(("OTEL_TRACES_SAMPLER".to_owned(), always));
    collector.set_mood(CollectorMood::Hangs);
    let begun = Instant::now();
    let process = settings.start().await;
    for (number, mood) in [
        CollectorMood::Hangs,
        CollectorMood::Refuses,
        CollectorMood::Babbles,
    ]
    .into_iter()
    .enumerate()
    {
        collector.set_mood(mood);
        let asked = collector.requests();
        let image = NamedImage::new(number as u64);
        let client = settings.client();
        image
            .image
            .push(&client, &image.repository, &image.reference)
            .await
            .unwrap();
        eventually("the collector was asked", async || {
            (collector.requests() > asked).then_some(())
        })
        .await;
    }
    let warnings = |log: &str| log.matches("The collector of traces").count();
    eventually("it is said that it takes nothing", async || {
        (warnings(&process.log()) > 0).then_some(())
    })
    .await;
    collector.set_mood(CollectorMood::Hangs);
    let log = process.log();
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    // It does not wait for the collector.
    stop(process).await;
    assert!(warnings(&log) <= 1 + minutes, "one a minute: {log}");
    assert!(
        !log.contains("x-tenant") && !log.contains("panicked"),
        "{log}"
    );
}
