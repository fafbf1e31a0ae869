//! What lies in a location's directory, looked at from outside: Quay's key layout, read with plain file calls.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use roadstead_oci::{Algorithm, Digest, Digester};

/// A location's directory.
#[derive(Clone, Debug)]
pub struct StoreFiles {
    root: PathBuf,
}

impl StoreFiles {
    /// The location in this directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the object of a digest is: `sha256/ab/ab…`.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let shard = hex.get(..2).expect("a digest has at least 64 hex digits");
        self.root
            .join(digest.algorithm().as_str())
            .join(shard)
            .join(hex)
    }

    /// Every object with its size. An empty map if the directory is not there.
    ///
    /// # Panics
    /// When a file is where no object belongs.
    pub fn objects(&self) -> BTreeMap<Digest, u64> {
        let mut objects = BTreeMap::new();
        for algorithm in Algorithm::ALL {
            for shard in entries(&self.root.join(algorithm.as_str())) {
                for path in entries(&shard) {
                    let name = path
                        .file_name()
                        .and_then(|name| name.to_str())
                        .unwrap_or_default();
                    let digest: Digest = format!("{algorithm}:{name}")
                        .parse()
                        .unwrap_or_else(|error| panic!("{} is no object: {error}", path.display()));
                    assert_eq!(self.path(&digest), path, "it lies in the wrong directory");
                    // An object may be deleted between the listing and the look.
                    if let Ok(metadata) = fs::metadata(&path) {
                        objects.insert(digest, metadata.len());
                    }
                }
            }
        }
        objects
    }

    /// The objects whose bytes do not hash to their digest: none, in a healthy store. Reads everything.
    ///
    /// # Panics
    /// When an object cannot be read.
    pub fn damaged(&self) -> Vec<Digest> {
        self.objects()
            .into_keys()
            .filter(|digest| hash_file(&self.path(digest), digest.algorithm()) != *digest)
            .collect()
    }

    /// Uploads that are under way or were left behind: the files in `uploads`.
    pub fn staged(&self) -> Vec<PathBuf> {
        entries(&self.root.join("uploads"))
    }
}

/// The digest of a file.
fn hash_file(path: &Path, algorithm: Algorithm) -> Digest {
    let read = || -> std::io::Result<Digest> {
        let mut digester = Digester::new(algorithm);
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(digester.finish()),
                count => digester.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    };
    read().unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// The paths in a directory, sorted; none if it is not there.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_and_damage_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(directory.path());
        assert!(files.objects().is_empty() && files.staged().is_empty());
        let (good, bad) = (
            Digest::of(Algorithm::Sha256, b"good"),
            Digest::of(Algorithm::Sha512, b"bad"),
        );
        for (digest, content) in [(&good, "good"), (&bad, "not bad")] {
            let path = files.path(digest);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(
            files.objects(),
            BTreeMap::from([(good, 4), (bad.clone(), 7)])
        );
        assert_eq!(files.damaged(), [bad]);
    }
}
