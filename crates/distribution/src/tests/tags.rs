//! Tags that are pointed elsewhere, brought back, ended and protected, and what refuses that.

use std::time::Duration;

use roadstead_metadata::{Actor, Features, ImmutableTags, Repository, RepositoryState};
use roadstead_oci::{Digest, Reference, Tag};
use roadstead_runtime::Clock as _;

use super::world::World;
use crate::{DistributionOptions, PullError, Refusal, TagChangeError, Writes};

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn actor() -> Actor {
    Actor::new(Some("admin".to_owned()))
}

async fn points_to(world: &World, name: &str) -> Result<Digest, PullError> {
    let reference = Reference::Tag(tag(name));
    let manifests = world.registry.manifests();
    let found = manifests.get(&world.repository, &reference).await?;
    Ok(found.digest)
}

/// What each of the changes comes to.
async fn all_changes(
    world: &World,
    repository: &Repository,
    digest: &Digest,
) -> Vec<Result<(), TagChangeError>> {
    let (tags, actor, name) = (world.registry.tags(), actor(), tag("v1"));
    let later = world.clock.now() + Duration::from_mins(1);
    vec![
        tags.point(repository, &name, digest, &actor)
            .await
            .map(drop),
        tags.restore(repository, &name, digest, &actor)
            .await
            .map(drop),
        tags.end_at(repository, &name, Some(later), &actor).await,
        tags.set_immutable(repository, &name, true, &actor).await,
    ]
}

#[tokio::test]
async fn a_tag_is_pointed_elsewhere_and_brought_back_and_what_was_remembered_of_it_is_forgotten() {
    let world = World::new().await;
    let first = world.push_image(Some("v1"), &[b"one"]).await;
    let second = world.push_image(Some("v2"), &[b"two"]).await;
    let (tags, actor) = (world.registry.tags(), actor());
    assert_eq!(points_to(&world, "v1").await.unwrap(), first);
    let repository = &world.repository;
    world.clock.advance(Duration::from_secs(1));
    tags.point(repository, &tag("v1"), &second, &actor)
        .await
        .unwrap();
    assert_eq!(points_to(&world, "v1").await.unwrap(), second);
    assert!(matches!(
        tags.point(repository, &tag("v1"), &first, &actor).await,
        Err(TagChangeError::ManifestUnknown { digest }) if digest == first
    ));
    tags.restore(repository, &tag("v1"), &first, &actor)
        .await
        .unwrap();
    assert_eq!(points_to(&world, "v1").await.unwrap(), first);

    let end = world.clock.now() + Duration::from_mins(1);
    tags.end_at(repository, &tag("v1"), Some(end), &actor)
        .await
        .unwrap();
    assert!(matches!(
        tags.end_at(repository, &tag("v1"), Some(world.clock.now()), &actor)
            .await,
        Err(TagChangeError::Past)
    ));
    world.clock.advance(Duration::from_mins(1));
    assert!(matches!(
        points_to(&world, "v1").await,
        Err(PullError::TagExpired { .. })
    ));
    assert!(matches!(
        tags.end_at(repository, &tag("v1"), None, &actor).await,
        Err(TagChangeError::Unknown { .. })
    ));
    // The namespace's window is two weeks.
    world.clock.advance(Duration::from_hours(14 * 24));
    assert!(matches!(
        tags.restore(repository, &tag("v1"), &first, &actor).await,
        Err(TagChangeError::ManifestUnknown { .. })
    ));
    assert_eq!(points_to(&world, "v2").await.unwrap(), second);
}

#[tokio::test]
async fn nothing_of_a_tag_changes_where_nothing_may_be_changed() {
    let world = World::new().await;
    let digest = world.push_image(Some("v1"), &[b"one"]).await;
    for (state, refusal) in [
        (
            RepositoryState::ReadOnly,
            Refusal::RepositoryReadOnly {
                repository: world.repository.path.clone(),
            },
        ),
        (
            RepositoryState::Mirror,
            Refusal::RepositoryMirrored {
                repository: world.repository.path.clone(),
            },
        ),
    ] {
        let repository = Repository {
            state,
            ..world.repository.clone()
        };
        for outcome in all_changes(&world, &repository, &digest).await {
            assert!(
                matches!(&outcome, Err(TagChangeError::Refused(found)) if *found == refusal),
                "{outcome:?}"
            );
        }
    }
    for writes in [Writes::ReadOnly, Writes::PushesDisabled] {
        let closed = World::with(|options: &mut DistributionOptions| options.writes = writes).await;
        for outcome in all_changes(&closed, &closed.repository, &digest).await {
            assert!(
                matches!(outcome, Err(TagChangeError::Refused(_))),
                "{outcome:?}"
            );
        }
    }
    assert_eq!(points_to(&world, "v1").await.unwrap(), digest);
}

#[tokio::test]
async fn an_immutable_tag_is_changed_by_no_way_until_it_is_mutable_again() {
    let world = World::with(|options| {
        options.features = Features {
            immutable_tags: ImmutableTags::Kept,
            ..Features::default()
        };
    })
    .await;
    world.push_image(Some("v1"), &[b"one"]).await;
    let other = world.push_image(Some("v2"), &[b"two"]).await;
    let (tags, actor, name) = (world.registry.tags(), actor(), tag("v1"));
    let repository = &world.repository;
    tags.set_immutable(repository, &name, true, &actor)
        .await
        .unwrap();
    let outcomes = all_changes(&world, repository, &other).await;
    for outcome in &outcomes[..3] {
        assert!(
            matches!(outcome, Err(TagChangeError::Immutable { tag }) if *tag == name),
            "{outcome:?}"
        );
    }
    let deleted = world
        .registry
        .manifests()
        .delete(repository, &Reference::Tag(name.clone()), &actor)
        .await;
    assert!(matches!(
        deleted,
        Err(crate::DeleteError::TagImmutable { .. })
    ));
    tags.set_immutable(repository, &name, false, &actor)
        .await
        .unwrap();
    tags.point(repository, &name, &other, &actor).await.unwrap();
    assert_eq!(points_to(&world, "v1").await.unwrap(), other);
    let end = world.clock.now() + Duration::from_mins(1);
    tags.end_at(repository, &name, Some(end), &actor)
        .await
        .unwrap();
    assert!(matches!(
        tags.set_immutable(repository, &name, true, &actor).await,
        Err(TagChangeError::Ends { .. })
    ));
}
