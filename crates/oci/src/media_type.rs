//! Media types: their grammar, and those that the OCI and Docker formats define. Negotiating them is the API's business.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::ErrorCode;
use crate::text::{excerpt, serde_as_text};

/// A media type, `type/subtype`, by the naming rules of RFC 6838 section 4.2; in a descriptor there may be parameters behind it.
///
/// It is kept and compared as it was written. The types of the OCI and Docker formats, which are the associated constants, are
/// recognised in upper case as well, since media types have none (RFC 2045 section 5.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Cow<'static, str>);

/// Declares the known types: constants, and the table by which parsing avoids keeping copies of them.
macro_rules! known_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl MediaType {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($text));)*
        }

        /// Every known type.
        const KNOWN: &[&str] = &[$($text),*];
    };
}

known_types! {
    /// OCI image manifest: a config and layers.
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index: a list of manifests.
    OCI_INDEX = "application/vnd.oci.image.index.v1+json";
    /// OCI image configuration.
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
    /// OCI layer.
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// OCI layer that is not to be pushed.
    OCI_LAYER_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// OCI layer that is not to be pushed, gzip.
    OCI_LAYER_NONDISTRIBUTABLE_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    /// OCI layer that is not to be pushed, zstd.
    OCI_LAYER_NONDISTRIBUTABLE_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    /// OCI: the blob `{}`, where a descriptor is needed and there is nothing to describe.
    OCI_EMPTY = "application/vnd.oci.empty.v1+json";
    /// OCI content descriptor.
    OCI_DESCRIPTOR = "application/vnd.oci.descriptor.v1+json";
    /// OCI image layout header.
    OCI_LAYOUT_HEADER = "application/vnd.oci.layout.header.v1+json";
    /// Docker image manifest, schema 2.
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image manifest, schema 1.
    DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker image manifest, schema 1, signed.
    DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// Docker image configuration.
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
    /// Docker plugin configuration.
    DOCKER_PLUGIN_CONFIG = "application/vnd.docker.plugin.v1+json";
    /// Docker layer.
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd.
    DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Docker layer that is not to be pushed.
    DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// Docker layer that is not to be pushed, gzip.
    DOCKER_LAYER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    /// JSON that says no more about itself.
    JSON = "application/json";
    /// Bytes that say no more about themselves.
    OCTET_STREAM = "application/octet-stream";
}

impl MediaType {
    /// The most characters of the type, and of the subtype (RFC 6838 section 4.2).
    pub const NAME_LENGTH_MAX: usize = 127;

    /// The most characters of the whole, parameters included: twice the above and a slash, which is also what Quay's columns hold.
    pub const LENGTH_MAX: usize = 255;

    /// The types of manifests that can be pushed, best first.
    pub const MANIFESTS: [Self; 4] = [
        Self::OCI_MANIFEST,
        Self::OCI_INDEX,
        Self::DOCKER_MANIFEST,
        Self::DOCKER_MANIFEST_LIST,
    ];

    /// Reads the value of a `Content-Type` header. Parameters such as `; charset=utf-8` are dropped, as section "Pushing
    /// manifests" of the distribution specification asks.
    ///
    /// # Errors
    /// As `FromStr`.
    pub fn from_header(value: &str) -> Result<Self, MediaTypeError> {
        value.split(';').next().unwrap_or_default().trim().parse()
    }

    /// The type as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a list of manifests: OCI image index or Docker manifest list.
    pub fn is_index(&self) -> bool {
        self.is_any(&[Self::OCI_INDEX, Self::DOCKER_MANIFEST_LIST])
    }

    /// Whether this is an image manifest: OCI or Docker schema 2.
    pub fn is_image_manifest(&self) -> bool {
        self.is_any(&[Self::OCI_MANIFEST, Self::DOCKER_MANIFEST])
    }

    /// Whether this is a manifest that can be pushed: one of [`MediaType::MANIFESTS`].
    pub fn is_manifest(&self) -> bool {
        self.is_any(&Self::MANIFESTS)
    }

    /// The type of [`MediaType::MANIFESTS`] that this is, in whatever case it was written.
    pub(crate) fn as_manifest(&self) -> Option<Self> {
        Self::MANIFESTS
            .into_iter()
            .find(|manifest| self.is_any(std::slice::from_ref(manifest)))
    }

    /// Whether this is a Docker manifest of schema 1, which is not taken any more.
    pub fn is_schema1(&self) -> bool {
        self.is_any(&[Self::DOCKER_SCHEMA1, Self::DOCKER_SCHEMA1_SIGNED])
    }

    /// Whether this is a layer that clients do not push: OCI's "non-distributable", Docker's "foreign".
    pub fn is_nondistributable_layer(&self) -> bool {
        self.is_any(&[
            Self::OCI_LAYER_NONDISTRIBUTABLE,
            Self::OCI_LAYER_NONDISTRIBUTABLE_GZIP,
            Self::OCI_LAYER_NONDISTRIBUTABLE_ZSTD,
            Self::DOCKER_LAYER_FOREIGN,
            Self::DOCKER_LAYER_FOREIGN_GZIP,
        ])
    }

    fn is_any(&self, types: &[Self]) -> bool {
        types
            .iter()
            .any(|other| self.0.eq_ignore_ascii_case(&other.0))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MediaType({})", self.0)
    }
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    /// Reads a type. Parameters are let pass and kept: RFC 6838 names have none, but tools write them into descriptors (old
    /// Sigstore bundles have `;version=0.2`), and the registry only hands them on.
    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        if let Some(known) = KNOWN.iter().find(|known| **known == text) {
            return Ok(Self(Cow::Borrowed(known)));
        }
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subtype) = name
            .split_once('/')
            .ok_or_else(|| malformed(text, "write it as type/subtype"))?;
        if ![kind, subtype].into_iter().all(is_restricted_name) {
            return Err(malformed(
                text,
                "type and subtype have 1 to 127 characters, begin with a letter or digit, and go on with those and !#$&-^_.+",
            ));
        }
        if text.len() > Self::LENGTH_MAX
            || !parameters.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        {
            return Err(malformed(
                text,
                "its parameters are too long, or not plain text",
            ));
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}
serde_as_text!(MediaType);

/// Whether the text is a `restricted-name` of RFC 6838 section 4.2.
fn is_restricted_name(text: &str) -> bool {
    let rest = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'&' | b'-' | b'^' | b'_' | b'.' | b'+'
            )
    };
    text.len() <= MediaType::NAME_LENGTH_MAX
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(rest)
}

fn malformed(text: &str, reason: &'static str) -> MediaTypeError {
    MediaTypeError::Malformed {
        media_type: excerpt(text),
        reason,
    }
}

/// Why a text is not a media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    /// The text breaks the grammar.
    #[error("media type {media_type} is malformed: {reason}")]
    Malformed {
        /// The text, quoted and cut.
        media_type: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl MediaTypeError {
    /// The code to answer a client with: media types are only read with manifests.
    #[expect(
        clippy::unused_self,
        reason = "each error says its code, those with one code for all as well"
    )]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::ManifestInvalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_types_are_well_formed_and_not_copied() {
        for known in KNOWN {
            let (kind, subtype) = known.split_once('/').unwrap();
            assert!(
                is_restricted_name(kind) && is_restricted_name(subtype),
                "{known}"
            );
            assert!(
                matches!(known.parse::<MediaType>().unwrap().0, Cow::Borrowed(_)),
                "{known}"
            );
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let table: [(MediaType, [bool; 5]); 9] = [
            // index, image, manifest, schema 1, non-distributable
            (MediaType::OCI_MANIFEST, [false, true, true, false, false]),
            (
                MediaType::DOCKER_MANIFEST,
                [false, true, true, false, false],
            ),
            (MediaType::OCI_INDEX, [true, false, true, false, false]),
            (
                MediaType::DOCKER_MANIFEST_LIST,
                [true, false, true, false, false],
            ),
            (
                MediaType::DOCKER_SCHEMA1_SIGNED,
                [false, false, false, true, false],
            ),
            (MediaType::OCI_LAYER_GZIP, [false; 5]),
            (
                MediaType::OCI_LAYER_NONDISTRIBUTABLE_GZIP,
                [false, false, false, false, true],
            ),
            (
                MediaType::DOCKER_LAYER_FOREIGN_GZIP,
                [false, false, false, false, true],
            ),
            (
                "application/vnd.OCI.image.index.v1+JSON".parse().unwrap(),
                [true, false, true, false, false],
            ),
        ];
        for (media_type, expected) in table {
            let found = [
                media_type.is_index(),
                media_type.is_image_manifest(),
                media_type.is_manifest(),
                media_type.is_schema1(),
                media_type.is_nondistributable_layer(),
            ];
            assert_eq!(found, expected, "{media_type}");
        }
    }

    #[test]
    fn types_outside_the_grammar_are_refused() {
        let long = format!("a/{}", "b".repeat(128));
        for text in [
            "",
            "/",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "a/b c",
            " a/b",
            ";c=d",
            "a/b\n",
            "a/é",
            "a/-b",
            "+a/b",
            "a/b,c/d",
            "*/*",
            long.as_str(),
        ] {
            let error = text.parse::<MediaType>().unwrap_err();
            assert_eq!(
                error.code(),
                ErrorCode::ManifestInvalid,
                "{text:?}: {error}"
            );
        }
        assert!(
            format!("{0}/{0}", "a".repeat(127))
                .parse::<MediaType>()
                .is_ok()
        );
    }

    #[test]
    fn headers_lose_their_parameters_and_descriptors_keep_them() {
        for value in [
            "application/json",
            " application/json ",
            "application/json; charset=utf-8",
            "application/json;charset=utf-8;x=\"a;b\"",
        ] {
            assert_eq!(MediaType::from_header(value).unwrap(), MediaType::JSON);
        }
        assert!(MediaType::from_header(";").is_err());
        let bundle = "application/vnd.dev.sigstore.bundle+json;version=0.2";
        assert_eq!(bundle.parse::<MediaType>().unwrap().as_str(), bundle);
        assert_eq!("a/b;".parse::<MediaType>().unwrap().as_str(), "a/b;");
        assert!("a/b;x=\n".parse::<MediaType>().is_err());
        assert!(
            format!("a/b;x={}", "y".repeat(255))
                .parse::<MediaType>()
                .is_err()
        );
        assert!(";x=y".parse::<MediaType>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in ".*") {
            if let Ok(media_type) = text.parse::<MediaType>() {
                prop_assert_eq!(media_type.as_str(), &text);
                prop_assert!(text.len() <= MediaType::LENGTH_MAX);
            }
            if let Ok(media_type) = MediaType::from_header(&text) {
                prop_assert_eq!(media_type.to_string().parse::<MediaType>().unwrap(), media_type);
            }
        }
    }
}
