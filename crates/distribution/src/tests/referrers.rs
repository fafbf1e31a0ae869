//! What refers to a manifest, which need not be there.

use std::time::Duration;

use roadstead_metadata::Actor;
use roadstead_oci::{Algorithm, Digest, MediaType, Reference};

use super::manifests::put;
use super::world::{World, image, manifest, sha256};

/// Pushes an image without layers that has a subject.
async fn put_referrer(world: &World, subject: &Digest, kind: &str, note: &str) -> Digest {
    world.push(b"{}").await;
    let subject = format!(
        r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":7}}"#
    );
    let extra = format!(r#"{subject},"artifactType":"{kind}","annotations":{{"note":"{note}"}}"#);
    let manifest = manifest(&image(&[], &extra));
    let digest = manifest.digest(Algorithm::Sha256);
    let pushed = put(world, &Reference::Digest(digest.clone()), &[], &manifest)
        .await
        .unwrap();
    assert!(pushed.subject.is_some());
    digest
}

#[tokio::test]
async fn referrers_are_listed_before_and_without_their_subject() {
    let world = World::new().await;
    let subject = sha256(b"not pushed yet");
    let manifests = world.registry.manifests();
    let empty = manifests
        .referrers(&world.repository, &subject, None, None, None)
        .await
        .unwrap();
    assert!(empty.referrers.is_empty() && empty.next.is_none());
    let sbom = put_referrer(&world, &subject, "application/sbom", "one").await;
    let signature = put_referrer(&world, &subject, "application/signature", "two").await;
    put_referrer(&world, &sha256(b"another"), "application/sbom", "three").await;

    let page = manifests
        .referrers(&world.repository, &subject, None, None, None)
        .await
        .unwrap();
    let digests: Vec<_> = page
        .referrers
        .iter()
        .map(|referrer| referrer.digest.clone())
        .collect();
    assert_eq!(digests, [sbom.clone(), signature]);
    let first = &page.referrers[0];
    assert_eq!(first.artifact_type.as_deref(), Some("application/sbom"));
    assert_eq!(first.annotations["note"], "one");
    assert_eq!(first.media_type, MediaType::OCI_MANIFEST);

    let filtered = manifests
        .referrers(
            &world.repository,
            &subject,
            Some("application/sbom"),
            None,
            None,
        )
        .await
        .unwrap();
    assert_eq!(filtered.referrers.len(), 1);
    // They stay although they have no tag, until they are deleted.
    world.clock.advance(Duration::from_hours(48));
    manifests
        .delete(
            &world.repository,
            &Reference::Digest(sbom),
            &Actor::default(),
        )
        .await
        .unwrap();
    let page = manifests
        .referrers(&world.repository, &subject, None, None, None)
        .await
        .unwrap();
    assert_eq!(page.referrers.len(), 1);
}

#[tokio::test]
async fn referrers_come_in_pages_bounded_by_number_and_bytes() {
    let world = World::with(|options| {
        options.page_entries_max = 20;
        options.referrers_page_bytes_max = 30_000;
    })
    .await;
    let subject = sha256(b"subject");
    let mut pushed = Vec::new();
    for number in 0..45 {
        let note = format!(
            "{number}{}",
            "x".repeat(if number >= 40 { 20_000 } else { 100 })
        );
        pushed.push(put_referrer(&world, &subject, "application/sbom", &note).await);
    }
    let manifests = world.registry.manifests();
    let (mut listed, mut after, mut sizes) = (Vec::new(), None, Vec::new());
    loop {
        let page = manifests
            .referrers(&world.repository, &subject, None, after, None)
            .await
            .unwrap();
        sizes.push(page.referrers.len());
        listed.extend(page.referrers.into_iter().map(|referrer| referrer.digest));
        let Some(next) = page.next else { break };
        // Survives a URL.
        after = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(listed, pushed);
    assert_eq!(sizes, [20, 20, 1, 1, 1, 1, 1]);
    let page = manifests
        .referrers(&world.repository, &subject, None, None, Some(3))
        .await
        .unwrap();
    assert_eq!((page.referrers.len(), page.next.is_some()), (3, true));
    let page = manifests
        .referrers(&world.repository, &subject, None, None, Some(0))
        .await
        .unwrap();
    assert_eq!((page.referrers.len(), page.next), (0, None));
}

#[tokio::test]
async fn a_list_that_ends_with_a_page_has_no_next_one() {
    let world = World::with(|options| options.page_entries_max = 16).await;
    let subject = sha256(b"subject");
    for number in 0..16 {
        put_referrer(&world, &subject, "application/sbom", &number.to_string()).await;
    }
    let manifests = world.registry.manifests();
    let page = manifests
        .referrers(&world.repository, &subject, None, None, None)
        .await
        .unwrap();
    assert_eq!((page.referrers.len(), page.next), (16, None));
}
