//! Labels, and what they do to tags.

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::storable(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

/// Each row of the tag `latest`: when it began and when it ends, in seconds after the world's beginning.
async fn latest(world: &World) -> Vec<String> {
    world
        .texts(&format!(
            "SELECT CAST((lifetime_start_ms - {0}) / 1000 AS varchar) || '-' ||
                    COALESCE(CAST((lifetime_end_ms - {0}) / 1000 AS varchar), '') AS name
             FROM tag WHERE name = 'latest' ORDER BY id",
            world.now.timestamp_millis()
        ))
        .await
}

#[tokio::test]
async fn labels_are_written_once_with_their_types_however_often_the_manifest_is_pushed() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let manifest = image(&[]);
        assert_eq!(
            world
                .put_labelled(&manifest, PushedLabels::NotRead, &["v1"], world.now)
                .await,
            PutManifestOutcome::LabelsNeeded,
            "a manifest that is new is not stored before its labels were looked for"
        );
        assert!(
            !world
                .database
                .knows_manifest(world.repository.id, &manifest.digest(Algorithm::Sha256))
                .await
                .unwrap()
        );
        let labels = labels(&[
            ("maintainer", "acme \"ö\" 𝄞"),
            ("json", "{\"a\": [1]}"),
            ("empty", ""),
        ]);
        world
            .put_labelled(&manifest, PushedLabels::Read(&labels), &["v1"], world.now)
            .await;
        let again = [
            PushedLabels::NotRead,
            PushedLabels::Read(&labels),
            PushedLabels::Unreadable,
        ];
        for labels in again {
            let outcome = world
                .put_labelled(&manifest, labels, &["v2"], world.now)
                .await;
            assert!(matches!(
                outcome,
                PutManifestOutcome::Stored { created: false, .. }
            ));
        }
        assert_eq!(
            world
                .texts(
                    "SELECT l.key || '=' || l.value || ' ' || m.name || ' ' || s.name AS name
                     FROM label l JOIN manifestlabel ml ON ml.label_id = l.id
                     JOIN mediatype m ON m.id = l.media_type_id JOIN labelsourcetype s ON s.id = l.source_type_id
                     ORDER BY l.key"
                )
                .await,
            [
                "empty= text/plain manifest",
                "json={\"a\": [1]} application/json manifest",
                "maintainer=acme \"ö\" 𝄞 text/plain manifest",
            ]
        );
    }
}

#[tokio::test]
async fn a_tag_ends_so_long_after_each_push_as_the_label_says() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        world.blob("one", &us()).await;
        let (ending, lasting) = (image(&["one"]), image(&[]));
        let hour = labels(&[("quay.expires-after", "1h")]);
        let push = async |manifest: &Manifest, labels: &Labels, seconds| {
            world
                .put_labelled(
                    manifest,
                    PushedLabels::Read(labels),
                    &["latest"],
                    later(world.now, seconds),
                )
                .await;
        };
        push(&ending, &hour, 0).await;
        assert_eq!(latest(&world).await, ["0-3600"]);
        push(&ending, &hour, 100).await;
        assert_eq!(
            latest(&world).await,
            ["0-100", "100-3700"],
            "pushing again puts the end off"
        );
        let find = async |seconds| {
            world
                .database
                .find_manifest(
                    world.repository.id,
                    &"latest".parse().unwrap(),
                    later(world.now, seconds),
                )
                .await
                .unwrap()
        };
        assert!(matches!(find(3699).await, ManifestLookup::Found(_)));
        assert!(matches!(find(3700).await, ManifestLookup::TagExpired));
        assert_eq!(
            world
                .database
                .list_tags(world.repository.id, None, 10, later(world.now, 3700))
                .await
                .unwrap(),
            [""; 0]
        );
        push(&lasting, &Labels::default(), 200).await;
        assert_eq!(latest(&world).await, ["0-100", "100-200", "200-"]);
        push(&lasting, &Labels::default(), 300).await;
        assert_eq!(latest(&world).await.len(), 3, "nothing has changed");
        // Quay's API gave it an end; a push of the same takes that back, as in Quay.
        world
            .sql("UPDATE tag SET lifetime_end_ms = lifetime_start_ms + 9000000 WHERE name = 'latest' AND lifetime_end_ms IS NULL")
            .await;
        push(&lasting, &Labels::default(), 400).await;
        assert_eq!(latest(&world).await[2..], ["200-400", "400-"]);
        push(&ending, &hour, 5000).await;
        assert_eq!(latest(&world).await[3..], ["400-5000", "5000-8600"]);
    }
}

#[tokio::test]
async fn a_label_that_says_no_duration_ends_no_tag() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        for (number, value) in [
            "",
            "soon",
            "-1h",
            "0h",
            "1.5h",
            "99999999999999999999y",
            "1000y",
        ]
        .into_iter()
        .enumerate()
        {
            let layer = format!("layer {number}");
            world.blob(&layer, &us()).await;
            let labels = labels(&[("quay.expires-after", value)]);
            let tag = format!("t{number}");
            world
                .put_labelled(
                    &image(&[&layer]),
                    PushedLabels::Read(&labels),
                    &[&tag],
                    world.now,
                )
                .await;
        }
        assert_eq!(
            world
                .texts("SELECT name FROM tag WHERE lifetime_end_ms IS NOT NULL")
                .await,
            [""; 0]
        );
    }
}

#[tokio::test]
async fn an_index_ends_when_all_of_its_manifests_say_the_same() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let mut images = Vec::new();
        for (layer, duration) in [("one", "1h"), ("two", "1h"), ("three", "2h"), ("four", "")] {
            world.blob(layer, &us()).await;
            let manifest = image(&[layer]);
            let labels = labels(&[("quay.expires-after", duration)]);
            world
                .put_labelled(&manifest, PushedLabels::Read(&labels), &[], world.now)
                .await;
            images.push(manifest);
        }
        let [one, two, three, four] = images.as_slice() else {
            panic!("there are four");
        };
        for (tag, children, ends) in [
            ("same", vec![one, two], true),
            ("different", vec![one, three], false),
            ("partly", vec![one, four], false),
            ("single", vec![three], true),
            ("twice", vec![one, two, one], true),
        ] {
            let list = index(&children);
            for seconds in [0, 10] {
                world.put(&list, &[tag], later(world.now, seconds)).await;
            }
            let found = world
                .texts(&format!(
                    "SELECT CASE WHEN lifetime_end_ms IS NULL THEN 'lasts' ELSE 'ends' END AS name FROM tag
                     WHERE name = '{tag}' ORDER BY id DESC LIMIT 1"
                ))
                .await;
            assert_eq!(found, [if ends { "ends" } else { "lasts" }], "{tag}");
        }
    }
}

#[tokio::test]
async fn labels_that_are_owed_come_later_and_do_what_they_would_have_done() {
    for mut world in worlds().await {
        world.features.immutable_tags = ImmutableTags::Kept;
        world.blob("{}", &us()).await;
        let manifest = image(&[]);
        world
            .put_labelled(
                &manifest,
                PushedLabels::Unreadable,
                &["latest", "v1"],
                world.now,
            )
            .await;
        let database = &world.database;
        let owed = database.owed_labels(world.now, 10).await.unwrap();
        let [owed] = owed.as_slice() else {
            panic!("one is owed: {owed:?}");
        };
        assert_eq!(&owed.bytes, manifest.bytes());
        database
            .put_off_labels(owed, later(world.now, 60))
            .await
            .unwrap();
        assert!(
            database
                .owed_labels(later(world.now, 59), 10)
                .await
                .unwrap()
                .is_empty()
        );
        let due = later(world.now, 60);
        assert_eq!(database.owed_labels(due, 10).await.unwrap()[0].attempts, 1);
        // One of the tags was made immutable meanwhile.
        world
            .sql("UPDATE tag SET immutable = true WHERE name = 'v1'")
            .await;
        let labels = labels(&[("quay.expires-after", "1h"), ("a", "b")]);
        let pay = async || {
            database
                .pay_labels(owed, &labels, world.features, &world.ids)
                .await
                .unwrap()
        };
        assert!(pay().await);
        assert!(!pay().await, "another was first");
        assert_eq!(latest(&world).await, ["0-3600"]);
        assert_eq!(
            world
                .texts("SELECT name FROM tag WHERE lifetime_end_ms IS NULL")
                .await,
            ["v1"]
        );
        assert_eq!(
            world
                .texts("SELECT key AS name FROM label ORDER BY key")
                .await,
            ["a", "quay.expires-after"]
        );
        assert!(database.owed_labels(due, 10).await.unwrap().is_empty());
        world
            .sql("INSERT INTO roadstead_owed_labels (manifest_id, due, attempts) VALUES (99, '2020-01-01 00:00:00', 0)")
            .await;
        assert!(database.owed_labels(due, 10).await.unwrap().is_empty());
        assert_eq!(
            world
                .texts("SELECT CAST(count(*) AS varchar) AS name FROM roadstead_owed_labels")
                .await,
            ["0"],
            "manifests that are gone are owed nothing"
        );
    }
}
