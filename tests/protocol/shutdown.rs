//! Stopping while clients are busy: what is under way is finished within a bound, and what is not can go on later.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use roadstead_client::{Client, RequestBody};
use roadstead_oci::{Algorithm, Digest, RepositoryName};
use roadstead_testkit::{Content, RegistryProcess, RegistrySettings, eventually};
use serde_json::json;
use tokio::sync::watch;

/// More than the buffers of a connection hold, so that a transfer stands still with its client.
const BLOB_BYTES: u64 = 12_000_000;

const PUSHES: u64 = 25;
const PULLS: usize = 25;

fn repository() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// A registry that lets what is under way take so many seconds after the first signal.
fn draining(directory: &Path, seconds: u32) -> RegistrySettings {
    let mut settings = RegistrySettings::new(directory.join("data"));
    settings.environment = vec![(
        "QUAY_OVERRIDE_CONFIG".to_owned(),
        json!({"ROADSTEAD_SHUTDOWN_SECONDS": seconds}).to_string(),
    )];
    settings
}

async fn stopping(registry: &RegistryProcess) {
    eventually("it is stopping", async || {
        registry.log().contains("Stopping: ").then_some(())
    })
    .await;
}

/// The content, of which the second half is sent once `released` says so.
fn halting(content: &Content, released: &watch::Receiver<bool>) -> RequestBody {
    let all: Vec<Bytes> = content.pieces().collect();
    let (first, rest) = all.split_at(all.len() / 2);
    let mut released = released.clone();
    let wait = async move {
        released.wait_for(|released| *released).await.ok();
        Bytes::new()
    };
    let pieces = stream::iter(first.to_vec())
        .chain(stream::once(wait))
        .chain(stream::iter(rest.to_vec()));
    RequestBody::stream(pieces.map(Ok::<_, io::Error>), Some(content.size()))
}

#[tokio::test]
async fn fifty_transfers_that_are_under_way_at_the_signal_come_to_their_end() {
    let directory = tempfile::tempdir().unwrap();
    // For a debug build on a busy machine: what is asked is whether they end well, not how fast.
    let settings = draining(directory.path(), 600);
    let registry = settings.start().await;
    let client = settings.client();
    let pulled = Content::new(1, BLOB_BYTES);
    let digest = pulled.digest(Algorithm::Sha256);
    client
        .push_blob(&repository(), &digest, pulled.body())
        .await
        .unwrap();

    let (release, released) = watch::channel(false);
    let (begun, mut count) = watch::channel(0_usize);
    let pull = async || {
        let mut blob = client.pull_verified(&repository(), &digest).await.unwrap();
        blob.chunk().await.unwrap().unwrap();
        begun.send_modify(|count| *count += 1);
        released
            .clone()
            .wait_for(|released| *released)
            .await
            .unwrap();
        blob.drain().await
    };
    let push = async |seed: u64| {
        let content = Content::new(seed, BLOB_BYTES);
        let digest = content.digest(Algorithm::Sha256);
        let upload = client.start_upload(&repository()).await.unwrap();
        let body = halting(&content, &released);
        begun.send_modify(|count| *count += 1);
        client.finish_upload_with(upload, &digest, body).await?;
        Ok::<Digest, roadstead_client::ClientError>(digest)
    };
    let stop = async {
        let all = PULLS + usize::try_from(PUSHES).unwrap();
        count.wait_for(|count| *count == all).await.unwrap();
        // The requests of the pushes are there, too, when the first bytes of each are.
        eventually("every push has begun", async || {
            let staged = settings.files("usstorage").staged();
            let begun = staged
                .iter()
                .filter(|path| path.metadata().is_ok_and(|file| file.len() > 0));
            (begun.count() as u64 == PUSHES).then_some(())
        })
        .await;
        registry.signal("-TERM").await;
        stopping(&registry).await;
        release.send(true).unwrap();
    };
    let (pulls, pushes, ()) = tokio::join!(
        join_all((0..PULLS).map(|_| pull())),
        join_all((0..PUSHES).map(|number| push(100 + number))),
        stop
    );
    for pulled in &pulls {
        assert!(pulled.is_ok(), "a pull was broken: {pulled:?}");
    }
    let pushed: Vec<Digest> = pushes
        .into_iter()
        .map(|pushed| pushed.unwrap_or_else(|error| panic!("a push was broken: {error:?}")))
        .collect();
    assert_eq!((pulls.len(), pushed.len()), (25, 25));
    let mut registry = registry;
    assert!(registry.wait(Duration::from_mins(11)).await.success());

    let registry = settings.start().await;
    let client = settings.client();
    for digest in &pushed {
        client
            .pull_verified(&repository(), digest)
            .await
            .unwrap()
            .drain()
            .await
            .unwrap();
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_at_once_what_the_first_waits_for() {
    let directory = tempfile::tempdir().unwrap();
    let settings = draining(directory.path(), 600);
    let mut registry = settings.start().await;
    let (_stalled, _released) = stalled_pull(&settings.client()).await;
    registry.signal("-TERM").await;
    stopping(&registry).await;
    registry.signal("-INT").await;
    let status = registry.wait(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(130));
}

/// A pull of which nothing more is read.
async fn stalled_pull(client: &Client) -> (roadstead_client::VerifiedStream, Digest) {
    let content = Content::new(1, 4 * BLOB_BYTES);
    let digest = content.digest(Algorithm::Sha256);
    client
        .push_blob(&repository(), &digest, content.body())
        .await
        .unwrap();
    let mut blob = client.pull_verified(&repository(), &digest).await.unwrap();
    blob.chunk().await.unwrap().unwrap();
    (blob, digest)
}

#[tokio::test]
async fn an_upload_that_the_end_of_the_drain_cuts_off_goes_on_after_the_restart() {
    let directory = tempfile::tempdir().unwrap();
    let settings = draining(directory.path(), 1);
    let mut registry = settings.start().await;
    let client = settings.client();
    let content = Content::new(7, BLOB_BYTES);
    let digest = content.digest(Algorithm::Sha256);
    let mut upload = client.start_upload(&repository()).await.unwrap();
    let (_release, released) = watch::channel(false);
    let body = halting(&content, &released);
    let sending = client.upload_stream(&mut upload, body);
    let stop = async {
        eventually("half of it is there", async || {
            let staged = settings.files("usstorage").staged();
            let there = staged.iter().any(|path| {
                path.metadata()
                    .is_ok_and(|file| file.len() >= BLOB_BYTES / 4)
            });
            there.then_some(())
        })
        .await;
        registry.signal("-TERM").await;
    };
    let (sent, ()) = tokio::join!(sending, stop);
    assert!(sent.is_err(), "{sent:?}");
    let status = registry.wait(Duration::from_secs(30)).await;
    assert!(status.success(), "{status}\n{}", registry.log());

    let registry = settings.start().await;
    let client = settings.client();
    let offset = client.upload_status(&mut upload).await.unwrap();
    assert!(offset >= BLOB_BYTES / 4, "{offset}");
    let rest: Vec<u8> = content.pieces_from(offset).flatten().collect();
    client
        .finish_upload_with(upload, &digest, RequestBody::bytes(rest))
        .await
        .unwrap();
    let pulled = client.pull_verified(&repository(), &digest).await.unwrap();
    assert_eq!(pulled.drain().await.unwrap(), BLOB_BYTES);
    assert!(registry.stop().await.success());
}
