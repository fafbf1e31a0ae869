//! What owners change and look up, in a registry with a long log of actions.

use super::*;

/// How many entries the log has: the log of the busiest repositories is read like that of the others.
const ENTRIES: u32 = 200_000;

/// A log of a week, of all repositories, by all accounts.
pub(super) async fn prepare(world: &World) {
    for statement in [
        &format!(
            "INSERT INTO logentry3 (kind_id, account_id, performer_id, repository_id, datetime, ip, metadata_json)
             SELECT n % 40 + 1, r.namespace_user_id, n % 100 + 1, r.id, to_timestamp(1795000000 - n * 3), '192.0.2.1', '{{}}'
             FROM generate_series(1, {ENTRIES}) n
             JOIN (SELECT id, namespace_user_id, row_number() OVER (ORDER BY id) - 1 AS place FROM repository WHERE state <> 3) r
               ON r.place = n % (SELECT count(*) FROM repository WHERE state <> 3)"
        ),
        "ANALYZE logentry3",
    ] {
        world.sql(statement).await;
    }
}

/// What owners ask and change.
pub(super) async fn work(world: &World, round: u32) {
    let database = &world.database;
    let repository = &world.repository;
    let now = later(world.now, u64::from(round));
    let week = Duration::from_hours(7 * 24);
    for scope in [
        LogScope::Everything,
        LogScope::Namespace(repository.namespace_id),
        LogScope::Repository(repository.id),
    ] {
        let page = LogPage {
            scope,
            performer: None,
            from: now - week,
            until: now,
            after: None,
            limit: 21,
        };
        let found = database.log_page(&page).await.unwrap();
        let after = found.last().map(|last| last.position);
        database.log_page(&LogPage { after, ..page }).await.unwrap();
    }
    let hour = Duration::from_hours(1);
    database
        .log_counts(LogScope::Repository(repository.id), None, (now - hour, now))
        .await
        .unwrap();

    for viewer in [
        CatalogViewer::All,
        CatalogViewer::PublicOnly,
        CatalogViewer::Account(world.creator),
        CatalogViewer::AccountAndPublic(world.creator),
    ] {
        for namespace in [None, Some("org5")] {
            let list = ListRepositories {
                viewer: &viewer,
                namespace,
                starred_only: false,
                asker: Some(world.creator),
                after: RepositoryId(3),
                limit: 101,
                last_modified: true,
                actions_since: Some((now - week).date_naive()),
                now,
            };
            database.list_repositories(&list).await.unwrap();
        }
    }
    database
        .repository_details(repository, Some(world.creator))
        .await
        .unwrap();
    database
        .repository_actions(repository.id, (now - week).date_naive())
        .await
        .unwrap();
    database
        .account_permissions(repository.id, None, 100)
        .await
        .unwrap();
    database
        .account_permissions(repository.id, Some("admin"), 1)
        .await
        .unwrap();
    database
        .team_permissions(repository.id, None, 100)
        .await
        .unwrap();
    database
        .transitive_roles(repository.id, "admin")
        .await
        .unwrap();

    world.blob("{}", &us()).await;
    let layer = format!("layer of an owner, round {round}");
    world.blob(&layer, &us()).await;
    let image = image(&[&layer]);
    let digest = image.digest(Algorithm::Sha256);
    world.put(&image, &["owned"], now).await;
    world.delete("owned", now).await;
    let tag = "owned".parse().unwrap();
    let everywhere = both();
    for from in [PointedFrom::Past, PointedFrom::Present] {
        let moved = database
            .point_tag(&PointTag {
                repository,
                tag: &tag,
                digest: &digest,
                from,
                demand: Some(Demand {
                    defaults: &everywhere,
                    configured: &everywhere,
                }),
                queue: QUEUE,
                features: world.features,
                actor: &world.actor,
                ids: &world.ids,
                now: later(now, 1),
            })
            .await
            .unwrap();
        assert!(matches!(moved, TagMove::Pointed { .. }), "{moved:?}");
    }
    let change = ChangeTag {
        repository,
        tag: &tag,
        features: world.features,
        actor: &world.actor,
        now: later(now, 1),
    };
    database
        .change_tag_end(&change, Some(later(now, 3600)))
        .await
        .unwrap();
    database
        .change_tag_immutability(&change, true)
        .await
        .unwrap();
    for filter in [TagFilter::All, TagFilter::Named("owned")] {
        for live_only in [true, false] {
            let page = TagPage {
                repository: repository.id,
                filter,
                live_only,
                skip: 0,
                limit: 101,
                now: later(now, 1),
            };
            database.tag_history(&page).await.unwrap();
        }
    }
}
