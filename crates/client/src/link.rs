//! Addresses in answers: `Location`, `Link`, the realm of a challenge; and the writing of query strings.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// The address that `reference`, found in the answer to a request of `base`, stands for: absolute, or a path on the same host.
/// `None` if it is neither. (RFC 3986 also has references relative to the path; registries do not use them.)
pub(crate) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    if reference.starts_with("//") {
        return None;
    }
    if reference.starts_with('/') {
        let mut parts = base.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(reference).ok()?);
        return Uri::from_parts(parts).ok();
    }
    let uri = Uri::try_from(reference).ok()?;
    (uri.scheme().is_some() && uri.authority().is_some()).then_some(uri)
}

/// Whether both are on the same server: credentials for the one may be sent to the other.
pub(crate) fn same_server(one: &Uri, other: &Uri) -> bool {
    fn server(uri: &Uri) -> (Option<&Scheme>, Option<&str>, Option<u16>) {
        let scheme = uri.scheme();
        let port = uri.port_u16().or_else(|| match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
        (scheme, uri.authority().map(Authority::host), port)
    }
    server(one) == server(other)
}

/// `uri` with `name=value` behind its query; the value is escaped, the name is a plain word.
pub(crate) fn with_parameter(uri: &Uri, name: &str, value: &str) -> Uri {
    let path = uri.path();
    let separator_and_query = match uri.query() {
        Some(query) if !query.is_empty() => format!("?{query}&"),
        _ => "?".to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    let path_and_query = format!("{path}{separator_and_query}{name}={}", escape(value));
    parts.path_and_query = Some(
        PathAndQuery::try_from(path_and_query)
            .expect("a valid path, a plain word and escaped text are a valid path and query"),
    );
    Uri::from_parts(parts).expect("only the query was changed")
}

/// Percent-encodes all but what RFC 3986 section 2.3 leaves as it is, and `:` and `/`, which a query may have as they are.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
            escaped.push('%');
            escaped.push(char::from(DIGITS[usize::from(byte >> 4)]));
            escaped.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    escaped
}

/// The target of the `rel="next"` link of a `Link` header's value: RFC 8288, as registries write it.
pub(crate) fn next_page(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        let (parameters, following) = after.split_once(',').unwrap_or((after, ""));
        let is_next = parameters.split(';').any(|parameter| {
            parameter
                .trim()
                .split_once('=')
                .is_some_and(|(name, relation)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && relation.trim().trim_matches('"') == "next"
                })
        });
        if is_next {
            return Some(target);
        }
        rest = following;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Uri {
        Uri::from_static("http://registry:5000/v2/a/blobs/uploads/?x=1")
    }

    #[test]
    fn locations_are_absolute_or_paths_on_the_same_server() {
        let resolved = |reference| resolve(&base(), reference).map(|uri| uri.to_string());
        assert_eq!(
            resolved("/v2/a/blobs/uploads/1?_state=y").as_deref(),
            Some("http://registry:5000/v2/a/blobs/uploads/1?_state=y")
        );
        assert_eq!(
            resolved("http://other/x").as_deref(),
            Some("http://other/x")
        );
        for wrong in ["", "//other/x", "x/y", "?x", "http:", "/\u{7f}\u{20}"] {
            assert_eq!(resolved(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn servers_are_told_apart_by_scheme_host_and_port() {
        let same = |one, other| same_server(&Uri::from_static(one), &Uri::from_static(other));
        assert!(same("http://a/x", "http://a:80/y"));
        assert!(!same("http://a/", "http://a:8080/"));
        assert!(!same("http://a/", "https://a/"));
        assert!(!same("http://a/", "http://b/"));
    }

    #[test]
    fn parameters_go_behind_the_query_that_is_there() {
        let with = |uri: &'static str| {
            with_parameter(&Uri::from_static(uri), "digest", "sha256:0+/ %").to_string()
        };
        assert_eq!(with("http://a/u"), "http://a/u?digest=sha256:0%2B/%20%25");
        assert_eq!(with("http://a/u?"), "http://a/u?digest=sha256:0%2B/%20%25");
        assert_eq!(
            with("http://a/u?s=%20"),
            "http://a/u?s=%20&digest=sha256:0%2B/%20%25"
        );
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(
            next_page("</v2/a/tags/list?n=1&last=b>; rel=\"next\""),
            Some("/v2/a/tags/list?n=1&last=b")
        );
        assert_eq!(next_page("</x?a,b>; rel=\"next\""), Some("/x?a,b"));
        assert_eq!(
            next_page("</x>; rel=prev, </y>; title=t ; rel=next"),
            Some("/y")
        );
        for none in ["", "</x>", "</x>; rel=\"prev\"", "/x; rel=next", "<"] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
