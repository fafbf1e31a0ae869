//! Tags as their users look them up: what each pointed to, from when to when, the youngest first.

use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::ids::RepositoryId;
use crate::locations::limit_column;
use crate::row::FromRow;

/// Which tags to list, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagFilter<'a> {
    /// All.
    All,
    /// The one of this name.
    Named(&'a str),
    /// Those with this in their names, whatever its case.
    Containing(&'a str),
}

/// One page of the history of a repository's tags.
#[derive(Clone, Copy, Debug)]
pub struct TagPage<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// Which tags.
    pub filter: TagFilter<'a>,
    /// Only those that are live.
    pub live_only: bool,
    /// How many are skipped: the ones of the pages before.
    pub skip: u64,
    /// How many at most.
    pub limit: u32,
    /// Now.
    pub now: Timestamp,
}

/// What a tag points to, or pointed to.
#[derive(Clone, Debug)]
pub struct TagHistory {
    /// The tag's name.
    pub name: String,
    /// The manifest's digest.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// How many bytes the layers have; unknown of an index.
    pub layers_size: Option<u64>,
    /// Since when.
    pub start: Timestamp,
    /// Until when, if that is set; it may be to come.
    pub end: Option<Timestamp>,
    /// Whether somebody brought it back.
    pub reversion: bool,
    /// Whether it cannot be moved or deleted.
    pub immutable: bool,
}

#[derive(Debug, FromRow)]
struct HistoryRow {
    name: String,
    digest: String,
    media_type: String,
    layers_compressed_size: Option<i64>,
    lifetime_start_ms: i64,
    lifetime_end_ms: Option<i64>,
    reversion: bool,
    immutable: bool,
}

impl Database {
    /// Lists what tags point and pointed to, the youngest first.
    pub async fn tag_history(&self, page: &TagPage<'_>) -> Result<Vec<TagHistory>, MetadataError> {
        let (condition, name) = match page.filter {
            TagFilter::All => ("$2 = ''", ""),
            TagFilter::Named(name) => ("t.name = $2", name),
            // What is not changed when it is taken out is not in there.
            TagFilter::Containing(part) => (
                "replace(lower(t.name), lower($2), '') <> lower(t.name)",
                part,
            ),
        };
        let live = if page.live_only {
            "(t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3)"
        } else {
            "$3 IS NOT NULL"
        };
        let rows: Vec<HistoryRow> = self
            .reader()
            .rows(
                "list the history of tags",
                &format!(
                    "SELECT t.name, m.digest, mt.name AS media_type, m.layers_compressed_size, t.lifetime_start_ms,
                            t.lifetime_end_ms, t.reversion, t.immutable
                     FROM (SELECT t.* FROM tag t
                           WHERE t.repository_id = $1 AND NOT t.hidden AND t.manifest_id IS NOT NULL AND {condition} AND {live}
                           ORDER BY t.lifetime_start_ms DESC, t.name, t.id DESC LIMIT $4 OFFSET $5) t
                     JOIN manifest m ON m.id = t.manifest_id
                     JOIN mediatype mt ON mt.id = m.media_type_id
                     ORDER BY t.lifetime_start_ms DESC, t.name, t.id DESC"
                ),
                params![
                    page.repository.0,
                    name,
                    page.now.timestamp_millis(),
                    limit_column(page.limit),
                    i64::try_from(page.skip).unwrap_or(i64::MAX),
                ],
            )
            .await?;
        rows.into_iter().map(TagHistory::try_from).collect()
    }
}

impl TryFrom<HistoryRow> for TagHistory {
    type Error = MetadataError;

    fn try_from(row: HistoryRow) -> Result<Self, MetadataError> {
        let moment = |column, millis| {
            Timestamp::from_timestamp_millis(millis).ok_or_else(|| {
                MetadataError::corrupt("tag", column, &row.name, format!("{millis} is no time"))
            })
        };
        Ok(Self {
            start: moment("lifetime_start_ms", row.lifetime_start_ms)?,
            end: row
                .lifetime_end_ms
                .map(|end| moment("lifetime_end_ms", end))
                .transpose()?,
            digest: row.digest,
            media_type: row.media_type,
            layers_size: row
                .layers_compressed_size
                .and_then(|size| size.try_into().ok()),
            reversion: row.reversion,
            immutable: row.immutable,
            name: row.name,
        })
    }
}
