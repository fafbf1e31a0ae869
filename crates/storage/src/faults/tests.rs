//! Every fault does what it says, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use roadstead_runtime::{ManualClock, Timestamp};

use super::*;
use crate::fixture::{Fixture, SHORT, content, id, key_of, name, put, read, stage};
use crate::{LocalOptions, Location, ObjectKey};
use crate::{Staged, Verification};

#[tokio::test]
async fn a_location_without_orders_works() {
    let (fixture, _faults) = Fixture::faulty().await;
    let key = fixture.put(b"layer").await;
    assert_eq!(read(&fixture.location, &key, ..).await.unwrap(), b"layer");
}

#[tokio::test]
async fn operations_fail_as_often_as_ordered_and_others_do_not() {
    let (fixture, faults) = Fixture::faulty().await;
    let key = fixture.put(b"layer").await;
    faults.fail_next(Operation::Read, 2, StorageErrorKind::Unavailable);
    for _ in 0..2 {
        assert!(fixture.location.stat(&key).await.unwrap().is_some());
        let error = fixture.location.read(&key, ..).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    }
    assert_eq!(read(&fixture.location, &key, ..).await.unwrap(), b"layer");
}

#[tokio::test]
async fn every_operation_can_be_made_to_fail() {
    let (fixture, faults) = Fixture::faulty().await;
    let key = fixture.put(b"layer").await;
    let location = &fixture.location;
    let shard = crate::Shard::new(roadstead_oci::Algorithm::Sha256, 0);
    let page = std::num::NonZeroU16::MIN;
    for operation in [
        Operation::Stat,
        Operation::Read,
        Operation::Stage,
        Operation::Write,
        Operation::Sync,
        Operation::Publish,
        Operation::Discard,
        Operation::Delete,
        Operation::List,
        Operation::Probe,
        Operation::CreateRoot,
    ] {
        faults.fail_always(operation, StorageErrorKind::Denied);
        let answers = [
            location.stat(&key).await.err(),
            location.read(&key, ..).await.err(),
            stage(location, id(1), b"abc").await.err(),
            location
                .publish(id(1), &Staged::at(3), &key_of(b"abc"))
                .await
                .err(),
            location.discard(id(1)).await.err(),
            location.delete(&key_of(b"other")).await.err(),
            location.list_staged(None, page).await.err(),
            location.list_objects(shard, None, page).await.err(),
            location.probe().await.err(),
            location.create_root().await.err(),
        ];
        let denied = answers
            .iter()
            .flatten()
            .find(|error| error.kind() == StorageErrorKind::Denied)
            .map(crate::StorageError::operation);
        assert_eq!(denied, Some(operation));
        faults.heal();
    }
}

#[tokio::test]
async fn a_location_that_is_down_is_unavailable_until_it_is_healed_even_in_the_middle() {
    let (fixture, faults) = Fixture::faulty_with_options(LocalOptions {
        read_chunk_bytes: 1000,
        write_chunk_bytes: 1000,
        ..LocalOptions::default()
    })
    .await;
    let key = fixture.put(&content(3000)).await;
    let mut stream = fixture.location.read(&key, ..).await.unwrap();
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    faults.take_down();
    stream.next().await.unwrap().unwrap();
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    let error = writer.write(Bytes::from(content(1000))).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    let error = fixture.location.stat(&key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    faults.heal();
    assert_eq!(
        read(&fixture.location, &key, ..).await.unwrap(),
        content(3000)
    );
}

#[tokio::test]
async fn an_object_can_be_made_to_seem_missing() {
    let (fixture, faults) = Fixture::faulty().await;
    let key = fixture.put(b"layer").await;
    faults.fail_next(Operation::Stat, 1, StorageErrorKind::NotFound);
    assert_eq!(fixture.location.stat(&key).await.unwrap(), None);
    assert!(fixture.location.stat(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_keeps_what_was_acknowledged() {
    let (fixture, faults) = Fixture::faulty_with_options(LocalOptions {
        write_chunk_bytes: 1000,
        ..LocalOptions::default()
    })
    .await;
    let whole = content(5000);
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap();
    writer
        .write(Bytes::copy_from_slice(&whole[..2000]))
        .await
        .unwrap();
    writer.sync().await.unwrap();
    faults.fill_after(1500);
    writer
        .write(Bytes::copy_from_slice(&whole[2000..3000]))
        .await
        .unwrap();
    let error = writer
        .write(Bytes::copy_from_slice(&whole[3000..4000]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Full);
    assert!(error.retryable());
    drop(writer);
    // Full still.
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::at(2000))
        .await
        .unwrap();
    writer
        .write(Bytes::copy_from_slice(&whole[2000..]))
        .await
        .unwrap_err();
    drop(writer);
    faults.heal();
    let mut writer = fixture
        .location
        .stage(id(1), &Staged::at(2000))
        .await
        .unwrap();
    writer
        .write(Bytes::copy_from_slice(&whole[2000..]))
        .await
        .unwrap();
    writer.sync().await.unwrap();
    drop(writer);
    let key = key_of(&whole);
    fixture
        .location
        .publish(id(1), &Staged::at(5000), &key)
        .await
        .unwrap();
    assert_eq!(fixture.content(&key).unwrap(), whole);
}

#[tokio::test]
async fn a_step_that_hangs_ends_at_its_deadline_and_goes_on_when_healed() {
    let (fixture, faults) = Fixture::faulty_with_options(LocalOptions {
        step_timeout: SHORT,
        ..LocalOptions::default()
    })
    .await;
    let key = fixture.put(b"layer").await;
    faults.stall(Operation::Stat);
    faults.stall(Operation::Stage);
    let error = fixture.location.stat(&key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Timeout);
    let error = fixture
        .location
        .stage(id(1), &Staged::NOTHING)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Timeout);
    faults.heal();
    assert!(fixture.location.stat(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_test_can_wait_until_a_call_hangs() {
    let (fixture, faults) = Fixture::faulty().await;
    let key = fixture.put(b"layer").await;
    faults.stall(Operation::Stat);
    let (stat, ()) = tokio::join!(fixture.location.stat(&key), async {
        faults.until_stalled(1).await;
        faults.heal();
    });
    assert!(stat.unwrap().is_some());
}

#[tokio::test]
async fn reads_can_be_cut_off_fail_and_be_damaged_at_an_offset() {
    let (fixture, faults) = Fixture::faulty_with_options(LocalOptions {
        read_chunk_bytes: 1000,
        ..LocalOptions::default()
    })
    .await;
    let whole = content(2500);
    let key = fixture.put(&whole).await;
    for offset in [0, 1, 999, 1000, 1001, 2499] {
        faults.end_reads_at(offset as u64);
        assert_eq!(
            read(&fixture.location, &key, ..).await.unwrap(),
            whole[..offset],
            "end at {offset}"
        );
        faults.heal();

        faults.fail_reads_at(offset as u64, StorageErrorKind::Timeout);
        let mut before = Vec::new();
        let error = match fixture.location.read(&key, ..).await {
            Err(error) => error,
            Ok(mut stream) => loop {
                match stream.try_next().await {
                    Ok(chunk) => before.extend_from_slice(&chunk.unwrap()),
                    Err(error) => break error,
                }
            },
        };
        assert_eq!(error.kind(), StorageErrorKind::Timeout);
        assert_eq!(before, whole[..offset], "fail at {offset}");
        faults.heal();

        faults.flip_read_byte(offset as u64);
        let mut damaged = whole.clone();
        damaged[offset] = !damaged[offset];
        assert_eq!(read(&fixture.location, &key, ..).await.unwrap(), damaged);
        assert_eq!(
            read(&fixture.location, &key, offset as u64..)
                .await
                .unwrap(),
            damaged[offset..]
        );
        faults.heal();
    }
    assert_eq!(read(&fixture.location, &key, ..).await.unwrap(), whole);
}

#[tokio::test]
async fn a_byte_can_be_written_wrong_and_verification_finds_it() {
    let (fixture, faults) = Fixture::faulty().await;
    faults.flip_written_byte(2);
    let key = fixture.put(b"layer").await;
    let ObjectKey::Blob(digest) = &key else {
        panic!("a blob was put");
    };
    assert!(matches!(
        fixture.location.verify(digest).await.unwrap(),
        Verification::Damaged { size: 5, .. }
    ));
    faults.heal();
    fixture.put(b"layer").await;
    assert_eq!(
        fixture.location.verify(digest).await.unwrap(),
        Verification::Intact { size: 5 }
    );
}

#[tokio::test]
async fn a_publication_can_be_lost() {
    let (fixture, faults) = Fixture::faulty().await;
    faults.lose_publications(1);
    let key = fixture.put(b"layer").await;
    assert_eq!(fixture.location.stat(&key).await.unwrap(), None);
    fixture.put(b"layer").await;
    assert!(fixture.location.stat(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn throttled_chunks_wait_on_the_clock_for_those_before_them() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let faults = Faults::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let fixture = Fixture::new().await;
    let options = LocalOptions {
        read_chunk_bytes: 1000,
        ..LocalOptions::default()
    };
    let location = Location::local_with_faults(name(), fixture.path(""), options, &faults).unwrap();
    let whole = content(3000);
    let key = put(&location, &whole).await.unwrap();
    faults.heal();
    faults.throttle(NonZeroU64::new(100).unwrap());
    let mut stream = location.read(&key, ..).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let next = stream.next();
    tokio::pin!(next);
    for _ in 0..9 {
        clock.advance(Duration::from_secs(1));
        tokio::select! {
            biased;
            _ = &mut next => panic!("1000 bytes at 100 bytes per second take ten seconds"),
            () = tokio::task::yield_now() => {}
        }
    }
    // The sleeper may have come to the clock after some of these steps, so that it is woken for certain only now.
    let chunk = loop {
        clock.advance(Duration::from_secs(10));
        tokio::select! {
            biased;
            chunk = &mut next => break chunk,
            () = tokio::task::yield_now() => {}
        }
    };
    assert_eq!(chunk.unwrap().unwrap(), whole[1000..2000]);
}
