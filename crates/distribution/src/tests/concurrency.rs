//! Two writers on one upload: one wins each time, the other is told, and their bytes are never mixed.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_oci::ErrorCode;

use super::world::{World, by_hand, chunk, content, sha256, whole};
use crate::{Announced, PushError, Registry};

#[tokio::test]
async fn a_second_writer_is_told_that_the_upload_is_busy_and_the_first_one_wins() {
    let world = World::new().await;
    let id = world.start().await;
    let uploads = world.registry.uploads();
    let (sender, body) = by_hand();
    let first = uploads.append(&world.repository, id, Announced::NOTHING, body);
    let second = async {
        for piece in [b"abc", b"def", b"ghi"] {
            sender.send(Ok(piece.as_slice().into())).await.unwrap();
        }
        let append = uploads.append(&world.repository, id, Announced::NOTHING, whole(b"other"));
        let passing = async {
            loop {
                world.clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        let refused = tokio::select! { result = append => result, () = passing => unreachable!() };
        drop(sender);
        refused
    };
    let (first, second) = tokio::join!(first, second);
    let refused = second.unwrap_err();
    assert!(
        matches!(refused, PushError::SessionBusy { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.code(), ErrorCode::BlobUploadInvalid);
    assert_eq!(first.unwrap().offset, 9);
    world.finish(id, b"", &sha256(b"abcdefghi")).await.unwrap();
    assert_eq!(
        world.pull(&sha256(b"abcdefghi")).await.unwrap(),
        b"abcdefghi"
    );
}

#[tokio::test]
async fn a_writer_in_another_process_is_kept_out_as_well() {
    let world = World::new().await;
    let elsewhere = world.another_registry().await;
    let id = world.start().await;
    let uploads = world.registry.uploads();
    let (sender, body) = by_hand();
    let first = uploads.append(&world.repository, id, Announced::NOTHING, body);
    let second = async {
        for piece in [b"abc", b"def", b"ghi"] {
            sender.send(Ok(piece.as_slice().into())).await.unwrap();
        }
        let other = elsewhere.uploads();
        let append = other
            .append(&world.repository, id, Announced::NOTHING, whole(b"other"))
            .await;
        let finish = other
            .finish(
                &world.repository,
                id,
                &sha256(b""),
                Announced::NOTHING,
                whole(b""),
            )
            .await;
        drop(sender);
        (append, finish)
    };
    let (first, (append, finish)) = tokio::join!(first, second);
    assert!(
        matches!(append, Err(PushError::SessionBusy { .. })),
        "{append:?}"
    );
    assert!(
        matches!(finish, Err(PushError::SessionBusy { .. })),
        "{finish:?}"
    );
    assert_eq!(first.unwrap().offset, 9);
    elsewhere
        .uploads()
        .finish(
            &world.repository,
            id,
            &sha256(b"abcdefghi"),
            Announced::NOTHING,
            whole(b""),
        )
        .await
        .unwrap();
    assert_eq!(
        world.pull(&sha256(b"abcdefghi")).await.unwrap(),
        b"abcdefghi"
    );
}

/// Lets four clients with contents of their own race for each chunk, and gives what the winners sent.
async fn race(world: &World, registries: &[&Registry], seed: u64) -> Result<Vec<u8>, PushError> {
    const LENGTH: u64 = 1_500;
    let id = world.start().await;
    let mut won = Vec::new();
    for round in 0..6 {
        let offset = won.len() as u64;
        let contents: Vec<_> = (0..4)
            .map(|client| content(seed * 1_000 + round * 10 + client, 1_500))
            .collect();
        let clients = contents.iter().zip(registries.iter().cycle());
        let results = join_all(clients.map(|(content, registry)| async {
            let announced = chunk(offset, offset + LENGTH - 1);
            let uploads = registry.uploads();
            uploads
                .append(&world.repository, id, announced, whole(content))
                .await
        }))
        .await;
        let mut winners = Vec::new();
        for (result, content) in results.into_iter().zip(&contents) {
            match result {
                Ok(_) => winners.push(content),
                Err(PushError::SessionBusy { .. } | PushError::RangeNotContiguous { .. }) => {}
                Err(other) => panic!("seed {seed}, round {round}: {other:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "seed {seed}, round {round}");
        won.extend_from_slice(winners[0]);
    }
    world.finish(id, b"", &sha256(&won)).await?;
    Ok(won)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_clients_that_race_for_a_chunk_one_wins_and_the_blob_is_the_winners() {
    let world = World::new().await;
    for seed in 0..5 {
        let won = race(&world, &[&world.registry], seed).await.unwrap();
        assert_eq!(world.pull(&sha256(&won)).await.unwrap(), won, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_clients_that_race_in_two_processes_no_two_win_and_bytes_are_never_mixed() {
    let world = World::new().await;
    let elsewhere = world.another_registry().await;
    for seed in 0..5 {
        let won = race(&world, &[&world.registry, &elsewhere], seed)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_eq!(world.pull(&sha256(&won)).await.unwrap(), won, "seed {seed}");
    }
}
