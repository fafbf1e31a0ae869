//! Whether anything has been committed since: what was read before and is not, need not be read again.
//!
//! SQLite keeps the head of its write-ahead log in memory that all processes share, the file `-shm` beside the database. Every commit changes it,
//! whoever makes it, before it is acknowledged; whoever begins to read looks there for where the log ends. So if it is what it was before something
//! was read, reading it again would find the same. (<https://www.sqlite.org/walformat.html>, section 2.1.) What a server has instead is the business
//! of [`Snapshots`](crate::postgres::Snapshots).

use std::fmt::{self, Debug, Formatter};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

/// The bytes of the head, which is there twice: a writer changes the second one first.
const HEAD_BYTES: usize = 48;

/// Where the head counts transactions, in the byte order of the machine.
const CHANGES: Range<usize> = 8..12;

/// Where the head says that it has been made.
const IS_INITIALISED: usize = 12;

/// The content of a database, as against what it is after the next commit. Only good for comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub(crate) Moment);

/// What tells one moment from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Of a SQLite file: the head of its log.
    File([u8; HEAD_BYTES]),
    /// Of a server: what its snapshot hashes to, of the pool with this number.
    Server { pool: u64, snapshot: [u8; 44] },
}

impl Epoch {
    /// How many transactions a file has counted.
    fn changes(&self) -> Option<u32> {
        match &self.0 {
            Moment::File(head) => {
                let bytes = head.get(CHANGES)?.try_into().ok()?;
                Some(u32::from_ne_bytes(bytes))
            }
            Moment::Server { .. } => None,
        }
    }

    /// Whether exactly one transaction lies between the two.
    fn is_next_of(&self, before: &Self) -> bool {
        matches!((before.changes(), self.changes()), (Some(before), Some(now)) if before.wrapping_add(1) == now)
    }
}

/// The epochs of a moment. None where they cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochsNow {
    /// That of everything.
    pub content: Option<Epoch>,
    /// That of what no push changes, like repositories and whose they are: in a file it outlasts pushes.
    pub repositories: Option<Epoch>,
}

/// Where the epochs of a SQLite database are read, while this process has it open.
pub(crate) struct Epochs {
    shared: Mutex<Option<Shared>>,
    lasting: Mutex<Option<Lasting>>,
}

/// An epoch that lasts while nothing is committed but what pushes of this process change.
#[derive(Clone, Copy)]
struct Lasting {
    began: Epoch,
    /// The epoch of the last such commit.
    now: Epoch,
}

struct Shared {
    file: File,
    /// Asks nothing. The file goes with the last connection, and the next one makes another: this one stays.
    _connection: Connection,
}

impl Debug for Epochs {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Epochs").finish_non_exhaustive()
    }
}

impl Epochs {
    /// Those of the database in this file, which the connection has read from.
    pub(crate) fn of(database: &Path, connection: Connection) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        let shared = File::open(path).ok().map(|file| Shared {
            file,
            _connection: connection,
        });
        Self {
            shared: Mutex::new(shared),
            lasting: Mutex::new(None),
        }
    }

    /// There are none any more: this process closes the database.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Shared>> {
        // A file is whole whoever panicked.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of this moment; none while one ends, or when it cannot be read. Costs a short call to the kernel, which waits for no disk.
    pub(crate) fn now(&self) -> Option<Epoch> {
        let mut heads = [0; 2 * HEAD_BYTES];
        let shared = self.lock();
        shared.as_ref()?.file.read_exact_at(&mut heads, 0).ok()?;
        drop(shared);
        let (first, second) = heads.split_at(HEAD_BYTES);
        let whole = first == second && first.get(IS_INITIALISED) == Some(&1);
        whole
            .then(|| Some(Epoch(Moment::File(first.try_into().ok()?))))
            .flatten()
    }

    /// The epoch of this moment, and that of what no push changes: the same after a commit that [`Epochs::only_pushed`] was told of in time.
    pub(crate) fn both(&self) -> EpochsNow {
        let content = self.now();
        EpochsNow {
            content,
            repositories: content.map(|now| self.lasting(now)),
        }
    }

    fn lasting(&self, now: Epoch) -> Epoch {
        let mut lasting = self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lasting.filter(|known| known.now == now);
        let known = known.unwrap_or(Lasting { began: now, now });
        *lasting = Some(known);
        known.began
    }

    /// Tells that a transaction of this process has been committed which changed nothing but what pushes change. `before` is the epoch that it began in,
    /// with the lock that lets nobody else write.
    pub(crate) fn only_pushed(&self, before: Option<Epoch>) {
        let (Some(before), Some(now)) = (before, self.now()) else {
            return;
        };
        // Somebody else may have committed just behind it.
        if !now.is_next_of(&before) {
            return;
        }
        let mut lasting = self.lasting.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have looked already, and found an epoch that nothing is known of.
        if let Some(known) = lasting.as_mut().filter(|known| known.now == before) {
            known.now = now;
        }
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
        let began = here.epochs_at_hand().content.expect("the database is open");
        let nobody = RepositoryPath {
            namespace: "nobody".to_owned(),
            name: "nothing".to_owned(),
        };
        here.find_repository(&nobody).await.unwrap();
        there.ping_for_writes().await.unwrap();
        assert_eq!(
            here.epochs_at_hand().content,
            Some(began),
            "reading changes nothing"
        );
        let commit = async |database: &Database| {
            let before = here.epochs_at_hand().content;
            let statement = "UPDATE teamrole SET name = name";
            let changed = database.execute("change something", statement, vec![]);
            assert!(changed.await.unwrap() > 0);
            assert_ne!(here.epochs_at_hand().content, before);
        };
        for _ in 0..100 {
            commit(&here).await;
            commit(&there).await;
        }
    }

    #[tokio::test]
    async fn an_epoch_of_repositories_outlasts_pushes_and_nothing_else() {
        const CHANGE: &str = "UPDATE teamrole SET name = name";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let (here, there) = (open(&path).await, open(&path).await);
        here.migrate().await.unwrap();
        let commit = async |database: &Database| {
            let changed = database.execute("change something", CHANGE, vec![]);
            assert!(changed.await.unwrap() > 0);
        };
        let push = async || {
            let epochs = here.epochs().unwrap();
            let transaction = here.begin("push").await.unwrap();
            let before = epochs.now();
            transaction.execute("push", CHANGE, vec![]).await.unwrap();
            transaction.commit().await.unwrap();
            move || epochs.only_pushed(before)
        };
        let began = here.epochs_at_hand().repositories;
        assert!(began.is_some());
        for _ in 0..100 {
            (push().await)();
            assert_eq!(here.epochs_at_hand().repositories, began);
        }
        for other in [&here, &there] {
            let before = here.epochs_at_hand().repositories;
            commit(other).await;
            (push().await)();
            assert_ne!(
                here.epochs_at_hand().repositories,
                before,
                "two commits, one push"
            );
            // Behind the push and before anybody was told that it was one.
            let before = here.epochs_at_hand().repositories;
            let told = push().await;
            commit(other).await;
            told();
            assert_ne!(here.epochs_at_hand().repositories, before);
            // Looked at in between.
            let told = push().await;
            let between = here.epochs_at_hand().repositories;
            told();
            assert_eq!(here.epochs_at_hand().repositories, between);
        }
    }

    #[tokio::test]
    async fn a_log_that_was_begun_anew_is_another_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registry.db");
        let database = open(&path).await;
        database.migrate().await.unwrap();
        let before = database.epochs_at_hand().content;
        assert!(before.is_some());
        // With the last connection the log goes into the database, and its shared memory away.
        database.close().await;
        assert_eq!(database.epochs_at_hand().content, None);
        let again = open(&path).await;
        again.ping().await.unwrap();
        assert!(again.epochs_at_hand().content.is_some());
        assert_ne!(again.epochs_at_hand().content, before);
    }
}
