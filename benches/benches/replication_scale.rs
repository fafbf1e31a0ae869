//! What replication costs the database of a large registry: planning, queueing, telling, taking, removing.
//!
//! Each step with its time, the statements that the server was sent, the longest of them, the longest transaction and the peak of this process's
//! memory; for a tenth of the blobs first. `ROADSTEAD_BENCH_BLOBS` says how many blobs (1,000,000 unless it is set), a fifth as many images need
//! them; two locations hold all, a third lacks 30 %. `ROADSTEAD_BENCH_QUEUED` says how long the queue is of which copies are taken at the end
//! (10,000,000). Bounds: no statement takes 5 s, and the number of statements grows with the blobs only where work is done in pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roadstead_benches::database;
use roadstead_benches::process::{forget_peak, number, peak_mib, watch};
use roadstead_benches::statements::{LOG_STATEMENTS, SETTINGS, Statements};
use roadstead_locations::Locations;
use roadstead_metadata::{ClaimCopies, ClaimCursor, Database, Job};
use roadstead_oci::{Algorithm, Digest};
use roadstead_placement::{LocationName, Topology};
use roadstead_queue::WakeUp;
use roadstead_replication::{
    ExposedPosition, FailedQuery, ImageName, QUEUE, Replication, ReplicationParts, StatusOptions,
};
use roadstead_runtime::Environment;
use roadstead_storage::{LocalOptions, Location, ObjectKey};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings};
use tempfile::TempDir;

const LOCATIONS: [&str; 3] = ["usstorage", "eustorage", "apstorage"];

/// What a blob of the fixture has.
const BLOB_BYTES: u64 = 1000;

/// Copies taken at a time, as a worker does.
const CLAIMED: u32 = 16;

/// How often a batch is taken.
const CLAIMS: u32 = 20;

/// The bound of a statement.
const STATEMENT_MAX: Duration = Duration::from_secs(5);

/// `usstorage` and `eustorage` hold every blob, `apstorage` is to hold them and lacks 30 %, and nothing is queued.
const PLACED: [&str; 5] = [
    "TRUNCATE roadstead_copy",
    "DELETE FROM queueitem",
    "INSERT INTO imagestorageplacement (storage_id, location_id)
     SELECT s.id, l.id FROM imagestorage s, imagestoragelocation l
     WHERE l.name = 'apstorage' AND s.id % 10 >= 3 AND s.content_checksum LIKE 'sha256:%'",
    "VACUUM ANALYZE",
    "CHECKPOINT",
];

/// A queue of `:queued` copies of 40 namespaces, a tenth of them pushed.
const QUEUED: &str = "
    INSERT INTO imagestoragelocation (name) VALUES ('apstorage');
    INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
    SELECT 'imagestoragereplication/' || n || '/', '{\"namespace_user_id\": 1, \"storage_id\": \"' || n || '\"}',
           timestamp '2026-11-01', true, 5, 'bench-' || n
    FROM generate_series(1, :queued) n;
    INSERT INTO roadstead_copy (storage_id, location_id, queueitem_id, wanted_since, lane, home, namespace_id)
    SELECT q.id, l.id, q.id, timestamp '2026-11-01' + q.id * interval '1 second',
           CASE WHEN q.id % 10 = 0 THEN 1 ELSE 2 END, l.id, 1 + q.id % 40
    FROM queueitem q, imagestoragelocation l WHERE l.name = 'apstorage';
    ANALYZE queueitem, roadstead_copy;
";

/// A registry of so many blobs, and what its server has been asked.
struct Bench<'a> {
    server: &'a Postgres,
    rows: PostgresDatabase,
    database: Database,
    environment: Environment,
    directory: TempDir,
    blobs: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let more = SETTINGS.iter().copied().chain([
        ("max_wal_size", "8GB"),
        ("shared_buffers", "1GB"),
        ("work_mem", "16MB"),
        ("maintenance_work_mem", "256MB"),
    ]);
    let server = Postgres::start(&PostgresSettings {
        durable: false,
        more: more
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    });
    let blobs = number("ROADSTEAD_BENCH_BLOBS", 1_000_000);
    let queued = number("ROADSTEAD_BENCH_QUEUED", 10_000_000);
    for blobs in [blobs / 10, blobs].into_iter().filter(|blobs| *blobs > 0) {
        let bench = Bench::new(&server, blobs).await;
        bench.fill();
        head(&format!("{blobs} blobs"));
        bench.tell_and_queue().await;
        bench.take().await;
        bench.fail().await;
        bench.drain().await;
        bench.remove().await;
    }
    if queued > 0 {
        let bench = Bench::new(&server, queued).await;
        bench.fill_queue();
        head(&format!("{queued} queued copies"));
        bench.take().await;
    }
}

impl<'a> Bench<'a> {
    async fn new(server: &'a Postgres, blobs: usize) -> Self {
        let rows = server.database();
        let database = database::open(&rows).await;
        let environment = Environment::system();
        let (ids, now) = (environment.ids.as_ref(), environment.now());
        let account = database::first_account(&database, ids, now).await;
        database::repository(&database, account, ("acme", "app"), ids, now).await;
        database
            .ensure_locations(&[location("usstorage"), location("eustorage")])
            .await
            .expect("the database answers");
        Self {
            server,
            rows,
            database,
            environment,
            // Beside the build: /tmp may be memory.
            directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room"),
            blobs,
        }
    }

    /// The rows of a large registry, and the objects at `usstorage`, which have their sizes and no bytes.
    fn fill(&self) {
        let rows = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/large-registry.sql"
        );
        self.rows
            .run_file(rows.as_ref(), &[("blobs", &self.blobs.to_string())]);
        for statement in PLACED {
            self.rows.psql(statement);
        }
        for name in LOCATIONS {
            fs::create_dir(self.root(name)).expect("there is room");
        }
        let root = self.root("usstorage");
        for number in 1..=self.blobs {
            write_object(&root, &format!("blob {number}"));
        }
        self.log_statements();
    }

    fn fill_queue(&self) {
        let file = self.directory.path().join("queue.sql");
        fs::write(&file, QUEUED).expect("there is room");
        self.rows
            .run_file(&file, &[("queued", &self.blobs.to_string())]);
        self.log_statements();
    }

    fn log_statements(&self) {
        self.rows.psql(LOG_STATEMENTS);
        self.rows.psql("SELECT pg_reload_conf()");
    }

    fn root(&self, location: &str) -> std::path::PathBuf {
        self.directory.path().join(location)
    }

    /// A registry whose configuration names these locations.
    fn replication(&self, names: &[&str]) -> Replication {
        let all: Vec<LocationName> = names.iter().copied().map(location).collect();
        let locations = all.iter().map(|name| {
            let root = self.root(name.as_str());
            Location::local(name.clone(), root, LocalOptions::default()).expect("it is there")
        });
        let locations = Locations::with_defaults(locations, Arc::clone(&self.environment.clock));
        let defaults: BTreeSet<LocationName> = all.iter().cloned().collect();
        let first = all.first().cloned().into_iter().collect();
        Replication::from(ReplicationParts {
            database: self.database.clone(),
            locations,
            topology: Arc::new(Topology::new(all, first, defaults).expect("it is one")),
            environment: self.environment.clone(),
            queue: QUEUE.to_owned(),
            wake_up: WakeUp::default(),
        })
    }

    async fn tell_and_queue(&self) {
        let replication = self.replication(&LOCATIONS);
        let quick = StatusOptions { store_check: false };
        let plan = self
            .measure("plan of a backfill", replication.plan_backfill())
            .await
            .expect("the database answers");
        let missing: u64 = plan.iter().map(|planned| planned.missing.blobs).sum();
        assert_eq!(missing, self.blobs as u64 * 3 / 10);
        self.measure("status, nothing queued", replication.status(quick))
            .await
            .expect("the database answers");
        for (what, names) in [
            ("30 % of the blobs", &["usstorage", "apstorage"][..]),
            ("all blobs", &["usstorage"][..]),
        ] {
            let replication = self.replication(names);
            self.measure(
                &format!("at risk, {what}: totals"),
                replication.exposure("usstorage"),
            )
            .await
            .expect("the database answers");
            let at = location("usstorage");
            let page = replication.exposed_images(&at, ExposedPosition::default(), 100);
            let page = self
                .measure(&format!("at risk, {what}: 100 images"), page)
                .await
                .expect("the database answers");
            assert!(!page.images.is_empty());
        }
        let queued = self
            .measure("queue what is missing", replication.reconcile(|_| ()))
            .await
            .expect("the database answers");
        assert_eq!(queued.blobs, missing);
        // What the server would do by itself before long.
        self.rows.psql("ANALYZE roadstead_copy, queueitem");
        self.measure("reconcile, all is queued", replication.reconcile(|_| ()))
            .await
            .expect("the database answers");
        self.measure("status, all is queued", replication.status(quick))
            .await
            .expect("the database answers");
        let image = self.image();
        let status = replication.image_status(&image, None, quick);
        self.measure("status of an image", status)
            .await
            .expect("the database answers");
        self.failed(&replication, "none has", None).await;
    }

    /// The name of one of the images.
    fn image(&self) -> ImageName {
        let name = self.rows.psql(
            "SELECT u.username || '/' || r.name || ':' || t.name FROM tag t
             JOIN repository r ON r.id = t.repository_id JOIN \"user\" u ON u.id = r.namespace_user_id
             WHERE t.name LIKE 'v%' ORDER BY t.id DESC LIMIT 1",
        );
        name.parse().expect("it is a name")
    }

    async fn take(&self) {
        let nobody = BTreeSet::new();
        let mut cursor = ClaimCursor::beginning_at(0);
        let mut taken: Vec<Job> = Vec::new();
        for what in ["first batch taken", "a batch taken"] {
            let rounds = if taken.is_empty() { 1 } else { CLAIMS };
            let claims = async {
                for _ in 0..rounds {
                    let now = self.environment.now();
                    let claim = ClaimCopies {
                        queue: QUEUE,
                        blobs: CLAIMED,
                        region: None,
                        elsewhere: &nobody,
                        now,
                        lease_until: now + Duration::from_hours(1),
                        token: self.environment.ids.uuid(),
                    };
                    let jobs = self.database.claim_copies(&claim, &mut cursor).await;
                    taken.extend(jobs.expect("the database answers"));
                }
            };
            self.measure_each(what, rounds, claims).await;
        }
        let copies = u32::try_from(taken.len()).expect("they are few");
        assert_eq!(copies, (CLAIMS + 1) * CLAIMED);
        let completions = async {
            for job in &taken {
                assert!(
                    self.database
                        .complete_job(job)
                        .await
                        .expect("the database answers")
                );
            }
        };
        self.measure_each("a copy done", copies, completions).await;
        let replication = self.database.count_jobs(QUEUE);
        self.measure("count the queue", replication)
            .await
            .expect("the database answers");
    }

    async fn failed(&self, replication: &Replication, what: &str, at: Option<&str>) {
        let query = FailedQuery {
            location: at,
            after: 0,
            limit: 100,
        };
        self.measure(&format!("failed, {what}: 100"), replication.failed(query))
            .await
            .expect("the database answers");
    }

    /// Of what is queued a third fails, the last of it.
    async fn fail(&self) {
        let replication = self.replication(&LOCATIONS);
        for statement in [
            "UPDATE roadstead_copy SET last_failure = 'the store is down', failure_class = 'source_down', attempts = 3,
                 last_attempt = now(), ready = false, due = now() + interval '1 hour'
             WHERE id > (SELECT min(id) + (max(id) - min(id)) * 2 / 3 FROM roadstead_copy)",
            "UPDATE queueitem SET available_after = now() + interval '1 hour'
             WHERE id IN (SELECT c.queueitem_id FROM roadstead_copy c WHERE c.ready = false)",
            "ANALYZE roadstead_copy, queueitem",
        ] {
            self.rows.psql(statement);
        }
        self.failed(&replication, "a third has", None).await;
        self.failed(&replication, "a third has, by location", Some("apstorage"))
            .await;
        let hastened = self
            .measure("retry all that failed", replication.retry(None, None))
            .await
            .expect("the database answers");
        assert!(hastened > 0);
        self.measure("retry, nothing is put off", replication.retry(None, None))
            .await
            .expect("the database answers");
    }

    /// What only one location holds is made urgent, and taken back.
    async fn drain(&self) {
        let replication = self.replication(&["usstorage", "apstorage"]);
        let (name, progress) = self
            .measure(
                "drain, 30 % is only there",
                replication.drain_location("usstorage"),
            )
            .await
            .expect("there is another location");
        assert!(progress.only_here.blobs > 0);
        self.measure("how far it is drained", replication.drain_progress(&name))
            .await
            .expect("the database answers");
        replication
            .undrain_location("usstorage")
            .await
            .expect("it is being drained");
    }

    /// A location goes that another one holds everything of.
    async fn remove(&self) {
        let replication = self.replication(&["usstorage", "eustorage"]);
        let leaving = location("eustorage");
        self.measure(
            "drain, nothing is only there",
            replication.drain_location("eustorage"),
        )
        .await
        .expect("there is another location");
        self.measure(
            "remove the location",
            replication.remove_location(&leaving, |_| ()),
        )
        .await
        .expect("all of it is elsewhere");
        let left = self.rows.psql(
            "SELECT count(*) FROM imagestorageplacement p JOIN imagestoragelocation l ON l.id = p.location_id
             WHERE l.name = 'eustorage'",
        );
        assert_eq!(left, "0");
    }

    async fn measure<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        self.measure_each(what, 1, work).await
    }

    /// Measures something that does the same so many times; time and counts are those of one.
    #[expect(clippy::print_stdout, reason = "what a bench is for")]
    async fn measure_each<T>(&self, what: &str, times: u32, work: impl Future<Output = T>) -> T {
        let before = self.server.log_bytes();
        forget_peak();
        let began = watch();
        let done = work.await;
        let seconds = (began.elapsed() / times).as_secs_f64();
        let peak = peak_mib("self").unwrap_or_default();
        let log = self.server.log_behind(before);
        let asked = Statements::of_log(&log);
        println!(
            "| {what} | {seconds:.4} | {} | {:.1} | {} | {:.1} | {peak} |",
            asked.count.div_ceil(u64::from(times)),
            asked.longest.as_secs_f64() * 1e3,
            asked.transactions.div_ceil(u64::from(times)),
            asked.longest_transaction.as_secs_f64() * 1e3,
        );
        if asked.longest > STATEMENT_MAX {
            println!("\nslow: {}\n", asked.longest_text);
        }
        done
    }
}

#[expect(clippy::print_stdout, reason = "what a bench is for")]
fn head(title: &str) {
    println!("\n### {title}\n");
    println!("| step | seconds | statements | longest ms | transactions | longest ms | peak MiB |");
    println!("|---|---|---|---|---|---|---|");
}

/// An object of the size that its row says, at the key of what its row says it hashes to.
fn write_object(root: &Path, content: &str) {
    let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
    let path = root.join(ObjectKey::Blob(digest).path());
    let file = fs::File::create(&path).or_else(|_| {
        fs::create_dir_all(path.parent().expect("it lies in a directory"))?;
        fs::File::create(&path)
    });
    file.and_then(|file| file.set_len(BLOB_BYTES))
        .expect("there is room");
}

fn location(name: &str) -> LocationName {
    LocationName::new(name).expect("it is a name")
}
