//! The metrics of this process, for Prometheus: `GET /metrics`, on an address of its own, which is not for clients of the registry.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use prometheus::{TEXT_FORMAT, TextEncoder};
use roadstead_listener::{Door, IpVersion, Limits, Port, serve};
use roadstead_locations::Locations;
use roadstead_replication::Replication;
use roadstead_runtime::{Clock, Tasks};

use crate::error::StartError;

/// Prometheus needs one connection; people look too.
const CONNECTIONS_MAX: usize = 64;

/// How long the disks of local locations may take to say how full they are.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long an answer may still take after the shutdown.
const DRAIN: Duration = Duration::from_secs(1);

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// How the locations fare.
    pub(crate) locations: Locations,
    /// What was copied and what is missing.
    pub(crate) replication: Replication,
}

/// Where metrics are told, once it is listened there.
#[derive(Debug)]
pub(crate) struct MetricsListener {
    port: Port,
}

impl MetricsListener {
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let port = Port::bind(address, IpVersion::AsWritten)
            .map_err(|source| StartError::ListenForMetrics { address, source })?;
        Ok(Self { port })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Tells it to whoever asks, until the shutdown.
    pub(crate) async fn serve(self, told: Told, clock: Arc<dyn Clock>, tasks: Tasks) {
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
    let mut families = told.locations.metrics(PATIENCE).await;
    families.extend(told.replication.metrics());
    match TextEncoder::new().encode_to_string(&families) {
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
