//! Tags besides pushes: listed, pointed elsewhere, brought back, ended at a time, protected. They are set by pushing manifests too, and deleted through
//! [`Manifests::delete`](crate::Manifests::delete).

use std::sync::Arc;

use roadstead_metadata::{Actor, ChangeTag, PointTag, PointedFrom, Repository, TagChange, TagMove};
use roadstead_oci::{Digest, Tag};
use roadstead_runtime::Timestamp;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{PullError, TagChangeError};
use crate::lately::Asked;
use crate::registry::{Inner, Page};

/// A page of a repository's tags.
#[derive(Clone, Debug)]
pub struct TagPage {
    /// The tags, in byte order.
    pub entries: Vec<String>,
    /// Whether there are more behind the last of them.
    pub more: bool,
    written: Box<RawValue>,
}

impl TagPage {
    fn of(page: Page<String>) -> Self {
        let Page { entries, more } = page;
        Self {
            written: to_raw_value(&entries).expect("a list of texts is JSON"),
            entries,
            more,
        }
    }

    /// The tags as a JSON array. It is answered more often than the tags are read.
    pub fn written(&self) -> &RawValue {
        &self.written
    }
}

/// Lists and changes tags. See [`crate::Registry::tags`].
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    inner: &'a Inner,
    asked: Option<Asked>,
}

impl<'a> Tags<'a> {
    pub(crate) const fn new(inner: &'a Inner) -> Self {
        Self { inner, asked: None }
    }

    /// What is read through this was asked for when its repository was: it may be what it was then.
    #[must_use]
    pub const fn asked(self, asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..self
        }
    }

    /// Lists the repository's tags in byte order from behind `after`, which need not exist. At most `entries`, and never more
    /// than [`DistributionOptions::page_entries_max`](crate::DistributionOptions::page_entries_max); with 0 the page is empty and
    /// has no more behind it.
    ///
    /// # Errors
    /// [`PullError::Metadata`].
    pub async fn list(
        &self,
        repository: &Repository,
        after: Option<&str>,
        entries: Option<u64>,
    ) -> Result<Arc<TagPage>, PullError> {
        let inner = self.inner;
        let limit = inner.page_limit(entries);
        if limit == 0 {
            return Ok(Arc::new(TagPage::of(Page::empty())));
        }
        let asked = self.asked.unwrap_or_else(|| inner.asking());
        let behind = after.unwrap_or_default();
        if let Some(known) = inner.lately.known_tags(repository.id, behind, limit, asked) {
            return Ok(known);
        }
        let found = inner
            .database
            // One more than is shown tells whether there is more.
            .list_tags(repository.id, after, limit.saturating_add(1), inner.now())
            .await?;
        let page = Arc::new(TagPage::of(Page::cut(found, limit)));
        inner
            .lately
            .tags(repository.id, behind, limit, (asked, &page));
        Ok(page)
    }

    /// Points a tag, which need not exist, to a manifest that the repository has: as a push of it would, but for its bytes. Tells how many copies of its
    /// blobs became wanted with it; if any, wake the replicator. A dropped future has done everything or nothing.
    ///
    /// # Errors
    /// [`TagChangeError::Refused`], [`TagChangeError::ManifestUnknown`], [`TagChangeError::Immutable`], [`TagChangeError::Metadata`].
    pub async fn point(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        actor: &Actor,
    ) -> Result<u64, TagChangeError> {
        self.point_from(repository, tag, digest, PointedFrom::Present, actor)
            .await
    }

    /// Brings a manifest back under a tag: also one that nothing refers to any more, while its namespace's time machine has it. Otherwise as
    /// [`Tags::point`].
    ///
    /// # Errors
    /// As of [`Tags::point`].
    pub async fn restore(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        actor: &Actor,
    ) -> Result<u64, TagChangeError> {
        self.point_from(repository, tag, digest, PointedFrom::Past, actor)
            .await
    }

    async fn point_from(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: &Digest,
        from: PointedFrom,
        actor: &Actor,
    ) -> Result<u64, TagChangeError> {
        let inner = self.inner;
        inner.require_own(repository)?;
        let queue = inner.options.replication_queue.as_deref();
        let moved = inner
            .database
            .point_tag(&PointTag {
                repository,
                tag,
                digest,
                from,
                demand: queue.is_some().then(|| inner.demand()),
                queue: queue.unwrap_or_default(),
                features: inner.options.features,
                actor,
                ids: &*inner.environment.ids,
                now: inner.now(),
            })
            .await?;
        match moved {
            TagMove::Pointed { copies } => {
                self.changed(repository, tag);
                Ok(copies)
            }
            TagMove::ManifestUnknown => Err(TagChangeError::ManifestUnknown {
                digest: digest.clone(),
            }),
            TagMove::Immutable => Err(TagChangeError::Immutable { tag: tag.clone() }),
        }
    }

    /// Ends a live tag at a time that is to come; without one it does not end by itself any more.
    ///
    /// # Errors
    /// [`TagChangeError::Refused`], [`TagChangeError::Past`], [`TagChangeError::Unknown`], [`TagChangeError::Immutable`], [`TagChangeError::Metadata`].
    pub async fn end_at(
        &self,
        repository: &Repository,
        tag: &Tag,
        until: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<(), TagChangeError> {
        let inner = self.inner;
        inner.require_own(repository)?;
        let change = self.change(repository, tag, actor);
        if until.is_some_and(|until| until <= change.now) {
            return Err(TagChangeError::Past);
        }
        let changed = inner.database.change_tag_end(&change, until).await?;
        self.outcome(&change, changed)
    }

    /// Makes a live tag immutable, or takes that from it. Nothing happens where no tags are
    /// ([`Features::immutable_tags`](roadstead_metadata::Features::immutable_tags)).
    ///
    /// # Errors
    /// [`TagChangeError::Refused`], [`TagChangeError::Unknown`], [`TagChangeError::Ends`], [`TagChangeError::Metadata`].
    pub async fn set_immutable(
        &self,
        repository: &Repository,
        tag: &Tag,
        immutable: bool,
        actor: &Actor,
    ) -> Result<(), TagChangeError> {
        let inner = self.inner;
        inner.require_own(repository)?;
        let change = self.change(repository, tag, actor);
        let changed = inner
            .database
            .change_tag_immutability(&change, immutable)
            .await?;
        self.outcome(&change, changed)
    }

    fn change<'b>(
        self,
        repository: &'b Repository,
        tag: &'b Tag,
        actor: &'b Actor,
    ) -> ChangeTag<'b> {
        ChangeTag {
            repository,
            tag,
            features: self.inner.options.features,
            actor,
            now: self.inner.now(),
        }
    }

    fn outcome(self, change: &ChangeTag<'_>, changed: TagChange) -> Result<(), TagChangeError> {
        let tag = change.tag.clone();
        match changed {
            TagChange::Changed => {
                self.changed(change.repository, change.tag);
                Ok(())
            }
            TagChange::Unknown => Err(TagChangeError::Unknown { tag }),
            TagChange::Immutable => Err(TagChangeError::Immutable { tag }),
            TagChange::Ends => Err(TagChangeError::Ends { tag }),
        }
    }

    /// Has what was remembered of a tag forgotten.
    fn changed(self, repository: &Repository, tag: &Tag) {
        let tags = std::slice::from_ref(tag);
        self.inner.lately.tags_changed(repository.id, tags);
    }
}
