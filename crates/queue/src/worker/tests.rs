//! How a worker claims, keeps, finishes and gives back its jobs.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use roadstead_metadata::{
    CommitBlob, DatabaseOptions, Demand, DemandPage, Ensured, FirstAccount, NewRepository,
    RepositoryId, RepositoryPath, StorageId,
};
use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::{FailureClass, LocationName};
use roadstead_runtime::{Clock, ManualClock, SeededIds, Tasks};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::JobOutcome;

const SEED: u64 = 21;
const QUEUE: &str = "imagestoragereplication";
/// How long a condition is waited for before a test fails; far more than any takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// A manual clock that tells how long its sleepers mean to sleep, as soon as they do.
#[derive(Debug)]
struct WatchedClock {
    clock: ManualClock,
    sleeps: UnboundedSender<Duration>,
}

#[async_trait::async_trait]
impl Clock for WatchedClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn sleep(&self, duration: Duration) {
        let sleep = self.clock.sleep(duration);
        tokio::pin!(sleep);
        // Polled once, so that the sleeper is in its bed before anybody is told.
        tokio::select! {
            biased;
            () = &mut sleep => return,
            () = std::future::ready(()) => {}
        }
        self.sleeps.send(duration).ok();
        sleep.await;
    }
}

/// A database with a repository, and a worker on it that has not been started.
struct World {
    _directory: TempDir,
    database: Database,
    clock: Arc<WatchedClock>,
    environment: Environment,
    sleeps: UnboundedReceiver<Duration>,
    repository: RepositoryId,
    wake_up: WakeUp,
    tasks: Tasks,
}

impl World {
    async fn new() -> Self {
        println!("seed {SEED}");
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("roadstead.db");
        let database = Database::open(&DatabaseOptions::Sqlite { path })
            .await
            .unwrap();
        database.migrate().await.unwrap();
        let (told, sleeps) = unbounded_channel();
        let clock = Arc::new(WatchedClock {
            clock: ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()),
            sleeps: told,
        });
        let environment = Environment {
            clock: Arc::<WatchedClock>::clone(&clock),
            ids: Arc::new(SeededIds::new(SEED)),
        };
        let repository = repository(&database, &environment).await;
        database
            .ensure_locations(&[name("us"), name("eu")])
            .await
            .unwrap();
        Self {
            _directory: directory,
            database,
            clock,
            environment,
            sleeps,
            repository,
            wake_up: WakeUp::default(),
            tasks: Tasks::new(),
        }
    }

    /// Queues the copy of a new blob from `us` to `eu`.
    async fn queue_job(&self, content: &str) {
        let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
        let now = self.environment.now();
        let publishing = self
            .database
            .begin_publication(&digest, &name("us"), now + TimeDelta::hours(1), now)
            .await
            .unwrap();
        let commit = CommitBlob {
            repository: self.repository,
            publication: &publishing.begun().unwrap(),
            size: content.len() as u64,
            protect_until: now + TimeDelta::hours(1),
            upload: None,
            uuid: self.environment.ids.uuid(),
            now,
        };
        self.database.commit_blob(&commit).await.unwrap();
        let blob = self.database.find_blob_anywhere(&digest).await.unwrap();
        let blob = blob.unwrap();
        let (defaults, configured) = (
            BTreeSet::from([name("us"), name("eu")]),
            BTreeSet::from([name("us"), name("eu")]),
        );
        let page = DemandPage {
            demand: Demand {
                defaults: &defaults,
                configured: &configured,
            },
            after: StorageId(blob.storage.0 - 1),
            span: 1,
            queue: QUEUE,
            ids: self.environment.ids.as_ref(),
            now,
        };
        let wanted = self
            .database
            .want_demanded_copies(&page)
            .await
            .unwrap()
            .wanted;
        assert_eq!(wanted.len(), 1);
    }

    fn start(&self, handler: &Arc<Scripted>, options: WorkerOptions) {
        let worker = Worker::new(
            self.database.clone(),
            self.environment.clone(),
            options,
            self.wake_up.clone(),
        );
        let (handler, shutdown) = (Arc::clone(handler), self.tasks.shutdown());
        self.tasks
            .spawn(async move { worker.run(handler, shutdown).await });
    }

    async fn jobs(&self) -> u64 {
        self.database.count_jobs(QUEUE).await.unwrap()
    }

    async fn until_no_job_is_left(&self) {
        within_patience(async {
            while self.jobs().await > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Moves the clock on until the handler is called. It stands still, or nearly so, while somebody is at work: a lease must not run out
    /// because the machine is slow.
    async fn advance_until_called(&mut self, calls: &mut UnboundedReceiver<Job>) -> Job {
        const AT_WORK: Duration = Duration::from_millis(20);
        within_patience(async {
            loop {
                let slept = tokio::time::timeout(AT_WORK, self.sleeps.recv()).await;
                if let Ok(job) = calls.try_recv() {
                    return job;
                }
                let step = slept.ok().flatten().unwrap_or(Duration::from_secs(1));
                self.clock.clock.advance(step);
            }
        })
        .await
    }

    /// Returns once somebody has gone to sleep for this long.
    async fn until_somebody_sleeps(&mut self, duration: Duration) {
        within_patience(async { while self.sleeps.recv().await.unwrap() != duration {} }).await;
    }

    /// Takes a job as another worker would at `now`.
    async fn claim_at(&self, now: Timestamp) -> Option<Job> {
        self.claim_until(1, now, now + TimeDelta::days(1))
            .await
            .pop()
    }

    async fn claim_until(&self, blobs: u32, now: Timestamp, lease_until: Timestamp) -> Vec<Job> {
        let claim = ClaimCopies {
            queue: QUEUE,
            blobs,
            region: None,
            elsewhere: &BTreeSet::new(),
            now,
            lease_until,
            token: self.environment.ids.uuid(),
        };
        let mut cursor = ClaimCursor::default();
        self.database
            .claim_copies(&claim, &mut cursor)
            .await
            .unwrap()
    }

    async fn stop(&self) {
        assert!(
            self.tasks.stop(PATIENCE).await,
            "the worker goes on although it was told to stop"
        );
    }
}

async fn repository(database: &Database, environment: &Environment) -> RepositoryId {
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
        Ensured::Created(repository) => repository.id,
        other => panic!("{other:?}"),
    }
}

fn name(name: &str) -> LocationName {
    LocationName::new(name).unwrap()
}

async fn within_patience<T>(condition: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, condition)
        .await
        .expect("the condition comes about")
}

/// What a scripted handler does with a job.
enum Act {
    Say(JobOutcome),
    Panic,
    /// Never ends, whatever it is told.
    Hang,
    /// Ends when it is told to.
    Obey,
}

/// Does what it was told, job by job, and `Done` after that.
struct Scripted {
    acts: Mutex<VecDeque<Act>>,
    calls: UnboundedSender<Job>,
    dropped: Arc<Notify>,
}

impl Scripted {
    fn new(acts: impl IntoIterator<Item = Act>) -> (Arc<Self>, UnboundedReceiver<Job>) {
        let (calls, called) = unbounded_channel();
        let scripted = Self {
            acts: Mutex::new(acts.into_iter().collect()),
            calls,
            dropped: Arc::default(),
        };
        (Arc::new(scripted), called)
    }
}

struct TellWhenDropped(Arc<Notify>);

impl Drop for TellWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait::async_trait]
impl Handler for Scripted {
    async fn handle(&self, jobs: &[Job], shutdown: &Shutdown) -> Vec<JobOutcome> {
        let [job] = jobs else {
            panic!("each blob has one target here");
        };
        let _tell = TellWhenDropped(Arc::clone(&self.dropped));
        let act = self.acts.lock().unwrap().pop_front();
        self.calls.send(job.clone()).ok();
        match act.unwrap_or(Act::Say(JobOutcome::Done)) {
            Act::Say(outcome) => vec![outcome],
            Act::Panic => panic!("the handler has a bug"),
            Act::Hang => std::future::pending().await,
            Act::Obey => {
                shutdown.wait().await;
                vec![JobOutcome::Interrupted]
            }
        }
    }
}

#[tokio::test]
async fn a_wake_up_starts_a_job_without_any_time_passing() {
    let world = World::new().await;
    let (handler, mut calls) = Scripted::new([]);
    world.start(&handler, WorkerOptions::new(QUEUE));
    for content in ["one", "two", "three"] {
        world.queue_job(content).await;
        world.wake_up.wake();
        let job = within_patience(calls.recv()).await.unwrap();
        assert_eq!(job.target, Some(name("eu")));
        world.until_no_job_is_left().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn the_poll_finds_a_job_that_nobody_announced() {
    let mut world = World::new().await;
    let (handler, mut calls) = Scripted::new([]);
    world.start(&handler, WorkerOptions::new(QUEUE));
    world.queue_job("first").await;
    world.wake_up.wake();
    within_patience(calls.recv()).await.unwrap();
    world.until_no_job_is_left().await;
    world.queue_job("second").await;
    world.advance_until_called(&mut calls).await;
    world.until_no_job_is_left().await;
    world.stop().await;
}

#[tokio::test]
async fn a_failed_job_keeps_its_reason_and_comes_back_until_it_is_done() {
    let mut world = World::new().await;
    world.queue_job("content").await;
    let fail = |reason: &str| {
        Act::Say(JobOutcome::Retry {
            reason: reason.to_owned(),
            class: FailureClass::SourceDown,
        })
    };
    let failures = (0..12).map(|index| fail(&format!("failure {index}")));
    let (handler, mut calls) = Scripted::new(failures);
    world.start(&handler, WorkerOptions::new(QUEUE));
    let defaults = BTreeSet::from([name("us"), name("eu")]);
    let demand = Demand {
        defaults: &defaults,
        configured: &defaults,
    };
    for attempt in 0..12 {
        let job = world.advance_until_called(&mut calls).await;
        assert_eq!(job.attempts, attempt);
        within_patience(async {
            loop {
                let missing = world
                    .database
                    .missing_copies(demand)
                    .await
                    .unwrap()
                    .pop()
                    .unwrap();
                if missing.last_failure == Some(format!("failure {attempt}")) {
                    break assert_eq!((missing.queued, missing.failing), (1, 1));
                }
            }
        })
        .await;
    }
    world.advance_until_called(&mut calls).await;
    world.until_no_job_is_left().await;
    world.stop().await;
}

#[tokio::test]
async fn a_postponed_job_waits_as_long_as_it_was_told() {
    let mut world = World::new().await;
    world.queue_job("content").await;
    let (handler, mut calls) = Scripted::new([Act::Say(JobOutcome::Postpone {
        reason: "not readable".to_owned(),
        after: Duration::from_hours(1),
    })]);
    world.start(&handler, WorkerOptions::new(QUEUE));
    within_patience(calls.recv()).await.unwrap();
    let began = world.environment.now();
    let job = world.advance_until_called(&mut calls).await;
    assert!(world.environment.now() - began >= TimeDelta::hours(1));
    assert_eq!(job.attempts, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_job_alone() {
    let mut world = World::new().await;
    world.queue_job("one").await;
    let (handler, mut calls) = Scripted::new([Act::Panic]);
    world.start(&handler, WorkerOptions::new(QUEUE));
    within_patience(calls.recv()).await.unwrap();
    let again = world.advance_until_called(&mut calls).await;
    assert_eq!(again.attempts, 1);
    world.until_no_job_is_left().await;
    world.stop().await;
}

/// Counts how many of it run at once, and lets one end with each permit.
struct Crowd {
    present: AtomicUsize,
    most: AtomicUsize,
    exits: Semaphore,
}

#[async_trait::async_trait]
impl Handler for Crowd {
    async fn handle(&self, jobs: &[Job], _: &Shutdown) -> Vec<JobOutcome> {
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(present, Ordering::SeqCst);
        self.exits.acquire().await.unwrap().forget();
        self.present.fetch_sub(1, Ordering::SeqCst);
        vec![JobOutcome::Done; jobs.len()]
    }
}

/// Hears how many workers there are.
struct Counting(UnboundedSender<u32>);

#[async_trait::async_trait]
impl Handler for Counting {
    async fn handle(&self, jobs: &[Job], _: &Shutdown) -> Vec<JobOutcome> {
        vec![JobOutcome::Done; jobs.len()]
    }

    fn note_workers(&self, workers: NonZeroU32) {
        self.0.send(workers.get()).ok();
    }
}

#[tokio::test]
async fn a_handler_hears_how_many_workers_there_are_of_whatever_region_and_when_one_has_gone() {
    let World {
        database,
        clock,
        environment,
        mut sleeps,
        _directory,
        ..
    } = World::new().await;
    let start = |region: Option<&str>, tasks: &Tasks| {
        let (heard, hears) = unbounded_channel();
        let options = WorkerOptions {
            region: region.map(name),
            ..WorkerOptions::new(QUEUE)
        };
        let worker = Worker::new(
            database.clone(),
            environment.clone(),
            options,
            WakeUp::default(),
        );
        let shutdown = tasks.shutdown();
        tasks.spawn(async move { worker.run(Arc::new(Counting(heard)), shutdown).await });
        hears
    };
    let (tasks, leaving) = (Tasks::new(), Tasks::new());
    let mut one = start(Some("us"), &tasks);
    assert_eq!(within_patience(one.recv()).await, Some(1));
    let mut other = start(None, &leaving);
    assert_eq!(within_patience(other.recv()).await, Some(2));
    let mut hears = async |count: u32| loop {
        clock.clock.advance(NOTE_INTERVAL);
        tokio::select! {
            heard = one.recv() => if heard == Some(count) {
                break;
            },
            // Somebody has looked and found nothing.
            _ = sleeps.recv() => {}
        }
    };
    within_patience(hears(2)).await;
    assert!(leaving.stop(PATIENCE).await);
    within_patience(hears(1)).await;
    assert!(tasks.stop(PATIENCE).await);
}

#[tokio::test]
async fn as_many_jobs_run_at_once_as_allowed_and_no_more() {
    let world = World::new().await;
    for index in 0..10 {
        world.queue_job(&format!("blob {index}")).await;
    }
    let crowd = Arc::new(Crowd {
        present: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        exits: Semaphore::new(0),
    });
    let options = WorkerOptions {
        concurrency: NonZeroUsize::new(3).unwrap(),
        ..WorkerOptions::new(QUEUE)
    };
    let worker = Worker::new(
        world.database.clone(),
        world.environment.clone(),
        options,
        world.wake_up.clone(),
    );
    let (handler, shutdown) = (Arc::clone(&crowd), world.tasks.shutdown());
    world
        .tasks
        .spawn(async move { worker.run(handler, shutdown).await });
    within_patience(async {
        while crowd.present.load(Ordering::SeqCst) < 3 {
            world.database.ping().await.unwrap();
        }
    })
    .await;
    // No more than these three are leased: the others are free for other workers.
    let now = world.environment.now();
    assert_eq!(world.claim_until(100, now, now).await.len(), 7);
    crowd.exits.add_permits(100);
    world.wake_up.wake();
    world.until_no_job_is_left().await;
    assert_eq!(crowd.most.load(Ordering::SeqCst), 3);
    world.stop().await;
}

#[tokio::test]
async fn heartbeats_keep_a_job_that_takes_much_longer_than_its_lease() {
    let mut world = World::new().await;
    world.queue_job("large").await;
    let (handler, mut calls) = Scripted::new([Act::Obey]);
    let options = WorkerOptions::new(QUEUE);
    let beat = options.lease / 3;
    world.start(&handler, options);
    within_patience(calls.recv()).await.unwrap();
    for _ in 0..30 {
        // Going to sleep again, it has extended the lease.
        world.until_somebody_sleeps(beat).await;
        assert!(world.claim_at(world.environment.now()).await.is_none());
        world.clock.clock.advance(beat);
    }
    assert!(calls.try_recv().is_err());
    world.stop().await;
}

#[tokio::test]
async fn a_job_whose_lease_was_lost_is_left_to_the_worker_that_has_it() {
    let mut world = World::new().await;
    world.queue_job("content").await;
    let (handler, mut calls) = Scripted::new([Act::Hang]);
    let options = WorkerOptions::new(QUEUE);
    let lease = options.lease;
    world.start(&handler, options);
    within_patience(calls.recv()).await.unwrap();
    world.until_somebody_sleeps(lease / 3).await;
    let taken = world
        .claim_at(world.environment.now() + lease)
        .await
        .unwrap();
    world.clock.clock.advance(lease / 3);
    within_patience(handler.dropped.notified()).await;
    world.stop().await;
    assert!(world.database.complete_job(&taken).await.unwrap());
    assert_eq!(world.jobs().await, 0);
}

#[tokio::test]
async fn a_shutdown_gives_jobs_back_at_once_and_their_attempt_does_not_count() {
    let world = World::new().await;
    world.queue_job("content").await;
    let (handler, mut calls) = Scripted::new([Act::Obey]);
    world.start(&handler, WorkerOptions::new(QUEUE));
    within_patience(calls.recv()).await.unwrap();
    world.stop().await;
    let job = world.claim_at(world.environment.now()).await.unwrap();
    assert_eq!(job.attempts, 0);
}

#[tokio::test]
async fn a_job_that_ignores_a_shutdown_is_dropped_after_the_grace_and_given_back() {
    let mut world = World::new().await;
    world.queue_job("content").await;
    let (handler, mut calls) = Scripted::new([Act::Hang]);
    let options = WorkerOptions::new(QUEUE);
    let grace = options.grace;
    world.start(&handler, options);
    within_patience(calls.recv()).await.unwrap();
    world.tasks.shutdown().request();
    world.until_somebody_sleeps(grace).await;
    world.clock.clock.advance(grace);
    within_patience(handler.dropped.notified()).await;
    world.stop().await;
    let job = world.claim_at(world.environment.now()).await.unwrap();
    assert_eq!(job.attempts, 0);
}

#[tokio::test]
async fn the_jobs_of_a_killed_worker_come_back_when_their_lease_runs_out() {
    let world = World::new().await;
    world.queue_job("content").await;
    let (handler, mut calls) = Scripted::new([Act::Hang]);
    let options = WorkerOptions::new(QUEUE);
    let lease = options.lease;
    let worker = Worker::new(
        world.database.clone(),
        world.environment.clone(),
        options,
        world.wake_up.clone(),
    );
    {
        let run = worker.run(Arc::clone(&handler), Shutdown::default());
        tokio::pin!(run);
        tokio::select! {
            () = &mut run => unreachable!("nobody stopped it"),
            called = within_patience(calls.recv()) => assert!(called.is_some()),
        }
    }
    within_patience(handler.dropped.notified()).await;
    let now = world.environment.now();
    assert!(
        world
            .claim_at(now + lease - TimeDelta::seconds(1))
            .await
            .is_none()
    );
    assert!(world.claim_at(now + lease).await.is_some());
}

#[tokio::test]
async fn a_worker_survives_a_database_that_does_not_answer() {
    let mut world = World::new().await;
    let (handler, _calls) = Scripted::new([]);
    world.database.close().await;
    world.start(&handler, WorkerOptions::new(QUEUE));
    for _ in 0..5 {
        within_patience(world.sleeps.recv()).await.unwrap();
        world.clock.clock.advance(Duration::from_mins(1));
    }
    world.stop().await;
}
