//! Quotas: how much a namespace may hold, and from what part of that somebody is warned or pushes are refused.

use std::collections::BTreeMap;

use roadstead_runtime::{Ids, Timestamp};
use serde_json::json;

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{
    Connection, Database, Identified, Named, Transaction, contended, json_ids, json_pairs, params,
};
use crate::error::MetadataError;
use crate::ids::{QuotaId, QuotaLimitId, RepositoryId, UserId};
use crate::row::FromRow;

/// What happens from a part of a quota on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaLimitKind {
    /// The administrators are told.
    Warning,
    /// Pushes are refused.
    Reject,
}

impl QuotaLimitKind {
    /// The name in Quay's `quotatype`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "Warning",
            Self::Reject => "Reject",
        }
    }

    fn from_column(name: &str) -> Self {
        if name == "Reject" {
            Self::Reject
        } else {
            Self::Warning
        }
    }
}

/// A limit of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLimitRecord {
    /// Its id.
    pub id: QuotaLimitId,
    /// What happens.
    pub kind: QuotaLimitKind,
    /// From what part of the quota on, 1 to 100.
    pub percent: i32,
}

/// The quota of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRecord {
    /// Its id.
    pub id: QuotaId,
    /// Whose it is.
    pub namespace: UserId,
    /// How many bytes the namespace may hold.
    pub limit_bytes: i64,
    /// From what parts of that on something happens, in the order in which they were made.
    pub limits: Vec<QuotaLimitRecord>,
}

/// How much a namespace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceSize {
    /// Bytes.
    pub bytes: i64,
    /// Whether Quay's backfill has begun to sum it up.
    pub started: bool,
    /// Whether it is the whole sum.
    pub complete: bool,
}

/// Whether pushes are measured against quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotaChecks {
    /// No push is refused for what its namespace holds.
    #[default]
    None,
    /// Pushes are refused from a [`QuotaLimitKind::Reject`] on (`FEATURE_QUOTA_MANAGEMENT` and `FEATURE_VERIFY_QUOTA`).
    Held {
        /// What a namespace without a quota may hold; none: whatever it likes.
        default_bytes: Option<i64>,
    },
}

/// How a namespace stands to its quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaStanding {
    /// How many bytes it holds.
    pub held_bytes: i64,
    /// How many bytes have arrived of uploads into one repository that have not ended.
    pub uploading_bytes: i64,
    /// How many bytes it may hold; none: it has no quota of its own.
    pub limit_bytes: Option<i64>,
    /// From what percentages of that on what happens.
    pub limits: Vec<(QuotaLimitKind, i32)>,
}

impl QuotaStanding {
    /// What happens to a namespace that holds so many bytes: the highest limit that it has reached, as in Quay. Limits of no bytes do not count.
    pub fn reached(&self, bytes: i64, default_bytes: Option<i64>) -> Option<QuotaLimitKind> {
        let Some(limit) = self.limit_bytes else {
            return default_bytes
                .filter(|default| *default > 0 && bytes >= *default)
                .map(|_| QuotaLimitKind::Reject);
        };
        let mut highest = (0, None);
        for (kind, percent) in &self.limits {
            let allowed = i128::from(limit) * i128::from(*percent) / 100;
            if i128::from(bytes) >= allowed && allowed > highest.0 {
                highest = (allowed, Some(*kind));
            }
        }
        highest.1
    }
}

#[derive(FromRow)]
struct StandingRow {
    held: i64,
    uploading: i64,
    limit_bytes: Option<i64>,
    kind: Option<String>,
    percent: Option<i32>,
}

#[derive(FromRow)]
struct QuotaRow {
    id: i32,
    namespace_id: i32,
    limit_bytes: i64,
    limit_id: Option<i32>,
    kind: Option<String>,
    percent: Option<i32>,
}

#[derive(FromRow)]
struct SizeRow {
    namespace_id: i32,
    size_bytes: i64,
    started: bool,
    complete: bool,
}

#[derive(FromRow)]
struct HeldRow {
    id: i32,
    limit_bytes: i64,
}

#[derive(FromRow)]
struct LimitRow {
    id: i32,
    kind: String,
    percent: i32,
}

const CHANGE: &str = "change a quota";

impl Database {
    /// The quotas of namespaces, at most one for each. One statement, however many there are.
    pub async fn quotas(
        &self,
        namespaces: impl IntoIterator<Item = UserId> + Send,
    ) -> Result<BTreeMap<UserId, QuotaRecord>, MetadataError> {
        let ids = json_ids(namespaces.into_iter().map(|id| id.0));
        let rows: Vec<QuotaRow> = self
            .reader()
            .rows(
                "look up quotas",
                "SELECT q.id, q.namespace_id, q.limit_bytes, l.id AS limit_id, t.name AS kind, l.percent_of_limit AS percent
                 FROM userorganizationquota q LEFT JOIN quotalimits l ON l.quota_id = q.id LEFT JOIN quotatype t ON t.id = l.quota_type_id
                 WHERE q.namespace_id IN @ids($1) ORDER BY q.id, l.id",
                params![ids],
            )
            .await?;
        let mut quotas: BTreeMap<UserId, QuotaRecord> = BTreeMap::new();
        for row in rows {
            let quota = quotas
                .entry(UserId(row.namespace_id))
                .or_insert_with(|| QuotaRecord {
                    id: QuotaId(row.id),
                    namespace: UserId(row.namespace_id),
                    limit_bytes: row.limit_bytes,
                    limits: Vec::new(),
                });
            if let (Some(id), Some(kind), Some(percent)) = (row.limit_id, row.kind, row.percent) {
                quota.limits.push(QuotaLimitRecord {
                    id: QuotaLimitId(id),
                    kind: QuotaLimitKind::from_column(&kind),
                    percent,
                });
            }
        }
        Ok(quotas)
    }

    /// How much namespaces hold. Those that were never summed up are left out. One statement, however many there are.
    pub async fn namespace_sizes(
        &self,
        namespaces: impl IntoIterator<Item = UserId> + Send,
    ) -> Result<BTreeMap<UserId, NamespaceSize>, MetadataError> {
        let ids = json_ids(namespaces.into_iter().map(|id| id.0));
        let rows: Vec<SizeRow> = self
            .reader()
            .rows(
                "look up what namespaces hold",
                "SELECT namespace_user_id AS namespace_id, size_bytes, backfill_start_ms IS NOT NULL AS started, backfill_complete AS complete
                 FROM quotanamespacesize WHERE namespace_user_id IN @ids($1)",
                params![ids],
            )
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let size = NamespaceSize {
                    bytes: row.size_bytes,
                    started: row.started,
                    complete: row.complete,
                };
                (UserId(row.namespace_id), size)
            })
            .collect())
    }

    /// How a namespace stands to its quota, and how much is being uploaded into a repository of it.
    pub async fn quota_standing(
        &self,
        namespace: UserId,
        uploads_into: Option<RepositoryId>,
    ) -> Result<QuotaStanding, MetadataError> {
        standing(self.reader(), namespace, uploads_into).await
    }

    /// Tells those who administer a namespace that it has reached a limit, in Quay's own notifications. Who has been told and has not dismissed it is
    /// not told again. At most a thousand are told.
    pub async fn notify_of_quota(
        &self,
        namespace: UserId,
        kind: QuotaLimitKind,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "tell of a quota";
        const TOLD_MAX: i64 = 1000;
        let name = match kind {
            QuotaLimitKind::Warning => "quota_warning",
            QuotaLimitKind::Reject => "quota_error",
        };
        let account: Option<Named> = self
            .reader()
            .row(
                OPERATION,
                r#"SELECT username AS name FROM "user" WHERE id = $1"#,
                params![namespace.0],
            )
            .await?;
        let Some(account) = account else {
            return Ok(());
        };
        let told = format!("{{\"namespace\": {}}}", json!(account.name));
        let admins: Vec<Identified> = self
            .reader()
            .rows(
                OPERATION,
                r#"SELECT u.id FROM "user" u
                   WHERE (u.id = $1 AND NOT u.organization OR u.id IN (
                       SELECT m.user_id FROM team t JOIN teamrole tr ON tr.id = t.role_id JOIN teammember m ON m.team_id = t.id
                       WHERE t.organization_id = $1 AND tr.name = 'admin')) AND NOT u.robot
                     AND NOT EXISTS (
                         SELECT 1 FROM notification n JOIN notificationkind k ON k.id = n.kind_id
                         WHERE n.target_id = u.id AND k.name = $2 AND n.metadata_json = $3 AND NOT n.dismissed)
                   ORDER BY u.id LIMIT $4"#,
                params![namespace.0, name, told.as_str(), TOLD_MAX],
            )
            .await?;
        if admins.is_empty() {
            return Ok(());
        }
        let rows: Vec<(String, String)> = admins
            .iter()
            .map(|admin| (ids.uuid().to_string(), admin.id.to_string()))
            .collect();
        let rows = json_pairs(rows.iter().map(|(uuid, id)| (uuid.as_str(), id.as_str())));
        self.execute(
            OPERATION,
            "INSERT INTO notification (uuid, kind_id, target_id, metadata_json, created, dismissed)
             SELECT p.first, k.id, CAST(p.second AS integer), $3, $4, false
             FROM @pairs($1) p JOIN notificationkind k ON k.name = $2",
            params![rows, name, told, now.naive_utc()],
        )
        .await?;
        Ok(())
    }

    /// Gives a namespace a quota.
    pub async fn create_quota(
        &self,
        namespace: &str,
        limit_bytes: i64,
        change: &Change<'_>,
    ) -> Changed<QuotaId> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Namespace, namespace).await?);
            if quota_of(&transaction, id).await?.is_some() {
                return Ok(Err(Unchanged::taken("a quota of", namespace)));
            }
            let made: Option<Identified> = transaction
                .row(
                    CHANGE,
                    "INSERT INTO userorganizationquota (namespace_id, limit_bytes) VALUES ($1, $2) RETURNING id",
                    params![id.0, limit_bytes],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "org_create_quota",
                    id,
                    &[
                        ("namespace", json!(namespace)),
                        ("limit_bytes", json!(limit_bytes)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(QuotaId(made.map_or(0, |row| row.id))))
        })
        .await
    }

    /// Gives a namespace's quota another size.
    pub async fn change_quota(
        &self,
        namespace: &str,
        quota: QuotaId,
        limit_bytes: i64,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Namespace, namespace).await?);
            let held = made!(held(&transaction, id, quota).await?);
            transaction
                .execute(
                    CHANGE,
                    "UPDATE userorganizationquota SET limit_bytes = $2 WHERE id = $1",
                    params![held.id, limit_bytes],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "org_change_quota",
                    id,
                    &[
                        ("namespace", json!(namespace)),
                        ("limit_bytes", json!(limit_bytes)),
                        ("previous_limit_bytes", json!(held.limit_bytes)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Takes a namespace's quota away, with its limits.
    pub async fn delete_quota(
        &self,
        namespace: &str,
        quota: QuotaId,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Namespace, namespace).await?);
            let held = made!(held(&transaction, id, quota).await?);
            for statement in [
                "DELETE FROM quotalimits WHERE quota_id = $1",
                "DELETE FROM userorganizationquota WHERE id = $1",
            ] {
                transaction
                    .execute(CHANGE, statement, params![held.id])
                    .await?;
            }
            change
                .log(
                    &transaction,
                    "org_delete_quota",
                    id,
                    &[
                        ("namespace", json!(namespace)),
                        ("quota_id", json!(held.id)),
                        ("limit_bytes", json!(held.limit_bytes)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Gives a quota a limit. Of the same kind and percentage there is one.
    pub async fn create_quota_limit(
        &self,
        namespace: &str,
        quota: QuotaId,
        (kind, percent): (QuotaLimitKind, i32),
        change: &Change<'_>,
    ) -> Changed<QuotaLimitId> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Namespace, namespace).await?);
            let held = made!(held(&transaction, id, quota).await?);
            made!(free_limit(&transaction, held.id, None, kind, percent).await?);
            let made: Option<Identified> = transaction
                .row(
                    CHANGE,
                    "INSERT INTO quotalimits (quota_id, quota_type_id, percent_of_limit)
                     SELECT $1, t.id, $3 FROM quotatype t WHERE t.name = $2 RETURNING id",
                    params![held.id, kind.as_str(), percent],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "org_create_quota_limit",
                    id,
                    &[
                        ("namespace", json!(namespace)),
                        ("type", json!(kind.as_str())),
                        ("threshold_percent", json!(percent)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(QuotaLimitId(made.map_or(0, |row| row.id))))
        })
        .await
    }

    /// Changes a limit of a quota. What is none stays.
    pub async fn change_quota_limit(
        &self,
        namespace: &str,
        (quota, limit): (QuotaId, QuotaLimitId),
        kind: Option<QuotaLimitKind>,
        percent: Option<i32>,
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Namespace, namespace).await?);
            let held = made!(held(&transaction, id, quota).await?);
            let before = made!(limit_of(&transaction, held.id, limit).await?);
            let kind = kind.unwrap_or_else(|| QuotaLimitKind::from_column(&before.kind));
            let percent = percent.unwrap_or(before.percent);
            made!(free_limit(&transaction, held.id, Some(limit), kind, percent).await?);
            transaction
                .execute(
                    CHANGE,
                    "UPDATE quotalimits SET quota_type_id = (SELECT t.id FROM quotatype t WHERE t.name = $2), percent_of_limit = $3
                     WHERE id = $1",
                    params![before.id, kind.as_str(), percent],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "org_change_quota_limit",
                    id,
                    &[
                        ("namespace", json!(namespace)),
                        ("type", json!(kind.as_str())),
                        ("threshold_percent", json!(percent)),
                        ("previous_type", json!(before.kind)),
                        ("previous_threshold_percent", json!(before.percent)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }

    /// Takes a limit away.
    pub async fn delete_quota_limit(
        &self,
        namespace: &str,
        (quota, limit): (QuotaId, QuotaLimitId),
        change: &Change<'_>,
    ) -> Changed<()> {
        contended(async || {
            let transaction = self.begin(CHANGE).await?;
            let id = made!(find(&transaction, Sort::Namespace, namespace).await?);
            let held = made!(held(&transaction, id, quota).await?);
            let before = made!(limit_of(&transaction, held.id, limit).await?);
            transaction
                .execute(
                    CHANGE,
                    "DELETE FROM quotalimits WHERE id = $1",
                    params![before.id],
                )
                .await?;
            change
                .log(
                    &transaction,
                    "org_delete_quota_limit",
                    id,
                    &[
                        ("namespace", json!(namespace)),
                        ("limit_id", json!(before.id)),
                        ("type", json!(before.kind)),
                        ("threshold_percent", json!(before.percent)),
                    ],
                )
                .await?;
            transaction.commit().await?;
            Ok(Ok(()))
        })
        .await
    }
}

/// How a namespace stands to its quota.
pub(crate) async fn standing(
    connection: &impl Connection,
    namespace: UserId,
    uploads_into: Option<RepositoryId>,
) -> Result<QuotaStanding, MetadataError> {
    let rows: Vec<StandingRow> = connection
        .rows(
            "measure a namespace against its quota",
            "SELECT COALESCE((SELECT s.size_bytes FROM quotanamespacesize s WHERE s.namespace_user_id = $1), 0) AS held,
                    (SELECT CAST(COALESCE(sum(b.byte_count), 0) AS bigint) FROM blobupload b WHERE b.repository_id = $2) AS uploading,
                    q.limit_bytes, t.name AS kind, l.percent_of_limit AS percent
             FROM (SELECT 1 AS one) AS always
             LEFT JOIN userorganizationquota q ON q.namespace_id = $1
             LEFT JOIN quotalimits l ON l.quota_id = q.id LEFT JOIN quotatype t ON t.id = l.quota_type_id
             ORDER BY q.id, l.id",
            params![
                namespace.0,
                uploads_into.map_or(0, |repository| repository.0),
            ],
        )
        .await?;
    let mut standing = QuotaStanding::default();
    for row in rows {
        standing.held_bytes = row.held;
        standing.uploading_bytes = row.uploading;
        standing.limit_bytes = row.limit_bytes;
        if let (Some(kind), Some(percent)) = (row.kind, row.percent) {
            let limit = (QuotaLimitKind::from_column(&kind), percent);
            standing.limits.push(limit);
        }
    }
    Ok(standing)
}

async fn quota_of(
    transaction: &Transaction,
    namespace: UserId,
) -> Result<Option<HeldRow>, MetadataError> {
    transaction
        .row(
            CHANGE,
            "SELECT id, limit_bytes FROM userorganizationquota WHERE namespace_id = $1 ORDER BY id LIMIT 1",
            params![namespace.0],
        )
        .await
}

async fn held(transaction: &Transaction, namespace: UserId, quota: QuotaId) -> Changed<HeldRow> {
    let found = quota_of(transaction, namespace).await?;
    Ok(found
        .filter(|row| row.id == quota.0)
        .ok_or_else(|| Unchanged::unknown("quota", quota.to_string())))
}

async fn limit_of(transaction: &Transaction, quota: i32, limit: QuotaLimitId) -> Changed<LimitRow> {
    let row: Option<LimitRow> = transaction
        .row(
            CHANGE,
            "SELECT l.id, t.name AS kind, l.percent_of_limit AS percent
             FROM quotalimits l JOIN quotatype t ON t.id = l.quota_type_id WHERE l.quota_id = $1 AND l.id = $2",
            params![quota, limit.0],
        )
        .await?;
    Ok(row.ok_or_else(|| Unchanged::unknown("quota limit", limit.to_string())))
}

async fn free_limit(
    transaction: &Transaction,
    quota: i32,
    except: Option<QuotaLimitId>,
    kind: QuotaLimitKind,
    percent: i32,
) -> Changed<()> {
    let taken: Option<Identified> = transaction
        .row(
            CHANGE,
            "SELECT l.id FROM quotalimits l JOIN quotatype t ON t.id = l.quota_type_id
             WHERE l.quota_id = $1 AND t.name = $2 AND l.percent_of_limit = $3 AND l.id <> $4",
            params![
                quota,
                kind.as_str(),
                percent,
                except.map_or(0, |limit| limit.0),
            ],
        )
        .await?;
    Ok(match taken {
        Some(_) => Err(Unchanged::taken(
            "a quota limit",
            format!("{} {percent}%", kind.as_str()),
        )),
        None => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_limit_that_is_reached_counts() {
        let standing = QuotaStanding {
            limit_bytes: Some(1000),
            limits: vec![
                (QuotaLimitKind::Reject, 95),
                (QuotaLimitKind::Warning, 80),
                (QuotaLimitKind::Reject, 0),
            ],
            ..QuotaStanding::default()
        };
        for (bytes, reached) in [
            (0, None),
            (799, None),
            (800, Some(QuotaLimitKind::Warning)),
            (949, Some(QuotaLimitKind::Warning)),
            (950, Some(QuotaLimitKind::Reject)),
            (i64::MAX, Some(QuotaLimitKind::Reject)),
        ] {
            assert_eq!(standing.reached(bytes, Some(1)), reached, "{bytes}");
        }
        let none = QuotaStanding::default();
        assert_eq!(none.reached(i64::MAX, None), None);
        assert_eq!(none.reached(9, Some(10)), None);
        assert_eq!(none.reached(10, Some(10)), Some(QuotaLimitKind::Reject));
    }
}
