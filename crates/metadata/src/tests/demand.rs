//! What must be where: SQL and the pure definition say the same, and rules are kept as they were set.

use std::collections::BTreeMap;

use roadstead_placement::{Desired, Holder, PlacementRule, PlacementRules, RuleScope, TagPattern};

use super::*;
use crate::demand::{Extent, RulesInForce, demanded};
use crate::locations::json_locations;
use crate::row::FromRow;

fn location(name: &str) -> LocationName {
    LocationName::new(name).unwrap()
}

fn named(names: &str) -> BTreeSet<LocationName> {
    names.split_whitespace().map(location).collect()
}

fn rule(namespace: UserId, repository: Option<&Repository>, locations: &str) -> PlacementRule {
    PlacementRule {
        scope: RuleScope {
            namespace: namespace.0,
            repository: repository.map(|repository| repository.id.0),
            tags: None,
        },
        locations: named(locations),
        copies: 0,
        only: false,
    }
}

fn for_tags(pattern: &str, of: PlacementRule) -> PlacementRule {
    PlacementRule {
        scope: RuleScope {
            tags: Some(TagPattern::new(pattern).unwrap()),
            ..of.scope
        },
        ..of
    }
}

fn confined(of: PlacementRule) -> PlacementRule {
    PlacementRule { only: true, ..of }
}

#[derive(Debug, FromRow)]
struct RequiredRow {
    storage_id: i32,
    location: String,
}

/// What the statements require of an extent, whose parameter, if it has one, is `$3`.
async fn required(
    world: &World,
    demand: Demand<'_>,
    extent: Extent<'_>,
    parameter: Option<i32>,
) -> BTreeMap<i32, BTreeSet<LocationName>> {
    let reader = world.database.reader();
    let rules = RulesInForce::load(reader, demand).await.unwrap();
    let mut values = params![
        json_locations(demand.defaults),
        json_locations(demand.configured)
    ];
    values.extend(parameter.map(sea_orm::Value::from));
    let rows: Vec<RequiredRow> = reader
        .rows(
            "look into a test",
            &format!(
                "{} SELECT r.storage_id, o.name AS location FROM required r JOIN open o ON o.id = r.location_id",
                demanded(&rules, "$1", "$2", extent)
            ),
            values,
        )
        .await
        .unwrap();
    let mut required: BTreeMap<i32, BTreeSet<LocationName>> = BTreeMap::new();
    for row in rows {
        let added = required
            .entry(row.storage_id)
            .or_default()
            .insert(location(&row.location));
        assert!(added, "each location once");
    }
    required
}

/// Chance from a seed.
struct Chance(SeededIds);

impl Chance {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 2];
        self.0.fill(&mut bytes);
        usize::from(u16::from_le_bytes(bytes)) % bound
    }

    fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn some<T: Clone + Ord>(&self, of: &[T]) -> BTreeSet<T> {
        of.iter().filter(|_| self.once_in(2)).cloned().collect()
    }
}

/// A manifest of the model: its row, its repository, the blobs that it names, what is below it, and the tags that it has or had.
struct Drawn {
    id: i32,
    repository: usize,
    blobs: BTreeSet<i32>,
    below: BTreeSet<usize>,
    tags: BTreeSet<&'static str>,
}

/// The tags of a manifest and of every index above it.
fn tags_of(manifests: &[Drawn], at: usize) -> BTreeSet<&'static str> {
    let mut tags = manifests[at].tags.clone();
    for (above, manifest) in manifests.iter().enumerate() {
        if manifest.below.contains(&at) {
            tags.extend(tags_of(manifests, above));
        }
    }
    tags
}

fn and_below(manifests: &[Drawn], at: usize) -> BTreeSet<usize> {
    let mut all = BTreeSet::from([at]);
    for below in &manifests[at].below {
        all.extend(and_below(manifests, *below));
    }
    all
}

#[expect(
    clippy::too_many_lines,
    reason = "one model, drawn, written and compared"
)]
async fn compare(world: &World, seed: u64) {
    println!("seed {seed}");
    let chance = Chance(SeededIds::new(seed));
    let all = ["usstorage", "eustorage", "ap", "closed", "elsewhere"].map(location);
    let configured: BTreeSet<_> = all[..4].iter().cloned().collect();
    let usable = &all[..3];
    let defaults = chance.some(&all[..4]);
    for table in [
        "manifestchild",
        "manifestblob",
        "tag",
        "manifest",
        "uploadedblob",
        "userregion",
        "roadstead_placement_rule_location",
        "roadstead_placement_rule",
    ] {
        world.sql(&format!("DELETE FROM {table}")).await;
    }
    let mut repositories = Vec::new();
    for name in ["app", "lib", "tool"] {
        repositories.push(world.repository(name).await);
    }
    let path = RepositoryPath {
        namespace: "other".into(),
        name: "app".into(),
    };
    let new = NewRepository {
        path: &path,
        creator: world.creator,
        private: true,
        create_namespace: true,
        tag_window: crate::TAG_WINDOW,
        ids: &world.ids,
        now: world.now,
    };
    match world.database.ensure_repository(&new).await.unwrap() {
        Ensured::Found(repository) | Ensured::Created(repository) => repositories.push(repository),
        Ensured::NoNamespace => panic!("it is made"),
    }
    let mut blobs = Vec::new();
    for content in ["a", "b", "c", "d", "e"] {
        let blob = world
            .blob_in(&repositories[chance.below(4)], content, &us())
            .await;
        if chance.once_in(2) {
            world
                .sql(&format!(
                    "DELETE FROM uploadedblob WHERE blob_id = {}",
                    blob.storage
                ))
                .await;
        }
        blobs.push(blob.storage.0);
    }
    let mut regions = BTreeMap::new();
    for repository in [&repositories[0], &repositories[3]] {
        let of_namespace = chance.some(&all);
        world
            .database
            .set_namespace_regions(repository.namespace_id, &of_namespace)
            .await
            .unwrap();
        regions.insert(repository.namespace_id.0, of_namespace);
    }
    let mut rules = Vec::new();
    for of in &repositories {
        for repository in [None, Some(of)] {
            for pattern in [
                None,
                Some("v*"),
                Some("v?"),
                Some("h?"),
                Some("*"),
                Some("l_test*"),
            ] {
                if !chance.once_in(4) {
                    continue;
                }
                let mut drawn = rule(of.namespace_id, repository, "");
                drawn.locations = chance.some(&all);
                drawn.copies = u32::try_from(chance.below(4)).unwrap();
                drawn.only = pattern.is_none() && chance.once_in(2);
                if let Some(pattern) = pattern {
                    drawn = for_tags(pattern, drawn);
                }
                if drawn.check().is_ok() {
                    world.database.set_placement_rule(&drawn).await.unwrap();
                    rules.retain(|other: &PlacementRule| other.scope != drawn.scope);
                    rules.push(drawn);
                }
            }
        }
    }
    let mut manifests: Vec<Drawn> = Vec::new();
    for number in 0..6 {
        let repository = chance.below(4);
        let id: Vec<String> = world
            .texts(&format!(
                "SELECT CAST(max(id) AS varchar) AS name FROM manifest WHERE repository_id = {}",
                insert_manifest(world, &repositories[repository], seed, number).await
            ))
            .await;
        let below: BTreeSet<usize> = (0..manifests.len())
            .filter(|below| manifests[*below].repository == repository && chance.once_in(3))
            .collect();
        manifests.push(Drawn {
            id: id[0].parse().unwrap(),
            repository,
            blobs: chance.some(&blobs),
            below,
            tags: chance.some(&["v1", "v12", "latest", "l_test"]),
        });
        let drawn = &manifests[number];
        let repository = repositories[repository].id;
        for blob in &drawn.blobs {
            world
                .sql(&format!(
                    "INSERT INTO manifestblob (repository_id, manifest_id, blob_id) VALUES ({repository}, {}, {blob})",
                    drawn.id
                ))
                .await;
        }
        for below in &drawn.below {
            world
                .sql(&format!(
                    "INSERT INTO manifestchild (repository_id, manifest_id, child_manifest_id) VALUES ({repository}, {}, {})",
                    drawn.id, manifests[*below].id
                ))
                .await;
        }
        for tag in &drawn.tags {
            // It points there, or did.
            world
                .sql(&format!(
                    "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, tag_kind_id)
                     VALUES ('{tag}', {repository}, {}, 1, {}, 1)",
                    drawn.id,
                    2 + number
                ))
                .await;
        }
        if chance.once_in(2) {
            world
                .sql(&format!(
                    "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, hidden, tag_kind_id)
                     VALUES ('h3', {repository}, {}, 1, true, 1)",
                    drawn.id
                ))
                .await;
        }
    }

    let sorted = PlacementRules::new(rules);
    let desired = Desired {
        usable,
        defaults: &defaults,
        regions: &regions,
        rules: &sorted,
    };
    let holder = |at: usize| {
        let repository = &repositories[manifests[at].repository];
        Holder::Manifest {
            namespace: repository.namespace_id.0,
            repository: repository.id.0,
            tags: tags_of(&manifests, at)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    };
    let demand = Demand {
        defaults: &defaults,
        configured: &configured,
    };
    let found = required(world, demand, Extent::ALL, None).await;
    for blob in &blobs {
        let mut holders: Vec<Holder> = (0..manifests.len())
            .filter(|at| manifests[*at].blobs.contains(blob))
            .map(holder)
            .collect();
        for repository in &repositories {
            let uploads = world
                .texts(&format!(
                    "SELECT 'upload' AS name FROM uploadedblob WHERE blob_id = {blob} AND repository_id = {}",
                    repository.id
                ))
                .await;
            holders.extend(uploads.iter().map(|_| Holder::Upload {
                namespace: repository.namespace_id.0,
                repository: repository.id.0,
            }));
        }
        let expected = desired.required(&holders).into_set();
        let of_blob = found.get(blob).cloned().unwrap_or_default();
        assert_eq!(of_blob, expected, "{holders:?} with {sorted:?}");
        let looked_up = world
            .database
            .required_locations(&[StorageId(*blob)], demand)
            .await
            .unwrap()
            .remove(&StorageId(*blob));
        assert_eq!(looked_up.unwrap_or_default(), expected);
    }
    // What an image demands of its own, as a push of it does.
    for (at, drawn) in manifests.iter().enumerate() {
        let image = Extent::Image { manifest: "$3" };
        let found = required(world, demand, image, Some(drawn.id)).await;
        let mut expected: BTreeMap<i32, BTreeSet<LocationName>> = BTreeMap::new();
        let for_tags = sorted
            .as_slice()
            .iter()
            .any(|rule| rule.scope.tags.is_some());
        let extent = if for_tags {
            and_below(&manifests, at)
        } else {
            BTreeSet::from([at])
        };
        for below in extent {
            let asked = desired.required([&holder(below)]).into_set();
            for blob in &manifests[below].blobs {
                expected.entry(*blob).or_default().extend(asked.clone());
            }
        }
        expected.retain(|_, locations| !locations.is_empty());
        assert_eq!(found, expected, "image {at} with {sorted:?}");
    }
}

/// Gives the repository's id.
async fn insert_manifest(
    world: &World,
    repository: &Repository,
    seed: u64,
    number: usize,
) -> RepositoryId {
    world
        .sql(&format!(
            "INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes)
             SELECT {}, 'sha256:{seed}-{number}', id, '{{}}' FROM mediatype LIMIT 1",
            repository.id
        ))
        .await;
    repository.id
}

#[tokio::test]
async fn the_statements_require_what_the_definition_says() {
    for world in worlds().await {
        let more = ["ap", "closed", "elsewhere"].map(location);
        world.database.ensure_locations(&more).await.unwrap();
        let closed = location("closed");
        world
            .database
            .set_location_state(&closed, LocationState::Removing, world.now)
            .await
            .unwrap();
        for seed in 0..20 {
            compare(&world, seed).await;
        }
    }
}

#[tokio::test]
async fn a_push_wants_what_its_rules_demand_and_nothing_where_it_is_confined() {
    for world in worlds().await {
        let ap = location("ap");
        world
            .database
            .ensure_locations(std::slice::from_ref(&ap))
            .await
            .unwrap();
        let configured = BTreeSet::from([us(), eu(), ap.clone()]);
        let push = async |layer: &'static str, tag: &str| {
            for content in ["{}", layer] {
                world.blob(content, &us()).await;
            }
            let manifest = image(&[layer]);
            let outcome = world
                .database
                .put_manifest(&PutManifest {
                    repository: &world.repository,
                    digest: &manifest.digest(Algorithm::Sha256),
                    manifest: &manifest,
                    labels: PushedLabels::NONE,
                    tags: &[tag.parse().unwrap()],
                    untagged_until: world.now,
                    demand: Some(Demand {
                        defaults: &both(),
                        configured: &configured,
                    }),
                    queue: QUEUE,
                    features: Features::default(),
                    actor: &Actor::default(),
                    ids: &world.ids,
                    now: world.now,
                })
                .await
                .unwrap();
            let PutManifestOutcome::Stored { copies, .. } = outcome else {
                panic!("{outcome:?}");
            };
            copies
        };
        let namespace = world.repository.namespace_id;
        let release = for_tags("v*", rule(namespace, Some(&world.repository), "ap"));
        world.database.set_placement_rule(&release).await.unwrap();
        assert_eq!(push("one", "latest").await, 2, "to the defaults");
        assert_eq!(
            push("two", "v1").await,
            3,
            "the layer twice, and the config"
        );
        // A tag more is more that is wanted.
        assert_eq!(push("one", "v2").await, 1);

        let own = confined(rule(namespace, Some(&world.repository), "usstorage"));
        world.database.set_placement_rule(&own).await.unwrap();
        assert_eq!(push("three", "v3").await, 0);
        let demand = Demand {
            defaults: &both(),
            configured: &configured,
        };
        let required = world.database.missing_copies(demand).await.unwrap();
        assert!(required.is_empty(), "{required:?}");
        assert!(
            world
                .database
                .clear_placement_rule(&own.scope)
                .await
                .unwrap()
        );
        let missing = world.database.missing_copies(demand).await.unwrap();
        assert_eq!(missing.len(), 2, "{missing:?}");
    }
}

#[tokio::test]
async fn rules_are_read_back_as_they_were_set_and_go_with_what_they_are_for() {
    for world in worlds().await {
        let namespace = world.repository.namespace_id;
        let rules = [
            confined(rule(namespace, None, "eustorage usstorage")),
            rule(namespace, Some(&world.repository), "gone"),
            for_tags(
                "v?.*",
                PlacementRule {
                    copies: 3,
                    ..rule(namespace, Some(&world.repository), "")
                },
            ),
        ];
        for rule in &rules {
            world.database.set_placement_rule(rule).await.unwrap();
        }
        let read = world
            .database
            .placement_rules(Some(namespace))
            .await
            .unwrap();
        let names: Vec<_> = read
            .iter()
            .map(|named| (named.namespace.as_str(), named.repository.as_deref()))
            .collect();
        assert_eq!(
            names,
            [("acme", None), ("acme", Some("app")), ("acme", Some("app"))]
        );
        assert!(read.iter().map(|named| &named.rule).eq(&rules));

        // The same scope again replaces what was there.
        let again = PlacementRule {
            copies: 2,
            only: false,
            ..rules[0].clone()
        };
        world.database.set_placement_rule(&again).await.unwrap();
        let read = world.database.placement_rules(None).await.unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].rule, again);
        assert!(
            !world
                .database
                .clear_placement_rule(&RuleScope {
                    repository: Some(999),
                    ..rules[0].scope.clone()
                })
                .await
                .unwrap()
        );
        let regions = BTreeSet::from([eu(), location("gone")]);
        for _ in 0..2 {
            world
                .database
                .set_namespace_regions(namespace, &regions)
                .await
                .unwrap();
        }
        assert_eq!(
            world.database.namespace_regions(namespace).await.unwrap(),
            BTreeSet::from([eu()])
        );
        let min = MinLocations {
            locations: 2,
            deadline: Duration::from_mins(1),
        };
        for min in [
            min,
            MinLocations {
                locations: 1,
                ..min
            },
        ] {
            world
                .database
                .set_min_locations(namespace, Some(min))
                .await
                .unwrap();
            assert_eq!(
                world.database.min_locations(namespace).await.unwrap(),
                Some(min)
            );
        }
        let settings = world.database.namespace_settings(None).await.unwrap();
        assert_eq!(settings.len(), 1);
        assert_eq!(settings[0].regions, BTreeSet::from([eu()]));
        assert_eq!(settings[0].min_locations.map(|min| min.locations), Some(1));
        world
            .database
            .set_min_locations(namespace, None)
            .await
            .unwrap();
        assert_eq!(world.database.min_locations(namespace).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_confined_repository_is_written_only_where_it_may_be() {
    for world in worlds().await {
        let limits = async || {
            world
                .database
                .write_limits(&world.repository)
                .await
                .unwrap()
        };
        assert_eq!(limits().await, WriteLimits::default());
        let namespace = world.repository.namespace_id;
        let whole = confined(rule(namespace, None, "eustorage gone"));
        world.database.set_placement_rule(&whole).await.unwrap();
        world
            .database
            .set_location_state(&us(), LocationState::Removing, world.now)
            .await
            .unwrap();
        assert_eq!(
            limits().await,
            WriteLimits {
                closed: BTreeSet::from([us()]),
                allowed: Some(named("eustorage gone")),
            }
        );
        // A rule of its own is more specific, be it for some tags only or not confined.
        let own = rule(namespace, Some(&world.repository), "usstorage");
        let some_tags = for_tags("v*", own.clone());
        world.database.set_placement_rule(&some_tags).await.unwrap();
        assert_eq!(limits().await.allowed, Some(named("eustorage gone")));
        world.database.set_placement_rule(&own).await.unwrap();
        assert_eq!(limits().await.allowed, None);
        let other = world.repository("other").await;
        let of_other = world.database.write_limits(&other).await.unwrap();
        assert_eq!(of_other.allowed, Some(named("eustorage gone")));
    }
}

#[tokio::test]
async fn an_image_is_spread_when_enough_locations_hold_all_that_is_below_it() {
    for world in worlds().await {
        let child = image(&["layer"]);
        let blobs = [
            world.blob("{}", &us()).await,
            world.blob("layer", &us()).await,
        ];
        world.put(&child, &[], world.now).await;
        let list = index(&[&child]);
        world.put(&list, &["many"], world.now).await;
        let digest = list.digest(Algorithm::Sha256);
        let spread = async |locations, configured: &BTreeSet<LocationName>| {
            let spread = world
                .database
                .spread(world.repository.id, &digest, locations, configured);
            let spread = spread.await.unwrap();
            (spread.blobs, spread.short)
        };
        assert_eq!(spread(1, &both()).await, (2, 0));
        assert_eq!(spread(2, &both()).await, (2, 2));
        world.copied(&blobs[0], &eu()).await;
        assert_eq!(spread(2, &both()).await, (2, 1));
        let unspread = world
            .database
            .unspread(world.repository.id, &digest)
            .await
            .unwrap();
        assert_eq!(unspread.len(), 1);
        assert_eq!(
            (
                &unspread[0].location,
                unspread[0].blobs,
                unspread[0].failing
            ),
            (&eu(), 1, 0)
        );
        world.copied(&blobs[1], &eu()).await;
        assert_eq!(spread(2, &both()).await, (2, 0));
        // What nobody can read from, or what is about to go, holds nothing.
        assert_eq!(spread(2, &BTreeSet::from([us()])).await, (2, 2));
        world
            .database
            .set_location_state(&eu(), LocationState::Removing, world.now)
            .await
            .unwrap();
        assert_eq!(spread(2, &both()).await, (2, 2));
    }
}

#[tokio::test]
async fn the_copies_that_a_push_waits_for_come_first_also_those_that_were_wanted_before() {
    for world in worlds().await {
        for content in ["{}", "layer"] {
            world.blob(content, &us()).await;
        }
        let lanes = async || {
            world
                .texts("SELECT CAST(lane AS varchar) AS name FROM roadstead_copy ORDER BY 1")
                .await
        };
        world.put(&image(&["layer"]), &["v1"], world.now).await;
        assert_eq!(lanes().await, ["1", "1"]);
        let min = MinLocations {
            locations: 2,
            deadline: Duration::from_mins(1),
        };
        world
            .database
            .set_min_locations(world.repository.namespace_id, Some(min))
            .await
            .unwrap();
        world.blob("more", &us()).await;
        let pushed = world
            .put(&image(&["layer", "more"]), &["v2"], world.now)
            .await;
        assert_eq!(
            pushed,
            PutManifestOutcome::Stored {
                created: true,
                copies: 1,
                min_locations: Some(min)
            }
        );
        assert_eq!(lanes().await, ["0", "0", "0"]);
    }
}
