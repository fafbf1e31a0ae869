//! A registry's database, with one location that images are complete at when they are pushed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_metadata::{
    Actor, CommitBlob, Database, DatabaseOptions, Delete, Deletion, Demand, Ensured, Features,
    FirstAccount, NewRepository, PostgresHost, PostgresOptions, PushedLabels, PutManifest,
    PutManifestOutcome, Repository, RepositoryPath,
};
use roadstead_oci::{Algorithm, Digest, Manifest, ManifestLimits};
use roadstead_placement::LocationName;
use roadstead_runtime::{Environment, ManualClock, SeededIds, Timestamp};
use roadstead_secrets::FieldKey;
use roadstead_test_servers::{Postgres, PostgresDatabase};
use tempfile::TempDir;

use crate::Webhooks;

const SEED: u64 = 12;

/// How long a condition is waited for before a test fails; far more than any takes.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) struct World {
    pub(super) webhooks: Webhooks,
    pub(super) clock: Arc<ManualClock>,
    _place: (TempDir, Option<PostgresDatabase>),
}

/// The same world on each engine.
pub(super) async fn worlds() -> [World; 2] {
    println!("seed {SEED}");
    let server = Postgres::shared().database();
    [World::new(None).await, World::new(Some(server)).await]
}

/// Waits until something is so.
pub(super) async fn eventually(condition: impl AsyncFn() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it comes about");
}

impl World {
    async fn new(server: Option<PostgresDatabase>) -> Self {
        let directory = TempDir::new().unwrap();
        let options = match &server {
            None => DatabaseOptions::Sqlite {
                path: directory.path().join("roadstead.db"),
            },
            Some(server) => {
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
        };
        let database = Database::open(&options).await.unwrap();
        database.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let environment = Environment {
            clock: Arc::<ManualClock>::clone(&clock),
            ids: Arc::new(SeededIds::new(SEED)),
        };
        database.ensure_locations(&[us()]).await.unwrap();
        let account = FirstAccount {
            username: "acme",
            email: "acme@example.org",
            password_hash: "",
            uuid: environment.ids.uuid(),
            now: environment.now(),
            tag_window: roadstead_metadata::TAG_WINDOW,
        };
        assert!(database.create_first_account(&account).await.unwrap());
        let key = FieldKey::new("a key for tests").unwrap();
        let mut webhooks = Webhooks::new(database, environment, Some(key)).unwrap();
        webhooks.sender = webhooks.sender.with_deadline(Duration::from_secs(2));
        Self {
            webhooks,
            clock,
            _place: (directory, server),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.webhooks.environment.now()
    }

    /// Sends everything that is due, once.
    pub(super) async fn run_once(&self) {
        let mut leases = Vec::new();
        while let Some(lease) = self.webhooks.claim().await.unwrap() {
            leases.push(lease);
        }
        for lease in leases {
            self.webhooks.deliver(lease).await;
        }
    }

    async fn repository(&self, name: &str) -> Repository {
        let database = &self.webhooks.database;
        let creator = database.find_account("acme").await.unwrap().unwrap();
        let new = NewRepository {
            path: &RepositoryPath {
                namespace: "acme".to_owned(),
                name: name.to_owned(),
            },
            creator: creator.id,
            private: true,
            create_namespace: false,
            tag_window: roadstead_metadata::TAG_WINDOW,
            ids: self.webhooks.environment.ids.as_ref(),
            now: self.now(),
        };
        match database.ensure_repository(&new).await.unwrap() {
            Ensured::Created(repository) | Ensured::Found(repository) => repository,
            Ensured::NoNamespace => panic!("the namespace exists"),
        }
    }

    /// Pushes an image of its own and looks whether it is complete, which it is. Returns its digest.
    pub(super) async fn push(&self, repository: &str, tag: &str) -> String {
        let repository = self.repository(repository).await;
        let (database, now) = (&self.webhooks.database, self.now());
        let content = format!(r#"{{"tag":"{tag}"}}"#);
        let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
        let until = now + Duration::from_hours(1);
        let us = us();
        let publishing = database.begin_publication(&digest, &us, until, now);
        let commit = CommitBlob {
            repository: repository.id,
            publication: &publishing.await.unwrap().begun().unwrap(),
            size: content.len() as u64,
            protect_until: until,
            upload: None,
            uuid: self.webhooks.environment.ids.uuid(),
            now,
        };
        database.commit_blob(&commit).await.unwrap();
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest,
                "size": content.len(),
            },
            "layers": [],
        });
        let bytes = Bytes::from(document.to_string());
        let manifest = Manifest::parse(None, bytes, &ManifestLimits::default()).unwrap();
        let digest = manifest.digest(Algorithm::Sha256);
        let here = BTreeSet::from([us]);
        let put = PutManifest {
            repository: &repository,
            digest: &digest,
            manifest: &manifest,
            labels: PushedLabels::NONE,
            tags: &[tag.parse().unwrap()],
            untagged_until: now,
            demand: Some(Demand {
                defaults: &here,
                configured: &here,
            }),
            queue: "imagestoragereplication",
            features: Features::default(),
            actor: &Actor::default(),
            ids: &self.webhooks.environment.ids,
            now,
        };
        let outcome = database.put_manifest(&put).await.unwrap();
        assert!(matches!(outcome, PutManifestOutcome::Stored { .. }));
        let settled = database.settle_awaited_images(10, now).await.unwrap();
        assert_eq!(settled.complete, 1);
        digest.to_string()
    }

    pub(super) async fn delete_tag(&self, repository: &str, tag: &str) {
        let delete = Delete {
            repository: &self.repository(repository).await,
            features: Features::default(),
            actor: &Actor::default(),
            now: self.now(),
        };
        let database = &self.webhooks.database;
        let deleted = database.delete_tag(&delete, &tag.parse().unwrap()).await;
        assert_eq!(deleted.unwrap(), Deletion::Deleted);
    }
}

fn us() -> LocationName {
    LocationName::new("us").unwrap()
}
