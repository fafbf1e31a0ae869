//! Large copies into a bucket, which go on where a process ended.

use std::time::Duration;

use roadstead_runtime::Environment;
use roadstead_storage::Verification;
use roadstead_test_servers::S3Server;

use super::*;
use crate::world::bucket;

const MIB: usize = 1 << 20;

/// Writes down what is safe, and ends the copy after so many bytes.
struct Ends {
    after: usize,
    read: Mutex<usize>,
    safe: Mutex<Option<(Uuid, Staged, DigestState)>>,
    writes_down: bool,
}

impl Ends {
    fn after(after: usize, writes_down: bool) -> Self {
        Self {
            after,
            read: Mutex::default(),
            safe: Mutex::default(),
            writes_down,
        }
    }
}

#[async_trait::async_trait]
impl Attend for Ends {
    async fn before(
        &self,
        _: &LocationName,
        _: &[&LocationName],
        bytes: usize,
    ) -> Result<(), CopyError> {
        let mut read = self.read.lock().unwrap();
        if *read + bytes > self.after {
            return Err(CopyError::Interrupted);
        }
        *read += bytes;
        Ok(())
    }

    async fn safe(&self, staged: &[(LocationName, Uuid, Staged)], state: &DigestState) -> bool {
        let [(_, upload, staged)] = staged else {
            panic!("there is one target");
        };
        *self.safe.lock().unwrap() = Some((*upload, staged.clone(), state.clone()));
        self.writes_down
    }
}

struct Copied {
    server: S3Server,
    source: Location,
    target: Location,
    blob: BlobContent,
    ids: SeededIds,
}

impl Copied {
    async fn new() -> Self {
        let server = S3Server::start();
        let source = bucket(&server, "us");
        let content: Vec<u8> = (0..(5 * MIB) as u64).flat_map(u64::to_le_bytes).collect();
        let digest = Digest::of(Algorithm::Sha256, &content);
        let blob = BlobContent {
            size: content.len() as u64,
            digest,
        };
        source
            .put(&blob.digest, vec![content.into()])
            .await
            .unwrap();
        Self {
            target: bucket(&server, "eu"),
            source,
            server,
            blob,
            ids: SeededIds::new(SEED),
        }
    }

    fn fan_out<'a>(
        &'a self,
        begun: Option<Begun>,
        state: Option<&DigestState>,
        attend: &'a Ends,
    ) -> FanOut<'a> {
        FanOut {
            blob: &self.blob,
            sources: vec![&self.source],
            targets: vec![(&self.target, begun)],
            digester: state.map(|state| Digester::resume(state).unwrap()),
            ids: &self.ids,
            attend,
        }
    }

    fn parts_sent(&self) -> usize {
        let requests = self.server.requests();
        let parts = requests
            .iter()
            .filter(|request| request.method == "PUT" && request.target.contains("partNumber="));
        parts.count()
    }

    /// All of them are given up.
    async fn open_uploads(&self) -> u64 {
        let tomorrow = Environment::system().now() + Duration::from_hours(24);
        self.target.abort_stale_copies(tomorrow).await.unwrap()
    }
}

#[tokio::test]
async fn a_copy_into_a_bucket_goes_on_at_the_last_safe_part() {
    let world = Copied::new().await;
    let never = Shutdown::default();
    let ends = Ends::after(21 * MIB, true);
    let ended = world.fan_out(None, None, &ends).run(&never).await;
    assert!(matches!(
        ended.arms,
        Err(Ended::Stopped(CopyError::Interrupted))
    ));
    let (upload, staged, state) = ends.safe.lock().unwrap().take().unwrap();
    assert_eq!(staged.offset, 16 << 20);
    let before = world.parts_sent();
    // As it comes out of the database, in another process.
    let begun = Begun {
        upload,
        staged: Staged {
            offset: staged.offset,
            parts: staged.parts.to_string().parse().unwrap(),
        },
    };
    let goes_on = Ends::after(usize::MAX, true);
    let fanned = world
        .fan_out(Some(begun), Some(&state), &goes_on)
        .run(&never);
    for published in publish(fanned.await).await {
        published.unwrap();
    }
    assert_eq!(*goes_on.read.lock().unwrap(), 24 * MIB);
    assert_eq!(world.parts_sent() - before, 3);
    let intact = Verification::Intact {
        size: world.blob.size,
    };
    let verified = world.target.verify(&world.blob.digest).await.unwrap();
    assert_eq!(verified, intact);
    assert_eq!(world.open_uploads().await, 0);
}

#[tokio::test]
async fn a_copy_into_a_bucket_that_nobody_can_go_on_with_is_given_up() {
    let world = Copied::new().await;
    let ends = Ends::after(21 * MIB, false);
    let never = Shutdown::default();
    let ended = world.fan_out(None, None, &ends).run(&never);
    assert!(ended.await.arms.is_err());
    assert!(world.parts_sent() > 0);
    assert_eq!(world.open_uploads().await, 0);
}

#[tokio::test]
async fn two_workers_on_one_blob_both_bring_it_whole() {
    let world = Copied::new().await;
    let (one, other) = (Ends::after(usize::MAX, true), Ends::after(usize::MAX, true));
    let never = Shutdown::default();
    let (one, other) = tokio::join!(
        world.fan_out(None, None, &one).run(&never),
        world.fan_out(None, None, &other).run(&never)
    );
    for fanned in [one, other] {
        for published in publish(fanned).await {
            published.unwrap();
        }
    }
    let verified = world.target.verify(&world.blob.digest).await.unwrap();
    assert!(matches!(verified, Verification::Intact { .. }));
    assert_eq!(world.open_uploads().await, 0);
}
