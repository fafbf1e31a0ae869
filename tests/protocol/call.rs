//! Requests of the protocol's tests, and the few that most of them begin with.

use roadstead_client::{Client, RequestBody};
use roadstead_oci::Digest;

pub(crate) use roadstead_tests::{Reply, call, sha256, with_parameter};

/// Pushes a blob in the plainest way.
pub(crate) async fn push_blob(client: &Client, repository: &str, content: &[u8]) -> Digest {
    let digest = sha256(content);
    let repository = repository.parse().unwrap();
    let body = RequestBody::bytes(content.to_vec());
    client.push_blob(&repository, &digest, body).await.unwrap();
    digest
}

/// Begins an upload and returns its path.
pub(crate) async fn start_upload(client: &Client, repository: &str) -> String {
    call("POST", format!("/v2/{repository}/blobs/uploads/"))
        .send(client)
        .await
        .expect(202)
        .location()
}
