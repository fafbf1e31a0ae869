//! Locations: the sites that the database knows, and those on their way out.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;

use crate::database::{
    Connection, Database, Identified, Named, Transaction, contended, json_texts, params,
};
use crate::error::MetadataError;
use crate::ids::{LocationId, UserId};
use crate::row::FromRow;
use crate::uploads::bytes_column;

/// The names of locations that take no new bytes, as a set for `IN`.
pub(crate) const CLOSED: &str = "(SELECT c.name FROM roadstead_location c WHERE c.state IN ('draining', 'removing', 'removed'))";

/// The names of those that do not even take what was begun before they were closed.
pub(crate) const SEALED: &str =
    "(SELECT c.name FROM roadstead_location c WHERE c.state IN ('removing', 'removed'))";

/// Whether a location takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationState {
    /// It takes and gives bytes.
    Active,
    /// It gives bytes, and takes none but those of uploads that have begun there: what only it holds is copied elsewhere.
    Draining,
    /// It gives bytes, and takes none: it is being removed.
    Removing,
    /// It was removed. The configuration may still name it.
    Removed,
}

impl LocationState {
    /// As the database spells it; an active location has no row.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

/// A location and what the database says is there.
#[derive(Clone, Debug)]
pub struct LocationRow {
    /// Its row; none when it was removed.
    pub id: Option<LocationId>,
    /// Its name.
    pub name: LocationName,
    /// Whether it takes part.
    pub state: LocationState,
    /// How many blobs have a placement there.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Option<i32>,
    name: String,
    state: Option<String>,
    blobs: i64,
    bytes: i64,
}

#[derive(Debug, FromRow)]
struct KnownRow {
    name: String,
    used: i32,
}

impl Database {
    /// Gives every configured location its row, and names those that were removed earlier: they get none.
    pub async fn ensure_locations(
        &self,
        names: &[LocationName],
    ) -> Result<BTreeSet<LocationName>, MetadataError> {
        contended(|| self.ensure_locations_once(names)).await
    }

    async fn ensure_locations_once(
        &self,
        names: &[LocationName],
    ) -> Result<BTreeSet<LocationName>, MetadataError> {
        const OPERATION: &str = "record the configured locations";
        let names = json_texts(names.iter().map(LocationName::as_str));
        let transaction = self.begin(OPERATION).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO imagestoragelocation (name)
                 SELECT n.value FROM @texts($1) AS n
                 WHERE NOT EXISTS (SELECT 1 FROM imagestoragelocation l WHERE l.name = n.value)
                   AND NOT EXISTS (SELECT 1 FROM roadstead_location o WHERE o.name = n.value AND o.state = 'removed')
                 ON CONFLICT (name) DO NOTHING",
                params![names.as_str()],
            )
            .await?;
        let removed: Vec<Named> = transaction
            .rows(
                OPERATION,
                "SELECT name FROM roadstead_location WHERE state = 'removed' AND name IN @texts($1)",
                params![names.as_str()],
            )
            .await?;
        transaction.commit().await?;
        removed
            .into_iter()
            .map(|row| location_name(&row.name))
            .collect()
    }

    /// Every location that the database has ever known, and whether a blob has a placement there.
    pub async fn known_locations(&self) -> Result<BTreeMap<LocationName, bool>, MetadataError> {
        let rows: Vec<KnownRow> = self
            .reader()
            .rows(
                "list the known locations",
                "SELECT n.name, CAST(EXISTS (SELECT 1 FROM imagestoragelocation l
                                             JOIN imagestorageplacement p ON p.location_id = l.id
                                             WHERE l.name = n.name) AS integer) AS used
                 FROM (SELECT name FROM imagestoragelocation UNION SELECT name FROM roadstead_location) n",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| Ok((location_name(&row.name)?, row.used != 0)))
            .collect()
    }

    /// Every location that the database knows, with what is there, by name.
    pub async fn locations(&self) -> Result<Vec<LocationRow>, MetadataError> {
        let rows: Vec<Row> = self
            .reader()
            .rows(
                "list locations",
                "SELECT l.id, n.name, o.state, count(p.id) AS blobs, CAST(COALESCE(sum(s.image_size), 0) AS bigint) AS bytes
                 FROM (SELECT name FROM imagestoragelocation UNION SELECT name FROM roadstead_location) n
                 LEFT JOIN imagestoragelocation l ON l.name = n.name
                 LEFT JOIN roadstead_location o ON o.name = n.name
                 LEFT JOIN imagestorageplacement p ON p.location_id = l.id
                 LEFT JOIN imagestorage s ON s.id = p.storage_id
                 GROUP BY l.id, n.name, o.state ORDER BY n.name",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(LocationRow {
                    id: row.id.map(LocationId),
                    name: location_name(&row.name)?,
                    state: match row.state.as_deref() {
                        None | Some("active") => LocationState::Active,
                        Some("draining") => LocationState::Draining,
                        Some("removing") => LocationState::Removing,
                        Some("removed") => LocationState::Removed,
                        Some(other) => {
                            return Err(MetadataError::corrupt(
                                "roadstead_location",
                                "state",
                                &row.name,
                                other,
                            ));
                        }
                    },
                    blobs: row.blobs.try_into().unwrap_or_default(),
                    bytes: row.bytes.try_into().unwrap_or_default(),
                })
            })
            .collect()
    }

    /// The locations that take no new bytes: being emptied, being removed, or removed.
    pub async fn closed_locations(&self) -> Result<BTreeSet<LocationName>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "list closed locations",
                "SELECT name FROM roadstead_location WHERE state IN ('draining', 'removing', 'removed')",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| location_name(&row.name))
            .collect()
    }

    /// The locations that are being emptied.
    pub async fn draining_locations(&self) -> Result<BTreeSet<LocationName>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "list locations that are being emptied",
                "SELECT name FROM roadstead_location WHERE state = 'draining'",
                params![],
            )
            .await?;
        rows.into_iter()
            .map(|row| location_name(&row.name))
            .collect()
    }

    /// Opens a location, closes it to be emptied or removed, or notes that it was removed. The removal itself is in [`crate::removal`].
    pub async fn set_location_state(
        &self,
        name: &LocationName,
        state: LocationState,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "change the state of a location";
        let transaction = self.begin(OPERATION).await?;
        set_state(&transaction, name, state, now).await?;
        transaction.commit().await
    }

    /// The locations that a namespace demands besides the default ones (`userregion`).
    pub async fn namespace_regions(
        &self,
        namespace: UserId,
    ) -> Result<BTreeSet<LocationName>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "look up the regions of a namespace",
                "SELECT DISTINCT l.name FROM userregion r JOIN imagestoragelocation l ON l.id = r.location_id
                 WHERE r.user_id = $1",
                params![namespace.0],
            )
            .await?;
        rows.into_iter()
            .map(|row| location_name(&row.name))
            .collect()
    }

    /// The blobs with a placement at a location, of one algorithm and one two-digit prefix of the hex part: what should lie in one
    /// directory of its store. Sorted by digest.
    pub async fn placements_in_shard(
        &self,
        location: &LocationName,
        algorithm: roadstead_oci::Algorithm,
        prefix: &str,
    ) -> Result<Vec<PlacedBlob>, MetadataError> {
        let from = format!("{}:{prefix}", algorithm.as_str());
        // `g` comes after every hex digit.
        let to = format!("{from}g");
        let rows: Vec<PlacedRow> = self
            .reader()
            .rows(
                "list the placements of a location",
                "SELECT s.id, s.content_checksum AS digest, COALESCE(s.image_size, 0) AS size
                 FROM imagestorage s
                 JOIN imagestorageplacement p ON p.storage_id = s.id
                 JOIN imagestoragelocation l ON l.id = p.location_id
                 WHERE s.content_checksum >= $1 AND s.content_checksum < $2 AND l.name = $3
                 ORDER BY s.content_checksum, s.id",
                params![from, to, location.as_str()],
            )
            .await?;
        rows.into_iter().map(PlacedBlob::try_from).collect()
    }
}

/// A blob that has a placement at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedBlob {
    /// Its row.
    pub storage: crate::ids::StorageId,
    /// Its digest.
    pub digest: roadstead_oci::Digest,
    /// The bytes that its object must have.
    pub size: u64,
}

#[derive(Debug, FromRow)]
pub(crate) struct PlacedRow {
    id: i32,
    digest: String,
    size: i64,
}

impl TryFrom<PlacedRow> for PlacedBlob {
    type Error = MetadataError;

    fn try_from(row: PlacedRow) -> Result<Self, MetadataError> {
        Ok(Self {
            storage: crate::ids::StorageId(row.id),
            digest: row.digest.parse().map_err(|error| {
                MetadataError::corrupt("imagestorage", "content_checksum", row.id, error)
            })?,
            size: row.size.try_into().unwrap_or_default(),
        })
    }
}

pub(crate) async fn set_state(
    connection: &Transaction,
    name: &LocationName,
    state: LocationState,
    now: Timestamp,
) -> Result<(), MetadataError> {
    connection
        .execute(
            "change the state of a location",
            "INSERT INTO roadstead_location (name, state, changed) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET state = excluded.state, changed = excluded.changed",
            params![name.as_str(), state.as_str(), now.naive_utc()],
        )
        .await?;
    Ok(())
}

pub(crate) async fn find_location(
    connection: &impl Connection,
    name: &LocationName,
) -> Result<Option<LocationId>, MetadataError> {
    let row: Option<Identified> = connection
        .row(
            "look up a location",
            "SELECT id FROM imagestoragelocation WHERE name = $1",
            params![name.as_str()],
        )
        .await?;
    Ok(row.map(|row| LocationId(row.id)))
}

pub(crate) fn location_name(name: &str) -> Result<LocationName, MetadataError> {
    LocationName::new(name)
        .map_err(|error| MetadataError::corrupt("imagestoragelocation", "name", name, error))
}

/// Names of locations as a JSON array, for `@texts`.
pub(crate) fn json_locations(names: &BTreeSet<LocationName>) -> String {
    json_texts(names.iter().map(LocationName::as_str))
}

/// A limit as a column of 64 bits.
pub(crate) fn limit_column(limit: u32) -> i64 {
    bytes_column(u64::from(limit))
}
