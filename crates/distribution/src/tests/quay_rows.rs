//! The rows that pushes, pulls and deletions leave, compared with those of a Quay that took the same: the content of the sample
//! (`tests/fixtures/quay-s3`) goes through this registry in the order and at the times at which it went through Quay.
//!
//! What the sample got by other ways than the registry's protocol, or what this registry refuses, is left out on both sides and named where it
//! is. Ids are Quay's for accounts and repositories; everything else is compared by names and digests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use roadstead_locations::Locations;
use roadstead_metadata::{
    Actor, Credential, Database, Features, ImmutableTags, QuotaSizes, Repository,
};
use roadstead_oci::{Digest, Manifest, ManifestLimits, MediaType, Reference};
use roadstead_placement::Topology;
use roadstead_runtime::{Clock as _, Environment, ManualClock, SeededIds, Tasks};
use roadstead_storage::{LocalOptions, Location};
use roadstead_test_servers::{Postgres, PostgresDatabase};
use serde_json::Value;
use tempfile::TempDir;

use super::world::{name, options_of, whole};
use crate::{DistributionOptions, Registry, RegistryParts};

/// Quay's database, ours, and a registry on ours.
struct Twins {
    quay: PostgresDatabase,
    ours: PostgresDatabase,
    registry: Registry,
    clock: Arc<ManualClock>,
    directory: TempDir,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/quay-s3")
        .join(name)
}

impl Twins {
    async fn new() -> Self {
        let server = Postgres::shared();
        server.administration().psql(
            "DO $$ BEGIN CREATE ROLE quay; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        );
        let (quay, ours) = (server.database(), server.database());
        quay.restore(&fixture("quay.sql"));
        let directory = TempDir::new().unwrap();
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(fixture("buckets.tar"))
            .arg("-C")
            .arg(directory.path())
            .status()
            .expect("tar can be run");
        assert!(unpacked.success(), "the buckets cannot be unpacked");

        let database = Database::open(&options_of(&ours)).await.unwrap();
        database.migrate().await.unwrap();
        let both = [name("us_east"), name("eu_west")];
        database.ensure_locations(&both).await.unwrap();
        // Accounts and repositories are as they are in the sample; only what is in the repositories is made anew.
        let tokens = [
            "appspecificauthtoken",
            "oauthapplication",
            "oauthaccesstoken",
        ];
        for table in [r#""user""#, "repository"].into_iter().chain(tokens) {
            let rows = quay.psql(&format!("SELECT to_json(t) FROM {table} t ORDER BY id"));
            for row in rows.lines() {
                let row = row.replace('\'', "''");
                ours.psql(&format!(
                    "INSERT INTO {table} SELECT * FROM json_populate_record(NULL::{table}, '{row}')"
                ));
            }
        }
        ours.psql(&format!(
            "UPDATE oauthaccesstoken SET uuid = '{OAUTH_TOKEN}'"
        ));
        // Deleted at the end; Quay keeps it under another name until it is collected.
        ours.psql("UPDATE repository SET name = 'doomed', state = 0 WHERE id = 7");
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
        let locations: Vec<Location> = both
            .iter()
            .map(|location| {
                let root = directory.path().join(location.as_str());
                Location::local(location.clone(), root, LocalOptions::default()).unwrap()
            })
            .collect();
        for location in &locations {
            location.create_root().await.unwrap();
        }
        let topology = Topology::new(both.to_vec(), both.to_vec(), BTreeSet::from(both)).unwrap();
        let registry = Registry::new(RegistryParts {
            database,
            locations: Locations::with_defaults(locations, clock.clone()),
            topology: Arc::new(topology),
            environment: Environment {
                clock: clock.clone(),
                ids: Arc::new(SeededIds::new(1)),
            },
            tasks: Tasks::new(),
            options: DistributionOptions {
                // As the sample's `config.yaml` has them.
                features: Features {
                    quota: QuotaSizes::Kept,
                    immutable_tags: ImmutableTags::Kept,
                    ..Features::default()
                },
                ..DistributionOptions::default()
            },
        });
        Self {
            quay,
            ours,
            registry,
            clock,
            directory,
        }
    }

    async fn repository(&self, id: &str) -> Repository {
        let path = self.ours.psql(&format!(
            r#"SELECT u.username || '/' || r.name FROM repository r JOIN "user" u ON u.id = r.namespace_user_id WHERE r.id = {id}"#
        ));
        self.registry
            .find_repository(&path.parse().unwrap())
            .await
            .unwrap()
            .unwrap()
    }

    fn content(&self, digest: &Digest) -> Vec<u8> {
        let hex = digest.hex();
        let directory = hex.get(..2).unwrap();
        fs::read(self.directory.path().join(format!(
            "quay-us-east/datastorage/registry/sha256/{directory}/{hex}"
        )))
        .unwrap()
    }

    /// Does one thing that was done to Quay, at the same microsecond.
    async fn repeat(&self, event: &str) {
        let columns: Vec<&str> = event.split('|').collect();
        let [at, what, repository, digest, tag, log] = columns[..] else {
            panic!("an event has six columns: {event}");
        };
        let at = DateTime::from_timestamp_micros(at.parse().unwrap()).unwrap();
        let ahead = at - self.clock.now();
        assert!(ahead >= TimeDelta::zero(), "events come in their order");
        self.clock.advance(ahead.to_std().unwrap());
        let repository = self.repository(repository).await;
        let digest: Digest = digest.parse().unwrap();
        let reference = match tag {
            "" => Reference::Digest(digest.clone()),
            tag => Reference::Tag(tag.parse().unwrap()),
        };
        let log: Value = serde_json::from_str(log).unwrap();
        let actor = actor(&log);
        let manifests = self.registry.manifests();
        match what {
            "blob" => {
                let content = self.content(&digest);
                self.registry
                    .uploads()
                    .monolithic(&repository, &digest, None, whole(&content))
                    .await
                    .unwrap();
            }
            "push" => {
                let (bytes, media_type) = self.manifest(&digest);
                let manifest =
                    Manifest::parse(Some(&media_type), bytes, &ManifestLimits::default()).unwrap();
                manifests
                    .put(&repository, &reference, &[], &manifest, &actor)
                    .await
                    .unwrap();
            }
            "delete" => manifests
                .delete(&repository, &reference, &actor)
                .await
                .unwrap(),
            "pull" => {
                let media_type = log["mediaType"].as_str().unwrap().parse().unwrap();
                self.registry
                    .note_pull(&repository, &reference, &media_type, &actor);
            }
            other => panic!("{other}"),
        }
    }

    fn manifest(&self, digest: &Digest) -> (Bytes, MediaType) {
        let row = self.quay.psql(&format!(
            "SELECT t.name || ' ' || m.manifest_bytes FROM manifest m JOIN mediatype t ON t.id = m.media_type_id
             WHERE m.digest = '{digest}' LIMIT 1"
        ));
        let (media_type, bytes) = row.split_once(' ').unwrap();
        (Bytes::from(bytes.to_owned()), media_type.parse().unwrap())
    }

    /// Compares what a query says of both databases.
    fn compare(&self, what: &str, sql: &str) {
        let (quays, ours) = (self.quay.psql(sql), self.ours.psql(sql));
        assert!(!quays.is_empty(), "the sample has no {what}");
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&ours), lines(&quays), "{what}, ours against Quay's");
    }
}

/// What the OAuth token is called by here. The log tells its id only; there is one.
const OAUTH_TOKEN: &str = "the token";

/// Who did what the log says.
fn actor(log: &Value) -> Actor {
    let text = |member: &str| log[member].as_str().map(str::to_owned);
    let credential = match (text("app_specific_token"), text("oauth_token_application")) {
        (Some(uuid), _) => Credential::AppToken(uuid),
        (None, Some(_)) => Credential::OauthToken(OAUTH_TOKEN.to_owned()),
        (None, None) => Credential::Account,
    };
    Actor::new(text("username"))
        .with_credential(credential)
        .with_client(
            Some("127.0.0.1".parse().unwrap()),
            &text("user-agent").unwrap_or_default(),
        )
}

/// What was done to Quay: when in microseconds, what, in which repository, with which digest, under which tag, and what its log says of it.
/// Left out is what was pulled through a proxy (repository 9), and what this registry does not take: schema 1 (media type 13).
const EVENTS: &str = r#"
    SELECT CAST(extract(epoch FROM u.uploaded_at) * 1000000 AS bigint) AS at, 'blob', u.repository_id, s.content_checksum, '', '{}'
    FROM uploadedblob u JOIN imagestorage s ON s.id = u.blob_id
    UNION ALL
    SELECT t.lifetime_start_ms * 1000, 'push', t.repository_id, m.digest, CASE WHEN t.hidden THEN '' ELSE t.name END,
           COALESCE((SELECT l.metadata_json FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id
                     WHERE k.name = 'push_repo' AND l.repository_id = t.repository_id AND NOT t.hidden
                       AND l.metadata_json LIKE '%"tag": "' || t.name || '"%'
                       AND l.datetime >= timestamp 'epoch' + t.lifetime_start_ms * interval '1 millisecond'
                     ORDER BY l.id LIMIT 1), '{}')
    FROM tag t JOIN manifest m ON m.id = t.manifest_id WHERE t.repository_id <> 9 AND m.media_type_id <> 13
    UNION ALL
    SELECT t.lifetime_end_ms * 1000, 'delete', t.repository_id, m.digest, CASE WHEN t.name = 'gone' THEN 'gone' ELSE '' END,
           COALESCE((SELECT l.metadata_json FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id
                     WHERE k.name = 'delete_tag' AND l.metadata_json LIKE '%"digest": "' || m.digest || '"%'), '{}')
    FROM tag t JOIN manifest m ON m.id = t.manifest_id WHERE t.name IN ('gone', 'sig-v1')
    UNION ALL
    SELECT CAST(extract(epoch FROM l.datetime) * 1000000 AS bigint), 'pull', l.repository_id,
           COALESCE(CAST(l.metadata_json AS json) ->> 'manifest_digest', 'sha256:' || repeat('0', 64)),
           COALESCE(CAST(l.metadata_json AS json) ->> 'tag', ''), l.metadata_json
    FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id WHERE k.name = 'pull_repo' AND l.repository_id <> 9
    ORDER BY 1, 2"#;

#[tokio::test]
async fn the_same_content_leaves_the_rows_that_quay_wrote() {
    let twins = Twins::new().await;
    let events = twins.quay.psql(EVENTS);
    assert!(events.lines().count() > 60, "{events}");
    for event in events.lines() {
        twins.repeat(event).await;
    }
    twins.registry.write_pull_notes().await.unwrap();
    // What Quay's web interface did: it gave a tag an end, and made another immutable.
    twins.ours.psql(
        "UPDATE tag SET lifetime_end_ms = 1797939991266 WHERE name = 'v1';
         UPDATE tag SET immutable = true WHERE name = '1.0'",
    );

    twins.compare(
        "manifests",
        "SELECT m.repository_id, m.digest, t.name, m.config_media_type, m.layers_compressed_size, m.subject, m.subject_backfilled,
                m.artifact_type, m.artifact_type_backfilled, m.manifest_bytes
         FROM manifest m JOIN mediatype t ON t.id = m.media_type_id
         WHERE m.repository_id <> 9 AND m.media_type_id <> 13 ORDER BY 1, 2",
    );
    twins.compare(
        "what manifests refer to",
        "SELECT b.repository_id, m.repository_id, m.digest, s.content_checksum
         FROM manifestblob b JOIN manifest m ON m.id = b.manifest_id JOIN imagestorage s ON s.id = b.blob_id
         WHERE m.repository_id <> 9 AND m.media_type_id <> 13 ORDER BY 1, 3, 4",
    );
    twins.compare(
        "children of indexes",
        "SELECT c.repository_id, p.digest, m.digest
         FROM manifestchild c JOIN manifest p ON p.id = c.manifest_id JOIN manifest m ON m.id = c.child_manifest_id
         ORDER BY 1, 2, 3",
    );
    twins.compare(
        "states of the scanner",
        "SELECT m.digest, s.repository_id, s.index_status, s.error_json, s.indexer_hash, s.indexer_version, s.metadata_json
         FROM manifestsecuritystatus s JOIN manifest m ON m.id = s.manifest_id WHERE m.media_type_id <> 13 ORDER BY 1, 2",
    );
    twins.compare(
        "labels",
        "SELECT l.repository_id, m.digest, b.key, b.value, t.name, s.name, s.mutable
         FROM manifestlabel l JOIN manifest m ON m.id = l.manifest_id JOIN label b ON b.id = l.label_id
         JOIN mediatype t ON t.id = b.media_type_id JOIN labelsourcetype s ON s.id = b.source_type_id
         WHERE s.name <> 'api' AND m.media_type_id <> 13 ORDER BY 1, 2, 3",
    );
    twins.compare(
        "tags",
        "SELECT t.repository_id, CASE WHEN t.hidden THEN left(t.name, 6) ELSE t.name END, length(t.name), m.digest,
                t.lifetime_start_ms, t.lifetime_end_ms, t.hidden, t.reversion, k.name, t.linked_tag_id, t.immutable
         FROM tag t JOIN manifest m ON m.id = t.manifest_id JOIN tagkind k ON k.id = t.tag_kind_id
         WHERE t.repository_id <> 9 AND m.media_type_id <> 13 ORDER BY t.lifetime_start_ms, t.name",
    );
    twins.compare(
        "blobs",
        // Quay unpacks layers that come in one piece, and notes their size then. Nothing reads it.
        "SELECT length(uuid), image_size, uploading, cas_path, content_checksum FROM imagestorage ORDER BY content_checksum",
    );
    twins.compare(
        "places of blobs",
        // Copies elsewhere are the replication's.
        "SELECT s.content_checksum, l.id, l.name FROM imagestorageplacement p
         JOIN imagestorage s ON s.id = p.storage_id JOIN imagestoragelocation l ON l.id = p.location_id
         WHERE l.name = 'us_east' ORDER BY 1",
    );
    twins.compare(
        "protected uploads",
        "SELECT u.repository_id, s.content_checksum, u.uploaded_at, round(extract(epoch FROM u.expires_at - u.uploaded_at))
         FROM uploadedblob u JOIN imagestorage s ON s.id = u.blob_id ORDER BY u.uploaded_at",
    );
    twins.compare(
        "sizes of repositories",
        "SELECT repository_id, size_bytes, backfill_start_ms, backfill_complete FROM quotarepositorysize
         WHERE repository_id <> 9 ORDER BY 1",
    );
    twins.compare(
        "sizes of namespaces",
        "SELECT namespace_user_id, size_bytes, backfill_start_ms, backfill_complete FROM quotanamespacesize
         WHERE namespace_user_id <> 12 ORDER BY 1",
    );
    twins.compare(
        "the log",
        // `resolved_ip` says which of Amazon's networks an address belongs to, by a list that Quay carries. A tag that the web interface set
        // or deleted has another entry there.
        r#"SELECT k.id, k.name, l.account_id, l.performer_id, l.repository_id, l.ip,
                  regexp_replace(l.metadata_json, ', "resolved_ip": \{.*\}\}$', '}')
           FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id
           WHERE k.name IN ('push_repo', 'pull_repo', 'delete_tag') AND l.repository_id <> 9
             AND l.metadata_json NOT LIKE '%"tag": "stable"%' AND NOT (k.name = 'delete_tag' AND l.metadata_json LIKE '%"gone"%')
             AND NOT (k.name = 'push_repo' AND l.metadata_json LIKE '%schema1%')
           ORDER BY l.datetime, l.id"#,
    );
}
