//! What lies in the repository and what is pushed into it.

use roadstead_benches::client::Client;
use roadstead_benches::content::Hashed;
use roadstead_oci::MediaType;
use serde_json::{Value, json};

/// How many images are pushed, and how many manifests that refer to the first of them.
pub(crate) const IMAGES: u64 = 10;

/// Layers of a large image, and the bytes of each.
const LAYERS: u64 = 5;
const LAYER_BYTES: usize = 64 << 10;

/// Blobs that images are made of.
#[derive(Debug)]
pub(crate) struct Content {
    config: Hashed,
    layer: Hashed,
}

impl Content {
    pub(crate) fn new() -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        Self {
            config: Hashed::new(config.to_string().into_bytes()),
            layer: Hashed::of_chance(0, 4 << 10),
        }
    }

    /// Pushes the blobs, ten images and what refers to the first.
    pub(crate) fn push(&self, client: &mut Client) {
        client.push_blob(&self.config);
        client.push_blob(&self.layer);
        for number in 0..IMAGES {
            client.push_manifest(&tag(number), &self.manifest(number));
        }
        for number in 0..IMAGES {
            let referrer = self.image(&[&self.layer], number, Some(&self.manifest(0)));
            client.push_manifest(&format!("w{number:07}"), &referrer);
        }
    }

    /// An image of the one small layer. No two numbers give the same.
    pub(crate) fn manifest(&self, number: u64) -> Hashed {
        self.image(&[&self.layer], number, None)
    }

    /// Pushes an image of five layers of 64 KiB that nobody has.
    pub(crate) fn push_large(&self, client: &mut Client, number: u64) {
        let layers: Vec<Hashed> = (1..=LAYERS)
            .map(|layer| Hashed::of_chance(number * (LAYERS + 1) + layer, LAYER_BYTES))
            .collect();
        for layer in &layers {
            client.push_blob(layer);
        }
        let layers: Vec<&Hashed> = layers.iter().collect();
        client.push_manifest(&format!("x{number:07}"), &self.image(&layers, number, None));
    }

    fn image(&self, layers: &[&Hashed], number: u64, subject: Option<&Hashed>) -> Hashed {
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| layer.descriptor(&MediaType::OCI_LAYER_GZIP))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
            "config": self.config.descriptor(&MediaType::OCI_CONFIG),
            "layers": layers,
            "annotations": {"org.opencontainers.image.version": number.to_string()},
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject.descriptor(&MediaType::OCI_MANIFEST);
        }
        Hashed::new(manifest.to_string().into_bytes())
    }
}

/// The tag of one of the images that are pushed first.
pub(crate) fn tag(number: u64) -> String {
    format!("v{number:07}")
}
