//! A registry without configuration in a temporary directory, and a console that is remembered, for the tests of the commands.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use roadstead_config::{Config, Loaded, Source, load};
use roadstead_metadata::{
    Actor, Blob, ClaimCopies, ClaimCursor, CommitBlob, Database, Delete, Deletion, Demand, Ensured,
    Features, FirstAccount, NewRepository, PushedLabels, PutManifest, PutManifestOutcome,
    Repository, RepositoryPath,
};
use roadstead_oci::{Algorithm, Digest, Manifest, ManifestLimits, MediaType};
use roadstead_placement::{FailureClass, LocationName};
use roadstead_queue::{Worker, WorkerOptions};
use roadstead_replication::QUEUE;
use roadstead_runtime::{Environment, ManualClock, SeededIds, Tasks, Timestamp};
use roadstead_server::{Deployment, Migrations};
use roadstead_storage::{ObjectKey, Staged};
use tempfile::TempDir;

use crate::console::Console;
use crate::open::Opened;

const SEED: u64 = 41;

/// How long a condition is waited for before a test fails; far more than any takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct World {
    pub(crate) opened: Opened,
    pub(crate) clock: Arc<ManualClock>,
    repository: Repository,
    directory: TempDir,
}

impl World {
    /// A registry with the locations `usstorage` and `eustorage`.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with garbage collection switched off.
    pub(crate) async fn without_garbage_collection() -> Self {
        Self::with(|config| {
            config.garbage.enabled = false;
            config.garbage.repositories = false;
            config.garbage.namespaces = false;
        })
        .await
    }

    /// The same without a key for what the database holds encrypted, as with a configuration that has none.
    pub(crate) async fn without_secret_key() -> Self {
        Self::with(|config| config.database.own_key_file = None).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        println!("seed {SEED}");
        let directory = TempDir::new().unwrap();
        let mut loaded = configuration(directory.path().to_owned());
        change(&mut loaded.config);
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let environment = Environment {
            clock: Arc::<ManualClock>::clone(&clock),
            ids: Arc::new(SeededIds::new(SEED)),
        };
        let deployment = Deployment::open(&loaded.config, Migrations::Apply, environment.clone())
            .await
            .unwrap();
        let repository = repository(&deployment.database, &environment).await;
        let opened = Opened::open(&loaded.config, environment).await.unwrap();
        Self {
            opened,
            clock,
            repository,
            directory,
        }
    }

    /// The same with replication switched off.
    pub(crate) async fn without_replication() -> Self {
        let mut world = Self::new().await;
        world.opened.queue = None;
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.opened.deployment.environment.now()
    }

    pub(crate) async fn delete_tag(&self, tag: &str) {
        let delete = Delete {
            repository: &self.repository,
            features: Features::default(),
            actor: &Actor::default(),
            now: self.now(),
        };
        let deleted = self
            .database()
            .delete_tag(&delete, &tag.parse().unwrap())
            .await
            .unwrap();
        assert_eq!(deleted, Deletion::Deleted);
    }

    pub(crate) fn database(&self) -> &Database {
        &self.opened.deployment.database
    }

    pub(crate) fn object(&self, location: &str, blob: &Blob) -> PathBuf {
        let path = ObjectKey::Blob(blob.digest.clone()).path();
        self.directory.path().join(location).join(path)
    }

    /// Takes a location's root away for good.
    pub(crate) fn lose(&self, location: &str) {
        fs::remove_dir_all(self.directory.path().join(location)).unwrap();
    }

    pub(crate) async fn push_blob(&self, location: &str, content: &[u8]) -> Blob {
        let environment = &self.opened.deployment.environment;
        let digest = Digest::of(Algorithm::Sha256, content);
        let name = LocationName::new(location).unwrap();
        let mut locations = self.opened.deployment.locations.iter();
        let store = locations.find(|location| *location.name() == name).unwrap();
        let (id, size) = (environment.ids.uuid(), content.len() as u64);
        let mut writer = store.stage(id, &Staged::NOTHING).await.unwrap();
        writer.write(Bytes::copy_from_slice(content)).await.unwrap();
        writer.sync().await.unwrap();
        let staged = writer.staged();
        drop(writer);
        store
            .publish(id, &staged, &ObjectKey::Blob(digest.clone()))
            .await
            .unwrap();
        let now = environment.now();
        let publishing = self
            .database()
            .begin_publication(&digest, &name, now + Duration::from_hours(1), now)
            .await
            .unwrap();
        let commit = CommitBlob {
            repository: self.repository.id,
            publication: &publishing.begun().unwrap(),
            size,
            protect_until: now + Duration::from_hours(1),
            upload: None,
            uuid: environment.ids.uuid(),
            now,
        };
        self.database().commit_blob(&commit).await.unwrap();
        let blob = self.database().find_blob_anywhere(&digest).await.unwrap();
        blob.unwrap()
    }

    /// Pushes an image with one layer; its copies are queued.
    pub(crate) async fn push_image(&self, location: &str, tag: &str, layer: &[u8]) -> [Blob; 2] {
        let config = self
            .push_blob(location, format!(r#"{{"tag":"{tag}"}}"#).as_bytes())
            .await;
        let layer = self.push_blob(location, layer).await;
        let document = format!(
            r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "{}", "size": {}}},
                "layers": [{{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "{}", "size": {}}}]}}"#,
            config.digest, config.size, layer.digest, layer.size
        );
        let media_type: MediaType = "application/vnd.oci.image.manifest.v1+json"
            .parse()
            .unwrap();
        let manifest = Manifest::parse(
            Some(&media_type),
            Bytes::from(document),
            &ManifestLimits::default(),
        )
        .unwrap();
        let environment = &self.opened.deployment.environment;
        let actor = Actor::default();
        let put = PutManifest {
            repository: &self.repository,
            digest: &manifest.digest(Algorithm::Sha256),
            manifest: &manifest,
            labels: PushedLabels::NONE,
            tags: &[tag.parse().unwrap()],
            untagged_until: environment.now(),
            demand: Some(Demand {
                defaults: self.opened.deployment.topology.defaults(),
                configured: &self
                    .opened
                    .deployment
                    .topology
                    .locations()
                    .iter()
                    .cloned()
                    .collect(),
            }),
            queue: QUEUE,
            features: Features::default(),
            actor: &actor,
            ids: &environment.ids,
            now: environment.now(),
        };
        let outcome = self.database().put_manifest(&put).await.unwrap();
        assert!(
            matches!(outcome, PutManifestOutcome::Stored { .. }),
            "{outcome:?}"
        );
        [config, layer]
    }

    /// Takes every job that is due and puts it off for an hour, for this reason.
    pub(crate) async fn fail_jobs(&self, reason: &str) {
        let now = self.now();
        let claim = ClaimCopies {
            queue: QUEUE,
            blobs: 1000,
            region: None,
            elsewhere: &BTreeSet::new(),
            now,
            lease_until: now + Duration::from_mins(1),
            token: self.opened.deployment.environment.ids.uuid(),
        };
        let mut cursor = ClaimCursor::default();
        let claimed = self.database().claim_copies(&claim, &mut cursor);
        for job in claimed.await.unwrap() {
            let until = now + Duration::from_hours(1);
            let class = FailureClass::TargetFull;
            let put_off = self
                .database()
                .postpone_job(&job, until, reason, class, now);
            assert!(put_off.await.unwrap());
        }
    }

    /// Lets a worker run until no job is left.
    pub(crate) async fn work(&self) {
        let tasks = Tasks::new();
        let deployment = &self.opened.deployment;
        let worker = Worker::new(
            deployment.database.clone(),
            deployment.environment.clone(),
            WorkerOptions::new(QUEUE),
            deployment.wake_up.clone(),
        );
        let (handler, shutdown) = (Arc::new(self.opened.replication.clone()), tasks.shutdown());
        tasks.spawn(async move { worker.run(handler, shutdown).await });
        tokio::time::timeout(PATIENCE, async {
            while self.database().count_jobs(QUEUE).await.unwrap() > 0 {
                self.clock.advance(Duration::from_millis(100));
            }
        })
        .await
        .unwrap();
        assert!(tasks.stop(PATIENCE).await);
    }
}

pub(crate) fn configuration(data_dir: PathBuf) -> Loaded {
    load(
        &Source::Standalone { data_dir },
        &roadstead_config::Environment::empty(),
    )
    .unwrap()
}

async fn repository(database: &Database, environment: &Environment) -> Repository {
    let account = FirstAccount {
        username: "admin",
        email: "admin@example.org",
        password_hash: "",
        uuid: environment.ids.uuid(),
        now: environment.now(),
        tag_window: roadstead_metadata::TAG_WINDOW,
    };
    assert!(database.create_first_account(&account).await.unwrap());
    let account = database.find_account("admin").await.unwrap().unwrap();
    let new = NewRepository {
        path: &RepositoryPath {
            namespace: "admin".to_owned(),
            name: "app".to_owned(),
        },
        creator: account.id,
        private: true,
        create_namespace: false,
        tag_window: roadstead_metadata::TAG_WINDOW,
        ids: environment.ids.as_ref(),
        now: environment.now(),
    };
    match database.ensure_repository(&new).await.unwrap() {
        Ensured::Created(repository) => repository,
        other => panic!("{other:?}"),
    }
}

/// What was written to one of a console's streams.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A console that reads `input`, and what is written to its standard output and standard error.
pub(crate) fn console(input: &'static str) -> (Console, Written, Written) {
    let (output, errors) = (Written::default(), Written::default());
    (
        Console::of_test(input, output.clone(), errors.clone()),
        output,
        errors,
    )
}
