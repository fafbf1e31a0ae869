//! Manifests: kinds, tags, references and deletion.

mod refused;

use bytes::Bytes;
use roadstead_client::{Client, Mounted};
use roadstead_oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use roadstead_testkit::{ImageKind, TestImage, Universe, UniverseOptions};
use serde_json::{Value, json};

use crate::call::{Reply, call, push_blob, sha256};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn team_app() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// A PUT of a manifest to `team/app`.
async fn put(client: &Client, reference: &str, media_type: &str, body: impl Into<Bytes>) -> Reply {
    call("PUT", format!("/v2/team/app/manifests/{reference}"))
        .header("content-type", media_type)
        .body(body)
        .send(client)
        .await
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(content), "size": content.len()})
}

/// Pushes `{}` and returns the descriptor of an empty config.
async fn empty_config(client: &Client) -> Value {
    push_blob(client, "team/app", b"{}").await;
    descriptor("application/vnd.oci.empty.v1+json", b"{}")
}

/// An image with an empty config and no layers; `mark` makes it unlike others.
async fn small_manifest(client: &Client, mark: &str) -> Bytes {
    let config = empty_config(client).await;
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], "annotations": {"mark": mark}})
        .to_string()
        .into()
}

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest() {
    let universe = Universe::start().await;
    let client = universe.client();
    for (kind, tag) in [(ImageKind::Oci, "oci"), (ImageKind::Docker, "docker")] {
        let image = TestImage::new(1, kind, &[10, 20_000]);
        image.push_blobs(&client, &team_app()).await.unwrap();
        let reply = put(
            &client,
            tag,
            image.media_type.as_str(),
            image.manifest.clone(),
        )
        .await
        .expect(201);
        assert_eq!(reply.header("docker-content-digest"), image.digest.as_str());
        assert_eq!(
            reply.location(),
            format!("/v2/team/app/manifests/{}", image.digest)
        );
        for reference in [tag, image.digest.as_str()] {
            let path = format!("/v2/team/app/manifests/{reference}");
            for accept in [
                None,
                Some("*/*"),
                Some("application/*"),
                Some(image.media_type.as_str()),
            ] {
                let mut request = call("GET", &path);
                if let Some(accept) = accept {
                    request = request.header("accept", accept);
                }
                let pulled = request.send(&client).await.expect(200);
                assert_eq!(pulled.body, image.manifest, "{accept:?}");
                assert_eq!(pulled.header("content-type"), image.media_type.as_str());
                assert_eq!(
                    pulled.header("docker-content-digest"),
                    image.digest.as_str()
                );
            }
            let head = call("HEAD", &path).send(&client).await.expect(200);
            assert_eq!(
                head.header("content-length"),
                image.manifest.len().to_string()
            );
            assert_eq!(head.header("content-type"), image.media_type.as_str());
            let etag = head.header("etag").to_owned();
            call("GET", &path)
                .header("if-none-match", etag)
                .send(&client)
                .await
                .expect(304);
        }
    }
    universe.finish().await;
}

#[tokio::test]
async fn whitespace_order_and_unknown_members_are_kept() {
    let universe = Universe::start().await;
    let client = universe.client();
    let config = empty_config(&client).await;
    let text = format!(
        "\n{{ \"zzz\": [1, {{\"x\": null}}],\t\"schemaVersion\":2 , \"layers\":[],\n\"config\": {config} }}\r\n "
    );
    put(&client, "odd", OCI_MANIFEST, text.clone())
        .await
        .expect(201);
    let pulled = call("GET", "/v2/team/app/manifests/odd")
        .send(&client)
        .await
        .expect(200);
    assert_eq!(pulled.body, text);
    universe.finish().await;
}

#[tokio::test]
async fn a_push_by_digest_has_to_be_of_that_digest_in_either_algorithm() {
    let universe = Universe::start().await;
    let client = universe.client();
    let manifest = small_manifest(&client, "x").await;
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, &manifest);
        let reply = put(&client, digest.as_str(), OCI_MANIFEST, manifest.clone())
            .await
            .expect(201);
        assert_eq!(reply.header("docker-content-digest"), digest.as_str());
        let pulled = call("GET", reply.location())
            .send(&client)
            .await
            .expect(200);
        assert_eq!(pulled.header("docker-content-digest"), digest.as_str());
        let other = Digest::of(algorithm, b"another");
        put(&client, other.as_str(), OCI_MANIFEST, manifest.clone())
            .await
            .refused(400, "DIGEST_INVALID");
        call("GET", format!("/v2/team/app/manifests/{other}"))
            .send(&client)
            .await
            .refused(404, "MANIFEST_UNKNOWN");
    }
    for reference in ["sha256:baddigeststring", "md5:00", "sha256:"] {
        let reply = put(&client, reference, OCI_MANIFEST, manifest.clone()).await;
        reply.refused(400, "DIGEST_INVALID");
        call("GET", format!("/v2/team/app/manifests/{reference}"))
            .send(&client)
            .await
            .refused(400, "DIGEST_INVALID");
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_push_by_digest_takes_tags_along() {
    let universe = Universe::start().await;
    let client = universe.client();
    let manifest = small_manifest(&client, "tags").await;
    let digest = sha256(&manifest);
    let reference = format!("{digest}?tag=one&tag=two.2");
    let reply = put(&client, &reference, OCI_MANIFEST, manifest.clone())
        .await
        .expect(201);
    let tags: Vec<&str> = reply
        .headers
        .get_all("oci-tag")
        .iter()
        .map(|tag| tag.to_str().unwrap())
        .collect();
    assert_eq!(tags, ["one", "two.2"]);
    for tag in ["one", "two.2"] {
        let head = client
            .head_manifest(&team_app(), &tag.parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(head.digest.as_ref(), Some(&digest));
    }
    put(
        &client,
        &format!("{digest}?tag=..%2F"),
        OCI_MANIFEST,
        manifest,
    )
    .await
    .refused(400, "TAG_INVALID");
    universe.finish().await;
}

#[tokio::test]
async fn a_tag_moves_and_the_old_manifest_stays_under_its_digest() {
    let universe = Universe::start().await;
    let client = universe.client();
    let (one, two) = (
        small_manifest(&client, "one").await,
        small_manifest(&client, "two").await,
    );
    for manifest in [&one, &two, &two] {
        put(&client, "latest", OCI_MANIFEST, manifest.clone())
            .await
            .expect(201);
    }
    let pulled = call("GET", "/v2/team/app/manifests/latest")
        .send(&client)
        .await
        .expect(200);
    assert_eq!(pulled.body, two);
    let old = call("GET", format!("/v2/team/app/manifests/{}", sha256(&one)))
        .send(&client)
        .await;
    // The specification leaves open for how long; it has to be whole while it is there.
    assert!(
        old.status == 404 || (old.status == 200 && old.body == one),
        "{old:?}"
    );
    universe.finish().await;
}

#[tokio::test]
async fn indexes_may_be_nested_empty_and_of_either_kind() {
    let universe = Universe::start().await;
    let client = universe.client();
    let image = small_manifest(&client, "in an index").await;
    put(
        &client,
        sha256(&image).as_str(),
        OCI_MANIFEST,
        image.clone(),
    )
    .await
    .expect(201);
    let inner = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, &image)]}).to_string();
    put(&client, sha256(&inner).as_str(), OCI_INDEX, inner.clone())
        .await
        .expect(201);
    let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        descriptor(OCI_INDEX, inner.as_bytes()), descriptor(OCI_MANIFEST, &image)]});
    put(&client, "outer", OCI_INDEX, outer.to_string())
        .await
        .expect(201);
    let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
    put(&client, "empty", OCI_INDEX, empty.to_string())
        .await
        .expect(201);
    let docker = TestImage::new(1, ImageKind::Docker, &[5]);
    docker.push_blobs(&client, &team_app()).await.unwrap();
    put(
        &client,
        docker.digest.as_str(),
        DOCKER_MANIFEST,
        docker.manifest.clone(),
    )
    .await
    .expect(201);
    let list = json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [descriptor(DOCKER_MANIFEST, &docker.manifest)]});
    put(&client, "list", DOCKER_LIST, list.to_string())
        .await
        .expect(201);
    for tag in ["outer", "empty", "list"] {
        client
            .get_manifest(&team_app(), &tag.parse().unwrap())
            .await
            .unwrap();
    }
    universe.finish().await;
}

#[tokio::test]
async fn what_a_manifest_refers_to_has_to_be_there_and_is_named_if_it_is_not() {
    let universe = Universe::start().await;
    let client = universe.client();
    let config = empty_config(&client).await;
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"not pushed");
    let manifest =
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    let reply = put(&client, "v1", OCI_MANIFEST, manifest.to_string())
        .await
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
    assert!(
        reply
            .json()
            .to_string()
            .contains(sha256("not pushed").as_str()),
        "{reply:?}"
    );
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, b"not pushed")]});
    put(&client, "v1", OCI_INDEX, index.to_string())
        .await
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
    // The bytes being in another repository does not make them this one's.
    push_blob(&client, "team/other", b"not pushed").await;
    put(&client, "v1", OCI_MANIFEST, manifest.to_string())
        .await
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        client.tags(&team_app()).await.unwrap(),
        Vec::<String>::new()
    );
    let digest = sha256("not pushed");
    let other = "team/other".parse().unwrap();
    let mounted = client
        .mount_blob(&team_app(), &digest, Some(&other))
        .await
        .unwrap();
    assert!(matches!(mounted, Mounted::Yes));
    put(&client, "v1", OCI_MANIFEST, manifest.to_string())
        .await
        .expect(201);
    universe.finish().await;
}

#[tokio::test]
async fn layers_that_are_not_to_be_distributed_need_not_be_there() {
    let universe = Universe::start().await;
    let client = universe.client();
    let config = empty_config(&client).await;
    for (number, media_type) in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ]
    .into_iter()
    .enumerate()
    {
        let mut layer = descriptor(media_type, format!("foreign {number}").as_bytes());
        layer["urls"] = json!(["https://elsewhere.example/layer"]);
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
        put(&client, "foreign", OCI_MANIFEST, manifest.to_string())
            .await
            .expect(201);
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_deleted_tag_leaves_the_manifest_and_a_deleted_manifest_takes_its_tags() {
    let universe = Universe::start().await;
    let client = universe.client();
    let manifest = small_manifest(&client, "x").await;
    let digest: Reference = sha256(&manifest).into();
    for tag in ["one", "two", "three"] {
        put(&client, tag, OCI_MANIFEST, manifest.clone())
            .await
            .expect(201);
    }
    let tag = |tag: &str| -> Reference { tag.parse().unwrap() };
    assert!(
        client
            .delete_manifest(&team_app(), &tag("one"))
            .await
            .unwrap()
    );
    assert!(
        client
            .head_manifest(&team_app(), &tag("one"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        !client
            .delete_manifest(&team_app(), &tag("one"))
            .await
            .unwrap()
    );
    assert!(
        client
            .head_manifest(&team_app(), &digest)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(client.tags(&team_app()).await.unwrap(), ["three", "two"]);
    assert!(client.delete_manifest(&team_app(), &digest).await.unwrap());
    for reference in [tag("two"), tag("three"), digest.clone()] {
        assert!(
            client
                .head_manifest(&team_app(), &reference)
                .await
                .unwrap()
                .is_none(),
            "{reference}"
        );
    }
    assert!(!client.delete_manifest(&team_app(), &digest).await.unwrap());
    assert_eq!(
        client.tags(&team_app()).await.unwrap(),
        Vec::<String>::new()
    );
    // The same manifest may come again.
    put(&client, "one", OCI_MANIFEST, manifest)
        .await
        .expect(201);
    assert_eq!(client.tags(&team_app()).await.unwrap(), ["one"]);
    universe.finish().await;
}

#[tokio::test]
async fn a_blob_that_a_manifest_needs_is_not_deleted_from_under_it() {
    let universe = Universe::start().await;
    let client = universe.client();
    let image = TestImage::new(1, ImageKind::Oci, &[100]);
    let reference = "v1".parse().unwrap();
    image.push(&client, &team_app(), &reference).await.unwrap();
    let reply = call("DELETE", format!("/v2/team/app/blobs/{}", image.blobs[1]))
        .send(&client)
        .await;
    assert!(
        [202, 405, 409].contains(&reply.status.as_u16()),
        "{reply:?}"
    );
    if reply.status != 202 {
        image.pull(&client, &team_app(), &reference).await.unwrap();
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_manifest_that_is_not_there_is_unknown() {
    let universe = Universe::start().await;
    let client = universe.client();
    small_manifest(&client, "x").await;
    for reference in ["latest", sha256("missing").as_str()] {
        for method in ["GET", "DELETE"] {
            call(method, format!("/v2/team/app/manifests/{reference}"))
                .send(&client)
                .await
                .refused(404, "MANIFEST_UNKNOWN");
        }
        call("HEAD", format!("/v2/team/app/manifests/{reference}"))
            .send(&client)
            .await
            .expect(404);
    }
    universe.finish().await;
}
