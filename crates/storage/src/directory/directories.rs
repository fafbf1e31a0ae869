//! Directories that survive a power cut. An entry is on the disk only when its directory was flushed too, and so on
//! up to a directory of which that is known.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Directories below one root whose own entries this process has flushed. Bounded by the layout: the uploads, one
/// folder per algorithm and 256 shards in each.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Directories {
    /// Makes `relative` below `root` where it is missing, and flushes the entries that lead to it. Never makes `root`.
    pub(crate) fn ensure(&self, root: &Path, relative: &str) -> io::Result<PathBuf> {
        let mut parent = root.to_path_buf();
        for part in relative.split('/') {
            let path = parent.join(part);
            let made = match fs::create_dir(&path) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(error),
            };
            // One that is there may have been made a moment ago by somebody who has not flushed it yet.
            if made || !self.is_durable(&path) {
                sync_directory(&parent)?;
                self.durable
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(path.clone());
            }
            parent = path;
        }
        Ok(parent)
    }

    fn is_durable(&self, path: &Path) -> bool {
        self.durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(path)
    }
}

/// Makes `path` and what is missing above it, and flushes every entry made.
pub(crate) fn create_durably(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(error)?;
            create_durably(parent)?;
            match fs::create_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            sync_directory(parent)
        }
        Err(error) => Err(error),
    }
}

/// Flushes the entries of a directory.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // What file systems answer that have no such thing as flushing a directory.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_below_the_root_and_the_root_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let directories = Directories::default();
        let made = directories.ensure(directory.path(), "sha256/ab").unwrap();
        assert_eq!(made, directory.path().join("sha256/ab"));
        assert!(made.is_dir());
        directories.ensure(directory.path(), "sha256/ab").unwrap();

        let missing = directory.path().join("missing");
        let error = directories.ensure(&missing, "uploads").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!missing.exists());
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let directories = Directories::default();
        let made = directories.ensure(directory.path(), "sha256/ab").unwrap();
        fs::remove_dir_all(directory.path().join("sha256")).unwrap();
        directories.ensure(directory.path(), "sha256/ab").unwrap();
        assert!(made.is_dir());
    }

    #[test]
    fn a_deep_root_is_made_and_making_it_again_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a/b/c");
        create_durably(&root).unwrap();
        fs::write(root.join("kept"), b"").unwrap();
        create_durably(&root).unwrap();
        assert!(root.join("kept").exists());

        let error = create_durably(&root.join("kept/below")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
