//! What a push, a pull and a list of tags cost the database of a large registry, as a ratio to those of an empty one.
//!
//! Both databases are in one PostgreSQL server and are asked in turn, so that whatever else the machine does meets both. Bound: at most 1.3.
//! `ROADSTEAD_BENCH_BLOBS` says how large: 1,000,000 blobs, 200,000 manifests and 100,000 tags unless it is set.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadstead_benches::database;
use roadstead_benches::process::{number, watch};
use roadstead_metadata::{
    Actor, CommitBlob, Database, Demand, Features, ManifestLookup, PushedLabels, PutManifest,
    Repository,
};
use roadstead_oci::{Algorithm, Digest, Manifest, ManifestLimits, Reference};
use roadstead_placement::LocationName;
use roadstead_runtime::{Ids, SeededIds, Timestamp};
use roadstead_test_servers::{Postgres, PostgresDatabase, PostgresSettings};

/// Blobs of an image: a config and four layers.
const LAYERS: usize = 4;

/// How often each operation is measured on each database.
const ROUNDS: u32 = 600;

/// Of these the first are not counted: caches fill and plans settle.
const WARM_UP: u32 = 100;

const QUEUE: &str = "imagestoragereplication";

/// A database with one repository of a hundred tags, which are what is listed.
struct Registry {
    database: Database,
    repository: Repository,
    ids: Arc<dyn Ids>,
    now: Timestamp,
}

#[derive(Default)]
struct Times {
    push: Vec<Duration>,
    pull: Vec<Duration>,
    list: Vec<Duration>,
}

impl Registry {
    async fn new(server: &PostgresDatabase, blobs: u32) -> Self {
        let database = database::open(server).await;
        let ids: Arc<dyn Ids> = Arc::new(SeededIds::new(1));
        let now = Timestamp::from_timestamp(1_795_000_000, 0).expect("it is a time");
        let account = database::first_account(&database, &ids, now).await;
        database
            .ensure_locations(&[location("usstorage"), location("eustorage")])
            .await
            .expect("the database answers");
        let mut made = Vec::new();
        for name in ["app", "listed"] {
            made.push(database::repository(&database, account, ("acme", name), &ids, now).await);
        }
        if blobs > 0 {
            let rows = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../tests/fixtures/large-registry.sql"
            );
            server.run_file(rows.as_ref(), &[("blobs", &blobs.to_string())]);
        }
        let registry = Self {
            database,
            repository: made.pop().expect("two were made"),
            ids,
            now,
        };
        for number in 0..100 {
            registry
                .push(&format!("listed {number}"), &format!("v{number}"))
                .await;
        }
        registry
    }

    /// Records the blobs of a new image and the image itself under a tag.
    async fn push(&self, content: &str, tag: &str) {
        let layers: Vec<String> = (0..LAYERS)
            .map(|n| format!("{content} layer {n}"))
            .collect();
        let blobs = std::iter::once(content).chain(layers.iter().map(String::as_str));
        for blob in blobs.clone() {
            let publishing = self
                .database
                .begin_publication(
                    &digest_of(blob),
                    &location("usstorage"),
                    self.now + Duration::from_hours(1),
                    self.now,
                )
                .await
                .expect("the database answers");
            self.database
                .commit_blob(&CommitBlob {
                    repository: self.repository.id,
                    publication: &publishing.begun().expect("nobody deletes it"),
                    size: blob.len() as u64,
                    protect_until: self.now + Duration::from_hours(1),
                    upload: None,
                    uuid: self.ids.uuid(),
                    now: self.now,
                })
                .await
                .expect("the database answers");
        }
        let manifest = image(content, &layers);
        self.database
            .put_manifest(&PutManifest {
                repository: &self.repository,
                digest: &manifest.digest(Algorithm::Sha256),
                manifest: &manifest,
                labels: PushedLabels::NONE,
                tags: &[tag.parse().expect("it is a tag")],
                untagged_until: self.now,
                demand: Some(Demand {
                    defaults: &BTreeSet::from([location("usstorage"), location("eustorage")]),
                    configured: &BTreeSet::from([location("usstorage"), location("eustorage")]),
                }),
                queue: QUEUE,
                features: Features::default(),
                actor: &Actor::default(),
                ids: &self.ids,
                now: self.now,
            })
            .await
            .expect("the database answers");
    }

    /// Looks up what a pull by tag looks up.
    async fn pull(&self, content: &str, tag: &str) {
        let repository = self
            .database
            .find_repository(&self.repository.path)
            .await
            .expect("the database answers")
            .expect("it was made");
        let reference = Reference::Tag(tag.parse().expect("it is a tag"));
        let found = self
            .database
            .find_manifest(repository.id, &reference, self.now)
            .await
            .expect("the database answers");
        assert!(matches!(found, ManifestLookup::Found(_)));
        for layer in 0..LAYERS {
            let digest = digest_of(&format!("{content} layer {layer}"));
            let blob = self
                .database
                .find_blob(repository.id, &digest, self.now)
                .await
                .expect("the database answers");
            assert!(blob.is_some());
        }
    }

    async fn measure(&self, round: u32, times: &mut Times) {
        let content = format!("pushed {round}");
        let began = watch();
        self.push(&content, "latest").await;
        times.push.push(began.elapsed());
        let began = watch();
        self.pull(&content, "latest").await;
        times.pull.push(began.elapsed());
        let began = watch();
        let tags = self
            .database
            .list_tags(self.repository.id, None, 100, self.now)
            .await
            .expect("the database answers");
        times.list.push(began.elapsed());
        assert_eq!(tags.len(), 100);
    }
}

fn location(name: &str) -> LocationName {
    LocationName::new(name).expect("it is a name")
}

fn digest_of(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

fn image(config: &str, layers: &[String]) -> Manifest {
    let descriptor = |content: &str, media_type: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{media_type}","digest":"{}","size":{}}}"#,
            digest_of(content),
            content.len()
        )
    };
    let layers: Vec<String> = layers
        .iter()
        .map(|layer| descriptor(layer, "layer.v1.tar"))
        .collect();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor(config, "config.v1+json"),
        layers.join(",")
    );
    Manifest::parse(None, Bytes::from(text), &ManifestLimits::default()).expect("it is a manifest")
}

fn blobs() -> u32 {
    let blobs = number("ROADSTEAD_BENCH_BLOBS", 1_000_000);
    u32::try_from(blobs).expect("a database numbers its blobs with 32 bits")
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn report(name: &str, empty: &mut [Duration], large: &mut [Duration]) {
    let (empty, large) = (median(empty), median(large));
    println!(
        "{name:<12} empty {:>9.3} ms   large {:>9.3} ms   ratio {:.2}",
        empty.as_secs_f64() * 1e3,
        large.as_secs_f64() * 1e3,
        large.as_secs_f64() / empty.as_secs_f64()
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let server = Postgres::start(&PostgresSettings {
            durable: false,
            more: vec![
                ("max_wal_size".to_owned(), "4GB".to_owned()),
                ("shared_buffers".to_owned(), "1GB".to_owned()),
            ],
        });
        let servers = [server.database(), server.database()];
        let [empty, large] = &servers;
        let empty = Registry::new(empty, 0).await;
        let large = Registry::new(large, blobs()).await;
        let (mut of_empty, mut of_large) = (Times::default(), Times::default());
        for round in 0..ROUNDS {
            if round == WARM_UP {
                (of_empty, of_large) = (Times::default(), Times::default());
                // What the server would do by itself before long.
                for server in &servers {
                    server.psql("ANALYZE");
                }
            }
            empty.measure(round, &mut of_empty).await;
            large.measure(round, &mut of_large).await;
        }
        report("push", &mut of_empty.push, &mut of_large.push);
        report("pull", &mut of_empty.pull, &mut of_large.pull);
        report("list tags", &mut of_empty.list, &mut of_large.list);
    });
}
