//! Tags: rows with a beginning and an end, so that the time machine can go back to what they once pointed to.
//!
//! A tag is live while its end is unset or to come. Moving a tag ends the live row and begins another; no row is ever pointed elsewhere. What
//! ends or begins tags of a repository does so under [`Lock::tags_of`]. What users do with tags besides pushing and deleting is in [`changes`], what
//! they look up of the past in [`history`].

mod changes;
mod history;

use std::collections::{BTreeMap, BTreeSet};

use roadstead_oci::Tag;
use roadstead_runtime::{Ids, Timestamp};

use crate::audit::{self, Actor, Event};
use crate::database::{
    Connection, Database, Lock, Named, Transaction, contended, json_ids, json_texts, params,
};
use crate::error::MetadataError;
use crate::features::Features;
use crate::ids::{ManifestId, RepositoryId};
use crate::immutability::ImmutableTags;
use crate::labels::TagEffects;
use crate::repositories::Repository;
use crate::row::FromRow;

pub use self::changes::{ChangeTag, PointTag, PointedFrom, TagChange, TagMove};
pub use self::history::{TagFilter, TagHistory, TagPage};

/// A tag or a manifest to be deleted, and who does it.
#[derive(Clone, Copy, Debug)]
pub struct Delete<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// What else is kept.
    pub features: Features,
    /// Who deletes, for the log.
    pub actor: &'a Actor,
    /// Now.
    pub now: Timestamp,
}

/// What became of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Deleted,
    /// It was not there.
    Unknown,
    /// This tag cannot be deleted. Nothing was changed.
    Immutable(String),
}

/// A row of a tag that is live.
#[derive(Debug, FromRow)]
pub(crate) struct LiveTag {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) digest: Option<String>,
    manifest_id: Option<i32>,
    pub(crate) lifetime_end_ms: Option<i64>,
    pub(crate) hidden: bool,
    pub(crate) immutable: bool,
}

/// The columns of [`LiveTag`], from `tag t` and `manifest m`.
pub(crate) const LIVE_TAG: &str =
    "t.id, t.name, m.digest, t.manifest_id, t.lifetime_end_ms, t.hidden, t.immutable";

impl Database {
    /// Ends a live tag.
    pub async fn delete_tag(
        &self,
        delete: &Delete<'_>,
        tag: &Tag,
    ) -> Result<Deletion, MetadataError> {
        contended(|| self.delete_tag_once(delete, tag)).await
    }

    async fn delete_tag_once(
        &self,
        delete: &Delete<'_>,
        tag: &Tag,
    ) -> Result<Deletion, MetadataError> {
        let repository = delete.repository.id;
        let transaction = self.begin("delete a tag").await?;
        transaction.lock(Lock::tags_of(repository)).await?;
        let live = live_tags(&transaction, repository, [tag], delete.now).await?;
        let Some(row) = live.get(tag.as_str()) else {
            return Ok(Deletion::Unknown);
        };
        if row.immutable && delete.features.immutable_tags != ImmutableTags::Ignored {
            return Ok(Deletion::Immutable(row.name.clone()));
        }
        end(&transaction, [row.id], delete.now).await?;
        let event = Event::DeleteTag {
            tag: &row.name,
            digest: row.digest.as_deref(),
        };
        audit::write(
            &transaction,
            &[delete.actor.entry(delete.repository, &event, delete.now)],
        )
        .await?;
        transaction.commit().await?;
        Ok(Deletion::Deleted)
    }

    /// Lists the names of live tags in byte order from behind `after`, which need not exist. At most `limit`.
    pub async fn list_tags(
        &self,
        repository: RepositoryId,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, MetadataError> {
        let rows: Vec<Named> = self
            .pull_reader()
            .rows(
                "list tags",
                "SELECT name FROM tag
                 WHERE repository_id = $1 AND @bytewise(name) > $2 AND NOT hidden
                   AND (lifetime_end_ms IS NULL OR lifetime_end_ms > $3)
                 GROUP BY name ORDER BY @bytewise(name) LIMIT $4",
                params![
                    repository.0,
                    after.unwrap_or_default(),
                    now.timestamp_millis(),
                    i64::from(limit),
                ],
            )
            .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}

/// Tags to be pointed to a manifest.
#[derive(Debug)]
pub(crate) struct MoveTags<'a> {
    pub(crate) repository: RepositoryId,
    pub(crate) manifest: ManifestId,
    pub(crate) tags: &'a [Tag],
    /// What the labels of the manifest do.
    pub(crate) effects: TagEffects,
    /// Those of the tags that policies make immutable.
    pub(crate) made_immutable: &'a [&'a Tag],
    pub(crate) immutable_tags: ImmutableTags,
    /// Whether they go back to what they pointed to before.
    pub(crate) reversion: bool,
    pub(crate) now: Timestamp,
}

/// Points tags to a manifest, ending what they pointed to before. `live` are their rows, looked up under the lock.
///
/// A tag that points there already, and would begin again with nothing changed, is left alone. One that ends begins anew with every push.
pub(crate) async fn move_tags(
    transaction: &Transaction,
    moved: &MoveTags<'_>,
    live: &BTreeMap<String, LiveTag>,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "move tags";
    let respected = moved.immutable_tags != ImmutableTags::Ignored;
    let immutable: BTreeSet<&Tag> = moved
        .tags
        .iter()
        .filter(|tag| respected && (moved.effects.immutable || moved.made_immutable.contains(tag)))
        .collect();
    let ends_after = |tag: &Tag| {
        moved.effects.expires_after_ms.filter(|_| {
            !immutable.contains(tag) || moved.immutable_tags == ImmutableTags::KeptUntilTheyExpire
        })
    };
    let (mut begin, mut ended) = (Vec::new(), Vec::new());
    for tag in moved.tags {
        match live.get(tag.as_str()) {
            Some(row)
                if row.manifest_id == Some(moved.manifest.0)
                    && row.lifetime_end_ms.is_none()
                    && ends_after(tag).is_none()
                    && !immutable.contains(tag) => {}
            Some(row) => {
                begin.push(tag);
                ended.push(row.id);
            }
            None => begin.push(tag),
        }
    }
    if begin.is_empty() {
        return Ok(());
    }
    end(transaction, ended.iter().copied(), moved.now).await?;
    let names = |tags: &mut dyn Iterator<Item = &&Tag>| json_texts(tags.map(|tag| tag.as_str()));
    transaction
        .execute(
            OPERATION,
            // A row begins where the one before it ended, which is now unless that millisecond was taken.
            "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, tag_kind_id, immutable, reversion)
             SELECT b.name, $2, $3, b.start, CASE WHEN b.name IN @texts($6) THEN b.start + $7 ELSE NULL END, b.kind,
                    b.name IN @texts($8), $9
             FROM (SELECT n.value AS name, k.id AS kind,
                          COALESCE((SELECT max(t.lifetime_end_ms) FROM tag t
                                    WHERE t.id IN @ids($4) AND t.name = n.value), $5) AS start
                   FROM @texts($1) n, tagkind k WHERE k.name = 'tag') b",
            params![
                names(&mut begin.iter()),
                moved.repository.0,
                moved.manifest.0,
                json_ids(ended),
                moved.now.timestamp_millis(),
                names(&mut begin.iter().filter(|tag| ends_after(tag).is_some())),
                moved.effects.expires_after_ms.unwrap_or_default(),
                names(&mut begin.iter().filter(|tag| immutable.contains(**tag))),
                moved.reversion,
            ],
        )
        .await?;
    Ok(())
}

/// Keeps an untagged manifest visible until then, by a hidden tag as Quay makes it. None: for good.
pub(crate) async fn hold(
    connection: &Transaction,
    repository: RepositoryId,
    manifest: ManifestId,
    until: Option<Timestamp>,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<(), MetadataError> {
    connection
        .execute(
            "hold an untagged manifest",
            // Not when a tag holds it as long already: a client that pushes the same manifest again and again leaves no heap of rows.
            "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden, tag_kind_id)
             SELECT $1, $2, $3, $4, $5, true, id FROM tagkind WHERE name = 'tag'
               AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = $3
                               AND (t.lifetime_end_ms IS NULL OR ($5 IS NOT NULL AND t.lifetime_end_ms >= $5)))",
            params![
                format!("$temp-{}", ids.uuid()),
                repository.0,
                manifest.0,
                now.timestamp_millis(),
                until.map(|until| until.timestamp_millis()),
            ],
        )
        .await?;
    Ok(())
}

/// The live rows of these tags, by name. The youngest of each: a row that was ended twice within a millisecond may end a moment from now.
pub(crate) async fn live_tags<'a>(
    connection: &impl Connection,
    repository: RepositoryId,
    tags: impl IntoIterator<Item = &'a Tag>,
    now: Timestamp,
) -> Result<BTreeMap<String, LiveTag>, MetadataError> {
    let rows: Vec<LiveTag> = connection
        .rows(
            "look up tags",
            &format!(
                "SELECT {LIVE_TAG} FROM @texts($2) AS n CROSS JOIN tag t LEFT JOIN manifest m ON m.id = t.manifest_id
                 WHERE t.repository_id = $1 AND t.name = n.value AND NOT t.hidden
                   AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > $3)
                 ORDER BY t.id"
            ),
            params![
                repository.0,
                json_texts(tags.into_iter().map(Tag::as_str)),
                now.timestamp_millis(),
            ],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.name.clone(), row))
        .collect())
}

/// Ends rows of tags, at most one of each name, now.
///
/// Quay's unique index allows one end per name and millisecond, so a second move within one millisecond ends at the next that is free. What Quay
/// noted of warnings that a tag would end goes, as it does there.
pub(crate) async fn end(
    transaction: &Transaction,
    rows: impl IntoIterator<Item = i32>,
    now: Timestamp,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "end tags";
    let rows: Vec<i32> = rows.into_iter().collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = json_ids(rows);
    transaction
        .execute(
            OPERATION,
            "UPDATE tag SET lifetime_end_ms = (
                 SELECT min(c.candidate) FROM (
                     SELECT CAST($2 AS bigint) AS candidate
                     UNION ALL
                     SELECT e.lifetime_end_ms + 1 FROM tag e
                     WHERE e.repository_id = tag.repository_id AND e.name = tag.name AND e.id <> tag.id
                       AND e.lifetime_end_ms >= $2) c
                 WHERE NOT EXISTS (
                     SELECT 1 FROM tag o
                     WHERE o.repository_id = tag.repository_id AND o.name = tag.name AND o.id <> tag.id
                       AND o.lifetime_end_ms = c.candidate))
             WHERE id IN @ids($1)",
            params![rows.as_str(), now.timestamp_millis()],
        )
        .await?;
    transaction
        .execute(
            OPERATION,
            "DELETE FROM tagnotificationsuccess WHERE tag_id IN @ids($1)",
            params![rows],
        )
        .await?;
    Ok(())
}
