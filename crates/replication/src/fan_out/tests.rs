//! What is read once and where, what takes over when a source fails in the middle, and how a copy goes on where another process ended.

mod buckets;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use roadstead_oci::{Algorithm, Digest};
use roadstead_runtime::{SeededIds, SystemClock};
use roadstead_storage::faults::Faults;
use roadstead_storage::{LocalOptions, Operation, StorageErrorKind};
use tempfile::TempDir;

use super::*;

const SEED: u64 = 17;

/// Two locations that hold a blob, and two that lack it; chunks of 16 bytes.
struct World {
    directory: TempDir,
    locations: Vec<(Location, Faults)>,
    ids: SeededIds,
    blob: BlobContent,
    content: Vec<u8>,
}

const SOURCES: [usize; 2] = [0, 1];
const TARGETS: [usize; 2] = [2, 3];

impl World {
    fn new() -> Self {
        println!("seed {SEED}");
        let directory = TempDir::new().unwrap();
        let content: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
        let blob = BlobContent {
            digest: Digest::of(Algorithm::Sha256, &content),
            size: content.len() as u64,
        };
        let locations = ["us", "eu", "ap", "sa"]
            .into_iter()
            .map(|name| {
                let root = directory.path().join(name);
                fs::create_dir(&root).unwrap();
                let faults = Faults::new(Arc::new(SystemClock));
                let options = LocalOptions {
                    read_chunk_bytes: 16,
                    write_chunk_bytes: 16,
                    ..LocalOptions::default()
                };
                let name = LocationName::new(name).unwrap();
                let location = Location::local_with_faults(name, root, options, &faults).unwrap();
                (location, faults)
            })
            .collect();
        let world = Self {
            directory,
            locations,
            ids: SeededIds::new(SEED),
            blob,
            content,
        };
        for source in SOURCES {
            world.put(source, &world.content);
        }
        world
    }

    fn object(&self, location: usize) -> PathBuf {
        let name = self.locations[location].0.name().as_str();
        self.directory
            .path()
            .join(name)
            .join(self.blob.key().path())
    }

    fn put(&self, location: usize, content: &[u8]) {
        let object = self.object(location);
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(object, content).unwrap();
    }

    fn faults(&self, location: usize) -> &Faults {
        &self.locations[location].1
    }

    fn fan_out<'a>(&'a self, attend: &'a dyn Attend) -> FanOut<'a> {
        FanOut {
            blob: &self.blob,
            sources: SOURCES.map(|source| &self.locations[source].0).into(),
            targets: TARGETS
                .map(|target| (&self.locations[target].0, None))
                .into(),
            digester: None,
            ids: &self.ids,
            attend,
        }
    }

    fn staged_files(&self) -> usize {
        TARGETS
            .iter()
            .map(|target| {
                let uploads = self.locations[*target].0.root().unwrap().join("uploads");
                fs::read_dir(uploads).map_or(0, Iterator::count)
            })
            .sum()
    }
}

/// Notes which bytes came from where, and may write down or stop.
#[derive(Default)]
struct Notes {
    bytes: Mutex<Vec<(LocationName, usize)>>,
    stop_after: Option<usize>,
}

impl Notes {
    fn from(&self, source: &str) -> usize {
        let bytes = self.bytes.lock().unwrap();
        bytes
            .iter()
            .filter(|(from, _)| from.as_str() == source)
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

#[async_trait::async_trait]
impl Attend for Notes {
    async fn before(
        &self,
        source: &LocationName,
        _: &[&LocationName],
        bytes: usize,
    ) -> Result<(), CopyError> {
        let mut noted = self.bytes.lock().unwrap();
        let sum: usize = noted.iter().map(|(_, bytes)| bytes).sum();
        if self.stop_after.is_some_and(|after| sum + bytes > after) {
            return Err(CopyError::Paused);
        }
        noted.push((source.clone(), bytes));
        Ok(())
    }

    async fn safe(&self, _: &[(LocationName, Uuid, Staged)], _: &DigestState) -> bool {
        true
    }
}

async fn publish(fanned: FannedOut<'_>) -> Vec<Result<(), CopyError>> {
    join_all(
        fanned
            .arms
            .unwrap()
            .into_iter()
            .map(|staged| async { staged?.publish().await }),
    )
    .await
}

#[tokio::test]
async fn every_byte_is_read_once_however_many_locations_it_goes_to() {
    let world = World::new();
    let notes = Notes::default();
    let fanned = world.fan_out(&notes).run(&Shutdown::default()).await;
    assert!(fanned.failures.is_empty());
    for published in publish(fanned).await {
        published.unwrap();
    }
    assert_eq!(
        (notes.from("us"), notes.from("eu")),
        (world.content.len(), 0)
    );
    for target in TARGETS {
        assert_eq!(fs::read(world.object(target)).unwrap(), world.content);
    }
}

#[tokio::test]
async fn a_target_that_fails_fails_alone() {
    let world = World::new();
    world.faults(2).fill_after(100);
    let fanned = world.fan_out(&Unattended).run(&Shutdown::default()).await;
    let published = publish(fanned).await;
    assert!(
        matches!(published[0], Err(CopyError::TargetFull(_))),
        "{published:?}"
    );
    assert!(published[1].is_ok());
    assert!(!world.object(2).exists());
    assert_eq!(fs::read(world.object(3)).unwrap(), world.content);
    assert_eq!(world.staged_files(), 0);
}

#[tokio::test]
async fn another_source_goes_on_at_the_byte_where_one_failed() {
    let world = World::new();
    let notes = Notes::default();
    world
        .faults(0)
        .fail_reads_at(1600, StorageErrorKind::Unavailable);
    let fanned = world.fan_out(&notes).run(&Shutdown::default()).await;
    assert_eq!(fanned.failures.len(), 1);
    assert!(!fanned.failures[0].1.disproves_source());
    for published in publish(fanned).await {
        published.unwrap();
    }
    assert_eq!(notes.from("us") + notes.from("eu"), world.content.len());
    assert!(notes.from("eu") > 2000, "{}", notes.from("eu"));
    for target in TARGETS {
        assert_eq!(fs::read(world.object(target)).unwrap(), world.content);
    }
}

#[tokio::test]
async fn bytes_that_are_wrong_are_read_anew_from_another_source() {
    let world = World::new();
    let mut damaged = world.content.clone();
    damaged[2222] ^= 1;
    world.put(0, &damaged);
    let fanned = world.fan_out(&Unattended).run(&Shutdown::default()).await;
    assert!(
        matches!(&fanned.failures[..], [(source, CopyError::SourceDamaged { .. })] if source.as_str() == "us"),
        "{:?}",
        fanned.failures
    );
    for published in publish(fanned).await {
        published.unwrap();
    }
    for target in TARGETS {
        assert_eq!(fs::read(world.object(target)).unwrap(), world.content);
    }
}

#[tokio::test]
async fn without_a_source_that_can_be_read_nothing_is_left_at_the_targets() {
    let world = World::new();
    world.faults(0).take_down();
    fs::remove_file(world.object(1)).unwrap();
    let fanned = world.fan_out(&Unattended).run(&Shutdown::default()).await;
    assert!(matches!(fanned.arms, Err(Ended::NoSource)));
    assert_eq!(fanned.failures.len(), 2);
    assert_eq!(world.staged_files(), 0);
}

#[tokio::test]
async fn a_pause_in_the_middle_stops_the_copy_and_leaves_nothing_that_is_not_written_down() {
    let world = World::new();
    let notes = Notes {
        stop_after: Some(1000),
        ..Notes::default()
    };
    let fanned = world.fan_out(&notes).run(&Shutdown::default()).await;
    assert!(matches!(
        fanned.arms,
        Err(Ended::Stopped(CopyError::Paused))
    ));
    assert_eq!(world.staged_files(), 0);
}

/// Stages the first bytes of the blob as another process would have.
async fn begun(world: &World, target: usize, bytes: usize) -> Begun {
    let location = &world.locations[target].0;
    let upload = world.ids.uuid();
    let mut writer = location.stage(upload, &Staged::NOTHING).await.unwrap();
    let first = Bytes::copy_from_slice(&world.content[..bytes]);
    writer.write(first).await.unwrap();
    writer.sync().await.unwrap();
    Begun {
        upload,
        staged: writer.staged(),
    }
}

#[tokio::test]
async fn a_copy_goes_on_where_another_process_ended_and_each_target_gets_what_it_lacks() {
    let world = World::new();
    let notes = Notes::default();
    let mut fan_out = world.fan_out(&notes);
    let mut digester = Digester::new(Algorithm::Sha256);
    digester.update(&world.content[..1000]);
    fan_out.digester = Some(digester);
    fan_out.targets[0].1 = Some(begun(&world, 2, 1000).await);
    fan_out.targets[1].1 = Some(begun(&world, 3, 2500).await);
    let fanned = fan_out.run(&Shutdown::default()).await;
    for published in publish(fanned).await {
        published.unwrap();
    }
    assert_eq!(notes.from("us"), world.content.len() - 1000);
    for target in TARGETS {
        assert_eq!(fs::read(world.object(target)).unwrap(), world.content);
    }
}

#[tokio::test]
async fn what_was_begun_with_wrong_bytes_is_begun_anew() {
    let world = World::new();
    let mut fan_out = world.fan_out(&Unattended);
    let mut digester = Digester::new(Algorithm::Sha256);
    digester.update(&[0; 1000]);
    fan_out.digester = Some(digester);
    for (slot, target) in TARGETS.into_iter().enumerate() {
        fan_out.targets[slot].1 = Some(begun(&world, target, 1000).await);
    }
    let fanned = fan_out.run(&Shutdown::default()).await;
    for published in publish(fanned).await {
        published.unwrap();
    }
    for target in TARGETS {
        assert_eq!(fs::read(world.object(target)).unwrap(), world.content);
    }
    assert_eq!(world.staged_files(), 0);
}

#[tokio::test]
async fn staged_bytes_that_are_gone_fail_their_target_alone() {
    let world = World::new();
    let mut fan_out = world.fan_out(&Unattended);
    let gone = begun(&world, 2, 1000).await;
    world.locations[2].0.discard(gone.upload).await.unwrap();
    fan_out.targets[0].1 = Some(gone);
    let fanned = fan_out.run(&Shutdown::default()).await;
    let published = publish(fanned).await;
    assert!(published[0].is_err());
    assert!(published[1].is_ok(), "{published:?}");
}

#[tokio::test]
async fn the_end_of_the_process_ends_a_copy_whose_target_hangs() {
    let world = World::new();
    let shutdown = Shutdown::default();
    world.faults(3).stall(Operation::Sync);
    let run = world.fan_out(&Unattended).run(&shutdown);
    tokio::pin!(run);
    tokio::select! {
        _ = &mut run => unreachable!("a target hangs"),
        () = world.faults(3).until_stalled(1) => {}
    }
    shutdown.request();
    assert!(matches!(
        run.await.arms,
        Err(Ended::Stopped(CopyError::Interrupted))
    ));
}
