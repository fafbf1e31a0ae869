//! Fetching from an address that somebody else signed, as it stands, without a word of our own: for the storage proxy.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use reqwest::Url;

use super::HttpClient;

/// What is fetched, and how long each step of it may take.
#[derive(Clone, Debug)]
pub struct FetchRequest<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Name or address, with a port if it is not the scheme's own. The request is for this host to the letter: signatures cover it.
    pub host: &'a str,
    /// The path without its first slash, and the query behind its question mark, as they are to be sent.
    pub uri: &'a str,
    /// All headers of the request but `Host` and an `Accept` of anything.
    pub headers: HeaderMap,
    /// From the request to the head of the answer, the connection included.
    pub answer_timeout: Duration,
    /// How long the store may send nothing of the body. The time in which the reader does not ask for more does not count.
    pub idle_timeout: Duration,
}

/// The head of an answer, whatever its status. Redirects are answers, and are not followed.
#[derive(Debug)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    host: String,
    body: reqwest::Response,
    idle_timeout: Duration,
}

/// Why there is no answer, or not the whole of it. Never shows the address beyond its host.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address cannot be asked for without changing it, which its signature would not survive.
    #[error("an address at `{host}` cannot be asked for as it was signed: {problem}")]
    Address {
        /// Its host.
        host: String,
        /// What keeps it from being asked for.
        problem: &'static str,
    },
    /// There is no connection.
    #[error("could not connect to {host}")]
    Connect {
        /// To where.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke off.
    #[error("the connection to {host} broke off")]
    Interrupted {
        /// To where.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing came in time.
    #[error("{host} sent nothing for {} s", after.as_secs())]
    TimedOut {
        /// Who was silent.
        host: String,
        /// For how long.
        after: Duration,
    },
}

impl HttpClient {
    /// Sends a GET to an address and returns with the head of the answer. The address has to come from somebody who may send this process to any
    /// host: nothing is checked but its form.
    ///
    /// One connection is in use until [`Fetched::into_body`] has ended or is dropped; of a body some 400 KiB at most are in memory.
    pub async fn fetch(&self, request: FetchRequest<'_>) -> Result<Fetched, FetchError> {
        let FetchRequest {
            scheme,
            host,
            uri,
            headers,
            answer_timeout,
            idle_timeout,
        } = request;
        let url = url_as_it_stands(scheme, host, uri)?;
        let host_value = HeaderValue::try_from(host).map_err(|_| FetchError::Address {
            host: host.to_owned(),
            problem: "its host is none",
        })?;
        let asking = self
            .untouched
            .request(Method::GET, url)
            .headers(headers)
            .header(HOST, host_value)
            .send();
        let answer = tokio::time::timeout(answer_timeout, asking)
            .await
            .map_err(|_| FetchError::TimedOut {
                host: host.to_owned(),
                after: answer_timeout,
            })?
            .map_err(|error| failure(host, error))?;
        let status = answer.status();
        Ok(Fetched {
            status,
            headers: answer.headers().clone(),
            host: host.to_owned(),
            body: answer,
            idle_timeout,
        })
    }
}

impl Fetched {
    /// The body, as it comes and no faster than it is read. After an error there is no more.
    pub fn into_body(self) -> impl Stream<Item = Result<Bytes, FetchError>> + Send + 'static {
        try_unfold(self, |mut this| async move {
            let next = tokio::time::timeout(this.idle_timeout, this.body.chunk()).await;
            let chunk = next
                .map_err(|_| FetchError::TimedOut {
                    host: this.host.clone(),
                    after: this.idle_timeout,
                })?
                .map_err(|error| failure(&this.host, error))?;
            Ok(chunk.map(|chunk| (chunk, this)))
        })
    }
}

/// The address as the client takes it, which is refused if the client would ask for another path or query than was signed: it resolves `..`, in
/// every encoding, and encodes what browsers encode.
fn url_as_it_stands(scheme: &str, host: &str, uri: &str) -> Result<Url, FetchError> {
    let unfit = |problem| FetchError::Address {
        host: host.to_owned(),
        problem,
    };
    if !matches!(scheme, "http" | "https") {
        return Err(unfit("its scheme is neither http nor https"));
    }
    if host.contains(['/', '\\', '?', '#', '@']) {
        return Err(unfit("its host is none"));
    }
    let url = Url::parse(&format!("{scheme}://{host}/{uri}"))
        .map_err(|_| unfit("it is no address of the web"))?;
    let kept = match (uri.split_once('?'), url.query()) {
        (Some((path, query)), Some(kept)) => query == kept && is_path(&url, path),
        (None, None) => is_path(&url, uri),
        _ => false,
    };
    if kept && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(unfit("its path or query would be written otherwise"))
    }
}

fn is_path(url: &Url, path: &str) -> bool {
    url.path().strip_prefix('/') == Some(path)
}

fn failure(host: &str, error: reqwest::Error) -> FetchError {
    let (host, connecting) = (host.to_owned(), error.is_connect());
    let source = error.without_url();
    if connecting {
        FetchError::Connect { host, source }
    } else {
        FetchError::Interrupted { host, source }
    }
}

#[cfg(test)]
mod tests;
