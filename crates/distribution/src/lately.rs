//! What the database has said lately about content that was pulled here, to answer pulls from: when asking it again would tell the same, and while it
//! is not available.
//!
//! It would tell the same while nothing was committed since it was asked ([`Epoch`]). An embedded database lets us know for nothing; any other is asked
//! whether that is so, once for a request and when it is likely ([`Commits`]), or else what the request wants to know. Only when it does not answer does
//! what it last said count, for as long as [`OutageOptions`] allow, and never anything about which it said that it is not there. What this registry
//! itself changes is forgotten or changed here too; what others change meanwhile is not seen, which is what the times bound. Nobody's rights are in
//! here: they are decided from tokens, and from whether a repository is public, which is believed for a shorter time.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use roadstead_metadata::{
    Blob, Epoch, EpochsNow, ManifestLookup, MetadataError, Repository, RepositoryId,
    RepositoryPath, StoredManifest,
};
use roadstead_oci::{Digest, Reference, Tag};
use roadstead_runtime::{Clock, Timestamp};

use crate::commits::Commits;
use crate::options::OutageOptions;
use crate::tags::TagPage;

/// A repository that was last looked up so long ago is likely to be asked for again, or what is in it.
const LIKELY_FOR: Duration = Duration::from_secs(2);

/// For how long an answer counts while nothing is committed: tags and the protection of uploads end at their time without a commit.
const SAME_FOR: Duration = Duration::from_secs(1);

/// What an entry is counted as besides its manifest: names, digests, a blob's placements, and the maps' own part.
const ENTRY_BYTES: usize = 512;

/// What a tag in a page takes besides its name.
const TAG_BYTES: usize = 32;

/// What of a repository's content has changed, so that nobody answers with what was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentChange {
    /// Tags were moved or deleted.
    Tags {
        /// The repository.
        repository: RepositoryId,
        /// The tags.
        tags: Vec<Tag>,
    },
    /// A manifest was deleted.
    Manifest {
        /// The repository.
        repository: RepositoryId,
        /// The manifest.
        digest: Digest,
    },
    /// A blob was deleted.
    Blob {
        /// The repository.
        repository: RepositoryId,
        /// The blob.
        digest: Digest,
    },
}

/// Is told what changes here, for other processes that remember it. It must not wait for anything.
pub trait ContentListener: Debug + Send + Sync {
    /// This has changed. The change is in the database already.
    fn content_changed(&self, change: &ContentChange);
}

/// What is remembered, bounded in number and bytes; what was confirmed the longest ago goes first.
#[derive(Debug)]
pub(crate) struct Lately {
    options: OutageOptions,
    clock: Arc<dyn Clock>,
    entries: Mutex<Entries>,
    commits: Mutex<Commits>,
    /// How many answers came from here since the database last answered.
    answers: AtomicU64,
    /// Grows with every change made here, so that what was read before it is not remembered after it.
    changes: AtomicU64,
    listener: OnceLock<Arc<dyn ContentListener>>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// The keys in the order in which they were confirmed.
    order: BTreeMap<u64, Key>,
    next: u64,
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Repository(RepositoryPath),
    Tag(RepositoryId, Tag),
    Manifest(RepositoryId, Digest),
    Blob(RepositoryId, Digest),
    /// A page of tags: behind which, and how many.
    Tags(RepositoryId, String, u32),
}

#[derive(Debug)]
struct Entry {
    value: Value,
    confirmed: Timestamp,
    /// When it was read.
    epoch: Option<Epoch>,
    place: u64,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Value {
    Repository(Box<Repository>),
    Tag(Digest),
    Manifest(StoredManifest),
    Blob(Box<Blob>),
    Tags(Arc<TagPage>),
}

/// When somebody began to ask, and what was committed by then: what is remembered from then answers them.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    since: Timestamp,
    changes: u64,
    epochs: EpochsNow,
}

impl Asked {
    fn epoch_for(&self, key: &Key) -> Option<Epoch> {
        match key {
            Key::Repository(_) => self.epochs.repositories,
            Key::Tag(..) | Key::Manifest(..) | Key::Blob(..) | Key::Tags(..) => self.epochs.content,
        }
    }
}

impl Lately {
    pub(crate) fn new(options: OutageOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            options,
            clock,
            entries: Mutex::default(),
            commits: Mutex::default(),
            answers: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            listener: OnceLock::new(),
        }
    }

    /// Has somebody told of every change made here. The first one counts.
    pub(crate) fn tell(&self, listener: Arc<dyn ContentListener>) {
        self.listener.get_or_init(|| listener);
    }

    /// To be called before the database is asked, with its epochs of that moment.
    pub(crate) fn asking(&self, epochs: EpochsNow) -> Asked {
        Asked {
            since: self.clock.now(),
            changes: self.changes.load(Ordering::Acquire),
            epochs,
        }
    }

    /// Whether a server that is asked whether anything was committed is likely to save further questions about this repository.
    pub(crate) fn worth_asking(&self, path: &RepositoryPath) -> bool {
        let now = self.clock.now();
        let entries = self.entries();
        let known = entries.by_key.get(&Key::Repository(path.clone()));
        let age = known.and_then(|entry| (now - entry.confirmed).to_std().ok());
        drop(entries);
        age.is_some_and(|age| age < LIKELY_FOR) && self.commits().worth_asking(now)
    }

    /// Takes in what a server said to that, and what was the case before it was asked.
    pub(crate) fn told(&self, before: Asked, epochs: EpochsNow) -> Asked {
        self.commits().told(epochs.content, self.clock.now());
        Asked { epochs, ..before }
    }

    /// A repository as the database would tell it now, if that is known.
    pub(crate) fn known_repository(
        &self,
        path: &RepositoryPath,
        asked: Asked,
    ) -> Option<Repository> {
        match self.known(&Key::Repository(path.clone()), asked)? {
            Value::Repository(repository) => Some(*repository),
            _ => None,
        }
    }

    /// A manifest as the database would tell it now, if that is known.
    pub(crate) fn known_manifest(
        &self,
        repository: RepositoryId,
        reference: &Reference,
        asked: Asked,
    ) -> Option<StoredManifest> {
        let mut value = match reference {
            Reference::Tag(tag) => self.known(&Key::Tag(repository, tag.clone()), asked)?,
            Reference::Digest(digest) => {
                self.known(&Key::Manifest(repository, digest.clone()), asked)?
            }
        };
        if let Value::Tag(digest) = value {
            // Who has the manifest by its tag need not have it by its digest.
            value = self.recall(&Key::Manifest(repository, digest))?.0;
        }
        match value {
            Value::Manifest(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// A blob as the database would tell it now, if that is known.
    pub(crate) fn known_blob(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        asked: Asked,
    ) -> Option<Blob> {
        match self.known(&Key::Blob(repository, digest.clone()), asked)? {
            Value::Blob(blob) => Some(*blob),
            _ => None,
        }
    }

    /// A page of tags as the database would tell it now, if that is known.
    pub(crate) fn known_tags(
        &self,
        repository: RepositoryId,
        after: &str,
        limit: u32,
        asked: Asked,
    ) -> Option<Arc<TagPage>> {
        match self.known(&Key::Tags(repository, after.to_owned(), limit), asked)? {
            Value::Tags(page) => Some(page),
            _ => None,
        }
    }

    /// Keeps a page of tags for as long as the database would tell the same: it is of no use when it is away.
    pub(crate) fn tags(
        &self,
        repository: RepositoryId,
        after: &str,
        limit: u32,
        (asked, page): (Asked, &Arc<TagPage>),
    ) {
        if asked.epochs.content.is_some() {
            let key = Key::Tags(repository, after.to_owned(), limit);
            self.confirm(key, Value::Tags(Arc::clone(page)), asked);
        }
    }

    /// What was read since the last commit, and not long ago.
    fn known(&self, key: &Key, asked: Asked) -> Option<Value> {
        let epoch = asked.epoch_for(key)?;
        let entries = self.entries();
        let entry = entries.by_key.get(key)?;
        let age = (asked.since - entry.confirmed).to_std().ok()?;
        (entry.epoch == Some(epoch) && age < SAME_FOR).then(|| entry.value.clone())
    }

    /// What the database says of a repository, or said lately when it does not answer. That it is public counts for
    /// [`OutageOptions::public_for`] only: after that it is not.
    pub(crate) fn repository(
        &self,
        path: &RepositoryPath,
        asked: Asked,
        said: Result<Option<Repository>, MetadataError>,
    ) -> Result<Option<Repository>, MetadataError> {
        let key = Key::Repository(path.clone());
        match said {
            Ok(Some(found)) => {
                self.confirm(key, Value::Repository(found.clone().into()), asked);
                Ok(Some(found))
            }
            Ok(None) => {
                self.forget(&[key]);
                Ok(None)
            }
            Err(error) => self
                .instead(error, || match self.recall(&key)? {
                    (Value::Repository(mut repository), age) => {
                        repository.public &= age < self.options.public_for;
                        Some(*repository)
                    }
                    _ => None,
                })
                .map(Some),
        }
    }

    /// What the database says of a manifest, or said lately when it does not answer.
    pub(crate) fn manifest(
        &self,
        repository: RepositoryId,
        reference: &Reference,
        asked: Asked,
        said: Result<ManifestLookup, MetadataError>,
    ) -> Result<ManifestLookup, MetadataError> {
        let named = |digest: &Digest| Key::Manifest(repository, digest.clone());
        let key = match reference {
            Reference::Tag(tag) => Key::Tag(repository, tag.clone()),
            Reference::Digest(digest) => named(digest),
        };
        match said {
            Ok(ManifestLookup::Found(found)) => {
                if let Key::Tag(..) = key {
                    self.confirm(key, Value::Tag(found.digest.clone()), asked);
                }
                // By its digest too: clients ask for a tag's digest and then for what has it.
                let key = named(&found.digest);
                self.confirm(key, Value::Manifest(found.clone()), asked);
                Ok(ManifestLookup::Found(found))
            }
            Ok(said @ (ManifestLookup::TagExpired | ManifestLookup::Unknown)) => {
                self.forget(&[key]);
                Ok(said)
            }
            Err(error) => self
                .instead(error, || {
                    let mut value = self.recall(&key)?.0;
                    if let Value::Tag(digest) = value {
                        value = self.recall(&named(&digest))?.0;
                    }
                    match value {
                        Value::Manifest(manifest) => Some(manifest),
                        _ => None,
                    }
                })
                .map(ManifestLookup::Found),
        }
    }

    /// What the database says of a blob, or said lately when it does not answer.
    pub(crate) fn blob(
        &self,
        repository: RepositoryId,
        digest: &Digest,
        asked: Asked,
        said: Result<Option<Blob>, MetadataError>,
    ) -> Result<Option<Blob>, MetadataError> {
        let key = Key::Blob(repository, digest.clone());
        match said {
            Ok(Some(found)) => {
                self.confirm(key, Value::Blob(found.clone().into()), asked);
                Ok(Some(found))
            }
            Ok(None) => {
                self.forget(&[key]);
                Ok(None)
            }
            Err(error) => self
                .instead(error, || match self.recall(&key)?.0 {
                    Value::Blob(blob) => Some(*blob),
                    _ => None,
                })
                .map(Some),
        }
    }

    /// Forgets what these tags pointed to: they have been moved here, or deleted.
    pub(crate) fn tags_changed(&self, repository: RepositoryId, tags: &[Tag]) {
        self.changed_here(&ContentChange::Tags {
            repository,
            tags: tags.to_vec(),
        });
    }

    /// Forgets a manifest, and with it what its tags point to: it has been deleted here.
    pub(crate) fn manifest_deleted(&self, repository: RepositoryId, digest: &Digest) {
        self.changed_here(&ContentChange::Manifest {
            repository,
            digest: digest.clone(),
        });
    }

    /// Forgets a blob: it has been deleted here.
    pub(crate) fn blob_deleted(&self, repository: RepositoryId, digest: &Digest) {
        self.changed_here(&ContentChange::Blob {
            repository,
            digest: digest.clone(),
        });
    }

    fn changed_here(&self, change: &ContentChange) {
        self.changed(change);
        if let Some(listener) = self.listener.get() {
            listener.content_changed(change);
        }
    }

    /// Forgets what has changed, here or elsewhere.
    pub(crate) fn changed(&self, change: &ContentChange) {
        let keys = match change {
            ContentChange::Tags { repository, tags } => tags
                .iter()
                .map(|tag| Key::Tag(*repository, tag.clone()))
                .collect(),
            ContentChange::Manifest { repository, digest } => {
                vec![Key::Manifest(*repository, digest.clone())]
            }
            ContentChange::Blob { repository, digest } => {
                vec![Key::Blob(*repository, digest.clone())]
            }
        };
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.forget(&keys);
    }

    /// The answer from memory in place of the database's failure, if it is one of not answering and there is one.
    fn instead<T>(
        &self,
        error: MetadataError,
        recall: impl FnOnce() -> Option<T>,
    ) -> Result<T, MetadataError> {
        if !matches!(error, MetadataError::Unavailable { .. }) {
            return Err(error);
        }
        let Some(answer) = recall() else {
            return Err(error);
        };
        if self.answers.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "The database does not answer: answering pulls from what it said lately"
            );
        }
        Ok(answer)
    }

    fn confirm(&self, key: Key, value: Value, asked: Asked) {
        let answers = self.answers.swap(0, Ordering::Relaxed);
        if answers > 0 {
            tracing::info!(
                answers,
                "The database answers pulls again; {answers} answers came from memory"
            );
        }
        let mut entries = self.entries();
        // Looked at under the lock, which a change takes after it has been counted.
        if asked.changes == self.changes.load(Ordering::Acquire) {
            entries.put(key, value, asked, &self.options);
        }
    }

    /// What is remembered, and how long ago it was confirmed.
    fn recall(&self, key: &Key) -> Option<(Value, Duration)> {
        let entries = self.entries();
        let entry = entries.by_key.get(key)?;
        // Not when the database was asked, which may be long ago: somebody who asked it later may have been the last whom it answered. And under
        // the lock, so that only a clock that was set back makes an entry one from the future, of which nobody knows how old it is.
        let age = (self.clock.now() - entry.confirmed).to_std().ok()?;
        (age < self.options.content_for).then(|| (entry.value.clone(), age))
    }

    fn forget(&self, keys: &[Key]) {
        let mut entries = self.entries();
        for key in keys {
            entries.take(key);
        }
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        // Some numbers, which are right enough whoever panicked.
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn put(&mut self, key: Key, value: Value, asked: Asked, options: &OutageOptions) {
        self.take(&key);
        let bytes = ENTRY_BYTES
            + match &value {
                Value::Manifest(manifest) => manifest.bytes.len(),
                Value::Tags(page) => page
                    .entries
                    .iter()
                    .map(|tag| TAG_BYTES + 2 * tag.len())
                    .sum(),
                Value::Repository(_) | Value::Tag(_) | Value::Blob(_) => 0,
            };
        let epoch = asked.epoch_for(&key);
        let place = self.next;
        self.next += 1;
        self.bytes += bytes;
        self.order.insert(place, key.clone());
        let entry = Entry {
            value,
            confirmed: asked.since,
            epoch,
            place,
            bytes,
        };
        self.by_key.insert(key, entry);
        while self.by_key.len() > options.entries_max || self.bytes > options.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            if let Some(entry) = self.by_key.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
    }

    fn take(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.order.remove(&entry.place);
            self.bytes -= entry.bytes;
        }
    }
}
