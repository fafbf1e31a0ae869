//! A registry with two locations, `us` (preferred) and `eu`, in a directory that goes with it; where a test says so with a third, `ap`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{iter, unfold};
use futures_util::{Stream, TryStreamExt};
use roadstead_locations::Locations;
use roadstead_metadata::{
    Actor, Blob, Database, DatabaseOptions, Ensured, FirstAccount, NewRepository, PostgresHost,
    PostgresOptions, Recorded, Repository, RepositoryPath, UserId,
};
use roadstead_oci::{Algorithm, Digest, Manifest, ManifestLimits, Reference};
use roadstead_placement::{HealthOptions, HedgeOptions, LocationName, Topology};
use roadstead_runtime::{Clock, Environment, ManualClock, SeededIds, SystemClock, Tasks};
use roadstead_storage::faults::Faults;
use roadstead_storage::{LocalOptions, Location, ObjectKey};
use roadstead_test_servers::PostgresDatabase;
use tempfile::TempDir;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    Announced, BodyError, ChunkRange, DistributionOptions, PullError, PushError, PushedBlob,
    Registry, RegistryParts, Writes,
};

/// Objects are read and written in pieces of this size, so that small blobs have many.
pub(super) const PIECE: usize = 1024;

/// What a world is made of.
pub(super) struct Plan {
    pub(super) options: DistributionOptions,
    pub(super) health: HealthOptions,
    pub(super) hedge: HedgeOptions,
    pub(super) locations: &'static [&'static str],
    /// Where every blob belongs.
    pub(super) required: &'static [&'static str],
    /// The database; a SQLite file without it.
    pub(super) server: Option<PostgresDatabase>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            options: DistributionOptions {
                // Faults change what is read, and not the files that it is read from.
                hashed_again_after: Duration::ZERO,
                ..DistributionOptions::default()
            },
            health: HealthOptions::default(),
            hedge: HedgeOptions::default(),
            locations: &["us", "eu"],
            required: &["us", "eu"],
            server: None,
        }
    }
}

pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) database: Database,
    pub(super) clock: Arc<ManualClock>,
    pub(super) repository: Repository,
    pub(super) other: Repository,
    pub(super) us: Faults,
    pub(super) eu: Faults,
    ground: Ground,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut DistributionOptions)) -> Self {
        let mut plan = Plan::default();
        change(&mut plan.options);
        Self::of(plan).await
    }

    pub(super) async fn of(plan: Plan) -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let ground = Ground {
            directory: TempDir::new().unwrap(),
            ids: Arc::new(SeededIds::new(1)),
            tasks: Tasks::new(),
            us: Faults::new(clock.clone()),
            eu: Faults::new(clock.clone()),
            ap: Faults::new(clock.clone()),
            clock: clock.clone(),
            plan,
        };
        let database = ground.database().await;
        database.migrate().await.unwrap();
        database
            .ensure_locations(&names(ground.plan.locations))
            .await
            .unwrap();
        let account = FirstAccount {
            username: "admin",
            email: "admin@example.org",
            password_hash: "none",
            uuid: Uuid::from_u128(1),
            now: clock.now(),
            tag_window: roadstead_metadata::TAG_WINDOW,
        };
        assert!(database.create_first_account(&account).await.unwrap());
        let creator = database.find_account("admin").await.unwrap().unwrap().id;
        let repository = make_repository(&database, &clock, creator, "app", true).await;
        let other = make_repository(&database, &clock, creator, "other", true).await;
        let registry = ground.registry(database.clone(), "us", ground.plan.options.clone());
        for location in registry.locations().iter() {
            location.create_root().await.unwrap();
        }
        Self {
            registry,
            database,
            clock,
            repository,
            other,
            us: ground.us.clone(),
            eu: ground.eu.clone(),
            ground,
        }
    }

    /// Another registry on the same database and directories, as another process or after a restart.
    pub(super) async fn another_registry(&self) -> Registry {
        let options = self.ground.plan.options.clone();
        let database = self.ground.database().await;
        self.ground.registry(database, "us", options)
    }

    /// Pushes a blob in another region, which prefers `eu`. It is there and nowhere else then.
    pub(super) async fn push_at_eu(&self, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let options = DistributionOptions {
            writes: Writes::Taken,
            ..self.ground.plan.options.clone()
        };
        let database = self.ground.database().await;
        self.ground
            .registry(database, "eu", options)
            .uploads()
            .monolithic(&self.repository, &digest, None, whole(content))
            .await
            .unwrap();
        assert_eq!(self.placements(&digest).await, ["eu"]);
        digest
    }

    /// Copies an object from one location to another behind the registry's back, and records it.
    pub(super) async fn copy(&self, digest: &Digest, from: &str, to: &str) {
        let key = ObjectKey::Blob(digest.clone());
        let target = self.file(to, &key);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(self.file(from, &key), target).unwrap();
        let found = self.database.find_blob_anywhere(digest).await;
        self.record_copy(&found.unwrap().unwrap(), &name(to)).await;
    }

    /// Ends the process, as far as it has work in the background. False if that does not end.
    pub(super) async fn stop(&self) -> bool {
        self.ground.tasks.stop(Duration::from_secs(20)).await
    }

    /// The world's time and ids.
    pub(super) fn environment(&self) -> Environment {
        Environment {
            clock: self.ground.clock.clone(),
            ids: self.ground.ids.clone(),
        }
    }

    pub(super) async fn private_repository(&self) -> Repository {
        let creator = self
            .database
            .find_account("admin")
            .await
            .unwrap()
            .unwrap()
            .id;
        make_repository(&self.database, &self.clock, creator, "secret", false).await
    }

    pub(super) fn location(&self, location: &str) -> &Location {
        self.registry.locations().get(&name(location)).unwrap()
    }

    /// The file of an object or of staged bytes.
    pub(super) fn file(&self, location: &str, key: &ObjectKey) -> PathBuf {
        self.ground.directory.path().join(location).join(key.path())
    }

    /// Uploads that have staged bytes at a location.
    pub(super) async fn staged(&self, location: &str) -> usize {
        let page = self
            .location(location)
            .list_staged(None, 1000.try_into().unwrap())
            .await
            .unwrap();
        page.uploads.len()
    }

    /// Pushes a blob into the repository and gives its digest.
    pub(super) async fn push(&self, content: &[u8]) -> Digest {
        self.push_into(&self.repository, content).await
    }

    pub(super) async fn push_into(&self, repository: &Repository, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let uploads = self.registry.uploads();
        uploads
            .monolithic(repository, &digest, None, whole(content))
            .await
            .unwrap();
        digest
    }

    /// Copies an object from `us` to `eu`, as the replication would, and records it.
    pub(super) async fn replicate(&self, digest: &Digest) {
        self.copy(digest, "us", "eu").await;
    }

    /// Records that a location has a copy of a blob.
    pub(super) async fn record_copy(&self, blob: &Blob, location: &LocationName) {
        let now = self.clock.now();
        let publishing = self
            .database
            .begin_publication(&blob.digest, location, now + Duration::from_hours(1), now)
            .await
            .unwrap();
        let recorded = self
            .database
            .record_copy(blob.storage, &publishing.begun().unwrap(), now)
            .await
            .unwrap();
        assert_eq!(recorded, Recorded::Yes);
    }

    /// Where the database says that a blob is.
    pub(super) async fn placements(&self, digest: &Digest) -> Vec<String> {
        let blob = self
            .database
            .find_blob_anywhere(digest)
            .await
            .unwrap()
            .unwrap();
        blob.present.iter().map(ToString::to_string).collect()
    }

    pub(super) async fn pull(&self, digest: &Digest) -> Result<Vec<u8>, PullError> {
        let blobs = self.registry.blobs();
        let blob = blobs.find(&self.repository, digest).await?;
        let stream = blobs.open(&blob, 0..blob.size).await?;
        assert_eq!(stream.remaining(), blob.size);
        collect(stream).await
    }

    pub(super) async fn append(
        &self,
        id: Uuid,
        range: Option<(u64, u64)>,
        content: &[u8],
    ) -> Result<u64, PushError> {
        let uploads = self.registry.uploads();
        let announced = range.map_or(Announced::NOTHING, |(first, last)| chunk(first, last));
        let status = uploads
            .append(&self.repository, id, announced, whole(content))
            .await?;
        Ok(status.offset)
    }

    pub(super) async fn finish(
        &self,
        id: Uuid,
        content: &[u8],
        digest: &Digest,
    ) -> Result<PushedBlob, PushError> {
        self.registry
            .uploads()
            .finish(
                &self.repository,
                id,
                digest,
                Announced::NOTHING,
                whole(content),
            )
            .await
    }

    pub(super) async fn start(&self) -> Uuid {
        self.registry
            .uploads()
            .start(&self.repository, None)
            .await
            .unwrap()
            .id
    }

    pub(super) async fn offset(&self, id: Uuid) -> u64 {
        self.registry
            .uploads()
            .status(&self.repository, id)
            .await
            .unwrap()
            .offset
    }

    /// Pushes an image manifest of a config and layers that are there, under `reference` or its own digest.
    pub(super) async fn push_image(&self, tag: Option<&str>, layers: &[&[u8]]) -> Digest {
        self.push(b"{}").await;
        for layer in layers {
            self.push(layer).await;
        }
        let manifest = manifest(&image(layers, ""));
        let digest = manifest.digest(Algorithm::Sha256);
        let reference = match tag {
            Some(tag) => Reference::Tag(tag.parse().unwrap()),
            None => Reference::Digest(digest.clone()),
        };
        let manifests = self.registry.manifests();
        manifests
            .put(
                &self.repository,
                &reference,
                &[],
                &manifest,
                &Actor::default(),
            )
            .await
            .unwrap();
        digest
    }
}

async fn make_repository(
    database: &Database,
    clock: &ManualClock,
    creator: UserId,
    repository: &str,
    public: bool,
) -> Repository {
    let new = NewRepository {
        path: &RepositoryPath {
            namespace: "admin".to_owned(),
            name: repository.to_owned(),
        },
        creator,
        private: !public,
        create_namespace: false,
        tag_window: roadstead_metadata::TAG_WINDOW,
        ids: &SeededIds::new(repository.len() as u64),
        now: clock.now(),
    };
    match database.ensure_repository(&new).await.unwrap() {
        Ensured::Created(repository) => repository,
        other => panic!("{other:?}"),
    }
}

/// What the registries of one world have in common.
struct Ground {
    directory: TempDir,
    clock: Arc<ManualClock>,
    ids: Arc<SeededIds>,
    tasks: Tasks,
    plan: Plan,
    us: Faults,
    eu: Faults,
    ap: Faults,
}

/// Where a server's database is.
pub(super) fn options_of(server: &PostgresDatabase) -> DatabaseOptions {
    let host = PostgresHost {
        host: "127.0.0.1".to_owned(),
        port: server.port,
    };
    DatabaseOptions::Postgres(PostgresOptions {
        password: Some(server.password.clone()),
        ..PostgresOptions::new(vec![host], &server.name, &server.user)
    })
}

impl Ground {
    async fn database(&self) -> Database {
        let options = match &self.plan.server {
            Some(server) => options_of(server),
            None => DatabaseOptions::Sqlite {
                path: self.directory.path().join("metadata.sqlite"),
            },
        };
        Database::open(&options).await.unwrap()
    }

    fn registry(
        &self,
        database: Database,
        preferred: &str,
        options: DistributionOptions,
    ) -> Registry {
        let all = names(self.plan.locations);
        let required = names(self.plan.required).into_iter().collect();
        let topology = Topology::new(all, vec![name(preferred)], required).unwrap();
        let locations = self.plan.locations.iter().map(|location| {
            let faults = match *location {
                "us" => &self.us,
                "eu" => &self.eu,
                _ => &self.ap,
            };
            self.location(location, faults)
        });
        let locations = Locations::new(
            locations,
            self.plan.health,
            self.plan.hedge,
            self.clock.clone(),
        );
        Registry::new(RegistryParts {
            database,
            locations,
            topology: Arc::new(topology),
            environment: Environment {
                clock: self.clock.clone(),
                ids: self.ids.clone(),
            },
            tasks: self.tasks.clone(),
            options,
        })
    }

    fn location(&self, location: &str, faults: &Faults) -> Location {
        let options = LocalOptions {
            read_chunk_bytes: PIECE,
            write_chunk_bytes: PIECE,
            ..LocalOptions::default()
        };
        let root = self.directory.path().join(location);
        Location::local_with_faults(name(location), root, options, faults).unwrap()
    }
}

pub(super) fn name(location: &str) -> LocationName {
    LocationName::new(location).unwrap()
}

fn names(locations: &[&str]) -> Vec<LocationName> {
    locations.iter().map(|location| name(location)).collect()
}

pub(super) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// `length` bytes that differ from place to place, and from seed to seed.
pub(super) fn content(seed: u64, length: usize) -> Vec<u8> {
    use roadstead_runtime::Ids;

    let mut bytes = vec![0; length];
    SeededIds::new(seed).fill(&mut bytes);
    bytes
}

pub(super) fn chunk(first: u64, last: u64) -> Announced {
    Announced {
        range: Some(ChunkRange::inclusive(first, last).unwrap()),
        length: None,
    }
}

pub(super) type Piece = Result<Bytes, BodyError>;

/// A body that comes in pieces of odd sizes.
pub(super) fn whole(content: &[u8]) -> impl Stream<Item = Piece> + Send + use<> {
    let pieces: Vec<Piece> = content
        .chunks(701)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    iter(pieces)
}

/// A body that breaks off behind `content`.
pub(super) fn broken(content: &[u8]) -> impl Stream<Item = Piece> + Send + use<> {
    let mut pieces: Vec<Piece> = content
        .chunks(701)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    pieces.push(Err(BodyError::interrupted("the client went away")));
    iter(pieces)
}

/// A body whose pieces the test sends one by one; it ends when the sender is dropped.
pub(super) fn by_hand() -> (mpsc::Sender<Piece>, impl Stream<Item = Piece> + Send) {
    let (sender, receiver) = mpsc::channel(1);
    let body = unfold(receiver, |mut receiver| async {
        let piece: Piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    (sender, body)
}

/// Returns once the condition holds.
pub(super) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..10_000 {
        if condition().await {
            return;
        }
        SystemClock.sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

/// Whether `work` has still not ended when `meanwhile` has.
pub(super) async fn still_waits<T: std::fmt::Debug>(
    work: &mut (impl Future<Output = T> + Unpin),
    meanwhile: impl Future<Output = ()>,
) -> bool {
    tokio::select! {
        biased;
        ended = work => {
            println!("it ended: {ended:?}");
            false
        }
        () = meanwhile => true,
    }
}

/// Lets everything go on that can without the clock.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(super) async fn collect(
    mut stream: impl Stream<Item = Result<Bytes, PullError>> + Unpin,
) -> Result<Vec<u8>, PullError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// An image manifest with the config `{}`; `extra` are more members, each with a comma before it.
pub(super) fn image(layers: &[&[u8]], extra: &str) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{}]{extra}}}"#,
        layers.join(",")
    )
}

pub(super) fn index(manifests: &[&str]) -> String {
    let manifests: Vec<String> = manifests
        .iter()
        .map(|manifest| {
            descriptor(
                "application/vnd.oci.image.manifest.v1+json",
                manifest.as_bytes(),
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        manifests.join(",")
    )
}

pub(super) fn descriptor(media_type: &str, content: &[u8]) -> String {
    let (digest, size) = (sha256(content), content.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

pub(super) fn manifest(text: &str) -> Manifest {
    Manifest::parse(
        None,
        Bytes::from(text.to_owned()),
        &ManifestLimits::default(),
    )
    .unwrap()
}
