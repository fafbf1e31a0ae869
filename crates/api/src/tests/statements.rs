//! How many statements a request costs the database: the same for a large image as for a small one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use roadstead_auth::REVOCATION_BOUND;
use roadstead_test_servers::{Postgres, PostgresSettings};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

use super::world::{APP, World, image, on, sha256};

/// Counts the statements that this thread sends: sqlx speaks of each.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicU32>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Statements {
    /// How many there were since the last time this was asked.
    fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The statements of a push of an image with so many layers, of its pull, and of one of its blobs' upload and download.
#[derive(Debug, PartialEq, Eq)]
struct Costs {
    blob_push: u32,
    manifest_push: u32,
    manifest_push_again: u32,
    pull_by_tag: u32,
    pull_by_digest: u32,
    blob_pull: u32,
    tags: u32,
}

async fn costs(world: &World, statements: &Statements, layers: usize) -> Costs {
    let contents: Vec<Vec<u8>> = (0..layers)
        .map(|layer| format!("layer {layer} of {layers}").into_bytes())
        .collect();
    world.push_blob(b"{}").await;
    for content in &contents {
        world.push_blob(content).await;
    }
    statements.take();
    world
        .push_blob(format!("one more beside {layers}").as_bytes())
        .await;
    let blob_push = statements.take();

    let layers: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let manifest = image(&layers, "");
    let put = async || {
        let answer = world.push_manifest("latest", &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        statements.take()
    };
    let manifest_push = put().await;
    let manifest_push_again = put().await;
    let get = async |path: String| {
        let answer = world.request("GET", &path).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        statements.take()
    };
    Costs {
        blob_push,
        manifest_push,
        manifest_push_again,
        pull_by_tag: get(format!("/v2/{APP}/manifests/latest")).await,
        pull_by_digest: get(format!(
            "/v2/{APP}/manifests/{}",
            sha256(manifest.as_bytes())
        ))
        .await,
        blob_pull: get(format!("/v2/{APP}/blobs/{}", sha256(layers[0]))).await,
        tags: get(format!("/v2/{APP}/tags/list")).await,
    }
}

#[tokio::test]
async fn the_number_of_statements_does_not_grow_with_the_image() {
    let statements = Statements::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(statements.clone()));
    // While a process has a single subscriber, other tests' threads, which have none, decide for all which lines are wanted.
    let _second = tracing::Dispatch::new(Registry::default().with(Statements::default()));
    // What other tests commit would be looked for here.
    let server = Postgres::start(&PostgresSettings::default());
    let server = server.database();
    let world = World::with(|settings| settings.database = Some(on(&server))).await;
    // Whatever is only looked up once is known after this.
    costs(&world, &statements, 1).await;
    let small = costs(&world, &statements, 2).await;
    let large = costs(&world, &statements, 90).await;
    println!("{small:?}");
    assert_eq!(small, large);
    // Whether anything was committed, and behind a push the repository and what is pulled from it. A manifest is known by its digest then.
    let pulls = [
        small.pull_by_tag,
        small.pull_by_digest,
        small.blob_pull,
        small.tags,
    ];
    assert_eq!(pulls, [3, 1, 2, 2]);

    // Whose token it is and where that one stands is asked for again when it has been known for too long, and once however many requests there are.
    let get = async || {
        let answer = world
            .request("GET", &format!("/v2/{APP}/manifests/latest"))
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    };
    world.clock.advance(REVOCATION_BOUND);
    statements.take();
    get().await;
    assert_eq!(statements.take(), 2 + 2);
    // The first that comes soon behind another asks for commits, and the others know that there were none.
    for expected in [3, 1, 1] {
        get().await;
        assert_eq!(statements.take(), expected);
    }
    world.clock.advance(REVOCATION_BOUND);
    futures_util::future::join_all((0..20).map(|_| get())).await;
    // And so is what they look for.
    let together = statements.take();
    assert!((2 + 2..20).contains(&together), "{together}");
}
