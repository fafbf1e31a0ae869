//! The primary database server is killed under load and its standby promoted: pulls of known content do not fail, what was acknowledged is
//! there, and pushes go on without a restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roadstead_client::{Client, ClientError};
use roadstead_oci::{Reference, RepositoryName};
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings};
use roadstead_testkit::{ImageKind, RegistrySettings, Seed, TestImage, within};
use roadstead_tests::{call, sha256};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How many clients pull, over and over, and how many push.
const PULLERS: u64 = 4;
const PUSHERS: usize = 2;

/// How many images are known before anything happens.
const KNOWN: u64 = 6;

/// How many pushes of each client, and how many pulls, there are before, during and after the outage.
const PUSHES: u64 = 8;
const PULLS: u64 = 40;

/// How often the progress of the load is looked at, 50 ms apart: five minutes, for a debug build on a busy machine.
const CHECKS_MAX: u32 = 6_000;

/// What a client does between two images, so that the machine has time for the others.
const PAUSE: Duration = Duration::from_millis(20);

/// A primary and a standby that has everything that is acknowledged, and a registry that knows both.
struct Deployment {
    primary: Postgres,
    standby: Postgres,
    settings: RegistrySettings,
    _directory: TempDir,
}

impl Deployment {
    fn start() -> Self {
        let settings = PostgresSettings {
            durable: true,
            ..PostgresSettings::default()
        };
        let primary = Postgres::start(&settings);
        let PostgresDatabase {
            port,
            name,
            user,
            password,
        } = primary.database();
        let standby = primary.standby(&settings);
        primary.wait_for_standbys();
        let directory = tempfile::tempdir().unwrap();
        let mut settings = RegistrySettings::new(directory.path().join("data"));
        let uri = format!(
            "postgresql://{user}:{}@127.0.0.1:{port},127.0.0.1:{}/{name}?target_session_attrs=read-write",
            password.replace(' ', "%20"),
            standby.port(),
        );
        settings.environment.push((
            "QUAY_OVERRIDE_CONFIG".to_owned(),
            json!({ "DB_URI": uri }).to_string(),
        ));
        Self {
            primary,
            standby,
            settings,
            _directory: directory,
        }
    }
}

/// What the clients have done so far.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    pulled: AtomicU64,
    pulls_failed: Mutex<Vec<String>>,
    pushed: [AtomicU64; PUSHERS],
    pushes_refused: AtomicU64,
    pushes_failed: Mutex<Vec<String>>,
    /// Every image that the registry has acknowledged, with its place.
    acknowledged: Mutex<Vec<Place>>,
}

/// An image in its place.
#[derive(Clone)]
struct Place {
    repository: RepositoryName,
    reference: Reference,
    image: TestImage,
}

impl Place {
    fn new(repository: &str, tag: u64, seed: u64) -> Self {
        Self {
            repository: repository.parse().unwrap(),
            reference: format!("v{tag}").parse().unwrap(),
            image: TestImage::new(seed, ImageKind::Oci, &[40_000, 5_000]),
        }
    }

    async fn push(&self, client: &Client) -> Result<(), ClientError> {
        self.image
            .push(client, &self.repository, &self.reference)
            .await
    }

    /// By tag, and by digest with every blob.
    async fn pull(&self, client: &Client) -> Result<(), ClientError> {
        self.image
            .pull(client, &self.repository, &self.reference)
            .await?;
        let digest = Reference::Digest(self.image.digest.clone());
        self.image.pull(client, &self.repository, &digest).await
    }
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn pull(&self, client: &Client, known: &[Place], chance: &Seed) {
        while self.goes_on() {
            let place = &known[usize::try_from(chance.below(known.len() as u64)).unwrap()];
            match place.pull(client).await {
                Ok(()) => drop(self.pulled.fetch_add(1, Ordering::Relaxed)),
                Err(error) => self.pulls_failed.lock().unwrap().push(format!("{error:?}")),
            }
            SystemClock.sleep(PAUSE).await;
        }
    }

    async fn push(&self, client: &Client, number: usize) {
        let seed = 1_000_000 * (1 + number as u64);
        for tag in 0.. {
            let place = Place::new(&format!("pushes/client{number}"), tag, seed + tag);
            // As a client that tries again does it: from the beginning, until it is taken.
            while let Err(error) = place.push(client).await {
                if !self.goes_on() {
                    return;
                }
                self.note_refusal(&error);
                SystemClock.sleep(PAUSE).await;
            }
            self.acknowledged.lock().unwrap().push(place);
            self.pushed[number].fetch_add(1, Ordering::Relaxed);
            if !self.goes_on() {
                return;
            }
            SystemClock.sleep(PAUSE).await;
        }
    }

    /// Nothing but "later" is an answer to a push while the database is away.
    fn note_refusal(&self, error: &ClientError) {
        match error {
            ClientError::Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(_),
                errors,
                ..
            } if !errors.is_empty() => {
                self.pushes_refused.fetch_add(1, Ordering::Relaxed);
            }
            error => self
                .pushes_failed
                .lock()
                .unwrap()
                .push(format!("{error:?}")),
        }
    }

    fn pushed(&self) -> [u64; PUSHERS] {
        [0, 1].map(|number: usize| self.pushed[number].load(Ordering::Relaxed))
    }

    /// Returns when the clients have pulled as often more, and each has pushed as often more.
    async fn until(&self, what: &str, pulls: u64, pushes: u64) {
        let (pulled, pushed) = (self.pulled.load(Ordering::Relaxed), self.pushed());
        within(CHECKS_MAX, what, async || {
            let enough = self.pulled.load(Ordering::Relaxed) >= pulled + pulls
                && self
                    .pushed()
                    .iter()
                    .zip(pushed)
                    .all(|(now, before)| *now >= before + pushes);
            enough.then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_primary_is_killed_pulls_of_known_content_do_not_fail_and_pushes_go_on_without_a_restart()
 {
    let seed = Seed::for_test("failover", 20_261_123);
    let deployment = Deployment::start();
    let settings = &deployment.settings;
    let registry = settings.start().await;

    let admin = settings.client();
    let known: Arc<[Place]> = (0..KNOWN)
        .map(|number| Place::new(&format!("known/app{}", number % 3), number, number))
        .collect();
    for place in known.iter() {
        place.push(&admin).await.unwrap();
    }
    // Content is known when it has been pulled from this instance, with these tokens.
    let pullers: Vec<Client> = (0..PULLERS).map(|_| settings.client()).collect();
    for client in &pullers {
        for place in known.iter() {
            place.pull(client).await.unwrap();
        }
    }
    let interrupted: RepositoryName = "pushes/interrupted".parse().unwrap();
    let halves = [
        Bytes::from(vec![b'a'; 50_000]),
        Bytes::from(vec![b'b'; 30_000]),
    ];
    let mut upload = admin.start_upload(&interrupted).await.unwrap();
    admin
        .upload_chunk(&mut upload, halves[0].clone())
        .await
        .unwrap();

    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for client in pullers {
        let (load, known) = (Arc::clone(&load), Arc::clone(&known));
        let chance = Seed::new(seed.below(u64::MAX));
        clients.spawn(async move { load.pull(&client, &known, &chance).await });
    }
    for number in 0..PUSHERS {
        let (load, client) = (Arc::clone(&load), settings.client());
        clients.spawn(async move { load.push(&client, number).await });
    }
    load.until("pushes and pulls before the outage", PULLS, PUSHES)
        .await;

    deployment.primary.kill();
    within(CHECKS_MAX, "a push is refused", async || {
        (load.pushes_refused.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    let before = load.acknowledged.lock().unwrap().len();
    load.until("pulls during the outage", PULLS, 0).await;
    assert_outage_is_told(&settings.anonymous()).await;
    let refused = admin
        .upload_chunk(&mut upload, halves[1].clone())
        .await
        .unwrap_err();
    assert_eq!(refused.status(), Some(StatusCode::SERVICE_UNAVAILABLE));

    deployment.standby.promote();
    load.until("pushes and pulls after the promotion", PULLS, PUSHES)
        .await;
    // A client that comes anew signs in, and the upload goes on where it was.
    settings.client().ping().await.unwrap();
    assert_eq!(
        admin.upload_status(&mut upload).await.unwrap(),
        halves[0].len() as u64
    );
    admin
        .upload_chunk(&mut upload, halves[1].clone())
        .await
        .unwrap();
    let digest = sha256(halves.concat());
    admin.finish_upload(upload, &digest).await.unwrap();
    // What the probes found is told for some seconds.
    within(
        CHECKS_MAX,
        "the health check is content again",
        async || {
            let health = call("GET", "/health/instance").send(&admin).await;
            (health.status == StatusCode::OK).then_some(())
        },
    )
    .await;

    load.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    // Before the registry is stopped, so that its log is shown.
    assert_eq!(*load.pulls_failed.lock().unwrap(), Vec::<String>::new());
    assert_eq!(*load.pushes_failed.lock().unwrap(), Vec::<String>::new());
    assert!(registry.stop().await.success());
    assert_all_is_there(settings, &load, (&interrupted, &digest)).await;

    let acknowledged = load.acknowledged.lock().unwrap().len();
    let refused = load.pushes_refused.load(Ordering::Relaxed);
    println!(
        "{} images pulled, 0 pulls failed; {acknowledged} images pushed, {before} of them before the outage was noticed; \
         {refused} pushes refused with 503 and Retry-After, 0 failed otherwise",
        load.pulled.load(Ordering::Relaxed),
    );
}

/// What an operator and a client see while the database is away.
async fn assert_outage_is_told(anonymous: &Client) {
    // It is asked every few seconds, and so are those who need it, some of which notice before.
    within(
        CHECKS_MAX,
        "the health check says that the database is away",
        async || {
            let health = call("GET", "/health/instance").send(anonymous).await;
            let database = health.json()["data"]["services"]["database"].clone();
            (health.status == StatusCode::SERVICE_UNAVAILABLE && database == false).then_some(())
        },
    )
    .await;
    let list = call("GET", "/v2/known/app0/tags/list")
        .header("authorization", "Basic bm9ib2R5Om5vdGhpbmc=")
        .send(anonymous)
        .await
        .refused(503, "UNAVAILABLE");
    assert!(!list.header("retry-after").is_empty());
}

/// Everything that was acknowledged, from a registry that has no memory of it.
async fn assert_all_is_there(
    settings: &RegistrySettings,
    load: &Load,
    (repository, digest): (&RepositoryName, &roadstead_oci::Digest),
) {
    let another = settings.start().await;
    let client = settings.client();
    let acknowledged = load.acknowledged.lock().unwrap().clone();
    let mut tags: BTreeMap<RepositoryName, usize> = BTreeMap::new();
    for place in &acknowledged {
        place.pull(&client).await.unwrap();
        *tags.entry(place.repository.clone()).or_default() += 1;
    }
    for (repository, count) in tags {
        assert_eq!(client.tags(&repository).await.unwrap().len(), count);
    }
    let blob = client.pull_verified(repository, digest).await.unwrap();
    blob.drain().await.unwrap();
    assert!(another.stop().await.success());
}
