//! A manifest's bytes, taken apart without our own reader of manifests.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roadstead_oci::{Algorithm, Digest};
use serde_json::Value;

/// A manifest of any kind.
#[derive(Debug)]
pub(crate) struct Body {
    json: Value,
    bytes: String,
}

impl Body {
    pub(crate) fn read(bytes: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            json: serde_json::from_str(bytes)?,
            bytes: bytes.to_owned(),
        })
    }

    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    pub(crate) fn is_schema_1(&self) -> bool {
        self.json["schemaVersion"] == 1
    }

    pub(crate) fn is_index(&self) -> bool {
        self.json["manifests"].is_array()
    }

    /// The digest of the bytes; of a signed schema 1 manifest, of what is signed.
    pub(crate) fn digest(&self) -> String {
        let signed = self.json["signatures"][0]["protected"]
            .as_str()
            .and_then(|text| {
                let protected = URL_SAFE_NO_PAD.decode(text).ok()?;
                let protected: Value = serde_json::from_slice(&protected).ok()?;
                let length = usize::try_from(protected["formatLength"].as_u64()?).ok()?;
                let tail = URL_SAFE_NO_PAD
                    .decode(protected["formatTail"].as_str()?)
                    .ok()?;
                Some([self.bytes.as_bytes().get(..length)?, &tail].concat())
            });
        let payload = signed.as_deref().unwrap_or(self.bytes.as_bytes());
        Digest::of(Algorithm::Sha256, payload).to_string()
    }

    /// What `layers_compressed_size` says: nothing for an index, 0 for schema 1, which has no sizes.
    pub(crate) fn layers_size(&self) -> Value {
        if self.is_index() {
            return Value::Null;
        }
        let layers = self.json["layers"].as_array().into_iter().flatten();
        let sizes = layers.filter_map(|layer| layer["size"].as_u64());
        sizes.sum::<u64>().into()
    }

    /// Config and layers; not layers that are to be fetched from elsewhere.
    pub(crate) fn blobs(&self) -> BTreeSet<&str> {
        let json = &self.json;
        let config = json["config"]["digest"].as_str();
        let layers = json["layers"].as_array().into_iter().flatten();
        let local = layers.filter(|layer| !is_foreign(layer));
        let digests = local.filter_map(|layer| layer["digest"].as_str());
        let schema_1 = json["fsLayers"].as_array().into_iter().flatten();
        let sums = schema_1.filter_map(|layer| layer["blobSum"].as_str());
        config.into_iter().chain(digests).chain(sums).collect()
    }

    /// The manifests that an index names.
    pub(crate) fn children(&self) -> BTreeSet<&str> {
        let children = self.json["manifests"].as_array().into_iter().flatten();
        children
            .filter_map(|child| child["digest"].as_str())
            .collect()
    }
}

/// Docker's foreign layers and OCI's non-distributable ones.
fn is_foreign(layer: &Value) -> bool {
    let media_type = layer["mediaType"].as_str().unwrap_or_default();
    media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
}
