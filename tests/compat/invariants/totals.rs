//! Quota sizes, added up anew: every blob counts once, in a repository and in a namespace.

use crate::database::TestDatabase;

/// Everything that is wrong.
pub(super) fn check(database: &TestDatabase) -> Vec<String> {
    let sizes = |table: &str, column: &str, held: &str| {
        format!(
            "SELECT format('{table} of %s has %s bytes, and its blobs have %s', x.id, q.size_bytes, x.size)
             FROM (SELECT h.id, sum(s.image_size)::bigint AS size FROM ({held}) h JOIN imagestorage s ON s.id = h.blob_id GROUP BY h.id) x
             LEFT JOIN {table} q ON q.{column} = x.id
             WHERE q.size_bytes IS DISTINCT FROM x.size
             UNION ALL
             SELECT format('{table} of %s has %s bytes, and there are no blobs', q.{column}, q.size_bytes) FROM {table} q
             WHERE q.size_bytes <> 0 AND NOT EXISTS (SELECT 1 FROM ({held}) h WHERE h.id = q.{column})
             UNION ALL
             SELECT format('{table} of %s is not complete', q.{column}) FROM {table} q WHERE NOT q.backfill_complete"
        )
    };
    let repositories = sizes(
        "quotarepositorysize",
        "repository_id",
        "SELECT DISTINCT mb.repository_id AS id, mb.blob_id FROM manifestblob mb",
    );
    let namespaces = sizes(
        "quotanamespacesize",
        "namespace_user_id",
        "SELECT DISTINCT r.namespace_user_id AS id, mb.blob_id FROM manifestblob mb
         JOIN repository r ON r.id = mb.repository_id",
    );
    database.texts(&format!("{repositories} UNION ALL {namespaces}"))
}
