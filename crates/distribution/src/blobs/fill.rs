//! Bringing a blob to this region's own location while clients wait for it: it is read once at another location, written here, and passed on
//! to everybody who asked, each at a speed of its own.
//!
//! The last chunk is passed on only when the digest was right. What lies here is read back before its placement is recorded.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use roadstead_metadata::{Blob, MetadataError, Publication, Publishing, Recorded, UserId};
use roadstead_oci::Digest;
use roadstead_placement::{LocationName, required_locations, should_fill};
use roadstead_storage::{Location, ObjectKey, Staged, StagedWriter, StorageError, Verification};
use tokio::sync::watch;
use uuid::Uuid;

use super::reading::Reading;
use crate::error::PullError;
use crate::options::Writes;
use crate::registry::Inner;

/// How many bytes of a fill are kept for those who follow it, at least until they are safe here. Whoever is further behind reads what is safe.
const WINDOW_BYTES: u64 = 32 << 20;

/// After how many bytes what came is made safe here, so that those who are behind can read it.
const SYNC_BYTES: u64 = 16 << 20;

/// The fills that go on in this process.
#[derive(Debug, Default)]
pub(crate) struct Fills {
    under_way: Mutex<BTreeMap<Digest, Weak<Fill>>>,
}

impl Fills {
    fn find(&self, digest: &Digest) -> Option<Arc<Fill>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .and_then(Weak::upgrade)
    }
}

/// One blob on its way here.
#[derive(Debug)]
struct Fill {
    blob: Blob,
    location: Location,
    upload: Uuid,
    state: watch::Sender<State>,
}

/// How far a fill has come.
#[derive(Debug, Default)]
struct State {
    /// What came last, in order.
    window: VecDeque<Bytes>,
    /// Where the window begins.
    window_start: u64,
    /// How many bytes have come.
    end: u64,
    /// What is safe here.
    safe: Staged,
    outcome: Option<Outcome>,
}

/// How a fill ended.
#[derive(Clone, Debug)]
enum Outcome {
    /// Everything has come, and its digest is right.
    Whole,
    /// Everything has come, and the digest is another.
    Corrupt(Digest),
    /// It did not come, or could not be kept. Whoever follows reads on by itself.
    Failed,
}

/// Follows a fill of the blob, one that is under way or a new one. `None` when it is not to be brought here, or not now.
pub(super) async fn follow(inner: &Arc<Inner>, blob: &Blob, namespace: UserId) -> Option<Follower> {
    if !may_be_due(inner, blob) {
        return None;
    }
    if let Some(fill) = inner.fills.find(&blob.digest) {
        return Some(Follower::of(inner, fill));
    }
    let target = wanted_here(inner, blob, namespace).await?;
    let location = inner.locations.get(&target)?.clone();
    let permit = Arc::clone(&inner.fill_permits).try_acquire_owned().ok()?;
    let fill = Arc::new(Fill {
        blob: blob.clone(),
        location,
        upload: inner.environment.ids.uuid(),
        state: watch::Sender::new(State::default()),
    });
    {
        let mut under_way = inner
            .fills
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, fill| fill.strong_count() > 0);
        // Somebody else may have been faster by a moment.
        if let Some(other) = under_way.get(&blob.digest).and_then(Weak::upgrade) {
            return Some(Follower::of(inner, other));
        }
        under_way.insert(blob.digest.clone(), Arc::downgrade(&fill));
    }
    inner.tasks.spawn({
        let (inner, fill) = (Arc::clone(inner), Arc::clone(&fill));
        async move {
            let _permit = permit;
            run(&inner, &fill).await;
        }
    });
    Some(Follower::of(inner, fill))
}

/// Whether the blob is to be brought here when it is next asked for.
pub(super) async fn is_due(inner: &Inner, blob: &Blob, namespace: UserId) -> bool {
    may_be_due(inner, blob) && wanted_here(inner, blob, namespace).await.is_some()
}

/// What can be told without asking anybody.
fn may_be_due(inner: &Inner, blob: &Blob) -> bool {
    !blob.present.is_empty()
        && !blob.present.contains(inner.topology.preferred())
        && inner.options.writes != Writes::ReadOnly
}

/// This region's own location, if the blob belongs there and it can take it.
async fn wanted_here(inner: &Inner, blob: &Blob, namespace: UserId) -> Option<LocationName> {
    let asked = async {
        let regions = inner.database.namespace_regions(namespace).await?;
        let closed = inner.database.closed_locations().await?;
        Ok::<_, MetadataError>((regions, closed))
    };
    let (regions, closed) = asked.await.ok()?;
    let required = required_locations(&inner.topology, &regions);
    let served_from = inner
        .locations
        .rank_reads(&inner.topology, &blob.present)
        .into_iter()
        .next()?;
    let standings = inner.locations.standings();
    should_fill(
        &inner.topology,
        &blob.present,
        &served_from,
        &required,
        &closed,
        &standings,
    )
    .ok()
}

/// Brings the blob here.
async fn run(inner: &Arc<Inner>, fill: &Fill) {
    let (outcome, writer) = match bring(inner, fill).await {
        Ok(writer) => (Outcome::Whole, Some(writer)),
        Err(Unfilled::Pull(PullError::Corrupt { actual, .. })) => (Outcome::Corrupt(actual), None),
        Err(unfilled) => {
            tracing::info!(
                blob.digest = %fill.blob.digest,
                location.id = %fill.location.name(),
                error = &unfilled as &dyn std::error::Error,
                "Could not bring blob {} to location {}",
                fill.blob.digest,
                fill.location.name()
            );
            (Outcome::Failed, None)
        }
    };
    // Those who follow have all they need; what comes now is for those who ask later.
    fill.state
        .send_modify(|state| state.outcome = Some(outcome));
    let kept = match writer {
        Some(writer) => keep(inner, fill, writer).await,
        None => Err(Unfilled::NothingToKeep),
    };
    inner
        .fills
        .under_way
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&fill.blob.digest);
    match kept {
        Ok(()) => {}
        Err(Unfilled::NothingToKeep) => discard(fill).await,
        Err(unfilled) => {
            tracing::info!(
                blob.digest = %fill.blob.digest,
                location.id = %fill.location.name(),
                error = &unfilled as &dyn std::error::Error,
                "Could not keep blob {} at location {}; replication brings it",
                fill.blob.digest,
                fill.location.name()
            );
            discard(fill).await;
        }
    }
}

/// Why a blob was not brought here. Nobody but the log is told.
#[derive(Debug, thiserror::Error)]
enum Unfilled {
    #[error("it could not be read")]
    Pull(#[from] PullError),
    #[error("it could not be written")]
    Storage(#[from] StorageError),
    #[error("the database did not take it")]
    Metadata(#[from] MetadataError),
    #[error("an older object of it is being deleted here")]
    BeingDeleted,
    #[error("what was written here has other bytes")]
    Damaged,
    #[error("it is not wanted any more")]
    NotWanted,
    #[error("it did not come whole")]
    NothingToKeep,
}

/// Reads the blob once, writes it here and shows it to everybody who follows.
async fn bring(inner: &Arc<Inner>, fill: &Fill) -> Result<StagedWriter, Unfilled> {
    let size = fill.blob.size;
    let mut reading = Reading::open(inner, &fill.blob, 0..size).await?;
    let mut writer = fill.location.stage(fill.upload, &Staged::NOTHING).await?;
    while let Some(chunk) = reading.next_chunk().await? {
        writer.write(chunk.clone()).await?;
        let unsafe_bytes = fill.show(chunk);
        if unsafe_bytes >= SYNC_BYTES && writer.at_boundary() {
            writer.sync().await?;
            fill.state.send_modify(|state| state.safe = writer.staged());
        }
    }
    Ok(writer)
}

/// Makes what came an object of this location, and records it once it was read back.
async fn keep(inner: &Inner, fill: &Fill, mut writer: StagedWriter) -> Result<(), Unfilled> {
    writer.sync().await?;
    let staged = writer.staged();
    drop(writer);
    let digest = &fill.blob.digest;
    let publication = begin(inner, fill).await?;
    let key = ObjectKey::Blob(digest.clone());
    fill.location.publish(fill.upload, &staged, &key).await?;
    if !matches!(
        fill.location.verify(digest).await?,
        Verification::Intact { .. }
    ) {
        return Err(Unfilled::Damaged);
    }
    let recorded = inner
        .database
        .record_copy(fill.blob.storage, &publication, inner.now())
        .await?;
    match recorded {
        Recorded::Yes => {
            tracing::info!(
                blob.digest = %digest,
                location.id = %fill.location.name(),
                "Brought blob {digest} to location {}, where it was asked for",
                fill.location.name()
            );
            Ok(())
        }
        Recorded::BlobGone | Recorded::LocationClosed | Recorded::Lapsed => {
            Err(Unfilled::NotWanted)
        }
    }
}

async fn begin(inner: &Inner, fill: &Fill) -> Result<Publication, Unfilled> {
    let now = inner.now();
    let publishing = inner
        .database
        .begin_publication(
            &fill.blob.digest,
            fill.location.name(),
            inner.publication_until(now),
            now,
        )
        .await?;
    match publishing {
        Publishing::Begun(publication) => Ok(publication),
        Publishing::BeingDeleted => Err(Unfilled::BeingDeleted),
    }
}

async fn discard(fill: &Fill) {
    if let Err(error) = fill.location.discard(fill.upload).await {
        tracing::debug!(
            upload.id = %fill.upload,
            error = &error as &dyn std::error::Error,
            "Could not discard what was brought of a blob; it is cleaned up later"
        );
    }
}

impl Fill {
    /// Shows a chunk to those who follow. Says how many bytes are not safe yet.
    fn show(&self, chunk: Bytes) -> u64 {
        let mut unsafe_bytes = 0;
        self.state.send_modify(|state| {
            state.end += chunk.len() as u64;
            state.window.push_back(chunk);
            // What is safe may go once there is more than anybody needs.
            while let Some(oldest) = state.window.front()
                && state.end - state.window_start > WINDOW_BYTES
                && state.window_start + oldest.len() as u64 <= state.safe.offset
            {
                state.window_start += oldest.len() as u64;
                state.window.pop_front();
            }
            unsafe_bytes = state.end - state.safe.offset;
        });
        unsafe_bytes
    }
}

impl State {
    /// The bytes from `position` to the end of their chunk.
    fn at(&self, position: u64) -> Option<Bytes> {
        let mut start = self.window_start;
        for chunk in &self.window {
            let end = start + chunk.len() as u64;
            if (start..end).contains(&position) {
                let skipped = usize::try_from(position - start).unwrap_or(usize::MAX);
                return Some(chunk.slice(skipped.min(chunk.len())..));
            }
            start = end;
        }
        None
    }
}

/// One client of a fill.
pub(super) struct Follower {
    inner: Arc<Inner>,
    fill: Arc<Fill>,
    state: watch::Receiver<State>,
    position: u64,
    /// What was safe when this client had fallen behind.
    catching_up: Option<BoxStream<'static, Result<Bytes, StorageError>>>,
    /// What this client reads by itself, after the fill has failed.
    alone: Option<Box<Reading>>,
}

/// What a follower does next.
enum Next {
    Take(Bytes),
    CatchUp(Staged),
    End,
    Corrupt(Digest),
    Alone,
    Wait,
}

impl Follower {
    fn of(inner: &Arc<Inner>, fill: Arc<Fill>) -> Self {
        Self {
            inner: Arc::clone(inner),
            state: fill.state.subscribe(),
            fill,
            position: 0,
            catching_up: None,
            alone: None,
        }
    }

    /// The next bytes; the last ones only if all were right.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            if let Some(reading) = &mut self.alone {
                return reading.next_chunk().await;
            }
            if let Some(chunk) = self.next_safe().await {
                self.position += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            match self.next() {
                Next::Take(chunk) => {
                    self.position += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Next::CatchUp(staged) => {
                    let stream = self.fill.location.read_staged_from(
                        self.fill.upload,
                        &staged,
                        self.position,
                    );
                    self.catching_up = Some(stream.boxed());
                }
                Next::End => return Ok(None),
                Next::Corrupt(actual) => {
                    return Err(PullError::Corrupt {
                        expected: self.fill.blob.digest.clone(),
                        actual,
                    });
                }
                Next::Alone => self.go_alone().await?,
                Next::Wait => {
                    // Its sender is part of the fill that this holds.
                    self.state.changed().await.ok();
                }
            }
        }
    }

    fn next(&mut self) -> Next {
        let state = self.state.borrow_and_update();
        if let Some(chunk) = state.at(self.position) {
            return Next::Take(chunk);
        }
        if self.position < state.window_start {
            return Next::CatchUp(state.safe.clone());
        }
        match &state.outcome {
            Some(Outcome::Whole) => Next::End,
            Some(Outcome::Corrupt(actual)) => Next::Corrupt(actual.clone()),
            Some(Outcome::Failed) => Next::Alone,
            None => Next::Wait,
        }
    }

    /// The next of what was safe, as far as it can be read.
    async fn next_safe(&mut self) -> Option<Bytes> {
        match self.catching_up.as_mut()?.next().await {
            Some(Ok(chunk)) => Some(chunk),
            // It has become an object meanwhile, or the location has failed: whoever reads alone finds out.
            Some(Err(_)) => {
                self.catching_up = None;
                self.go_alone().await.ok()?;
                None
            }
            None => {
                self.catching_up = None;
                None
            }
        }
    }

    /// Reads the rest without the fill. It cannot be hashed, like any part of a blob.
    async fn go_alone(&mut self) -> Result<(), PullError> {
        let rest: Range<u64> = self.position..self.fill.blob.size;
        let reading = Reading::open(&self.inner, &self.fill.blob, rest).await?;
        self.alone = Some(Box::new(reading));
        Ok(())
    }
}
