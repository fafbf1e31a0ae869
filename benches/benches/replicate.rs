//! Copying a backlog between two S3 servers and between two local directories, against `rclone copy --checksum` between the same in the same run.
//!
//! Bounds: at least 1.5 times as fast as rclone between S3 servers, 2.5 times between directories, with a third of its processor time. Small blobs are
//! copied between servers on this machine, where the two cores are all that counts and the servers have most of them, and between servers that are
//! 20 ms away, as those of another region are. What is copied is verified and, in a directory, flushed, which rclone does not do.
//! `ROADSTEAD_BENCH_SMALL` and `ROADSTEAD_BENCH_LARGE` say how many there are: 1,000 of 1 MiB and 4 of 1 GiB unless they are set.
//! `cargo xtask bench --bench replicate` builds the server too.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use roadstead_benches::database;
use roadstead_benches::figures::median;
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
    HttpClient, LocalOptions, Location, ObjectKey, S3Credentials, S3Options, Staged, StoreOptions,
};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings, S3Server};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// The location that has everything, and its bucket or directory.
const SOURCE: &str = "source";

/// How often each of the two copies everything, in turn.
const ROUNDS: usize = 5;

/// The most of rclone's processor time that a copy may take.
const CPU_RATIO_MAX: f64 = 1.0 / 3.0;

/// What a copy of everything has cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_mib: u64,
}

/// Blobs that are copied.
struct Case {
    name: &'static str,
    /// How far away the S3 servers are; none for directories.
    far: Option<Duration>,
    count: usize,
    size: usize,
    /// How many times as fast as rclone it has to be at least.
    faster: f64,
}

#[expect(clippy::print_stdout, reason = "what a bench is for")]
#[tokio::main]
async fn main() {
    let small = number("ROADSTEAD_BENCH_SMALL", 1000);
    let large = number("ROADSTEAD_BENCH_LARGE", 4);
    let server = Postgres::start(&PostgresSettings::default());
    let case = |name, far: Option<u64>, count, size| Case {
        name,
        far: far.map(Duration::from_millis),
        count,
        size,
        faster: if far.is_some() { 1.5 } else { 2.5 },
    };
    for case in [
        case("S3, small", Some(0), small, MIB),
        case("S3, small and far", Some(20), small, MIB),
        case("S3, large", Some(0), large, 1024 * MIB),
        case("directories, small", None, small, MIB),
        case("directories, large", None, large, 1024 * MIB),
    ] {
        if case.count == 0 {
            continue;
        }
        println!("\n| blobs | round | | seconds | MiB/s | CPU s | peak MiB |");
        println!("|---|---|---|---|---|---|---|");
        let world = World::new(&server.database(), &case).await;
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let rclone = world.rclone(round).await;
            let ours = world.ours(&[target(round)]).await;
            for (who, cost) in [("rclone", rclone), ("roadstead", ours)] {
                let seconds = cost.wall.as_secs_f64();
                let (name, count, mib) = (case.name, case.count, case.size / MIB);
                println!(
                    "| {name}: {count} of {mib} MiB | {round} | {who} | {seconds:.1} | {:.0} | {:.1} | {} |",
                    f64::from(u32::try_from(count * mib).unwrap_or(u32::MAX)) / seconds,
                    cost.cpu.as_secs_f64(),
                    cost.peak_mib
                );
            }
            walls.push(rclone.wall.as_secs_f64() / ours.wall.as_secs_f64());
            cpus.push(ours.cpu.as_secs_f64() / rclone.cpu.as_secs_f64());
        }
        let (wall, cpu) = (median(&walls), median(&cpus));
        let verdict = |met| if met { "met" } else { "MISSED" };
        println!(
            "\n{}: {wall:.2} times as fast as rclone (wanted: at least {}, {}), {cpu:.2} of its processor time (at most {CPU_RATIO_MAX:.2}, {})",
            case.name,
            case.faster,
            verdict(wall >= case.faster),
            verdict(cpu <= CPU_RATIO_MAX)
        );
        if case.name == "S3, small" {
            let before = world.source_reads();
            let all: Vec<String> = (0..3).map(|number| format!("fan{number}")).collect();
            let cost = world.ours(&all).await;
            println!(
                "to three locations at once: {:.1} s, {} reads at the source for {} blobs",
                cost.wall.as_secs_f64(),
                world.source_reads() - before,
                case.count
            );
        }
    }
}

fn target(round: usize) -> String {
    format!("target{round}")
}

/// Where blobs are copied from and to.
#[derive(Debug)]
enum Stores {
    S3(Box<S3Stores>),
    Directories(TempDir),
}

#[derive(Debug)]
struct S3Stores {
    source: S3Server,
    target: S3Server,
    http: HttpClient,
}

impl S3Stores {
    /// The server that has a bucket.
    fn of(&self, bucket: &str) -> &S3Server {
        if bucket == SOURCE {
            &self.source
        } else {
            &self.target
        }
    }
}

impl Stores {
    fn start(far: Option<Duration>) -> Self {
        match far {
            Some(far) => Self::S3(Box::new(S3Stores {
                source: S3Server::start_far(far),
                target: S3Server::start_far(far),
                http: HttpClient::new(&[]).expect("it needs nothing"),
            })),
            // Beside the build: /tmp may be memory.
            None => Self::Directories(
                tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room"),
            ),
        }
    }

    /// Makes a bucket or a directory.
    fn create(&self, name: &str) {
        match self {
            Self::S3(servers) => servers.of(name).create_bucket(name),
            Self::Directories(root) => {
                fs::create_dir(root.path().join(name)).expect("there is room");
            }
        }
    }

    /// Removes what was copied: the next copy needs the room.
    fn empty(&self, name: &str) {
        let directory = match self {
            Self::S3(servers) => servers.of(name).bucket_directory(name),
            Self::Directories(root) => root.path().join(name),
        };
        fs::remove_dir_all(directory).expect("it is ours");
    }

    fn location(&self, name: &str, environment: &Environment) -> Location {
        let location = LocationName::new(name).expect("it is a name");
        let servers = match self {
            Self::S3(servers) => servers,
            Self::Directories(root) => {
                let root = root.path().join(name);
                return Location::local(location, root, LocalOptions::default())
                    .expect("it is there");
            }
        };
        let server = servers.of(name);
        let options = S3Options {
            endpoint: server.endpoint(),
            region: None,
            bucket: name.to_owned(),
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
        let store = StoreOptions::default();
        Location::s3(
            location,
            &options,
            store,
            &servers.http,
            environment.clone(),
        )
        .expect("it is complete")
    }

    /// rclone that copies everything from the source.
    fn rclone(&self, to: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("rclone");
        // Nothing of what the machine has for other S3 clients.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["copy", "--checksum", "--config", "/dev/null"]);
        match self {
            Self::S3(servers) => {
                command.args([format!("a:{SOURCE}"), format!("b:{to}")]);
                for (remote, server) in [("A", &servers.source), ("B", &servers.target)] {
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
            }
            Self::Directories(root) => {
                command.args([SOURCE, to].map(|name| root.path().join(name)));
            }
        }
        command
    }
}

struct World {
    stores: Stores,
    database: Database,
    environment: Environment,
}

impl World {
    /// Blobs that are in one store and known to a database.
    async fn new(server: &PostgresDatabase, case: &Case) -> Self {
        let stores = Stores::start(case.far);
        stores.create(SOURCE);
        let environment = Environment::system();
        let database = database::open(server).await;
        let (ids, now) = (environment.ids.as_ref(), environment.now());
        let account = database::first_account(&database, ids, now).await;
        let repository = database::repository(&database, account, ("admin", "app"), ids, now)
            .await
            .id;
        let location = LocationName::new(SOURCE).expect("it is a name");
        database
            .ensure_locations(std::slice::from_ref(&location))
            .await
            .expect("the database answers");
        let world = Self {
            stores,
            database,
            environment,
        };
        let Self {
            database,
            environment,
            ..
        } = &world;
        let store = world.location(SOURCE);
        let blobs = stream::iter(0..case.count).map(async |number| {
            let digest = write_blob(&store, environment, number, case.size).await;
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
                size: case.size as u64,
                protect_until: now + Duration::from_hours(100),
                upload: None,
                uuid: environment.ids.uuid(),
                now,
            };
            database.commit_blob(&commit).await.expect("it is new");
        });
        blobs
            .buffer_unordered(if case.size > MIB { 1 } else { 16 })
            .collect::<()>()
            .await;
        drop(store);
        world
    }

    fn location(&self, name: &str) -> Location {
        self.stores.location(name, &self.environment)
    }

    /// How often a blob was read at the source, where that is an S3 server.
    fn source_reads(&self) -> usize {
        let Stores::S3(servers) = &self.stores else {
            return 0;
        };
        let requests = servers.source.requests();
        requests
            .iter()
            .filter(|request| request.method == "GET" && request.path().contains("/sha256/"))
            .count()
    }

    async fn ours(&self, targets: &[String]) -> Cost {
        for target in targets {
            self.stores.create(target);
        }
        let names: Vec<LocationName> = targets
            .iter()
            .map(|name| LocationName::new(name).expect("it is a name"))
            .collect();
        self.database
            .ensure_locations(&names)
            .await
            .expect("the database answers");
        let source = LocationName::new(SOURCE).expect("it is a name");
        let all: Vec<LocationName> = std::iter::once(source.clone()).chain(names).collect();
        let locations = std::iter::once(SOURCE)
            .chain(targets.iter().map(String::as_str))
            .map(|name| self.location(name));
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
        for target in targets {
            self.stores.empty(target);
        }
        cost
    }

    async fn rclone(&self, round: usize) -> Cost {
        let name = format!("rclone{round}");
        self.stores.create(&name);
        let mut command = self.stores.rclone(&name);
        let (began, before) = (watch(), cpu_time("self").1);
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
        let cost = Cost {
            wall: began.elapsed(),
            cpu: cpu_time("self").1.saturating_sub(before),
            peak_mib: peak,
        };
        self.stores.empty(&name);
        cost
    }
}

/// Puts bytes that no two blobs share at the blob's key, through the server, so that it knows their `ETag`.
async fn write_blob(
    location: &Location,
    environment: &Environment,
    number: usize,
    size: usize,
) -> Digest {
    let mut piece = vec![0_u8; MIB];
    let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
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
