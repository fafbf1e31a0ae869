//! Manifests that are taken, with what is read out of them, and whatever chance comes up with.

mod refused;

use super::*;
use proptest::prelude::*;

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

fn descriptor(media_type: &MediaType, content: &str) -> String {
    format!(
        r#"{{"mediaType": "{media_type}", "digest": "{}", "size": {}}}"#,
        digest(content),
        content.len()
    )
}

/// An OCI image manifest with these further members, each with a comma behind it.
fn image(members: &str) -> String {
    let config = descriptor(&MediaType::OCI_CONFIG, "config");
    format!(
        r#"{{"schemaVersion": 2, {members} "mediaType": "{}", "config": {config}}}"#,
        MediaType::OCI_MANIFEST
    )
}

fn index(members: &str) -> String {
    format!(
        r#"{{"schemaVersion": 2, {members} "mediaType": "{}"}}"#,
        MediaType::OCI_INDEX
    )
}

fn parse(content_type: Option<&MediaType>, text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(
        content_type,
        Bytes::copy_from_slice(text.as_bytes()),
        &ManifestLimits::default(),
    )
}

fn digests<'a>(descriptors: impl IntoIterator<Item = &'a Descriptor>) -> Vec<Digest> {
    descriptors
        .into_iter()
        .map(|descriptor| descriptor.digest.clone())
        .collect()
}

#[test]
fn an_oci_image_is_taken_and_its_bytes_kept() {
    let layers = [
        descriptor(&MediaType::OCI_LAYER_GZIP, "one"),
        descriptor(&MediaType::OCI_LAYER_ZSTD, "three"),
        descriptor(&MediaType::OCI_LAYER_GZIP, "one"),
    ]
    .join(", ");
    let text = image(&format!(
        r#""layers": [{layers}], "annotations": {{"a": "b"}},"#
    ));
    let manifest = parse(Some(&MediaType::OCI_MANIFEST), &text).unwrap();
    assert_eq!(manifest.kind(), ManifestKind::Image);
    assert_eq!(manifest.media_type(), &MediaType::OCI_MANIFEST);
    assert_eq!(manifest.bytes(), text.as_bytes());
    assert_eq!(
        manifest.digest(Algorithm::Sha512),
        Digest::of(Algorithm::Sha512, text.as_bytes())
    );
    assert_eq!(manifest.config().unwrap().digest, digest("config"));
    assert_eq!(
        digests(manifest.layers()),
        ["one", "three", "one"].map(digest)
    );
    assert_eq!(manifest.layers_size(), 3 + 5 + 3);
    assert_eq!(
        digests(manifest.blobs()),
        ["config", "one", "three"].map(digest)
    );
    assert_eq!(digests(manifest.optional_blobs()), []);
    assert_eq!(digests(manifest.children()), []);
    assert_eq!(manifest.subject(), None);
    assert_eq!(manifest.annotations()["a"], "b");
    assert_eq!(
        manifest.artifact_type(),
        Some(MediaType::OCI_CONFIG.as_str())
    );
    assert_eq!(manifest.declared_artifact_type(), None);
}

#[test]
fn docker_images_and_lists_are_taken() {
    let config = descriptor(&MediaType::DOCKER_CONFIG, "config");
    let layers = [
        descriptor(&MediaType::DOCKER_LAYER_GZIP, "layer"),
        descriptor(&MediaType::DOCKER_LAYER_FOREIGN_GZIP, "foreign"),
    ]
    .join(", ");
    let text = format!(
        r#"{{"schemaVersion": 2, "mediaType": "{}", "config": {config}, "layers": [{layers}]}}"#,
        MediaType::DOCKER_MANIFEST
    );
    let manifest = parse(Some(&MediaType::DOCKER_MANIFEST), &text).unwrap();
    assert_eq!(digests(manifest.blobs()), ["config", "layer"].map(digest));
    assert_eq!(digests(manifest.optional_blobs()), [digest("foreign")]);
    assert_eq!(manifest.layers().len(), 2);

    let entries = [
        descriptor(&MediaType::DOCKER_MANIFEST, "amd64"),
        descriptor(&MediaType::DOCKER_SCHEMA1_SIGNED, "old"),
    ]
    .join(", ");
    let text = format!(
        r#"{{"schemaVersion": 2, "mediaType": "{}", "manifests": [{entries}]}}"#,
        MediaType::DOCKER_MANIFEST_LIST
    );
    let manifest = parse(Some(&MediaType::DOCKER_MANIFEST_LIST), &text).unwrap();
    assert_eq!(manifest.kind(), ManifestKind::Index);
    assert_eq!(digests(manifest.children()), ["amd64", "old"].map(digest));
    assert_eq!(manifest.artifact_type(), None);
}

#[test]
fn layers_that_clients_do_not_push_need_not_be_there_even_without_urls() {
    let layer = descriptor(&MediaType::OCI_LAYER_NONDISTRIBUTABLE_GZIP, "layer");
    let manifest = parse(None, &image(&format!(r#""layers": [{layer}],"#))).unwrap();
    assert_eq!(digests(manifest.blobs()), [digest("config")]);
    assert_eq!(digests(manifest.optional_blobs()), [digest("layer")]);
}

#[test]
fn indexes_are_taken_nested_and_empty_and_as_build_caches() {
    let entries = [
        descriptor(&MediaType::OCI_MANIFEST, "image"),
        descriptor(&MediaType::OCI_INDEX, "nested"),
        descriptor(&MediaType::OCI_MANIFEST, "image"),
        descriptor(&MediaType::OCI_LAYER_GZIP, "cached layer"),
    ]
    .join(", ");
    let manifest = parse(
        Some(&MediaType::OCI_INDEX),
        &index(&format!(r#""manifests": [{entries}],"#)),
    )
    .unwrap();
    assert_eq!(manifest.kind(), ManifestKind::Index);
    assert_eq!(manifest.manifests().len(), 4);
    assert_eq!(
        digests(manifest.children()),
        ["image", "nested"].map(digest)
    );
    assert_eq!(digests(manifest.blobs()), [digest("cached layer")]);
    assert_eq!(manifest.config(), None);

    for empty in [r#""manifests": [],"#, r#""manifests": null,"#] {
        let manifest = parse(Some(&MediaType::OCI_INDEX), &index(empty)).unwrap();
        assert_eq!(manifest.manifests(), []);
    }
}

#[test]
fn images_without_layers_are_taken() {
    for members in ["", r#""layers": [],"#, r#""layers": null,"#] {
        let manifest = parse(None, &image(members)).unwrap();
        assert_eq!(manifest.layers(), []);
        assert_eq!(manifest.layers_size(), 0);
        assert_eq!(digests(manifest.blobs()), [digest("config")]);
    }
}

#[test]
fn an_artifact_has_its_own_type_and_refers_to_its_subject() {
    let subject = descriptor(&MediaType::OCI_MANIFEST, "subject");
    let text = image(&format!(
        r#""artifactType": "application/vnd.example+json", "subject": {subject}, "annotations": {{"k": "v"}},"#
    ));
    let manifest = parse(None, &text).unwrap();
    assert_eq!(manifest.subject().unwrap().digest, digest("subject"));
    assert_eq!(
        manifest.artifact_type(),
        Some("application/vnd.example+json")
    );
    let referrer = manifest.to_referrer(manifest.digest(Algorithm::Sha512));
    assert_eq!(
        serde_json::to_string(&referrer).unwrap(),
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{},"artifactType":"application/vnd.example+json","annotations":{{"k":"v"}}}}"#,
            MediaType::OCI_MANIFEST,
            Digest::of(Algorithm::Sha512, text.as_bytes()),
            text.len()
        )
    );

    let empty = parse(None, &image(r#""artifactType": "", "subject": null,"#)).unwrap();
    assert_eq!(empty.artifact_type(), Some(MediaType::OCI_CONFIG.as_str()));
    assert_eq!(empty.subject(), None);
    let index = parse(None, &index(r#""manifests": [], "artifactType": "a/b","#)).unwrap();
    assert_eq!(index.artifact_type(), Some("a/b"));
}

#[test]
fn the_type_comes_from_the_header_the_document_or_its_members() {
    let config = descriptor(&MediaType::OCI_CONFIG, "config");
    let untyped_image = format!(r#"{{"schemaVersion": 2, "config": {config}}}"#);
    let untyped_index = r#"{"schemaVersion": 2, "manifests": []}"#;
    for (content_type, text, expected) in [
        (
            Some(MediaType::DOCKER_MANIFEST),
            untyped_image.as_str(),
            MediaType::DOCKER_MANIFEST,
        ),
        (None, &untyped_image, MediaType::OCI_MANIFEST),
        (
            Some(MediaType::JSON),
            &untyped_image,
            MediaType::OCI_MANIFEST,
        ),
        (
            Some(MediaType::DOCKER_MANIFEST_LIST),
            untyped_index,
            MediaType::DOCKER_MANIFEST_LIST,
        ),
        (
            Some("application/vnd.OCI.image.index.v1+JSON".parse().unwrap()),
            untyped_index,
            MediaType::OCI_INDEX,
        ),
        (None, untyped_index, MediaType::OCI_INDEX),
        (None, &image(""), MediaType::OCI_MANIFEST),
        (Some(MediaType::JSON), &image(""), MediaType::OCI_MANIFEST),
        (
            Some(MediaType::OCI_MANIFEST),
            &image(""),
            MediaType::OCI_MANIFEST,
        ),
        (
            Some(MediaType::OCI_INDEX),
            r#"{"schemaVersion": 2, "mediaType": "", "manifests": []}"#,
            MediaType::OCI_INDEX,
        ),
    ] {
        let manifest = parse(content_type.as_ref(), text).unwrap();
        assert_eq!(manifest.media_type(), &expected, "{content_type:?} {text}");
    }
}

#[test]
fn a_large_annotated_manifest_is_taken() {
    // As the conformance suite pushes one: 390 annotations of 10 000 characters.
    let annotations = (0..390)
        .map(|index| format!(r#""org.example.{index}": "{}""#, "x".repeat(10_000)))
        .collect::<Vec<_>>()
        .join(",");
    let manifest = parse(
        None,
        &image(&format!(r#""annotations": {{{annotations}}},"#)),
    )
    .unwrap();
    assert_eq!(manifest.annotations().len(), 390);
}

/// JSON that resembles a manifest.
fn json_like() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "digest",
        "size",
        "urls",
        "platform",
        "artifactType",
        "Layers",
        "a/b",
        "application/vnd.oci.image.manifest.v1+json",
    ]);
    let sha = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let leaf = prop_oneof![
        words.clone().prop_map(|word| format!("\"{word}\"")),
        Just(format!("\"{sha}\"")),
        Just("2".to_owned()),
        Just("null".to_owned()),
        Just("-1".to_owned()),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|entries| format!("[{}]", entries.join(","))),
            prop::collection::vec((words.clone(), inner), 0..8).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn anything_is_answered_without_a_panic_and_what_is_taken_is_consistent(text in json_like(), cut in any::<prop::sample::Index>()) {
        if let Ok(manifest) = parse(None, &text) {
            prop_assert_eq!(manifest.bytes().as_ref(), text.as_bytes());
            prop_assert_eq!(manifest.config().is_some(), manifest.kind() == ManifestKind::Image);
            prop_assert!(manifest.media_type().is_manifest());
        }
        let end = cut.index(text.len() + 1);
        if let Some(part) = text.get(..end) {
            prop_assert!(end == text.len() || parse(None, part).is_err());
        }
    }

    #[test]
    fn a_manifest_with_one_byte_changed_is_answered_without_a_panic(at in any::<prop::sample::Index>(), byte: u8) {
        let layer = descriptor(&MediaType::OCI_LAYER, "layer");
        let text = image(&format!(r#""layers": [{layer}], "subject": {layer}, "annotations": {{"a": "b"}},"#));
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(manifest) = Manifest::parse(None, Bytes::from(bytes.clone()), &ManifestLimits::default()) {
            prop_assert_eq!(manifest.bytes(), &bytes);
            prop_assert_eq!(manifest.kind(), ManifestKind::Image);
            prop_assert_eq!(manifest.blobs().count(), if manifest.layers().is_empty() { 1 } else { 2 });
        }
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(Manifest::parse(None, Bytes::from(bytes), &ManifestLimits::default()).is_err());
    }
}
