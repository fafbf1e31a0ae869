//! Manifests: read once, checked, kept as the bytes they came as. Whether what they refer to is there is not known here.
//!
//! Taken are OCI image manifests and indexes (artifacts are image manifests or indexes with an `artifactType`), Docker image
//! manifests of schema 2 and Docker manifest lists.

mod error;

pub use error::ManifestError;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::descriptor::{self, Budget, DescriptorFault};
use crate::json::{self, ObjectError};
use crate::{Algorithm, Descriptor, Digest, MediaType};

/// How much of a manifest is read before it is refused.
///
/// Together they bound what parsing takes, besides the bytes themselves: at the defaults about 20 MB for the worst 4 MiB
/// (nothing but the shortest descriptors, most of them annotated), for an ordinary image a few kilobytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "units and qualifiers come last")]
pub struct ManifestLimits {
    /// The most bytes. Default 4 MiB, which section "Pushing manifests" of the distribution specification expects everybody to
    /// support.
    pub bytes_max: usize,
    /// The most layers, or manifests of an index. Default 50 000: more than the 36 000 or so shortest ones that fit into 4 MiB,
    /// so it only bounds those who allow more bytes.
    pub entries_max: usize,
    /// The most annotations in the whole document, those of its descriptors included. Default 20 000, of which an index with
    /// 5000 manifests could give each four.
    pub annotations_max: usize,
    /// The most `urls` in the whole document. Default 10 000.
    pub urls_max: usize,
    /// How deep arrays and objects may be nested, in members that are not read as well. Default 64; the formats need 5, and the
    /// JSON readers of clients give up between 100 and 10 000.
    pub depth_max: usize,
}

impl Default for ManifestLimits {
    fn default() -> Self {
        Self {
            bytes_max: 4 << 20,
            entries_max: 50_000,
            annotations_max: 20_000,
            urls_max: 10_000,
            depth_max: 64,
        }
    }
}

/// What a manifest is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// A config and layers.
    Image,
    /// Manifests.
    Index,
}

/// A manifest that follows its format, with the bytes it came as. A clone copies the descriptors, not the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    media_type: MediaType,
    kind: ManifestKind,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    layers_size: u64,
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
    bytes: Bytes,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// `content_type` is what came with the bytes, if anything did; `application/json` counts as nothing. Without it the
    /// document's own `mediaType` decides, and without that its members do, taken as OCI's. Members that the formats do not know
    /// are passed over. `null` stands for a member that is missing, and for an empty list: Go's writers write it so.
    ///
    /// Takes time in proportion to the bytes, on the calling thread: microseconds for an image, some 30 ms for the worst 4 MiB.
    ///
    /// # Errors
    /// One for each way to break the format or a limit; see [`ManifestError`].
    pub fn parse(
        content_type: Option<&MediaType>,
        bytes: Bytes,
        limits: &ManifestLimits,
    ) -> Result<Self, ManifestError> {
        if bytes.len() > limits.bytes_max {
            return Err(ManifestError::TooLarge {
                bytes: bytes.len(),
                bytes_max: limits.bytes_max,
            });
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| ManifestError::NotUtf8)?;
        if json::is_deeper_than(text, limits.depth_max) {
            return Err(ManifestError::TooDeep {
                depth_max: limits.depth_max,
            });
        }
        let document = Document::read(text)?;
        let media_type = document.media_type(content_type)?;
        let kind = document.check_members(&media_type)?;
        document.check_schema_version()?;

        let mut reader = Reader {
            entries_max: limits.entries_max,
            budget: Budget {
                annotations: limits.annotations_max,
                urls: limits.urls_max,
            },
        };
        let config = reader.descriptor("config", document.config)?;
        let layers = reader.descriptors("layers", document.layers)?;
        let manifests = reader.descriptors("manifests", document.manifests)?;
        let subject = reader.descriptor("subject", document.subject)?;
        let annotations = reader
            .budget
            .annotations(document.annotations)
            .map_err(|reason| invalid("annotations", reason))?;
        let artifact_type = descriptor::read_artifact_type(document.artifact_type)
            .map_err(|reason| invalid("artifactType", reason))?;
        check_sizes_agree(config.iter().chain(&layers))?;
        check_sizes_agree(&manifests)?;
        let layers_size = sum_of_sizes(&layers)?;
        Ok(Self {
            media_type,
            kind,
            config,
            layers,
            layers_size,
            manifests,
            subject,
            artifact_type,
            annotations,
            bytes,
        })
    }

    /// The type to hand the manifest out as: its own `mediaType`, or what it was pushed as.
    pub const fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// What it is made of.
    pub const fn kind(&self) -> ManifestKind {
        self.kind
    }

    /// The bytes it came as.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its digest, computed here and now.
    pub fn digest(&self, algorithm: Algorithm) -> Digest {
        Digest::of(algorithm, &self.bytes)
    }

    /// The configuration. Every image has one and no index.
    pub const fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The layers of an image in their order, the same one more than once if it is given so. Maybe none.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The sum of the layers' sizes as given, in bytes, at most `i64::MAX`.
    pub const fn layers_size(&self) -> u64 {
        self.layers_size
    }

    /// The entries of an index in their order, the same one more than once if it is given so. Maybe none.
    pub fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// The blobs that must be there for the manifest to be whole, each digest once: the config and the layers of an image, but
    /// for the layers that clients do not push; of an index, the entries that are not manifests by their type, which is how
    /// `BuildKit` lists a build cache.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let of_image = self.config.iter().chain(&self.layers);
        let of_index = self.manifests.iter().filter(|entry| !is_child(entry));
        distinct(
            of_image
                .chain(of_index)
                .filter(|blob| !blob.media_type.is_nondistributable_layer()),
        )
    }

    /// The layers that clients do not push (non-distributable, foreign), each digest once. They may be missing; those that have
    /// been pushed all the same belong to the manifest like its other blobs, to be kept and replicated with it.
    pub fn optional_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        distinct(
            self.layers
                .iter()
                .filter(|blob| blob.media_type.is_nondistributable_layer()),
        )
    }

    /// The manifests of an index, each digest once: the entries that are manifests by their type.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        distinct(self.manifests.iter().filter(|entry| is_child(entry)))
    }

    /// The manifest that this one says something about. It need not be there.
    pub const fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// What the manifest is to those who list the referrers of its subject: its `artifactType`, or else, for an image, the type
    /// of its config (section "Listing Referrers" of the distribution specification).
    pub fn artifact_type(&self) -> Option<&str> {
        let config = || {
            self.config
                .as_ref()
                .map(|config| config.media_type.as_str())
        };
        self.declared_artifact_type().or_else(config)
    }

    /// The member `artifactType`, if it is there and not empty.
    pub fn declared_artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The annotations of the manifest itself.
    pub const fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The descriptor under which the manifest stands in the list of its subject's referrers. `digest` is the manifest's own,
    /// in the algorithm that it is known by.
    pub fn to_referrer(&self, digest: Digest) -> Descriptor {
        let mut referrer =
            Descriptor::new(self.media_type.clone(), digest, self.bytes.len() as u64);
        referrer.artifact_type = self.artifact_type().map(str::to_owned);
        referrer.annotations.clone_from(&self.annotations);
        referrer
    }
}

/// Whether an entry of an index is a manifest by its type. Schema 1 counts: an old list of such images is not a list of blobs.
fn is_child(entry: &Descriptor) -> bool {
    entry.media_type.is_manifest() || entry.media_type.is_schema1()
}

/// The first descriptor of each digest.
fn distinct<'a>(
    descriptors: impl Iterator<Item = &'a Descriptor>,
) -> impl Iterator<Item = &'a Descriptor> {
    let mut seen = HashSet::new();
    descriptors.filter(move |descriptor| seen.insert(&descriptor.digest))
}

/// The members of a manifest, unread.
struct Document<'a> {
    schema_version: Option<&'a RawValue>,
    media_type: Option<&'a RawValue>,
    config: Option<&'a RawValue>,
    layers: Option<&'a RawValue>,
    /// Present, if only as `null`, in every index.
    manifests: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    artifact_type: Option<&'a RawValue>,
    annotations: Option<&'a RawValue>,
    /// What layers are called in schema 1.
    fs_layers: Option<&'a RawValue>,
}

impl<'a> Document<'a> {
    const MEMBERS: [&'static str; 9] = [
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "subject",
        "artifactType",
        "annotations",
        "fsLayers",
    ];

    fn read(text: &'a str) -> Result<Self, ManifestError> {
        let [
            schema_version,
            media_type,
            config,
            layers,
            manifests,
            subject,
            artifact_type,
            annotations,
            fs_layers,
        ] = json::members(text, &Self::MEMBERS).map_err(|error| match error {
            ObjectError::Json(error) => ManifestError::not_json(&error),
            ObjectError::Ambiguous(reason) => invalid("the document", reason),
        })?;
        Ok(Self {
            schema_version: json::given(schema_version),
            media_type: json::given(media_type),
            config: json::given(config),
            layers: json::given(layers),
            manifests,
            subject: json::given(subject),
            artifact_type: json::given(artifact_type),
            annotations: json::given(annotations),
            fs_layers: json::given(fs_layers),
        })
    }

    /// The type that the document has by what came with it, by its own word, or by its members.
    fn media_type(&self, content_type: Option<&MediaType>) -> Result<MediaType, ManifestError> {
        let content_type = content_type.filter(|content_type| **content_type != MediaType::JSON);
        let own = match self.media_type {
            Some(value) => json::string(value).map_err(|reason| invalid("mediaType", reason))?,
            None => String::new(),
        };
        let media_type = match (content_type, own.as_str()) {
            (Some(content_type), "") => content_type.clone(),
            (Some(content_type), own) if !content_type.as_str().eq_ignore_ascii_case(own) => {
                return Err(ManifestError::media_type_mismatch(content_type, own));
            }
            (None, "") => self.guess_media_type()?,
            (_, own) => own
                .parse::<MediaType>()
                .map_err(|error| invalid("mediaType", error.to_string()))?,
        };
        if media_type.is_schema1() {
            return Err(ManifestError::Schema1);
        }
        // As the format writes it, should the client have written it in upper case.
        media_type
            .as_manifest()
            .ok_or(ManifestError::UnsupportedMediaType { media_type })
    }

    fn guess_media_type(&self) -> Result<MediaType, ManifestError> {
        if self.fs_layers.is_some() {
            return Err(ManifestError::Schema1);
        }
        match (self.config.or(self.layers), self.manifests) {
            (Some(_), manifests) if json::given(manifests).is_some() => {
                Err(ManifestError::ImageAndIndex)
            }
            (Some(_), _) => Ok(MediaType::OCI_MANIFEST),
            (None, Some(_)) => Ok(MediaType::OCI_INDEX),
            (None, None) => Err(ManifestError::NoMediaType),
        }
    }

    /// Checks that the document has what its kind needs and nothing of the other kinds, so that nobody can take it for another.
    fn check_members(&self, media_type: &MediaType) -> Result<ManifestKind, ManifestError> {
        let missing = |member| {
            Err(ManifestError::MissingMember {
                media_type: media_type.clone(),
                member,
            })
        };
        let is_index = media_type.is_index();
        let of_image = self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        let of_index = json::given(self.manifests).is_some() || self.fs_layers.is_some();
        match is_index {
            true if of_image => Err(ManifestError::ImageAndIndex),
            false if of_index => Err(ManifestError::ImageAndIndex),
            true if self.manifests.is_none() => missing("manifests"),
            true => Ok(ManifestKind::Index),
            false if self.config.is_none() => missing("config"),
            false => Ok(ManifestKind::Image),
        }
    }

    fn check_schema_version(&self) -> Result<(), ManifestError> {
        match self.schema_version.map(RawValue::get) {
            Some("2") => Ok(()),
            Some("1") => Err(ManifestError::Schema1),
            Some(_) => Err(invalid("schemaVersion", "must be 2".to_owned())),
            None => Err(invalid(
                "schemaVersion",
                "is missing; it must be 2".to_owned(),
            )),
        }
    }
}

/// Reads descriptors and says where in the document they are wrong.
struct Reader {
    entries_max: usize,
    budget: Budget,
}

impl Reader {
    fn descriptor(
        &mut self,
        member: &'static str,
        value: Option<&RawValue>,
    ) -> Result<Option<Descriptor>, ManifestError> {
        json::given(value)
            .map(|value| descriptor::read(value, &mut self.budget))
            .transpose()
            .map_err(|fault| invalid_descriptor(member.to_owned(), fault))
    }

    fn descriptors(
        &mut self,
        member: &'static str,
        value: Option<&RawValue>,
    ) -> Result<Vec<Descriptor>, ManifestError> {
        let Some(value) = json::given(value) else {
            return Ok(Vec::new());
        };
        let entries =
            json::array(value, self.entries_max).map_err(|reason| invalid(member, reason))?;
        entries
            .into_iter()
            .enumerate()
            .map(|(index, entry)| {
                descriptor::read(entry, &mut self.budget)
                    .map_err(|fault| invalid_descriptor(format!("{member}[{index}]"), fault))
            })
            .collect()
    }
}

fn invalid(path: &str, reason: String) -> ManifestError {
    ManifestError::Invalid {
        path: path.to_owned(),
        reason,
    }
}

fn invalid_descriptor(
    mut path: String,
    DescriptorFault { member, fault }: DescriptorFault,
) -> ManifestError {
    if !member.is_empty() {
        path.push('.');
        path.push_str(member);
    }
    ManifestError::Invalid {
        path,
        reason: fault,
    }
}

/// Refuses a document that gives one content two sizes: one of them is a lie.
fn check_sizes_agree<'a>(
    descriptors: impl IntoIterator<Item = &'a Descriptor>,
) -> Result<(), ManifestError> {
    let mut sizes = HashMap::new();
    for Descriptor { digest, size, .. } in descriptors {
        if *sizes.entry(digest).or_insert(size) != size {
            return Err(ManifestError::SizesDisagree {
                digest: digest.clone(),
            });
        }
    }
    Ok(())
}

fn sum_of_sizes(layers: &[Descriptor]) -> Result<u64, ManifestError> {
    layers
        .iter()
        .try_fold(0_u64, |sum, layer| sum.checked_add(layer.size))
        .filter(|sum| i64::try_from(*sum).is_ok())
        .ok_or_else(|| invalid("layers", "have more than 2^63-1 bytes together".to_owned()))
}

#[cfg(test)]
mod tests;
