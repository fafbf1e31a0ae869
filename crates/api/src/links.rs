//! The URLs that answers carry: where an upload goes on, where a blob or manifest is found, where a list continues.

use http::header::{HOST, HeaderMap};
use http::{HeaderValue, Uri};
use roadstead_oci::{Digest, RepositoryName};
use uuid::Uuid;

use crate::options::{ExternalUrl, UrlScheme, is_host};
use crate::percent::encode;

/// Writes URLs: paths, or absolute if the operator has said where clients reach the registry.
///
/// Every text that goes in is either of a grammar that fits in a URL (names, digests, ids) or is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links<'a>(pub(crate) Option<&'a ExternalUrl>);

impl Links<'_> {
    pub(crate) fn blob(self, name: &RepositoryName, digest: &Digest) -> HeaderValue {
        self.url(&format!("/v2/{name}/blobs/{digest}"))
    }

    /// The form that the conformance suite and the specification's clients take apart: nothing after the id.
    pub(crate) fn upload(self, name: &RepositoryName, id: Uuid) -> HeaderValue {
        self.url(&format!("/v2/{name}/blobs/uploads/{id}"))
    }

    pub(crate) fn manifest(self, name: &RepositoryName, digest: &Digest) -> HeaderValue {
        self.url(&format!("/v2/{name}/manifests/{digest}"))
    }

    /// A `Link` header to the next page (RFC 8288): `path` with these query parameters.
    pub(crate) fn next_page(self, path: &str, parameters: &[(&str, &str)]) -> HeaderValue {
        let mut url = path.to_owned();
        for (number, (name, value)) in parameters.iter().enumerate() {
            url.push(if number == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value));
        }
        header(format!("<{}{url}>; rel=\"next\"", self.base()))
    }

    /// The storage proxy's own URL. `None` for what cannot stand in a header. It is worth as much as a password, and nothing prints it.
    pub(crate) fn proxied(self, path_and_query: &str) -> Option<HeaderValue> {
        let mut url = HeaderValue::try_from(format!("{}{path_and_query}", self.base())).ok()?;
        url.set_sensitive(true);
        Some(url)
    }

    fn url(self, path: &str) -> HeaderValue {
        header(format!("{}{path}", self.base()))
    }

    fn base(&self) -> &str {
        self.0.map_or("", ExternalUrl::as_str)
    }
}

fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names, digests, ids and encoded text are visible ASCII")
}

/// The URL of the token endpoint, for challenges. It is absolute where that is possible, since Docker's clients take no path here:
/// with the configured host, otherwise with the host that the client asked for and the scheme that it did so by.
///
/// A host that a client makes up reaches nobody but this client.
pub(crate) fn token_url(
    external: Option<&ExternalUrl>,
    scheme: UrlScheme,
    uri: &Uri,
    headers: &HeaderMap,
) -> String {
    const PATH: &str = "/v2/auth";
    if let Some(url) = external {
        return format!("{}{PATH}", url.as_str());
    }
    // HTTP/2 has the host in the request's own URI.
    let host = uri
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| headers.get(HOST)?.to_str().ok());
    let Some(host) = host.filter(|host| is_host(host)) else {
        return PATH.to_owned();
    };
    format!("{}://{host}{PATH}", scheme.as_str())
}

/// Whether this is where the registry is: the configured address, or else the host that the client asked for.
pub(crate) fn is_own_origin(
    origin: &str,
    external: Option<&ExternalUrl>,
    headers: &HeaderMap,
) -> bool {
    if let Some(url) = external {
        return origin.eq_ignore_ascii_case(url.as_str());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match (origin.split_once("://"), host) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_paths_unless_the_host_is_configured() {
        let name = "a/b".parse().expect("a good name");
        let url = ExternalUrl::new(UrlScheme::Https, "registry.example.com").expect("a good host");
        assert_eq!(
            Links(None).upload(&name, Uuid::nil()),
            "/v2/a/b/blobs/uploads/00000000-0000-0000-0000-000000000000"
        );
        assert_eq!(
            Links(Some(&url)).next_page("/v2/a/b/tags/list", &[("n", "2"), ("last", "a+b&c")]),
            "<https://registry.example.com/v2/a/b/tags/list?n=2&last=a%2Bb%26c>; rel=\"next\""
        );
    }

    #[test]
    fn urls_of_the_storage_proxy_are_secret() {
        let url = ExternalUrl::new(UrlScheme::Https, "registry.example.com").expect("a good host");
        let path = "/_storage_proxy/e30=/https/s3.example/b/k?sig=x";
        let proxied = Links(Some(&url)).proxied(path).expect("visible ASCII");
        assert_eq!(proxied, format!("https://registry.example.com{path}"));
        assert!(proxied.is_sensitive());
        assert_eq!(Links(None).proxied(path).expect("visible ASCII"), path);
        assert_eq!(Links(None).proxied("/_storage_proxy/\r\n"), None);
    }

    #[test]
    fn the_token_endpoint_is_at_the_configured_host_or_at_the_one_that_was_asked() {
        let url = ExternalUrl::new(UrlScheme::Https, "registry.example.com").expect("a good host");
        let (path, absolute) = (
            Uri::from_static("/v2/"),
            Uri::from_static("http://two.example:81/v2/"),
        );
        let host =
            |host: &'static str| HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
        let (http, https) = (UrlScheme::Http, UrlScheme::Https);
        for (external, scheme, uri, headers, expected) in [
            (
                Some(&url),
                http,
                &path,
                host("one.example"),
                "https://registry.example.com/v2/auth",
            ),
            (
                None,
                http,
                &path,
                host("one.example:8080"),
                "http://one.example:8080/v2/auth",
            ),
            (
                None,
                https,
                &path,
                host("one.example"),
                "https://one.example/v2/auth",
            ),
            (
                None,
                http,
                &absolute,
                HeaderMap::new(),
                "http://two.example:81/v2/auth",
            ),
            (None, http, &path, HeaderMap::new(), "/v2/auth"),
            (None, http, &path, host("a\",service=\"b"), "/v2/auth"),
        ] {
            assert_eq!(token_url(external, scheme, uri, &headers), expected);
        }
    }
}
