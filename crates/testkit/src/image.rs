//! Images made from a seed: real manifests over layers of chance.

use bytes::Bytes;
use roadstead_client::{Client, ClientError, RequestBody};
use roadstead_oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use serde_json::{Value, json};

use crate::Content;

/// In whose format an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// The OCI image manifest.
    Oci,
    /// Docker's schema 2.
    Docker,
}

impl ImageKind {
    fn types(self) -> (MediaType, MediaType, MediaType) {
        match self {
            Self::Oci => (
                MediaType::OCI_MANIFEST,
                MediaType::OCI_CONFIG,
                MediaType::OCI_LAYER_GZIP,
            ),
            Self::Docker => (
                MediaType::DOCKER_MANIFEST,
                MediaType::DOCKER_CONFIG,
                MediaType::DOCKER_LAYER_GZIP,
            ),
        }
    }
}

/// An image: a config, layers and the manifest over them.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// The layers.
    pub layers: Vec<Content>,
    /// The config's bytes.
    pub config: Bytes,
    /// The manifest's media type.
    pub media_type: MediaType,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The manifest's digest.
    pub digest: Digest,
    /// The digests of the config and the layers, in the manifest's order.
    pub blobs: Vec<Digest>,
}

impl TestImage {
    /// An image of layers of these sizes. Images of different seeds share no blob.
    pub fn new(seed: u64, kind: ImageKind, layer_sizes: &[u64]) -> Self {
        let layers = layer_sizes
            .iter()
            .zip(1_u64..)
            .map(|(size, number)| {
                Content::new(seed.wrapping_mul(1_000_003).wrapping_add(number), *size)
            })
            .collect();
        Self::of_layers(seed, kind, layers)
    }

    /// An image of these layers. Reads them to learn their digests.
    pub fn of_layers(seed: u64, kind: ImageKind, layers: Vec<Content>) -> Self {
        let hashed = layers
            .into_iter()
            .map(|layer| {
                let digest = layer.digest(Algorithm::Sha256);
                (layer, digest)
            })
            .collect();
        Self::of_hashed_layers(seed, kind, hashed)
    }

    /// An image of these layers, whose digests are known.
    pub fn of_hashed_layers(seed: u64, kind: ImageKind, layers: Vec<(Content, Digest)>) -> Self {
        let (media_type, config_type, layer_type) = kind.types();
        let (layers, layer_digests): (Vec<Content>, Vec<Digest>) = layers.into_iter().unzip();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {"Labels": {"seed": seed.to_string()}},
            "rootfs": {"type": "layers", "diff_ids": layer_digests},
        });
        let config: Bytes = config.to_string().into();
        let config_digest = Digest::of(Algorithm::Sha256, &config);
        let descriptors: Vec<Value> = layers
            .iter()
            .zip(&layer_digests)
            .map(|(layer, digest)| json!({"mediaType": layer_type, "digest": digest, "size": layer.size()}))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": {"mediaType": config_type, "digest": config_digest, "size": config.len()},
            "layers": descriptors,
        });
        let manifest: Bytes = manifest.to_string().into();
        let digest = Digest::of(Algorithm::Sha256, &manifest);
        let blobs = std::iter::once(config_digest)
            .chain(layer_digests)
            .collect();
        Self {
            layers,
            config,
            media_type,
            manifest,
            digest,
            blobs,
        }
    }

    /// Pushes the blobs, one after another, and then the manifest.
    pub async fn push(
        &self,
        client: &Client,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ClientError> {
        self.push_blobs(client, repository).await?;
        self.push_manifest(client, repository, reference).await
    }

    /// Pushes the config and the layers.
    pub async fn push_blobs(
        &self,
        client: &Client,
        repository: &RepositoryName,
    ) -> Result<(), ClientError> {
        let config = RequestBody::bytes(self.config.clone());
        let bodies = std::iter::once(config).chain(self.layers.iter().map(Content::body));
        for (digest, body) in self.blobs.iter().zip(bodies) {
            client.push_blob(repository, digest, body).await?;
        }
        Ok(())
    }

    /// Pushes the manifest only.
    ///
    /// # Panics
    /// When the registry names another digest.
    pub async fn push_manifest(
        &self,
        client: &Client,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ClientError> {
        let pushed = client
            .put_manifest(
                repository,
                reference,
                &self.media_type,
                self.manifest.clone(),
            )
            .await?;
        assert_eq!(
            pushed.digest.as_ref(),
            Some(&self.digest),
            "the digest of the answer"
        );
        Ok(())
    }

    /// Pulls the manifest and every blob, and compares.
    ///
    /// # Panics
    /// When the manifest is another one.
    pub async fn pull(
        &self,
        client: &Client,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ClientError> {
        let manifest = client.get_manifest(repository, reference).await?;
        assert_eq!(
            manifest.bytes, self.manifest,
            "the manifest of {repository} {reference}"
        );
        assert_eq!(manifest.media_type, self.media_type, "its type");
        for digest in &self.blobs {
            client
                .pull_verified(repository, digest)
                .await?
                .drain()
                .await?;
        }
        Ok(())
    }
}
