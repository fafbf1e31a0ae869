//! A receiver of webhooks on a loopback port.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roadstead_runtime::Tasks;
use tokio::net::TcpListener;

/// What a receiver does with what it is sent.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    Takes,
    Answers(u16),
    Redirects(String),
    Hangs,
    /// What has this tag; it takes everything else.
    Refuses(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) line: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    tasks: Tasks,
}

impl Receiver {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), behaviour).await
    }

    pub(super) async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
            tasks: Tasks::new(),
        };
        let (received, tasks) = (Arc::clone(&receiver.received), receiver.tasks.clone());
        receiver.tasks.spawn(async move {
            let shutdown = tasks.shutdown();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = shutdown.wait() => return,
                };
                let (received, behaviour) = (Arc::clone(&received), behaviour.clone());
                let shutdown = shutdown.clone();
                tasks.spawn(async move {
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&received), behaviour.clone())
                    });
                    let serving =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        served = serving => drop(served),
                        () = shutdown.wait() => {}
                    }
                });
            }
        });
        receiver
    }

    /// Ends it, and tells where it was.
    pub(super) async fn stop(self) -> SocketAddr {
        assert!(self.tasks.stop(Duration::from_secs(30)).await);
        self.address
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The first tag of everything that it was sent.
    pub(super) fn tags(&self) -> Vec<String> {
        let requests = self.requests();
        requests.iter().map(|request| tag(&request.body)).collect()
    }
}

fn tag(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["tags"][0].as_str().unwrap().to_owned()
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Received>>>,
    behaviour: Behaviour,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let tag = tag(&body);
    received.lock().unwrap().push(Received {
        line: format!("{} {}", head.method, head.uri),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body,
    });
    let response = Response::builder();
    let response = match behaviour {
        Behaviour::Takes => response.status(204),
        Behaviour::Answers(status) => response.status(status),
        Behaviour::Refuses(refused) => response.status(if tag == refused { 500 } else { 200 }),
        Behaviour::Redirects(location) => response.status(307).header("location", location),
        Behaviour::Hangs => std::future::pending().await,
    };
    Ok(response.body(Empty::new()).unwrap())
}
