//! What collections ask of the database.

use super::*;

/// Everything that one round of a collection does, and what marks repositories and namespaces as deleted. Where a collection works off all that is
/// there, this does one batch, at most of a collection's own size.
pub(super) async fn collect(world: &World, round: u32) -> Removed {
    let database = &world.database;
    let now = world.now;
    let collection = database.collection(world.features).await.unwrap();
    let mut removed = Removed::default();

    let ended = database.end_upload_protections(now, 100).await.unwrap();
    assert!(ended > 0, "protections have ended");
    let ended = database.end_lapsed_publications(now, 100).await.unwrap();
    assert_eq!(ended, 100, "publications have lapsed");
    let publication = world
        .publication(&format!("never sent {round}"), &us())
        .await;
    database
        .withdraw_publication(publication, now)
        .await
        .unwrap();

    collect_tags(world, &collection, round, &mut removed).await;
    search(world, &collection, round, &mut removed).await;

    let collected = database
        .collect_blobs(&collection, now, later(now, 60), 100)
        .await
        .unwrap();
    assert_eq!(collected.looked_at, 100);
    removed.blobs += collected.blobs;

    purge(world, &collection, round, &mut removed).await;
    delete_objects(world, &mut removed).await;

    database
        .note_garbage_run(&GarbageRun {
            started_at: now,
            finished_at: now,
            removed,
        })
        .await
        .unwrap();
    database.last_garbage_run().await.unwrap();
    removed
}

/// Tags whose time is over, with what they held: of a repository with very many tags, and of those that a search names.
async fn collect_tags(world: &World, collection: &Collection, round: u32, removed: &mut Removed) {
    let database = &world.database;
    let layers: Vec<String> = (0..60)
        .map(|n| format!("garbage {n} of round {round}"))
        .collect();
    for layer in &layers {
        world.blob(layer, &us()).await;
    }
    world.blob("{}", &us()).await;
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let pushed = image(&layers);
    world.put(&pushed, &["garbage"], world.now).await;
    world.put(&index(&[&pushed]), &["more"], world.now).await;
    world.delete("garbage", world.now).await;
    world.delete("more", world.now).await;
    let past = world.now + crate::TAG_WINDOW + Duration::from_hours(1);
    let collected = database
        .collect_tags(collection, world.repository.id, past, 200)
        .await
        .unwrap();
    assert!(
        collected.tags >= 2 && collected.manifests >= 2,
        "{collected:?}"
    );

    let until = database.latest_past_end(world.now).await.unwrap();
    let week = 7 * 24 * 3600 * 1000;
    let after = match round {
        0 => 0,
        _ => until - 4 * week + week / 2 * i64::from(round),
    };
    let page = database
        .repositories_with_past_tags(after, until, world.now, 1000)
        .await
        .unwrap();
    assert!(page.next.is_some(), "tags have ended");
    for repository in page.repositories.into_iter().take(10) {
        let collected = database
            .collect_tags(collection, repository, world.now, 200)
            .await
            .unwrap();
        removed.tags += collected.tags;
        removed.manifests += collected.manifests;
    }
}

/// The searches for what nobody noted: the first page, and others farther and farther on.
async fn search(world: &World, collection: &Collection, round: u32, removed: &mut Removed) {
    let database = &world.database;
    let at = async |table: &str| -> i32 {
        let query = format!("SELECT CAST(max(id) AS varchar) AS name FROM {table}");
        let last: i32 = world.texts(&query).await[0].parse().unwrap();
        last / 10 * i32::try_from(round).unwrap()
    };
    let page = database
        .stray_manifests(ManifestId(at("manifest").await), 1000)
        .await
        .unwrap();
    let repositories: BTreeSet<RepositoryId> = page
        .strays
        .iter()
        .map(|(repository, _)| *repository)
        .collect();
    for repository in repositories.into_iter().take(10) {
        let manifests: Vec<ManifestId> = page
            .strays
            .iter()
            .filter(|(of, _)| *of == repository)
            .map(|(_, manifest)| *manifest)
            .collect();
        removed.manifests += database
            .collect_manifests(collection, repository, &manifests, world.now)
            .await
            .unwrap();
    }
    database
        .note_stray_blobs(StorageId(at("imagestorage").await), 1000, world.now)
        .await
        .unwrap();
    database.forget_notes_of_the_gone().await.unwrap();
    for sweep in [Sweep::Tags, Sweep::Manifests, Sweep::Blobs, Sweep::Looks] {
        let progress = database.sweep_progress(sweep).await.unwrap();
        database.note_sweep(sweep, progress).await.unwrap();
    }
}

/// Deleted repositories and namespaces.
async fn purge(world: &World, collection: &Collection, round: u32, removed: &mut Removed) {
    let database = &world.database;
    let now = world.now;
    let whole = async |repository: RepositoryId| {
        while !database
            .purge_repository(collection, repository, now, 500)
            .await
            .unwrap()
            .finished
        {}
    };
    let last = round + 1 == REPEATS;
    if last {
        assert!(
            database
                .mark_repository_deleted(
                    &MarkDeleted {
                        subject: world.repository.id,
                        ids: &world.ids,
                        available_at: now,
                        now,
                    },
                    &world.actor
                )
                .await
                .unwrap()
        );
    }
    assert!(
        database
            .requeue_deleted_repositories(&world.ids, now)
            .await
            .unwrap()
            > 0
    );
    let jobs = world.claim_of(REPOSITORY_QUEUE, 2, now).await;
    let repository = database
        .deleted_repository(&jobs[0])
        .await
        .unwrap()
        .expect("it is marked");
    whole(repository).await;
    database.complete_job(&jobs[0]).await.unwrap();
    removed.repositories += 1;
    if let Some(job) = jobs.get(1) {
        database
            .extend_jobs(std::slice::from_ref(job), later(now, 120))
            .await
            .unwrap();
        database.return_job(job, now).await.unwrap();
    }
    // Which of the jobs that wait equally long is claimed is not said: it may have been that of this repository.
    if last && repository != world.repository.id {
        whole(world.repository.id).await;
        removed.repositories += 1;
    }

    if removed_namespace(world).await {
        return;
    }
    assert!(
        database
            .requeue_deleted_namespaces(&world.ids, now)
            .await
            .unwrap()
            > 0
    );
    let jobs = world.claim_of(NAMESPACE_QUEUE, 1, now).await;
    let namespace = database.deleted_namespace(&jobs[0]).await.unwrap();
    let namespace = namespace.expect("it is marked");
    loop {
        match database
            .purge_namespace(collection, namespace)
            .await
            .unwrap()
        {
            NamespacePurge::Repository(repository) => whole(repository).await,
            NamespacePurge::Finished => {
                removed.namespaces += 1;
                break;
            }
        }
        if !last {
            database.return_job(&jobs[0], now).await.unwrap();
            break;
        }
    }
}

async fn removed_namespace(world: &World) -> bool {
    world
        .texts("SELECT original_username AS name FROM deletednamespace")
        .await
        .is_empty()
}

/// What a location has to lose.
async fn delete_objects(world: &World, removed: &mut Removed) {
    let database = &world.database;
    let now = world.now;
    let claimed = database
        .claim_doomed_objects(&ClaimObjects {
            location: &us(),
            limit: 64,
            now,
            lease_until: later(now, 300),
            token: world.ids.uuid(),
        })
        .await
        .unwrap();
    let [failed, untried, gone @ ..] = claimed.as_slice() else {
        panic!("objects wait: {claimed:?}");
    };
    database.complete_doomed_objects(&us(), gone).await.unwrap();
    database
        .return_doomed_objects(std::slice::from_ref(untried))
        .await
        .unwrap();
    database
        .postpone_doomed_object(
            failed,
            &FailedDeletion {
                failure: "no particular reason",
                not_before: later(now, 60),
                closed_until: None,
                now,
            },
        )
        .await
        .unwrap();
    removed.objects += gone.len() as u64;
}
