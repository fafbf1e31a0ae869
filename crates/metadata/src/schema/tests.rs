//! Making the schema, taking over a database that Quay made, and refusing every other.

mod refusals;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use chrono::TimeDelta;
use roadstead_runtime::{ManualClock, Timestamp};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings};
use tokio::task::JoinSet;

use super::*;
use crate::tests::options_of;
use crate::{DatabaseOptions, PostgresOptions};

/// A dump of a database that a real Quay made and used.
const QUAY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/quay-s3/quay.sql"
);

/// Everything that the catalogue knows of Quay's tables, one line each.
const CATALOGUE: &str = "
    WITH quay AS (
        SELECT oid, relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
          AND relname NOT LIKE 'roadstead%' AND relname <> 'alembic_version'
    )
    SELECT format('column %s.%s %s required=%s default=%s', q.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                  a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS line
    FROM quay q
    JOIN pg_attribute a ON a.attrelid = q.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = q.oid AND d.adnum = a.attnum
    UNION ALL
    SELECT format('index %s', pg_get_indexdef(i.indexrelid)) FROM quay q JOIN pg_index i ON i.indrelid = q.oid
    UNION ALL
    SELECT format('constraint %s %s %s', q.relname, k.conname, pg_get_constraintdef(k.oid))
    FROM quay q JOIN pg_constraint k ON k.conrelid = q.oid
    UNION ALL
    SELECT format('sequence %s %s', sequencename, data_type) FROM pg_sequences WHERE sequencename NOT LIKE 'roadstead%'";

/// Where a database of ours differs from Quay's on purpose.
const ON_PURPOSE: [&str; 2] = [
    // Quay's default is the moment at which its migration ran; nothing relies on it.
    "column blobupload.created ",
    // Quay widened the column, and not the sequence.
    "sequence logentry_id_seq ",
];

/// A database as Quay left it, copied from one that is restored once.
fn quays() -> PostgresDatabase {
    static RESTORED: OnceLock<PostgresDatabase> = OnceLock::new();
    let server = Postgres::shared();
    server.copy_of(RESTORED.get_or_init(|| {
        let restored = server.database();
        restored.psql("CREATE ROLE quay");
        restored.restore(Path::new(QUAY));
        restored
    }))
}

async fn opened(server: &PostgresDatabase) -> Database {
    Database::open(&options_of(server)).await.unwrap()
}

/// As another role, which may log in.
async fn opened_as(role: &str, server: &PostgresDatabase) -> Database {
    opened(&server.as_role(role)).await
}

/// A role of its own name, without any right.
fn new_role(server: &PostgresDatabase) -> String {
    let role = format!("role_of_{}", server.name);
    server.ensure_role(&role);
    role
}

fn refusal(result: Result<(), MetadataError>) -> (SchemaError, String) {
    match result {
        Err(MetadataError::Schema(refusal)) => {
            let text = refusal.to_string();
            (refusal, text)
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// The processes of the sessions in this database of which `what` is true, one a line.
fn sessions(server: &PostgresDatabase, what: &str) -> String {
    server.psql(&format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {what}"
    ))
}

/// All rows and definitions but for our tables.
fn dump(server: &PostgresDatabase) -> Vec<String> {
    server
        .dump(&["--exclude-table", "roadstead_*"])
        .lines()
        // A random word against injection, in newer releases.
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_tables_of_an_empty_database_are_quays_in_every_line_of_the_catalogue() {
    let lines = |server: &PostgresDatabase| -> BTreeSet<String> {
        server
            .psql(CATALOGUE)
            .lines()
            .filter(|line| !ON_PURPOSE.iter().any(|start| line.starts_with(start)))
            .map(str::to_owned)
            .collect()
    };
    let ours = Postgres::shared().database();
    opened(&ours).await.migrate().await.unwrap();
    let (ours, quays) = (lines(&ours), lines(&quays()));
    assert!(quays.len() > 1000, "{} lines", quays.len());
    let missing: Vec<_> = quays.difference(&ours).collect();
    let added: Vec<_> = ours.difference(&quays).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "missing: {missing:#?}, added: {added:#?}"
    );
}

#[tokio::test]
async fn the_enumerations_of_an_empty_database_have_quays_rows_and_count_on_behind_them() {
    let ours = Postgres::shared().database();
    opened(&ours).await.migrate().await.unwrap();
    let quays = quays();
    for (table, names) in roadstead_migrations::enumeration_rows() {
        // Behind the seeded locations come those of a deployment.
        let rows = format!(
            "SELECT * FROM {table} WHERE id <= {} ORDER BY id",
            names.len()
        );
        assert_eq!(ours.psql(&rows), quays.psql(&rows), "{table}");
        let next = ours.psql(&format!(
            "SELECT nextval(pg_get_serial_sequence('{table}', 'id'))"
        ));
        assert_eq!(next, (names.len() + 1).to_string(), "{table}");
    }
}

#[tokio::test]
async fn a_database_of_quays_gets_our_tables_and_nothing_of_quays_changes() {
    let quays = quays();
    let before = dump(&quays);
    let database = opened(&quays).await;
    database.check_schema().await.unwrap_err();
    assert_eq!(
        quays.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'roadstead%'"),
        "0",
        "a check changes nothing"
    );
    database.migrate().await.unwrap();
    database.check_schema().await.unwrap();
    database.migrate().await.unwrap();
    assert!(database.find_account("alice").await.unwrap().is_some());
    let applied = quays.psql("SELECT version FROM roadstead_migration ORDER BY version");
    assert_eq!(applied.lines().collect::<Vec<_>>(), known_migrations());
    let after = dump(&quays);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
}

#[tokio::test]
async fn a_database_of_quays_that_differs_is_refused_with_every_difference_at_once() {
    let quays = quays();
    quays.psql(
        "UPDATE manifest SET subject = '' WHERE subject IS NULL;
         DELETE FROM blobupload;
         DELETE FROM star;
         ALTER TABLE tag DROP COLUMN immutable;
         ALTER TABLE manifest ALTER COLUMN layers_compressed_size TYPE integer USING 0;
         ALTER TABLE imagestorage ALTER COLUMN content_checksum TYPE varchar(100);
         ALTER TABLE manifest ALTER COLUMN subject SET NOT NULL;
         ALTER TABLE repository ALTER COLUMN state DROP DEFAULT;
         ALTER TABLE blobupload ADD COLUMN tenant integer NOT NULL;
         ALTER TABLE label ADD COLUMN colour text;
         ALTER TABLE star ADD COLUMN shade integer NOT NULL;
         ALTER TABLE team ALTER COLUMN role_id DROP NOT NULL;
         ALTER TABLE uploadedblob ALTER COLUMN id DROP DEFAULT;
         DROP INDEX imagestorageplacement_storage_id_location_id;
         DROP TABLE manifestsecuritystatus;
         DROP TABLE apprmanifestblob;
         DROP TABLE userprompt;
         DELETE FROM labelsourcetype WHERE name = 'internal';
         DELETE FROM externalnotificationevent WHERE name = 'quota_error';",
    );
    let database = opened(&quays).await;
    let before = dump(&quays);
    for result in [database.migrate().await, database.check_schema().await] {
        let (refused, text) = refusal(result);
        let SchemaError::Differs { differences, .. } = refused else {
            panic!("{text}");
        };
        assert_eq!(
            differences,
            [
                "labelsourcetype.name: the row `internal` is missing",
                "team.role_id: may be null, and should not",
                "repository.state: has no default, and should have one",
                "imagestorage.content_checksum: is of type character varying(100), and should be character varying(255)",
                "imagestorageplacement: there is no unique index on storage_id, location_id",
                "blobupload.tenant: must be filled, has no default, and is not known to this version",
                "uploadedblob.id: does not count up by itself",
                "manifest.layers_compressed_size: is of type integer, and should be bigint",
                "manifest.subject: must not be null, and should be allowed to",
                "manifestsecuritystatus: the table is missing",
                "tag.immutable: the column is missing",
            ],
            "{text}"
        );
        for line in &differences {
            assert!(text.lines().any(|shown| shown.trim() == line), "{text}");
        }
        assert!(text.contains("revision 9fa37f66a9b6"), "{text}");
    }
    assert_eq!(before, dump(&quays), "a refusal changes nothing");
    assert_eq!(
        quays.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'roadstead%'"),
        "0"
    );
}

#[tokio::test]
async fn an_unknown_revision_is_judged_by_its_tables() {
    let quays = quays();
    quays.psql("UPDATE alembic_version SET version_num = '0123456789ab'");
    // What a later revision might bring without harm.
    quays.psql(
        "CREATE TABLE tagnote (id serial PRIMARY KEY, tag_id integer REFERENCES tag (id));
         ALTER TABLE tag ADD COLUMN note text;
         ALTER TABLE tag ADD COLUMN pinned boolean NOT NULL DEFAULT false;
         ALTER TABLE repository ALTER COLUMN name TYPE varchar(500);",
    );
    opened(&quays).await.migrate().await.unwrap();

    let quays = self::quays();
    quays.psql("UPDATE alembic_version SET version_num = '0123456789ab'");
    quays.psql("ALTER TABLE tag ALTER COLUMN lifetime_start_ms TYPE timestamp USING now()");
    let (_, text) = refusal(opened(&quays).await.migrate().await);
    assert!(
        text.contains("revision 0123456789ab (an older or a newer one than 9fa37f66a9b6"),
        "{text}"
    );
    assert!(
        text.contains(
            "tag.lifetime_start_ms: is of type timestamp without time zone, and should be bigint"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_role_without_rights_on_quays_tables_is_told_which_it_lacks() {
    let quays = quays();
    let role = new_role(&quays);
    quays.psql(&format!(
        "GRANT CREATE ON SCHEMA public TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
         REVOKE INSERT, DELETE ON tag FROM {role};
         REVOKE SELECT ON role FROM {role};
         REVOKE USAGE ON SEQUENCE manifest_id_seq FROM {role};"
    ));
    let (_, text) = refusal(opened_as(&role, &quays).await.migrate().await);
    let expected = [
        format!("tag: the role {role} has no right to INSERT, DELETE"),
        format!("role: the role {role} has no right to SELECT"),
        format!("manifest: the role {role} has no right to USAGE of public.manifest_id_seq"),
    ];
    for line in &expected {
        assert!(text.lines().any(|shown| shown.trim() == line), "{text}");
    }
    quays.psql(&format!(
        "GRANT INSERT, DELETE ON tag TO {role};
         GRANT SELECT ON role TO {role};
         GRANT USAGE ON SEQUENCE manifest_id_seq TO {role};"
    ));
    opened_as(&role, &quays).await.migrate().await.unwrap();
}

#[tokio::test]
async fn of_eight_instances_that_start_at_once_one_migrates_and_all_go_on() {
    for server in [Postgres::shared().database(), quays()] {
        let mut starting = JoinSet::new();
        for _ in 0..8 {
            let database = opened(&server).await;
            starting.spawn(async move {
                database.migrate().await?;
                database.check_schema().await
            });
        }
        while let Some(started) = starting.join_next().await {
            started.unwrap().unwrap();
        }
        let applied = server.psql("SELECT version FROM roadstead_migration ORDER BY version");
        assert_eq!(applied.lines().collect::<Vec<_>>(), known_migrations());
    }
}

// The asking below blocks its thread, and the migration goes on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_goes_with_its_session_and_whoever_waits_goes_on() {
    let server = Postgres::shared().database();
    let holder = opened(&server).await;
    let held = holder.begin("hold the lock").await.unwrap();
    held.lock(migrating()).await.unwrap();

    let database = opened(&server).await;
    let patience = Patience {
        each: Duration::from_millis(20),
        attempts: 2,
    };
    let (refused, text) = refusal(database.migrate_patiently(patience).await);
    assert!(matches!(refused, SchemaError::Busy { .. }), "{text}");
    assert!(text.contains("the session of process "), "{text}");
    assert!(text.contains(" from 127.0.0.1 "), "{text}");

    let mut waiting = JoinSet::new();
    waiting.spawn(async move { database.migrate().await });
    while sessions(&server, "wait_event = 'advisory'").is_empty() {
        tokio::task::yield_now().await;
    }
    let holding = sessions(&server, "state = 'idle in transaction'");
    server.psql(&format!("SELECT pg_terminate_backend({holding})"));
    waiting.join_next().await.unwrap().unwrap().unwrap();
    drop(held);
    opened(&server).await.check_schema().await.unwrap();
}

// The asking below blocks its thread, and the migration goes on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_whose_connection_is_lost_leaves_nothing_behind_and_no_lock() {
    let server = Postgres::shared().database();
    let elsewhere = opened(&server).await;
    // The migration stops where it makes a table that another is making.
    let other = elsewhere.begin("make a table").await.unwrap();
    other
        .execute(
            "make a table",
            "CREATE TABLE roadstead_hidden_blob (id integer)",
            params![],
        )
        .await
        .unwrap();
    let database = opened(&server).await;
    let mut migration = JoinSet::new();
    migration.spawn(async move { database.migrate().await });
    let mut stopped = String::new();
    while stopped.is_empty() {
        tokio::task::yield_now().await;
        stopped = sessions(&server, "wait_event = 'transactionid'");
    }
    server.psql(&format!("SELECT pg_terminate_backend({stopped})"));
    let lost = migration.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(lost.is_temporary(), "{lost}");
    drop(other);
    assert_eq!(
        server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
    opened(&server).await.migrate().await.unwrap();
}

#[tokio::test]
async fn an_instance_that_may_not_migrate_refuses_until_it_is_done() {
    for server in [Postgres::shared().database(), quays()] {
        let database = opened(&server).await;
        let (refused, text) = refusal(database.check_schema().await);
        assert!(matches!(refused, SchemaError::TooOld), "{text}");
        opened(&server).await.migrate().await.unwrap();
        database.check_schema().await.unwrap();
    }
}
