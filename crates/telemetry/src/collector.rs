//! The collector that traces and metrics are sent to: OTLP over HTTP, as protocol buffers.
//!
//! Whatever the collector does, nothing here waits for it for longer than [`DEADLINE`], keeps more than the queue of spans, or logs more than a
//! line a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect::Policy;
use roadstead_runtime::{Environment, Timestamp};

use crate::ErrorChain;

/// How long the collector may take to answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// How often it is said that it does not.
const WARN_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Where traces and metrics go, and what they say of this service.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// What `/v1/traces` and `/v1/metrics` are put behind.
    pub endpoint: String,
    /// Header fields that are sent along. They may be secret: their values are never shown.
    pub headers: HeaderFields,
    /// The name of the service.
    pub service_name: String,
    /// Further attributes of the service, such as its region.
    pub attributes: Vec<(&'static str, String)>,
    /// The share of the traces that begin here and are kept, 0 to 1.
    pub ratio: f64,
    /// Whether a client that keeps its trace, or does not, decides for its requests.
    pub parent_based: bool,
}

/// Names and values that are not shown.
#[derive(Clone, Default)]
pub struct HeaderFields(pub Vec<(String, String)>);

impl std::fmt::Debug for HeaderFields {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        formatter.debug_set().entries(names).finish()
    }
}

/// Why nothing can be sent to a collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// Its address is none.
    #[error("`{endpoint}` is not the address of a collector; write http://HOST:4318")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// A header field that is to be sent along cannot be.
    #[error(
        "the header field `{name}` for the collector cannot be sent: its name or its value has characters that none has"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// There is no HTTP client.
    #[error("could not make the client for the collector")]
    Client(#[source] reqwest::Error),
}

/// Why the collector did not take something. Shows nothing of the address.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("it did not answer within {} s", DEADLINE.as_secs())]
    TimedOut,
    #[error("it answered {status}")]
    Refused { status: u16 },
}

/// A collector. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    endpoint: String,
    headers: HeaderMap,
    attributes: Vec<KeyValue>,
    environment: Environment,
    warned: Mutex<Option<Timestamp>>,
    failures: AtomicU64,
}

impl Collector {
    pub(crate) fn new(
        options: &ExportOptions,
        environment: Environment,
    ) -> Result<Self, CollectorError> {
        let unusable = || CollectorError::Endpoint {
            endpoint: options.endpoint.clone(),
        };
        let parsed = reqwest::Url::parse(&options.endpoint).map_err(|_| unusable())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(unusable());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers.0 {
            let unsendable = || CollectorError::Header { name: name.clone() };
            let field = HeaderName::try_from(name.as_str()).map_err(|_| unsendable())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| unsendable())?;
            value.set_sensitive(true);
            headers.insert(field, value);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("roadstead/", env!("CARGO_PKG_VERSION"))),
        );
        // One provider for the whole process; whoever was faster installed the same one.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(DEADLINE)
            .build()
            .map_err(CollectorError::Client)?;
        let mut attributes = vec![
            text("service.name", &options.service_name),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &environment.ids.uuid().to_string()),
        ];
        let further = options.attributes.iter();
        attributes.extend(further.map(|(name, value)| text(name, value)));
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                endpoint: options.endpoint.trim_end_matches('/').to_owned(),
                headers,
                attributes,
                environment,
                warned: Mutex::default(),
                failures: AtomicU64::new(0),
            }),
        })
    }

    /// What it is that tells.
    pub(crate) fn resource(&self) -> Resource {
        Resource {
            attributes: self.inner.attributes.clone(),
            ..Resource::default()
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.inner.environment
    }

    /// How many messages were not taken.
    pub(crate) fn failures(&self) -> u64 {
        self.inner.failures.load(Ordering::Relaxed)
    }

    /// Sends a message. Whether it was taken.
    pub(crate) async fn send(&self, path: &str, message: &impl Message) -> bool {
        let inner = &self.inner;
        let request = inner
            .client
            .post(format!("{}{path}", inner.endpoint))
            .headers(inner.headers.clone())
            .body(message.encode_to_vec());
        // Of the answer nothing but the status is read.
        let outcome = match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(SendError::Refused {
                status: answer.status().as_u16(),
            }),
            Err(error) if error.is_timeout() => Err(SendError::TimedOut),
            Err(error) => Err(SendError::Unreachable(error.without_url())),
        };
        if let Err(error) = &outcome {
            inner.failures.fetch_add(1, Ordering::Relaxed);
            self.warn(error);
        }
        outcome.is_ok()
    }

    fn warn(&self, error: &SendError) {
        let now = self.inner.environment.now();
        let mut warned = self
            .inner
            .warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|last| last <= now && now - last < WARN_EVERY) {
            return;
        }
        *warned = Some(now);
        drop(warned);
        tracing::warn!(
            "The collector of traces and metrics takes nothing: {}. What it is not told is lost; requests go on",
            ErrorChain(error)
        );
    }
}

/// An attribute.
pub(crate) fn text(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}
