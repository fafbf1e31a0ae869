//! The metrics of this process, for Prometheus: `GET /metrics`, on an address of its own, which is not for clients of the registry.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use prometheus::{TEXT_FORMAT, TextEncoder};
use roadstead_locations::Locations;
use roadstead_replication::Replication;
use roadstead_runtime::{Shutdown, Tasks};
use tokio::net::TcpListener;

use crate::connections;
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
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl MetricsListener {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let failed = |source| StartError::ListenForMetrics { address, source };
        let listener = connections::listen(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Tells it to whoever asks, until the shutdown.
    pub(crate) async fn serve(self, told: Told, tasks: Tasks, shutdown: Shutdown) {
        let service = service_fn(move |request: Request<Incoming>| {
            let told = told.clone();
            async move {
                let answer = answer(request.method(), request.uri().path(), &told).await;
                Ok::<_, Infallible>(answer)
            }
        });
        connections::serve(
            self.listener,
            move |_| service.clone(),
            CONNECTIONS_MAX,
            tasks,
            shutdown,
            DRAIN,
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
