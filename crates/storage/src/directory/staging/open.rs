//! Opening a staged file so that no other process writes to it: with the file system's advisory lock, which is not waited for.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Failure, StorageErrorKind};

/// How often a file may be swapped under us before that counts as another writer.
const ATTEMPTS: u32 = 3;

/// An open file whose lock is given back when it is dropped. Closing it alone would not do that while a child process that is just
/// being started by another thread holds a copy of the descriptor: the lock belongs to all copies.
#[derive(Debug)]
pub(crate) struct LockedFile(File);

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // A file system without locks says so, and then there is nothing to give back.
        self.0.unlock().ok();
    }
}

/// Opens the staged file at `path` for writing and locks it. `None` when there is none and none is to be made.
pub(crate) fn open_locked(path: &Path, create: bool) -> Result<Option<LockedFile>, Failure> {
    for _ in 0..ATTEMPTS {
        let file = match OpenOptions::new()
            .write(true)
            .create(create)
            .truncate(false)
            .open(path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageErrorKind::Busy.into()),
            // A file system without locks: the session in the database is the only guard there.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Between opening and locking, another process may have published this very file. Writing to it then would
        // damage an object.
        let file = LockedFile(file);
        if is_at(&file, path)? {
            return Ok(Some(file));
        }
    }
    Err(StorageErrorKind::Busy.into())
}

/// Whether `path` still leads to `file`.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok(there.dev() == ours.dev() && there.ino() == ours.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_published_while_it_was_being_opened_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (staged, object) = (
            directory.path().join("staged"),
            directory.path().join("object"),
        );
        let file = open_locked(&staged, true).unwrap().unwrap();
        assert!(is_at(&file, &staged).unwrap());
        fs::rename(&staged, &object).unwrap();
        assert!(!is_at(&file, &staged).unwrap());
        fs::write(&staged, b"another").unwrap();
        assert!(!is_at(&file, &staged).unwrap());
    }

    #[test]
    fn a_locked_file_is_busy_until_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("staged");
        assert!(open_locked(&path, false).unwrap().is_none());
        let file = open_locked(&path, true).unwrap().unwrap();
        assert_eq!(
            open_locked(&path, true).unwrap_err().kind,
            StorageErrorKind::Busy
        );
        drop(file);
        assert!(open_locked(&path, false).unwrap().is_some());
    }

    #[test]
    fn a_copy_of_the_descriptor_in_a_child_process_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("staged");
        let file = open_locked(&path, true).unwrap().unwrap();
        let copy = file.try_clone().unwrap();
        drop(file);
        assert!(open_locked(&path, false).unwrap().is_some());
        drop(copy);
    }
}
