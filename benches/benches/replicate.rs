//! Copying a backlog between two S3 servers, against `rclone copy --checksum` between the same servers in the same run.
//!
//! Bounds: at least as fast as rclone for large blobs, twice as fast for small ones. Small ones are copied between servers on this machine, where
//! the two cores are all that counts and the servers have most of them, and between servers that are 20 ms away, as those of another region are.
//! `ROADSTEAD_BENCH_SMALL` and `ROADSTEAD_BENCH_LARGE` say how many there are: 2,000 of 1 MiB and 4 of 1 GiB unless they are set. Build the server first: `cargo build --release -p test-s3-server`.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use roadstead_benches::database;
use roadstead_benches::process::{cpu_time, forget_peak, number, peak_mib, watch};
use roadstead_locations::Locations;
use roadstead_metadata::{CommitBlob, Database};
use roadstead_oci::{Algorithm, Digest, Digester};
use roadstead_placement::{LocationName, Topology};
use roadstead_queue::{WakeUp, Worker, WorkerOptions};
use roadstead_replication::{QUEUE, Replication, ReplicationParts};
use roadstead_runtime::{Environment, Tasks};
use roadstead_secrets::Secret;
use roadstead_storage::{
    HttpClient, Location, ObjectKey, S3Credentials, S3Options, Staged, StoreOptions,
};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings, S3Server};

const MIB: usize = 1 << 20;

/// How often each of the two copies everything, in turn.
const ROUNDS: usize = 2;

/// What a copy of everything has cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_mib: u64,
}

#[expect(clippy::print_stdout, reason = "what a bench is for")]
#[tokio::main]
async fn main() {
    let small = number("ROADSTEAD_BENCH_SMALL", 2000);
    let large = number("ROADSTEAD_BENCH_LARGE", 4);
    let server = Postgres::start(&PostgresSettings::default());
    println!("| blobs | round | | seconds | MiB/s | CPU s | peak MiB |");
    println!("|---|---|---|---|---|---|---|");
    let far = Duration::from_millis(20);
    for (name, count, size, far) in [
        ("small", small, MIB, Duration::ZERO),
        ("small and far", small, MIB, far),
        ("large", large, 1024 * MIB, Duration::ZERO),
    ] {
        if count == 0 {
            continue;
        }
        let world = World::new(&server.database(), name, count, size, far).await;
        let mut ratios = Vec::new();
        for round in 0..ROUNDS {
            let rclone = world.rclone(round).await;
            let ours = world.ours(&[target(round)]).await;
            for (who, cost) in [("rclone", rclone), ("roadstead", ours)] {
                let seconds = cost.wall.as_secs_f64();
                println!(
                    "| {name}: {count} of {} MiB | {round} | {who} | {seconds:.1} | {:.0} | {:.1} | {} |",
                    size / MIB,
                    f64::from(u32::try_from(count * size / MIB).unwrap_or(u32::MAX)) / seconds,
                    cost.cpu.as_secs_f64(),
                    cost.peak_mib
                );
            }
            ratios.push(rclone.wall.as_secs_f64() / ours.wall.as_secs_f64());
        }
        println!("{name}: {ratios:.2?} times as fast as rclone");
        if name == "small" {
            let before = world.source_reads();
            let all: Vec<String> = (0..3).map(|number| format!("fan{number}")).collect();
            let cost = world.ours(&all).await;
            println!(
                "to three locations at once: {:.1} s, {} reads at the source for {count} blobs",
                cost.wall.as_secs_f64(),
                world.source_reads() - before
            );
        }
    }
}

fn target(round: usize) -> String {
    format!("target{round}")
}

struct World {
    source: S3Server,
    target: S3Server,
    database: Database,
    environment: Environment,
    http: HttpClient,
}

impl World {
    /// Blobs that are in one server and known to a database.
    async fn new(
        server: &PostgresDatabase,
        name: &str,
        count: usize,
        size: usize,
        far: Duration,
    ) -> Self {
        let (source, target) = (S3Server::start_far(far), S3Server::start_far(far));
        source.create_bucket("source");
        let environment = Environment::system();
        let database = database::open(server).await;
        let (ids, now) = (environment.ids.as_ref(), environment.now());
        let account = database::first_account(&database, ids, now).await;
        let repository = database::repository(&database, account, ("admin", "app"), ids, now)
            .await
            .id;
        let location = LocationName::new("source").expect("it is a name");
        database
            .ensure_locations(std::slice::from_ref(&location))
            .await
            .expect("the database answers");
        let world = Self {
            source,
            target,
            database,
            environment,
            http: HttpClient::new(&[]).expect("it needs nothing"),
        };
        let Self {
            database,
            environment,
            ..
        } = &world;
        let store = world.location(&world.source, "source");
        let blobs = stream::iter(0..count).map(async |number| {
            let digest = write_blob(&store, environment, name, number, size).await;
            let now = environment.now();
            let publication = database
                .begin_publication(&digest, &location, now + Duration::from_hours(1), now)
                .await
                .expect("the database answers")
                .begun()
                .expect("nobody deletes it");
            let commit = CommitBlob {
                repository,
                publication: &publication,
                size: size as u64,
                protect_until: now + Duration::from_hours(100),
                upload: None,
                uuid: environment.ids.uuid(),
                now,
            };
            database.commit_blob(&commit).await.expect("it is new");
        });
        blobs
            .buffer_unordered(if size > MIB { 1 } else { 16 })
            .collect::<()>()
            .await;
        drop(store);
        world
    }

    fn location(&self, server: &S3Server, bucket: &str) -> Location {
        let options = S3Options {
            endpoint: server.endpoint(),
            region: None,
            bucket: bucket.to_owned(),
            storage_path: "/registry".to_owned(),
            credentials: S3Credentials::Keys {
                access_key: Secret::new(server.access_key().to_owned()),
                secret_key: Secret::new(server.secret_key().to_owned()),
                session_token: None,
            },
            server_side_encryption: false,
            cross_origin_urls: true,
            server_side_assembly: true,
        };
        let name = LocationName::new(bucket).expect("it is a name");
        let store = StoreOptions::default();
        Location::s3(name, &options, store, &self.http, self.environment.clone())
            .expect("it is complete")
    }

    fn source_reads(&self) -> usize {
        let requests = self.source.requests();
        requests
            .iter()
            .filter(|request| request.method == "GET" && request.path().contains("/sha256/"))
            .count()
    }

    async fn ours(&self, targets: &[String]) -> Cost {
        for target in targets {
            self.target.create_bucket(target);
        }
        let names: Vec<LocationName> = targets
            .iter()
            .map(|name| LocationName::new(name).expect("it is a name"))
            .collect();
        self.database
            .ensure_locations(&names)
            .await
            .expect("the database answers");
        let source = LocationName::new("source").expect("it is a name");
        let all: Vec<LocationName> = std::iter::once(source.clone()).chain(names).collect();
        let locations = std::iter::once(self.location(&self.source, "source")).chain(
            targets
                .iter()
                .map(|target| self.location(&self.target, target)),
        );
        let defaults: BTreeSet<LocationName> = all.iter().cloned().collect();
        let topology = Topology::new(all, vec![source], defaults).expect("it is one");
        let wake_up = WakeUp::default();
        let replication = Replication::from(ReplicationParts {
            database: self.database.clone(),
            locations: Locations::with_defaults(locations, Arc::clone(&self.environment.clock)),
            topology: Arc::new(topology),
            environment: self.environment.clone(),
            queue: QUEUE.to_owned(),
            wake_up: wake_up.clone(),
        });
        let worker = Worker::new(
            self.database.clone(),
            self.environment.clone(),
            WorkerOptions::new(QUEUE),
            wake_up,
        );
        forget_peak();
        let (began, cpu) = (watch(), cpu_time("self").0);
        let tasks = Tasks::new();
        let (handler, shutdown) = (Arc::new(replication.clone()), tasks.shutdown());
        tasks.spawn(async move { worker.run(handler, shutdown).await });
        replication
            .reconcile(|_| ())
            .await
            .expect("the database answers");
        while self
            .database
            .count_jobs(QUEUE)
            .await
            .expect("the database answers")
            > 0
        {
            self.environment
                .clock
                .sleep(Duration::from_millis(50))
                .await;
        }
        let wall = began.elapsed();
        let cost = Cost {
            wall,
            cpu: cpu_time("self").0.saturating_sub(cpu),
            peak_mib: peak_mib("self").unwrap_or_default(),
        };
        assert!(tasks.stop(Duration::from_secs(30)).await, "it stops");
        cost
    }

    async fn rclone(&self, round: usize) -> Cost {
        let bucket = format!("rclone{round}");
        self.target.create_bucket(&bucket);
        let (began, before) = (watch(), cpu_time("self").1);
        let mut command = tokio::process::Command::new("rclone");
        // Nothing of what the machine has for other S3 clients.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["copy", "--checksum", "--config", "/dev/null"]);
        command.args(["a:source".to_owned(), format!("b:{bucket}")]);
        for (remote, server) in [("A", &self.source), ("B", &self.target)] {
            for (key, value) in [
                ("TYPE", "s3"),
                ("PROVIDER", "Other"),
                ("ENDPOINT", &server.endpoint()),
                ("ACCESS_KEY_ID", server.access_key()),
                ("SECRET_ACCESS_KEY", server.secret_key()),
                ("NO_CHECK_BUCKET", "true"),
            ] {
                command.env(format!("RCLONE_CONFIG_{remote}_{key}"), value);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .expect("rclone is installed");
        let id = child.id().expect("it runs").to_string();
        let mut peak = 0;
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is ours") {
                break status;
            }
            peak = peak_mib(&id).unwrap_or(peak);
            self.environment
                .clock
                .sleep(Duration::from_millis(20))
                .await;
        };
        assert!(status.success(), "rclone: {status}");
        Cost {
            wall: began.elapsed(),
            cpu: cpu_time("self").1.saturating_sub(before),
            peak_mib: peak,
        }
    }
}

/// Puts bytes that no two blobs share at the blob's key, through the server, so that it knows their `ETag`.
async fn write_blob(
    location: &Location,
    environment: &Environment,
    name: &str,
    number: usize,
    size: usize,
) -> Digest {
    let mut piece = vec![0_u8; MIB];
    let seed = name.len() as u64 ^ ((number as u64 + 1) << 8);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in piece.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    let mut digester = Digester::new(Algorithm::Sha256);
    let upload = environment.ids.uuid();
    let staged = location.stage(upload, &Staged::NOTHING).await;
    let mut writer = staged.expect("the server answers");
    for index in 0..size / MIB {
        if let Some(head) = piece.get_mut(..8) {
            head.copy_from_slice(&(index as u64).to_le_bytes());
        }
        digester.update(&piece);
        let written = writer.write(Bytes::copy_from_slice(&piece)).await;
        written.expect("the disk has room");
    }
    writer.sync().await.expect("the disk has room");
    let digest = digester.finish();
    let (staged, key) = (writer.staged(), ObjectKey::Blob(digest.clone()));
    drop(writer);
    let published = location.publish(upload, &staged, &key).await;
    published.expect("the server answers");
    digest
}
