//! What is left of an operation whose connection is lost in the middle: all of it or nothing, wherever that was.

mod owners;
mod upkeep;

use std::collections::BTreeMap;

use roadstead_oci::{DigestState, Digester, Tag};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use super::proxy::Proxy;
use super::*;

/// No operation has more requests and answers than this. If one had, it would not be bounded.
const ENDS_MAX: usize = 400;

/// Every row of every table, as text, and how often it is there.
type Rows = BTreeMap<String, usize>;

/// How many rows came to each table and how many went.
type Changes = BTreeMap<String, (usize, usize)>;

struct Cutting {
    world: World,
    proxy: Proxy,
    /// Past the proxy.
    direct: PgConnection,
    all_rows: String,
}

impl Cutting {
    async fn new() -> Self {
        let server = Postgres::shared().copy_of(migrated_database().await);
        let proxy = Proxy::start(server.port).await;
        let mut direct = PgConnection::connect(&server.uri()).await.unwrap();
        let through = PostgresDatabase {
            port: proxy.port,
            ..server
        };
        let DatabaseOptions::Postgres(mut options) = options_of(&through) else {
            panic!("it is a server");
        };
        // The proxy reads along.
        options.tls.mode = SslMode::Disable;
        // One connection, so that a statement is known to it or not whichever run it is.
        options.connections = 1;
        let options = DatabaseOptions::Postgres(options);
        let mut world = World::of(&options, Place::Server(through)).await;
        // With everything that is kept besides.
        world.features = Features {
            quota_checks: QuotaChecks::None,
            quota: QuotaSizes::Kept,
            immutable_tags: ImmutableTags::Kept,
        };
        let tables = sqlx::query(
            "SELECT string_agg(format('SELECT %L || '' '' || row_to_json(t)::text FROM %I t', table_name, table_name), ' UNION ALL ')
             FROM information_schema.tables WHERE table_schema = 'public'",
        )
        .fetch_one(&mut direct)
        .await
        .unwrap();
        Self {
            world,
            proxy,
            direct,
            all_rows: tables.get(0),
        }
    }

    /// What is in the tables once the server has ended what it was in the middle of.
    async fn rows(&mut self) -> Rows {
        const BUSY: &str = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend'
               AND pid <> pg_backend_pid() AND state <> 'idle'";
        loop {
            let busy: i64 = sqlx::query(BUSY)
                .fetch_one(&mut self.direct)
                .await
                .unwrap()
                .get(0);
            if busy == 0 {
                break;
            }
        }
        let mut rows = Rows::new();
        for row in sqlx::query(AssertSqlSafe(self.all_rows.clone()))
            .fetch_all(&mut self.direct)
            .await
            .unwrap()
        {
            *rows.entry(row.get(0)).or_default() += 1;
        }
        rows
    }

    /// Loses the connection at every point of `perform`, each time after `arrange` has made something new to perform it on.
    async fn everywhere<S>(
        mut self,
        arrange: impl AsyncFn(&World, usize) -> S,
        perform: impl AsyncFn(&World, &S) -> Result<(), MetadataError>,
    ) {
        // Twice, so that what only the first one brings, like the row of a media type, is not counted.
        let mut whole = Changes::new();
        for round in 0..2 {
            let thing = arrange(&self.world, round).await;
            let before = self.rows().await;
            perform(&self.world, &thing).await.unwrap();
            whole = changes(&before, &self.rows().await);
        }
        assert!(!whole.is_empty(), "the operation changes something");

        let (mut nothing, mut all, mut unnoticed) = (0, 0, 0);
        for at in 1..ENDS_MAX {
            // What the loss before set off is over, so that nothing else goes through the proxy.
            self.world.database.settle().await;
            let thing = arrange(&self.world, 1 + at).await;
            let before = self.rows().await;
            self.proxy.cut_at(at);
            let outcome = perform(&self.world, &thing).await;
            let was_cut = self.proxy.rest();
            let left = changes(&before, &self.rows().await);
            if let Err(error) = &outcome {
                assert!(
                    matches!(error, MetadataError::Unavailable { .. }),
                    "cut at {at}: {error}"
                );
            }
            match (outcome, left.is_empty()) {
                (Ok(()), _) => {
                    assert_eq!(left, whole, "cut at {at}");
                    if !was_cut {
                        println!(
                            "{nothing} times nothing, {all} times all, {unnoticed} times unnoticed"
                        );
                        // Whether a server still reads a COMMIT whose sender is gone is chance, so `all` may be 0.
                        assert!(nothing > 0, "cut at every place of {at}");
                        return;
                    }
                    unnoticed += 1;
                }
                (Err(_), true) => {
                    nothing += 1;
                    perform(&self.world, &thing).await.unwrap();
                    let done = changes(&before, &self.rows().await);
                    assert_eq!(done, whole, "again after a cut at {at}");
                }
                (Err(_), false) => {
                    all += 1;
                    assert_eq!(left, whole, "cut at {at}");
                    // It has happened, and says so, or happens once more.
                    match perform(&self.world, &thing).await {
                        Ok(())
                        | Err(MetadataError::Conflict { .. } | MetadataError::Contended { .. }) => {
                        }
                        Err(error) => panic!("again after a cut at {at}: {error}"),
                    }
                    let done = changes(&before, &self.rows().await);
                    assert!(
                        done.keys().eq(whole.keys()),
                        "again after a cut at {at}: {done:?} and not {whole:?}"
                    );
                }
            }
        }
        panic!("never came to its end without a cut");
    }
}

fn changes(before: &Rows, after: &Rows) -> Changes {
    let mut changes = Changes::new();
    for row in before.keys().chain(after.keys()) {
        let (was, is) = (
            before.get(row).copied().unwrap_or_default(),
            after.get(row).copied().unwrap_or_default(),
        );
        if was == is {
            continue;
        }
        let table = row.split(' ').next().unwrap().to_owned();
        let (came, went) = changes.entry(table).or_insert((0, 0));
        // A row that was counted from both sides is counted once.
        if is > was && !before.contains_key(row) {
            *came += is - was;
        } else if was > is && !after.contains_key(row) {
            *went += was - is;
        }
    }
    changes
}

fn state() -> DigestState {
    Digester::new(Algorithm::Sha256).save()
}

async fn upload(world: &World, uuid: Uuid) -> Result<Upload, MetadataError> {
    world
        .database
        .create_upload(&NewUpload {
            uuid,
            repository: world.repository.id,
            location: &us(),
            hash_state: &state(),
            now: world.now,
        })
        .await
}

/// An image of its own with its blobs, of which one is known already.
async fn image_of(world: &World, number: usize) -> Manifest {
    let layer = format!("layer {number}");
    for content in ["{}", "shared", &layer] {
        world.blob(content, &us()).await;
    }
    image(&["shared", &layer])
}

async fn put(world: &World, manifest: &Manifest, tags: &[Tag]) -> Result<(), MetadataError> {
    let stored = world
        .database
        .put_manifest(&PutManifest {
            repository: &world.repository,
            digest: &manifest.digest(Algorithm::Sha256),
            manifest,
            labels: PushedLabels::NONE,
            tags,
            untagged_until: later(world.now, 3600),
            demand: Some(Demand {
                defaults: &both(),
                configured: &both(),
            }),
            queue: QUEUE,
            features: world.features,
            actor: &Actor::default(),
            ids: &world.ids,
            now: world.now,
        })
        .await?;
    assert!(matches!(stored, PutManifestOutcome::Stored { .. }));
    Ok(())
}

fn deletion<'a>(world: &'a World, actor: &'a Actor) -> Delete<'a> {
    Delete {
        repository: &world.repository,
        features: world.features,
        actor,
        now: world.now,
    }
}

fn tags(number: usize) -> Vec<Tag> {
    vec![
        "latest".parse().unwrap(),
        format!("v{number}").parse().unwrap(),
    ]
}

#[tokio::test]
async fn an_upload_begins_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, _| world.ids.uuid(),
            async |world, uuid| upload(world, *uuid).await.map(drop),
        )
        .await;
}

#[tokio::test]
async fn bytes_are_acknowledged_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, _| upload(world, world.ids.uuid()).await.unwrap(),
            async |world, upload| {
                world
                    .database
                    .advance_upload(&advance(upload, 5, &state(), world.now))
                    .await
                    .map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn the_last_bytes_are_acknowledged_with_the_publication_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, _| upload(world, world.ids.uuid()).await.unwrap(),
            async |world, upload| {
                let until = later(world.now, 3600);
                world
                    .database
                    .close_upload(
                        &advance(upload, 5, &state(), world.now),
                        &digest_of("hello"),
                        until,
                    )
                    .await
                    .map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn an_upload_ends_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, _| upload(world, world.ids.uuid()).await.unwrap(),
            async |world, upload| world.database.forget_upload(upload).await.map(drop),
        )
        .await;
}

#[tokio::test]
async fn a_blob_is_recorded_with_the_end_of_its_upload_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| {
                let upload = upload(world, world.ids.uuid()).await.unwrap();
                let content = format!("blob {number}");
                let publication = world.publication(&content, &us()).await;
                (upload, content, publication)
            },
            async |world, (upload, content, publication)| {
                world
                    .database
                    .commit_blob(&CommitBlob {
                        repository: world.repository.id,
                        publication,
                        size: content.len() as u64,
                        protect_until: later(world.now, 3600),
                        upload: Some(upload),
                        uuid: world.ids.uuid(),
                        now: world.now,
                    })
                    .await
            },
        )
        .await;
}

#[tokio::test]
async fn a_blob_is_mounted_and_deleted_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| {
                let other = world.repository("other").await;
                world
                    .blob_in(&other, &format!("mounted {number}"), &us())
                    .await
            },
            async |world, blob| {
                world
                    .database
                    .link_blob(
                        world.repository.id,
                        blob.storage,
                        later(world.now, 3600),
                        world.now,
                    )
                    .await
                    .map(drop)
            },
        )
        .await;
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| world.blob(&format!("deleted {number}"), &us()).await,
            async |world, blob| {
                world
                    .database
                    .delete_blob(world.repository.id, &blob.digest, world.now)
                    .await
                    .map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_manifest_is_stored_with_its_tags_and_wanted_copies_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| (image_of(world, number).await, tags(number)),
            async |world, (manifest, tags)| put(world, manifest, tags).await,
        )
        .await;
}

#[tokio::test]
async fn a_tag_and_a_manifest_are_deleted_wholly_or_not_at_all() {
    let arranged = async |world: &World, number: usize| {
        let (manifest, tags) = (image_of(world, number).await, tags(number));
        put(world, &manifest, &tags[1..]).await.unwrap();
        (manifest.digest(Algorithm::Sha256), tags)
    };
    let cutting = Cutting::new().await;
    cutting
        .everywhere(arranged, async |world, (_, tags)| {
            let actor = Actor::default();
            let delete = deletion(world, &actor);
            world.database.delete_tag(&delete, &tags[1]).await.map(drop)
        })
        .await;
    let cutting = Cutting::new().await;
    cutting
        .everywhere(arranged, async |world, (digest, _)| {
            let actor = Actor::default();
            let delete = deletion(world, &actor);
            world
                .database
                .delete_manifest(&delete, digest)
                .await
                .map(drop)
        })
        .await;
}

#[tokio::test]
async fn a_namespace_is_made_with_its_repository_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |_, number| RepositoryPath {
                namespace: format!("namespace{number}"),
                name: "app".to_owned(),
            },
            async |world, path| {
                world
                    .database
                    .ensure_repository(&NewRepository {
                        path,
                        creator: world.creator,
                        private: true,
                        create_namespace: true,
                        tag_window: crate::TAG_WINDOW,
                        ids: &world.ids,
                        now: world.now,
                    })
                    .await
                    .map(drop)
            },
        )
        .await;
}

/// A job that is claimed, of a copy of a blob that is nowhere else wanted.
async fn job(world: &World, number: usize) -> (StorageId, Vec<Job>) {
    let manifest = image_of(world, number).await;
    put(world, &manifest, &tags(number)).await.unwrap();
    let blob = world
        .database
        .find_blob_anywhere(&digest_of(&format!("layer {number}")))
        .await
        .unwrap()
        .unwrap();
    (blob.storage, world.claim(world.now).await)
}

#[tokio::test]
async fn a_job_is_taken_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| {
                // What the round before has left is done with first, so that one job is due.
                for job in world.claim(later(world.now, 120)).await {
                    world.database.complete_job(&job).await.unwrap();
                }
                let manifest = image_of(world, number).await;
                put(world, &manifest, &tags(number)).await.unwrap();
            },
            async |world, ()| {
                let claim = ClaimCopies {
                    queue: QUEUE,
                    blobs: 1,
                    region: None,
                    elsewhere: &BTreeSet::new(),
                    now: later(world.now, 1),
                    lease_until: later(world.now, 60),
                    token: world.ids.uuid(),
                };
                let mut cursor = ClaimCursor::default();
                let claimed = world.database.claim_copies(&claim, &mut cursor).await;
                claimed.map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_job_is_finished_and_put_off_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| job(world, number).await.1.remove(0),
            async |world, job| world.database.complete_job(job).await.map(drop),
        )
        .await;
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| job(world, number).await.1.remove(0),
            async |world, job| {
                world
                    .database
                    .postpone_job(
                        job,
                        later(world.now, 900),
                        "no route",
                        FailureClass::TargetDown,
                        world.now,
                    )
                    .await
                    .map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_copy_is_recorded_and_given_up_wholly_or_not_at_all() {
    let record = async |world: &World, (storage, publication): &(StorageId, Publication)| {
        world
            .database
            .record_copy(*storage, publication, world.now)
            .await
            .map(drop)
    };
    let arrange = async |world: &World, number| {
        let (storage, _) = job(world, number).await;
        let layer = format!("layer {number}");
        (storage, world.publication(&layer, &eu()).await)
    };
    Cutting::new().await.everywhere(arrange, record).await;
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, number| {
                let copied = arrange(world, number).await;
                record(world, &copied).await.unwrap();
                copied.0
            },
            async |world, storage| {
                world
                    .database
                    .report_lost(&LostObjects {
                        location: &eu(),
                        storages: &[*storage],
                        reason: "it was not there",
                        queue: QUEUE,
                        ids: &world.ids,
                        now: world.now,
                    })
                    .await
                    .map(drop)
            },
        )
        .await;
}
