//! Conditional requests of RFC 9110, section 13. Content has one tag: its digest in quotes, which is strong because content
//! that is addressed by a digest never changes.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};
use roadstead_oci::Digest;

/// What the conditions of a GET or HEAD make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Go on.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client wants something else.
    Failed,
}

/// The entity tag of content.
pub(crate) fn entity_tag(digest: &Digest) -> HeaderValue {
    HeaderValue::try_from(format!("\"{digest}\"")).expect("a digest is letters, digits and a colon")
}

/// Weighs `If-Match` and `If-None-Match`, in the order of section 13.2.2. Dates are not weighed: content has none.
pub(crate) fn evaluate(headers: &HeaderMap, digest: &Digest) -> Condition {
    if headers.contains_key(IF_MATCH) && !lists(headers, &IF_MATCH, digest, Comparison::Strong) {
        return Condition::Failed;
    }
    if lists(headers, &IF_NONE_MATCH, digest, Comparison::Weak) {
        return Condition::NotModified;
    }
    Condition::Proceed
}

/// Whether a `Range` header counts: there is no `If-Range`, or it names this very content. A date never does.
pub(crate) fn range_counts(headers: &HeaderMap, digest: &Digest) -> bool {
    !headers.contains_key(IF_RANGE) || lists(headers, &IF_RANGE, digest, Comparison::Strong)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether the header lists the content's tag, or `*`. Tags without quotes are taken too: some clients forget them, and a digest
/// holds no comma.
fn lists(headers: &HeaderMap, name: &HeaderName, digest: &Digest, comparison: Comparison) -> bool {
    let tags = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| {
            let tag = match tag.strip_prefix("W/") {
                Some(_) if comparison == Comparison::Strong => return false,
                Some(weak) => weak,
                None => tag,
            };
            tag == "*" || tag.trim_matches('"') == digest.as_str()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadstead_oci::Algorithm;

    fn headers(entries: &[(HeaderName, &str)]) -> HeaderMap {
        entries
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    HeaderValue::from_str(value).expect("a header"),
                )
            })
            .collect()
    }

    #[test]
    fn conditions_compare_with_the_digest() {
        let (this, other) = (
            Digest::of(Algorithm::Sha256, b"this"),
            Digest::of(Algorithm::Sha256, b"other"),
        );
        let (same, different) = (format!("\"{this}\""), format!("\"{other}\""));
        for (entries, expected) in [
            (vec![], Condition::Proceed),
            (vec![(IF_NONE_MATCH, same.clone())], Condition::NotModified),
            (
                vec![(IF_NONE_MATCH, format!("W/{same}"))],
                Condition::NotModified,
            ),
            (
                vec![(IF_NONE_MATCH, this.to_string())],
                Condition::NotModified,
            ),
            (
                vec![(IF_NONE_MATCH, "*".to_owned())],
                Condition::NotModified,
            ),
            (
                vec![(IF_NONE_MATCH, format!("{different}, {same}"))],
                Condition::NotModified,
            ),
            (vec![(IF_NONE_MATCH, different.clone())], Condition::Proceed),
            (
                vec![(IF_NONE_MATCH, "garbage,,\"".to_owned())],
                Condition::Proceed,
            ),
            (vec![(IF_MATCH, same.clone())], Condition::Proceed),
            (vec![(IF_MATCH, "*".to_owned())], Condition::Proceed),
            (vec![(IF_MATCH, format!("W/{same}"))], Condition::Failed),
            (vec![(IF_MATCH, different.clone())], Condition::Failed),
            (
                vec![(IF_MATCH, different.clone()), (IF_NONE_MATCH, same.clone())],
                Condition::Failed,
            ),
        ] {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str()))
                .collect();
            assert_eq!(evaluate(&headers(&entries), &this), expected, "{entries:?}");
        }
    }

    #[test]
    fn a_range_counts_only_for_the_content_that_if_range_names() {
        let this = Digest::of(Algorithm::Sha256, b"this");
        for (value, expected) in [
            (format!("\"{this}\""), true),
            (format!("W/\"{this}\""), false),
            ("\"other\"".to_owned(), false),
            ("Wed, 21 Oct 2015 07:28:00 GMT".to_owned(), false),
        ] {
            assert_eq!(
                range_counts(&headers(&[(IF_RANGE, &value)]), &this),
                expected,
                "{value}"
            );
        }
        assert!(range_counts(&HeaderMap::new(), &this));
    }
}
