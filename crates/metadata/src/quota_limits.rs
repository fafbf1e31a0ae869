//! Quotas: how much a namespace may hold, and from what part of that somebody is warned or pushes are refused.

use std::collections::BTreeMap;

use sea_orm::FromQueryResult;
use serde_json::json;

use crate::changes::{Change, Changed, Sort, Unchanged, find, made};
use crate::database::{Connection, Database, Identified, Transaction, contended, json_ids, params};
use crate::error::MetadataError;
use crate::ids::{QuotaId, QuotaLimitId, UserId};

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

#[derive(FromQueryResult)]
struct QuotaRow {
    id: i32,
    namespace_id: i32,
    limit_bytes: i64,
    limit_id: Option<i32>,
    kind: Option<String>,
    percent: Option<i32>,
}

#[derive(FromQueryResult)]
struct SizeRow {
    namespace_id: i32,
    size_bytes: i64,
    started: bool,
    complete: bool,
}

#[derive(FromQueryResult)]
struct HeldRow {
    id: i32,
    limit_bytes: i64,
}

#[derive(FromQueryResult)]
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
