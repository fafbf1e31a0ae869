//! Manifests, tags, referrers and deletions.

use super::*;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

async fn find(world: &World, text: &str, now: Timestamp) -> ManifestLookup {
    world
        .database
        .find_manifest(world.repository.id, &reference(text), now)
        .await
        .unwrap()
}

fn is_found(lookup: &ManifestLookup) -> bool {
    matches!(lookup, ManifestLookup::Found(_))
}

#[tokio::test]
async fn a_manifest_is_stored_whole_with_its_tags_and_its_wanted_copies_or_not_at_all() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let manifest = image(&["one", "two"]);
        assert_eq!(
            world.put(&manifest, &["v1"], world.now).await,
            PutManifestOutcome::BlobsUnknown({
                let mut unknown = vec![digest_of("one"), digest_of("two")];
                unknown.sort();
                unknown
            })
        );
        assert!(!is_found(&find(&world, "v1", world.now).await));

        world.blob("one", &us()).await;
        world.blob("two", &us()).await;
        assert_eq!(
            world.put(&manifest, &["v1", "latest"], world.now).await,
            PutManifestOutcome::Stored {
                created: true,
                copies: 3,
                min_locations: None,
            }
        );
        let ManifestLookup::Found(found) = find(&world, "v1", world.now).await else {
            panic!("the tag points to the manifest");
        };
        assert_eq!(&found.bytes, manifest.bytes());
        assert_eq!(
            world.put(&manifest, &["v1"], later(world.now, 1)).await,
            PutManifestOutcome::Stored {
                created: false,
                copies: 0,
                min_locations: None,
            },
            "a copy is wanted once, however often its blob is pushed"
        );
        assert_eq!(world.database.count_jobs(QUEUE).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn moving_a_tag_keeps_one_live_row_even_within_one_millisecond() {
    for world in worlds().await {
        for content in ["{}", "one", "two"] {
            world.blob(content, &us()).await;
        }
        let (first, second) = (image(&["one"]), image(&["two"]));
        for _ in 0..3 {
            world.put(&first, &["latest"], world.now).await;
            world.put(&second, &["latest"], world.now).await;
        }
        let ManifestLookup::Found(found) = find(&world, "latest", world.now).await else {
            panic!("found");
        };
        assert_eq!(found.digest, second.digest(Algorithm::Sha256));
        assert_eq!(
            world
                .database
                .list_tags(world.repository.id, None, 10, later(world.now, 1))
                .await
                .unwrap(),
            ["latest"]
        );
    }
}

#[tokio::test]
async fn tags_are_listed_in_byte_order_from_behind_a_name_that_need_not_exist() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let tags = ["a", "B", "v1", "v10", "v2", "_x"];
        world.put(&image(&[]), &tags, world.now).await;
        let list = |after: Option<&'static str>, limit| {
            let world = &world;
            async move {
                world
                    .database
                    .list_tags(world.repository.id, after, limit, world.now)
                    .await
                    .unwrap()
            }
        };
        assert_eq!(list(None, 10).await, ["B", "_x", "a", "v1", "v10", "v2"]);
        assert_eq!(list(Some("b"), 2).await, ["v1", "v10"]);
        assert_eq!(list(Some("zzz"), 2).await, [""; 0]);
    }
}

#[tokio::test]
async fn an_untagged_manifest_is_visible_for_its_hour_and_longer_under_an_index() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let child = image(&[]);
        world.put(&child, &[], world.now).await;
        let child_digest = child.digest(Algorithm::Sha256).to_string();
        assert!(is_found(
            &find(&world, &child_digest, later(world.now, 3599)).await
        ));
        assert!(!is_found(
            &find(&world, &child_digest, later(world.now, 3601)).await
        ));

        let nested = index(&[&child]);
        world.put(&nested, &[], world.now).await;
        world.put(&index(&[&nested]), &["multi"], world.now).await;
        assert!(
            is_found(&find(&world, &child_digest, later(world.now, 1_000_000)).await),
            "the tagged index keeps what is two levels below it"
        );
        assert_eq!(
            world
                .database
                .list_tags(world.repository.id, None, 10, world.now)
                .await
                .unwrap(),
            ["multi"],
            "hidden tags are not listed"
        );
    }
}

#[tokio::test]
async fn an_index_of_unknown_manifests_is_refused_and_names_them() {
    for world in worlds().await {
        let child = image(&[]);
        assert_eq!(
            world.put(&index(&[&child]), &["multi"], world.now).await,
            PutManifestOutcome::ManifestsUnknown(vec![child.digest(Algorithm::Sha256)])
        );
        assert_eq!(
            world.put(&index(&[]), &["empty"], world.now).await,
            PutManifestOutcome::Stored {
                created: true,
                copies: 0,
                min_locations: None,
            }
        );
    }
}

#[tokio::test]
async fn deletions_are_visible_at_once_and_a_push_brings_back_what_was_deleted() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let manifest = image(&[]);
        let digest = manifest.digest(Algorithm::Sha256);
        world.put(&manifest, &["v1", "v2"], world.now).await;
        world.put(&index(&[&manifest]), &["multi"], world.now).await;
        let now = later(world.now, 1);
        let database = &world.database;
        let repository = world.repository.id;

        let in_use = database
            .delete_blob(repository, &digest_of("{}"), now)
            .await
            .unwrap();
        assert_eq!(in_use, BlobDeletion::InUse(vec![digest.to_string()]));

        assert_eq!(world.delete("v1", now).await, Deletion::Deleted);
        assert_eq!(world.delete("v1", now).await, Deletion::Unknown);
        assert!(matches!(
            find(&world, "v1", now).await,
            ManifestLookup::TagExpired
        ));
        assert!(matches!(
            find(&world, "never", now).await,
            ManifestLookup::Unknown
        ));
        assert!(is_found(&find(&world, "v2", now).await));

        assert_eq!(world.delete(digest.as_str(), now).await, Deletion::Deleted);
        assert_eq!(world.delete(digest.as_str(), now).await, Deletion::Unknown);
        assert!(!is_found(&find(&world, "v2", now).await));
        assert!(
            !is_found(&find(&world, &digest.to_string(), now).await),
            "gone at once, though an index still names it"
        );

        assert_eq!(
            database
                .delete_blob(repository, &digest_of("{}"), now)
                .await
                .unwrap(),
            BlobDeletion::Deleted
        );
        assert_eq!(
            database
                .delete_blob(repository, &digest_of("{}"), now)
                .await
                .unwrap(),
            BlobDeletion::Unknown
        );
        assert!(
            database
                .find_blob(repository, &digest_of("{}"), now)
                .await
                .unwrap()
                .is_none()
        );

        world.blob("{}", &us()).await;
        world.put(&manifest, &["v1"], later(world.now, 2)).await;
        assert!(is_found(
            &find(&world, &digest.to_string(), later(world.now, 2)).await
        ));
        assert!(
            database
                .find_blob(repository, &digest_of("{}"), later(world.now, 1_000_000))
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn referrers_are_listed_by_type_and_page_whether_or_not_their_subject_exists() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let subject = digest_of("a subject that was never pushed");
        let referrer = |kind: &str, note: &str| {
            image_with(
                &[],
                &format!(
                    r#","artifactType":"{kind}","annotations":{{"note":"{note}"}},"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":2}}"#
                ),
            )
        };
        for (kind, note) in [("a/sbom", "1"), ("a/signature", "2"), ("a/sbom", "3")] {
            world.put(&referrer(kind, note), &[], world.now).await;
        }
        // Nothing ends a referrer that nobody tagged.
        let now = later(world.now, 1_000_000);
        let list = async |kind: Option<&str>, after: ManifestId, limit: u32| {
            world
                .database
                .referrers(&ReferrersOf {
                    repository: world.repository.id,
                    subject: &subject,
                    artifact_type: kind,
                    after,
                    limit,
                    now,
                })
                .await
                .unwrap()
        };
        let all = list(None, ManifestId(0), 10).await;
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].annotations["note"], "1");
        assert_eq!(list(Some("a/sbom"), ManifestId(0), 10).await.len(), 2);
        assert_eq!(list(None, all[1].id, 10).await.len(), 1);
        assert_eq!(list(None, ManifestId(0), 2).await.len(), 2);
        assert_eq!(list(Some("a/none"), ManifestId(0), 2).await.len(), 0);
    }
}

#[tokio::test]
async fn a_referrer_that_only_an_index_keeps_is_listed_while_the_index_is_tagged() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let subject = digest_of("a subject");
        let referrer = image_with(
            &[],
            &format!(
                r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":2}}"#
            ),
        );
        world.put(&referrer, &["once"], world.now).await;
        // The fallback of clients for registries without the API, which an older Quay was.
        let fallback = subject.to_string().replace(':', "-");
        world
            .put(&index(&[&referrer]), &[&fallback], world.now)
            .await;
        let listed = async |now: Timestamp| {
            world
                .database
                .referrers(&ReferrersOf {
                    repository: world.repository.id,
                    subject: &subject,
                    artifact_type: None,
                    after: ManifestId(0),
                    limit: 10,
                    now,
                })
                .await
                .unwrap()
                .len()
        };
        let now = later(world.now, 1);
        assert_eq!(world.delete("once", now).await, Deletion::Deleted);
        assert_eq!(listed(now).await, 1);
        assert_eq!(world.delete(&fallback, now).await, Deletion::Deleted);
        assert_eq!(listed(now).await, 0);
    }
}
