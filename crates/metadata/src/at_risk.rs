//! What would be lost with a location: the blobs that have a placement nowhere else, and every image that needs one of them.
//!
//! An image is a visible tag with all manifests below it, or a manifest that needs a blob by itself and has no such tag above it. Images are
//! listed in pages, in the order of the manifests that need the blobs: all pages together read the manifests once.

use std::collections::BTreeSet;

use roadstead_placement::LocationName;
use roadstead_runtime::Timestamp;
use sea_orm::Value;

use crate::database::{Connection, Database, Identified, json_ids, params};
use crate::error::MetadataError;
use crate::locations::{json_locations, limit_column};
use crate::row::FromRow;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct AtRiskOf<'a> {
    /// The location that might be lost.
    pub location: &'a LocationName,
    /// The locations whose placements count as other copies. The location itself never does.
    pub counted: &'a BTreeSet<LocationName>,
    /// Now: which tags are there.
    pub now: Timestamp,
}

/// How much would be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtRiskTotals {
    /// Images that need a blob that would be lost.
    pub images: u64,
    /// The blobs that they need.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that would be lost and that no image needs: those of pushes under way, and garbage.
    pub other_blobs: u64,
}

/// How far a list has come. Behind the default is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtRiskPosition {
    /// The last manifest that needs a blob by itself.
    pub manifest: i32,
    /// The last of the tags above it.
    pub tag: i32,
}

/// An image that would be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtRiskImage {
    /// `namespace/name:tag`, or with `@` and the digest.
    pub image: String,
    /// How many of the blobs that it needs would be lost.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A page of the list.
#[derive(Clone, Debug, Default)]
pub struct AtRiskPage {
    /// The images.
    pub images: Vec<AtRiskImage>,
    /// Where the next page begins; none after the last.
    pub next: Option<AtRiskPosition>,
}

#[derive(Debug, FromRow)]
struct TotalsRow {
    images: i64,
    blobs: i64,
    bytes: i64,
    other_blobs: i64,
}

#[derive(Debug, FromRow)]
struct ImageRow {
    manifest: i32,
    tag: i32,
    image: String,
    blobs: i64,
    bytes: i64,
}

/// The blobs with a placement at the location `$1` and none at the others of `$2`, as a set: in one go through the placements, since the planner
/// has no idea how many there are. It takes a comparison of sums for true of a third of them; one for equality it would take for a handful, and
/// then look up each of a million.
const SOLE: &str = "sole(id) AS (
    SELECT p.storage_id FROM imagestorageplacement p
    WHERE p.location_id IN (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1 OR l.name IN @texts($2))
    GROUP BY p.storage_id
    HAVING sum(CASE WHEN p.location_id = (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1) THEN 0 ELSE 1 END) < 1)";

/// Whether the blob `{blob}` has a placement at the location `$1` and none at the others of `$2`.
fn sole(blob: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM imagestorageplacement p
                 WHERE p.storage_id = {blob} AND p.location_id IN (SELECT l.id FROM imagestoragelocation l WHERE l.name = $1))
         AND NOT EXISTS (SELECT 1 FROM imagestorageplacement o
                         WHERE o.storage_id = {blob} AND o.location_id IN (
                             SELECT l.id FROM imagestoragelocation l WHERE l.name IN @texts($2) AND l.name <> $1))"
    )
}

/// Whether tag `t` is visible at `$3`.
const VISIBLE: &str = "NOT t.hidden AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3)";

impl Database {
    /// Counts what would be lost. One query, whose time grows with what the location holds.
    pub async fn at_risk_totals(&self, of: &AtRiskOf<'_>) -> Result<AtRiskTotals, MetadataError> {
        let mut values = of.columns();
        values.extend(params![of.now.timestamp_millis()]);
        let row: Option<TotalsRow> = self
            .reader()
            .row(
                "count what would be lost with a location",
                &format!(
                    "WITH RECURSIVE
                     {SOLE},
                     needing(id) AS (
                         SELECT DISTINCT mb.manifest_id FROM sole JOIN manifestblob mb ON mb.blob_id = sole.id),
                     up(first, id) AS (
                         SELECT n.id, n.id FROM needing n
                         UNION
                         SELECT up.first, mc.manifest_id FROM up JOIN manifestchild mc ON mc.child_manifest_id = up.id),
                     tagged(first, tag_id) AS (
                         SELECT up.first, t.id FROM up JOIN tag t ON t.manifest_id = up.id AND {VISIBLE})
                     SELECT (SELECT count(DISTINCT tag_id) FROM tagged)
                                + (SELECT count(*) FROM (SELECT id FROM needing EXCEPT SELECT first FROM tagged) untagged) AS images,
                            count(*) AS blobs, CAST(COALESCE(sum(s.image_size), 0) AS bigint) AS bytes,
                            (SELECT count(*) FROM sole) - count(*) AS other_blobs
                     FROM sole JOIN imagestorage s ON s.id = sole.id
                     WHERE EXISTS (SELECT 1 FROM manifestblob mb WHERE mb.blob_id = s.id)"
                ),
                values,
            )
            .await?;
        Ok(row.map_or_else(AtRiskTotals::default, |row| AtRiskTotals {
            images: count(row.images),
            blobs: count(row.blobs),
            bytes: count(row.bytes),
            other_blobs: count(row.other_blobs),
        }))
    }

    /// The images behind `after` that would be lost, at most `limit`, each once in all pages. Two queries. A page may have none and
    /// still not be the last.
    pub async fn at_risk_images(
        &self,
        of: &AtRiskOf<'_>,
        after: AtRiskPosition,
        limit: u32,
    ) -> Result<AtRiskPage, MetadataError> {
        const OPERATION: &str = "list what would be lost with a location";
        let mut values = of.columns();
        // One more than is listed, of each: what comes behind it makes another page.
        let one_more = limit_column(limit.saturating_add(1));
        values.extend(params![after.first_manifest(), one_more]);
        let mut manifests: Vec<Identified> = self
            .reader()
            .rows(
                OPERATION,
                &format!(
                    "WITH {SOLE}
                     SELECT DISTINCT mb.manifest_id AS id FROM sole JOIN manifestblob mb ON mb.blob_id = sole.id
                     WHERE mb.manifest_id >= $3 ORDER BY 1 LIMIT $4"
                ),
                values,
            )
            .await?;
        let more_manifests = manifests.len() > limit as usize;
        manifests.truncate(limit as usize);
        let Some(last) = manifests.last().map(|manifest| manifest.id) else {
            return Ok(AtRiskPage::default());
        };

        let mut values = of.columns();
        values.extend(params![
            of.now.timestamp_millis(),
            json_ids(manifests.into_iter().map(|manifest| manifest.id)),
            after.manifest,
            after.tag,
            one_more,
            "@",
        ]);
        let mut rows: Vec<ImageRow> = self
            .reader()
            .rows(
                OPERATION,
                // An image is listed with the first of the manifests below it that need a blob by themselves.
                &format!(
                    r#"WITH RECURSIVE
                     up(first, id) AS (
                         SELECT given.value, given.value FROM @ids($4) AS given
                         UNION
                         SELECT up.first, mc.manifest_id FROM up JOIN manifestchild mc ON mc.child_manifest_id = up.id),
                     tagged(first, top, tag_id, name) AS (
                         SELECT up.first, up.id, t.id, t.name FROM up JOIN tag t ON t.manifest_id = up.id AND {VISIBLE}),
                     named(first, top, tag_id, name) AS (
                         SELECT first, top, tag_id, name FROM tagged
                         UNION ALL
                         SELECT up.first, up.first, 0, CAST(NULL AS varchar) FROM up
                         WHERE up.id = up.first AND up.first NOT IN (SELECT first FROM tagged)),
                     down(top, id) AS (
                         SELECT DISTINCT top, top FROM named
                         UNION
                         SELECT down.top, mc.child_manifest_id FROM down JOIN manifestchild mc ON mc.manifest_id = down.id),
                     lost(top, first, blob_id) AS (
                         SELECT down.top, min(mb.manifest_id), mb.blob_id FROM down
                         JOIN manifestblob mb ON mb.manifest_id = down.id WHERE {}
                         GROUP BY down.top, mb.blob_id),
                     summed(top, first, blobs, bytes) AS (
                         SELECT lost.top, min(lost.first), count(*), CAST(COALESCE(sum(s.image_size), 0) AS bigint)
                         FROM lost JOIN imagestorage s ON s.id = lost.blob_id GROUP BY lost.top)
                     SELECT named.first AS manifest, named.tag_id AS tag,
                            u.username || '/' || r.name || COALESCE(':' || named.name, $8 || m.digest) AS image,
                            summed.blobs, summed.bytes
                     FROM named
                     JOIN summed ON summed.top = named.top AND (summed.first = named.first OR named.tag_id = 0)
                     JOIN manifest m ON m.id = named.top
                     JOIN repository r ON r.id = m.repository_id
                     JOIN "user" u ON u.id = r.namespace_user_id
                     WHERE named.first > $5 OR (named.first = $5 AND named.tag_id > $6)
                     ORDER BY named.first, named.tag_id LIMIT $7"#,
                    sole("mb.blob_id")
                ),
                values,
            )
            .await?;
        let more_images = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = match rows.last() {
            Some(row) if more_images => Some(AtRiskPosition {
                manifest: row.manifest,
                tag: row.tag,
            }),
            _ if more_manifests => Some(AtRiskPosition {
                manifest: last,
                tag: i32::MAX,
            }),
            _ => None,
        };
        Ok(AtRiskPage {
            images: rows
                .into_iter()
                .map(|row| AtRiskImage {
                    image: row.image,
                    blobs: count(row.blobs),
                    bytes: count(row.bytes),
                })
                .collect(),
            next,
        })
    }
}

impl AtRiskOf<'_> {
    /// `$1` and `$2` of [`sole`].
    fn columns(&self) -> Vec<Value> {
        params![self.location.as_str(), json_locations(self.counted)]
    }
}

impl AtRiskPosition {
    /// The first manifest that may have anything to list.
    const fn first_manifest(self) -> i32 {
        if self.tag == i32::MAX {
            self.manifest.saturating_add(1)
        } else {
            self.manifest
        }
    }
}

fn count(value: i64) -> u64 {
    value.try_into().unwrap_or_default()
}
