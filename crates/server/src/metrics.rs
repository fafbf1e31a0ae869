//! The metrics of this process, for Prometheus (`GET /metrics`, on an address of its own, which is not for clients of the registry) and for a
//! collector, to which they are sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, TEXT_FORMAT, TextEncoder};
use roadstead_api::{Health, RegistryService};
use roadstead_auth::Authenticator;
use roadstead_config::Config;
use roadstead_distribution::{GarbageCollector, Registry};
use roadstead_listener::{Certificates, Door, IpVersion, Limits, Port, serve};
use roadstead_locations::Locations;
use roadstead_metadata::Database;
use roadstead_replication::Replication;
use roadstead_runtime::{Clock, Tasks, Timestamp};
use roadstead_telemetry::Exporter;
use roadstead_webhooks::Webhooks;

use crate::deployment::Deployment;
use crate::drift::ConfigurationDrift;
use crate::error::StartError;
use crate::gauges::Gauges;
use crate::process;

/// Prometheus needs one connection; people look too.
const CONNECTIONS_MAX: usize = 64;

/// How long the disks of local locations may take to say how full they are.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an answer may still take after the shutdown.
const DRAIN: Duration = Duration::from_secs(1);

/// How often metrics are sent to a collector.
const EXPORT_INTERVAL: Duration = Duration::from_mins(1);

/// How long that may take after the shutdown.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Where to tell how a process fares. Default: nowhere.
#[derive(Clone, Debug, Default)]
pub struct MetricsOptions {
    /// Where Prometheus may ask.
    pub listen: Option<SocketAddr>,
    /// What sends it to a collector. Whoever made it ends it, after the server.
    pub exporter: Option<Exporter>,
}

impl MetricsOptions {
    /// Listens, where that is wanted. Nothing is told yet.
    pub(crate) fn bind(self) -> Result<Outlets, StartError> {
        let Self { listen, exporter } = self;
        let listener = listen.map(MetricsListener::bind).transpose()?;
        Ok(Outlets { listener, exporter })
    }
}

/// Through what a process tells how it fares.
#[derive(Debug)]
pub(crate) struct Outlets {
    listener: Option<MetricsListener>,
    exporter: Option<Exporter>,
}

impl Outlets {
    /// Where Prometheus may ask.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(MetricsListener::address)
    }
}

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// How the locations fare.
    pub(crate) locations: Locations,
    /// What was copied and what is missing.
    pub(crate) replication: Replication,
    /// How statements fare.
    pub(crate) database: Database,
    /// What was delivered.
    pub(crate) webhooks: Webhooks,
    /// What is counted over whole tables.
    pub(crate) gauges: Gauges,
    /// What is sent to a collector.
    pub(crate) exporter: Option<Exporter>,
    /// What only a process has that takes requests.
    pub(crate) serving: Option<Serving>,
}

/// What a process has that takes requests.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) service: RegistryService,
    pub(crate) registry: Registry,
    pub(crate) authenticator: Authenticator,
    pub(crate) garbage: GarbageCollector,
    pub(crate) health: Arc<Health>,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) drift: ConfigurationDrift,
}

impl Serving {
    /// What only such a process tells.
    fn metrics(&self, now: Timestamp) -> Vec<MetricFamily> {
        let mut families = self.service.metrics();
        families.extend(self.registry.metrics());
        families.extend(self.authenticator.metrics());
        families.extend(self.garbage.metrics());
        families.extend(self.health.metrics());
        let mut gauge = |name, help, value: i64| {
            let gauge = process::made(IntGauge::new(name, help));
            gauge.set(value);
            families.extend(gauge.collect());
        };
        let keys = i64::try_from(self.drift.differing_keys()).unwrap_or(i64::MAX);
        gauge(
            "roadstead_configuration_drift_keys",
            "Keys in which the running processes differ and should not",
            keys,
        );
        if let Some(certificates) = &self.certificates {
            let state = certificates.state();
            gauge(
                "roadstead_certificate_expiry_seconds",
                "For how long the certificate that is served still holds",
                state.not_after.signed_duration_since(now).num_seconds(),
            );
            gauge(
                "roadstead_certificate_replaceable",
                "Whether what lies in the certificate's files now is what is served",
                state.last_error.is_none().into(),
            );
        }
        families
    }
}

impl Told {
    /// Everything, in the order of names. Asks no database and no object store.
    pub(crate) async fn gather(&self) -> Vec<MetricFamily> {
        let mut families = self.locations.metrics(PATIENCE).await;
        families.extend(self.replication.metrics());
        families.extend(self.database.metrics());
        families.extend(self.webhooks.metrics());
        families.extend(self.gauges.metrics());
        families.extend(process::metrics());
        families.extend(self.exporter.iter().flat_map(Exporter::metrics));
        if let Some(serving) = &self.serving {
            families.extend(serving.metrics(self.gauges.environment().now()));
        }
        families.sort_by(|one, other| one.name().cmp(other.name()));
        families
    }
}

/// What every process has to tell.
pub(crate) fn told(
    deployment: &Deployment,
    replication: &Replication,
    webhooks: &Webhooks,
) -> Told {
    Told {
        locations: deployment.locations.clone(),
        replication: replication.clone(),
        database: deployment.database.clone(),
        webhooks: webhooks.clone(),
        exporter: None,
        gauges: Gauges::new(
            deployment.database.clone(),
            deployment.environment.clone(),
            deployment.queue.clone(),
        ),
        serving: None,
    }
}

/// Tells how this process and the replication fare, if anybody is to be told: nothing is measured for nobody.
pub(crate) fn spawn_metrics(
    config: &Config,
    Outlets { listener, exporter }: Outlets,
    mut told: Told,
    tasks: &Tasks,
) {
    if listener.is_none() && exporter.is_none() {
        return;
    }
    told.exporter.clone_from(&exporter);
    let (measured, shutdown) = (told.replication.clone(), tasks.shutdown());
    tasks.spawn(async move { measured.keep_measured(&shutdown).await });
    let (gauges, shutdown) = (told.gauges.clone(), tasks.shutdown());
    let interval = config.telemetry.refresh;
    tasks.spawn(async move { gauges.keep_fresh(interval, &shutdown).await });
    if let Some(exporter) = exporter {
        let (told, shutdown) = (told.clone(), tasks.shutdown());
        let clock = Arc::clone(&told.gauges.environment().clock);
        tasks.spawn(async move {
            while !shutdown.requested() {
                tokio::select! {
                    () = clock.sleep(EXPORT_INTERVAL) => {}
                    () = shutdown.wait() => {}
                }
                let sent = async { exporter.send_metrics(&told.gather().await).await };
                let given_up = async {
                    shutdown.wait().await;
                    clock.sleep(LAST_EXPORT).await;
                };
                tokio::select! {
                    () = sent => {}
                    () = given_up => {}
                }
            }
        });
    }
    if let Some(listener) = listener {
        let clock = Arc::clone(&told.gauges.environment().clock);
        tasks.spawn(listener.serve(told, clock, tasks.clone()));
    }
}

/// Where metrics are told, once it is listened there.
#[derive(Debug)]
struct MetricsListener {
    port: Port,
}

impl MetricsListener {
    fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let port = Port::bind(address, IpVersion::AsWritten)
            .map_err(|source| StartError::ListenForMetrics { address, source })?;
        Ok(Self { port })
    }

    const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Tells it to whoever asks, until the shutdown.
    async fn serve(self, told: Told, clock: Arc<dyn Clock>, tasks: Tasks) {
        let service = service_fn(move |request: Request<Incoming>| {
            let told = told.clone();
            async move {
                let answer = answer(request.method(), request.uri().path(), &told).await;
                Ok::<_, Infallible>(answer)
            }
        });
        // No handshakes: nothing is encrypted there.
        let limits = Limits::new(CONNECTIONS_MAX, 0, DRAIN);
        serve(
            Door::plain(self.port),
            move |_| service.clone(),
            limits,
            clock,
            tasks,
        )
        .await;
    }
}

async fn answer(method: &Method, path: &str, told: &Told) -> Response<String> {
    if path != "/metrics" {
        let only = format!("there is nothing at {path}; metrics are at /metrics\n");
        return plain(StatusCode::NOT_FOUND, only);
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "metrics are read with GET\n".to_owned(),
        );
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match TextEncoder::new().encode_to_string(&told.gather().await) {
        Ok(text) => plain(StatusCode::OK, text),
        Err(error) => {
            tracing::error!(%error, "Could not write the metrics");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be written; the log says why\n".to_owned(),
            )
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
    response
}
