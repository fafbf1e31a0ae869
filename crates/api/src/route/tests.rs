//! Every form of path, and the many that name nothing.

use proptest::prelude::*;
use roadstead_oci::ErrorCode;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ID: &str = "2f1bd8b9-3dcd-4a5c-9f0e-0123456789ab";

fn repository(text: &str) -> RepositoryName {
    text.parse().expect("a good name")
}

fn digest() -> Digest {
    format!("sha256:{HEX}").parse().expect("a good digest")
}

#[test]
fn every_endpoint_is_found() {
    for (path, route) in [
        ("/v2", Route::Base),
        ("/v2/", Route::Base),
        ("/v2/auth", Route::Token),
        ("/v2/_catalog", Route::Catalog),
        ("/_storage_proxy/", Route::StorageProxy),
        ("/_storage_proxy/%2e./..//%zz", Route::StorageProxy),
        ("/_storage_proxy_auth", Route::StorageProxyAuth),
        (
            "/v2/busybox/tags/list",
            Route::Tags {
                name: repository("busybox"),
            },
        ),
        (
            "/v2/a/b/c/d/tags/list",
            Route::Tags {
                name: repository("a/b/c/d"),
            },
        ),
        (
            "/v2/a/b/manifests/latest",
            Route::Manifest {
                name: repository("a/b"),
                reference: "latest".parse().expect("a good tag"),
            },
        ),
        (
            &format!("/v2/a/b/manifests/sha256:{HEX}"),
            Route::Manifest {
                name: repository("a/b"),
                reference: Reference::Digest(digest()),
            },
        ),
        (
            &format!("/v2/a/b/blobs/sha256%3A{HEX}"),
            Route::Blob {
                name: repository("a/b"),
                digest: digest(),
            },
        ),
        (
            "/v2/a/b/blobs/uploads",
            Route::Uploads {
                name: repository("a/b"),
            },
        ),
        (
            "/v2/a/b/blobs/uploads/",
            Route::Uploads {
                name: repository("a/b"),
            },
        ),
        (
            &format!("/v2/a/b/blobs/uploads/{ID}"),
            Route::Upload {
                name: repository("a/b"),
                id: ID.parse().expect("a good id"),
            },
        ),
        (
            &format!("/v2/a/referrers/sha256:{HEX}"),
            Route::Referrers {
                name: repository("a"),
                digest: digest(),
            },
        ),
        ("/health", Route::Health(HealthRoute::Instance)),
        ("/health/instance", Route::Health(HealthRoute::Instance)),
        ("/health/endtoend", Route::Health(HealthRoute::EndToEnd)),
        ("/status", Route::Health(HealthRoute::EndToEnd)),
        ("/health/warning", Route::Health(HealthRoute::Warning)),
        (
            "/health/ready/pull",
            Route::Health(HealthRoute::ReadyToPull),
        ),
        (
            "/health/ready/push",
            Route::Health(HealthRoute::ReadyToPush),
        ),
        ("/health/dbrevision", Route::DatabaseRevision),
        ("/_internal_ping", Route::InternalPing),
        ("/v1/_internal_ping", Route::InternalPing),
        ("/v1/_ping", Route::LegacyPing),
    ] {
        assert_eq!(Route::parse(path), Ok(route), "{path}");
    }
}

#[test]
fn a_name_made_of_the_words_of_the_protocol_is_read_from_the_right_end() {
    for (path, name) in [
        ("/v2/tags/list/tags/list", "tags/list"),
        ("/v2/manifests/tags/list", "manifests"),
        ("/v2/a/manifests/manifests/manifests", "a/manifests"),
        ("/v2/a/blobs/uploads/manifests/v1", "a/blobs/uploads"),
        ("/v2/a/blobs/uploads/blobs/uploads/", "a/blobs/uploads"),
        ("/v2/a/blobs/uploads/tags/list", "a/blobs/uploads"),
        ("/v2/auth/manifests/latest", "auth"),
        ("/v2/blobs/blobs/uploads", "blobs"),
        ("/v2/a%2Db/tags/list", "a-b"),
    ] {
        let route = Route::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(route.repository(), Some(&repository(name)), "{path}");
    }
}

#[test]
fn paths_of_nothing_are_not_found() {
    for path in [
        "",
        "/",
        "//",
        "v2/",
        "/V2/",
        "/v3/",
        "/v2/a",
        "/v2/a/",
        "/v2/_catalog/",
        "/v2/auth/",
        "/v2/tags/list",
        "/v2/manifests/latest",
        "/v2/manifests/",
        "/v2/a/manifests",
        "/v2/a/manifests/",
        "/v2/a/tags",
        "/v2/a/tags/",
        "/v2/a/tags/list/",
        "/v2/a/tags/lists",
        "/v2/a/blobs/",
        "/v2/blobs/uploads/",
        "/v2/uploads/",
        "/v2/a/uploads/",
        "/v2/a/referrers/",
        "/v2/../v2/",
        "/v2/a/%6danifests/latest",
        "/v1/",
        "/v1/search",
        "/health/",
        "/health/ready",
        "/health/enabledebug/secret",
        "/status/",
    ] {
        assert_eq!(Route::parse(path), Err(RouteError::NotFound), "{path}");
    }
}

#[test]
fn names_outside_the_grammar_are_refused_as_names() {
    for name in [
        "",
        "/a",
        "a/",
        "a//b",
        "A",
        "a/B",
        "..",
        "a/../b",
        "../../etc",
        "%2e%2e",
        "a/%2e%2e/b",
        ".",
        "a/./b",
        "a%00",
        "%00",
        "a%20b",
        "a:b",
        "a@b",
        "-a",
        "a-",
        "a___b",
        "a._b",
        "caf%C3%A9",
        "a%0d%0ab",
        "a\\b",
        "a%5cb",
    ] {
        for rest in ["manifests/latest", "tags/list", "blobs/uploads/"] {
            let path = format!("/v2/{name}/{rest}");
            assert!(
                matches!(Route::parse(&path), Err(RouteError::Name(_))),
                "{path}"
            );
        }
    }
}

#[test]
fn names_of_255_characters_are_read_and_names_of_256_are_not() {
    let longest = format!("library/{}", "a".repeat(RepositoryName::LENGTH_MAX - 8));
    assert!(Route::parse(&format!("/v2/{longest}/tags/list")).is_ok());
    let error = Route::parse(&format!("/v2/{longest}a/tags/list"));
    assert!(
        matches!(
            error,
            Err(RouteError::Name(NameError::TooLong { bytes: 256, .. }))
        ),
        "{error:?}"
    );
}

#[test]
fn text_that_is_wrongly_encoded_is_refused_in_every_part() {
    for (path, part) in [
        ("/v2/a%/tags/list", PathPart::Name),
        ("/v2/a%zz/manifests/v1", PathPart::Name),
        ("/v2/%ff/blobs/uploads/", PathPart::Name),
        ("/v2/a%2fb/tags/list", PathPart::Name),
        ("/v2/a%2F..%2Fb/tags/list", PathPart::Name),
        ("/v2/a/manifests/%ff", PathPart::Reference),
        ("/v2/a/manifests/%", PathPart::Reference),
        ("/v2/a/blobs/%ff", PathPart::Digest),
        ("/v2/a/referrers/%c3%28", PathPart::Digest),
        ("/v2/a/blobs/uploads/%ff", PathPart::UploadId),
    ] {
        assert!(
            matches!(Route::parse(path), Err(RouteError::Encoding { part: found, .. }) if found == part),
            "{path}: {:?}",
            Route::parse(path)
        );
    }
}

#[test]
fn references_digests_and_upload_ids_outside_their_grammars_are_refused() {
    for reference in [
        "..",
        "%2e%2e",
        "a%2fb",
        "%00",
        "a%00",
        "-a",
        "a b",
        "latest%0a",
        "%C3%A9",
    ] {
        let path = format!("/v2/a/manifests/{reference}");
        assert!(
            matches!(&Route::parse(&path), Err(RouteError::Reference(error)) if error.code() == ErrorCode::TagInvalid),
            "{path}"
        );
    }
    let upper = HEX.to_uppercase();
    for digest in [
        "sha256:baddigeststring",
        "sha256:",
        ":",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:..",
        "sha256:%2e%2e%2f",
        "sha256:%00",
        &format!("sha256:{upper}"),
        &format!("sha512:{HEX}"),
    ] {
        let path = format!("/v2/a/manifests/{digest}");
        assert!(
            matches!(&Route::parse(&path), Err(RouteError::Reference(error)) if error.code() == ErrorCode::DigestInvalid),
            "{path}"
        );
        for kind in ["blobs", "referrers"] {
            let path = format!("/v2/a/{kind}/{digest}");
            assert!(
                matches!(Route::parse(&path), Err(RouteError::Digest(_))),
                "{path}"
            );
        }
    }
    let simple = ID.replace('-', "");
    for id in [
        "x",
        "..",
        "%2e%2e",
        "%00",
        "manifests",
        &ID.to_uppercase(),
        &simple,
        &format!("{{{ID}}}"),
        &format!("{ID}0"),
    ] {
        let path = format!("/v2/a/blobs/uploads/{id}");
        assert_eq!(Route::parse(&path), Err(RouteError::UploadId), "{path}");
    }
}

proptest! {
    #[test]
    fn any_path_is_answered_in_few_words(path in "/v2/[a-z%./:0-9\u{e9}]{0,600}") {
        if let Err(error) = Route::parse(&path) {
            prop_assert!(error.to_string().len() < 1000);
        }
    }

    #[test]
    fn every_good_name_is_read_in_every_endpoint(name in "[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,3}(/[a-z0-9]{1,8}){0,5}") {
        for rest in ["tags/list", "manifests/latest", "blobs/uploads/", "blobs/uploads"] {
            let route = Route::parse(&format!("/v2/{name}/{rest}")).expect("a good path");
            prop_assert_eq!(route.repository().expect("a repository").as_str(), &name);
        }
    }
}
