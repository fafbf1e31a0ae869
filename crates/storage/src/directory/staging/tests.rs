//! Staging, crashes and writers that meet.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::Staged;
use crate::fixture::{Fixture, SHORT, content, id, key_of, stage};

#[tokio::test]
async fn staged_bytes_are_on_the_disk_after_sync_and_nowhere_else() {
    let fixture = Fixture::new().await;
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    writer.write(Bytes::from_static(b"hel")).await.unwrap();
    writer.write(Bytes::from_static(b"lo")).await.unwrap();
    assert_eq!(writer.offset(), 5);
    writer.sync().await.unwrap();
    assert_eq!(
        fixture.content(&ObjectKey::Upload(id(1))).unwrap(),
        b"hello"
    );
    let entries = fs::read_dir(fixture.path("")).unwrap().count();
    assert_eq!(entries, 1, "only the folder of uploads");
}

#[tokio::test]
async fn writing_at_the_acknowledged_offset_cuts_off_what_came_after_it_and_staging_alone_does_not()
{
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"acknowledged, not acknowledged")
        .await
        .unwrap();
    // A new process after a crash.
    let mut writer = fixture
        .another()
        .stage(id(1), &Staged::at(12))
        .await
        .unwrap();
    assert_eq!(writer.offset(), 12);
    assert_eq!(
        fixture.content(&ObjectKey::Upload(id(1))).unwrap(),
        b"acknowledged, not acknowledged",
        "whoever staged with an old offset has destroyed nothing yet"
    );
    writer.write(Bytes::from_static(b" again")).await.unwrap();
    writer.sync().await.unwrap();
    assert_eq!(
        fixture.content(&ObjectKey::Upload(id(1))).unwrap(),
        b"acknowledged again"
    );
}

#[tokio::test]
async fn staging_at_zero_starts_again() {
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"first").await.unwrap();
    stage(&fixture.location, id(1), b"2nd").await.unwrap();
    assert_eq!(fixture.content(&ObjectKey::Upload(id(1))).unwrap(), b"2nd");
}

#[tokio::test]
async fn an_empty_upload_exists_after_sync() {
    let fixture = Fixture::new().await;
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    writer.sync().await.unwrap();
    assert_eq!(fixture.content(&ObjectKey::Upload(id(1))).unwrap(), b"");
}

#[tokio::test]
async fn a_staged_file_that_is_shorter_than_acknowledged_is_reported_and_left_alone() {
    let fixture = Fixture::new().await;
    stage(&fixture.location, id(1), b"abc").await.unwrap();
    let error = fixture
        .location
        .stage(id(1), &Staged::at(4))
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        StorageErrorKind::StagedShort {
            staged: 3,
            expected: 4
        }
    );
    assert_eq!(fixture.content(&ObjectKey::Upload(id(1))).unwrap(), b"abc");

    let error = fixture
        .location
        .stage(id(2), &Staged::at(4))
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        StorageErrorKind::StagedShort {
            staged: 0,
            expected: 4
        }
    );
    assert!(fixture.content(&ObjectKey::Upload(id(2))).is_none());
}

#[tokio::test]
async fn a_second_writer_of_the_same_upload_is_refused_and_changes_nothing() {
    let options = LocalOptions {
        lock_timeout: SHORT,
        ..LocalOptions::default()
    };
    let fixture = Fixture::with_options(options).await;
    let mut first = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    first.write(Bytes::from_static(b"first")).await.unwrap();
    first.sync().await.unwrap();
    for second in [fixture.location.clone(), fixture.another()] {
        let error = second.stage(id(1), &Staged::NOTHING).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Busy);
        let error = second
            .publish(id(1), &Staged::at(5), &key_of(b"first"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Busy);
    }
    // Another upload is not in the way.
    fixture
        .location
        .stage(id(2), &Staged::NOTHING)
        .await
        .unwrap();
    first.write(Bytes::from_static(b" goes on")).await.unwrap();
    first.sync().await.unwrap();
    assert_eq!(
        fixture.content(&ObjectKey::Upload(id(1))).unwrap(),
        b"first goes on"
    );
    drop(first);
    fixture
        .another()
        .stage(id(1), &Staged::at(5))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_writer_waits_for_the_one_before_it() {
    let fixture = Fixture::new().await;
    let first = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    let nothing = Staged::NOTHING;
    let second = fixture.location.stage(id(1), &nothing);
    tokio::pin!(second);
    tokio::select! {
        biased;
        _ = &mut second => panic!("the first writer still has the upload"),
        () = std::future::ready(()) => {}
    }
    drop(first);
    second.await.unwrap();
}

#[tokio::test]
async fn the_record_of_open_uploads_does_not_grow_with_those_that_were() {
    let uploads = Uploads::default();
    for number in 0..1000 {
        drop(uploads.exclusively(id(number)).await);
    }
    assert!(uploads.known() <= 1);
}

#[tokio::test]
async fn a_discarded_upload_is_gone_for_its_writer_too() {
    let fixture = Fixture::new().await;
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    writer.write(Bytes::from_static(b"abc")).await.unwrap();
    fixture.location.discard(id(1)).await.unwrap();
    let error = writer.sync().await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    fixture.location.discard(id(1)).await.unwrap();
    assert!(fixture.content(&ObjectKey::Upload(id(1))).is_none());
}

#[tokio::test]
async fn the_kernels_own_full_disk_is_reported_as_such() {
    let fixture = Fixture::new().await;
    fs::create_dir(fixture.path("uploads")).unwrap();
    // The device that has no space, whoever writes to it.
    let staged = fixture.path(&ObjectKey::Upload(id(1)).path());
    std::os::unix::fs::symlink("/dev/full", staged).unwrap();
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    writer.write(Bytes::from_static(b"abc")).await.unwrap();
    let error = writer.sync().await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Full);
}

#[tokio::test]
async fn a_failed_writer_stays_failed() {
    let fixture = Fixture::new().await;
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    fixture.location.discard(id(1)).await.unwrap();
    writer.sync().await.unwrap_err();
    let error = writer.write(Bytes::from_static(b"abc")).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unexpected);
    assert_eq!(writer.offset(), 0);
    let error = writer.sync().await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unexpected);
}

#[tokio::test]
async fn more_than_is_ever_left_unflushed_goes_through_whole() {
    let fixture = Fixture::new().await;
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    let chunk = Bytes::from(content(3 * 1024 * 1024 + 1));
    let mut chunks = 0;
    while writer.offset() <= WRITEBACK_BYTES + WRITEBACK_BEHIND_BYTES {
        writer.write(chunk.clone()).await.unwrap();
        chunks += 1;
    }
    writer.sync().await.unwrap();
    let staged = fixture.content(&ObjectKey::Upload(id(1))).unwrap();
    assert_eq!(staged.len() as u64, writer.offset());
    assert!(staged.chunks(chunk.len()).all(|staged| staged == chunk));
    assert_eq!(staged.len(), chunks * chunk.len());
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Sync,
    /// The process dies and another one goes on where it was acknowledged.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40_000_usize).prop_map(Step::Write),
        2 => Just(Step::Sync),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_lost_between_acknowledgements_the_acknowledged_bytes_are_exact(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = LocalOptions { write_chunk_bytes: 50_000, ..LocalOptions::default() };
            let fixture = Fixture::with_options(options).await;
            let whole = content(25 * 40_000);
            let mut acknowledged = 0;
            let mut writer = fixture.another().directory().stage(id(1), 0).await.unwrap();
            for step in steps {
                match step {
                    Step::Write(length) => {
                        let start = usize::try_from(writer.offset()).unwrap();
                        let chunk = Bytes::copy_from_slice(&whole[start..start + length]);
                        writer.write(chunk).await.unwrap();
                    }
                    Step::Sync => {
                        writer.sync().await.unwrap();
                        acknowledged = writer.offset();
                    }
                    Step::Crash => {
                        // The flush that is under way ends with its process.
                        let calls = Arc::clone(&writer.calls);
                        if let Some(mut flush) = writer.flush.take() {
                            calls.finish(&writer.call(Operation::Write), &mut flush).await.unwrap();
                        }
                        drop(writer);
                        writer = fixture.another().directory().stage(id(1), acknowledged).await.unwrap();
                    }
                }
            }
            writer.sync().await.unwrap();
            let end = usize::try_from(writer.offset()).unwrap();
            assert_eq!(fixture.content(&ObjectKey::Upload(id(1))).unwrap(), &whole[..end]);
        });
    }
}
