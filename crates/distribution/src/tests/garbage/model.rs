//! A few hundred operations drawn from a seed, with locations that fail and rounds of collection in between. At the end every tag that is live or
//! within its window has all of its bytes, no location holds an object that no placement knows, and no placement lacks its object.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_metadata::{Actor, MountSource};
use roadstead_oci::{Algorithm, Manifest};
use roadstead_runtime::{Ids, SeededIds, Timestamp};

use super::super::world::{image, manifest, name, whole};
use super::*;

const OPERATIONS: u32 = 300;

/// So few that most pushes meet something that is there, or was.
const LAYERS: u64 = 16;
const TAGS: [&str; 4] = ["a", "b", "c", "d"];

/// What a tag pointed to, and since when no longer.
type Lifetime = (Vec<u64>, Option<Timestamp>);

struct Model<'a> {
    world: &'a World,
    chance: SeededIds,
    /// The history of each repository's tags, as it should be.
    tags: BTreeMap<(usize, &'static str), Vec<Lifetime>>,
    collected: u64,
    pushes: u64,
}

fn layer(number: u64) -> Vec<u8> {
    content(1_000 + number, 1_500)
}

fn image_of(layers: &[u64]) -> Manifest {
    let layers: Vec<Vec<u8>> = layers.iter().map(|number| layer(*number)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    manifest(&image(&layers, ""))
}

impl Model<'_> {
    fn draw(&self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.chance.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    }

    fn repository(&self, number: usize) -> &Repository {
        [&self.world.repository, &self.world.other][number]
    }

    fn tag(&self) -> (usize, &'static str) {
        let repository = usize::try_from(self.draw(2)).unwrap();
        let tag = usize::try_from(self.draw(TAGS.len() as u64)).unwrap();
        (repository, TAGS[tag])
    }

    /// False when the client has to try again later.
    async fn push_blob(&self, repository: usize, blob: &[u8]) -> bool {
        let uploads = self.world.registry.uploads();
        let pushed = uploads
            .monolithic(
                self.repository(repository),
                &sha256(blob),
                None,
                whole(blob),
            )
            .await;
        match pushed {
            Ok(_) => true,
            Err(PushError::ObjectBusy { .. }) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn push_image(&mut self) {
        let (repository, tag) = self.tag();
        let mut layers: Vec<u64> = (0..=self.draw(2)).map(|_| self.draw(LAYERS)).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut blobs = vec![b"{}".to_vec()];
        blobs.extend(layers.iter().map(|number| layer(*number)));
        for blob in blobs {
            if !self.push_blob(repository, &blob).await {
                return;
            }
        }
        self.world
            .registry
            .manifests()
            .put(
                self.repository(repository),
                &Reference::Tag(tag.parse().unwrap()),
                &[],
                &image_of(&layers),
                &Actor::default(),
            )
            .await
            .unwrap();
        self.pushes += 1;
        let now = self.world.clock.now();
        let history = self.tags.entry((repository, tag)).or_default();
        match history.last_mut() {
            Some((held, None)) if *held == layers => return,
            Some((_, end @ None)) => *end = Some(now),
            _ => {}
        }
        history.push((layers, None));
    }

    async fn delete_tag(&mut self) {
        let (repository, tag) = self.tag();
        let now = self.world.clock.now();
        let history = self.tags.entry((repository, tag)).or_default();
        if let Some((_, end @ None)) = history.last_mut() {
            *end = Some(now);
            self.world.delete(self.repository(repository), tag).await;
        }
    }

    async fn mount(&self) {
        let digest = sha256(&layer(self.draw(LAYERS)));
        let uploads = self.world.registry.uploads();
        uploads
            .mount(&self.world.other, &digest, MountSource::Any)
            .await
            .unwrap();
    }

    /// Copies a blob from one location to the other, as the replication does. Now and then the process dies before it records the copy.
    async fn replicate(&self) {
        let digest = sha256(&layer(self.draw(LAYERS)));
        let (database, now) = (&self.world.database, self.world.clock.now());
        let found = database.find_blob_anywhere(&digest).await.unwrap();
        let Some(blob) = found.filter(|blob| blob.present.len() == 1) else {
            return;
        };
        // A location that fails in a collection is passed over by pushes.
        let (source, target) = if blob.present.contains(&name("us")) {
            ("us", "eu")
        } else {
            ("eu", "us")
        };
        let publishing = database
            .begin_publication(&digest, &name(target), now + Duration::from_hours(1), now)
            .await
            .unwrap();
        let Publishing::Begun(publication) = publishing else {
            return;
        };
        let key = ObjectKey::Blob(digest);
        let target = self.world.file(target, &key);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(self.world.file(source, &key), target).unwrap();
        if self.draw(5) > 0 {
            database
                .record_copy(blob.storage, &publication, now)
                .await
                .unwrap();
        }
    }

    fn trouble(&self) {
        let faults = if self.draw(2) == 0 {
            &self.world.us
        } else {
            &self.world.eu
        };
        match self.draw(4) {
            0 => faults.fail_next(Operation::Delete, 1, StorageErrorKind::Timeout),
            1 => faults.fail_always(Operation::Delete, StorageErrorKind::Unavailable),
            _ => faults.heal(),
        }
    }

    async fn act(&mut self) {
        match self.draw(12) {
            0..=2 => self.push_image().await,
            3..=5 => self.delete_tag().await,
            6 => self.mount().await,
            7 => self.replicate().await,
            8 => self
                .world
                .clock
                .advance(Duration::from_hours(self.draw(300))),
            9 => self.trouble(),
            _ => {
                let round = self.world.collector().run_once().await.unwrap();
                self.collected += round.removed.blobs;
            }
        }
    }

    /// Every tag that is live or within its window has its manifest, and every blob of it an object wherever it has a placement.
    async fn check(&self) {
        let (database, now) = (&self.world.database, self.world.clock.now());
        let wanted = |end: Option<Timestamp>| end.is_none_or(|end| end + WINDOW > now);
        for ((repository, tag), history) in &self.tags {
            for (layers, _) in history.iter().filter(|(_, end)| wanted(*end)) {
                let pushed = image_of(layers);
                let digest = pushed.digest(Algorithm::Sha256);
                let repository = self.repository(*repository).id;
                assert!(
                    database.knows_manifest(repository, &digest).await.unwrap(),
                    "{tag} of repository {repository} has no manifest"
                );
                for blob in pushed.blobs() {
                    let found = database.find_blob_anywhere(&blob.digest).await.unwrap();
                    let present = found.unwrap().present;
                    assert!(!present.is_empty());
                    for location in present {
                        assert!(
                            self.world.has_object(location.as_str(), &blob.digest),
                            "{} is not at {location}",
                            blob.digest
                        );
                    }
                }
            }
        }
    }

    /// What lies in the locations is what the placements say, no more and no less.
    async fn check_stores(&self) {
        for location in ["us", "eu"] {
            let mut placed = BTreeSet::new();
            for blob in (0..LAYERS).map(layer).chain([b"{}".to_vec()]) {
                let digest = sha256(&blob);
                let found = self
                    .world
                    .database
                    .find_blob_anywhere(&digest)
                    .await
                    .unwrap();
                if found.is_some_and(|blob| blob.present.contains(&name(location))) {
                    placed.insert(digest.hex().to_owned());
                }
            }
            let objects: BTreeSet<String> = self.world.object_names(location).into_iter().collect();
            assert_eq!(objects, placed, "{location}");
        }
    }

    async fn settle(&self) {
        self.world.us.heal();
        self.world.eu.heal();
        for _ in 0..3 {
            self.world.clock.advance(Duration::from_hours(2));
            self.world.collect().await;
        }
    }
}

#[tokio::test]
async fn whatever_is_pushed_moved_deleted_and_collected_what_is_wanted_stays_and_nothing_else() {
    for seed in [21, 22, 23] {
        println!("seed {seed}");
        let world = World::with(|options| options.deletion_wait = Duration::ZERO).await;
        let mut model = Model {
            world: &world,
            chance: SeededIds::new(seed),
            tags: BTreeMap::new(),
            collected: 0,
            pushes: 0,
        };
        for _ in 0..OPERATIONS {
            model.act().await;
            model.check().await;
        }
        println!(
            "{} pushes, {} blobs collected",
            model.pushes, model.collected
        );
        assert!(model.pushes > 0 && model.collected > 0);
        model.settle().await;
        model.check().await;
        model.check_stores().await;
        for ((repository, tag), history) in &model.tags {
            if history.last().is_some_and(|(_, end)| end.is_none()) {
                world.delete(model.repository(*repository), tag).await;
            }
        }
        world.clock.advance(WINDOW);
        model.settle().await;
        assert_eq!((world.objects("us"), world.objects("eu")), (0, 0));
        assert!(world.collector().report().await.unwrap().waiting.is_empty());
    }
}
