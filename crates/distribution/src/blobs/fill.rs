//! Bringing a blob to this region's own location while clients wait for it: it is read once at another location, written here, and passed on
//! to everybody who asked, each at a speed of its own.
//!
//! Whoever follows hashes what it passes on, wherever that came from, and gets the last chunk only when the digest is right. What lies here is
//! read back before it becomes an object, and only then is its placement recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{StreamExt, TryStreamExt};
use roadstead_metadata::{Blob, MetadataError, Publication, Publishing, Recorded, Urgency};
use roadstead_oci::{Digest, Digester};
use roadstead_placement::{
    FailureKind, LocationName, Outcome as Seen, RequiredLocations, Use, should_fill,
};
use roadstead_storage::{Location, ObjectKey, Staged, StagedWriter, StorageError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use uuid::Uuid;

use super::pace::SILENCE_MAX;
use super::reading::Reading;
use super::stream;
use crate::body::within;
use crate::error::PullError;
use crate::options::Writes;
use crate::registry::Inner;

/// How many bytes of a fill are kept for those who follow it, at least until they are safe here. Whoever is further behind reads what is safe.
const WINDOW_BYTES: u64 = if cfg!(test) { 8 << 10 } else { 32 << 20 };

/// After how many bytes what came is made safe here, so that those who are behind can read it.
const SYNC_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 16 << 20 };

/// What may stay in memory of a blob that has become an object here and has made room: as much as any other read holds.
const KEPT_WINDOW_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// How long what came stays in memory at least, unless another fill needs the room: who asks for an image that is new here does not come
/// alone, and two hundred reads at once make any location slow.
const AFTERGLOW: Duration = Duration::from_secs(10);

/// How long those who follow wait for this region's own location, which they could do without.
const OWN_PATIENCE: Duration = SILENCE_MAX;

/// The fills of this process.
#[derive(Debug, Default)]
pub(crate) struct Fills(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    under_way: BTreeMap<Digest, Weak<Fill>>,
    /// Those that have become objects and have what came still in memory, for whoever follows and for a while. The oldest makes room
    /// first.
    over: VecDeque<Weak<Fill>>,
}

impl Fills {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody follows it any more who does not now, but for what is in memory of one that was kept.
    fn end(&self, fill: &Arc<Fill>, kept: bool) {
        let mut known = self.lock();
        known.under_way.remove(&fill.blob.digest);
        if kept {
            fill.is_kept();
            known.over.retain(|fill| fill.strong_count() > 0);
            known.over.push_back(Arc::downgrade(fill));
        }
    }

    /// How many clients a fill has. `None` when there is none.
    #[cfg(test)]
    pub(crate) fn followers(&self, digest: &Digest) -> Option<usize> {
        let fill = self.lock().under_way.get(digest)?.upgrade()?;
        Some(fill.state.receiver_count())
    }
}

impl Known {
    /// A fill that is over, all of which is in memory.
    fn in_memory(&self, digest: &Digest) -> Option<Arc<Fill>> {
        let mut over = self.over.iter().filter_map(Weak::upgrade);
        over.find(|fill| fill.blob.digest == *digest && fill.state.borrow().window_start == 0)
    }
}

/// One blob on its way here, or about which it is not known yet whether it is to come.
#[derive(Debug)]
struct Fill {
    blob: Blob,
    location: Location,
    upload: Uuid,
    state: watch::Sender<State>,
    /// Held for as long as the window may be large: until the last client has gone or another fill needs the room.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
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
    /// Where it lies, as far as is known.
    present: BTreeSet<LocationName>,
    /// Whether it has become an object here, with a placement.
    kept: bool,
}

/// How a fill ended.
#[derive(Clone, Debug)]
enum Outcome {
    /// Everything has come, and its digest is right.
    Whole,
    /// Everything has come, and the digest is another.
    Corrupt(Digest),
    /// It is not to come, did not, or could not be kept. Whoever follows reads on by itself.
    Alone,
}

/// Follows a fill of the blob: one that is over and still in memory, one that is under way or a new one. `None` when it is known without asking
/// that it is not to be brought here.
///
/// Whether it is, is asked once for all who come meanwhile, and only after they can follow: so nobody who has looked the blob up before it came
/// begins another fill when it has come.
pub(super) fn follow(inner: &Arc<Inner>, blob: &Blob) -> Option<Follower> {
    let mut known = inner.fills.lock();
    if let Some(fill) = known.in_memory(&blob.digest) {
        return Some(Follower::of(inner, fill));
    }
    if !may_be_due(inner, blob) {
        return None;
    }
    let location = inner.locations.get(inner.topology.preferred())?.clone();
    if let Some(fill) = known.under_way.get(&blob.digest).and_then(Weak::upgrade) {
        return Some(Follower::of(inner, fill));
    }
    let fill = Arc::new(Fill {
        blob: blob.clone(),
        location,
        upload: inner.environment.ids.uuid(),
        state: watch::Sender::new(State {
            present: blob.present.clone(),
            ..State::default()
        }),
        permit: Mutex::default(),
    });
    // What a process that ends has left behind.
    known.under_way.retain(|_, fill| fill.strong_count() > 0);
    known
        .under_way
        .insert(blob.digest.clone(), Arc::downgrade(&fill));
    drop(known);
    inner.tasks.spawn({
        let (inner, fill) = (Arc::clone(inner), Arc::clone(&fill));
        async move { run(&inner, &fill).await }
    });
    Some(Follower::of(inner, fill))
}

/// Whether the blob is to be brought here when it is next asked for.
pub(super) async fn is_due(inner: &Inner, blob: &Blob) -> bool {
    may_be_due(inner, blob) && is_wanted_here(inner, blob).await
}

/// What can be told without asking anybody.
fn may_be_due(inner: &Inner, blob: &Blob) -> bool {
    // Of the empty blob nothing has to be anywhere.
    blob.size > 0
        && !blob.present.is_empty()
        && !blob.present.contains(inner.topology.preferred())
        && inner.options.writes != Writes::ReadOnly
}

/// Whether the blob belongs at this region's own location, and that can take it.
async fn is_wanted_here(inner: &Inner, blob: &Blob) -> bool {
    let asked = async {
        let database = &inner.database;
        let required = database
            .required_locations(&[blob.storage], inner.demand())
            .await?
            .remove(&blob.storage);
        let required = RequiredLocations::of(required.unwrap_or_default());
        let closed = database.closed_locations().await?;
        Ok::<_, MetadataError>((required, closed))
    };
    let Ok((required, closed)) = asked.await else {
        return false;
    };
    let ranked = inner.locations.rank_reads(&inner.topology, &blob.present);
    let Some(served_from) = ranked.first() else {
        return false;
    };
    should_fill(
        &inner.topology,
        &blob.present,
        served_from,
        &required,
        &closed,
        &inner.locations.standings(),
    )
    .is_ok()
}

/// Brings the blob here, if it is wanted and there is room for it.
async fn run(inner: &Arc<Inner>, fill: &Arc<Fill>) {
    let shutdown = inner.tasks.shutdown();
    let begun = tokio::select! {
        begun = begin(inner, fill) => begun,
        () = shutdown.wait() => None,
    };
    let Some(blob) = begun else {
        inner.fills.end(fill, false);
        fill.end(Outcome::Alone);
        return;
    };
    let brought = tokio::select! {
        brought = bring(inner, fill, &blob) => brought,
        // Those who follow read on by themselves for as long as they are given.
        () = shutdown.wait() => Err(Unfilled::Ending),
    };
    let (outcome, writer) = match brought {
        Ok(writer) => (Outcome::Whole, Some(writer)),
        Err(Unfilled::Pull(PullError::Corrupt { actual, .. })) => (Outcome::Corrupt(actual), None),
        Err(unfilled) => {
            tracing::info!(
                blob.digest = %blob.digest,
                location.id = %fill.location.name(),
                error = &unfilled as &dyn std::error::Error,
                "Could not bring blob {} to location {}",
                blob.digest,
                fill.location.name()
            );
            (Outcome::Alone, None)
        }
    };
    // Those who follow have all they need; what comes now is for those who ask later.
    fill.end(outcome);
    let kept = match writer {
        Some(writer) => keep(inner, fill, writer).await,
        None => Err(Unfilled::NothingToKeep),
    };
    inner.fills.end(fill, kept.is_ok());
    inner.counters.note_fill(kept.is_ok());
    match kept {
        Ok(()) => tokio::select! {
            () = inner.environment.clock.sleep(AFTERGLOW) => (),
            () = shutdown.wait() => (),
        },
        Err(Unfilled::NothingToKeep) => {
            discard(fill).await;
            leave_to_replication(inner, fill).await;
        }
        Err(unfilled) => {
            tracing::info!(
                blob.digest = %blob.digest,
                location.id = %fill.location.name(),
                error = &unfilled as &dyn std::error::Error,
                "Could not keep blob {} at location {}; replication brings it",
                blob.digest,
                fill.location.name()
            );
            discard(fill).await;
            leave_to_replication(inner, fill).await;
        }
    }
}

/// The blob as it is now, when it is to be brought here. Whoever asked has looked it up a while ago: it may have come meanwhile.
async fn begin(inner: &Inner, fill: &Fill) -> Option<Blob> {
    let found = inner.database.find_blob_anywhere(&fill.blob.digest).await;
    let blob = found.ok()?.filter(|now| now.storage == fill.blob.storage)?;
    fill.state
        .send_modify(|state| state.present.clone_from(&blob.present));
    if !may_be_due(inner, &blob) || !is_wanted_here(inner, &blob).await {
        return None;
    }
    let Some(room) = find_room(inner) else {
        leave_to_replication(inner, fill).await;
        return None;
    };
    *fill.lock_permit() = Some(room);
    Some(blob)
}

/// Has the copy made before others, if it is wanted: a client here has asked for the blob, and may ask again.
async fn leave_to_replication(inner: &Inner, fill: &Fill) {
    let urged = inner
        .database
        .urge_copies(&[fill.blob.storage], fill.location.name(), Urgency::Asked)
        .await;
    if let Err(error) = urged {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "Could not make a copy urgent that a client asked for",
        );
    }
}

/// Room for what comes. Those that are over give theirs up for it, the oldest first.
fn find_room(inner: &Inner) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Ok(permit) = Arc::clone(&inner.fill_permits).try_acquire_owned() {
            return Some(permit);
        }
        let oldest = inner.fills.lock().over.pop_front()?;
        if let Some(fill) = oldest.upgrade() {
            fill.make_room();
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
    #[error("the location said that the object is there, and it is not")]
    Lost,
    #[error("it is not wanted any more")]
    NotWanted,
    #[error("it did not come whole")]
    NothingToKeep,
    #[error("the location took too long, and clients wait")]
    TooSlow,
    #[error("the process is ending")]
    Ending,
}

/// Reads the blob once, writes it here and shows it to everybody who follows.
async fn bring(inner: &Arc<Inner>, fill: &Fill, blob: &Blob) -> Result<StagedWriter, Unfilled> {
    let mut chunks = stream::read(inner, blob, 0..blob.size).await?;
    let nothing = Staged::NOTHING;
    let staging = fill.location.stage(fill.upload, &nothing);
    let mut writer = in_time(inner, fill, staging).await?;
    while let Some(chunk) = chunks.try_next().await? {
        in_time(inner, fill, writer.write(chunk.clone())).await?;
        let unsafe_bytes = fill.show(chunk);
        if unsafe_bytes >= SYNC_BYTES && writer.at_boundary() {
            in_time(inner, fill, writer.sync()).await?;
            fill.state.send_modify(|state| state.safe = writer.staged());
        }
    }
    Ok(writer)
}

/// Waits for this region's own location, and not for long: clients wait for what they could read elsewhere.
///
/// A step that takes longer goes on, to its own deadline, after those who follow were told: what it stages late would otherwise
/// lie there after the discard.
async fn in_time<T>(
    inner: &Inner,
    fill: &Fill,
    step: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, Unfilled> {
    let mut step = pin!(step);
    let Some(done) = within(&*inner.environment.clock, OWN_PATIENCE, &mut step).await else {
        let silent = Seen::Failed(FailureKind::Timeout);
        inner
            .locations
            .tell(fill.location.name(), Use::Write, silent);
        fill.end(Outcome::Alone);
        step.await?;
        return Err(Unfilled::TooSlow);
    };
    Ok(done?)
}

/// Makes what came an object of this location, and records it once it was read back.
async fn keep(inner: &Inner, fill: &Fill, mut writer: StagedWriter) -> Result<(), Unfilled> {
    writer.sync().await?;
    let staged = writer.staged();
    drop(writer);
    let digest = &fill.blob.digest;
    // Before it is published: an object that somebody else has brought here meanwhile must not be replaced by wrong bytes.
    let mut digester = Digester::new(digest.algorithm());
    let mut written = fill.location.read_staged(fill.upload, &staged);
    while let Some(chunk) = written.try_next().await? {
        digester.update(&chunk);
    }
    if digester.finish() != *digest {
        return Err(Unfilled::Damaged);
    }
    let publication = begin_publication(inner, fill).await?;
    let key = ObjectKey::Blob(digest.clone());
    fill.location.publish(fill.upload, &staged, &key).await?;
    let found = fill.location.stat(&key).await?;
    if found.is_none_or(|found| found.size != fill.blob.size) {
        return Err(Unfilled::Lost);
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
        // Replication was faster.
        Recorded::Before => Ok(()),
        Recorded::BlobGone | Recorded::LocationClosed | Recorded::Lapsed => {
            Err(Unfilled::NotWanted)
        }
    }
}

async fn begin_publication(inner: &Inner, fill: &Fill) -> Result<Publication, Unfilled> {
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

    /// Tells those who follow what came of it.
    fn end(&self, outcome: Outcome) {
        self.state
            .send_modify(|state| state.outcome = Some(outcome));
    }

    fn lock_permit(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those who are too far behind read the object from now on.
    fn is_kept(&self) {
        self.state.send_modify(|state| {
            state.kept = true;
            state.present.insert(self.location.name().clone());
        });
    }

    /// Gives up what is in memory, but for as much as any other read holds. Whoever needs more reads the object.
    fn make_room(&self) {
        self.state.send_modify(|state| {
            if state.end - state.window_start > KEPT_WINDOW_BYTES {
                state.window.clear();
                state.window_start = state.end;
            }
        });
        self.lock_permit().take();
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
    /// Hashes what is passed on: it may come from several places.
    digester: Digester,
    /// What was safe when this client had fallen behind.
    catching_up: Option<BoxStream<'static, Result<Bytes, StorageError>>>,
    /// What this client reads by itself, after the fill has failed or become an object.
    alone: Option<BoxStream<'static, Result<Bytes, PullError>>>,
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
            digester: Digester::new(fill.blob.digest.algorithm()),
            fill,
            position: 0,
            catching_up: None,
            alone: None,
        }
    }

    /// The next bytes; the last ones only if all were right.
    pub(super) async fn next_chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            if let Some(chunks) = &mut self.alone {
                return chunks.try_next().await;
            }
            if let Some(chunk) = self.next_safe().await? {
                return self.pass(chunk).map(Some);
            }
            match self.next() {
                Next::Take(chunk) => return self.pass(chunk).map(Some),
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

    /// The chunks as they come; after an error nothing.
    pub(super) fn into_chunks(self) -> BoxStream<'static, Result<Bytes, PullError>> {
        unfold(Some(self), |follower| async {
            let mut follower = follower?;
            match follower.next_chunk().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    fn next(&mut self) -> Next {
        let state = self.state.borrow_and_update();
        if let Some(chunk) = state.at(self.position) {
            return Next::Take(chunk);
        }
        if self.position < state.window_start {
            return if state.kept {
                Next::Alone
            } else {
                Next::CatchUp(state.safe.clone())
            };
        }
        match &state.outcome {
            Some(Outcome::Whole) => Next::End,
            Some(Outcome::Corrupt(actual)) => Next::Corrupt(actual.clone()),
            Some(Outcome::Alone) => Next::Alone,
            None => Next::Wait,
        }
    }

    /// Passes a chunk on, the last one only if all bytes were right.
    fn pass(&mut self, chunk: Bytes) -> Result<Bytes, PullError> {
        self.position += chunk.len() as u64;
        self.digester.update(&chunk);
        let blob = &self.fill.blob;
        if self.position == blob.size {
            let actual = self.digester.clone().finish();
            if actual != blob.digest {
                return Err(PullError::Corrupt {
                    expected: blob.digest.clone(),
                    actual,
                });
            }
        }
        Ok(chunk)
    }

    /// The next of what was safe, as far as it can be read.
    async fn next_safe(&mut self) -> Result<Option<Bytes>, PullError> {
        let Some(safe) = &mut self.catching_up else {
            return Ok(None);
        };
        let clock = &*self.inner.environment.clock;
        match within(clock, OWN_PATIENCE, safe.next()).await {
            Some(Some(Ok(chunk))) => return Ok(Some(chunk)),
            Some(None) => {}
            // It has become an object meanwhile, or the location has failed or hangs: whoever reads alone finds out.
            Some(Some(Err(_))) | None => self.go_alone().await?,
        }
        self.catching_up = None;
        Ok(None)
    }

    /// Reads the rest without the fill.
    async fn go_alone(&mut self) -> Result<(), PullError> {
        let mut blob = self.fill.blob.clone();
        blob.present.clone_from(&self.state.borrow().present);
        let chunks = if self.position == 0 {
            stream::read(&self.inner, &blob, 0..blob.size).await?
        } else {
            let digester = self.digester.clone();
            let before = self.fill.location.name().clone();
            let rest = Reading::go_on(&self.inner, &blob, self.position, digester, before).await?;
            rest.into_chunks()
        };
        self.alone = Some(chunks);
        Ok(())
    }
}
