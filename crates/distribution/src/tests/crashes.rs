//! What a crash, a restart or a dropped request leaves, and how an upload goes on from there.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use roadstead_oci::{Algorithm, Digest};
use roadstead_runtime::Ids;
use roadstead_storage::{ObjectKey, Operation, Staged, StorageErrorKind};

use super::world::{World, by_hand, content, sha256, whole};
use crate::{Abandoned, Announced, PushError};

#[tokio::test]
async fn an_upload_goes_on_in_another_process_after_a_restart() {
    let world = World::new().await;
    let blob = content(20, 7_000);
    let id = world.start().await;
    world.append(id, None, &blob[..2_500]).await.unwrap();
    let restarted = world.another_registry().await;
    let uploads = restarted.uploads();
    let status = uploads.status(&world.repository, id).await.unwrap();
    assert_eq!(status.offset, 2_500);
    uploads
        .append(
            &world.repository,
            id,
            Announced::NOTHING,
            whole(&blob[2_500..5_000]),
        )
        .await
        .unwrap();
    let again = world.another_registry().await;
    again
        .uploads()
        .finish(
            &world.repository,
            id,
            &sha256(&blob),
            Announced::NOTHING,
            whole(&blob[5_000..]),
        )
        .await
        .unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn a_dropped_request_leaves_the_upload_at_its_last_checkpoint() {
    let world = World::with(|options| options.checkpoint_bytes = 2_000).await;
    let blob = content(21, 10_000);
    let id = world.start().await;
    let (sender, body) = by_hand();
    let uploads = world.registry.uploads();
    let appending = uploads.append(&world.repository, id, Announced::NOTHING, body);
    let sending = async {
        for piece in blob.chunks(500).take(11) {
            sender.send(Ok(piece.to_vec().into())).await.unwrap();
        }
    };
    // Ends when the eleventh piece is in the channel: the ninth has been taken at least, and the tenth not acknowledged.
    tokio::select! { biased; _ = appending => unreachable!(), () = sending => {} }
    drop(sender);
    assert_eq!(world.offset(id).await, 4_000);
    world.append(id, None, &blob[4_000..]).await.unwrap();
    world.finish(id, b"", &sha256(&blob)).await.unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);
}

#[tokio::test]
async fn staged_bytes_that_were_not_acknowledged_do_not_count() {
    let world = World::new().await;
    let blob = content(22, 6_000);
    let id = world.start().await;
    world.append(id, None, &blob[..2_000]).await.unwrap();
    let staged = world.file("us", &ObjectKey::Upload(id));
    let more = |bytes: &[u8]| {
        let mut file = OpenOptions::new().append(true).open(&staged).unwrap();
        file.write_all(bytes).unwrap();
    };
    more(b"what a crash left behind");
    assert_eq!(
        world.append(id, None, &blob[2_000..4_000]).await.unwrap(),
        4_000
    );
    more(&content(23, 9_000));
    assert_eq!(world.offset(id).await, 4_000);
    world
        .finish(id, &blob[4_000..], &sha256(&blob))
        .await
        .unwrap();
    assert_eq!(world.pull(&sha256(&blob)).await.unwrap(), blob);

    let id = world.start().await;
    world.append(id, None, b"abc").await.unwrap();
    let staged = world.file("us", &ObjectKey::Upload(id));
    let mut file = OpenOptions::new().append(true).open(staged).unwrap();
    file.write_all(b"def").unwrap();
    world.finish(id, b"", &sha256(b"abc")).await.unwrap();
    assert_eq!(world.pull(&sha256(b"abc")).await.unwrap(), b"abc");
}

#[tokio::test]
async fn an_upload_whose_staged_bytes_are_gone_is_lost_and_says_so() {
    let world = World::new().await;
    let blob = content(24, 3_000);
    for left in [None, Some(1_000)] {
        let id = world.start().await;
        world.append(id, None, &blob[..2_000]).await.unwrap();
        let staged = world.file("us", &ObjectKey::Upload(id));
        match left {
            None => std::fs::remove_file(&staged).unwrap(),
            Some(left) => OpenOptions::new()
                .write(true)
                .open(&staged)
                .unwrap()
                .set_len(left)
                .unwrap(),
        }
        let appended = world.append(id, None, &blob[2_000..]).await;
        assert!(
            matches!(appended, Err(PushError::UploadLost { .. })),
            "{appended:?}"
        );
        for (rest, digest) in [
            (&blob[2_000..], sha256(&blob)),
            (b"".as_slice(), sha256(&blob[..2_000])),
            (
                b"".as_slice(),
                Digest::of(Algorithm::Sha512, &blob[..2_000]),
            ),
        ] {
            let finished = world.finish(id, rest, &digest).await;
            assert!(
                matches!(finished, Err(PushError::UploadLost { .. })),
                "{finished:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_crash_between_the_object_and_the_rows_is_recognised_when_the_upload_is_finished_again() {
    let world = World::new().await;
    for (seed, algorithm) in [(25, Algorithm::Sha256), (26, Algorithm::Sha512)] {
        let blob = content(seed, 4_000);
        let digest = Digest::of(algorithm, &blob);
        let id = world.start().await;
        world.append(id, None, &blob).await.unwrap();
        // What a process does that dies before the transaction.
        let key = ObjectKey::Blob(digest.clone());
        world
            .location("us")
            .publish(id, &Staged::at(4_000), &key)
            .await
            .unwrap();

        let wrong = world.finish(id, b"", &sha256(b"else")).await;
        assert!(
            matches!(wrong, Err(PushError::DigestMismatch { .. })),
            "{wrong:?}"
        );
        let more = world.finish(id, b"more", &digest).await;
        assert!(
            matches!(more, Err(PushError::UploadLost { .. })),
            "{more:?}"
        );
        let pushed = world.finish(id, b"", &digest).await.unwrap();
        assert_eq!((pushed.digest, pushed.size), (digest.clone(), 4_000));
        assert_eq!(world.pull(&digest).await.unwrap(), blob);
        let status = world.registry.uploads().status(&world.repository, id).await;
        assert!(
            matches!(status, Err(PushError::UploadUnknown { .. })),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn an_object_that_is_not_the_uploads_is_not_taken_for_it() {
    let world = World::new().await;
    let (blob, other) = (content(27, 4_000), content(28, 4_000));
    let id = world.start().await;
    world.append(id, None, &blob).await.unwrap();
    let digest = Digest::of(Algorithm::Sha512, &other);
    world.push_into(&world.other, &other).await;
    let uploads = world.registry.uploads();
    uploads
        .monolithic(&world.other, &digest, None, whole(&other))
        .await
        .unwrap();
    std::fs::remove_file(world.file("us", &ObjectKey::Upload(id))).unwrap();
    // Of the right size and the right digest, and yet never proven to be what this client has.
    let refused = world.finish(id, b"", &digest).await;
    assert!(
        matches!(refused, Err(PushError::UploadLost { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_publication_that_fails_can_be_tried_again() {
    let world = World::new().await;
    let blob = content(29, 4_000);
    let digest = sha256(&blob);
    let id = world.start().await;
    world.append(id, None, &blob).await.unwrap();
    world
        .us
        .fail_next(Operation::Publish, 1, StorageErrorKind::Full);
    let refused = world.finish(id, b"", &digest).await;
    assert!(
        matches!(refused, Err(PushError::Storage { .. })),
        "{refused:?}"
    );
    assert_eq!(world.offset(id).await, 4_000);
    world.finish(id, b"", &digest).await.unwrap();
    assert_eq!(world.pull(&digest).await.unwrap(), blob);
}

#[tokio::test]
async fn a_publication_that_left_nothing_is_not_recorded() {
    let world = World::new().await;
    world.us.lose_publications(1);
    let id = world.start().await;
    world.append(id, None, b"abc").await.unwrap();
    let key = ObjectKey::Blob(sha256(b"abc"));
    world
        .location("us")
        .publish(id, &Staged::at(3), &key)
        .await
        .unwrap();
    let refused = world.finish(id, b"", &sha256(b"abc")).await;
    assert!(
        matches!(refused, Err(PushError::UploadLost { .. })),
        "{refused:?}"
    );
    assert!(world.pull(&sha256(b"abc")).await.is_err());
}

#[tokio::test]
async fn abandoned_uploads_and_strays_are_cleaned_up_and_young_ones_are_not() {
    let world = World::new().await;
    let day = Duration::from_hours(24);
    let (old, resumed) = (world.start().await, world.start().await);
    world.append(old, None, b"old").await.unwrap();
    world.append(resumed, None, b"resumed").await.unwrap();
    let stray = roadstead_runtime::SeededIds::new(99).uuid();
    let mut writer = world
        .location("us")
        .stage(stray, &Staged::NOTHING)
        .await
        .unwrap();
    writer.write(b"stray".as_slice().into()).await.unwrap();
    writer.sync().await.unwrap();
    drop(writer);
    assert_eq!(
        world.registry.clean_up_uploads().await.unwrap(),
        Abandoned::default()
    );

    world.clock.advance(day + day / 2);
    world.append(resumed, None, b"!").await.unwrap();
    world.clock.advance(day);
    let young = world.start().await;
    let done = world.registry.clean_up_uploads().await.unwrap();
    assert_eq!(
        done,
        Abandoned {
            sessions: 1,
            strays: 1,
            ..Abandoned::default()
        }
    );
    let gone = world.append(old, None, b"").await;
    assert!(
        matches!(gone, Err(PushError::UploadUnknown { .. })),
        "{gone:?}"
    );
    world
        .finish(resumed, b"", &sha256(b"resumed!"))
        .await
        .unwrap();
    world
        .finish(young, b"young", &sha256(b"young"))
        .await
        .unwrap();
    assert_eq!(world.staged("us").await, 0);
}

#[tokio::test]
async fn many_abandoned_uploads_go_in_one_run_and_a_location_that_is_away_keeps_nobody() {
    let world = World::new().await;
    for _ in 0..250 {
        world.start().await;
    }
    world.clock.advance(Duration::from_hours(49));
    world.us.take_down();
    let done = world.registry.clean_up_uploads().await.unwrap();
    assert_eq!((done.sessions, done.strays), (250, 0));
    assert!(done.failures > 0);
    world.us.heal();
    let done = world.registry.clean_up_uploads().await.unwrap();
    assert_eq!((done.sessions, done.strays, done.failures), (0, 250, 0));
    assert_eq!(world.staged("us").await, 0);
}
