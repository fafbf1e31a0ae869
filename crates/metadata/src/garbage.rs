//! Garbage: what no tag, window, push or copy wants any more, and how it leaves.
//!
//! | file | owns |
//! |---|---|
//! | `tags` | tags whose time is over |
//! | `manifests` | manifests that nothing holds |
//! | `blobs` | blobs that something let go of |
//! | `objects` | doomed objects: what each location has still to lose |
//! | `publications` | leave to make an object appear, which keeps it from being deleted |
//! | `repositories`, `namespaces` | what was deleted as a whole |
//! | `referring` | the tables that refer to all of these |
//! | `forecast` | what a collection would remove now |
//! | `runs` | how far the search for strays has come, and what the last collections removed |
//!
//! Each step is one short transaction over a bounded batch, and any number of processes may take steps at once. What a step takes the last
//! hold away from, it notes in the same transaction; what nobody noted is found by a search page by page. No store is asked for anything here.

mod blobs;
mod forecast;
mod manifests;
mod namespaces;
mod objects;
mod publications;
mod referring;
mod repositories;
mod runs;
mod tags;

pub use blobs::CollectedBlobs;
pub(crate) use blobs::free_blobs;
pub use forecast::{DoomedAt, GarbageForecast, GarbageNames};
pub use manifests::StrayManifests;
pub use namespaces::{NAMESPACE_QUEUE, NamespacePurge};
pub(crate) use namespaces::{mark_deleted, remove_accounts};
pub(crate) use objects::doom_at;
pub use objects::{ClaimObjects, DoomedObject, FailedDeletion};
pub(crate) use publications::{
    BeginPublication, PublicationId, begin_all, consume_all, give_up, lapsed,
};
pub use publications::{Publication, Publishing};
pub(crate) use referring::{APPLICATION, TEAM};
pub use repositories::{MarkDeleted, Purged, REPOSITORY_QUEUE};
pub use runs::{GarbageRun, Removed, Sweep, SweepProgress};
pub(crate) use tags::PAST;
pub use tags::{CollectedTags, PastTags};

use crate::database::Database;
use crate::error::MetadataError;
use crate::features::Features;
use crate::quota::QuotaSizes;
use referring::Tables;

/// What the steps of a collection have in common. Made once, with [`Database::collection`].
#[derive(Clone, Debug)]
pub struct Collection {
    tables: Tables,
    quota: QuotaSizes,
}

impl Database {
    /// Looks at the database to collect garbage in it, and keeps to the registry's features.
    pub async fn collection(&self, features: Features) -> Result<Collection, MetadataError> {
        Ok(Collection {
            tables: self.referring_tables().await?,
            quota: features.quota,
        })
    }
}
