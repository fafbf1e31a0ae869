//! The tables that refer to what is deleted, in an order in which they may go. Quay has more of them than we use, and a database of an older
//! Quay fewer: what is not there is left out.

use std::collections::BTreeSet;

use crate::database::{Connection, Database, Named, Transaction, json_texts, params};
use crate::dialect::Engine;
use crate::error::MetadataError;

/// One statement of a deletion. `$1` is the set of ids that go.
pub(crate) struct Step {
    pub(crate) table: &'static str,
    deed: Deed,
    /// Which rows.
    pub(crate) condition: &'static str,
}

enum Deed {
    Delete,
    /// Sets the column to null: the row itself is somebody else's.
    Clear(&'static str),
}

const fn delete(table: &'static str, condition: &'static str) -> Step {
    Step {
        table,
        deed: Deed::Delete,
        condition,
    }
}

const fn clear(table: &'static str, column: &'static str, condition: &'static str) -> Step {
    Step {
        table,
        deed: Deed::Clear(column),
        condition,
    }
}

/// What refers to tags.
pub(crate) const TAG: &[Step] = &[
    clear("tag", "linked_tag_id", "linked_tag_id IN @ids($1)"),
    delete("tagnotificationsuccess", "tag_id IN @ids($1)"),
];

/// What refers to manifests, besides tags, blobs and labels.
pub(crate) const MANIFEST: &[Step] = &[
    delete("manifestchild", "manifest_id IN @ids($1)"),
    delete("manifestsecuritystatus", "manifest_id IN @ids($1)"),
    delete("roadstead_hidden_manifest", "manifest_id IN @ids($1)"),
    delete("roadstead_owed_labels", "manifest_id IN @ids($1)"),
];

/// What a repository may have very many rows of besides tags, manifests, protections and uploads: deleted in batches.
pub(crate) const REPOSITORY_IN_BATCHES: &[&str] = &[
    "manifestpullstatistics",
    "tagpullstatistics",
    "repositoryactioncount",
];

/// What refers to repositories without tags and manifests.
pub(crate) const REPOSITORY: &[Step] = &[
    delete("roadstead_hidden_blob", "repository_id IN @ids($1)"),
    delete(
        "roadstead_placement_rule_location",
        "rule_id IN (SELECT id FROM roadstead_placement_rule WHERE repository_id IN @ids($1))",
    ),
    delete("roadstead_placement_rule", "repository_id IN @ids($1)"),
    delete("blobupload", "repository_id IN @ids($1)"),
    delete(
        "tagnotificationsuccess",
        "notification_id IN (SELECT id FROM repositorynotification WHERE repository_id IN @ids($1))",
    ),
    delete("repositorynotification", "repository_id IN @ids($1)"),
    delete("repositorybuild", "repository_id IN @ids($1)"),
    delete("repositorybuildtrigger", "repository_id IN @ids($1)"),
    delete("accesstoken", "repository_id IN @ids($1)"),
    delete("apprtag", "repository_id IN @ids($1)"),
    delete("repomirrorconfig", "repository_id IN @ids($1)"),
    delete("repomirrorrule", "repository_id IN @ids($1)"),
    clear(
        "orgmirrorrepository",
        "repository_id",
        "repository_id IN @ids($1)",
    ),
    delete("quotarepositorysize", "repository_id IN @ids($1)"),
    delete("repositoryauthorizedemail", "repository_id IN @ids($1)"),
    delete("repositoryautoprunepolicy", "repository_id IN @ids($1)"),
    delete("repositoryimmutabilitypolicy", "repository_id IN @ids($1)"),
    delete("repositorypermission", "repository_id IN @ids($1)"),
    delete("repositorysearchscore", "repository_id IN @ids($1)"),
    delete("star", "repository_id IN @ids($1)"),
    delete("deletedrepository", "repository_id IN @ids($1)"),
];

/// What refers to accounts, robots and organisations that have no repositories.
pub(crate) const ACCOUNT: &[Step] = &[
    delete(
        "oauthaccesstoken",
        "authorized_user_id IN @ids($1)
         OR application_id IN (SELECT id FROM oauthapplication WHERE organization_id IN @ids($1))",
    ),
    delete(
        "oauthassignedtoken",
        "assigned_user_id IN @ids($1)
         OR application_id IN (SELECT id FROM oauthapplication WHERE organization_id IN @ids($1))",
    ),
    delete(
        "oauthauthorizationcode",
        "application_id IN (SELECT id FROM oauthapplication WHERE organization_id IN @ids($1))",
    ),
    delete("oauthapplication", "organization_id IN @ids($1)"),
    delete(
        "permissionprototype",
        "org_id IN @ids($1) OR activating_user_id IN @ids($1) OR delegate_user_id IN @ids($1)
         OR delegate_team_id IN (SELECT id FROM team WHERE organization_id IN @ids($1))",
    ),
    delete(
        "repositorypermission",
        "user_id IN @ids($1) OR team_id IN (SELECT id FROM team WHERE organization_id IN @ids($1))",
    ),
    delete(
        "teammember",
        "user_id IN @ids($1) OR team_id IN (SELECT id FROM team WHERE organization_id IN @ids($1))",
    ),
    delete(
        "teammemberinvite",
        "user_id IN @ids($1) OR inviter_id IN @ids($1)
         OR team_id IN (SELECT id FROM team WHERE organization_id IN @ids($1))",
    ),
    delete(
        "teamsync",
        "team_id IN (SELECT id FROM team WHERE organization_id IN @ids($1))",
    ),
    delete("team", "organization_id IN @ids($1)"),
    clear(
        "repositorybuild",
        "pull_robot_id",
        "pull_robot_id IN @ids($1)",
    ),
    clear(
        "repositorybuild",
        "trigger_id",
        "trigger_id IN (SELECT id FROM repositorybuildtrigger WHERE connected_user_id IN @ids($1))",
    ),
    clear(
        "repositorybuildtrigger",
        "pull_robot_id",
        "pull_robot_id IN @ids($1)",
    ),
    delete("repositorybuildtrigger", "connected_user_id IN @ids($1)"),
    delete("repomirrorconfig", "internal_robot_id IN @ids($1)"),
    delete(
        "orgmirrorrepository",
        "org_mirror_config_id IN (
             SELECT id FROM orgmirrorconfig WHERE organization_id IN @ids($1) OR internal_robot_id IN @ids($1))",
    ),
    delete(
        "orgmirrorconfig",
        "organization_id IN @ids($1) OR internal_robot_id IN @ids($1)",
    ),
    delete(
        "quotalimits",
        "quota_id IN (SELECT id FROM userorganizationquota WHERE namespace_id IN @ids($1))",
    ),
    delete("userorganizationquota", "namespace_id IN @ids($1)"),
    delete("quotanamespacesize", "namespace_user_id IN @ids($1)"),
    delete("quotanotificationstate", "namespace_id IN @ids($1)"),
    delete("repositoryautoprunepolicy", "namespace_id IN @ids($1)"),
    delete("repositoryimmutabilitypolicy", "namespace_id IN @ids($1)"),
    delete("namespaceautoprunepolicy", "namespace_id IN @ids($1)"),
    delete("namespaceimmutabilitypolicy", "namespace_id IN @ids($1)"),
    delete("namespacenotification", "namespace_id IN @ids($1)"),
    delete("autoprunetaskstatus", "namespace_id IN @ids($1)"),
    delete("proxycacheconfig", "organization_id IN @ids($1)"),
    delete("organizationcontactemail", "organization_id IN @ids($1)"),
    delete(
        "organizationrhskus",
        "org_id IN @ids($1) OR user_id IN @ids($1)",
    ),
    delete("redhatsubscriptions", "user_id IN @ids($1)"),
    delete("appspecificauthtoken", "user_id IN @ids($1)"),
    delete("emailconfirmation", "user_id IN @ids($1)"),
    delete("federatedlogin", "user_id IN @ids($1)"),
    delete("notification", "target_id IN @ids($1)"),
    delete("robotaccountmetadata", "robot_account_id IN @ids($1)"),
    delete("robotaccounttoken", "robot_account_id IN @ids($1)"),
    // No foreign key of Quay's stands behind this one.
    clear(
        "servicekeyapproval",
        "approver_id",
        "approver_id IN @ids($1)",
    ),
    delete("star", "user_id IN @ids($1)"),
    delete("userprompt", "user_id IN @ids($1)"),
    delete("userregion", "user_id IN @ids($1)"),
    delete(
        "roadstead_placement_rule_location",
        "rule_id IN (SELECT id FROM roadstead_placement_rule WHERE namespace_id IN @ids($1))",
    ),
    delete("roadstead_placement_rule", "namespace_id IN @ids($1)"),
    delete("roadstead_min_locations", "namespace_id IN @ids($1)"),
    delete("deletednamespace", "namespace_id IN @ids($1)"),
];

/// What refers to teams.
pub(crate) const TEAM: &[Step] = &[
    delete("permissionprototype", "delegate_team_id IN @ids($1)"),
    delete("repositorypermission", "team_id IN @ids($1)"),
    delete("teammember", "team_id IN @ids($1)"),
    delete("teammemberinvite", "team_id IN @ids($1)"),
    delete("teamsync", "team_id IN @ids($1)"),
];

/// What refers to OAuth applications.
pub(crate) const APPLICATION: &[Step] = &[
    delete("oauthaccesstoken", "application_id IN @ids($1)"),
    delete("oauthassignedtoken", "application_id IN @ids($1)"),
    delete("oauthauthorizationcode", "application_id IN @ids($1)"),
];

/// Tables that are named besides the lists above.
const OTHERS: &[&str] = &["imagestoragesignature", "manifestlabel"];

/// Every table that is deleted from if it is there.
fn names() -> impl Iterator<Item = &'static str> {
    [TAG, MANIFEST, REPOSITORY, ACCOUNT]
        .into_iter()
        .flatten()
        .map(|step| step.table)
        .chain(REPOSITORY_IN_BATCHES.iter().copied())
        .chain(OTHERS.iter().copied())
}

/// Which of the tables that may refer to what is deleted this database has.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    there: BTreeSet<String>,
}

impl Database {
    /// Asks which of the tables that may refer to something the database has.
    pub(crate) async fn referring_tables(&self) -> Result<Tables, MetadataError> {
        let sql = match self.engine() {
            Engine::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN @texts($1)"
            }
            Engine::Postgres => {
                "SELECT CAST(c.relname AS varchar) AS name FROM pg_catalog.pg_class c
                 WHERE c.relkind IN ('r', 'p') AND pg_catalog.pg_table_is_visible(c.oid)
                   AND CAST(c.relname AS varchar) IN @texts($1)"
            }
        };
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "ask which tables there are",
                sql,
                params![json_texts(names())],
            )
            .await?;
        Ok(Tables {
            there: rows.into_iter().map(|row| row.name).collect(),
        })
    }
}

impl Tables {
    pub(crate) fn has(&self, table: &str) -> bool {
        debug_assert!(
            names().any(|known| known == table),
            "nobody asked for `{table}`"
        );
        self.there.contains(table)
    }

    /// Takes every step whose table is there. The ids are a JSON array.
    pub(crate) async fn take(
        &self,
        transaction: &Transaction,
        steps: &[Step],
        ids: &str,
    ) -> Result<(), MetadataError> {
        for step in steps {
            match step.deed {
                Deed::Delete => {
                    self.delete(transaction, step.table, step.condition, ids)
                        .await?;
                }
                Deed::Clear(column) => {
                    let statement = format!(
                        "UPDATE {} SET {column} = NULL WHERE {}",
                        step.table, step.condition
                    );
                    self.run(transaction, step.table, step.condition, &statement, ids)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Deletes rows of a table if it is there.
    pub(crate) async fn delete(
        &self,
        transaction: &Transaction,
        table: &str,
        condition: &str,
        ids: &str,
    ) -> Result<(), MetadataError> {
        let statement = format!("DELETE FROM {table} WHERE {condition}");
        self.run(transaction, table, condition, &statement, ids)
            .await
    }

    async fn run(
        &self,
        transaction: &Transaction,
        table: &str,
        condition: &str,
        statement: &str,
        ids: &str,
    ) -> Result<(), MetadataError> {
        if !self.has(table) || !self.has_those_of(condition) {
            return Ok(());
        }
        transaction
            .execute(
                "delete what refers to something deleted",
                statement,
                params![ids],
            )
            .await?;
        Ok(())
    }

    /// Whether every table that a condition looks into is there.
    fn has_those_of(&self, condition: &str) -> bool {
        condition
            .split("FROM ")
            .skip(1)
            .filter_map(|behind| behind.split_whitespace().next())
            .all(|table| self.has(table))
    }
}

#[cfg(test)]
mod tests {
    use roadstead_migrations::{Usage, quay_tables};

    use super::*;

    /// What is deleted in statements of its own, as `table.column`.
    const ELSEWHERE: [&str; 17] = [
        "manifest.repository_id",
        "manifestblob.blob_id",
        "manifestblob.manifest_id",
        "manifestblob.repository_id",
        "manifestchild.child_manifest_id",
        "manifestchild.repository_id",
        "manifestlabel.manifest_id",
        "manifestlabel.repository_id",
        "manifestsecuritystatus.repository_id",
        "imagestorageplacement.storage_id",
        "imagestoragesignature.storage_id",
        "repository.namespace_user_id",
        "tag.manifest_id",
        "tag.repository_id",
        "apprtag.repository_id",
        "uploadedblob.blob_id",
        "uploadedblob.repository_id",
    ];

    #[test]
    fn every_foreign_key_to_what_is_deleted_is_thought_of() {
        let lists: [(&str, &[Step]); 7] = [
            ("tag", TAG),
            ("manifest", MANIFEST),
            ("repository", REPOSITORY),
            ("user", ACCOUNT),
            ("team", TEAM),
            ("oauthapplication", APPLICATION),
            ("imagestorage", &[]),
        ];
        for table in quay_tables() {
            for reference in table.references {
                let Some((target, steps)) =
                    lists.iter().find(|(target, _)| *target == reference.target)
                else {
                    continue;
                };
                let key = format!("{}.{}", table.name, reference.column);
                let thought_of = ELSEWHERE.contains(&key.as_str())
                    || REPOSITORY_IN_BATCHES.contains(&table.name)
                    || steps.iter().any(|step| {
                        step.table == table.name
                            && step.condition.contains(&format!("{} IN", reference.column))
                    });
                assert!(thought_of, "{key} refers to {target}");
            }
        }
    }

    #[test]
    fn every_table_that_is_deleted_from_is_said_to_be_emptied() {
        for step in [TAG, MANIFEST, REPOSITORY, ACCOUNT].into_iter().flatten() {
            if let Some(table) = quay_tables().find(|table| table.name == step.table) {
                assert!(table.usage >= Usage::Emptied, "{}", step.table);
            }
        }
    }
}
