//! Whether anything has been committed since: what was read before and is not, need not be read again.
//!
//! SQLite keeps the head of its write-ahead log in memory that all processes share, the file `-shm` beside the database. Every commit changes it,
//! whoever makes it, before it is acknowledged; whoever begins to read looks there for where the log ends. So if it is what it was before something
//! was read, reading it again would find the same. (<https://www.sqlite.org/walformat.html>, section 2.1.)

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The bytes of the head, which is there twice: a writer changes the second one first.
const HEAD_BYTES: usize = 48;

/// Where the head says that it has been made.
const IS_INITIALISED: usize = 12;

/// The content of a database, as against what it is after the next commit. Only good for comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch([u8; HEAD_BYTES]);

/// Where the epochs of a SQLite database are read.
#[derive(Debug)]
pub(crate) struct Epochs {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Epochs {
    /// Those of the database in this file. Reads nothing yet.
    pub(crate) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        Self {
            path: path.into(),
            file: Mutex::new(None),
        }
    }

    /// The epoch of this moment; none while one ends, or when it cannot be read. Costs two short calls to the kernel, which wait for no disk.
    pub(crate) fn now(&self) -> Option<Epoch> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The file goes with the last connection, and the next one makes another.
        let is_there = |file: &File| file.metadata().is_ok_and(|found| found.nlink() > 0);
        if !file.as_ref().is_some_and(is_there) {
            *file = File::open(&self.path).ok();
        }
        let mut heads = [0; 2 * HEAD_BYTES];
        file.as_ref()?.read_exact_at(&mut heads, 0).ok()?;
        let (first, second) = heads.split_at(HEAD_BYTES);
        let whole = first == second && first.get(IS_INITIALISED) == Some(&1);
        whole.then(|| first.try_into().ok().map(Epoch)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Database, DatabaseOptions, RepositoryPath};

    async fn open(path: &std::path::Path) -> Database {
        let options = DatabaseOptions::Sqlite { path: path.into() };
        Database::open(&options).await.unwrap()
    }

    #[tokio::test]
    async fn an_epoch_lasts_while_nothing_is_committed_whoever_commits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let (here, there) = (open(&path).await, open(&path).await);
        here.migrate().await.unwrap();
        let began = here.epoch().expect("the database is open");
        let nobody = RepositoryPath {
            namespace: "nobody".to_owned(),
            name: "nothing".to_owned(),
        };
        here.find_repository(&nobody).await.unwrap();
        there.ping_for_writes().await.unwrap();
        assert_eq!(here.epoch(), Some(began), "reading changes nothing");
        let commit = async |database: &Database| {
            let before = here.epoch();
            let statement = "UPDATE teamrole SET name = name";
            let changed = database.execute("change something", statement, vec![]);
            assert!(changed.await.unwrap() > 0);
            assert_ne!(here.epoch(), before);
        };
        for _ in 0..100 {
            commit(&here).await;
            commit(&there).await;
        }
    }

    #[tokio::test]
    async fn a_log_that_was_begun_anew_is_another_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let database = open(&path).await;
        database.migrate().await.unwrap();
        let looking = super::Epochs::of(&path);
        let before = looking.now();
        assert!(before.is_some());
        // With the last connection the log goes into the database, and its shared memory away.
        database.close().await;
        assert_eq!(looking.now(), None);
        let again = open(&path).await;
        again.ping().await.unwrap();
        assert!(looking.now().is_some());
        assert_ne!(looking.now(), before);
    }
}
