//! What every location promises, wherever it is.

use std::num::NonZeroU16;

use bytes::Bytes;
use roadstead_oci::Algorithm;
use roadstead_storage::{Location, ObjectKey, Shard, Staged, StorageErrorKind, Verification};

use crate::{append, collect, content, digest, id, key, put, read};

const ALL: NonZeroU16 = NonZeroU16::new(1000).expect("it is not zero");

/// Runs the whole contract. `another` opens the same location as another process does.
pub(crate) async fn run(another: &dyn Fn() -> Location) {
    let location = another();
    works(&location).await;
    tells_what_is_not_there(&location).await;
    takes_an_upload_in_pieces_from_several_processes(another).await;
    takes_parts_of_any_size(another).await;
    counts_only_what_was_acknowledged(another).await;
    publishes_once_and_again(another).await;
    publishes_nothing_that_is_not_there(&location).await;
    heals(&location).await;
    takes_nothing_for_a_blob(&location).await;
    throws_away(&location).await;
    lists(&location).await;
    reads_what_is_staged(&location).await;
}

async fn works(location: &Location) {
    location.probe().await.unwrap();
    location.probe().await.unwrap();
}

async fn tells_what_is_not_there(location: &Location) {
    let missing = key(b"never pushed");
    assert_eq!(location.stat(&missing).await.unwrap(), None);
    for outcome in [
        location.read(&missing, ..).await.err(),
        location.read(&missing, 0..3).await.err(),
        location.read(&missing, 0..0).await.err(),
    ] {
        assert_eq!(outcome.unwrap().kind(), StorageErrorKind::NotFound);
    }
    location.delete(&missing).await.unwrap();
    location.discard(id(1)).await.unwrap();
    let verified = location.verify(&digest(b"never pushed")).await.unwrap();
    assert_eq!(verified, Verification::Missing);
}

async fn takes_an_upload_in_pieces_from_several_processes(another: &dyn Fn() -> Location) {
    let whole = content(1, 100_000);
    let mut staged = Staged::NOTHING;
    for piece in whole.chunks(30_001) {
        staged = append(&another(), id(2), &staged, piece).await.unwrap();
    }
    assert_eq!(staged.offset, 100_000);
    let location = another();
    let key = key(&whole);
    location.publish(id(2), &staged, &key).await.unwrap();
    assert_eq!(
        location.stat(&key).await.unwrap().unwrap().size,
        whole.len() as u64
    );
    assert_eq!(read(&location, &key, 0..100_000).await.unwrap(), whole);
    assert_eq!(read(&location, &key, 5..6).await.unwrap(), whole[5..6]);
    assert_eq!(
        read(&location, &key, 99_999..100_000).await.unwrap(),
        whole[99_999..]
    );
    assert!(read(&location, &key, 7..7).await.unwrap().is_empty());
    let all = location.read(&key, 1_000..).await.unwrap();
    assert_eq!(all.remaining(), 99_000);
    assert_eq!(collect(all).await.unwrap(), whole[1_000..]);
    for range in [0..100_001, 99_999..200_000] {
        let failure = read(&location, &key, range.clone()).await.unwrap_err();
        assert_eq!(
            failure.kind(),
            StorageErrorKind::Corrupt,
            "{range:?}: {failure:?}"
        );
    }
    let verified = location.verify(&digest(&whole)).await.unwrap();
    assert_eq!(verified, Verification::Intact { size: 100_000 });
    location.delete(&key).await.unwrap();
    assert_eq!(location.stat(&key).await.unwrap(), None);
}

/// Parts of a store's own size, shorter ones between them, and a short one at the end.
async fn takes_parts_of_any_size(another: &dyn Fn() -> Location) {
    const MIB: usize = 1 << 20;
    for (number, pieces) in [
        (3, vec![20 * MIB + 77]),
        (4, vec![6 * MIB, 6 * MIB, 1]),
        (5, vec![MIB, 9 * MIB, 3, 12 * MIB, MIB]),
        (6, vec![8 * MIB, 8 * MIB]),
    ] {
        let whole = content(number, pieces.iter().sum());
        let mut staged = Staged::NOTHING;
        let mut rest = whole.as_slice();
        for piece in &pieces {
            let (bytes, behind) = rest.split_at(*piece);
            let upload = id(u128::from(number));
            staged = append(&another(), upload, &staged, bytes).await.unwrap();
            // As the database keeps it.
            let text = staged.parts.to_string();
            staged.parts = text.parse().unwrap();
            rest = behind;
        }
        let location = another();
        let key = key(&whole);
        let upload = id(u128::from(number));
        location.publish(upload, &staged, &key).await.unwrap();
        let verified = location.verify(&digest(&whole)).await.unwrap();
        let size = whole.len() as u64;
        assert_eq!(verified, Verification::Intact { size }, "{pieces:?}");
        let page = location.list_staged(None, ALL).await.unwrap();
        assert!(page.uploads.is_empty(), "{pieces:?}: {page:?}");
        location.delete(&key).await.unwrap();
    }
}

async fn counts_only_what_was_acknowledged(another: &dyn Fn() -> Location) {
    let whole = content(7, 40_000);
    let first = append(&another(), id(7), &Staged::NOTHING, &whole[..10_000])
        .await
        .unwrap();
    // Written, and never acknowledged: a process that died, or one that was overtaken.
    append(&another(), id(7), &first, &content(8, 25_000))
        .await
        .unwrap();
    let mut lost = another().stage(id(7), &first).await.unwrap();
    lost.write(Bytes::from(content(9, 5_000))).await.unwrap();
    drop(lost);
    let second = append(&another(), id(7), &first, &whole[10_000..])
        .await
        .unwrap();
    let location = another();
    let key = key(&whole);
    location.publish(id(7), &second, &key).await.unwrap();
    assert_eq!(read(&location, &key, 0..40_000).await.unwrap(), whole);
    location.delete(&key).await.unwrap();
}

async fn publishes_once_and_again(another: &dyn Fn() -> Location) {
    let whole = content(10, 50_000);
    let staged = append(&another(), id(10), &Staged::NOTHING, &whole)
        .await
        .unwrap();
    let key = key(&whole);
    another().publish(id(10), &staged, &key).await.unwrap();
    // Repeated after a crash that came before the database heard of it.
    another().publish(id(10), &staged, &key).await.unwrap();
    // Pushed again by somebody else.
    put(&another(), id(11), &whole).await.unwrap();
    assert_eq!(read(&another(), &key, 0..50_000).await.unwrap(), whole);
    another().delete(&key).await.unwrap();
}

async fn publishes_nothing_that_is_not_there(location: &Location) {
    let whole = content(12, 20_000);
    let key = key(&whole);
    let staged = append(location, id(12), &Staged::NOTHING, &whole)
        .await
        .unwrap();
    location.discard(id(12)).await.unwrap();
    let refused = location.publish(id(12), &staged, &key).await.unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::NotFound, "{refused}");
    assert_eq!(location.stat(&key).await.unwrap(), None);
    let refused = location
        .publish(id(12), &staged, &ObjectKey::Probe)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), StorageErrorKind::Unexpected);
}

/// A push of a digest whose object is damaged puts a good one in its place.
async fn heals(location: &Location) {
    let good = content(13, 9_000);
    let key = key(&good);
    let damaged = content(14, 7_000);
    let staged = append(location, id(13), &Staged::NOTHING, &damaged)
        .await
        .unwrap();
    location.publish(id(13), &staged, &key).await.unwrap();
    let found = location.verify(&digest(&good)).await.unwrap();
    let expected = Verification::Damaged {
        size: 7_000,
        found: digest(&damaged),
    };
    assert_eq!(found, expected);
    put(location, id(14), &good).await.unwrap();
    assert_eq!(read(location, &key, 0..9_000).await.unwrap(), good);
    location.delete(&key).await.unwrap();
}

async fn takes_nothing_for_a_blob(location: &Location) {
    let key = put(location, id(15), b"").await.unwrap();
    assert_eq!(location.stat(&key).await.unwrap().unwrap().size, 0);
    assert!(read(location, &key, 0..0).await.unwrap().is_empty());
    location.delete(&key).await.unwrap();
}

async fn throws_away(location: &Location) {
    append(location, id(16), &Staged::NOTHING, &content(16, 3_000))
        .await
        .unwrap();
    let page = location.list_staged(None, ALL).await.unwrap();
    let found: Vec<_> = page.uploads.iter().map(|upload| upload.id).collect();
    assert_eq!(found, [id(16)]);
    assert!(page.uploads[0].size >= 3_000);
    location.discard(id(16)).await.unwrap();
    location.discard(id(16)).await.unwrap();
    let page = location.list_staged(None, ALL).await.unwrap();
    assert_eq!(page.uploads, []);
}

async fn lists(location: &Location) {
    let mut expected = Vec::new();
    for number in 0..40_u64 {
        let bytes = content(1000 + number, 10);
        put(location, id(1000 + u128::from(number)), &bytes)
            .await
            .unwrap();
        expected.push(digest(&bytes));
    }
    expected.sort();
    for limit in [1, 3, 1000] {
        let limit = NonZeroU16::new(limit).unwrap();
        let mut listed = Vec::new();
        for shard in Shard::all() {
            if !expected.iter().any(|digest| {
                ObjectKey::Blob(digest.clone())
                    .path()
                    .starts_with(&shard.to_string())
            }) {
                continue;
            }
            let mut after = None;
            loop {
                let page = location
                    .list_objects(shard, after.as_ref(), limit)
                    .await
                    .unwrap();
                assert_eq!(page.foreign, 0);
                assert!(page.objects.iter().all(|object| object.size == 10));
                listed.extend(page.objects.into_iter().map(|object| object.digest));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        listed.sort();
        assert_eq!(listed, expected, "pages of {limit}");
    }
    for digest in expected {
        location.delete(&ObjectKey::Blob(digest)).await.unwrap();
    }
    let empty = Shard::new(Algorithm::Sha512, 3);
    let page = location.list_objects(empty, None, ALL).await.unwrap();
    assert_eq!((page.objects.len(), page.next), (0, None));

    for number in 20..27 {
        append(location, id(number), &Staged::NOTHING, b"staged")
            .await
            .unwrap();
    }
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = location
            .list_staged(after, NonZeroU16::new(3).unwrap())
            .await
            .unwrap();
        listed.extend(page.uploads.iter().map(|upload| upload.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, (20..27).map(id).collect::<Vec<_>>());
    for number in 20..27 {
        location.discard(id(number)).await.unwrap();
    }
}

async fn reads_what_is_staged(location: &Location) {
    let whole = content(30, (17 << 20) + 5);
    let (first, second) = whole.split_at(9 << 20);
    let staged = append(location, id(30), &Staged::NOTHING, first)
        .await
        .unwrap();
    let staged = append(location, id(30), &staged, second).await.unwrap();
    let all = collect(location.read_staged(id(30), &staged))
        .await
        .unwrap();
    assert_eq!(digest(&all), digest(&whole));
    for start in [1, 8 << 20, (9 << 20) + 3, whole.len() - 1, whole.len()] {
        let rest = location.read_staged_from(id(30), &staged, start as u64);
        let rest = collect(rest).await.unwrap();
        assert_eq!(digest(&rest), digest(&whole[start..]), "from {start}");
    }
    location.discard(id(30)).await.unwrap();
}
