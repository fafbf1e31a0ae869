//! What the process tells of itself besides its log: to where traces and metrics are sent, and how often gauges are refreshed.

use std::time::Duration;

use figment::value::Value;

use crate::env::{
    Environment, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME,
    OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG,
};
use crate::finding::{Finding, Origin, shown};
use crate::reader::{Keys, Remark};
use crate::secret::Secret;

/// Whether anything is sent.
const FEATURE: &str = "FEATURE_OTEL_TRACING";

/// The service's name where nobody gives it another: Quay's.
const SERVICE_NAME: &str = "quay";

/// The share of the traces that begin here and are kept, where nobody says otherwise: Quay's, one in a thousand.
const RATIO: f64 = 0.001;

/// What the process tells of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// `QUEUE_WORKER_METRICS_REFRESH_SECONDS`: how often the metrics are refreshed that are counted over whole tables, 10 to 86400 s (default:
    /// 300).
    pub refresh: Duration,
    /// Where traces and metrics go. `FEATURE_OTEL_TRACING` switches that on (default: whether `OTEL_EXPORTER_OTLP_ENDPOINT` is set).
    pub export: Option<Export>,
}

/// A collector that takes OTLP over HTTP, as protocol buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// What `/v1/traces` and `/v1/metrics` are put behind: `OTEL_EXPORTER_OTLP_ENDPOINT`, else `dt_api_url` of `OTEL_CONFIG`. Without a slash at
    /// its end.
    pub endpoint: String,
    /// Header fields that are sent along: `OTEL_EXPORTER_OTLP_HEADERS` (`name=value`, separated by commas), and `dt_api_token` of `OTEL_CONFIG`
    /// as `Authorization: Api-Token ...` where the endpoint is `dt_api_url`.
    pub headers: Vec<(String, Secret<String>)>,
    /// `OTEL_SERVICE_NAME`, else `service_name` of `OTEL_CONFIG` (default: `quay`).
    pub service_name: String,
    /// Which traces are kept: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` (default: one in a thousand of those that begin here, and
    /// those that a client keeps).
    pub sampling: Sampling,
}

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of the traces that begin here, 0 to 1.
    pub ratio: f64,
    /// Whether a client that keeps its trace, or does not, decides for its requests.
    pub parent_based: bool,
}

impl Telemetry {
    pub(super) fn read(keys: &mut Keys, environment: &Environment) -> Self {
        let refresh = keys.seconds("QUEUE_WORKER_METRICS_REFRESH_SECONDS", 300, 10..=86_400);
        let quays = QuaysCollector::read(keys);
        let variable = |name: &'static str| {
            let text = environment.get(name)?.to_str()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let endpoint = variable(OTEL_EXPORTER_OTLP_ENDPOINT);
        let enabled = keys.flag(FEATURE, endpoint.is_some());
        if !enabled {
            return Self {
                refresh,
                export: None,
            };
        }
        let mut headers = Vec::new();
        let listed = variable(OTEL_EXPORTER_OTLP_HEADERS).unwrap_or_default();
        for pair in listed.split(',').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    let value = Secret::new(value.trim().to_owned());
                    headers.push((name.trim().to_owned(), value));
                }
                _ => refuse(
                    keys,
                    OTEL_EXPORTER_OTLP_HEADERS,
                    None,
                    "a header field has no value",
                    "name=value,name=value",
                ),
            }
        }
        let endpoint = match (endpoint, quays.url) {
            (Some(endpoint), _) => {
                if let Some(fault) = fault(&endpoint) {
                    refuse(
                        keys,
                        OTEL_EXPORTER_OTLP_ENDPOINT,
                        Some(&endpoint),
                        fault,
                        "http://HOST:4318 or https://HOST",
                    );
                }
                endpoint
            }
            (None, Some(url)) => {
                if let Some(token) = quays.token {
                    let value = Secret::new(format!("Api-Token {}", token.expose()));
                    headers.push(("Authorization".to_owned(), value));
                }
                url
            }
            (None, None) => {
                // A finding of the key: without the environment, as where two files are compared, the file can be read all the same.
                let value = keys.value(FEATURE);
                keys.refuse(
                    FEATURE,
                    value.as_ref(),
                    Remark::new(
                        "it is on, and nothing says where traces go",
                        "",
                        "set OTEL_EXPORTER_OTLP_ENDPOINT to the address of a collector that takes OTLP over HTTP, such as \
                         http://collector:4318, or give dt_api_url in OTEL_CONFIG",
                    ),
                );
                String::new()
            }
        };
        let service_name = variable(OTEL_SERVICE_NAME).or(quays.service_name);
        Self {
            refresh,
            export: Some(Export {
                endpoint: endpoint.trim_end_matches('/').to_owned(),
                headers,
                service_name: service_name.unwrap_or_else(|| SERVICE_NAME.to_owned()),
                sampling: sampling(
                    keys,
                    variable(OTEL_TRACES_SAMPLER).as_deref(),
                    variable(OTEL_TRACES_SAMPLER_ARG).as_deref(),
                ),
            }),
        }
    }
}

/// What Quay's key says.
#[derive(Default)]
struct QuaysCollector {
    service_name: Option<String>,
    url: Option<String>,
    token: Option<Secret<String>>,
}

impl QuaysCollector {
    fn read(keys: &mut Keys) -> Self {
        const KEY: &str = "OTEL_CONFIG";
        let members = match keys.value(KEY) {
            None | Some(Value::Empty(..)) => return Self::default(),
            Some(Value::Dict(_, members)) => members,
            Some(value) => {
                let allowed = "a map with service_name, dt_api_url and dt_api_token";
                keys.mismatch(KEY, &value, allowed, "write it as a map");
                return Self::default();
            }
        };
        let mut text = |name: &str| {
            let value = members.get(name)?;
            keys.text_of(&format!("{KEY}.{name}"), value)
        };
        let service_name = text("service_name");
        let token = text("dt_api_token").map(Secret::new);
        let url = text("dt_api_url");
        if let Some(fault) = url.as_deref().and_then(fault) {
            keys.refuse(
                "OTEL_CONFIG.dt_api_url",
                members.get("dt_api_url"),
                Remark::new(fault, "http://... or https://...", "change it"),
            );
        }
        Self {
            service_name,
            url,
            token,
        }
    }
}

/// The samplers of the standard variables.
fn sampling(keys: &mut Keys, sampler: Option<&str>, argument: Option<&str>) -> Sampling {
    let ratio = argument.map_or(Some(RATIO), |text| {
        text.parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
    });
    let sampling = |parent_based, ratio| Sampling {
        ratio,
        parent_based,
    };
    let parent_based = match sampler {
        Some("always_on") => return sampling(false, 1.0),
        Some("always_off") => return sampling(false, 0.0),
        Some("parentbased_always_on") => return sampling(true, 1.0),
        Some("parentbased_always_off") => return sampling(true, 0.0),
        Some("traceidratio") => false,
        Some("parentbased_traceidratio") | None => true,
        Some(other) => {
            refuse(
                keys,
                OTEL_TRACES_SAMPLER,
                Some(other),
                "unknown sampler",
                "always_on, always_off, traceidratio, or one of them behind parentbased_",
            );
            true
        }
    };
    if ratio.is_none() {
        refuse(
            keys,
            OTEL_TRACES_SAMPLER_ARG,
            argument,
            "not a share",
            "a number from 0 to 1",
        );
    }
    sampling(parent_based, ratio.unwrap_or(RATIO))
}

/// What is wrong with the address of a collector. What proves who sends belongs into a header field: addresses are logged.
fn fault(url: &str) -> Option<&'static str> {
    let is_http = ["http://", "https://"]
        .iter()
        .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
    if !is_http {
        Some("not an address of a collector")
    } else if url.contains('@') {
        Some("an address with a user or a password in it")
    } else {
        None
    }
}

fn refuse(
    keys: &mut Keys,
    variable: &'static str,
    value: Option<&str>,
    problem: &str,
    allowed: &str,
) {
    keys.errors.push(Finding {
        origin: Origin::Variable(variable),
        key: String::new(),
        value: value.map(|value| shown(variable, &Value::from(value))),
        problem: problem.to_owned(),
        allowed: allowed.to_owned(),
        action: "set the variable".to_owned(),
    });
}
