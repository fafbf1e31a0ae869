//! Labels: read from configurations, owed while those cannot be read.

use std::time::Duration;

use roadstead_metadata::Actor;
use roadstead_oci::{Algorithm, Manifest, ManifestLimits, MediaType, Reference};
use roadstead_runtime::Clock as _;
use roadstead_storage::Operation;

use super::world::{World, descriptor, manifest};
use crate::ManifestPushError;

const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A configuration with this value of `quay.expires-after`.
fn config(duration: &str) -> Vec<u8> {
    format!(r#"{{"config":{{"Labels":{{"quay.expires-after":"{duration}"}}}}}}"#).into_bytes()
}

fn image(config_type: &str, config: &[u8], more: &str) -> Manifest {
    manifest(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_IMAGE}","config":{},"layers":[]{more}}}"#,
        descriptor(config_type, config)
    ))
}

async fn push(world: &World, manifest: &Manifest, tag: &str) -> Result<(), ManifestPushError> {
    let reference: Reference = tag.parse().unwrap();
    let manifests = world.registry.manifests();
    manifests
        .put(
            &world.repository,
            &reference,
            &[],
            manifest,
            &Actor::default(),
        )
        .await
        .map(drop)
}

/// Whether a tag is over in an hour and a minute.
async fn ends(world: &World, tag: &str) -> bool {
    let database = &world.database;
    let found = database
        .list_tags(
            world.repository.id,
            None,
            100,
            world.clock.now() + Duration::from_mins(61),
        )
        .await
        .unwrap();
    !found.iter().any(|name| name == tag)
}

#[tokio::test]
async fn labels_come_from_an_images_configuration_and_annotations_and_from_nothing_else() {
    let world = World::new().await;
    let ending = config("1h");
    world.push(&ending).await;
    let lasting = config("100d");
    world.push(&lasting).await;
    let annotated = r#","annotations":{"quay.expires-after":"1h"}"#;
    let cases = [
        ("config", image(OCI_CONFIG, &ending, ""), true),
        ("both", image(OCI_CONFIG, &lasting, annotated), true),
        ("other", image(OCI_CONFIG, &lasting, ""), false),
        (
            "artifact",
            image("application/vnd.example.config", &ending, ""),
            false,
        ),
        (
            "noted",
            image("application/vnd.example.config", &lasting, annotated),
            true,
        ),
    ];
    for (tag, manifest, expected) in cases {
        push(&world, &manifest, tag).await.unwrap();
        assert_eq!(ends(&world, tag).await, expected, "{tag}");
    }
    let docker = |config: &[u8]| {
        let media_type = MediaType::DOCKER_MANIFEST;
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{},"layers":[]{annotated}}}"#,
            descriptor("application/vnd.docker.container.image.v1+json", config)
        );
        Manifest::parse(Some(&media_type), text.into(), &ManifestLimits::default()).unwrap()
    };
    push(&world, &docker(&ending), "docker").await.unwrap();
    push(&world, &docker(&lasting), "docker-noted")
        .await
        .unwrap();
    assert!(ends(&world, "docker").await);
    assert!(
        !ends(&world, "docker-noted").await,
        "Docker's manifests have no annotations"
    );
}

#[tokio::test]
async fn a_configuration_that_is_none_or_too_large_has_no_labels_and_is_pushed() {
    let world = World::new().await;
    let mut large = config("1h");
    large.resize(2 << 20, b' ');
    for (tag, config) in [
        ("binary", b"\xff\0\xfe".as_slice()),
        ("empty", b""),
        (
            "nul",
            br#"{"config":{"Labels":{"quay.expires-after":"1h\u0000","a\u0000":"b"}}}"#,
        ),
        (
            "number",
            br#"{"config":{"Labels":{"quay.expires-after":1}}}"#,
        ),
        ("large", &large),
    ] {
        world.push(config).await;
        push(&world, &image(OCI_CONFIG, config, ""), tag)
            .await
            .unwrap();
        assert!(!ends(&world, tag).await, "{tag}");
    }
    assert_eq!(
        world.registry.pay_labels().await.unwrap(),
        0,
        "none is owed"
    );
}

#[tokio::test]
async fn an_image_whose_configuration_cannot_be_read_is_taken_and_gets_its_labels_later() {
    let world = World::new().await;
    let config = config("1h");
    world.push(&config).await;
    world.us.take_down();
    let image = image(OCI_CONFIG, &config, "");
    push(&world, &image, "latest").await.unwrap();
    let found = world
        .registry
        .manifests()
        .get(&world.repository, &"latest".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(found.digest, image.digest(Algorithm::Sha256));
    assert!(!ends(&world, "latest").await);

    assert_eq!(world.registry.pay_labels().await.unwrap(), 0);
    world.us.heal();
    assert_eq!(
        world.registry.pay_labels().await.unwrap(),
        0,
        "it is put off for a minute"
    );
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.registry.pay_labels().await.unwrap(), 1);
    assert!(ends(&world, "latest").await);
    assert_eq!(world.registry.pay_labels().await.unwrap(), 0);
}

#[tokio::test]
async fn a_push_waits_for_a_store_that_hangs_only_for_seconds() {
    let world = World::new().await;
    let config = config("1h");
    world.push(&config).await;
    world.us.stall(Operation::Read);
    let image = image(OCI_CONFIG, &config, "");
    let (pushed, ()) = tokio::join!(push(&world, &image, "latest"), async {
        world.us.until_stalled(1).await;
        world.clock.advance(Duration::from_secs(5));
    });
    pushed.unwrap();
    world.us.heal();
    assert_eq!(world.registry.pay_labels().await.unwrap(), 1);
}
