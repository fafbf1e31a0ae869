//! A registry behind the service, and a client that is quick to write with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, LOCATION};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use roadstead_auth::{AuthOptions, Authenticator, SigningKeyOptions, SigningKeys};
use roadstead_distribution::{DistributionOptions, Registry, RegistryParts};
use roadstead_locations::Locations;
use roadstead_management::{Management, ManagementOptions};
use roadstead_metadata::{
    Database, DatabaseOptions, Ensured, FirstAccount, NewRepository, PostgresHost, PostgresOptions,
    Repository, RepositoryPath, UserId,
};
use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::{LocationName, Topology};
use roadstead_queue::WakeUp;
use roadstead_replication::{QUEUE, Replication, ReplicationParts};
use roadstead_runtime::{Clock as _, Environment, ManualClock, SeededIds, SystemClock, Tasks};
use roadstead_secrets::FieldKey;
use roadstead_storage::faults::Faults;
use roadstead_storage::{LocalOptions, Location};
use roadstead_test_servers::PostgresDatabase;
use roadstead_webhooks::Webhooks;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    ActivityListener, ApiOptions, Body, BodyError, Health, HealthOptions, HealthServices, Probe,
    RegistryService, ServiceParts,
};

/// The registry's own name: the service of its tokens.
pub(super) const REGISTRY: &str = "registry.example";
/// Where the client of the tests thinks that it is.
pub(super) const ASKED_HOST: &str = "localhost:8080";
pub(super) const PASSWORD: &str = "correct horse";
/// The repositories that [`World::token`] may do everything in.
pub(super) const APP: &str = "acme/app";
pub(super) const OTHER: &str = "acme/other";
/// The seed of every world.
const SEED: u64 = 20_261_122;

/// What a test may want otherwise.
pub(super) struct Settings {
    /// None: a SQLite file of the world's own.
    pub(super) database: Option<DatabaseOptions>,
    pub(super) api: ApiOptions,
    pub(super) auth: AuthOptions,
    pub(super) distribution: DistributionOptions,
    pub(super) management: ManagementOptions,
    /// None: nobody hears of what happens.
    pub(super) listener: Option<Arc<dyn ActivityListener>>,
}

/// One registry with the account `admin` and, unless the settings keep it from making them, two empty repositories.
pub(super) struct World {
    pub(super) service: RegistryService,
    pub(super) database: Database,
    pub(super) registry: Registry,
    replication: Replication,
    management: Management,
    pub(super) clock: Arc<ManualClock>,
    pub(super) tasks: Tasks,
    pub(super) us: Faults,
    pub(super) eu: Faults,
    /// Of `admin`, for both repositories.
    pub(super) token: String,
    creator: UserId,
    _directory: TempDir,
}

/// An answer whose body has been read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Debug)]
struct Works;

#[async_trait::async_trait]
impl Probe for Works {
    async fn probe(&self) -> Result<Option<String>, String> {
        Ok(None)
    }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            database: None,
            api: ApiOptions::default(),
            auth: AuthOptions::standalone(REGISTRY, "admin"),
            distribution: DistributionOptions {
                // Faults change what is read, and not the files that it is read from.
                hashed_again_after: Duration::ZERO,
                ..DistributionOptions::default()
            },
            management: ManagementOptions::default(),
            listener: None,
        };
        change(&mut settings);
        let directory = TempDir::new().expect("a directory");
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let environment = Environment {
            clock: clock.clone(),
            ids: Arc::new(SeededIds::new(SEED)),
        };
        let tasks = Tasks::new();
        let file = DatabaseOptions::Sqlite {
            path: directory.path().join("metadata.sqlite"),
        };
        let database = open_database(&settings.database.unwrap_or(file), &clock).await;
        let creator = database
            .find_account("admin")
            .await
            .expect("a look-up")
            .expect("the account")
            .id;
        let (us, eu) = (Faults::new(clock.clone()), Faults::new(clock.clone()));
        let registry = registry(
            &directory,
            &database,
            &environment,
            &tasks,
            [&us, &eu],
            settings.distribution,
        );
        for location in registry.locations().iter() {
            location.create_root().await.expect("a root");
        }
        let keys = SigningKeys::new(
            database.clone(),
            environment.clone(),
            tasks.clone(),
            SigningKeyOptions {
                service: "quay".to_owned(),
                name: REGISTRY.to_owned(),
            },
        );
        let authenticator = Authenticator::new(
            database.clone(),
            environment.clone(),
            tasks.clone(),
            keys,
            settings.auth,
        );
        let replication = Replication::from(ReplicationParts {
            database: database.clone(),
            locations: registry.locations().clone(),
            topology: topology(),
            environment: environment.clone(),
            queue: QUEUE.to_owned(),
            wake_up: WakeUp::default(),
        });
        let key = FieldKey::new("a key for tests").expect("a key");
        let webhooks =
            Webhooks::new(database.clone(), environment.clone(), Some(key)).expect("a client");
        let management =
            Management::new(database.clone(), authenticator.clone(), environment.clone())
                .with_options(settings.management);
        let health = Health::new(health_services(), HealthOptions::default(), clock.clone());
        health.ask_all().await;
        let service = RegistryService::new(ServiceParts {
            registry: registry.clone(),
            replication: replication.clone(),
            webhooks,
            management: management.clone(),
            authenticator,
            health: Arc::new(health),
            environment,
            tasks: tasks.clone(),
            wake_up: WakeUp::default(),
            listener: settings.listener,
            options: settings.api,
        });
        let mut world = Self {
            service,
            database,
            registry,
            replication,
            management,
            clock,
            tasks,
            us,
            eu,
            token: String::new(),
            creator,
            _directory: directory,
        };
        world.token = world
            .fetch_token(&[
                &format!("repository:{APP}:pull,push"),
                &format!("repository:{OTHER}:pull,push"),
            ])
            .await;
        world
    }

    pub(super) const fn management(&self) -> &Management {
        &self.management
    }

    pub(super) const fn replication(&self) -> &Replication {
        &self.replication
    }

    /// A repository that somebody else than `admin` made, who has no rights in it by that: an organisation `makers`.
    pub(super) async fn make_repository(&self, path: &str, public: bool) -> Repository {
        let made = self.ensure_repository("makers/first", self.creator, false);
        let maker = made.await.namespace_id;
        self.ensure_repository(path, maker, public).await
    }

    async fn ensure_repository(&self, path: &str, creator: UserId, public: bool) -> Repository {
        let (namespace, name) = path.split_once('/').expect("a namespace");
        let new = NewRepository {
            path: &RepositoryPath {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            creator,
            private: !public,
            create_namespace: true,
            tag_window: roadstead_metadata::TAG_WINDOW,
            ids: &SeededIds::new(path.len() as u64),
            now: self.clock.now(),
        };
        match self
            .database
            .ensure_repository(&new)
            .await
            .expect("a repository")
        {
            Ensured::Found(repository) | Ensured::Created(repository) => repository,
            Ensured::NoNamespace => panic!("the namespace is made"),
        }
    }

    /// A token of `admin` for these scopes, as Docker's clients fetch it.
    pub(super) async fn fetch_token(&self, scopes: &[&str]) -> String {
        let scopes: Vec<_> = scopes
            .iter()
            .map(|scope| format!("scope={}", scope.replace(':', "%3A")))
            .collect();
        let query = scopes.join("&");
        let answer = self
            .request("GET", &format!("/v2/auth?service={REGISTRY}&{query}"))
            .with(AUTHORIZATION.as_str(), &basic("admin", PASSWORD))
            .anonymously()
            .send()
            .await;
        answer.json()["token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token in {answer:?}"))
            .to_owned()
    }

    /// A request with [`World::token`].
    pub(super) fn request(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            world: self,
            request: Request::builder()
                .method(method)
                .uri(path)
                .header(HOST, ASKED_HOST),
            anonymous: false,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    pub(super) async fn head(&self, path: &str) -> Answer {
        self.request("HEAD", path).send().await
    }

    /// Pushes a blob into [`APP`].
    pub(super) async fn push_blob(&self, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let path = format!("/v2/{APP}/blobs/uploads/?digest={digest}");
        let answer = self.request("POST", &path).body(content.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    /// Starts an upload in [`APP`] and gives its URL.
    pub(super) async fn start_upload(&self) -> String {
        let answer = self
            .request("POST", &format!("/v2/{APP}/blobs/uploads/"))
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.header(LOCATION.as_str()).to_owned()
    }

    /// Pushes a manifest into [`APP`].
    pub(super) async fn push_manifest(&self, reference: &str, content: &str) -> Answer {
        let media_type = serde_json::from_str::<Value>(content)
            .ok()
            .and_then(|manifest| Some(manifest.get("mediaType")?.as_str()?.to_owned()));
        let mut call = self.request("PUT", &format!("/v2/{APP}/manifests/{reference}"));
        if let Some(media_type) = &media_type {
            call = call.with("content-type", media_type);
        }
        call.body(content.to_owned()).await
    }

    /// Pushes an image of a config and one layer into [`APP`] under `tag` and gives its digest.
    pub(super) async fn push_image(&self, tag: &str) -> Digest {
        self.push_blob(b"{}").await;
        self.push_blob(tag.as_bytes()).await;
        let manifest = image(&[tag.as_bytes()], "");
        let answer = self.push_manifest(tag, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        sha256(manifest.as_bytes())
    }
}

/// A request under construction.
pub(super) struct Call<'a> {
    world: &'a World,
    request: http::request::Builder,
    anonymous: bool,
}

impl Call<'_> {
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Without the token, or in the API the password, that requests have otherwise.
    pub(super) fn anonymously(mut self) -> Self {
        self.anonymous = true;
        self
    }

    pub(super) async fn send(self) -> Answer {
        self.body(Bytes::new()).await
    }

    pub(super) async fn body(self, body: impl Into<Bytes>) -> Answer {
        self.stream(Full::new(body.into())).await
    }

    pub(super) async fn stream<B>(self, body: B) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (service, request) = (self.world.service.clone(), self.build(body));
        // In a box, as the server has it: the future is larger than the compiler wants to look into.
        Answer::read(Box::pin(service.answer(request)).await)
            .await
            .expect("a whole body")
    }

    pub(super) fn build<B>(mut self, body: B) -> Request<B> {
        if !self.anonymous {
            let path = self.request.uri_ref().map_or("", http::Uri::path);
            let authorization = if path.starts_with("/api/") {
                basic("admin", PASSWORD)
            } else {
                format!("Bearer {}", self.world.token)
            };
            self.request = self.request.header(AUTHORIZATION, authorization);
        }
        self.request.body(body).expect("a request")
    }
}

impl Answer {
    pub(super) async fn read(response: http::Response<Body>) -> Result<Self, BodyError> {
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// The header's value, empty without it.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the first code, checked to be in the specification's form.
    pub(super) fn error(&self) -> (u16, String) {
        let json = self.json();
        let entry = &json["errors"][0];
        let code = entry["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code in {self:?}"));
        assert!(
            code.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
            "{code}"
        );
        assert!(!entry["message"].as_str().expect("a message").is_empty());
        assert!(entry["detail"].is_object());
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("content-length"), self.body.len().to_string());
        (self.status.as_u16(), code.to_owned())
    }

    /// The status and the sort of error, checked to be in the form of Quay's API.
    pub(super) fn problem(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16(), "{self:?}");
        assert_eq!(json["title"], json["error_type"], "{self:?}");
        assert_eq!(json["detail"], json["error_message"], "{self:?}");
        assert!(!json["detail"].as_str().expect("a detail").is_empty());
        assert_eq!(self.header("content-type"), "application/json");
        let title = json["title"].as_str().expect("a title");
        (self.status.as_u16(), title.to_owned())
    }
}

async fn open_database(options: &DatabaseOptions, clock: &ManualClock) -> Database {
    let database = Database::open(options).await.expect("a database");
    database.migrate().await.expect("its schema");
    database
        .ensure_locations(&[location("us"), location("eu")])
        .await
        .expect("its locations");
    // The lowest cost that bcrypt has, so that a login takes a millisecond.
    let password_hash = bcrypt::hash(PASSWORD, 4).expect("a hash");
    let account = FirstAccount {
        username: "admin",
        email: "admin@registry.invalid",
        password_hash: &password_hash,
        uuid: Uuid::from_u128(1),
        now: clock.now(),
        tag_window: roadstead_metadata::TAG_WINDOW,
    };
    assert!(
        database
            .create_first_account(&account)
            .await
            .expect("an account")
    );
    database
}

fn registry(
    directory: &TempDir,
    database: &Database,
    environment: &Environment,
    tasks: &Tasks,
    [us, eu]: [&Faults; 2],
    options: DistributionOptions,
) -> Registry {
    let at = |name: &str, faults: &Faults| {
        let root = directory.path().join(name);
        let options = LocalOptions {
            // Small, so that small blobs have many pieces.
            read_chunk_bytes: 1024,
            write_chunk_bytes: 1024,
            ..LocalOptions::default()
        };
        Location::local_with_faults(location(name), root, options, faults).expect("a location")
    };
    Registry::new(RegistryParts {
        database: database.clone(),
        locations: Locations::with_defaults(
            [at("us", us), at("eu", eu)],
            Arc::clone(&environment.clock),
        ),
        topology: topology(),
        environment: environment.clone(),
        tasks: tasks.clone(),
        options,
    })
}

/// Both locations, of which `us` comes first.
fn topology() -> Arc<Topology> {
    let both = [location("us"), location("eu")];
    let topology = Topology::new(both.to_vec(), vec![location("us")], BTreeSet::from(both));
    Arc::new(topology.expect("a topology"))
}

fn health_services() -> HealthServices {
    let works = || Arc::new(Works);
    HealthServices {
        database: works(),
        database_writes: works(),
        auth: works(),
        rights: works(),
        service_key: works(),
        disk_space: works(),
        disk_space_warning: works(),
        redis: None,
        storage: works(),
        preferred_storage: None,
        storage_read: works(),
        storage_write: works(),
        pushes: works(),
        site: works(),
        revision: None,
    }
}

fn location(name: &str) -> LocationName {
    LocationName::new(name).expect("a good name")
}

/// A database on a server.
pub(super) fn on(server: &PostgresDatabase) -> DatabaseOptions {
    DatabaseOptions::Postgres(PostgresOptions {
        password: Some(server.password.clone()),
        ..PostgresOptions::new(
            vec![PostgresHost {
                host: "127.0.0.1".to_owned(),
                port: server.port,
            }],
            &server.name,
            &server.user,
        )
    })
}

pub(super) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

pub(super) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub(super) fn sha512(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, content)
}

/// An OCI image of the config `{}` and these layers; `more` goes before the closing brace.
pub(super) fn image(layers: &[&[u8]], more: &str) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            descriptor(
                "application/vnd.oci.image.layer.v1.tar",
                &sha256(layer),
                layer.len(),
            )
        })
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]{more}}}"#,
        descriptor(
            "application/vnd.oci.image.config.v1+json",
            &sha256(b"{}"),
            2
        ),
        layers.join(",")
    )
}

/// An OCI index of these manifests.
pub(super) fn index(manifests: &[String], more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]{more}}}"#,
        manifests.join(",")
    )
}

pub(super) fn descriptor(media_type: &str, digest: &Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}
