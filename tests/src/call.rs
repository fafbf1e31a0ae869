//! One request at a time, any request, and what came of it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use roadstead_client::{Client, RequestBody};
use roadstead_oci::{Algorithm, Digest};
use roadstead_testkit::eventually;
use serde_json::Value;

/// The largest answer that these tests read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The digest of some text.
pub fn sha256(content: impl AsRef<[u8]>) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_ref())
}

/// A request in the making.
#[derive(Debug)]
pub struct Call {
    request: Request<RequestBody>,
}

/// A request of this method and path; the query is part of the path.
pub fn call(method: &str, path: impl AsRef<str>) -> Call {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method is a word"))
        .uri(path.as_ref())
        .body(RequestBody::empty())
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref()));
    Call { request }
}

impl Call {
    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref().parse().expect("a header is printable");
        self.request.headers_mut().append(name, value);
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = RequestBody::bytes(body);
        self
    }

    /// With a body that can be sent once.
    #[must_use]
    pub fn stream(mut self, body: RequestBody) -> Self {
        *self.request.body_mut() = body;
        self
    }

    /// Sends it as this client, without a body, until it is answered with this status: that answer.
    pub async fn until(self, client: &Client, status: u16) -> Reply {
        let (head, _) = self.request.into_parts();
        let what = format!("{} {} is answered with {status}", head.method, head.uri);
        eventually(&what, async || {
            let request = Request::from_parts(head.clone(), RequestBody::empty());
            let reply = Self { request }.send(client).await;
            (reply.status == status).then_some(reply)
        })
        .await
    }

    /// Sends it as this client and reads the whole answer.
    pub async fn send(self, client: &Client) -> Reply {
        let described = format!("{} {}", self.request.method(), self.request.uri());
        // What the registry does not say itself: everything in the repository that the path names.
        let path = self.request.uri().path();
        let scope = ["/blobs/", "/manifests/", "/tags/", "/referrers/"]
            .into_iter()
            .find_map(|noun| path.strip_prefix("/v2/")?.split_once(noun))
            .map(|(name, _)| format!("repository:{name}:pull,push"))
            .unwrap_or_default();
        let answer = client
            .exchange(self.request, &scope)
            .await
            .unwrap_or_else(|error| panic!("{described}: {error:?}"));
        Reply {
            described,
            status: answer.status,
            headers: answer.headers.clone(),
            body: answer
                .bytes(ANSWER_BYTES_MAX)
                .await
                .unwrap_or_else(|error| panic!("the rest of an answer is missing: {error:?}")),
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// What was asked: method and address.
    pub described: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

#[expect(
    clippy::return_self_not_must_use,
    reason = "the answer is checked, whether or not anybody reads on"
)]
impl Reply {
    /// The header as text; the empty text if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("headers are ASCII"))
    }

    /// The body, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// This answer, whose status is as it should be.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}: {}",
            self.described,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// This answer, which is an error of this status and code, in the form of section "Error Codes" of the distribution
    /// specification.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(
            reply.header("content-type"),
            "application/json",
            "{}",
            reply.described
        );
        let body = reply.json();
        let errors = body["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("{reply:?}"));
        assert!(!errors.is_empty(), "{reply:?}");
        for error in errors {
            assert_eq!(error["code"], code, "{}: {body}", reply.described);
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty()),
                "{body}"
            );
        }
        reply
    }

    /// The path, with its query, that `Location` points to.
    #[track_caller]
    pub fn location(&self) -> String {
        let location: http::Uri = self
            .header("location")
            .parse()
            .unwrap_or_else(|_| panic!("{self:?}"));
        location
            .path_and_query()
            .unwrap_or_else(|| panic!("{self:?}"))
            .to_string()
    }
}

/// A path with one parameter more.
pub fn with_parameter(path: &str, parameter: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{parameter}")
}
