//! Lists of tags and repositories: order, pages, ends.

use roadstead_metadata::CatalogViewer;
use roadstead_oci::RepositoryName;

use super::world::World;

async fn tagged(world: &World, tags: &[&str]) {
    for tag in tags {
        world.push_image(Some(tag), &[]).await;
    }
}

#[tokio::test]
async fn tags_are_listed_in_byte_order() {
    let world = World::new().await;
    tagged(
        &world,
        &["b", "B", "a", "_", "10", "9", "a-b", "a.b", "a_b", "Z"],
    )
    .await;
    let page = world
        .registry
        .tags()
        .list(&world.repository, None, None)
        .await
        .unwrap();
    assert_eq!(
        page.entries,
        ["10", "9", "B", "Z", "_", "a", "a-b", "a.b", "a_b", "b"]
    );
    assert!(!page.more);
    let page = world
        .registry
        .tags()
        .list(&world.other, None, None)
        .await
        .unwrap();
    assert!(page.entries.is_empty() && !page.more);
}

#[tokio::test]
async fn tags_come_in_pages_from_behind_any_name() {
    let world = World::with(|options| options.page_entries_max = 3).await;
    tagged(&world, &["a", "b", "c", "d", "e"]).await;
    let tags = world.registry.tags();
    for (after, entries, expected, more) in [
        (None, Some(2), vec!["a", "b"], true),
        (Some("b"), Some(2), vec!["c", "d"], true),
        (Some("d"), Some(2), vec!["e"], false),
        (Some("c"), Some(2), vec!["d", "e"], false),
        (Some("bb"), Some(1), vec!["c"], true),
        (Some("zzz"), Some(5), vec![], false),
        (None, Some(0), vec![], false),
        (None, None, vec!["a", "b", "c"], true),
        (None, Some(1_000_000_000_000), vec!["a", "b", "c"], true),
        (None, Some(3), vec!["a", "b", "c"], true),
    ] {
        let page = tags.list(&world.repository, after, entries).await.unwrap();
        assert_eq!(
            (page.entries.clone(), page.more),
            (expected.iter().map(ToString::to_string).collect(), more)
        );
    }
}

#[tokio::test]
async fn the_catalog_shows_what_its_viewer_may_see() {
    let world = World::with(|options| options.page_entries_max = 2).await;
    world.private_repository().await;
    let registry = &world.registry;
    let page = registry
        .catalog(&CatalogViewer::PublicOnly, None, None)
        .await
        .unwrap();
    assert_eq!(
        (page.entries, page.more),
        (
            vec!["admin/app".to_owned(), "admin/other".to_owned()],
            false
        )
    );
    let page = registry
        .catalog(&CatalogViewer::All, None, Some(10))
        .await
        .unwrap();
    assert!(page.more);
    let page = registry
        .catalog(&CatalogViewer::All, Some("admin/other"), None)
        .await
        .unwrap();
    assert_eq!(
        (page.entries, page.more),
        (vec!["admin/secret".to_owned()], false)
    );
    let page = registry
        .catalog(&CatalogViewer::All, None, Some(0))
        .await
        .unwrap();
    assert_eq!((page.entries, page.more), (vec![], false));
}

#[tokio::test]
async fn repositories_are_found_by_the_name_that_clients_use() {
    let world = World::with(|options| options.library_namespace = "admin".to_owned()).await;
    for (name, there) in [
        ("admin/app", true),
        ("app", true),
        ("library/app", false),
        ("admin/none", false),
    ] {
        let name: RepositoryName = name.parse().unwrap();
        let found = world.registry.find_repository(&name).await.unwrap();
        assert_eq!(found.is_some(), there, "{name}");
    }
}
