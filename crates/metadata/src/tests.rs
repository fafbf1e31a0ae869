//! What the metadata repository promises, on a real database.

mod accounts;
mod audit;
mod calls;
mod contention;
mod copies;
mod copy_claims;
mod copy_control;
mod cuts;
mod demand;
mod garbage;
mod image_events;
mod labels;
mod leaving;
mod manifests;
mod newer;
mod overview;
mod owners;
mod proxy;
mod quota;
mod rights;
mod scale;
mod scrub;
mod tags;
mod together;
mod totals;
mod uploads;
mod webhooks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_oci::{
    Algorithm, Digest, DigestState, Digester, Manifest, ManifestLimits, Reference,
};
use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::{Ids, SeededIds, Timestamp};
use roadstead_test_servers::{Postgres, PostgresDatabase};
use tokio::sync::OnceCell;

use super::*;
use crate::database::{Connection as _, Named, params};

/// A migrated database with one account, one repository and two locations.
struct World {
    database: Database,
    repository: Repository,
    creator: UserId,
    ids: Arc<dyn Ids>,
    now: Timestamp,
    /// What is kept besides. Nothing at first.
    features: Features,
    actor: Actor,
    /// The locations that every blob of a manifest must reach. Both at first.
    required: BTreeSet<LocationName>,
    place: Place,
}

/// Where the database of a world is. Kept until the world goes, which is what says in a failed test which engine it was.
#[derive(Debug)]
enum Place {
    File(tempfile::TempDir),
    Server(PostgresDatabase),
}

/// A file that was migrated, as its bytes: migrated once, because that takes longer than most tests.
async fn migrated_file() -> &'static [u8] {
    static FILE: OnceCell<Vec<u8>> = OnceCell::const_new();
    FILE.get_or_init(|| async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roadstead.db");
        migrate(&DatabaseOptions::Sqlite { path: path.clone() }).await;
        assert!(
            !directory.path().join("roadstead.db-wal").exists(),
            "whoever closes a file last leaves no log behind"
        );
        std::fs::read(path).unwrap()
    })
    .await
}

/// A database of the server that was migrated, to be copied.
async fn migrated_database() -> &'static PostgresDatabase {
    static DATABASE: OnceCell<PostgresDatabase> = OnceCell::const_new();
    DATABASE
        .get_or_init(|| async {
            let server = Postgres::shared().database();
            migrate(&options_of(&server)).await;
            server
        })
        .await
}

async fn migrate(options: &DatabaseOptions) {
    let database = Database::open(options).await.unwrap();
    database.migrate().await.unwrap();
    database.close().await;
}

/// The same world on each engine.
async fn worlds() -> [World; 2] {
    [World::on_sqlite().await, World::on_postgres().await]
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world of the failed test: {:?}", self.place);
        }
    }
}

const QUEUE: &str = "imagestoragereplication";

fn us() -> LocationName {
    LocationName::new("usstorage").unwrap()
}

fn eu() -> LocationName {
    LocationName::new("eustorage").unwrap()
}

fn both() -> BTreeSet<LocationName> {
    BTreeSet::from([us(), eu()])
}

fn later(now: Timestamp, seconds: u64) -> Timestamp {
    now + Duration::from_secs(seconds)
}

fn digest_of(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

impl World {
    async fn on_sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roadstead.db");
        std::fs::write(&path, migrated_file().await).unwrap();
        Self::of(&DatabaseOptions::Sqlite { path }, Place::File(directory)).await
    }

    async fn on_postgres() -> Self {
        let server = Postgres::shared().copy_of(migrated_database().await);
        Self::of(&options_of(&server), Place::Server(server)).await
    }

    /// In a database that was migrated.
    async fn of(options: &DatabaseOptions, place: Place) -> Self {
        let database = Database::open(options).await.unwrap();
        database.check_schema().await.unwrap();
        let ids: Arc<dyn Ids> = Arc::new(SeededIds::new(42));
        let now = Timestamp::from_timestamp(1_795_000_000, 0).unwrap();
        assert!(
            database
                .create_first_account(&FirstAccount {
                    username: "admin",
                    email: "admin@localhost",
                    password_hash: "$2b$12$not-checked-here",
                    uuid: ids.uuid(),
                    now,
                    tag_window: crate::TAG_WINDOW,
                })
                .await
                .unwrap()
        );
        let creator = database.find_account("admin").await.unwrap().unwrap().id;
        database.ensure_locations(&[us(), eu()]).await.unwrap();
        let path = RepositoryPath {
            namespace: "acme".into(),
            name: "app".into(),
        };
        let Ensured::Created(repository) = database
            .ensure_repository(&NewRepository {
                path: &path,
                creator,
                private: true,
                create_namespace: true,
                tag_window: crate::TAG_WINDOW,
                ids: &ids,
                now,
            })
            .await
            .unwrap()
        else {
            panic!("a new repository is created");
        };
        Self {
            database,
            repository,
            creator,
            ids,
            now,
            features: Features::default(),
            actor: Actor::new(Some("admin".to_owned())),
            required: both(),
            place,
        }
    }

    /// Runs a statement past the interface, as Quay or an operator would.
    async fn sql(&self, statement: &str) {
        self.database
            .execute("arrange a test", statement, params![])
            .await
            .unwrap();
    }

    /// What a query says, which calls its one column `name`.
    async fn texts(&self, query: &str) -> Vec<String> {
        let rows: Vec<Named> = self
            .database
            .reader()
            .rows("look into a test", query, params![])
            .await
            .unwrap();
        rows.into_iter().map(|row| row.name).collect()
    }

    async fn blob(&self, content: &str, location: &LocationName) -> Blob {
        self.blob_in(&self.repository, content, location).await
    }

    async fn blob_in(
        &self,
        repository: &Repository,
        content: &str,
        location: &LocationName,
    ) -> Blob {
        self.record_in(repository, content, location).await;
        let digest = digest_of(content);
        let blob = self.database.find_blob_anywhere(&digest).await.unwrap();
        blob.expect("it was just recorded")
    }

    /// As a blob that may be collected at once.
    async fn record_in(&self, repository: &Repository, content: &str, location: &LocationName) {
        let publication = self.publication(content, location).await;
        self.database
            .commit_blob(&CommitBlob {
                repository: repository.id,
                publication: &publication,
                size: content.len() as u64,
                protect_until: later(self.now, 3600),
                upload: None,
                uuid: self.ids.uuid(),
                now: self.now,
            })
            .await
            .unwrap();
    }

    async fn publication(&self, content: &str, location: &LocationName) -> Publication {
        self.database
            .begin_publication(
                &digest_of(content),
                location,
                later(self.now, 3600),
                self.now,
            )
            .await
            .unwrap()
            .begun()
            .unwrap()
    }

    /// Records that a location has a copy of a blob.
    async fn copied(&self, blob: &Blob, location: &LocationName) -> Recorded {
        let publishing = self
            .database
            .begin_publication(&blob.digest, location, later(self.now, 3600), self.now)
            .await
            .unwrap();
        self.database
            .record_copy(blob.storage, &publishing.begun().unwrap(), self.now)
            .await
            .unwrap()
    }

    async fn repository(&self, name: &str) -> Repository {
        let path = RepositoryPath {
            namespace: "acme".into(),
            name: name.into(),
        };
        match self
            .database
            .ensure_repository(&NewRepository {
                path: &path,
                creator: self.creator,
                private: true,
                create_namespace: false,
                tag_window: crate::TAG_WINDOW,
                ids: &self.ids,
                now: self.now,
            })
            .await
            .unwrap()
        {
            Ensured::Found(repository) | Ensured::Created(repository) => repository,
            Ensured::NoNamespace => panic!("the namespace exists"),
        }
    }

    async fn put(&self, manifest: &Manifest, tags: &[&str], now: Timestamp) -> PutManifestOutcome {
        self.put_labelled(manifest, PushedLabels::NONE, tags, now)
            .await
    }

    async fn put_labelled(
        &self,
        manifest: &Manifest,
        labels: PushedLabels<'_>,
        tags: &[&str],
        now: Timestamp,
    ) -> PutManifestOutcome {
        self.put_into(&self.repository, manifest, labels, tags, now)
            .await
    }

    async fn put_into(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        labels: PushedLabels<'_>,
        tags: &[&str],
        now: Timestamp,
    ) -> PutManifestOutcome {
        let tags: Vec<_> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        self.database
            .put_manifest(&PutManifest {
                repository,
                digest: &manifest.digest(Algorithm::Sha256),
                manifest,
                labels,
                tags: &tags,
                untagged_until: later(now, 3600),
                demand: Some(Demand {
                    defaults: &self.required,
                    configured: &both(),
                }),
                queue: QUEUE,
                features: self.features,
                actor: &self.actor,
                ids: &self.ids,
                now,
            })
            .await
            .unwrap()
    }

    /// Deletes a tag or a digest.
    async fn delete(&self, reference: &str, now: Timestamp) -> Deletion {
        self.try_delete(reference, now).await.unwrap()
    }

    async fn try_delete(&self, reference: &str, now: Timestamp) -> Result<Deletion, MetadataError> {
        let delete = Delete {
            repository: &self.repository,
            features: self.features,
            actor: &self.actor,
            now,
        };
        match reference.parse().unwrap() {
            Reference::Tag(tag) => self.database.delete_tag(&delete, &tag).await,
            Reference::Digest(digest) => self.database.delete_manifest(&delete, &digest).await,
        }
    }

    async fn claim(&self, now: Timestamp) -> Vec<Job> {
        self.claim_copies(100, now, &BTreeSet::new()).await
    }

    async fn claim_copies(
        &self,
        blobs: u32,
        now: Timestamp,
        elsewhere: &BTreeSet<LocationName>,
    ) -> Vec<Job> {
        let claim = ClaimCopies {
            queue: QUEUE,
            blobs,
            region: Some(&us()),
            elsewhere,
            now,
            lease_until: later(now, 60),
            token: self.ids.uuid(),
        };
        let mut cursor = ClaimCursor::default();
        let mut jobs = self
            .database
            .claim_copies(&claim, &mut cursor)
            .await
            .unwrap();
        jobs.sort_by_key(|job| job.id.0);
        jobs
    }

    async fn claim_of(&self, queue: &str, limit: u32, now: Timestamp) -> Vec<Job> {
        self.database
            .claim_jobs(&ClaimJobs {
                queue,
                limit,
                now,
                lease_until: later(now, 60),
                token: self.ids.uuid(),
            })
            .await
            .unwrap()
    }
}

fn image(layers: &[&str]) -> Manifest {
    image_with(layers, "")
}

fn image_with(layers: &[&str], more: &str) -> Manifest {
    let descriptor = |content: &str, media_type: &str| {
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
            digest_of(content),
            content.len()
        )
    };
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| descriptor(layer, "application/vnd.oci.image.layer.v1.tar"))
        .collect();
    parse(&format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]{more}}}"#,
        descriptor("{}", "application/vnd.oci.image.config.v1+json"),
        layers.join(",")
    ))
}

fn index(children: &[&Manifest]) -> Manifest {
    let children: Vec<String> = children
        .iter()
        .map(|child| {
            format!(
                r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
                child.media_type(),
                child.digest(Algorithm::Sha256),
                child.bytes().len()
            )
        })
        .collect();
    parse(&format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        children.join(",")
    ))
}

fn parse(json: &str) -> Manifest {
    Manifest::parse(
        None,
        Bytes::from(json.to_owned()),
        &ManifestLimits::default(),
    )
    .unwrap()
}

pub(crate) fn options_of(server: &PostgresDatabase) -> DatabaseOptions {
    let host = PostgresHost {
        host: "127.0.0.1".to_owned(),
        port: server.port,
    };
    DatabaseOptions::Postgres(PostgresOptions {
        password: Some(server.password.clone()),
        connections: 4,
        ..PostgresOptions::new(vec![host], &server.name, &server.user)
    })
}

#[tokio::test]
async fn a_newer_database_is_worked_with_unless_its_migrations_say_otherwise() {
    for world in worlds().await {
        world.database.migrate().await.unwrap();
        world.database.check_schema().await.unwrap();
        world.database.ping().await.unwrap();
        // The next release, which has added a table: both run while one replaces the other.
        let applied = |name: &str| {
            format!("INSERT INTO roadstead_migration (version, applied_at) VALUES ('{name}', 0)")
        };
        world.sql("CREATE TABLE roadstead_later (id integer)").await;
        world.sql(&applied("m20990101_000001_later")).await;
        world.database.migrate().await.unwrap();
        world.database.check_schema().await.unwrap();
        world
            .sql("DELETE FROM roadstead_migration WHERE version LIKE '%image_events'")
            .await;
        let refused = world.database.migrate().await.unwrap_err();
        assert!(refused.to_string().contains("later"), "{refused}");
        world.sql(&applied("m20261126_000012_image_events")).await;
        world
            .sql(&applied("m20990101_000002_moved_incompatible"))
            .await;
        let refused = world.database.migrate().await.unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("m20990101_000002_moved_incompatible"),
            "{refused}"
        );
        assert!(matches!(
            refused,
            MetadataError::Schema(SchemaError::TooNew { .. })
        ));
    }
}

#[tokio::test]
async fn several_processes_may_migrate_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = DatabaseOptions::Sqlite {
        path: directory.path().join("roadstead.db"),
    };
    let (one, two) = (
        Database::open(&options).await.unwrap(),
        Database::open(&options).await.unwrap(),
    );
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    first.unwrap();
    second.unwrap();
    one.check_schema().await.unwrap();
}

#[tokio::test]
async fn a_namespace_and_a_repository_are_made_once_and_an_unknown_namespace_only_on_demand() {
    for world in worlds().await {
        let path = RepositoryPath {
            namespace: "nobody".into(),
            name: "app".into(),
        };
        let mut new = NewRepository {
            path: &path,
            creator: world.creator,
            private: false,
            create_namespace: false,
            tag_window: crate::TAG_WINDOW,
            ids: &world.ids,
            now: world.now,
        };
        assert!(matches!(
            world.database.ensure_repository(&new).await.unwrap(),
            Ensured::NoNamespace
        ));
        new.create_namespace = true;
        let Ensured::Created(created) = world.database.ensure_repository(&new).await.unwrap()
        else {
            panic!("created");
        };
        assert!(created.public);
        let Ensured::Found(found) = world.database.ensure_repository(&new).await.unwrap() else {
            panic!("found");
        };
        assert_eq!(found.id, created.id);
        assert_eq!(
            world
                .database
                .catalog(&CatalogViewer::All, None, 10)
                .await
                .unwrap(),
            ["acme/app", "nobody/app"]
        );
        assert_eq!(
            world
                .database
                .catalog(&CatalogViewer::PublicOnly, Some("acme/zzz"), 10)
                .await
                .unwrap(),
            ["nobody/app"]
        );
    }
}

/// Bytes in a store where the offset says all.
fn advance<'a>(
    upload: &'a Upload,
    offset: u64,
    hash_state: &'a DigestState,
    now: Timestamp,
) -> AdvanceUpload<'a> {
    AdvanceUpload {
        upload,
        offset,
        hash_state,
        staged_parts: "",
        location: &upload.location,
        now,
    }
}
