//! A proxy in front of a store that lacks `Put Block From URL`: it fetches the block from where the request says, with the signature that is in
//! there, and puts it with the signature of the request. The store checks both. Everything else goes through as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;

use crate::between::serve;

/// The proxy. Its tasks end with the test's runtime.
pub(crate) struct CopyingStore {
    endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    origin: String,
    path: String,
    client: reqwest::Client,
    received: AtomicUsize,
    read_here: AtomicUsize,
    copied: AtomicUsize,
    lost_lists: AtomicUsize,
    firewalled: AtomicBool,
}

/// What has passed so far.
pub(crate) struct Counts {
    /// Bytes of the bodies of requests.
    pub(crate) received: usize,
    /// Reads of objects.
    pub(crate) read_here: usize,
    /// Blocks that were copied.
    pub(crate) copied: usize,
}

impl CopyingStore {
    /// Stands before the store at this endpoint.
    pub(crate) async fn before(endpoint: &str) -> Self {
        let authority = endpoint.strip_prefix("http://").unwrap();
        let (host, path) = authority.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            origin: format!("http://{host}"),
            path: format!("/{path}"),
            ..State::default()
        });
        let own = format!("http://{}/{path}", listener.local_addr().unwrap());
        let answering = Arc::clone(&state);
        tokio::task::spawn(serve(listener, move |request| {
            let state = Arc::clone(&answering);
            async move { answer(&state, request).await }
        }));
        Self {
            endpoint: own,
            state,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = &self.state;
        Counts {
            received: state.received.load(Ordering::SeqCst),
            read_here: state.read_here.load(Ordering::SeqCst),
            copied: state.copied.load(Ordering::SeqCst),
        }
    }

    /// Answers the next lists of blocks as if the blocks were gone.
    pub(crate) fn lose_blocks(&self, times: usize) {
        self.state.lost_lists.store(times, Ordering::SeqCst);
    }

    /// Refuses to copy from now on, as a store does whose firewall does not let itself in.
    pub(crate) fn wall_off(&self) {
        self.state.firewalled.store(true, Ordering::SeqCst);
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let mut body = body.collect().await.unwrap().to_bytes();
    state.received.fetch_add(body.len(), Ordering::SeqCst);
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if parts.method == "GET" && !query.contains("comp=list") {
        state.read_here.fetch_add(1, Ordering::SeqCst);
    }
    let lists_left = &state.lost_lists;
    let one_less = |left: usize| left.checked_sub(1);
    if query.contains("comp=blocklist")
        && lists_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
    {
        return refusal(400, "InvalidBlockList");
    }
    if let Some(source) = parts.headers.remove("x-ms-copy-source") {
        if state.firewalled.load(Ordering::SeqCst) {
            return refusal(403, "CannotVerifyCopySource");
        }
        let source = source.to_str().unwrap();
        let (_, behind) = source.split_once(&state.path).unwrap();
        let range = parts.headers.remove("x-ms-source-range").unwrap();
        let fetched = state
            .client
            .get(format!("{}{}{behind}", state.origin, state.path))
            .header("x-ms-range", range)
            .send()
            .await
            .unwrap();
        if !fetched.status().is_success() {
            return refusal(fetched.status().as_u16(), "CannotVerifyCopySource");
        }
        body = fetched.bytes().await.unwrap();
        parts.headers.remove("content-length");
        state.copied.fetch_add(1, Ordering::SeqCst);
    }
    parts.headers.remove("host");
    let url = format!("{}{}", state.origin, parts.uri);
    let mut forwarded = state
        .client
        .request(parts.method, url)
        .headers(parts.headers);
    if !body.is_empty() {
        forwarded = forwarded.body(body);
    }
    let answer = forwarded.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    let headers = response.headers_mut().unwrap();
    headers.clone_from(answer.headers());
    headers.remove("transfer-encoding");
    let body = answer.bytes().await.unwrap();
    response.body(Full::new(body)).unwrap()
}

fn refusal(status: u16, code: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("x-ms-error-code", code)
        .body(Full::default())
        .unwrap()
}
