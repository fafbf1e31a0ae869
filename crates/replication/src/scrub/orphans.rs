//! Objects that no row accounts for: found by listing a store and asking the database afterwards, so that whatever is being pushed or copied
//! meanwhile is not taken for one.

use std::num::NonZeroU16;
use std::time::Duration;

use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use roadstead_storage::{Location, Shard};

use super::VerifyEvent;
use crate::Replication;
use crate::store_check::StoreCheckError;

/// How old an object is at least before it is taken for an orphan, and how long it has been known as one before it is deleted: longer than any
/// push takes, also one of another program that writes the object first and says so later.
pub const ORPHAN_AGE_MIN: Duration = Duration::from_hours(24);

/// Objects listed per page. A page reads its whole shard, so that one page a shard is best; at 200 bytes each this is 2 MB.
const PAGE_OBJECTS: NonZeroU16 = NonZeroU16::new(10_000).expect("ten thousand is not zero");

/// Objects that the database is asked about at once.
const ASKED_AT_ONCE: usize = 1_000;

/// An object that no row accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Where.
    pub location: LocationName,
    /// The digest that it is named after.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Since when it is known as one.
    pub first_seen: Timestamp,
}

impl Replication {
    /// Looks through one shard of a location's store. `delete`: what has been known long enough is put on the list of those to be deleted.
    pub(super) async fn look_for_orphans(
        &self,
        location: &Location,
        shard: u32,
        delete: bool,
        each: &mut (impl FnMut(VerifyEvent) + Send),
    ) -> Result<(), StoreCheckError> {
        let Some((shard, prefix)) = shard_of(shard) else {
            return Ok(());
        };
        let name = location.name();
        let began = self.environment.now();
        let old = began - ORPHAN_AGE_MIN;
        let mut after = None;
        loop {
            let page = location
                .list_objects(shard, after.as_ref(), PAGE_OBJECTS)
                .await?;
            let candidates: Vec<_> = page
                .objects
                .into_iter()
                .filter(|object| object.modified.is_none_or(|modified| modified <= old))
                .collect();
            for some in candidates.chunks(ASKED_AT_ONCE) {
                let digests: Vec<Digest> =
                    some.iter().map(|object| object.digest.clone()).collect();
                let unaccounted = self.database.unaccounted_objects(name, &digests).await?;
                let objects: Vec<_> = some
                    .iter()
                    .filter(|object| unaccounted.contains(&object.digest))
                    .collect();
                let noted: Vec<_> = objects
                    .iter()
                    .map(|object| (object.digest.clone(), object.size))
                    .collect();
                for orphan in self.database.note_orphans(name, &noted, began).await? {
                    let dated = objects
                        .iter()
                        .any(|object| object.digest == orphan.digest && object.modified.is_some());
                    // Where the store does not tell how old it is, we have to have seen it grow old.
                    if dated || orphan.first_seen <= old {
                        each(VerifyEvent::Orphan(Orphan {
                            location: name.clone(),
                            digest: orphan.digest,
                            size: orphan.size,
                            first_seen: orphan.first_seen,
                        }));
                    }
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.database.forget_orphans(name, &prefix, began).await?;
        if delete {
            let doomed = self
                .database
                .doom_orphans(name, &prefix, old, began)
                .await?;
            if doomed > 0 {
                tracing::warn!(
                    location.id = %name,
                    "{doomed} objects at location {name} that nothing accounts for since more than a day are deleted",
                );
                each(VerifyEvent::OrphansDoomed(doomed));
            }
        }
        Ok(())
    }

    /// Looks through one shard and notes what it finds, without deleting anything.
    pub(super) async fn note_orphans_of_shard(
        &self,
        location: &Location,
        shard: u32,
    ) -> Result<(), StoreCheckError> {
        let mut orphans = 0_u64;
        let mut count = |event| {
            if matches!(event, VerifyEvent::Orphan(_)) {
                orphans += 1;
            }
        };
        self.look_for_orphans(location, shard, false, &mut count)
            .await?;
        if orphans > 0 {
            tracing::warn!(
                location.id = %location.name(),
                "Nothing accounts for {orphans} objects of shard {shard} at location {}; `admin verifyplacements {} --orphans` lists them",
                location.name(),
                location.name(),
            );
        }
        Ok(())
    }
}

/// A shard by its number, and what the digests in it begin with.
fn shard_of(number: u32) -> Option<(Shard, String)> {
    let algorithm = *Algorithm::ALL.get(usize::try_from(number / 256).ok()?)?;
    let first_byte = u8::try_from(number % 256).ok()?;
    let prefix = format!("{}:{first_byte:02x}", algorithm.as_str());
    Some((Shard::new(algorithm, first_byte), prefix))
}
