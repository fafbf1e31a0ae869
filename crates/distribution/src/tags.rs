//! Listing tags. They are set by pushing manifests and deleted through [`Manifests::delete`](crate::Manifests::delete).

use roadstead_metadata::Repository;

use crate::error::PullError;
use crate::registry::{Inner, Page};

/// Lists tags. See [`crate::Registry::tags`].
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    inner: &'a Inner,
}

impl<'a> Tags<'a> {
    pub(crate) const fn new(inner: &'a Inner) -> Self {
        Self { inner }
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
    ) -> Result<Page<String>, PullError> {
        let limit = self.inner.page_limit(entries);
        if limit == 0 {
            return Ok(Page::empty());
        }
        let found = self
            .inner
            .database
            // One more than is shown tells whether there is more.
            .list_tags(
                repository.id,
                after,
                limit.saturating_add(1),
                self.inner.now(),
            )
            .await?;
        Ok(Page::cut(found, limit))
    }
}
