//! What lies in the repository and what is pushed into it: the same in every run.

use roadstead_benches::client::Client;
use roadstead_benches::content::Hashed;
use roadstead_oci::MediaType;
use serde_json::{Value, json};

/// How many tags there are.
pub(crate) const TAGS: u64 = 100;

/// The layers of 4 KiB: with them a manifest has about 2 KiB.
const SMALL_LAYERS: u64 = 10;

/// What lies in the repository.
#[derive(Debug)]
pub(crate) struct Content {
    config: Hashed,
    /// Layers of 4 KiB.
    pub(crate) small: Vec<Hashed>,
    /// A layer of 1 MiB.
    pub(crate) large: Hashed,
}

impl Content {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {"Labels": {"org.opencontainers.image.title": "app"}},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        Self {
            config: Hashed::new(config.to_string().into_bytes()),
            small: (1..=SMALL_LAYERS)
                .map(|seed| Hashed::of_chance(seed, 4 << 10))
                .collect(),
            large: Hashed::of_chance(0, 1 << 20),
        }
    }

    /// The manifest of an image of all layers. No two numbers give the same.
    pub(crate) fn manifest(&self, number: u64) -> Hashed {
        let layers: Vec<Value> = std::iter::once(&self.large)
            .chain(&self.small)
            .map(|layer| layer.descriptor(&MediaType::OCI_LAYER_GZIP))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
            "config": self.config.descriptor(&MediaType::OCI_CONFIG),
            "layers": layers,
            "annotations": {"org.opencontainers.image.version": number.to_string()},
        });
        Hashed::new(manifest.to_string().into_bytes())
    }

    /// Pushes all of it: the blobs, and an image for each tag.
    pub(crate) fn push(&self, client: &mut Client) {
        for blob in [&self.config, &self.large].into_iter().chain(&self.small) {
            client.push_blob(blob);
        }
        for number in 0..TAGS {
            client.push_manifest(&tag(number), &self.manifest(number));
        }
    }
}

/// The tag of an image.
pub(crate) fn tag(number: u64) -> String {
    format!("v{number}")
}
