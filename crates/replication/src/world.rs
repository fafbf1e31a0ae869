//! A small registry for tests: a database, local locations that fail on command, a manual clock, and a repository to push into.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_locations::Locations;
use roadstead_metadata::{
    Actor, Blob, ClaimCopies, ClaimCursor, CommitBlob, Database, DatabaseOptions, Demand, Ensured,
    Features, FirstAccount, Job, NewRepository, PushedLabels, PutManifest, PutManifestOutcome,
    Repository, RepositoryPath,
};
use roadstead_oci::{Algorithm, Digest, Manifest, ManifestLimits, MediaType, Tag};
use roadstead_placement::{FailureClass, LocationName, Topology};
use roadstead_queue::{Handler, JobOutcome, WakeUp};
use roadstead_runtime::{Environment, ManualClock, SeededIds, Shutdown};
use roadstead_secrets::Secret;
use roadstead_storage::faults::Faults;
use roadstead_storage::{
    HttpClient, LocalOptions, Location, ObjectKey, S3Credentials, S3Options, Staged, StoreOptions,
};
use roadstead_test_servers::S3Server;
use tempfile::TempDir;

use crate::{QUEUE, Replication, ReplicationParts};

const SEED: u64 = 31;

/// How long a condition is waited for before a test fails; far more than any takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct World {
    pub(crate) replication: Replication,
    pub(crate) clock: Arc<ManualClock>,
    faults: BTreeMap<LocationName, Faults>,
    repository: Repository,
    directory: TempDir,
}

impl World {
    /// Locations of these names, preferred in this order, every one of them a default location.
    pub(crate) async fn new(locations: &[&str]) -> Self {
        Self::with_defaults(locations, locations).await
    }

    pub(crate) async fn with_defaults(locations: &[&str], defaults: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let mut faults = BTreeMap::new();
        let mut stores = Vec::new();
        for location in locations {
            let root = directory.path().join(location);
            fs::create_dir(&root).unwrap();
            let control = Faults::new(Arc::<ManualClock>::clone(&clock));
            let options = LocalOptions::default();
            let location =
                Location::local_with_faults(name(location), root, options, &control).unwrap();
            faults.insert(location.name().clone(), control);
            stores.push(location);
        }
        let defaults = defaults.iter().map(|location| name(location)).collect();
        Self::over(directory, stores, faults, clock, defaults).await
    }

    /// Locations of a bucket each in one server, every one of them a default location.
    pub(crate) async fn in_buckets(server: &S3Server, locations: &[&str]) -> Self {
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let stores = locations.iter().map(|location| bucket(server, location));
        let defaults = locations.iter().map(|location| name(location)).collect();
        let directory = TempDir::new().unwrap();
        Self::over(
            directory,
            stores.collect(),
            BTreeMap::new(),
            clock,
            defaults,
        )
        .await
    }

    async fn over(
        directory: TempDir,
        stores: Vec<Location>,
        faults: BTreeMap<LocationName, Faults>,
        clock: Arc<ManualClock>,
        defaults: Vec<LocationName>,
    ) -> Self {
        println!("seed {SEED}");
        let path = directory.path().join("roadstead.db");
        let database = Database::open(&DatabaseOptions::Sqlite { path })
            .await
            .unwrap();
        database.migrate().await.unwrap();
        let environment = Environment {
            clock: Arc::<ManualClock>::clone(&clock),
            ids: Arc::new(SeededIds::new(SEED)),
        };
        let names: Vec<_> = stores.iter().map(|store| store.name().clone()).collect();
        database.ensure_locations(&names).await.unwrap();
        let topology = Topology::new(names.clone(), names, defaults.into_iter().collect());
        let repository = repository(&database, &environment).await;
        Self {
            replication: Replication::from(ReplicationParts {
                database,
                locations: Locations::with_defaults(stores, Arc::<ManualClock>::clone(&clock)),
                topology: Arc::new(topology.unwrap()),
                environment,
                queue: QUEUE.to_owned(),
                wake_up: WakeUp::default(),
            }),
            clock,
            faults,
            repository,
            directory,
        }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.replication.database
    }

    pub(crate) fn faults(&self, location: &str) -> &Faults {
        &self.faults[&name(location)]
    }

    pub(crate) fn location(&self, location: &str) -> &Location {
        self.replication.locations.get(&name(location)).unwrap()
    }

    /// Where the object of a blob lies in the file system.
    pub(crate) fn object(&self, location: &str, blob: &Blob) -> PathBuf {
        let path = ObjectKey::Blob(blob.digest.clone()).path();
        self.directory.path().join(location).join(path)
    }

    /// Takes the root of a location away; [`World::mount`] puts it back.
    pub(crate) fn unmount(&self, location: &str) {
        let root = self.directory.path().join(location);
        fs::rename(&root, root.with_extension("unmounted")).unwrap();
    }

    pub(crate) fn mount(&self, location: &str) {
        let root = self.directory.path().join(location);
        fs::rename(root.with_extension("unmounted"), &root).unwrap();
    }

    /// Puts a blob into the repository, its bytes at one location. Nothing is queued.
    pub(crate) async fn push_blob(&self, location: &str, content: &[u8]) -> Blob {
        let environment = &self.replication.environment;
        let digest = Digest::of(Algorithm::Sha256, content);
        let store = self.location(location);
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
            .begin_publication(&digest, &name(location), now + Duration::from_hours(1), now)
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

    /// Pushes an image of these layers to one location; the copies of its blobs are queued. The first blob is its config.
    pub(crate) async fn push_image(
        &self,
        location: &str,
        tag: &str,
        layers: &[&[u8]],
    ) -> Vec<Blob> {
        let config = format!(r#"{{"tag":"{tag}"}}"#);
        let mut blobs = vec![self.push_blob(location, config.as_bytes()).await];
        for layer in layers {
            blobs.push(self.push_blob(location, layer).await);
        }
        self.put_manifest(tag, &blobs).await;
        blobs
    }

    /// Makes an image of blobs that are in the repository: config and layers.
    pub(crate) async fn put_manifest(&self, tag: &str, blobs: &[Blob]) {
        self.put_manifest_with(tag, blobs, Some(self.replication.demand()))
            .await;
    }

    /// The same without a demand, as Quay does it: no copies of ours become wanted.
    pub(crate) async fn put_manifest_with(
        &self,
        tag: &str,
        blobs: &[Blob],
        demand: Option<Demand<'_>>,
    ) {
        let descriptor = |blob: &Blob, kind: &str| {
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": blob.digest,
                "size": blob.size,
            })
        };
        let [config, layers @ ..] = blobs else {
            panic!("an image has a config");
        };
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(config, "config.v1+json"),
            "layers": layers.iter().map(|layer| descriptor(layer, "layer.v1.tar")).collect::<Vec<_>>(),
        });
        let bytes = Bytes::from(document.to_string());
        let media_type: MediaType = "application/vnd.oci.image.manifest.v1+json"
            .parse()
            .unwrap();
        let manifest =
            Manifest::parse(Some(&media_type), bytes, &ManifestLimits::default()).unwrap();
        let tags: [Tag; 1] = [tag.parse().unwrap()];
        let environment = &self.replication.environment;
        let actor = Actor::default();
        let put = PutManifest {
            repository: &self.repository,
            digest: &manifest.digest(Algorithm::Sha256),
            manifest: &manifest,
            labels: PushedLabels::NONE,
            tags: &tags,
            untagged_until: environment.now(),
            demand,
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
    }

    /// A job as Quay would have made it: without a target.
    pub(crate) fn quays_job(&self, blob: &Blob) -> Job {
        Job {
            id: roadstead_metadata::JobId(0),
            token: String::new(),
            name: format!("{QUEUE}/{}/", blob.uuid),
            body: format!(
                r#"{{"namespace_user_id": {}, "storage_id": "{}"}}"#,
                self.repository.namespace_id, blob.uuid
            ),
            target: None,
            attempts: 0,
            wanted_since: None,
            trace: None,
        }
    }

    pub(crate) async fn handle(&self, job: &Job) -> JobOutcome {
        self.replication
            .handle(std::slice::from_ref(job), &Shutdown::default())
            .await
            .remove(0)
    }

    /// The blob as the database has it now.
    pub(crate) async fn blob(&self, blob: &Blob) -> Blob {
        self.database()
            .find_blob_anywhere(&blob.digest)
            .await
            .unwrap()
            .unwrap()
    }

    /// Where the database says that a blob is.
    pub(crate) async fn present(&self, blob: &Blob) -> Vec<String> {
        let present: BTreeSet<LocationName> = self.blob(blob).await.present;
        present.iter().map(ToString::to_string).collect()
    }

    pub(crate) async fn jobs(&self) -> u64 {
        self.database().count_jobs(QUEUE).await.unwrap()
    }

    /// Takes the jobs that are due now, those of one blob behind each other.
    pub(crate) async fn claim(&self) -> Vec<Job> {
        let now = self.replication.environment.now();
        let claim = ClaimCopies {
            queue: QUEUE,
            blobs: 1000,
            region: None,
            elsewhere: &BTreeSet::new(),
            now,
            lease_until: now + Duration::from_mins(1),
            token: self.replication.environment.ids.uuid(),
        };
        let mut cursor = ClaimCursor::default();
        let mut jobs = self
            .database()
            .claim_copies(&claim, &mut cursor)
            .await
            .unwrap();
        jobs.sort_by(|one, other| (&one.name, one.id.0).cmp(&(&other.name, other.id.0)));
        jobs
    }

    /// Takes the jobs that are due now, handles them once and writes down what came of it; a failed one is due a second later.
    pub(crate) async fn work(&self) -> Vec<JobOutcome> {
        let now = self.replication.environment.now();
        let jobs = self.claim().await;
        let mut outcomes = Vec::new();
        for jobs in jobs.chunk_by(|one, other| one.name == other.name) {
            let ended = self.replication.handle(jobs, &Shutdown::default()).await;
            for (job, outcome) in jobs.iter().zip(ended) {
                let due = now + Duration::from_secs(1);
                let database = self.database();
                let written = match &outcome {
                    JobOutcome::Recorded => Ok(true),
                    JobOutcome::Done | JobOutcome::Obsolete => database.complete_job(job).await,
                    JobOutcome::Retry { reason, class } => {
                        database.postpone_job(job, due, reason, *class, now).await
                    }
                    JobOutcome::Postpone { reason, .. } => {
                        let class = FailureClass::Permanent;
                        database.postpone_job(job, due, reason, class, now).await
                    }
                    JobOutcome::Wait { .. } => database.return_job(job, due).await,
                    JobOutcome::Interrupted => database.return_job(job, now).await,
                };
                assert!(written.unwrap(), "nobody else has the lease");
                outcomes.push(outcome);
            }
        }
        outcomes
    }
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

/// A location in a bucket of its own, which is `bucket-<name>`.
pub(crate) fn bucket(server: &S3Server, location: &str) -> Location {
    let bucket = format!("bucket-{location}");
    server.create_bucket(&bucket);
    let s3 = S3Options {
        endpoint: server.endpoint(),
        region: None,
        bucket,
        storage_path: "registry".to_owned(),
        credentials: S3Credentials::Keys {
            access_key: Secret::new(server.access_key()),
            secret_key: Secret::new(server.secret_key()),
            session_token: None,
        },
        server_side_encryption: false,
        cross_origin_urls: false,
        server_side_assembly: true,
    };
    let http = HttpClient::new(&[]).unwrap();
    let options = StoreOptions::default();
    Location::s3(name(location), &s3, options, &http, Environment::system()).unwrap()
}

pub(crate) fn name(name: &str) -> LocationName {
    LocationName::new(name).unwrap()
}
