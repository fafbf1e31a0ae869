//! What owners change: the change and its entry in the log are one.

use super::*;

fn actor() -> Actor {
    Actor::new(Some("admin".to_owned()))
}

#[tokio::test]
async fn a_repository_is_made_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |_, round| RepositoryPath {
                namespace: "acme".to_owned(),
                name: format!("made{round}"),
            },
            async |world, path| {
                let create = CreateRepository {
                    new: NewRepository {
                        path,
                        creator: world.creator,
                        private: true,
                        create_namespace: false,
                        tag_window: crate::TAG_WINDOW,
                        ids: &world.ids,
                        now: world.now,
                    },
                    description: "",
                    actor: &actor(),
                };
                world.database.create_repository(&create).await.map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_repository_is_changed_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, round| world.repository(&format!("changed{round}")).await,
            async |world, repository| {
                let change = ChangeRepository {
                    repository,
                    change: RepositoryChange::State(RepositoryState::ReadOnly),
                    actor: &actor(),
                    now: world.now,
                };
                world.database.change_repository(&change).await.map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_permission_is_given_wholly_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, round| world.repository(&format!("permitted{round}")).await,
            async |world, repository| {
                let change = ChangePermission {
                    repository,
                    grantee: Grantee::Team("owners"),
                    role: Some(RepositoryRole::Write),
                    actor: &actor(),
                    now: world.now,
                };
                world.database.change_permission(&change).await.map(drop)
            },
        )
        .await;
}

#[tokio::test]
async fn a_tag_is_brought_back_with_its_wanted_copies_or_not_at_all() {
    let cutting = Cutting::new().await;
    cutting
        .everywhere(
            async |world, round| {
                let layer = format!("layer {round}");
                for content in ["{}", &layer] {
                    world.blob(content, &us()).await;
                }
                let image = image(&[&layer]);
                let tag = format!("v{round}");
                world.put(&image, &[&tag], world.now).await;
                world.delete(&tag, later(world.now, 1)).await;
                world.sql("DELETE FROM roadstead_copy").await;
                world.sql("DELETE FROM queueitem").await;
                (tag, image.digest(Algorithm::Sha256))
            },
            async |world, (tag, digest)| {
                let everywhere = both();
                let point = PointTag {
                    repository: &world.repository,
                    tag: &tag.parse().unwrap(),
                    digest,
                    from: PointedFrom::Past,
                    demand: Some(Demand {
                        defaults: &everywhere,
                        configured: &everywhere,
                    }),
                    queue: QUEUE,
                    features: world.features,
                    actor: &actor(),
                    ids: &world.ids,
                    now: later(world.now, 2),
                };
                world.database.point_tag(&point).await.map(drop)
            },
        )
        .await;
}
