//! Names of objects inside a location. Callers say what they mean; only this file spells paths, so a path that leaves
//! the root cannot be said.

use std::fmt;

use roadstead_oci::{Algorithm, Digest};
use uuid::Uuid;

/// The folder of uploads that are not objects yet.
pub(crate) const UPLOADS: &str = "uploads";

/// The folder of segments in Swift, of uploads as well as of objects: `segments/<upload>/...`.
pub(crate) const SEGMENTS: &str = "segments";

/// Names one object of a location, in Quay's layout.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum ObjectKey {
    /// A blob: `<algorithm>/<first two hex digits>/<all hex digits>`.
    Blob(Digest),
    /// The staged bytes of an upload: `uploads/<uuid>`.
    Upload(Uuid),
    /// What [`crate::Location::probe`] writes: `_verify`.
    Probe,
}

impl ObjectKey {
    /// The path below the location's root, with `/` between its parts.
    pub fn path(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "{}/{}", Shard::of(digest), digest.hex()),
            Self::Upload(id) => write!(f, "{UPLOADS}/{}", id.hyphenated()),
            Self::Probe => f.write_str("_verify"),
        }
    }
}

impl From<Digest> for ObjectKey {
    fn from(digest: Digest) -> Self {
        Self::Blob(digest)
    }
}

/// One of the 256 folders that a location spreads the blobs of one algorithm over, by their first two hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Shard {
    algorithm: Algorithm,
    first_byte: u8,
}

impl Shard {
    /// The shard of blobs whose digest begins with `first_byte`.
    pub fn new(algorithm: Algorithm, first_byte: u8) -> Self {
        Self {
            algorithm,
            first_byte,
        }
    }

    /// Every shard of every algorithm, in the order of their folders.
    pub fn all() -> impl Iterator<Item = Self> {
        [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .flat_map(|algorithm| {
                (0..=u8::MAX).map(move |first_byte| Self::new(algorithm, first_byte))
            })
    }

    pub(crate) fn of(digest: &Digest) -> Self {
        let first_byte = digest
            .hex()
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .expect("a digest has at least two hex digits");
        Self::new(digest.algorithm(), first_byte)
    }

    /// The digest of the blob whose key is this path, if it is one's.
    pub(crate) fn blob_at(path: &str) -> Option<Digest> {
        let (shard, name) = path.rsplit_once('/')?;
        let (algorithm, _) = shard.split_once('/')?;
        let digest: Digest = format!("{algorithm}:{name}").parse().ok()?;
        (ObjectKey::Blob(digest.clone()).path() == path).then_some(digest)
    }

    /// The digest that a file of this shard is named after, if it is one and belongs here.
    pub(crate) fn digest_of_file(self, name: &str) -> Option<Digest> {
        let digest: Digest = format!("{}:{name}", self.algorithm).parse().ok()?;
        // Compared with the digest's own spelling, so that a file with another spelling is not taken for the object.
        (Self::of(&digest) == self && digest.hex() == name).then_some(digest)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:02x}", self.algorithm, self.first_byte)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_quay() {
        let sha256 = Digest::of(Algorithm::Sha256, b"");
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(
            ObjectKey::Blob(sha256).path(),
            "sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            ObjectKey::Blob(sha512).path(),
            "sha512/cf/cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9c\
             e47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
        );
        let id = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        assert_eq!(
            ObjectKey::Upload(id).path(),
            "uploads/01020304-0506-0708-090a-0b0c0d0e0f10"
        );
        assert_eq!(ObjectKey::Probe.path(), "_verify");
    }

    #[test]
    fn every_shard_is_listed_once_in_order() {
        let shards: Vec<Shard> = Shard::all().collect();
        assert_eq!(shards.len(), 512);
        assert!(shards.is_sorted());
        assert_eq!(shards[0].to_string(), "sha256/00");
        assert_eq!(shards[511].to_string(), "sha512/ff");
    }

    #[test]
    fn a_file_is_an_object_only_under_its_own_name_in_its_own_shard() {
        let digest = Digest::of(Algorithm::Sha256, b"layer");
        let shard = Shard::of(&digest);
        assert_eq!(shard.digest_of_file(digest.hex()), Some(digest.clone()));
        assert_eq!(shard.digest_of_file(&digest.hex().to_uppercase()), None);
        assert_eq!(shard.digest_of_file(".."), None);
        assert_eq!(shard.digest_of_file(""), None);
        let path = ObjectKey::Blob(digest.clone()).path();
        assert_eq!(Shard::blob_at(&path), Some(digest.clone()));
        for strange in [
            format!("x/{path}"),
            path.to_uppercase(),
            format!("sha256/00/{}", digest.hex()),
            String::new(),
        ] {
            assert_eq!(Shard::blob_at(&strange), None, "{strange}");
        }
        let other = Shard::new(Algorithm::Sha256, !shard.first_byte);
        assert_eq!(other.digest_of_file(digest.hex()), None);
        let other = Shard::new(Algorithm::Sha512, shard.first_byte);
        assert_eq!(other.digest_of_file(digest.hex()), None);
    }

    proptest! {
        #[test]
        fn no_key_leaves_the_root(content: Vec<u8>, id: u128) {
            for key in [
                ObjectKey::Blob(Digest::of(Algorithm::Sha256, &content)),
                ObjectKey::Blob(Digest::of(Algorithm::Sha512, &content)),
                ObjectKey::Upload(Uuid::from_u128(id)),
            ] {
                let path = key.path();
                prop_assert!(Path::new(&path).components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
