//! Tags: those that cannot be moved or deleted, moves within a millisecond, and Quay's lock.

use super::*;

async fn images(world: &World) -> [Manifest; 2] {
    for content in ["{}", "one", "two"] {
        world.blob(content, &us()).await;
    }
    [image(&["one"]), image(&["two"])]
}

#[tokio::test]
async fn an_immutable_tag_is_neither_moved_nor_deleted_by_any_way() {
    for mut world in worlds().await {
        let [one, two] = images(&world).await;
        let multi = index(&[&one]);
        let digest = one.digest(Algorithm::Sha256);
        world.put(&one, &["v1", "other"], world.now).await;
        world.put(&two, &["other"], world.now).await;
        world
            .sql("UPDATE tag SET immutable = true WHERE name = 'v1'")
            .await;
        let now = later(world.now, 1);
        for immutable_tags in [ImmutableTags::Kept, ImmutableTags::KeptUntilTheyExpire] {
            world.features.immutable_tags = immutable_tags;
            for manifest in [&two, &one] {
                assert_eq!(
                    world.put(manifest, &["new", "v1"], now).await,
                    PutManifestOutcome::TagImmutable("v1".parse().unwrap()),
                    "not even to where it points, as in Quay"
                );
            }
            for reference in ["v1", digest.as_str()] {
                assert_eq!(
                    world.delete(reference, now).await,
                    Deletion::Immutable("v1".into())
                );
            }
        }
        assert_eq!(
            world
                .database
                .list_tags(world.repository.id, None, 10, now)
                .await
                .unwrap(),
            ["other", "v1"],
            "a refused push changes none of its tags"
        );

        // An index keeps what is below it.
        world.put(&multi, &["multi"], now).await;
        world
            .sql("UPDATE tag SET immutable = (name = 'multi')")
            .await;
        assert_eq!(
            world.delete(digest.as_str(), later(now, 1)).await,
            Deletion::Immutable("multi".into())
        );
        // One that has ended keeps nothing, and neither does any where the feature is off.
        world
            .sql(&format!(
                "UPDATE tag SET lifetime_end_ms = {} WHERE name = 'multi'",
                now.timestamp_millis()
            ))
            .await;
        assert_eq!(
            world.delete("multi", later(now, 1)).await,
            Deletion::Unknown
        );
        world.sql("UPDATE tag SET immutable = true").await;
        world.features.immutable_tags = ImmutableTags::Ignored;
        assert!(matches!(
            world.put(&two, &["v1"], later(now, 1)).await,
            PutManifestOutcome::Stored { .. }
        ));
        assert_eq!(world.delete("v1", later(now, 2)).await, Deletion::Deleted);
        assert_eq!(
            world
                .delete(two.digest(Algorithm::Sha256).as_str(), later(now, 2))
                .await,
            Deletion::Deleted
        );
    }
}

#[tokio::test]
async fn policies_and_labels_make_new_tags_immutable_where_tags_can_be() {
    for mut world in worlds().await {
        let [one, two] = images(&world).await;
        let labels = Labels::storable(
            [("quay.immutable", "True "), ("quay.expires-after", "1h")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        for (table, columns, values) in [
            (
                "repository",
                "repository_id, namespace_id",
                format!("{}, {}", world.repository.id, world.repository.namespace_id),
            ),
            (
                "namespace",
                "namespace_id",
                world.repository.namespace_id.to_string(),
            ),
        ] {
            let pattern = if table == "repository" {
                "v[0-9]+"
            } else {
                "stable|lts"
            };
            world
                .sql(&format!(
                    "INSERT INTO {table}immutabilitypolicy (uuid, {columns}, policy)
                     VALUES ('{table}', {values}, '{{\"tag_pattern\": \"{pattern}\", \"tag_pattern_matches\": true}}')"
                ))
                .await;
        }
        let immutable = async |world: &World| {
            world
                .texts("SELECT name FROM tag WHERE immutable AND NOT hidden ORDER BY name")
                .await
        };
        world.put(&one, &["v1", "latest"], world.now).await;
        assert_eq!(immutable(&world).await, [""; 0], "the feature is off");

        world.features.immutable_tags = ImmutableTags::Kept;
        world
            .put(&one, &["v2", "lts", "latest", "v2-rc"], world.now)
            .await;
        assert_eq!(immutable(&world).await, ["lts", "v2"]);
        assert_eq!(
            world.put(&two, &["lts"], later(world.now, 1)).await,
            PutManifestOutcome::TagImmutable("lts".parse().unwrap())
        );
        assert_eq!(
            world
                .texts("SELECT l.metadata_json AS name FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id WHERE k.name = 'tag_made_immutable_by_policy' AND l.performer_id IS NULL ORDER BY l.metadata_json")
                .await,
            ["lts", "v2"].map(|tag| format!(r#"{{"repo": "app", "namespace": "acme", "tag": "{tag}", "immutable": true}}"#))
        );

        for (tag, mode, ends) in [
            ("kept", ImmutableTags::Kept, false),
            ("until", ImmutableTags::KeptUntilTheyExpire, true),
            ("ignored", ImmutableTags::Ignored, true),
        ] {
            world.features.immutable_tags = mode;
            world
                .put_labelled(&two, PushedLabels::Read(&labels), &[tag], world.now)
                .await;
            let expected = format!("{} {ends}", mode != ImmutableTags::Ignored);
            assert_eq!(
                world
                    .texts(&format!(
                        "SELECT CASE WHEN immutable THEN 'true' ELSE 'false' END || ' ' ||
                                CASE WHEN lifetime_end_ms IS NULL THEN 'false' ELSE 'true' END AS name
                         FROM tag WHERE name = '{tag}'"
                    ))
                    .await,
                [expected],
                "{tag}"
            );
        }
    }
}

#[tokio::test]
async fn several_moves_within_a_millisecond_end_at_different_times_whatever_lies_ahead() {
    for world in worlds().await {
        let [one, two] = images(&world).await;
        // A row of the same name that ends in a year, as two Quays can leave it.
        let year = later(world.now, 31_536_000).timestamp_millis();
        world.put(&one, &["latest"], world.now).await;
        world
            .sql(&format!(
                "UPDATE tag SET lifetime_end_ms = {year} WHERE name = 'latest'"
            ))
            .await;
        world
            .sql(&format!(
                "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, tag_kind_id)
                 SELECT name, repository_id, manifest_id, lifetime_start_ms, tag_kind_id FROM tag WHERE lifetime_end_ms = {year}"
            ))
            .await;
        for _ in 0..3 {
            world.put(&two, &["latest"], world.now).await;
            world.put(&one, &["latest"], world.now).await;
        }
        let ends = world
            .texts(&format!(
                "SELECT COALESCE(CAST(lifetime_end_ms - {} AS varchar), 'live') AS name FROM tag WHERE lifetime_end_ms IS NULL OR lifetime_end_ms < {year} ORDER BY id",
                world.now.timestamp_millis()
            ))
            .await;
        assert_eq!(ends, ["0", "1", "2", "3", "4", "5", "live"]);
    }
}

/// The first eight bytes of the SHA-256 of `retarget_tag:1`, as a signed number with the highest byte first: Quay's lock for repository 1.
const QUAYS_LOCK: i64 = 6_389_721_433_979_953_103;

#[tokio::test]
async fn a_tag_waits_while_quay_moves_tags_of_the_repository() {
    let world = World::on_postgres().await;
    let [one, _] = images(&world).await;
    assert_eq!(world.repository.id, RepositoryId(1));
    let quay = world
        .database
        .begin("move a tag as Quay does")
        .await
        .unwrap();
    quay.execute(
        "move a tag as Quay does",
        "SELECT pg_advisory_xact_lock($1)",
        params![QUAYS_LOCK],
    )
    .await
    .unwrap();
    let waiting = async || {
        world
            .texts("SELECT CAST(count(*) AS varchar) AS name FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
            .await
    };
    let push = world.put(&one, &["v1"], world.now);
    let quays_move = async {
        while waiting().await != ["1"] {}
        let tags = world
            .database
            .list_tags(world.repository.id, None, 10, world.now);
        assert!(tags.await.unwrap().is_empty());
        quay.commit().await.unwrap();
    };
    let (pushed, ()) = tokio::join!(push, quays_move);
    assert!(matches!(pushed, PutManifestOutcome::Stored { .. }));
}
