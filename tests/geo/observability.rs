//! What a running registry tells, against the dashboard, the alerts and the document that rely on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Request;
use roadstead_client::{Client, RequestBody};
use roadstead_test_servers::{OtlpCollector, Prometheus};
use roadstead_testkit::{RegistryProcess, RegistrySettings, eventually, free_port};
use serde_json::Value;

use crate::deployment::{Deployment, NamedImage, stop};

/// Rules on metrics that are told only where there is a certificate, or Redis.
const OPTIONAL: &str = "roadstead-optional";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Two regions that tell their metrics, also to a collector, with something in them.
struct World {
    regions: Vec<(RegistrySettings, RegistryProcess, SocketAddr)>,
    _collector: OtlpCollector,
    _deployment: Deployment,
}

impl World {
    async fn start() -> Self {
        let (collector, deployment) = (OtlpCollector::start(), Deployment::new());
        let mut regions = Vec::new();
        for preference in ["usstorage eustorage", "eustorage usstorage"] {
            let mut settings = RegistrySettings {
                address: (Ipv4Addr::LOCALHOST, free_port()).into(),
                ..deployment.settings.clone()
            };
            let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            settings
                .arguments
                .extend(["--metrics-listen".to_owned(), metrics.to_string()]);
            for (name, value) in [
                ("QUAY_DISTRIBUTED_STORAGE_PREFERENCE", preference.to_owned()),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
            ] {
                settings.environment.push((name.to_owned(), value));
            }
            let process = settings.start().await;
            regions.push((settings, process, metrics));
        }
        let world = Self {
            regions,
            _collector: collector,
            _deployment: deployment,
        };
        world.push_and_pull(1).await;
        world
    }

    /// Pushes an image in one region and pulls it in both.
    async fn push_and_pull(&self, number: u64) {
        let image = NamedImage::new(number);
        for (settings, ..) in &self.regions {
            let client = settings.client();
            let (repository, reference) = (&image.repository, &image.reference);
            let pushed = image.image.push(&client, repository, reference).await;
            pushed.unwrap();
            image
                .image
                .pull(&client, repository, reference)
                .await
                .unwrap();
        }
    }

    async fn stop(self) {
        for (_, process, _) in self.regions {
            stop(process).await;
        }
    }
}

/// What an instant query gives; nothing while there is an error.
fn results(prometheus: &Prometheus, expression: &str) -> Vec<Value> {
    let Some(answer) = prometheus.ask("query", &[("query", expression)]) else {
        return Vec::new();
    };
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    let results = answer["data"]["result"].as_array().cloned();
    let mut results = results.unwrap_or_default();
    results.retain(|result| result["value"][1] != "NaN");
    results
}

/// The labels by which an expression is divided.
fn divided_by(expression: &str) -> BTreeSet<&str> {
    expression
        .split("by (")
        .skip(1)
        .filter_map(|behind| behind.split(')').next())
        .flat_map(|labels| labels.split(','))
        .map(str::trim)
        .filter(|label| *label != "le")
        .collect()
}

/// The selectors of an expression, each with the matchers that have to find something: a pattern need only find its label.
fn selectors(expression: &str) -> Vec<String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        rest = rest.split_at(start).1;
        let end = rest.find(|character| !is_name(character));
        let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind;
        let ours = ["roadstead_", "quay_", "process_"];
        if !ours.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some((inside, behind)) = rest
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'))
        {
            rest = behind;
            for matcher in inside.split(',') {
                matchers.push(match matcher.split_once("=~") {
                    Some((label, _)) => format!("{label}!=\"\""),
                    None => matcher.to_owned(),
                });
            }
        }
        found.push(format!("{name}{{{}}}", matchers.join(",")));
    }
    found
}

fn expressions_of_dashboard() -> Vec<String> {
    let text = fs::read_to_string(file("deploy/observability/roadstead.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_query_of_the_dashboard_returns_data_and_every_alert_looks_at_what_is_told() {
    let world = World::start().await;
    let targets: Vec<SocketAddr> = world.regions.iter().map(|(.., metrics)| *metrics).collect();
    let prometheus = Prometheus::start(&targets, &file("deploy/observability/alerts.yaml"));
    let expressions = expressions_of_dashboard();
    assert!(expressions.len() > 40, "{}", expressions.len());
    let mut number = 2;
    for expression in &expressions {
        let found = eventually(expression, async || {
            let found = results(&prometheus, expression);
            if found.is_empty() {
                // Something has to happen for there to be rates.
                world.push_and_pull(number).await;
                number += 1;
            }
            (!found.is_empty()).then_some(found)
        })
        .await;
        for label in divided_by(expression) {
            let labelled = |result: &Value| result["metric"][label].is_string();
            assert!(found.iter().any(labelled), "{expression} has no {label}");
        }
    }

    let groups = eventually("the rules were evaluated", async || {
        let answer = prometheus.ask("rules", &[])?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let groups = answer["data"]["groups"].as_array()?.clone();
        let mut rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap());
        rules
            .all(|rule| rule["health"] == "ok")
            .then_some(groups.clone())
    })
    .await;
    let text = fs::read_to_string(file("docs/OBSERVABILITY.md")).unwrap();
    for group in &groups {
        for rule in group["rules"].as_array().unwrap() {
            let (name, query) = (
                rule["name"].as_str().unwrap(),
                rule["query"].as_str().unwrap(),
            );
            assert!(text.contains(&format!("`{name}`")), "{name} has no advice");
            if group["name"] == OPTIONAL {
                for selector in selectors(query) {
                    let (metric, _) = selector.split_once('{').unwrap();
                    assert!(text.contains(&format!("`{metric}`")), "{name}: {metric}");
                }
                continue;
            }
            for selector in selectors(query) {
                assert!(
                    !results(&prometheus, &selector).is_empty(),
                    "{name} looks at {selector}, which nobody tells"
                );
            }
        }
    }
    drop(prometheus);
    world.stop().await;
}

/// A metric: its kind and its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// What Prometheus is told in its text form.
fn told(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').unwrap();
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, labels)) = line
            .split_once('{')
            .and_then(|(name, behind)| Some((name, behind.rsplit_once('}')?.0)))
        {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|base| metrics.contains_key(*base))
                .unwrap_or(name);
            let (_, known) = metrics.get_mut(name).unwrap();
            known.extend(
                labels
                    .split("\",")
                    .filter_map(|label| label.split_once('='))
                    .map(|(label, _)| label.to_owned())
                    .filter(|label| label != "le"),
            );
        }
    }
    metrics
}

/// The rows of the document's table of metrics, and those of them that are told only sometimes.
fn documented() -> (Metrics, BTreeSet<String>) {
    let text = fs::read_to_string(file("docs/OBSERVABILITY.md")).unwrap();
    let (mut metrics, mut sometimes) = (Metrics::new(), BTreeSet::new());
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells.as_slice() else {
            continue;
        };
        if !["counter", "gauge", "histogram"].contains(kind) {
            continue;
        }
        let name = name.trim_matches('`').to_owned();
        let labels = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned())
            .filter(|label| !label.is_empty())
            .collect();
        if meaning.ends_with("(not always)") {
            sometimes.insert(name.clone());
        }
        assert!(
            metrics
                .insert(name.clone(), ((*kind).to_owned(), labels))
                .is_none(),
            "{name} stands there twice"
        );
    }
    (metrics, sometimes)
}

#[tokio::test]
async fn the_document_names_every_metric_with_its_kind_and_labels_and_no_other() {
    let world = World::start().await;
    let (documented, sometimes) = documented();
    let mut all = Metrics::new();
    eventually("everything is told that is documented", async || {
        for (.., metrics) in &world.regions {
            let client = Client::new(&format!("http://{metrics}"), None).unwrap();
            let request = Request::get("/metrics").body(RequestBody::empty()).unwrap();
            let answer = client.exchange(request, "").await.unwrap();
            let body = answer.bytes(8 << 20).await.unwrap();
            for (name, (kind, labels)) in told(std::str::from_utf8(&body).unwrap()) {
                let known = all.entry(name).or_insert((kind, BTreeSet::new()));
                known.1.extend(labels);
            }
        }
        let mut expected = documented.keys().filter(|name| !sometimes.contains(*name));
        expected.all(|name| all.contains_key(name)).then_some(())
    })
    .await;
    for (name, told) in &all {
        assert_eq!(documented.get(name), Some(told), "{name}");
    }
    world.stop().await;
}
