//! The first start on what Quay left: nothing of Quay's changes, and everything pulls as it was pushed.

use std::collections::BTreeSet;

use roadstead_client::Client;
use roadstead_oci::{Digest, RepositoryName};
use roadstead_testkit::RegistrySettings;
use roadstead_tests::{Remote, Workshop, call, digest_of_directory};

use crate::body::Body;
use crate::sample::Sample;
use crate::snapshot;

/// Whoever Quay let pull from a repository without being its admin.
const PULLERS: [(&str, &str); 5] = [
    ("acme/app", "acme+puller"),
    ("acme/deep/nested/name", "admin"),
    ("acme/public", "bob"),
    ("alice/tools", "$app"),
    ("geo/data", "geo+sync"),
];

/// What the start of an instance writes beside tables of its own: its key.
const KEY_TABLES: [&str; 2] = ["servicekey", "servicekeyapproval"];

#[tokio::test]
async fn the_start_changes_nothing_of_quays_but_adds_its_key() {
    let sample = Sample::restore();
    let (schema, rows) = (
        snapshot::schema(&sample.database),
        snapshot::rows(&sample.database),
    );
    let keys = sample.database.number("SELECT count(*) FROM servicekey");
    let settings = sample.settings();
    let registry = settings.start().await;
    let client = sample.client(&settings, "admin");
    client.ping().await.unwrap();
    assert!(registry.stop().await.success());

    let changed: Vec<String> = snapshot::schema(&sample.database)
        .symmetric_difference(&schema)
        .cloned()
        .collect();
    assert_eq!(changed, Vec::<String>::new());
    assert_eq!(
        snapshot::without(snapshot::rows(&sample.database), &KEY_TABLES),
        snapshot::without(rows, &KEY_TABLES)
    );
    assert_eq!(
        sample.database.number("SELECT count(*) FROM servicekey"),
        keys + 1
    );
    sample.world().assert_sound();
}

#[tokio::test]
async fn every_tag_pulls_byte_identical() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let blobs_read = pull_everything(&sample, &settings, |_| true).await;
    assert_eq!(blobs_read, 43, "configs and layers of every tag");
}

/// Pulls every tag of some repositories, each byte of it, and tells how many blobs that were.
pub(crate) async fn pull_everything(
    sample: &Sample,
    settings: &RegistrySettings,
    wanted: impl Fn(&str) -> bool,
) -> usize {
    let registry = settings.start().await;
    let mut blobs_read = 0;
    for (repository, tag, digest) in sample.tags() {
        if !wanted(&repository) {
            continue;
        }
        let puller = PULLERS.iter().find(|(name, _)| *name == repository);
        let (_, account) = puller.unwrap_or_else(|| panic!("nobody pulls from {repository}"));
        let client = sample.client(settings, account);
        let mut due = vec![(tag, digest)];
        while let Some((reference, digest)) = due.pop() {
            let body = pull_manifest(sample, &client, &repository, &reference, &digest).await;
            blobs_read += pull_blobs(&client, &repository, &body).await;
            let children = body.children().into_iter().map(str::to_owned);
            due.extend(children.map(|child| (child.clone(), child)));
        }
    }
    assert!(registry.stop().await.success());
    blobs_read
}

/// Gets a manifest by tag or digest, asking for its own type, and finds the bytes that Quay stored.
async fn pull_manifest(
    sample: &Sample,
    client: &Client,
    repository: &str,
    reference: &str,
    digest: &str,
) -> Body {
    let (namespace, name) = repository.split_once('/').unwrap();
    let rows = sample.database.rows(&format!(
        "SELECT m.manifest_bytes, mt.name AS media_type FROM manifest m
         JOIN mediatype mt ON mt.id = m.media_type_id JOIN repository r ON r.id = m.repository_id
         JOIN \"user\" u ON u.id = r.namespace_user_id
         WHERE u.username = '{namespace}' AND r.name = '{name}' AND m.digest = '{digest}'"
    ));
    let [row] = rows.as_slice() else {
        panic!("{repository} has {} manifests {digest}", rows.len());
    };
    let (bytes, media_type) = (
        row["manifest_bytes"].as_str().unwrap(),
        row["media_type"].as_str().unwrap(),
    );
    let path = format!("/v2/{repository}/manifests/{reference}");
    let reply = call("GET", &path)
        .header("accept", media_type)
        .send(client)
        .await
        .expect(200);
    assert_eq!(reply.body, bytes.as_bytes(), "{path}");
    assert_eq!(reply.header("docker-content-digest"), digest, "{path}");
    assert_eq!(reply.header("content-type"), media_type, "{path}");
    let body = Body::read(bytes).unwrap();
    assert_eq!(body.digest(), digest, "{path}");
    body
}

/// Reads every blob that a manifest names, to its end and against its digest. Returns how many.
async fn pull_blobs(client: &Client, repository: &str, body: &Body) -> usize {
    let repository: RepositoryName = repository.parse().unwrap();
    let digests = body.blobs();
    for digest in &digests {
        let digest: Digest = digest.parse().unwrap();
        let blob = client.pull_verified(&repository, &digest).await.unwrap();
        let read = blob.drain().await.unwrap();
        let size = client.stat_blob(&repository, &digest).await.unwrap();
        assert_eq!(size, Some(read), "{repository} {digest}");
    }
    digests.len()
}

#[tokio::test]
async fn tags_referrers_and_the_catalog_are_listed() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let client = sample.client(&settings, "admin");
    for repository in sample.contents["tags"].as_object().unwrap().keys() {
        let name: RepositoryName = repository.parse().unwrap();
        let tags: BTreeSet<String> = sample
            .tags()
            .into_iter()
            .filter(|(owner, _, _)| owner == repository)
            .map(|(_, tag, _)| tag)
            .collect();
        // A set of texts is in byte order.
        let in_order: Vec<String> = tags.into_iter().collect();
        assert_eq!(client.tags(&name).await.unwrap(), in_order, "{repository}");
        let mut paged = Vec::new();
        loop {
            let last: Option<&String> = paged.last();
            let page = client
                .tags_page(&name, Some(2), last.map(String::as_str))
                .await
                .unwrap();
            assert!(page.tags.len() <= 2, "{page:?}");
            paged.extend(page.tags);
            if !page.more {
                break;
            }
        }
        assert_eq!(paged, in_order, "{repository} in pages of 2");
    }

    let app: RepositoryName = "acme/app".parse().unwrap();
    let subject: Digest = digest_of(&sample, "acme/app", "v1");
    let referrers = client.referrers(&app, &subject, None).await.unwrap();
    // The signature beside it was deleted.
    let [sbom] = referrers.as_slice() else {
        panic!("{referrers:?}");
    };
    assert_eq!(
        sbom.digest.as_str(),
        "sha256:6dcc4b831bae1b4633878a4e69cebbb7bcc70fd4524a3ee4ba38bebe15eef010"
    );
    assert_eq!(
        sbom.artifact_type.as_deref(),
        Some("application/vnd.example.sbom.v1")
    );

    let catalog = client.catalog().await.unwrap();
    let told = sample.contents["catalog"]["repositories"]
        .as_array()
        .unwrap();
    for repository in told {
        let repository = repository.as_str().unwrap();
        assert!(
            catalog.iter().any(|name| name == repository),
            "{repository} is not in {catalog:?}"
        );
    }
    assert!(catalog.is_sorted(), "{catalog:?}");
    let deleted = catalog.iter().find(|name| name.contains("4cfcdc8e"));
    assert_eq!(deleted, None, "a deleted repository is listed");
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn skopeo_copies_what_quay_left() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let remote = Remote {
        address: settings.address,
        credentials: Some(("acme+ci".to_owned(), sample.secret("acme+ci").to_owned())),
    };
    let workshop = Workshop::new(&[&remote]);
    for (repository, tag) in [
        ("acme/app", "latest"),
        ("acme/app", "multi"),
        ("acme/public", "1.0-docker"),
    ] {
        let directory = workshop.path(tag);
        let name: RepositoryName = repository.parse().unwrap();
        let source = format!("docker://{}:{tag}", remote.repository(&name));
        let mut copy = workshop.skopeo();
        copy.args([
            "copy",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
        ])
        .arg(source)
        .arg(format!("dir:{}", directory.display()));
        workshop.go(&mut copy).await;
        assert_eq!(
            digest_of_directory(&directory),
            digest_of(&sample, repository, tag),
            "{repository}:{tag}"
        );
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn an_upload_that_quay_began_is_refused_and_stays_quays() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let client = sample.client(&settings, "acme+ci");
    let before = sample.database.rows("SELECT * FROM blobupload");
    let began = sample.contents["in_progress_upload"].as_str().unwrap();
    let (_, path) = began.split_once("localhost:58080").unwrap();
    for (method, range) in [("PATCH", "40000-40009"), ("PUT", "40000-40009")] {
        let query = if method == "PUT" {
            format!("?digest={}", roadstead_tests::sha256("whatever"))
        } else {
            String::new()
        };
        let reply = call(method, format!("{path}{query}"))
            .header("content-range", range)
            .header("content-type", "application/octet-stream")
            .body("0123456789")
            .send(&client)
            .await;
        assert!(reply.status.is_client_error(), "{reply:?}");
        let said = String::from_utf8_lossy(&reply.body);
        assert!(said.contains("BLOB_UPLOAD"), "{said}");
    }
    assert_eq!(sample.database.rows("SELECT * FROM blobupload"), before);
    assert!(registry.stop().await.success());
}

fn digest_of(sample: &Sample, repository: &str, tag: &str) -> Digest {
    let tags = sample.tags();
    let found = tags
        .iter()
        .find(|(owner, name, _)| owner == repository && name == tag);
    let (_, _, digest) = found.unwrap_or_else(|| panic!("the sample has no {repository}:{tag}"));
    digest.parse().unwrap()
}
