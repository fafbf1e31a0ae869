//! Listing repositories.

use roadstead_metadata::{CatalogViewer, MetadataError};

use crate::registry::{Inner, Page};

pub(crate) async fn list(
    inner: &Inner,
    viewer: &CatalogViewer,
    after: Option<&str>,
    entries: Option<u64>,
) -> Result<Page<String>, MetadataError> {
    let limit = inner.page_limit(entries);
    if limit == 0 {
        return Ok(Page::empty());
    }
    let found = inner
        .database
        .catalog(viewer, after, limit.saturating_add(1))
        .await?;
    Ok(Page::cut(found, limit))
}
