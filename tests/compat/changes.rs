//! Work on what Quay left, as its own accounts: afterwards the checker finds nothing, and what nobody touched is as it was.

use bytes::Bytes;
use roadstead_client::{Client, ClientError, Mounted, RequestBody};
use roadstead_oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use roadstead_testkit::{Content, ImageKind, RegistrySettings, TestImage, eventually};
use serde_json::{Value, json};

use crate::sample::Sample;
use crate::snapshot;

/// Repositories that nobody touches here: `acme/deep/nested/name`, `acme/mirrored`, `acme/empty`, `geo/data`, `cache/public`.
const UNTOUCHED: [i64; 5] = [3, 4, 5, 6, 9];

/// What a push says of a namespace and the whole registry, in tables whose rows are of a repository too.
const EVENTS: [&str; 1] = ["logentry3"];

/// The sample with a registry on it.
struct Work {
    sample: Sample,
    settings: RegistrySettings,
}

impl Work {
    fn client(&self, account: &str) -> Client {
        self.sample.client(&self.settings, account)
    }

    /// Waits until every copy that was queued has been made.
    async fn until_replicated(&self) {
        eventually("the replication queue is empty", async || {
            let query =
                "SELECT count(*) FROM queueitem WHERE queue_name LIKE 'imagestoragereplication/%'";
            (self.sample.database.number(query) == 0).then_some(())
        })
        .await;
    }
}

fn name(repository: &str) -> RepositoryName {
    repository.parse().unwrap()
}

fn tag(name: &str) -> Reference {
    name.parse().unwrap()
}

/// Puts a manifest of any content, by tag or, without one, by digest.
async fn put(
    client: &Client,
    repository: &str,
    reference: Option<&str>,
    manifest: &Value,
) -> Digest {
    let media_type: MediaType = manifest["mediaType"].as_str().unwrap().parse().unwrap();
    let bytes: Bytes = manifest.to_string().into();
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let reference = reference.map_or(Reference::Digest(digest.clone()), tag);
    let pushed = client
        .put_manifest(&name(repository), &reference, &media_type, bytes)
        .await
        .unwrap();
    assert_eq!(pushed.digest.as_ref(), Some(&digest));
    digest
}

async fn push_blob(client: &Client, repository: &str, bytes: impl Into<Bytes>) -> Value {
    let bytes = bytes.into();
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let size = bytes.len();
    client
        .push_blob(&name(repository), &digest, RequestBody::bytes(bytes))
        .await
        .unwrap();
    json!({"digest": digest, "size": size, "mediaType": "application/octet-stream"})
}

fn descriptor(image: &TestImage) -> Value {
    json!({"mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len()})
}

#[tokio::test]
async fn work_through_us_leaves_a_database_as_quay_would_have_left_it() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let work = Work { sample, settings };
    let untouched = || {
        let rows = snapshot::rows_of(&work.sample.database, &UNTOUCHED);
        snapshot::without(rows, &EVENTS)
    };
    let before = untouched();

    push_images(&work).await;
    push_an_index(&work).await;
    push_artifacts(&work).await;
    move_and_delete(&work).await;
    mount_and_leave_unfinished(&work).await;
    break_nothing_immutable(&work).await;

    work.until_replicated().await;
    work.sample.world().assert_sound();
    assert_eq!(untouched(), before);
    assert_logged(&work);
    assert!(registry.stop().await.success());
}

/// An OCI image by a robot, a Docker image by a user into a repository of his own, one that ends by itself, and one again.
async fn push_images(work: &Work) {
    let oci = TestImage::new(101, ImageKind::Oci, &[1000, 50_000]);
    let docker = TestImage::new(102, ImageKind::Docker, &[2000, 0, 70_000]);
    let robot = work.client("acme+ci");
    oci.push(&robot, &name("acme/app"), &tag("new"))
        .await
        .unwrap();
    oci.push(&robot, &name("acme/app"), &tag("again"))
        .await
        .unwrap();
    let alice = work.client("alice");
    docker
        .push(&alice, &name("alice/tools"), &tag("docker"))
        .await
        .unwrap();
    docker
        .push(&alice, &name("alice/first"), &tag("1"))
        .await
        .unwrap();

    let layer = push_blob(&robot, "acme/app", "a layer that does not stay").await;
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Labels": {"quay.expires-after": "2h", "maintainer": "acme", "shape": "{\"a\": 1}"}},
    });
    let mut config = push_blob(&robot, "acme/app", config.to_string()).await;
    config["mediaType"] = MediaType::OCI_CONFIG.as_str().into();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    put(&robot, "acme/app", Some("short"), &manifest).await;
    let life = work.sample.database.number(
        "SELECT (lifetime_end_ms - lifetime_start_ms) / 1000 FROM tag WHERE name = 'short'",
    );
    assert_eq!(life, 2 * 60 * 60, "seconds, as the label says");
}

/// An index of two images, by a user who may create repositories in the organisation.
async fn push_an_index(work: &Work) {
    let alice = work.client("alice");
    let images = [111, 112].map(|seed| TestImage::new(seed, ImageKind::Oci, &[3000]));
    for image in &images {
        let by_digest = Reference::Digest(image.digest.clone());
        image
            .push(&alice, &name("acme/fresh"), &by_digest)
            .await
            .unwrap();
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX,
        "manifests": images.each_ref().map(descriptor),
    });
    put(&alice, "acme/fresh", Some("multi"), &index).await;
}

/// A signature by tag and a note by digest, both of an image that Quay took in.
async fn push_artifacts(work: &Work) {
    let robot = work.client("acme+ci");
    let v1 = robot
        .get_manifest(&name("acme/app"), &tag("v1"))
        .await
        .unwrap();
    let subject = json!({"mediaType": v1.media_type, "digest": v1.digest, "size": v1.bytes.len()});
    let mut config = push_blob(&robot, "acme/app", "{}").await;
    config["mediaType"] = "application/vnd.oci.empty.v1+json".into();
    for (reference, kind) in [(Some("note-v1"), "signature"), (None, "note")] {
        let layer = push_blob(&robot, "acme/app", format!("{kind} of v1")).await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "subject": subject,
            "artifactType": format!("application/vnd.example.{kind}"), "config": config, "layers": [layer],
            "annotations": {"org.example.kind": kind},
        });
        put(&robot, "acme/app", reference, &manifest).await;
    }
    let referrers = robot
        .referrers(&name("acme/app"), &v1.digest, None)
        .await
        .unwrap();
    assert_eq!(referrers.len(), 3, "Quay's and both of ours: {referrers:?}");
}

/// Tags go to another image and back, some are deleted, and a manifest with all of its tags is deleted and comes again.
async fn move_and_delete(work: &Work) {
    let robot = work.client("acme+ci");
    let app = name("acme/app");
    for source in ["new", "v1", "v2", "new", "v2"] {
        let manifest = robot.get_manifest(&app, &tag(source)).await.unwrap();
        robot
            .put_manifest(&app, &tag("latest"), &manifest.media_type, manifest.bytes)
            .await
            .unwrap();
        let latest = robot.get_manifest(&app, &tag("latest")).await.unwrap();
        assert_eq!(latest.digest, manifest.digest);
    }
    for deleted in ["stable", "again"] {
        assert!(robot.delete_manifest(&app, &tag(deleted)).await.unwrap());
        assert!(!robot.delete_manifest(&app, &tag(deleted)).await.unwrap());
    }
    let v2 = robot.get_manifest(&app, &tag("v2")).await.unwrap();
    let by_digest = Reference::Digest(v2.digest.clone());
    assert!(robot.delete_manifest(&app, &by_digest).await.unwrap());
    for gone in [tag("v2"), tag("latest"), by_digest] {
        let refused = robot.get_manifest(&app, &gone).await.unwrap_err();
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(404));
    }
    robot
        .put_manifest(&app, &tag("v2"), &v2.media_type, v2.bytes)
        .await
        .unwrap();
    let back = robot.get_manifest(&app, &tag("v2")).await.unwrap();
    assert_eq!(back.digest, v2.digest);
}

/// An image whose blobs come from another repository, a blob without a manifest, and an upload that nobody finishes.
async fn mount_and_leave_unfinished(work: &Work) {
    let admin = work.client("admin");
    let (source, target) = (name("acme/app"), name("alice/tools"));
    let manifest = admin.get_manifest(&source, &tag("v1")).await.unwrap();
    let json: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let layers = json["layers"].as_array().unwrap().iter();
    for blob in layers.chain([&json["config"]]) {
        let digest: Digest = blob["digest"].as_str().unwrap().parse().unwrap();
        let mounted = admin
            .mount_blob(&target, &digest, Some(&source))
            .await
            .unwrap();
        assert!(matches!(mounted, Mounted::Yes), "{digest}");
    }
    admin
        .put_manifest(
            &target,
            &tag("mounted"),
            &manifest.media_type,
            manifest.bytes,
        )
        .await
        .unwrap();
    let robot = work.client("acme+ci");
    push_blob(&robot, "acme/app", "a blob that no manifest names").await;
    let mut upload = robot.start_upload(&source).await.unwrap();
    let chunk = Content::new(5, 10_000).bytes();
    robot.upload_chunk(&mut upload, chunk).await.unwrap();
}

/// Quay made `acme/public:1.0` immutable, and so it stays.
async fn break_nothing_immutable(work: &Work) {
    let bob = work.client("bob");
    let public = name("acme/public");
    let other = bob.get_manifest(&public, &tag("1.0-docker")).await.unwrap();
    let moved = bob
        .put_manifest(&public, &tag("1.0"), &other.media_type, other.bytes)
        .await
        .map(drop);
    let deleted = bob.delete_manifest(&public, &tag("1.0")).await.map(drop);
    for refused in [moved, deleted] {
        let error: ClientError = refused.unwrap_err();
        assert_eq!(error.code(), Some("TAG_IMMUTABLE"), "{error:?}");
    }
    let still = bob.get_manifest(&public, &tag("1.0")).await.unwrap();
    assert_ne!(still.digest, other.digest);
}

/// Quay's own views show what was done, by whom and to which tag.
fn assert_logged(work: &Work) {
    let logged = work.sample.database.texts(
        "SELECT format('%s of %s by %s', k.name, coalesce(pg_temp.parsed(l.metadata_json) ->> 'tag', 'a digest'), u.username)
         FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id LEFT JOIN \"user\" u ON u.id = l.performer_id
         WHERE k.name IN ('push_repo', 'delete_tag')",
    );
    for expected in [
        "push_repo of new by acme+ci",
        "push_repo of docker by alice",
        "push_repo of multi by alice",
        "push_repo of note-v1 by acme+ci",
        "push_repo of mounted by admin",
        "delete_tag of stable by acme+ci",
    ] {
        assert!(
            logged.iter().any(|line| line == expected),
            "`{expected}` is not in {logged:#?}"
        );
    }
}
