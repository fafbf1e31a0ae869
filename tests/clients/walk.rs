//! Everything that an image is made of.

use roadstead_client::Client;
use roadstead_oci::{Manifest, ManifestLimits, Reference, RepositoryName};

/// Pulls a manifest, the manifests below it and all their blobs; each is compared with its digest. Returns how many bytes it all is.
///
/// # Panics
/// When anything is missing or something else than its digest says.
pub(crate) async fn pull_everything(
    client: &Client,
    repository: &RepositoryName,
    reference: &Reference,
) -> u64 {
    let mut total = 0;
    let mut due = vec![reference.clone()];
    while let Some(reference) = due.pop() {
        let pulled = client.get_manifest(repository, &reference).await.unwrap();
        total += pulled.bytes.len() as u64;
        let manifest = Manifest::parse(
            Some(&pulled.media_type),
            pulled.bytes,
            &ManifestLimits::default(),
        )
        .unwrap();
        for blob in manifest.blobs() {
            let stream = client
                .pull_verified(repository, &blob.digest)
                .await
                .unwrap();
            let size = stream.drain().await.unwrap();
            assert_eq!(size, blob.size, "{}", blob.digest);
            total += size;
        }
        due.extend(
            manifest
                .manifests()
                .iter()
                .map(|child| Reference::from(child.digest.clone())),
        );
    }
    total
}
