//! Who deletes which segments, and when nobody does: the way of a wrong answer to lost blobs. Against the stand-in.

use chrono::TimeDelta;
use roadstead_runtime::{Clock, SeededIds, SystemClock};

use super::*;

/// Parts of an upload, put there without having to be large, with their mark. Returns what was acknowledged.
pub(super) fn parts(mock: &Mock, id: Uuid, sizes: &[usize]) -> Staged {
    let bytes = content(sizes.iter().sum());
    let mut start = 0;
    let mut lines = Vec::new();
    for size in sizes {
        let name = format!("{PREFIX}segments/{id}/{start:015}-{:016x}", 7);
        mock.put(&name, Object::plain(bytes[start..start + size].to_vec()));
        lines.push(format!("7:{start}:{size}:1"));
        start += size;
    }
    mock.put(&mark(id), Object::plain(""));
    Staged {
        offset: start as u64,
        parts: lines.join(",").parse().unwrap(),
    }
}

fn mark(id: Uuid) -> String {
    format!("{PREFIX}uploads/{id}")
}

fn owner(id: Uuid) -> String {
    format!("{PREFIX}segments/owners/{id}")
}

fn segments(mock: &Mock, id: Uuid) -> usize {
    let folder = format!("{PREFIX}segments/{id}/");
    let names = mock.names();
    names
        .iter()
        .filter(|name| name.starts_with(&folder))
        .count()
}

#[tokio::test]
async fn parts_of_a_published_blob_outlive_every_clean_up() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let bytes = content(20);
    let key = key_of(&bytes);
    let staged = parts(&mock, id(1), &[10, 10]);
    location.publish(id(1), &staged, &key).await.unwrap();

    location.discard(id(1)).await.unwrap();
    // The process died before it took the mark away, and the upload has been abandoned for long.
    for age in [TimeDelta::zero(), TimeDelta::days(30)] {
        mock.age(age);
        mock.put(&mark(id(1)), Object::plain(""));
        mock.age(age);
        let listed = location.list_staged(None, page()).await.unwrap();
        assert_eq!(listed.uploads[0].id, id(1));
        location.discard(id(1)).await.unwrap();
        assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
        let listed = location.list_staged(None, page()).await.unwrap();
        assert_eq!(listed.uploads, []);
    }
    location.delete(&key).await.unwrap();
    assert_eq!(mock.names(), Vec::<String>::new());
}

#[tokio::test]
async fn parts_that_may_be_becoming_an_object_are_left_for_a_day() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let staged = parts(&mock, id(1), &[10, 10]);
    let key = key_of(&content(20));
    // The list is not written, and nobody knows whether the store still has the request.
    let refused = (Method::PUT, "multipart-manifest".to_owned(), 503, u64::MAX);
    mock.state().refusals = vec![refused];
    let error = location.publish(id(1), &staged, &key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::ServerError);
    mock.state().refusals.clear();
    location.discard(id(1)).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 2);
    // Whoever gave it up does not get it published any more.
    let error = location.publish(id(1), &staged, &key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    // It is found again, later on.
    assert_eq!(
        location.list_staged(None, page()).await.unwrap().uploads[0].id,
        id(1)
    );
    mock.age(TimeDelta::hours(25));
    location.discard(id(1)).await.unwrap();
    assert_eq!(mock.names(), Vec::<String>::new());
}

#[tokio::test]
async fn an_abandoned_upload_is_thrown_away_whole() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    parts(&mock, id(1), &[10; 30]);
    parts(&mock, id(2), &[10]);
    location.discard(id(1)).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 0);
    assert_eq!(segments(&mock, id(2)), 1);
    location.discard(id(2)).await.unwrap();
    assert_eq!(mock.names(), Vec::<String>::new());
    location.discard(id(2)).await.unwrap();
}

#[tokio::test]
async fn a_discard_that_was_cut_off_is_finished() {
    let mut left = 0;
    loop {
        let mock = Mock::start().await;
        let location = at(&options(&mock));
        parts(&mock, id(1), &[10, 10]);
        location.stat(&key_of(b"")).await.unwrap();
        mock.state().dies_after = Some((left, 403));
        let done = location.discard(id(1)).await;
        mock.state().dies_after = None;
        let listed = location.list_staged(None, page()).await.unwrap();
        for upload in listed.uploads {
            location.discard(upload.id).await.unwrap();
        }
        assert_eq!(mock.names(), Vec::<String>::new(), "after {left} requests");
        if done.is_ok() {
            break;
        }
        left += 1;
    }
    assert!(left > 5);
}

#[tokio::test]
async fn a_publication_that_was_cut_off_loses_nothing_and_leaves_nothing() {
    let bytes = content(20);
    let key = key_of(&bytes);
    // Over nothing, over another list, over one of Quay's.
    for before in 0..3 {
        let mut left = 0;
        loop {
            let mock = Mock::start().await;
            let location = at(&options(&mock));
            if before == 1 {
                let staged = parts(&mock, id(9), &[5, 5, 10]);
                location.publish(id(9), &staged, &key).await.unwrap();
            } else if before == 2 {
                quays(&mock, id(9), &key, &bytes);
            }
            let staged = parts(&mock, id(1), &[10, 10]);
            location.stat(&key_of(b"")).await.unwrap();
            mock.state().dies_after = Some((left, 403));
            let done = location.publish(id(1), &staged, &key).await;
            mock.state().dies_after = None;
            let live = read(&location, &key, ..).await;
            if before > 0 || done.is_ok() {
                assert_eq!(live.unwrap(), bytes);
            }
            // Nobody comes back, and the clean-up of abandoned uploads runs.
            for _ in 0..2 {
                for upload in location.list_staged(None, page()).await.unwrap().uploads {
                    location.discard(upload.id).await.unwrap();
                }
                if before > 0 || done.is_ok() {
                    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
                }
                mock.age(TimeDelta::hours(25));
            }
            location.delete(&key).await.unwrap();
            let names = mock.names();
            assert_eq!(
                names,
                Vec::<String>::new(),
                "{before}: after {left} requests"
            );
            if done.is_ok() {
                break;
            }
            left += 1;
        }
        assert!(left > 5);
    }
}

#[tokio::test]
async fn whatever_races_with_a_discard_a_published_blob_is_whole() {
    let bytes = content(20);
    let key = key_of(&bytes);
    let mut published = 0;
    for seed in 0..60 {
        let mock = Mock::start().await;
        let (location, elsewhere) = (at(&options(&mock)), at(&options(&mock)));
        let staged = parts(&mock, id(1), &[10, 10]);
        location.probe().await.unwrap();
        elsewhere.probe().await.unwrap();
        mock.state().delays = Some(SeededIds::new(seed));
        let (done, discarded) = tokio::join!(location.publish(id(1), &staged, &key), async {
            SystemClock.sleep(Duration::from_millis(seed % 12)).await;
            elsewhere.discard(id(1)).await
        });
        discarded.unwrap();
        mock.state().delays = None;
        match done {
            Ok(()) => {
                published += 1;
                assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
            }
            Err(error) => assert_eq!(error.kind(), StorageErrorKind::NotFound, "{error:?}"),
        }
    }
    assert!((1..60).contains(&published), "{published} of 60");
}

#[tokio::test]
async fn segments_of_a_replaced_blob_go_when_readers_are_done() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let bytes = content(20);
    let key = key_of(&bytes);
    let staged = parts(&mock, id(1), &[10, 10]);
    location.publish(id(1), &staged, &key).await.unwrap();
    mock.age(TimeDelta::days(3));
    let staged = parts(&mock, id(2), &[5, 15]);
    location.publish(id(2), &staged, &key).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 2);
    location.discard(id(1)).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 0);
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
    // A small one in its place.
    let staged = parts(&mock, id(3), &[20]);
    location.publish(id(3), &staged, &key).await.unwrap();
    mock.age(TimeDelta::days(3));
    location.discard(id(2)).await.unwrap();
    assert_eq!(mock.names(), [format!("{PREFIX}{key}")]);
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
}

/// A blob as Quay writes it.
fn quays(mock: &Mock, upload: Uuid, key: &ObjectKey, bytes: &[u8]) {
    for (number, segment) in bytes.chunks(8).enumerate() {
        let name = format!("{PREFIX}segments/{upload}/{number:09}");
        mock.put(&name, Object::plain(segment.to_vec()));
    }
    let prefix = format!("{CONTAINER}/{PREFIX}segments/{upload}");
    mock.put(&format!("{PREFIX}{key}"), Object::of_prefix(&prefix));
}

#[tokio::test]
async fn quays_blobs_are_read_listed_and_deleted() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let bytes = content(20);
    let key = key_of(&bytes);
    quays(&mock, id(1), &key, &bytes);
    mock.put(
        &format!("{PREFIX}segments/{}/000000000", id(2)),
        Object::plain("of an upload that Quay has open"),
    );
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
    assert_eq!(read(&location, &key, 3..12).await.unwrap(), bytes[3..12]);
    assert_eq!(location.stat(&key).await.unwrap().unwrap().size, 20);
    let listed = location.list_objects(shard_of(&bytes), None, page()).await;
    assert_eq!(listed.unwrap().objects[0].size, 20);
    // Quay's sessions may be ended here, but it is not known what their segments have become.
    for id in [id(1), id(2)] {
        location.discard(id).await.unwrap();
    }
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
    assert_eq!(segments(&mock, id(2)), 1);
    location.delete(&key).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 0);
    assert_eq!(segments(&mock, id(2)), 1);
    assert_eq!(location.stat(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_blob_of_quays_that_is_replaced_is_cleaned_up_in_time() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let bytes = content(20);
    let key = key_of(&bytes);
    quays(&mock, id(1), &key, &bytes);
    let staged = parts(&mock, id(2), &[10, 10]);
    location.publish(id(2), &staged, &key).await.unwrap();
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
    location.discard(id(1)).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 3);
    mock.age(TimeDelta::hours(25));
    location.discard(id(1)).await.unwrap();
    assert_eq!(segments(&mock, id(1)), 0);
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
}

#[tokio::test]
async fn segments_outside_of_their_folder_are_nobodys_to_delete() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let key = key_of(b"layer");
    let kept = [format!("{PREFIX}sha256/00/00"), "elsewhere".to_owned()];
    for name in &kept {
        mock.put(name, Object::plain("x"));
    }
    for prefix in [
        format!("{CONTAINER}/{PREFIX}"),
        format!("{CONTAINER}/{PREFIX}segments"),
        format!("{CONTAINER}/{PREFIX}segments/"),
        format!("{CONTAINER}/e"),
        "other/container".to_owned(),
    ] {
        mock.put(&format!("{PREFIX}{key}"), Object::of_prefix(&prefix));
        location.delete(&key).await.unwrap();
        assert_eq!(mock.names(), kept, "{prefix}");
    }
}

#[tokio::test]
async fn acknowledged_parts_need_no_listing() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    mock.state().listings_lag = true;
    let bytes = content(20 << 20);
    let key = put(&location, id(1), &bytes).await;
    assert!(read(&location, &key, ..).await.unwrap() == bytes);
    // Nor does the deletion of the list.
    location.delete(&key).await.unwrap();
    assert_eq!(mock.names(), Vec::<String>::new());
}

#[tokio::test]
async fn very_many_parts_are_lists_of_lists() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let bytes = content(1201 * 3);
    let key = key_of(&bytes);
    let staged = parts(&mock, id(1), &[3; 1201]);
    location.publish(id(1), &staged, &key).await.unwrap();
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
    assert_eq!(segments(&mock, id(1)), 1204);
    mock.put(&mark(id(1)), Object::plain(""));
    mock.age(TimeDelta::days(3));
    location.discard(id(1)).await.unwrap();
    assert_eq!(read(&location, &key, ..).await.unwrap(), bytes);
    // What listings do not show is named by the lists.
    let hidden = format!(
        "{PREFIX}segments/{}/000000000000300-0000000000000007",
        id(1)
    );
    assert!(mock.state().objects.contains_key(&hidden));
    mock.state().unlisted.insert(hidden);
    location.delete(&key).await.unwrap();
    assert_eq!(mock.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_part_publishes_nothing() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let key = key_of(&content(20));
    let staged = parts(&mock, id(1), &[10, 10]);
    mock.state()
        .objects
        .retain(|name, _| !name.contains("000000000000010"));
    let error = location.publish(id(1), &staged, &key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::NotFound);
    assert_eq!(location.stat(&key).await.unwrap(), None);
    // One that is not as long as it was.
    let staged = parts(&mock, id(1), &[10, 10]);
    let name = format!(
        "{PREFIX}segments/{}/000000000000010-0000000000000007",
        id(1)
    );
    mock.put(&name, Object::plain("short"));
    let error = location.publish(id(1), &staged, &key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Corrupt);
    assert_eq!(location.stat(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_without_lists_is_told_and_keeps_no_rubbish() {
    let mock = Mock::start().await;
    mock.state().has_lists = false;
    let location = at(&options(&mock));
    let key = key_of(&content(20));
    let staged = parts(&mock, id(1), &[10, 10]);
    let error = location.publish(id(1), &staged, &key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured);
    assert_eq!(location.stat(&key).await.unwrap(), None);
    assert!(mock.names().contains(&owner(id(1))));
}
