//! What SQL alone can see. Every query yields one sentence for each row that is wrong.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::World;
use crate::database::TestDatabase;
use crate::sample::template;

/// Rows that Quay's migrations made and nobody changes.
const ENUMERATIONS: [&str; 19] = [
    "accesstokenkind",
    "buildtriggerservice",
    "disablereason",
    "externalnotificationevent",
    "externalnotificationmethod",
    "imagestoragesignaturekind",
    "imagestoragetransformation",
    "labelsourcetype",
    "logentrykind",
    "loginservice",
    "mediatype",
    "notificationkind",
    "quotatype",
    "repositorykind",
    "role",
    "tagkind",
    "teamrole",
    "userpromptkind",
    "visibility",
];

/// Its first eight rows are of that kind too.
const LOCATIONS: &str = "imagestoragelocation";

/// A UUID as Python prints it.
const UUID: &str = "'^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'";

/// Milliseconds since 1970, as tags have them.
const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Everything that is wrong.
pub(super) fn check(world: &World<'_>) -> Vec<String> {
    let database = world.database;
    let mut queries = tags();
    queries.extend(blobs());
    queries.push(uploads(world.protected_seconds));
    queries.extend(queue());
    queries.extend(repositories());
    queries.extend(keys());
    let mut violations = database.texts(&queries.join("\nUNION ALL "));
    violations.extend(foreign_keys(database));
    violations.extend(sequences(database));
    violations.extend(enumerations(database));
    violations
}

/// What is left over although garbage has been collected.
pub(super) fn check_collected(database: &TestDatabase) -> Vec<String> {
    database.texts(
        "SELECT format('imagestorage %s (%s) is held by nothing', s.id, s.content_checksum) FROM imagestorage s
         WHERE NOT EXISTS (SELECT 1 FROM manifestblob mb WHERE mb.blob_id = s.id)
           AND NOT EXISTS (SELECT 1 FROM uploadedblob u WHERE u.blob_id = s.id)
         UNION ALL
         SELECT format('manifest %s (%s) is held by nothing', m.id, m.digest) FROM manifest m
         WHERE NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest_id = m.id)
           AND NOT EXISTS (SELECT 1 FROM manifestchild mc WHERE mc.child_manifest_id = m.id)",
    )
}

fn tags() -> Vec<String> {
    vec![
        // At rest: a burst of moves within a millisecond may end rows a moment ahead of the clock.
        format!(
            "SELECT format('tag %s of repository %s has %s live rows', name, repository_id, count(*)) FROM tag
             WHERE lifetime_end_ms IS NULL OR lifetime_end_ms > {NOW_MS}
             GROUP BY repository_id, name HAVING count(*) > 1"
        ),
        "SELECT format('tag %s (%s) ends before it begins', id, name) FROM tag WHERE lifetime_end_ms < lifetime_start_ms".to_owned(),
        "SELECT format('tag %s (%s) goes on while the next row of its name has begun', id, name) FROM (
             SELECT id, name, lifetime_end_ms,
                    lead(lifetime_start_ms) OVER (PARTITION BY repository_id, name ORDER BY lifetime_start_ms, id) AS next
             FROM tag) t
         WHERE next IS NOT NULL AND (lifetime_end_ms IS NULL OR lifetime_end_ms > next)".to_owned(),
        format!("SELECT format('tag %s (%s) begins in the future', id, name) FROM tag WHERE lifetime_start_ms > {NOW_MS} + 1000"),
        "SELECT format('tag %s (%s) has no manifest of its repository', t.id, t.name) FROM tag t
         WHERE NOT EXISTS (SELECT 1 FROM manifest m WHERE m.id = t.manifest_id AND m.repository_id = t.repository_id)".to_owned(),
        "SELECT format('tag %s (%s) is hidden or named as if it was', id, name) FROM tag WHERE hidden <> (name LIKE '$temp-%')".to_owned(),
        "SELECT format('tag %s (%s) is of no kind', t.id, t.name) FROM tag t
         WHERE NOT EXISTS (SELECT 1 FROM tagkind k WHERE k.id = t.tag_kind_id AND k.name = 'tag')".to_owned(),
    ]
}

fn blobs() -> Vec<String> {
    let mut queries = vec![
        "SELECT format('%s rows for the blob %s', count(*), content_checksum) FROM imagestorage
         GROUP BY content_checksum HAVING count(*) > 1".to_owned(),
        "SELECT format('imagestorage %s has no checksum of a blob: %s', id, content_checksum) FROM imagestorage
         WHERE content_checksum IS NULL OR content_checksum !~ '^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$'".to_owned(),
        "SELECT format('imagestorage %s has no size', id) FROM imagestorage WHERE image_size IS NULL OR image_size < 0".to_owned(),
        "SELECT format('imagestorage %s is not stored by its checksum', id) FROM imagestorage WHERE NOT cas_path".to_owned(),
        format!("SELECT format('imagestorage %s has no uuid: %s', id, uuid) FROM imagestorage WHERE uuid !~ {UUID}"),
        "SELECT format('imagestorage %s (%s) is needed and nowhere', s.id, s.content_checksum) FROM imagestorage s
         WHERE NOT EXISTS (SELECT 1 FROM imagestorageplacement p WHERE p.storage_id = s.id)
           AND (EXISTS (SELECT 1 FROM manifestblob mb WHERE mb.blob_id = s.id)
                OR EXISTS (SELECT 1 FROM uploadedblob u WHERE u.blob_id = s.id AND u.expires_at > now() AT TIME ZONE 'UTC'))".to_owned(),
        "SELECT format('blobupload %s has %s bytes in %s chunks', id, byte_count, chunk_count) FROM blobupload
         WHERE byte_count < 0 OR chunk_count < 0 OR (chunk_count = 0) <> (byte_count = 0)".to_owned(),
        // Behind a word of ours, so that Quay does not find it.
        format!("SELECT format('blobupload %s has no uuid: %s', id, uuid) FROM blobupload WHERE replace(uuid, 'roadstead-', '') !~ {UUID}"),
    ];
    for (table, what) in [
        ("manifestblob", "manifest_id"),
        ("manifestlabel", "manifest_id"),
        ("manifestchild", "manifest_id"),
        ("manifestchild", "child_manifest_id"),
    ] {
        queries.push(format!(
            "SELECT format('{table} %s is of repository %s, its {what} of %s', x.id, x.repository_id, m.repository_id)
             FROM {table} x JOIN manifest m ON m.id = x.{what} WHERE m.repository_id <> x.repository_id"
        ));
    }
    queries
}

fn uploads(protected_seconds: u32) -> String {
    // Quay reads the clock once for each column.
    format!(
        "SELECT format('uploadedblob %s is protected from %s to %s', id, uploaded_at, expires_at) FROM uploadedblob
         WHERE expires_at > uploaded_at + interval '{protected_seconds} seconds' + interval '1 second'
            OR expires_at < uploaded_at + interval '{protected_seconds} seconds' - interval '1 second'"
    )
}

fn queue() -> Vec<String> {
    const COPIES: &str = "queue_name LIKE 'imagestoragereplication/%'";
    let not_json = |table: &str, column: &str, id: &str| {
        format!(
            "SELECT format('{table} %s: its {column} is no JSON object: %s', {id}, {column}) FROM {table}
             WHERE {column} IS NOT NULL AND jsonb_typeof(pg_temp.parsed({column})) IS DISTINCT FROM 'object'"
        )
    };
    vec![
        not_json("queueitem", "body", "id"),
        not_json("logentry3", "metadata_json", "id"),
        not_json("servicekey", "jwk", "id"),
        not_json("servicekey", "metadata", "id"),
        not_json("blobupload", "storage_metadata", "id"),
        "SELECT format('queueitem %s has %s retries', id, retries_remaining) FROM queueitem
         WHERE retries_remaining NOT BETWEEN 0 AND 5".to_owned(),
        "SELECT format('queueitem %s has no state', id) FROM queueitem WHERE state_id = ''".to_owned(),
        "SELECT format('queueitem %s has a name without an end: %s', id, queue_name) FROM queueitem WHERE queue_name NOT LIKE '%/'".to_owned(),
        "SELECT format('queueitem %s is taken without an end', id) FROM queueitem WHERE NOT available AND processing_expires IS NULL".to_owned(),
        format!(
            "SELECT format('queueitem %s is no copy of a blob: %s %s', q.id, queue_name, body) FROM queueitem q
             WHERE {COPIES} AND NOT EXISTS (
                 SELECT 1 FROM imagestorage s JOIN \"user\" u ON u.id = (pg_temp.parsed(q.body) ->> 'namespace_user_id')::integer
                 WHERE s.uuid = pg_temp.parsed(q.body) ->> 'storage_id' AND q.queue_name = format('imagestoragereplication/%s/', s.uuid))"
        ),
        format!(
            "SELECT format('queueitem %s says more than a copy: %s', id, body) FROM queueitem
             WHERE {COPIES} AND (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(pg_temp.parsed(body)) k) <> '{{namespace_user_id,storage_id}}'"
        ),
    ]
}

fn repositories() -> Vec<String> {
    vec![
        "SELECT format('repository %s has the state %s', id, state) FROM repository WHERE state NOT BETWEEN 0 AND 4".to_owned(),
        format!("SELECT format('repository %s has no badge token: %s', id, badge_token) FROM repository WHERE badge_token !~ {UUID}"),
        "SELECT format('repository %s has no namespace', id) FROM repository WHERE namespace_user_id IS NULL".to_owned(),
        "SELECT format('repository %s is marked for deletion, or has a mark, and not both', coalesce(r.id, d.repository_id))
         FROM (SELECT id FROM repository WHERE state = 3) r FULL JOIN deletedrepository d ON d.repository_id = r.id
         WHERE r.id IS NULL OR d.repository_id IS NULL".to_owned(),
        // Whoever's the robot is called as: NAMESPACE+NAME.
        "SELECT format('user %s is a robot of nobody: %s', id, username) FROM \"user\" u
         WHERE robot AND NOT EXISTS (SELECT 1 FROM \"user\" o WHERE NOT o.robot AND o.username = split_part(u.username, '+', 1))".to_owned(),
        // No foreign key says this one.
        "SELECT format('logentry3 %s is of account %s, which is not there', l.id, l.account_id) FROM logentry3 l
         WHERE NOT EXISTS (SELECT 1 FROM \"user\" u WHERE u.id = l.account_id)".to_owned(),
        "SELECT format('logentry3 %s is of kind %s, which is not there', l.id, l.kind_id) FROM logentry3 l
         WHERE NOT EXISTS (SELECT 1 FROM logentrykind k WHERE k.id = l.kind_id)".to_owned(),
        "SELECT format('logentry3 %s is from the future: %s', id, datetime) FROM logentry3
         WHERE datetime > clock_timestamp() AT TIME ZONE 'UTC' + interval '1 second'".to_owned(),
        "SELECT format('logentry3 %s does not name its repository: %s', l.id, metadata_json) FROM logentry3 l
         JOIN logentrykind k ON k.id = l.kind_id
         WHERE k.name IN ('push_repo', 'pull_repo', 'delete_tag')
           AND (pg_temp.parsed(metadata_json) ->> 'repo' IS NULL OR pg_temp.parsed(metadata_json) ->> 'namespace' IS NULL)".to_owned(),
    ]
}

fn keys() -> Vec<String> {
    vec![
        "SELECT format('servicekey %s (%s) is not approved', s.id, s.kid) FROM servicekey s
         WHERE NOT EXISTS (SELECT 1 FROM servicekeyapproval a WHERE a.id = s.approval_id AND a.approval_type LIKE 'ServiceKeyApprovalType.%')".to_owned(),
        "SELECT format('servicekey %s is called %s and not as its key', id, kid) FROM servicekey
         WHERE pg_temp.parsed(jwk) ->> 'kid' IS DISTINCT FROM kid OR pg_temp.parsed(jwk) ->> 'kty' IS DISTINCT FROM 'RSA'".to_owned(),
        "SELECT format('servicekey %s holds its private half', id) FROM servicekey WHERE pg_temp.parsed(jwk) ? 'd'".to_owned(),
        "SELECT format('servicekey %s ends before it begins', id) FROM servicekey WHERE expiration_date < created_date".to_owned(),
        "SELECT format('servicekeyapproval %s approves nothing', a.id) FROM servicekeyapproval a
         WHERE NOT EXISTS (SELECT 1 FROM servicekey s WHERE s.approval_id = a.id)".to_owned(),
    ]
}

/// Every foreign key that the database has, read from its catalogue: rows written around them are found too.
fn foreign_keys(database: &TestDatabase) -> Vec<String> {
    let queries = database.texts(
        "SELECT format('SELECT format(%L, t.%I) FROM %s t LEFT JOIN %s p ON p.%I = t.%I WHERE t.%I IS NOT NULL AND p.%I IS NULL',
                       format('%s: its %s %%s is not in %s', c.conrelid::regclass, a.attname, c.confrelid::regclass),
                       a.attname, c.conrelid::regclass, c.confrelid::regclass, f.attname, a.attname, a.attname, f.attname)
         FROM pg_constraint c
         JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
         WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace AND cardinality(c.conkey) = 1",
    );
    assert!(
        queries.len() > 20,
        "the catalogue has foreign keys: {queries:?}"
    );
    database.texts(&queries.join(" UNION ALL "))
}

/// Ids that the next insert would use again. Enumerations get no more rows, and Quay's migrations left the sequences of two behind.
fn sequences(database: &TestDatabase) -> Vec<String> {
    let queries = database.texts(&format!(
        "SELECT format('SELECT format(%L, m.id, s.last_value) FROM (SELECT max(%I) AS id FROM %I) m, %s s
                        WHERE m.id > CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END',
                       format('%s has the id %%s, and its sequence is at %%s', table_name), column_name, table_name,
                       pg_get_serial_sequence(format('%I', table_name), column_name))
         FROM information_schema.columns
         WHERE table_schema = 'public' AND column_default LIKE 'nextval(%' AND table_name NOT IN ('{}')",
        ENUMERATIONS.join("', '")
    ));
    assert!(
        queries.len() > 20,
        "the catalogue has sequences: {queries:?}"
    );
    database.texts(&queries.join(" UNION ALL "))
}

/// Rows of enumerations that are not as Quay's migrations made them. A table that the database does not have has no rows.
fn enumerations(database: &TestDatabase) -> Vec<String> {
    static QUAYS: OnceLock<BTreeSet<String>> = OnceLock::new();
    let rows = |database: &TestDatabase, tables: &[String]| -> BTreeSet<String> {
        let queries = tables.iter().map(|table| {
            let seeded = if table == LOCATIONS {
                "WHERE id <= 8"
            } else {
                ""
            };
            format!("SELECT '{table}: ' || to_jsonb(x)::text FROM {table} x {seeded}")
        });
        let query = queries.collect::<Vec<_>>().join(" UNION ALL ");
        database.texts(&query).into_iter().collect()
    };
    let tables = database.texts(&format!(
        "SELECT table_name FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name IN ('{LOCATIONS}', '{}')",
        ENUMERATIONS.join("', '")
    ));
    let quays = QUAYS.get_or_init(|| {
        let all = [LOCATIONS].iter().chain(&ENUMERATIONS);
        rows(
            template(),
            &all.map(ToString::to_string).collect::<Vec<_>>(),
        )
    });
    let ours = rows(database, &tables);
    let is_here = |row: &&String| {
        let table = row.split(':').next().unwrap_or_default();
        tables.iter().any(|name| name == table)
    };
    let changed = ours.difference(quays);
    let lost = quays.difference(&ours).filter(is_here);
    changed
        .map(|row| format!("an enumeration has what Quay's has not, {row}"))
        .chain(lost.map(|row| format!("an enumeration lacks what Quay's has, {row}")))
        .collect()
}
