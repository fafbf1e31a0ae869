//! Manifests that are refused, and what the client is told.

use super::*;
use crate::ErrorCode;

#[test]
fn a_type_that_is_not_the_headers_is_refused() {
    for (content_type, text) in [
        (MediaType::DOCKER_MANIFEST, image("")),
        (MediaType::OCI_INDEX, image("")),
        (MediaType::OCI_MANIFEST, index(r#""manifests": [],"#)),
        (MediaType::OCTET_STREAM, image("")),
    ] {
        let error = parse(Some(&content_type), &text).unwrap_err();
        assert!(
            matches!(error, ManifestError::MediaTypeMismatch { .. }),
            "{error}"
        );
        assert_eq!(error.code(), ErrorCode::ManifestInvalid);
        assert!(error.to_string().contains(content_type.as_str()), "{error}");
    }
}

#[test]
fn types_that_are_no_manifests_are_refused() {
    for media_type in [
        "application/octet-stream",
        "application/vnd.oci.artifact.manifest.v1+json",
        "text/html",
    ] {
        let media_type: MediaType = media_type.parse().unwrap();
        let error = parse(Some(&media_type), r#"{"schemaVersion": 2}"#).unwrap_err();
        assert_eq!(error, ManifestError::UnsupportedMediaType { media_type });
    }
    let error = parse(None, r#"{"schemaVersion": 2, "mediaType": "text/html"}"#).unwrap_err();
    assert!(
        matches!(error, ManifestError::UnsupportedMediaType { .. }),
        "{error}"
    );
    assert_eq!(
        parse(None, r#"{"schemaVersion": 2}"#).unwrap_err(),
        ManifestError::NoMediaType
    );
}

#[test]
fn schema_1_is_refused_by_name_however_it_is_pushed() {
    let text = r#"{"schemaVersion": 1, "name": "a/b", "tag": "c", "fsLayers": [{"blobSum": "x"}], "history": [], "signatures": []}"#;
    for content_type in [
        None,
        Some(MediaType::JSON),
        Some(MediaType::DOCKER_SCHEMA1),
        Some(MediaType::DOCKER_SCHEMA1_SIGNED),
    ] {
        assert_eq!(
            parse(content_type.as_ref(), text).unwrap_err(),
            ManifestError::Schema1
        );
    }
    let version_1 = image("").replace(r#""schemaVersion": 2"#, r#""schemaVersion": 1"#);
    assert_eq!(parse(None, &version_1).unwrap_err(), ManifestError::Schema1);
}

#[test]
fn what_could_be_taken_for_an_image_or_an_index_is_refused() {
    let config = descriptor(&MediaType::OCI_CONFIG, "config");
    for text in [
        image(r#""layers": [], "manifests": [],"#),
        image(r#""manifests": [],"#),
        image(r#""fsLayers": [],"#),
        index(r#""layers": [], "manifests": [],"#),
        index(&format!(r#""config": {config}, "manifests": [],"#)),
        index(r#""fsLayers": [], "manifests": [],"#),
        r#"{"schemaVersion": 2, "layers": [], "manifests": []}"#.to_owned(),
    ] {
        assert_eq!(
            parse(None, &text).unwrap_err(),
            ManifestError::ImageAndIndex,
            "{text}"
        );
    }
    let error = parse(None, &image(r#""Manifests": [],"#))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "manifest is invalid: the document has `Manifests`; write it as `manifests`"
    );
    let error = parse(None, &image(r#""layers": [], "layers": [],"#))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "manifest is invalid: the document has `layers` twice"
    );
}

#[test]
fn members_that_the_type_needs_are_missed_by_name() {
    let untyped = r#"{"schemaVersion": 2, "layers": []}"#;
    for (content_type, text, expected) in [
        (MediaType::OCI_MANIFEST, untyped, "config"),
        (MediaType::DOCKER_MANIFEST, untyped, "config"),
        (
            MediaType::OCI_MANIFEST,
            r#"{"schemaVersion": 2, "config": null}"#,
            "config",
        ),
        (MediaType::OCI_INDEX, r#"{"schemaVersion": 2}"#, "manifests"),
    ] {
        let error = parse(Some(&content_type), text).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("manifest of type {content_type} has no `{expected}`")
        );
    }
}

#[test]
fn faults_say_where_they_are() {
    let good = descriptor(&MediaType::OCI_LAYER, "x");
    let bad_digest = r#"{"mediaType": "a/b", "digest": "sha256:xyz", "size": 1}"#;
    let negative = good.replace(r#""size": 1"#, r#""size": -1"#);
    let huge = good.replace(r#""size": 1"#, r#""size": 9223372036854775807"#);
    let other = descriptor(&MediaType::OCI_LAYER, "y");
    for (text, expected) in [
        (
            image(&format!(r#""layers": [{good}, {bad_digest}],"#)),
            "layers[1].digest digest `sha256:xyz` is malformed: its hash may only have the digits 0-9 and a-f, in lower case",
        ),
        (
            image(&format!(r#""layers": [{negative}],"#)),
            "layers[0].size must be a whole number from 0 to 2^63-1",
        ),
        (
            image(&format!(r#""layers": [{huge}, {other}],"#)),
            "layers have more than 2^63-1 bytes together",
        ),
        (image(r#""layers": [3],"#), "layers[0] must be an object"),
        (image(r#""layers": {},"#), "layers must be an array"),
        (
            index(r#""manifests": [{}],"#),
            "manifests[0].mediaType is missing",
        ),
        (image(r#""subject": [],"#), "subject must be an object"),
        (
            image(r#""annotations": {"a": 1},"#),
            "annotations has `a`, which must be a string",
        ),
        (
            image(r#""artifactType": "none","#),
            "artifactType media type `none` is malformed: write it as type/subtype",
        ),
        (
            image("").replace(r#""schemaVersion": 2, "#, ""),
            "schemaVersion is missing; it must be 2",
        ),
        (
            image("").replace(r#""schemaVersion": 2"#, r#""schemaVersion": "2""#),
            "schemaVersion must be 2",
        ),
    ] {
        assert_eq!(
            parse(None, &text).unwrap_err().to_string(),
            format!("manifest is invalid: {expected}")
        );
    }
    let conflicting = good.replace(r#""size": 1"#, r#""size": 2"#);
    assert_eq!(
        parse(
            None,
            &image(&format!(r#""layers": [{good}, {conflicting}],"#))
        )
        .unwrap_err(),
        ManifestError::SizesDisagree {
            digest: digest("x")
        }
    );
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for text in [
        "",
        " ",
        "null",
        "[]",
        "\"x\"",
        "7",
        "{",
        "{}{}",
        "{\"a\": 1,}",
        "\u{feff}{}",
        "{'a': 1}",
        "{\"a\0\": 1}",
    ] {
        let error = parse(Some(&MediaType::OCI_MANIFEST), text).unwrap_err();
        assert!(
            matches!(error, ManifestError::NotJson { .. }),
            "{text:?}: {error}"
        );
    }
    let binary = Bytes::from_static(b"{\"\xff\": 1}");
    let error = Manifest::parse(None, binary, &ManifestLimits::default()).unwrap_err();
    assert_eq!(error, ManifestError::NotUtf8);
    let error = parse(None, &format!("\"{}\"", "x".repeat(100_000)))
        .unwrap_err()
        .to_string();
    assert!(error.len() < 500, "{} bytes", error.len());
}

#[test]
fn limits_hold() {
    let limits = ManifestLimits {
        bytes_max: 2000,
        entries_max: 2,
        annotations_max: 3,
        urls_max: 2,
        depth_max: 5,
    };
    let parse = |text: String| Manifest::parse(None, Bytes::from(text), &limits);
    let layer = |members: &str| {
        let digest = digest("x");
        format!(r#"{{"mediaType": "a/b", "digest": "{digest}", "size": 1{members}}}"#)
    };
    let plain = layer("");
    let annotated = layer(r#", "annotations": {"a": "", "b": ""}"#);
    let linked = layer(r#", "urls": ["", ""]"#);

    parse(image(&format!(
        r#""layers": [{annotated}, {linked}], "annotations": {{"c": ""}},"#
    )))
    .unwrap();
    for (text, expected) in [
        (
            format!(r#""layers": [{plain}, {plain}, {plain}],"#),
            "layers has more entries than the 2 allowed",
        ),
        (
            format!(r#""layers": [{annotated}, {annotated}],"#),
            "layers[1].annotations has more entries than the 1 allowed",
        ),
        (
            format!(r#""layers": [{annotated}], "annotations": {{"c": "", "d": ""}},"#),
            "annotations has more entries than the 1 allowed",
        ),
        (
            format!(r#""layers": [{linked}, {linked}],"#),
            "layers[1].urls has more entries than the 0 allowed",
        ),
    ] {
        let error = parse(image(&text)).unwrap_err().to_string();
        assert_eq!(error, format!("manifest is invalid: {expected}"));
    }
    assert_eq!(
        parse(image(r#""other": [[[[[]]]]],"#)).unwrap_err(),
        ManifestError::TooDeep { depth_max: 5 }
    );
    let long = image(&format!(r#""other": "{}","#, "x".repeat(2000)));
    let bytes = long.len();
    assert_eq!(
        parse(long).unwrap_err(),
        ManifestError::TooLarge {
            bytes,
            bytes_max: 2000
        }
    );
}

#[test]
fn four_mebibytes_of_anything_are_answered() {
    let size = 4 << 20;
    let entry = |index: usize| {
        let digest = Digest::of(Algorithm::Sha256, &index.to_le_bytes());
        format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}},"#)
    };
    let mut entries: String = (0..30_000).map(entry).collect();
    entries.pop();
    let manifest = parse(None, &index(&format!(r#""manifests": [{entries}],"#))).unwrap();
    assert_eq!(manifest.manifests().len(), 30_000);
    assert_eq!(manifest.blobs().count(), 30_000);

    let nested = format!("{}{}", "[".repeat(size / 2), "]".repeat(size / 2));
    assert!(matches!(
        parse(None, &nested),
        Err(ManifestError::TooDeep { .. })
    ));
    let million = format!(
        r#"{{"schemaVersion": 2, "manifests": [{}{{}}]}}"#,
        "{},".repeat(1_000_000)
    );
    let error = parse(None, &million).unwrap_err().to_string();
    assert_eq!(
        error,
        "manifest is invalid: manifests has more entries than the 50000 allowed"
    );
    let annotations = (0..200_000)
        .map(|index| format!(r#""{index}":"""#))
        .collect::<Vec<_>>()
        .join(",");
    let error = parse(
        None,
        &image(&format!(r#""annotations": {{{annotations}}},"#)),
    )
    .unwrap_err()
    .to_string();
    assert_eq!(
        error,
        "manifest is invalid: annotations has more entries than the 20000 allowed"
    );
}
