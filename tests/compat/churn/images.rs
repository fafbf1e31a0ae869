//! The images that clients push again and again: few layers in many images, so that whoever deletes one meets whoever pushes another.

use std::collections::BTreeSet;

use bytes::Bytes;
use roadstead_oci::{Algorithm, Digest, MediaType};
use roadstead_testkit::{Content, Seed};
use serde_json::{Value, json};

/// Layers that images share. Few enough that an image often brings what another has just lost.
const LAYERS: u64 = 60;

/// The largest layer.
const LAYER_BYTES_MAX: u64 = 4000;

/// Images of one to three layers and a config.
const PLAIN: usize = 40;

/// Indexes of two images.
const INDEXES: usize = 8;

/// Artifacts of one layer that refer to an image.
const ARTIFACTS: usize = 8;

/// One thing that a tag can point to.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) media_type: MediaType,
    pub(crate) manifest: Bytes,
    pub(crate) digest: Digest,
    /// What it needs pushed before it.
    pub(crate) blobs: Vec<(Digest, Bytes)>,
    /// The images of an index, by their number.
    pub(crate) children: Vec<usize>,
}

/// All of them; an image is called by its number.
#[derive(Debug)]
pub(crate) struct Images(Vec<Image>);

impl Images {
    /// The images of a seed.
    pub(crate) fn new(seed: &Seed) -> Self {
        let layers: Vec<Bytes> = (0..LAYERS)
            .map(|number| {
                let size = 1 + seed.below(LAYER_BYTES_MAX);
                Content::new(seed.number() * 1000 + number, size).bytes()
            })
            .collect();
        let mut images = Self(Vec::new());
        for number in 0..PLAIN {
            let mut chosen = BTreeSet::new();
            for _ in 0..=seed.below(3) {
                chosen.insert(draw(seed, layers.len()));
            }
            let layers = chosen.into_iter().map(|layer| layers[layer].clone());
            images.0.push(plain(number, layers.collect()));
        }
        for _ in 0..INDEXES {
            let first = draw(seed, PLAIN);
            let second = (first + 1 + draw(seed, PLAIN - 1)) % PLAIN;
            images.0.push(images.index(vec![first, second]));
        }
        for _ in 0..ARTIFACTS {
            let (subject, layer) = (draw(seed, PLAIN), draw(seed, layers.len()));
            images.0.push(images.artifact(subject, &layers[layer]));
        }
        images
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The image of a number.
    pub(crate) fn get(&self, number: usize) -> &Image {
        &self.0[number]
    }

    /// The digests of all blobs that a pull of an image reads.
    pub(crate) fn blobs_below(&self, number: usize) -> BTreeSet<Digest> {
        let image = self.get(number);
        let own = image.blobs.iter().map(|(digest, _)| digest.clone());
        let children = image.children.iter();
        own.chain(children.flat_map(|child| self.blobs_below(*child)))
            .collect()
    }

    fn index(&self, children: Vec<usize>) -> Image {
        let manifests: Vec<Value> = children
            .iter()
            .map(|child| {
                let image = self.get(*child);
                json!({"mediaType": image.media_type, "digest": image.digest, "size": image.manifest.len()})
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests,
        });
        Image {
            children,
            ..image(MediaType::OCI_INDEX, &manifest, Vec::new())
        }
    }

    fn artifact(&self, subject: usize, layer: &Bytes) -> Image {
        let subject = self.get(subject);
        let (config, layer) = (blob(Bytes::from_static(b"{}")), blob(layer.clone()));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/vnd.example.note",
            "config": descriptor("application/vnd.oci.empty.v1+json", &config),
            "layers": [descriptor("application/vnd.example.note", &layer)],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.manifest.len()},
            "annotations": {"org.example.kind": "note"},
        });
        image(MediaType::OCI_MANIFEST, &manifest, vec![config, layer])
    }
}

fn plain(number: usize, layers: Vec<Bytes>) -> Image {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"number": number.to_string()}},
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    let (media_type, config_type, layer_type) = if number.is_multiple_of(3) {
        (
            MediaType::DOCKER_MANIFEST,
            MediaType::DOCKER_CONFIG,
            MediaType::DOCKER_LAYER_GZIP,
        )
    } else {
        (
            MediaType::OCI_MANIFEST,
            MediaType::OCI_CONFIG,
            MediaType::OCI_LAYER_GZIP,
        )
    };
    let config = blob(config.to_string().into());
    let layers: Vec<(Digest, Bytes)> = layers.into_iter().map(blob).collect();
    let described: Vec<Value> = layers
        .iter()
        .map(|layer| descriptor(layer_type.as_str(), layer))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": descriptor(config_type.as_str(), &config), "layers": described,
    });
    let blobs = std::iter::once(config).chain(layers).collect();
    image(media_type, &manifest, blobs)
}

fn image(media_type: MediaType, manifest: &Value, blobs: Vec<(Digest, Bytes)>) -> Image {
    let manifest: Bytes = manifest.to_string().into();
    let digest = Digest::of(Algorithm::Sha256, &manifest);
    Image {
        media_type,
        manifest,
        digest,
        blobs,
        children: Vec::new(),
    }
}

fn blob(bytes: Bytes) -> (Digest, Bytes) {
    (Digest::of(Algorithm::Sha256, &bytes), bytes)
}

fn descriptor(media_type: &str, (digest, bytes): &(Digest, Bytes)) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// A number below `end`.
pub(crate) fn draw(seed: &Seed, end: usize) -> usize {
    usize::try_from(seed.below(end as u64)).expect("below a usize")
}
