//! Referrers: manifests that name another as their subject.

use bytes::Bytes;
use roadstead_client::Client;
use roadstead_oci::{Digest, MediaType, RepositoryName};
use roadstead_testkit::Universe;
use serde_json::{Value, json};

use crate::call::{call, push_blob, sha256};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn team_app() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// An artifact of this type about this subject, pushed. Returns its bytes.
async fn push_artifact(
    client: &Client,
    subject: &Digest,
    artifact_type: Option<&str>,
    mark: &str,
) -> Bytes {
    push_blob(client, "team/app", b"{}").await;
    let config_type = if artifact_type.is_some() {
        "application/vnd.oci.empty.v1+json"
    } else {
        "application/vnd.example.config"
    };
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": config_type, "digest": sha256("{}"), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256("{}"), "size": 2}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 7},
        "annotations": {"mark": mark},
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    let bytes: Bytes = manifest.to_string().into();
    let reply = call("PUT", format!("/v2/team/app/manifests/{}", sha256(&bytes)))
        .header("content-type", OCI_MANIFEST)
        .body(bytes.clone())
        .send(client)
        .await
        .expect(201);
    assert_eq!(reply.header("oci-subject"), subject.as_str());
    bytes
}

fn entry(bytes: &Bytes, artifact_type: &str, mark: &str) -> Value {
    json!({
        "mediaType": OCI_MANIFEST, "digest": sha256(bytes), "size": bytes.len(), "artifactType": artifact_type,
        "annotations": {"mark": mark},
    })
}

#[tokio::test]
async fn referrers_are_listed_also_of_a_subject_that_does_not_exist_yet() {
    let universe = Universe::start().await;
    let client = universe.client();
    let subject = sha256("comes later");
    let path = format!("/v2/team/app/referrers/{subject}");
    push_blob(&client, "team/app", b"{}").await;
    let none = call("GET", &path).send(&client).await.expect(200);
    assert_eq!(none.header("content-type"), OCI_INDEX);
    assert_eq!(
        none.json(),
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    );

    let signature = push_artifact(
        &client,
        &subject,
        Some("application/vnd.example.signature"),
        "s",
    )
    .await;
    let bom = push_artifact(&client, &subject, Some("application/vnd.example.sbom"), "b").await;
    let config = push_artifact(&client, &subject, None, "c").await;
    push_artifact(
        &client,
        &sha256("another"),
        Some("application/vnd.example.sbom"),
        "x",
    )
    .await;
    let reply = call("GET", &path).send(&client).await.expect(200);
    let mut listed = reply.json()["manifests"].as_array().unwrap().clone();
    let mut expected = vec![
        entry(&signature, "application/vnd.example.signature", "s"),
        entry(&bom, "application/vnd.example.sbom", "b"),
        // Without a type of its own, an artifact is what its config is.
        entry(&config, "application/vnd.example.config", "c"),
    ];
    listed.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(listed, expected);
    assert_eq!(reply.header("oci-filters-applied"), "");

    let filtered = call(
        "GET",
        format!("{path}?artifactType=application/vnd.example.sbom"),
    )
    .send(&client)
    .await
    .expect(200);
    assert_eq!(
        filtered.json()["manifests"],
        json!([entry(&bom, "application/vnd.example.sbom", "b")])
    );
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let filtered = call(
        "GET",
        format!("{path}?artifactType=application/vnd.example.none"),
    )
    .send(&client)
    .await
    .expect(200);
    assert_eq!(filtered.json()["manifests"], json!([]));
    universe.finish().await;
}

#[tokio::test]
async fn a_deleted_referrer_is_listed_no_more() {
    let universe = Universe::start().await;
    let client = universe.client();
    let subject = sha256("subject");
    let artifact =
        push_artifact(&client, &subject, Some("application/vnd.example.sbom"), "b").await;
    assert_eq!(
        client
            .referrers(&team_app(), &subject, None)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        client
            .delete_manifest(&team_app(), &sha256(&artifact).into())
            .await
            .unwrap()
    );
    assert_eq!(
        client.referrers(&team_app(), &subject, None).await.unwrap(),
        []
    );
    universe.finish().await;
}

#[tokio::test]
async fn many_referrers_come_in_pages_that_together_are_all() {
    let universe = Universe::start().await;
    let client = universe.client();
    let subject = sha256("popular");
    let mut digests = Vec::new();
    for number in 0..130 {
        let artifact_type = if number % 2 == 0 {
            "application/vnd.example.a"
        } else {
            "application/vnd.example.b"
        };
        let bytes =
            push_artifact(&client, &subject, Some(artifact_type), &number.to_string()).await;
        digests.push(sha256(&bytes));
    }
    digests.sort();
    let mut listed: Vec<Digest> = client
        .referrers(&team_app(), &subject, None)
        .await
        .unwrap()
        .into_iter()
        .map(|descriptor| descriptor.digest)
        .collect();
    listed.sort();
    assert_eq!(listed, digests);
    let filtered = client
        .referrers(&team_app(), &subject, Some("application/vnd.example.b"))
        .await
        .unwrap();
    assert_eq!(filtered.len(), 65);
    assert!(
        filtered
            .iter()
            .all(|descriptor| descriptor.media_type == MediaType::OCI_MANIFEST)
    );
    universe.finish().await;
}

#[tokio::test]
async fn an_index_can_be_an_artifact_too() {
    let universe = Universe::start().await;
    let client = universe.client();
    let subject = sha256("subject");
    push_blob(&client, "team/app", b"{}").await;
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "artifactType": "application/vnd.example.index",
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 7},
    })
    .to_string();
    let reply = call("PUT", "/v2/team/app/manifests/artifact")
        .header("content-type", OCI_INDEX)
        .body(index)
        .send(&client)
        .await
        .expect(201);
    assert_eq!(reply.header("oci-subject"), subject.as_str());
    let listed = client.referrers(&team_app(), &subject, None).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        listed[0].artifact_type.as_deref(),
        Some("application/vnd.example.index")
    );
    universe.finish().await;
}

#[tokio::test]
async fn referrers_of_something_that_is_no_digest_are_refused() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/app", b"{}").await;
    for digest in ["latest", "sha256:x", "md5:00"] {
        call("GET", format!("/v2/team/app/referrers/{digest}"))
            .send(&client)
            .await
            .refused(400, "DIGEST_INVALID");
    }
    universe.finish().await;
}
