//! A stand-in for Swift and its identity services, for tests of what a real one does not do on demand: refuse, forget, lag and race. It is no
//! proof that a real one behaves like this; what is the store's own is tested against a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opendal::raw::percent_decode_path;
use roadstead_runtime::{Clock, Ids, SeededIds, SystemClock, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(super) const CONTAINER: &str = "registry";
pub(super) const USER: &str = "test:tester";
pub(super) const PASSWORD: &str = "testing";

#[derive(Debug)]
pub(super) struct Mock {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) container_exists: bool,
    pub(super) has_lists: bool,
    pub(super) objects: BTreeMap<String, Object>,
    /// Names that listings do not show yet.
    pub(super) unlisted: BTreeSet<String>,
    /// Objects that are made are not listed until further notice.
    pub(super) listings_lag: bool,
    pub(super) tokens: BTreeSet<String>,
    pub(super) token_seconds: Option<i64>,
    pub(super) tokens_given: u64,
    pub(super) info: Option<Value>,
    /// Method, path with query.
    pub(super) requests: Vec<(Method, String)>,
    /// Requests that are answered by this status: method, a part of the path, how often.
    pub(super) refusals: Vec<(Method, String, u16, u64)>,
    /// After so many more requests to the container nothing but this is answered.
    pub(super) dies_after: Option<(u64, u16)>,
    pub(super) delays: Option<SeededIds>,
    pub(super) identity_answers: Option<StatusCode>,
    address: String,
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) body: Bytes,
    pub(super) prefix: Option<String>,
    pub(super) list: Option<Vec<(String, u64)>>,
    pub(super) modified: Timestamp,
}

impl Object {
    pub(super) fn plain(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            prefix: None,
            list: None,
            modified: SystemClock.now(),
        }
    }

    /// As Quay writes them.
    pub(super) fn of_prefix(prefix: &str) -> Self {
        Self {
            prefix: Some(prefix.to_owned()),
            ..Self::plain(Bytes::new())
        }
    }
}

impl Mock {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            container_exists: true,
            has_lists: true,
            objects: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            listings_lag: false,
            tokens: BTreeSet::new(),
            token_seconds: Some(3600),
            tokens_given: 0,
            info: None,
            requests: Vec::new(),
            refusals: Vec::new(),
            dies_after: None,
            delays: None,
            identity_answers: None,
            address: format!("http://{address}"),
        }));
        let mut serving = JoinSet::new();
        let served = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&served);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Self {
            address,
            state,
            _serving: serving,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn put(&self, name: &str, object: Object) {
        self.state().objects.insert(name.to_owned(), object);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// Makes everything look as if it had been written so long ago.
    pub(super) fn age(&self, by: chrono::TimeDelta) {
        for object in self.state().objects.values_mut() {
            object.modified -= by;
        }
    }

    /// How many requests of this method were for paths that contain this.
    pub(super) fn count(&self, method: &Method, path: &str) -> usize {
        let state = self.state();
        let requests = state.requests.iter();
        requests
            .filter(|(asked, at)| asked == method && at.contains(path))
            .count()
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    let pause = {
        let state = state.lock().unwrap();
        state.delays.as_ref().map(|ids| {
            let mut byte = [0];
            ids.fill(&mut byte);
            Duration::from_micros(u64::from(byte[0]) * 8)
        })
    };
    if let Some(pause) = pause {
        SystemClock.sleep(pause).await;
    }
    let mut answer = {
        let mut state = state.lock().unwrap();
        let target = head
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
        state.requests.push((head.method.clone(), target.clone()));
        state.answer(&head.method, &target, &head.headers, &body)
    };
    if head.method == Method::HEAD {
        *answer.body_mut() = Full::new(Bytes::new());
    }
    let now = http_date(SystemClock.now());
    answer.headers_mut().insert("date", now.parse().unwrap());
    Ok(answer)
}

fn http_date(moment: Timestamp) -> String {
    moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn status(code: u16) -> Answer {
    said(code, Bytes::new())
}

fn said(code: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(code)
        .body(Full::new(body.into()))
        .unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/auth/v1.0" => return self.version_1(headers),
            "/v2.0/tokens" => return self.version_2(body),
            "/v3/auth/tokens" => return self.version_3(body),
            "/info" => {
                return match &self.info {
                    Some(info) => said(200, info.to_string()),
                    None => status(404),
                };
            }
            _ => {}
        }
        if let Some((left, code)) = &mut self.dies_after {
            if *left == 0 {
                return status(*code);
            }
            *left -= 1;
        }
        if !self.tokens.contains(header(headers, "x-auth-token")) {
            return status(401);
        }
        for (refused, part, code, left) in &mut self.refusals {
            if refused == method && target.contains(part.as_str()) && *left > 0 {
                *left -= 1;
                return status(*code);
            }
        }
        let path = percent_decode_path(path);
        let Some(below) = path.strip_prefix("/v1/AUTH_test/") else {
            return status(404);
        };
        let (container, object) = below.split_once('/').unwrap_or((below, ""));
        if container != CONTAINER || !self.container_exists {
            return status(404);
        }
        match (method, object) {
            (&Method::HEAD, "") => status(204),
            (_, "") => self.listing(query),
            (&Method::PUT, _) if query == "multipart-manifest=put" && self.has_lists => {
                self.put_list(object, body)
            }
            (&Method::PUT, _) => self.put(object, headers, body),
            (&Method::DELETE, _) if query == "multipart-manifest=delete" && self.has_lists => {
                self.delete_list(object)
            }
            (&Method::DELETE, _) => match self.objects.remove(object) {
                Some(_) => status(204),
                None => status(404),
            },
            _ => self.get(object, query, headers),
        }
    }

    fn granted(&mut self) -> String {
        self.tokens_given += 1;
        let token = format!("token-{}", self.tokens_given);
        self.tokens.insert(token.clone());
        token
    }

    fn expires(&self) -> Value {
        let seconds = self.token_seconds.map(chrono::TimeDelta::seconds);
        seconds.map_or(Value::Null, |seconds| {
            let end = SystemClock.now() + seconds;
            json!(end.format("%Y-%m-%dT%H:%M:%S.000000Z").to_string())
        })
    }

    fn identity_refuses(&mut self, right: bool) -> Option<Answer> {
        if let Some(status) = self.identity_answers {
            self.tokens_given += 1;
            return Some(said(status.as_u16(), "<html>no</html>"));
        }
        (!right).then(|| status(401))
    }

    fn version_1(&mut self, headers: &HeaderMap) -> Answer {
        let right =
            header(headers, "x-auth-user") == USER && header(headers, "x-auth-key") == PASSWORD;
        if let Some(refused) = self.identity_refuses(right) {
            return refused;
        }
        let mut answer = Response::builder()
            .header("x-auth-token", self.granted())
            .header("x-storage-url", format!("{}/v1/AUTH_test", self.address));
        if let Some(seconds) = self.token_seconds {
            answer = answer.header("x-auth-token-expires", seconds);
        }
        answer.body(Full::default()).unwrap()
    }

    fn version_2(&mut self, body: &[u8]) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let right = asked
            == json!({ "auth": {
                "passwordCredentials": { "username": "tester", "password": PASSWORD },
                "tenantName": "test",
            }});
        if let Some(refused) = self.identity_refuses(right) {
            return refused;
        }
        let url = format!("{}/v1/AUTH_test", self.address);
        let token = json!({ "id": self.granted(), "expires": self.expires() });
        let catalog = json!([
            { "type": "compute", "endpoints": [{ "publicURL": "http://192.0.2.1/" }] },
            { "type": "object-store", "endpoints": [
                { "region": "elsewhere", "publicURL": "http://192.0.2.1/v1/AUTH_test" },
                { "region": "here", "publicURL": url },
            ]},
        ]);
        let access = json!({ "access": { "token": token, "serviceCatalog": catalog } });
        said(200, access.to_string())
    }

    fn version_3(&mut self, body: &[u8]) -> Answer {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let user = &asked["auth"]["identity"]["password"]["user"];
        let right = user["name"] == "tester" && user["password"] == PASSWORD;
        if let Some(refused) = self.identity_refuses(right) {
            return refused;
        }
        let url = format!("{}/v1/AUTH_test/", self.address);
        let catalog = json!([
            { "type": "object-store", "endpoints": [
                { "interface": "admin", "region": "here", "url": "http://192.0.2.1/" },
                { "interface": "public", "region": "elsewhere", "url": "http://192.0.2.1/" },
                { "interface": "public", "region": "here", "region_id": "here", "url": url },
            ]},
        ]);
        let token = json!({ "token": { "expires_at": self.expires(), "catalog": catalog } });
        let mut answer = said(201, token.to_string());
        let subject = self.granted().parse().unwrap();
        answer.headers_mut().insert("x-subject-token", subject);
        answer
    }

    fn listing(&self, query: &str) -> Answer {
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.find(|(key, _)| *key == name);
            value.map_or_else(String::new, |(_, value)| percent_decode_path(value))
        };
        let (prefix, marker) = (parameter("prefix"), parameter("marker"));
        let limit: usize = parameter("limit").parse().unwrap();
        let lines: Vec<Value> = self
            .objects
            .iter()
            .filter(|(name, _)| {
                name.starts_with(&prefix) && **name > marker && !self.unlisted.contains(*name)
            })
            // Less than was asked for, as a store may.
            .take(limit.min(7))
            .map(|(name, object)| {
                let bytes = match &object.list {
                    Some(list) => list.iter().map(|(_, bytes)| *bytes).sum(),
                    None => object.body.len() as u64,
                };
                let modified = object.modified.format("%Y-%m-%dT%H:%M:%S.%6f").to_string();
                json!({ "name": name, "bytes": bytes, "hash": "", "last_modified": modified })
            })
            .collect();
        said(200, Value::from(lines).to_string())
    }

    fn insert(&mut self, name: &str, object: Object) {
        if self.listings_lag && !self.objects.contains_key(name) {
            self.unlisted.insert(name.to_owned());
        }
        self.objects.insert(name.to_owned(), object);
    }

    fn put(&mut self, name: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let from = percent_decode_path(header(headers, "x-copy-from"));
        let body = match from.strip_prefix(&format!("/{CONTAINER}/")) {
            Some(from) => match self.bytes_of(from) {
                Some(body) => body,
                None => return status(404),
            },
            None => body.to_vec(),
        };
        self.insert(name, Object::plain(body));
        status(201)
    }

    fn put_list(&mut self, name: &str, body: &[u8]) -> Answer {
        let asked: Vec<Value> = serde_json::from_slice(body).unwrap();
        if asked.len() > 1000 {
            return status(413);
        }
        let mut list = Vec::new();
        let mut errors = Vec::new();
        for segment in &asked {
            let path = segment["path"].as_str().unwrap();
            let name = path.strip_prefix(&format!("/{CONTAINER}/")).unwrap();
            match self.size_of(name) {
                None => errors.push(json!([path, "404 Not Found"])),
                Some(bytes) if segment["size_bytes"] != json!(bytes) => {
                    errors.push(json!([path, "Size Mismatch"]));
                }
                Some(bytes) => list.push((name.to_owned(), bytes)),
            }
        }
        if !errors.is_empty() {
            return said(400, json!({ "Errors": errors }).to_string());
        }
        let object = Object {
            list: Some(list),
            ..Object::plain(Bytes::new())
        };
        self.insert(name, object);
        status(201)
    }

    fn delete_list(&mut self, name: &str) -> Answer {
        let Some(object) = self.objects.get(name).cloned() else {
            let nothing = json!({ "Response Status": "200 OK", "Errors": [] });
            return said(200, format!("  \r\n\r\n{nothing}"));
        };
        for (segment, _) in object.list.iter().flatten() {
            self.delete_list(segment);
        }
        self.objects.remove(name);
        let done = json!({ "Response Status": "200 OK", "Errors": [] });
        said(200, format!("  \r\n\r\n{done}"))
    }

    fn size_of(&self, name: &str) -> Option<u64> {
        self.bytes_of(name).map(|bytes| bytes.len() as u64)
    }

    /// The bytes of an object; none when one of its segments is gone.
    pub(super) fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let object = self.objects.get(name)?;
        if let Some(list) = &object.list {
            let mut bytes = Vec::new();
            for (segment, size) in list {
                let segment = self.bytes_of(segment)?;
                if segment.len() as u64 != *size {
                    return None;
                }
                bytes.extend(segment);
            }
            return Some(bytes);
        }
        let Some(prefix) = &object.prefix else {
            return Some(object.body.to_vec());
        };
        let prefix = prefix.strip_prefix(&format!("{CONTAINER}/"))?;
        let segments = self.objects.range(prefix.to_owned()..);
        let segments = segments.take_while(|(name, _)| name.starts_with(prefix));
        let listed = segments.filter(|(name, _)| !self.unlisted.contains(*name));
        Some(
            listed
                .flat_map(|(_, object)| object.body.to_vec())
                .collect(),
        )
    }

    fn get(&self, name: &str, query: &str, headers: &HeaderMap) -> Answer {
        let Some(object) = self.objects.get(name) else {
            return status(404);
        };
        let mut answer = Response::builder()
            .header("last-modified", http_date(object.modified))
            .header("etag", "0");
        if let Some(list) = &object.list {
            answer = answer.header("x-static-large-object", "True");
            if query == "multipart-manifest=get" {
                let lines = list.iter().map(|(name, bytes)| {
                    json!({ "name": format!("/{CONTAINER}/{name}"), "bytes": bytes })
                });
                let lines = Value::from(lines.collect::<Vec<_>>()).to_string();
                return answer.body(Full::new(lines.into())).unwrap();
            }
        }
        if let Some(prefix) = &object.prefix {
            answer = answer.header("x-object-manifest", prefix);
            if query == "multipart-manifest=get" {
                return answer.body(Full::default()).unwrap();
            }
        }
        let Some(bytes) = self.bytes_of(name) else {
            return status(if object.prefix.is_some() { 404 } else { 409 });
        };
        let range = header(headers, "range").strip_prefix("bytes=");
        let Some((start, end)) = range.and_then(|range| range.split_once('-')) else {
            answer = answer.header("content-length", bytes.len());
            return answer.body(Full::new(bytes.into())).unwrap();
        };
        let start: usize = start.parse().unwrap();
        let end = end.parse().map_or(bytes.len(), |end: usize| end + 1);
        let Some(part) = bytes
            .get(start..end.min(bytes.len()))
            .filter(|part| !part.is_empty())
        else {
            return status(416);
        };
        let answered = format!("bytes {start}-{}/{}", start + part.len() - 1, bytes.len());
        answer
            .status(206)
            .header("content-range", answered)
            .body(Full::new(part.to_vec().into()))
            .unwrap()
    }
}
