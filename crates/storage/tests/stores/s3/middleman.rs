//! A proxy in front of a bucket's store that knows the requests: it notes how their bytes are covered, and does what stores do that are not like
//! this one or have a bad moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use roadstead_oci::{Algorithm, Digest};
use roadstead_storage::HttpClient;
use tokio::net::TcpListener;

use crate::between::serve;

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The proxy. Its tasks end with the test's runtime.
pub(crate) struct Middleman {
    endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    origin: String,
    client: reqwest::Client,
    seen: Mutex<Vec<Seen>>,
    compares_nothing: AtomicBool,
    trials_refused: AtomicUsize,
    completions_lost: AtomicUsize,
    completions_failed: AtomicUsize,
}

/// A request that has come through.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Bytes of its body.
    pub(crate) bytes: usize,
    pub(crate) has_md5: bool,
    /// The hash under its signature.
    pub(crate) sha256: Option<String>,
    pub(crate) is_copy: bool,
}

impl Middleman {
    pub(crate) async fn before(origin: String) -> Self {
        // Whoever makes the first client of a process says how it does TLS.
        HttpClient::new(&[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            origin,
            ..State::default()
        });
        let answering = Arc::clone(&state);
        tokio::task::spawn(serve(listener, move |request| {
            let state = Arc::clone(&answering);
            async move { answer(&state, request).await }
        }));
        Self { endpoint, state }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// From now on nothing is refused because of its hash.
    pub(crate) fn compares_nothing(&self) {
        self.state.compares_nothing.store(true, Ordering::SeqCst);
    }

    /// The next attempts to see whether it compares meet a store that cannot just now.
    pub(crate) fn refuse_trials(&self, times: usize) {
        self.state.trials_refused.store(times, Ordering::SeqCst);
    }

    /// The next completions are carried out, and the answer says that they are not.
    pub(crate) fn lose_completions(&self, times: usize) {
        self.state.completions_lost.store(times, Ordering::SeqCst);
    }

    /// The next completions fail behind a good status.
    pub(crate) fn fail_completions(&self, times: usize) {
        self.state.completions_failed.store(times, Ordering::SeqCst);
    }
}

fn take(times: &AtomicUsize) -> bool {
    times
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| {
        let value = parts.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let target = parts.uri.to_string();
    let sha256 = header("x-amz-content-sha256").filter(|hash| hash != UNSIGNED);
    let is_put = parts.method == "PUT";
    state.seen.lock().unwrap().push(Seen {
        method: parts.method.to_string(),
        target: target.clone(),
        bytes: body.len(),
        has_md5: header("content-md5").is_some(),
        sha256: sha256.clone(),
        is_copy: header("x-amz-copy-source").is_some(),
    });
    if is_put && target.ends_with("/checked") && take(&state.trials_refused) {
        return error(503, "SlowDown");
    }
    let wrong = sha256.is_some_and(|hash| Digest::of(Algorithm::Sha256, &body).hex() != hash);
    if is_put && wrong && state.compares_nothing.load(Ordering::SeqCst) {
        return Response::builder()
            .header("etag", "\"taken\"")
            .body(Full::default())
            .unwrap();
    }
    let completes = parts.method == "POST" && target.contains("uploadId=");
    if completes && take(&state.completions_failed) {
        return error(200, "InternalError");
    }
    let mut forwarded = state
        .client
        .request(parts.method, format!("{}{target}", state.origin))
        .headers(parts.headers);
    if !body.is_empty() {
        forwarded = forwarded.body(body);
    }
    let answer = forwarded.send().await.unwrap();
    if completes && take(&state.completions_lost) {
        assert!(answer.status().is_success(), "{answer:?}");
        answer.bytes().await.unwrap();
        return error(500, "InternalError");
    }
    let mut response = Response::builder().status(answer.status());
    let headers = response.headers_mut().unwrap();
    headers.clone_from(answer.headers());
    headers.remove("transfer-encoding");
    let body = answer.bytes().await.unwrap();
    response.body(Full::new(body)).unwrap()
}

fn error(status: u16, code: &str) -> Response<Full<Bytes>> {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
    Response::builder()
        .status(status)
        .body(Full::from(body))
        .unwrap()
}
