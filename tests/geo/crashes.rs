//! kill -9 while clients push: what was acknowledged is there afterwards, and what was not finished goes on.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use roadstead_client::{Client, ClientError, RequestBody, Upload};
use roadstead_oci::{Algorithm, Digest, Reference, RepositoryName};
use roadstead_testkit::{Content, ImageKind, RegistryProcess, Seed, TestImage, setting};
use tokio::sync::Notify;

use crate::deployment::{Deployment, location, stop};

/// Clients that push at the same time.
const PUSHERS: u64 = 4;

/// Size of an upload that is never finished before a crash.
const LONG_UPLOAD_BYTES: u64 = 40 * 1024 * 1024;

/// Size of its chunks.
const CHUNK_BYTES: usize = 700_000;

/// A kill comes after at most so many steps of the clients: pieces of bodies handed over and answers received.
const STEPS_MAX: u64 = 300;

/// Counts the steps of all clients, and says when the moment to kill has come.
struct Moment {
    steps: AtomicU64,
    target: u64,
    reached: Notify,
}

impl Moment {
    fn after(target: u64) -> Arc<Self> {
        Arc::new(Self {
            steps: AtomicU64::new(0),
            target,
            reached: Notify::new(),
        })
    }

    fn step(&self) {
        if self.steps.fetch_add(1, Ordering::Relaxed) + 1 == self.target {
            self.reached.notify_one();
        }
    }
}

/// What the registry has acknowledged.
#[derive(Default)]
struct Ledger {
    blobs: Vec<(RepositoryName, Digest)>,
    images: Vec<(RepositoryName, Reference, TestImage)>,
}

/// An upload that goes on from crash to crash.
struct LongUpload {
    upload: Upload,
    content: Content,
    repository: RepositoryName,
}

#[tokio::test]
async fn whatever_was_acknowledged_survives_kill_9_and_unfinished_uploads_go_on() {
    let seed = Seed::for_test("kill -9", 20_261_122);
    let deployment = Deployment::new();
    let mut ledger = Ledger::default();
    let mut long: Option<LongUpload> = None;
    let mut registry = deployment.settings.start().await;
    for round in 0..setting("ROADSTEAD_TEST_CRASHES", 25) {
        let moment = Moment::after(1 + seed.below(STEPS_MAX));
        let new = push_until_killed(
            &deployment,
            registry,
            &moment,
            round * 1_000_000 + seed.number(),
            &mut long,
        )
        .await;
        println!(
            "round {round}: killed after {} steps; {} blobs and {} images acknowledged",
            moment.target,
            new.blobs.len(),
            new.images.len()
        );
        registry = deployment.settings.start().await;
        let client = deployment.settings.client();
        check(&client, &new).await;
        ledger.blobs.extend(new.blobs);
        ledger.images.extend(new.images);
        if let Some(unfinished) = &mut long {
            assert_nothing_lost(&client, unfinished).await;
        }
        if round % 5 == 4
            && let Some(unfinished) = long.take()
        {
            ledger.blobs.push(finish(&client, unfinished).await);
        }
    }

    // Everything of all rounds, the bytes of every placement, and that it all comes to both locations.
    let client = deployment.settings.client();
    if let Some(unfinished) = long.take() {
        ledger.blobs.push(finish(&client, unfinished).await);
    }
    check(&client, &ledger).await;
    let status = deployment.settings.admin().replication_status().await;
    for name in ["usstorage", "eustorage"] {
        assert_eq!(location(&status, name)["lost"]["blobs"], 0, "{status}");
        assert_eq!(
            location(&status, name)["store"]["checked"],
            "yes",
            "{status}"
        );
        assert_eq!(deployment.settings.files(name).damaged(), [], "{name}");
    }
    assert_eq!(status["blobs_nowhere"], 0, "{status}");
    deployment.wait_until_replicated().await;
    for name in ["usstorage", "eustorage"] {
        let objects = deployment.settings.files(name).objects();
        for (_, _, image) in &ledger.images {
            assert!(
                image.blobs.iter().all(|blob| objects.contains_key(blob)),
                "{name}"
            );
        }
        assert_eq!(deployment.settings.files(name).damaged(), [], "{name}");
    }
    stop(registry).await;
}

/// Clients push until the registry is killed under them. Returns what was acknowledged to them.
async fn push_until_killed(
    deployment: &Deployment,
    mut registry: RegistryProcess,
    moment: &Arc<Moment>,
    seed: u64,
    long: &mut Option<LongUpload>,
) -> Ledger {
    let ledger = Mutex::new(Ledger::default());
    let client = deployment.settings.client();
    let pushers = join_all((0..PUSHERS).map(|pusher| {
        let seed = seed + pusher * 10_000;
        let pusher = Pusher {
            client: &client,
            moment,
            ledger: &ledger,
            seed,
            chance: Seed::new(seed),
        };
        pusher.push_images()
    }));
    let uploader = continue_upload(&client, moment, seed, long);
    let killer = async {
        moment.reached.notified().await;
        registry.kill().await;
    };
    // The clients notice by themselves, in the middle of whatever they do.
    let (errors, error, ()) = tokio::join!(pushers, uploader, killer);
    for error in errors.into_iter().chain([error]) {
        assert!(
            matches!(
                error,
                ClientError::Transport { .. } | ClientError::Connect { .. }
            ),
            "a client was refused instead of cut off: {error:?}"
        );
    }
    ledger.into_inner().unwrap()
}

/// A client that pushes images by changing ways.
struct Pusher<'a> {
    client: &'a Client,
    moment: &'a Arc<Moment>,
    ledger: &'a Mutex<Ledger>,
    seed: u64,
    chance: Seed,
}

impl Pusher<'_> {
    /// Pushes one image after another until that fails.
    async fn push_images(self) -> ClientError {
        for number in 0.. {
            let chance = &self.chance;
            let sizes: Vec<u64> = (0..=chance.below(3))
                .map(|_| chance.below(3_000_000))
                .collect();
            let image = TestImage::new(self.seed + number, ImageKind::Oci, &sizes);
            let repository: RepositoryName =
                format!("team/app-{}", chance.below(4)).parse().unwrap();
            let reference: Reference = format!("v{}", self.seed + number).parse().unwrap();
            if let Err(error) = self.push_image(&image, &repository, &reference).await {
                return error;
            }
        }
        unreachable!("the registry is killed before the numbers run out")
    }

    async fn push_image(
        &self,
        image: &TestImage,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ClientError> {
        let config = RequestBody::bytes(image.config.clone());
        self.client
            .push_blob(repository, &image.blobs[0], config)
            .await?;
        self.acknowledged(|ledger| {
            ledger
                .blobs
                .push((repository.clone(), image.blobs[0].clone()));
        });
        for (digest, layer) in image.blobs[1..].iter().zip(&image.layers) {
            self.push_layer(repository, digest, layer).await?;
            self.acknowledged(|ledger| ledger.blobs.push((repository.clone(), digest.clone())));
        }
        image
            .push_manifest(self.client, repository, reference)
            .await?;
        self.acknowledged(|ledger| {
            ledger
                .images
                .push((repository.clone(), reference.clone(), image.clone()));
        });
        Ok(())
    }

    async fn push_layer(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        layer: &Content,
    ) -> Result<(), ClientError> {
        let pieces = stepping(layer, self.moment);
        match self.chance.below(3) {
            0 => {
                let body = RequestBody::stream(pieces, Some(layer.size()));
                self.client.push_blob(repository, digest, body).await
            }
            1 => {
                let body = RequestBody::stream(pieces, Some(layer.size()));
                assert!(
                    self.client
                        .push_blob_at_once(repository, digest, body)
                        .await?
                );
                Ok(())
            }
            _ => {
                self.client
                    .push_blob_chunked(repository, digest, pieces, 500_000)
                    .await
            }
        }
    }

    fn acknowledged(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.ledger.lock().unwrap());
        self.moment.step();
    }
}

/// The pieces of some content; each counts as a step.
fn stepping(
    content: &Content,
    moment: &Arc<Moment>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
    let moment = Arc::clone(moment);
    content.stream().inspect(move |_| moment.step())
}

/// Goes on with the long upload, or begins one, chunk by chunk until that fails.
async fn continue_upload(
    client: &Client,
    moment: &Moment,
    seed: u64,
    long: &mut Option<LongUpload>,
) -> ClientError {
    loop {
        if long.is_none() {
            let repository: RepositoryName = "team/long".parse().unwrap();
            match client.start_upload(&repository).await {
                Ok(upload) => {
                    *long = Some(LongUpload {
                        upload,
                        content: Content::new(seed, LONG_UPLOAD_BYTES),
                        repository,
                    });
                }
                Err(error) => return error,
            }
        }
        moment.step();
        let unfinished = long.as_mut().expect("it was begun above");
        let rest = unfinished
            .content
            .pieces_from(unfinished.upload.offset())
            .next();
        let sent = match rest {
            Some(piece) => {
                let chunk = piece.slice(..piece.len().min(CHUNK_BYTES));
                client.upload_chunk(&mut unfinished.upload, chunk).await
            }
            // All is there; the registry is asked until it dies.
            None => client
                .upload_status(&mut unfinished.upload)
                .await
                .map(|_| ()),
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

/// What was acknowledged of an upload counts after the crash, and no more than was sent.
async fn assert_nothing_lost(client: &Client, long: &mut LongUpload) {
    let acknowledged = long.upload.offset();
    let offset = client.upload_status(&mut long.upload).await.unwrap();
    assert!(
        (acknowledged..=acknowledged + CHUNK_BYTES as u64).contains(&offset),
        "{acknowledged} bytes were acknowledged, {offset} are there"
    );
}

/// Sends the rest of an upload, from where the registry says it is.
async fn finish(client: &Client, mut long: LongUpload) -> (RepositoryName, Digest) {
    let offset = client.upload_status(&mut long.upload).await.unwrap();
    for piece in long.content.pieces_from(offset) {
        client.upload_chunk(&mut long.upload, piece).await.unwrap();
    }
    let digest = long.content.digest(Algorithm::Sha256);
    client.finish_upload(long.upload, &digest).await.unwrap();
    (long.repository, digest)
}

/// Every acknowledged blob and image is there and hashes to its digest.
async fn check(client: &Client, ledger: &Ledger) {
    for (repository, digest) in &ledger.blobs {
        let stream = client.pull_verified(repository, digest).await;
        let stream = stream
            .unwrap_or_else(|error| panic!("{repository} {digest} was acknowledged: {error}"));
        stream
            .drain()
            .await
            .unwrap_or_else(|error| panic!("{repository} {digest}: {error}"));
    }
    for (repository, reference, image) in &ledger.images {
        let pulled = image.pull(client, repository, reference).await;
        pulled.unwrap_or_else(|error| panic!("{repository} {reference} was acknowledged: {error}"));
    }
}
