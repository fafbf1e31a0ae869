//! The image that the demo pushes: an index over three platforms, with layers that are real archives of random bytes.

use bytes::Bytes;
use roadstead_oci::{Algorithm, Digest, MediaType};
use roadstead_runtime::Ids;
use serde_json::{Value, json};

/// One layer: 6 MiB, so that the image has about 42.
const LAYER_BYTES: usize = 6 << 20;

const PLATFORMS: [&str; 3] = ["amd64", "arm64", "s390x"];

/// A piece of the image: what it is, and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) media_type: MediaType,
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
}

/// An image for several platforms.
#[derive(Debug)]
pub(crate) struct Image {
    /// Layers and configurations.
    pub(crate) blobs: Vec<Piece>,
    /// One manifest a platform.
    pub(crate) manifests: Vec<Piece>,
    pub(crate) index: Piece,
}

impl Image {
    /// Makes one: a base layer that all platforms share, and two of their own each.
    pub(crate) fn make(ids: &dyn Ids) -> Self {
        let base = layer(ids, "usr/share/base.bin");
        let mut blobs = vec![base.clone()];
        let mut manifests = Vec::new();
        let mut entries = Vec::new();
        for architecture in PLATFORMS {
            let layers = [
                base.clone(),
                layer(ids, &format!("usr/lib/{architecture}.bin")),
                layer(ids, &format!("opt/{architecture}/app.bin")),
            ];
            let config = json_piece(
                MediaType::OCI_CONFIG,
                &json!({
                    "architecture": architecture,
                    "os": "linux",
                    "config": {},
                    "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest.as_str()).collect::<Vec<_>>()},
                }),
            );
            let manifest = json_piece(
                MediaType::OCI_MANIFEST,
                &json!({
                    "schemaVersion": 2,
                    "mediaType": MediaType::OCI_MANIFEST.as_str(),
                    "config": descriptor(&config),
                    "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
                }),
            );
            let mut entry = descriptor(&manifest);
            entry["platform"] = json!({"architecture": architecture, "os": "linux"});
            entries.push(entry);
            let [_, second, third] = layers;
            blobs.extend([second, third, config]);
            manifests.push(manifest);
        }
        let index = json_piece(
            MediaType::OCI_INDEX,
            &json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OCI_INDEX.as_str(),
                "manifests": entries,
            }),
        );
        Self {
            blobs,
            manifests,
            index,
        }
    }

    /// Everything together, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.blobs
            .iter()
            .chain(&self.manifests)
            .chain([&self.index])
            .map(|piece| piece.bytes.len() as u64)
            .sum()
    }
}

fn descriptor(piece: &Piece) -> Value {
    json!({
        "mediaType": piece.media_type.as_str(),
        "digest": piece.digest.as_str(),
        "size": piece.bytes.len(),
    })
}

fn json_piece(media_type: MediaType, document: &Value) -> Piece {
    piece(media_type, Bytes::from(document.to_string()))
}

fn piece(media_type: MediaType, bytes: Bytes) -> Piece {
    Piece {
        media_type,
        digest: Digest::of(Algorithm::Sha256, &bytes),
        bytes,
    }
}

/// An archive with one file of random bytes.
fn layer(ids: &dyn Ids, path: &str) -> Piece {
    let mut content = vec![0; LAYER_BYTES];
    ids.fill(&mut content);
    let mut archive = tar_header(path, LAYER_BYTES).to_vec();
    archive.append(&mut content);
    // Files are padded to whole blocks of 512 bytes, which LAYER_BYTES is; two empty blocks end the archive.
    archive.resize(archive.len() + 1024, 0);
    piece(MediaType::OCI_LAYER, Bytes::from(archive))
}

/// The header of a plain file (POSIX.1-1988 `ustar`).
fn tar_header(path: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    // While the checksum is computed its own field counts as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadstead_oci::{Manifest, ManifestLimits};
    use roadstead_runtime::SeededIds;

    #[test]
    fn the_image_is_one_that_a_registry_accepts_and_every_layer_is_in_its_blobs() {
        let image = Image::make(&SeededIds::new(1));
        assert!((40 << 20..50 << 20).contains(&image.size()));
        let index =
            Manifest::parse(None, image.index.bytes.clone(), &ManifestLimits::default()).unwrap();
        assert_eq!(index.children().count(), PLATFORMS.len());
        for piece in &image.manifests {
            let manifest =
                Manifest::parse(None, piece.bytes.clone(), &ManifestLimits::default()).unwrap();
            assert!(
                manifest
                    .blobs()
                    .all(|blob| image.blobs.iter().any(|piece| piece.digest == blob.digest))
            );
        }
    }

    #[test]
    fn a_layer_begins_with_a_header_whose_checksum_is_right() {
        let header = tar_header("usr/share/base.bin", LAYER_BYTES);
        let stated = std::str::from_utf8(&header[148..154]).unwrap();
        let sum: u32 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        assert_eq!(u32::from_str_radix(stated, 8).unwrap(), sum);
    }
}
