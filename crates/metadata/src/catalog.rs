//! The list of repositories, as far as its reader may see it, page by page.

use crate::database::{Connection, Database, Named, params};
use crate::dialect::Engine;
use crate::error::MetadataError;
use crate::ids::UserId;

/// Which repositories a listing may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogViewer {
    /// All of them: a superuser.
    All,
    /// Those in which an account has rights: of its own namespace, of organisations that it administers, and where it or a team of its has a permission.
    Account(UserId),
    /// The same, and the public ones.
    AccountAndPublic(UserId),
    /// The public ones.
    PublicOnly,
}

/// The ids of the repositories in which account `$4` has rights.
pub(crate) const VISIBLE: &str = "
    SELECT p.repository_id AS id FROM repositorypermission p WHERE p.user_id = $4
    UNION
    SELECT p.repository_id FROM teammember tm JOIN repositorypermission p ON p.team_id = tm.team_id WHERE tm.user_id = $4
    UNION
    SELECT o.id FROM repository o WHERE o.namespace_user_id = $4
    UNION
    SELECT o.id FROM teammember tm
    JOIN team t ON t.id = tm.team_id
    JOIN teamrole tr ON tr.id = t.role_id AND tr.name = 'admin'
    JOIN repository o ON o.namespace_user_id = t.organization_id
    WHERE tm.user_id = $4";

/// Whether `r` is public.
pub(crate) const PUBLIC: &str =
    "r.visibility_id = (SELECT v.id FROM visibility v WHERE v.name = 'public')";

/// Whether `r` of namespace `u` is behind `$1/$2` and can be listed at all.
const BEHIND: &str =
    "(@bytewise(u.username) > $1 OR @bytewise(r.name) > $2) AND r.state <> 3 AND r.kind_id = 1";

impl Database {
    /// Lists repositories, namespace by namespace in byte order, from behind `after`, which need not exist. At most `limit`.
    ///
    /// A page for [`CatalogViewer::Account`] costs as much as the account has rights in repositories. The others walk the namespaces in their order
    /// until the page is full: they cost as many namespaces as there are and the repositories of those that they come to.
    pub async fn catalog(
        &self,
        viewer: &CatalogViewer,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, MetadataError> {
        let engine = self.reader().engine();
        let (from, account) = match viewer {
            CatalogViewer::All => (walk(engine, "true"), None),
            CatalogViewer::PublicOnly => (walk(engine, PUBLIC), None),
            CatalogViewer::Account(account) => (
                format!(
                    r#"({VISIBLE}) AS visible
                       JOIN repository r ON r.id = visible.id
                       JOIN "user" u ON u.id = r.namespace_user_id
                       WHERE @bytewise(u.username) >= $1 AND {BEHIND}"#
                ),
                Some(account),
            ),
            CatalogViewer::AccountAndPublic(account) => {
                let seen = format!("({PUBLIC} OR r.id IN ({VISIBLE}))");
                (walk(engine, &seen), Some(account))
            }
        };
        let (namespace, name) = after.map_or(("", ""), |after| {
            after.split_once('/').unwrap_or((after, ""))
        });
        let mut values = params![namespace, name, i64::from(limit)];
        values.extend(account.map(|account| account.0.into()));
        let rows: Vec<Named> = self
            .reader()
            .rows(
                "list repositories",
                &format!(
                    "SELECT u.username || '/' || r.name AS name FROM {from}
                     ORDER BY @bytewise(u.username), @bytewise(r.name) LIMIT $3"
                ),
                values,
            )
            .await?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    }
}

/// The namespaces `u` in byte order, each with those of its repositories `r` that are `seen`.
fn walk(engine: Engine, seen: &str) -> String {
    match engine {
        // The tables' own indexes are in this order.
        Engine::Sqlite => format!(
            r#""user" u JOIN repository r ON r.namespace_user_id = u.id
               WHERE u.username >= $1 AND {BEHIND} AND {seen}"#
        ),
        // They are in the order of the database's collation there. Without the inner limit every repository would be sorted for every page.
        Engine::Postgres => format!(
            r#"(SELECT id, username FROM "user" WHERE @bytewise(username) >= $1 AND NOT robot ORDER BY @bytewise(username)) AS u
               CROSS JOIN LATERAL (
                   SELECT r.name FROM repository r WHERE r.namespace_user_id = u.id AND {BEHIND} AND {seen}
                   ORDER BY @bytewise(r.name) LIMIT $3) AS r"#
        ),
    }
}
