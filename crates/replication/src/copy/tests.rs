//! What a copy proves, and what it leaves behind when it fails.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use roadstead_oci::Algorithm;
use roadstead_runtime::{Ids, SeededIds, SystemClock};
use roadstead_storage::faults::Faults;
use roadstead_storage::{LocalOptions, Operation};
use tempfile::TempDir;

use super::*;

const SEED: u64 = 11;

/// Two locations with chunks of 16 bytes, so that small blobs have many.
struct Pair {
    directory: TempDir,
    source: Location,
    target: Location,
    source_faults: Faults,
    target_faults: Faults,
    ids: SeededIds,
}

impl Pair {
    fn new() -> Self {
        println!("seed {SEED}");
        let directory = TempDir::new().unwrap();
        let [(source, source_faults), (target, target_faults)] = ["us", "eu"].map(|name| {
            let root = directory.path().join(name);
            fs::create_dir(&root).unwrap();
            let faults = Faults::new(Arc::new(SystemClock));
            let options = LocalOptions {
                read_chunk_bytes: 16,
                write_chunk_bytes: 16,
                ..LocalOptions::default()
            };
            let name = LocationName::new(name).unwrap();
            (
                Location::local_with_faults(name, root, options, &faults).unwrap(),
                faults,
            )
        });
        Self {
            directory,
            source,
            target,
            source_faults,
            target_faults,
            ids: SeededIds::new(SEED),
        }
    }

    async fn blob(&self, content: &[u8]) -> BlobContent {
        let blob = content_of(content);
        let id = self.ids.uuid();
        let mut writer = self.source.stage(id, &Staged::NOTHING).await.unwrap();
        writer.write(Bytes::copy_from_slice(content)).await.unwrap();
        writer.sync().await.unwrap();
        drop(writer);
        self.source
            .publish(id, &Staged::at(blob.size), &blob.key())
            .await
            .unwrap();
        blob
    }

    async fn copy(&self, blob: &BlobContent) -> Result<(), CopyError> {
        copy_blob(&self.source, &self.target, blob, &self.ids).await
    }

    /// Every file below the target's root.
    fn at_target(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.directory.path().join("eu"));
        files.sort();
        files
    }

    fn object(&self, location: &str, blob: &BlobContent) -> PathBuf {
        self.directory.path().join(location).join(blob.key().path())
    }
}

fn content_of(content: &[u8]) -> BlobContent {
    BlobContent {
        digest: Digest::of(Algorithm::Sha256, content),
        size: content.len() as u64,
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn copies_of_any_size_arrive_with_the_same_bytes_and_nothing_else() {
    for size in [0_usize, 1, 15, 16, 17, 1000] {
        let pair = Pair::new();
        let content: Vec<u8> = (0..size)
            .map(|index| u8::try_from(index % 251).unwrap())
            .collect();
        let blob = pair.blob(&content).await;
        pair.copy(&blob).await.unwrap();
        let object = pair.object("eu", &blob);
        assert_eq!(fs::read(&object).unwrap(), content, "{size} bytes");
        assert_eq!(pair.at_target(), [object], "{size} bytes");
    }
}

#[tokio::test]
async fn a_sha512_blob_is_checked_by_its_own_algorithm() {
    let pair = Pair::new();
    let content = b"sixteen bytes and some more";
    let id = pair.ids.uuid();
    let blob = BlobContent {
        digest: Digest::of(Algorithm::Sha512, content),
        size: content.len() as u64,
    };
    let mut writer = pair.source.stage(id, &Staged::NOTHING).await.unwrap();
    writer.write(Bytes::from_static(content)).await.unwrap();
    writer.sync().await.unwrap();
    drop(writer);
    pair.source
        .publish(id, &Staged::at(blob.size), &blob.key())
        .await
        .unwrap();
    pair.copy(&blob).await.unwrap();
    assert!(holds(&pair.target, &blob).await.unwrap());
}

#[tokio::test]
async fn the_empty_blob_is_made_without_a_source() {
    let pair = Pair::new();
    let blob = content_of(b"");
    let staged = stage_copy(None, &pair.target, &blob, &pair.ids, &Shutdown::default())
        .await
        .unwrap();
    staged.publish().await.unwrap();
    assert_eq!(fs::read(pair.object("eu", &blob)).unwrap(), b"");
}

#[tokio::test]
async fn a_missing_source_is_told_from_one_that_is_down() {
    let pair = Pair::new();
    let blob = content_of(b"never pushed here");
    let missing = pair.copy(&blob).await.unwrap_err();
    assert!(matches!(&missing, CopyError::SourceMissing { location } if location.as_str() == "us"));
    assert!(missing.is_sources() && missing.disproves_source());
    fs::rename(
        pair.directory.path().join("us"),
        pair.directory.path().join("unmounted"),
    )
    .unwrap();
    let down = pair.copy(&blob).await.unwrap_err();
    assert!(matches!(down, CopyError::SourceUnavailable(_)), "{down}");
    assert!(down.is_sources() && !down.disproves_source());
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_damaged_source_is_noticed_and_its_bytes_never_become_an_object() {
    let pair = Pair::new();
    let blob = pair.blob(b"forty bytes of content that are stored..").await;
    fs::write(
        pair.object("us", &blob),
        b"forty bytes of content that are stored.!",
    )
    .unwrap();
    let error = pair.copy(&blob).await.unwrap_err();
    let expected = Digest::of(
        Algorithm::Sha256,
        b"forty bytes of content that are stored.!",
    );
    assert!(
        matches!(&error, CopyError::SourceDamaged { actual: Some(actual), .. } if *actual == expected),
        "{error}"
    );
    fs::write(pair.object("us", &blob), b"cut short").unwrap();
    let error = pair.copy(&blob).await.unwrap_err();
    assert!(error.disproves_source(), "{error}");
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_source_that_stops_in_the_middle_is_not_a_short_object() {
    let pair = Pair::new();
    let blob = pair.blob(&[7; 200]).await;
    pair.source_faults
        .fail_reads_at(100, StorageErrorKind::Unavailable);
    let error = pair.copy(&blob).await.unwrap_err();
    assert!(matches!(error, CopyError::SourceUnavailable(_)), "{error}");
    pair.source_faults.heal();
    pair.source_faults.end_reads_at(100);
    let error = pair.copy(&blob).await.unwrap_err();
    assert!(matches!(error, CopyError::SourceCutOff { .. }), "{error}");
    assert!(error.is_sources() && !error.disproves_source());
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn an_intact_source_of_another_size_is_the_databases_mistake() {
    let pair = Pair::new();
    let mut blob = pair.blob(b"content").await;
    for size in [0, 6, 8] {
        blob.size = size;
        let error = pair.copy(&blob).await.unwrap_err();
        assert!(
            matches!(
                error,
                CopyError::SizeDisagrees {
                    recorded,
                    actual: 7,
                    ..
                } if recorded == size
            ),
            "{size}: {error}"
        );
        assert!(!error.disproves_source());
    }
}

#[tokio::test]
async fn a_target_that_changes_bytes_is_found_out_before_anything_is_published() {
    let pair = Pair::new();
    let blob = pair.blob(&[7; 200]).await;
    pair.target_faults.flip_written_byte(133);
    let error = pair.copy(&blob).await.unwrap_err();
    assert!(
        matches!(
            error,
            CopyError::TargetDamaged {
                actual: Some(_),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
    pair.target_faults.heal();
    pair.target_faults.flip_read_byte(20);
    let error = pair.copy(&blob).await.unwrap_err();
    assert!(matches!(error, CopyError::TargetDamaged { .. }), "{error}");
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_target_that_accepts_and_loses_the_object_is_found_out() {
    let pair = Pair::new();
    let blob = pair.blob(b"content").await;
    pair.target_faults.lose_publications(1);
    let error = pair.copy(&blob).await.unwrap_err();
    assert!(matches!(error, CopyError::TargetLost { .. }), "{error}");
    pair.copy(&blob).await.unwrap();
}

#[tokio::test]
async fn a_full_a_refusing_and_an_absent_target_are_told_apart_and_keep_nothing() {
    let pair = Pair::new();
    let blob = pair.blob(&[7; 200]).await;
    pair.target_faults.fill_after(100);
    assert!(matches!(
        pair.copy(&blob).await.unwrap_err(),
        CopyError::TargetFull(_)
    ));
    pair.target_faults.heal();
    pair.target_faults
        .fail_next(Operation::Publish, 1, StorageErrorKind::Denied);
    assert!(matches!(
        pair.copy(&blob).await.unwrap_err(),
        CopyError::TargetRefused(_)
    ));
    pair.target_faults
        .fail_next(Operation::Sync, 1, StorageErrorKind::Timeout);
    assert!(matches!(
        pair.copy(&blob).await.unwrap_err(),
        CopyError::TargetUnavailable(_)
    ));
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
    pair.copy(&blob).await.unwrap();
}

#[tokio::test]
async fn an_object_left_by_an_earlier_attempt_counts_only_if_it_is_whole() {
    let pair = Pair::new();
    let blob = pair.blob(b"content").await;
    assert!(!holds(&pair.target, &blob).await.unwrap());
    pair.copy(&blob).await.unwrap();
    assert!(holds(&pair.target, &blob).await.unwrap());
    fs::write(pair.object("eu", &blob), b"CONTENT").unwrap();
    assert!(!holds(&pair.target, &blob).await.unwrap());
    pair.copy(&blob).await.unwrap();
    assert_eq!(fs::read(pair.object("eu", &blob)).unwrap(), b"content");
}

#[tokio::test]
async fn a_copy_that_is_dropped_half_way_leaves_no_object() {
    let pair = Pair::new();
    let blob = pair.blob(&[7; 200]).await;
    pair.target_faults.stall(Operation::Write);
    {
        let copy = pair.copy(&blob);
        tokio::pin!(copy);
        tokio::select! {
            _ = &mut copy => unreachable!("the target hangs"),
            () = pair.target_faults.until_stalled(1) => {}
        }
    }
    pair.target_faults.heal();
    assert!(!pair.object("eu", &blob).exists());
    pair.copy(&blob).await.unwrap();
    assert!(holds(&pair.target, &blob).await.unwrap());
}

#[tokio::test]
async fn the_end_of_the_process_interrupts_a_copy_and_discards_what_was_staged() {
    let pair = Pair::new();
    let blob = pair.blob(&[7; 200]).await;
    let shutdown = Shutdown::default();
    // A rate at which the copy takes an hour.
    pair.source_faults.throttle(NonZeroU64::MIN);
    pair.source_faults.stall(Operation::Read);
    let copy = stage_copy(
        Some(&pair.source),
        &pair.target,
        &blob,
        &pair.ids,
        &shutdown,
    );
    tokio::pin!(copy);
    tokio::select! {
        _ = &mut copy => unreachable!("the source hangs"),
        () = pair.source_faults.until_stalled(1) => {}
    }
    shutdown.request();
    assert!(matches!(copy.await, Err(CopyError::Interrupted)));
    assert_eq!(pair.at_target(), [] as [PathBuf; 0]);
}
