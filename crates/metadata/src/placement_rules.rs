//! Placement rules as rows, and the regions of namespaces: what is demanded beside the configuration. What it comes to is [`crate::demand`]'s.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_placement::{LocationName, PlacementRule, RuleScope, TagPattern};

use crate::database::{
    Connection, Counted, Database, Identified, Lock, Named, Transaction, contended, json_ids,
    params,
};
use crate::demand::open_locations;
use crate::error::MetadataError;
use crate::ids::UserId;
use crate::locations::{json_locations, limit_column, location_name};
use crate::min_locations::MinLocations;
use crate::repositories::Repository;
use crate::row::FromRow;

/// The most rules of a registry: every statement that asks what must be where knows all of them.
pub(crate) const RULES_MAX: u32 = 1_000;

/// A rule with the names of what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRule {
    /// The namespace.
    pub namespace: String,
    /// The repository within it; none: all of them.
    pub repository: Option<String>,
    /// The rule.
    pub rule: PlacementRule,
}

/// What a namespace demands besides rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSettings {
    /// The namespace.
    pub namespace: String,
    /// Its row.
    pub id: UserId,
    /// Its regions (`userregion`).
    pub regions: BTreeSet<LocationName>,
    /// How many locations its pushes wait for.
    pub min_locations: Option<MinLocations>,
}

/// Where the bytes of a repository may be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteLimits {
    /// Locations that take no new bytes: being removed, or removed.
    pub closed: BTreeSet<LocationName>,
    /// The locations that a rule confines the repository to; none: it is not confined.
    pub allowed: Option<BTreeSet<LocationName>>,
}

#[derive(Debug, FromRow)]
struct RuleRow {
    id: i32,
    namespace_id: i32,
    repository_id: i32,
    tags: String,
    copies: i32,
    confined: bool,
}

#[derive(Debug, FromRow)]
struct RuleLocationRow {
    rule_id: i32,
    location: String,
}

#[derive(Debug, FromRow)]
struct ScopeNameRow {
    id: i32,
    namespace: String,
    repository: Option<String>,
}

#[derive(Debug, FromRow)]
struct RegionRow {
    namespace_id: i32,
    location: String,
}

#[derive(Debug, FromRow)]
struct LimitRow {
    name: String,
    allowed: i32,
}

#[derive(Debug, FromRow)]
struct SettingsRow {
    id: i32,
    namespace: String,
    locations: Option<i32>,
    deadline_seconds: Option<i32>,
}

/// The rules with the ids of their rows, of one namespace or of all. One statement where there are none.
pub(crate) async fn read_rules(
    connection: &impl Connection,
    namespace: Option<UserId>,
) -> Result<Vec<(i32, PlacementRule)>, MetadataError> {
    const OPERATION: &str = "look up the placement rules";
    let rows: Vec<RuleRow> = connection
        .rows(
            OPERATION,
            "SELECT id, namespace_id, repository_id, tags, copies, confined FROM roadstead_placement_rule
             WHERE namespace_id = $1 OR $1 = 0 ORDER BY id",
            params![namespace.map_or(0, |namespace| namespace.0)],
        )
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let named: Vec<RuleLocationRow> = connection
        .rows(
            OPERATION,
            "SELECT rule_id, location FROM roadstead_placement_rule_location WHERE rule_id IN @ids($1)",
            params![json_ids(rows.iter().map(|row| row.id))],
        )
        .await?;
    let mut locations: BTreeMap<i32, BTreeSet<LocationName>> = BTreeMap::new();
    for row in named {
        let location = location_name(&row.location)?;
        locations.entry(row.rule_id).or_default().insert(location);
    }
    rows.into_iter()
        .map(|row| {
            let tags = (!row.tags.is_empty()).then(|| TagPattern::new(&row.tags));
            let corrupt =
                |error| MetadataError::corrupt("roadstead_placement_rule", "tags", row.id, error);
            Ok((
                row.id,
                PlacementRule {
                    scope: RuleScope {
                        namespace: row.namespace_id,
                        repository: (row.repository_id != 0).then_some(row.repository_id),
                        tags: tags.transpose().map_err(corrupt)?,
                    },
                    locations: locations.remove(&row.id).unwrap_or_default(),
                    copies: row.copies.try_into().unwrap_or_default(),
                    only: row.confined,
                },
            ))
        })
        .collect()
}

/// The regions of namespaces, by their ids.
#[derive(Debug)]
pub(crate) struct Regions(pub(crate) BTreeMap<i32, BTreeSet<LocationName>>);

impl Regions {
    pub(crate) async fn of(
        connection: &impl Connection,
        namespaces: BTreeSet<i32>,
    ) -> Result<Self, MetadataError> {
        let rows: Vec<RegionRow> = connection
            .rows(
                "look up the regions of namespaces",
                "SELECT DISTINCT ur.user_id AS namespace_id, l.name AS location
                 FROM userregion ur JOIN imagestoragelocation l ON l.id = ur.location_id
                 WHERE ur.user_id IN @ids($1)",
                params![json_ids(namespaces)],
            )
            .await?;
        let mut regions: BTreeMap<i32, BTreeSet<LocationName>> = BTreeMap::new();
        for row in rows {
            let location = location_name(&row.location)?;
            regions
                .entry(row.namespace_id)
                .or_default()
                .insert(location);
        }
        Ok(Self(regions))
    }
}

impl Database {
    /// The rules of a namespace, or all, with the names of what they are for, by name. Rules for what is being deleted are left out.
    pub async fn placement_rules(
        &self,
        namespace: Option<UserId>,
    ) -> Result<Vec<NamedRule>, MetadataError> {
        let rules = read_rules(self.reader(), namespace).await?;
        let names: Vec<ScopeNameRow> = self
            .reader()
            .rows(
                "name what the placement rules are for",
                r#"SELECT p.id, u.username AS namespace, r.name AS repository
                   FROM roadstead_placement_rule p
                   JOIN "user" u ON u.id = p.namespace_id
                   LEFT JOIN repository r ON r.id = p.repository_id
                   WHERE p.id IN @ids($1) AND (p.repository_id = 0 OR r.state <> 3)"#,
                params![json_ids(rules.iter().map(|(id, _)| *id))],
            )
            .await?;
        let mut names: BTreeMap<i32, ScopeNameRow> =
            names.into_iter().map(|row| (row.id, row)).collect();
        let mut named: Vec<NamedRule> = rules
            .into_iter()
            .filter_map(|(id, rule)| {
                let row = names.remove(&id)?;
                Some(NamedRule {
                    namespace: row.namespace,
                    repository: row.repository,
                    rule,
                })
            })
            .collect();
        named.sort_by(|one, other| {
            let key = |named: &NamedRule| {
                (
                    named.namespace.clone(),
                    named.repository.clone(),
                    named.rule.scope.tags.clone(),
                )
            };
            key(one).cmp(&key(other))
        });
        Ok(named)
    }

    /// Sets a rule, in place of the one with the same scope if there is one. What it changes is for the next reconciliation to find.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when there are too many rules.
    pub async fn set_placement_rule(&self, rule: &PlacementRule) -> Result<(), MetadataError> {
        contended(|| self.set_placement_rule_once(rule)).await
    }

    async fn set_placement_rule_once(&self, rule: &PlacementRule) -> Result<(), MetadataError> {
        const OPERATION: &str = "set a placement rule";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::placement_rules()).await?;
        delete(&transaction, &rule.scope).await?;
        let others: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM roadstead_placement_rule",
                params![],
            )
            .await?;
        if others.is_some_and(|others| others.count >= i64::from(RULES_MAX)) {
            return Err(MetadataError::Conflict {
                what: format!("there are {RULES_MAX} placement rules, the most that there may be"),
            });
        }
        let row: Option<Identified> = transaction
            .row(
                OPERATION,
                "INSERT INTO roadstead_placement_rule (namespace_id, repository_id, tags, copies, confined)
                 VALUES ($1, $2, $3, $4, $5) RETURNING id",
                params![
                    rule.scope.namespace,
                    rule.scope.repository.unwrap_or_default(),
                    tags_column(&rule.scope),
                    i32::try_from(rule.copies).unwrap_or(i32::MAX),
                    rule.only,
                ],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_placement_rule_location (rule_id, location)
                 SELECT $1, n.value FROM @texts($2) AS n",
                params![row.map_or(0, |row| row.id), json_locations(&rule.locations)],
            )
            .await?;
        transaction.commit().await
    }

    /// Takes a rule away. False when there is none.
    pub async fn clear_placement_rule(&self, scope: &RuleScope) -> Result<bool, MetadataError> {
        let transaction = self.begin("clear a placement rule").await?;
        transaction.lock(Lock::placement_rules()).await?;
        let there = delete(&transaction, scope).await?;
        transaction.commit().await?;
        Ok(there)
    }

    /// Sets the regions of a namespace (`userregion`), which Quay's workers go by too. Locations that the database does not know are left out.
    pub async fn set_namespace_regions(
        &self,
        namespace: UserId,
        regions: &BTreeSet<LocationName>,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "set the regions of a namespace";
        let transaction = self.begin(OPERATION).await?;
        transaction.lock(Lock::placement_rules()).await?;
        let regions = json_locations(regions);
        transaction
            .execute(
                OPERATION,
                "DELETE FROM userregion WHERE user_id = $1
                 AND location_id NOT IN (SELECT l.id FROM imagestoragelocation l WHERE l.name IN @texts($2))",
                params![namespace.0, regions.as_str()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO userregion (user_id, location_id)
                 SELECT $1, l.id FROM imagestoragelocation l WHERE l.name IN @texts($2)
                   AND NOT EXISTS (SELECT 1 FROM userregion r WHERE r.user_id = $1 AND r.location_id = l.id)",
                params![namespace.0, regions],
            )
            .await?;
        transaction.commit().await
    }

    /// What namespaces demand besides rules: of one, or of all that demand anything.
    pub async fn namespace_settings(
        &self,
        namespace: Option<UserId>,
    ) -> Result<Vec<NamespaceSettings>, MetadataError> {
        let rows: Vec<SettingsRow> = self
            .reader()
            .rows(
                "look up what namespaces demand",
                r#"SELECT u.id, u.username AS namespace, m.locations, m.deadline_seconds
                   FROM "user" u LEFT JOIN roadstead_min_locations m ON m.namespace_id = u.id
                   WHERE u.id = $1 OR ($1 = 0 AND (m.id IS NOT NULL OR u.id IN (SELECT ur.user_id FROM userregion ur)))
                   ORDER BY u.username"#,
                params![namespace.map_or(0, |namespace| namespace.0)],
            )
            .await?;
        let namespaces = rows.iter().map(|row| row.id).collect();
        let mut regions = Regions::of(self.reader(), namespaces).await?.0;
        Ok(rows
            .into_iter()
            .map(|row| NamespaceSettings {
                regions: regions.remove(&row.id).unwrap_or_default(),
                min_locations: MinLocations::of_columns(row.locations, row.deadline_seconds),
                id: UserId(row.id),
                namespace: row.namespace,
            })
            .collect())
    }

    /// The configured locations that take new bytes, in the order in which copies are filled up.
    pub async fn open_locations(
        &self,
        configured: &BTreeSet<LocationName>,
    ) -> Result<Vec<LocationName>, MetadataError> {
        let open = open_locations(self.reader(), configured).await?;
        Ok(open.into_iter().map(|(name, _)| name).collect())
    }

    /// Where the bytes of a repository may be written.
    pub async fn write_limits(
        &self,
        repository: &Repository,
    ) -> Result<WriteLimits, MetadataError> {
        let rows: Vec<LimitRow> = self
            .look_up_reader()
            .rows(
                "look up where a repository may be written",
                "SELECT o.name, 0 AS allowed FROM roadstead_location o WHERE o.state IN ('draining', 'removing', 'removed')
                 UNION ALL
                 SELECT n.location, 1 FROM roadstead_placement_rule p
                 JOIN roadstead_placement_rule_location n ON n.rule_id = p.id
                 WHERE p.confined AND p.id = (
                     SELECT q.id FROM roadstead_placement_rule q
                     WHERE q.namespace_id = $1 AND q.repository_id IN (0, $2) AND q.tags = ''
                     ORDER BY q.repository_id DESC LIMIT 1)",
                params![repository.namespace_id.0, repository.id.0],
            )
            .await?;
        let mut limits = WriteLimits::default();
        for row in rows {
            let name = location_name(&row.name)?;
            if row.allowed == 0 {
                limits.closed.insert(name);
            } else {
                limits.allowed.get_or_insert_default().insert(name);
            }
        }
        Ok(limits)
    }

    /// The names of some namespaces, in their order.
    pub async fn some_namespaces(&self, limit: u32) -> Result<Vec<String>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "list namespaces",
                r#"SELECT username AS name FROM "user" WHERE NOT robot ORDER BY username LIMIT $1"#,
                params![limit_column(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }

    /// The names of some repositories of a namespace, in their order.
    pub async fn some_repositories(
        &self,
        namespace: UserId,
        limit: u32,
    ) -> Result<Vec<String>, MetadataError> {
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "list the repositories of a namespace",
                "SELECT name FROM repository WHERE namespace_user_id = $1 AND state <> 3 ORDER BY name LIMIT $2",
                params![namespace.0, limit_column(limit)],
            )
            .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}

/// Deletes the rule with this scope. False when there is none.
async fn delete(connection: &Transaction, scope: &RuleScope) -> Result<bool, MetadataError> {
    const OPERATION: &str = "clear a placement rule";
    let old: Option<Identified> = connection
        .row(
            OPERATION,
            "DELETE FROM roadstead_placement_rule WHERE namespace_id = $1 AND repository_id = $2 AND tags = $3 RETURNING id",
            params![
                scope.namespace,
                scope.repository.unwrap_or_default(),
                tags_column(scope),
            ],
        )
        .await?;
    let Some(old) = old else {
        return Ok(false);
    };
    connection
        .execute(
            OPERATION,
            "DELETE FROM roadstead_placement_rule_location WHERE rule_id = $1",
            params![old.id],
        )
        .await?;
    Ok(true)
}

fn tags_column(scope: &RuleScope) -> &str {
    scope.tags.as_ref().map_or("", TagPattern::as_str)
}
