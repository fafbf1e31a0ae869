//! Compares what the database says about a location with what its store holds. What to do about a difference is decided
//! elsewhere.

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

use roadstead_metadata::{Database, MetadataError, PlacedBlob};
use roadstead_oci::{Algorithm, Digest};
use roadstead_storage::{ListedObject, Location, ObjectKey, Shard, StorageError, Verification};

/// Objects listed per page. A page reads its whole shard, so that one page a shard is best; at 200 bytes each this is 2 MB.
const PAGE_OBJECTS: NonZeroU16 = NonZeroU16::new(10_000).expect("ten thousand is not zero");

/// What is wrong with an object that a placement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The store does not have it.
    Missing,
    /// It has another size, and its bytes do not hash to the digest.
    Damaged,
}

/// An object that a placement promises and the store does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostObject {
    /// What the database says.
    pub blob: PlacedBlob,
    /// What the store says.
    pub defect: Defect,
}

/// Why a location could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum StoreCheckError {
    /// Its store could not be read: nothing is known about its objects.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// The database could not be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Shows `each` every placed blob of `location` in the order of its shards and digests, with the defect of its object if it has
/// one. Sizes are compared; bytes are read only where the size is wrong.
///
/// Memory is bounded by one shard, a 256th of the location's blobs, and by a page of 10,000 listed objects. A blob that is placed or
/// deleted meanwhile may be shown or not; a defect that is shown was looked at twice.
pub(crate) async fn compare(
    database: &Database,
    location: &Location,
    mut each: impl FnMut(&PlacedBlob, Option<Defect>) + Send,
) -> Result<(), StoreCheckError> {
    for algorithm in Algorithm::ALL {
        for first_byte in 0..=u8::MAX {
            compare_shard(database, location, algorithm, first_byte, &mut each).await?;
        }
    }
    Ok(())
}

/// The part of [`compare`] about one shard.
pub(crate) async fn compare_shard(
    database: &Database,
    location: &Location,
    algorithm: Algorithm,
    first_byte: u8,
    each: &mut (impl FnMut(&PlacedBlob, Option<Defect>) + Send),
) -> Result<(), StoreCheckError> {
    // The database first: an object is there before its placement is, so whatever is placed now is listed afterwards.
    let placed = database
        .placements_in_shard(location.name(), algorithm, &format!("{first_byte:02x}"))
        .await?;
    if placed.is_empty() {
        return Ok(());
    }
    let mut listing = Listing::of(location, Shard::new(algorithm, first_byte));
    for blob in &placed {
        let defect = match listing.find(&blob.digest).await? {
            Some(size) if size == blob.size => None,
            _ => look_again(location, blob).await?,
        };
        each(blob, defect);
    }
    Ok(())
}

/// What is wrong with an object that did not show up as it should.
pub(crate) async fn look_again(
    location: &Location,
    blob: &PlacedBlob,
) -> Result<Option<Defect>, StorageError> {
    match location.stat(&ObjectKey::Blob(blob.digest.clone())).await? {
        None => Ok(Some(Defect::Missing)),
        Some(stat) if stat.size == blob.size => Ok(None),
        // It may be the database that is wrong about the size; the digest decides.
        Some(_) => Ok(match location.verify(&blob.digest).await? {
            Verification::Intact { .. } => None,
            Verification::Missing => Some(Defect::Missing),
            Verification::Damaged { .. } => Some(Defect::Damaged),
        }),
    }
}

/// The objects of a shard by ascending digest, read page by page.
struct Listing<'a> {
    location: &'a Location,
    shard: Shard,
    page: std::iter::Peekable<std::vec::IntoIter<ListedObject>>,
    /// Where the next page begins; `None`: there is none.
    next: Option<After>,
}

enum After {
    Start,
    Digest(Digest),
}

impl<'a> Listing<'a> {
    fn of(location: &'a Location, shard: Shard) -> Self {
        Self {
            location,
            shard,
            page: Vec::new().into_iter().peekable(),
            next: Some(After::Start),
        }
    }

    /// The size of an object, if there is one. To be asked by ascending digest; the same may be asked again.
    async fn find(&mut self, digest: &Digest) -> Result<Option<u64>, StorageError> {
        loop {
            while self
                .page
                .next_if(|object| object.digest < *digest)
                .is_some()
            {}
            if let Some(object) = self.page.peek() {
                return Ok((object.digest == *digest).then_some(object.size));
            }
            let Some(after) = self.next.take() else {
                return Ok(None);
            };
            let after = match &after {
                After::Start => None,
                After::Digest(digest) => Some(digest),
            };
            let page = self
                .location
                .list_objects(self.shard, after, PAGE_OBJECTS)
                .await?;
            self.page = page.objects.into_iter().peekable();
            self.next = page.next.map(After::Digest);
        }
    }
}
