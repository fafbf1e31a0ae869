//! Copies one blob to any number of locations while it is read once. Which blob, from where and to where is decided elsewhere, and so is what is
//! written down about it.
//!
//! ```text
//! source ─> digester ─┬─> target: staged, read back if its store checks nothing
//!    │                ├─> target
//!    └ fails in the   └─> target: fails alone
//!      middle: the next one goes on at the same byte
//! ```

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use roadstead_oci::{DigestState, Digester};
use roadstead_placement::LocationName;
use roadstead_runtime::{Ids, Shutdown};
use roadstead_storage::{ByteRange, Location, ObjectStream, Staged, StagedWriter};
use uuid::Uuid;

use crate::copy::{BlobContent, CopyError, Prepared, StagedCopy};

/// A blob of at most so many bytes is held in memory and written in one request, where the store checks what it is sent: the size of the first
/// part of an upload.
pub(crate) const SMALL_BYTES: u64 = 8 << 20;

/// After how many bytes a large copy is made safe and written down, so that another worker can go on from there: at 100 MB/s every few seconds.
/// Tests move less.
const SAFE_EVERY: u64 = if cfg!(test) { 16 << 20 } else { 256 << 20 };

/// How often one source is opened again after it has failed in the middle, as long as bytes have come since.
const REOPENED_MAX: u32 = 3;

/// What happens around the bytes of a copy.
#[async_trait::async_trait]
pub(crate) trait Attend: Sync {
    /// Waits until so many bytes may go from `source` to the targets.
    ///
    /// # Errors
    /// When the copy is to stop here.
    async fn before(
        &self,
        source: &LocationName,
        targets: &[&LocationName],
        bytes: usize,
    ) -> Result<(), CopyError>;

    /// Writes down what is staged and safe, in the order of the targets that are still copied to. False when it could not be, which does no
    /// harm.
    async fn safe(&self, staged: &[(LocationName, Uuid, Staged)], state: &DigestState) -> bool;
}

/// Nobody attends: as fast as it goes, and nothing is written down.
pub(crate) struct Unattended;

#[async_trait::async_trait]
impl Attend for Unattended {
    async fn before(
        &self,
        _: &LocationName,
        _: &[&LocationName],
        _: usize,
    ) -> Result<(), CopyError> {
        Ok(())
    }

    async fn safe(&self, _: &[(LocationName, Uuid, Staged)], _: &DigestState) -> bool {
        false
    }
}

/// What was staged before.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) upload: Uuid,
    pub(crate) staged: Staged,
}

/// A blob on its way to several locations.
pub(crate) struct FanOut<'a> {
    pub(crate) blob: &'a BlobContent,
    /// Where it is, best first. None only for the empty blob.
    pub(crate) sources: Vec<&'a Location>,
    /// Where it goes, and what is staged there already: all of it lies at or behind the end of `digester`.
    pub(crate) targets: Vec<(&'a Location, Option<Begun>)>,
    /// What has been hashed already.
    pub(crate) digester: Option<Digester>,
    pub(crate) ids: &'a dyn Ids,
    pub(crate) attend: &'a dyn Attend,
}

/// What came of it. `E` is what ended it for all targets, if something did.
#[derive(Debug)]
pub(crate) struct FannedOut<'a> {
    /// One for each target, in their order.
    pub(crate) arms: Result<Vec<Result<StagedCopy<'a>, CopyError>>, Ended>,
    /// What was wrong with sources, in the order of the attempts.
    pub(crate) failures: Vec<(LocationName, CopyError)>,
}

/// Why there is no copy for any target.
#[derive(Debug)]
pub(crate) enum Ended {
    /// No source could be read to its end.
    NoSource,
    /// Something else: what was staged is kept if it was written down.
    Stopped(CopyError),
}

impl<'a> FanOut<'a> {
    /// Reads the blob and stages it at every target. Nothing appears at its key before [`StagedCopy::publish`]. A target that fails is left out and costs the
    /// others nothing but the time that its deadline takes.
    ///
    /// Memory: a small blob whole, once; a large one as much as [`CHUNKS_IN_FLIGHT_MAX`](crate::CHUNKS_IN_FLIGHT_MAX) says for each
    /// directory, and what an upload to an object store may hold for each of those. Dropped, it leaves staged bytes.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> FannedOut<'a> {
        let mut failures = Vec::new();
        let mut sources: VecDeque<&'a Location> = std::mem::take(&mut self.sources).into();
        // Saves the question how long the object is, which costs as much as a small object.
        let mut as_recorded = self.blob.size <= SMALL_BYTES;
        let arms = loop {
            let resumed = self.digester.is_some();
            let (tried, found) = (sources.clone(), failures.len());
            let mut pass = Pass::begin(&mut self, as_recorded).await;
            let ended = tokio::select! {
                ended = pass.run(&mut sources, &mut failures) => ended,
                () = shutdown.wait() => PassEnd::Stopped(CopyError::Interrupted),
            };
            let damaged =
                |(_, error): &(_, CopyError)| matches!(error, CopyError::SourceDamaged { .. });
            let doubtful = match &ended {
                PassEnd::Wrong { .. } => true,
                PassEnd::NoSource => failures.iter().skip(found).any(damaged),
                PassEnd::Done | PassEnd::Stopped(_) => false,
            };
            if as_recorded && doubtful {
                // The size may be what is wrong: each object is read again, to its own end.
                pass.discard().await;
                as_recorded = false;
                failures.truncate(found);
                sources = tried;
                continue;
            }
            match ended {
                PassEnd::Done => break Ok(pass.finish().await),
                PassEnd::Wrong { contributors } => {
                    pass.discard().await;
                    // What an earlier process has read may be what is wrong: everything is read again, and shows.
                    if !resumed {
                        sources.retain(|source| !contributors.contains(source.name()));
                    }
                }
                PassEnd::NoSource => {
                    pass.keep_what_is_safe().await;
                    break Err(Ended::NoSource);
                }
                PassEnd::Stopped(error) => {
                    pass.keep_what_is_safe().await;
                    break Err(Ended::Stopped(error));
                }
            }
            if sources.is_empty() {
                break Err(Ended::NoSource);
            }
        };
        FannedOut { arms, failures }
    }
}

/// One target while it is written to.
struct Arm<'a> {
    target: &'a Location,
    upload: Uuid,
    begun: Staged,
    writer: Option<StagedWriter>,
    failure: Option<CopyError>,
    /// Whether what is staged is written down somewhere.
    safe: bool,
}

impl Arm<'_> {
    /// Whether the bytes are kept in memory for it instead of being staged.
    fn is_whole(&self, blob: &BlobContent) -> bool {
        blob.size <= SMALL_BYTES && self.target.capabilities().checked_writes
    }

    async fn open(&mut self, blob: &BlobContent) {
        if self.is_whole(blob) {
            return;
        }
        let staging = self
            .target
            .stage_copy(self.upload, &blob.digest, &self.begun);
        match staging.await {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => self.failure = Some(CopyError::from_target(error)),
        }
    }

    /// Takes a chunk that begins at byte `at`, but for what is staged already.
    async fn write(&mut self, chunk: &Bytes, at: u64) {
        let (Some(writer), None) = (&mut self.writer, &self.failure) else {
            return;
        };
        let known = usize::try_from(writer.offset().saturating_sub(at)).unwrap_or(usize::MAX);
        if known >= chunk.len() {
            return;
        }
        if let Err(error) = writer.write(chunk.slice(known..)).await {
            self.failure = Some(CopyError::from_target(error));
        }
    }

    async fn sync(&mut self) {
        let (Some(writer), None) = (&mut self.writer, &self.failure) else {
            return;
        };
        if let Err(error) = writer.sync().await {
            self.failure = Some(CopyError::from_target(error));
        }
    }

    async fn seal(&mut self, blob: &BlobContent) {
        self.sync().await;
        let (Some(writer), None) = (&self.writer, &self.failure) else {
            return;
        };
        if !self.target.capabilities().checked_writes {
            let read = self.target.read_staged(self.upload, &writer.staged());
            let checked = blob.check_target(self.target.name(), read).await;
            self.failure = checked.err();
        }
    }

    async fn discard(self, blob: &BlobContent) {
        if !self.is_whole(blob) {
            let staged = self.staged();
            drop(self.writer);
            discard(self.target, blob, self.upload, &staged).await;
        }
    }

    /// What is staged as far as it is known.
    fn staged(&self) -> Staged {
        match &self.writer {
            Some(writer) => writer.staged(),
            None => self.begun.clone(),
        }
    }
}

/// Throws staged bytes away. What cannot be thrown away now is found by the cleanup of abandoned uploads.
pub(crate) async fn discard(target: &Location, blob: &BlobContent, upload: Uuid, staged: &Staged) {
    let discarded = target.discard_copy(upload, &blob.digest, staged);
    if let Err(error) = discarded.await {
        tracing::debug!(
            upload.id = %upload,
            error = &error as &dyn std::error::Error,
            "Could not discard the staged bytes of a copy",
        );
    }
}

/// One reading of the blob from its beginning, or from where it was, to its end.
struct Pass<'a> {
    blob: &'a BlobContent,
    attend: &'a dyn Attend,
    digester: Digester,
    arms: Vec<Arm<'a>>,
    /// The bytes, for targets that get them whole; none once there are too many.
    held: Option<Vec<Bytes>>,
    safe_at: u64,
    /// Whether as many bytes are read as the database says, and not as many as there are.
    as_recorded: bool,
}

enum PassEnd {
    /// The bytes are those of the digest, and safe at every target that has not failed; or all of them have.
    Done,
    /// They are not, and they came from these.
    Wrong {
        contributors: Vec<LocationName>,
    },
    NoSource,
    Stopped(CopyError),
}

impl<'a> Pass<'a> {
    async fn begin(fan_out: &mut FanOut<'a>, as_recorded: bool) -> Self {
        let blob = fan_out.blob;
        let resumed = fan_out.digester.take();
        let ids = fan_out.ids;
        let mut arms: Vec<Arm<'a>> = fan_out
            .targets
            .iter_mut()
            .map(|(target, begun)| {
                let begun = begun.take();
                Arm {
                    target,
                    safe: begun.is_some(),
                    upload: begun
                        .as_ref()
                        .map_or_else(|| ids.uuid(), |begun| begun.upload),
                    begun: begun.map_or(Staged::NOTHING, |begun| begun.staged),
                    writer: None,
                    failure: None,
                }
            })
            .collect();
        join_all(arms.iter_mut().map(|arm| arm.open(blob))).await;
        let digester = resumed.unwrap_or_else(|| Digester::new(blob.digest.algorithm()));
        let whole = arms.iter().any(|arm| arm.is_whole(blob));
        Self {
            blob,
            attend: fan_out.attend,
            safe_at: digester.bytes_hashed() + SAFE_EVERY,
            digester,
            held: whole.then(Vec::new),
            arms,
            as_recorded,
        }
    }

    async fn run(
        &mut self,
        sources: &mut VecDeque<&'a Location>,
        failures: &mut Vec<(LocationName, CopyError)>,
    ) -> PassEnd {
        if self.blob.is_empty() {
            return self.seal().await;
        }
        let mut contributors: Vec<LocationName> = Vec::new();
        let mut reopened = 0;
        while let Some(source) = sources.front().copied() {
            let from = self.digester.bytes_hashed();
            let read = self.read(source, from).await;
            let moved = self.digester.bytes_hashed() > from;
            if moved && !contributors.contains(source.name()) {
                contributors.push(source.name().clone());
            }
            match read {
                Ok(()) => {
                    return match self.judge(source, contributors, failures) {
                        Ok(()) => self.seal().await,
                        Err(ended) => ended,
                    };
                }
                Err(Stop::Source(error)) => {
                    let again = moved && reopened < REOPENED_MAX && !error.disproves_source();
                    if again {
                        reopened += 1;
                    } else {
                        reopened = 0;
                        failures.push((source.name().clone(), error));
                        sources.pop_front();
                    }
                }
                Err(Stop::NoTarget) => return PassEnd::Done,
                Err(Stop::Attendant(error)) => return PassEnd::Stopped(error),
            }
        }
        PassEnd::NoSource
    }

    /// Reads from a source to its end.
    async fn read(&mut self, source: &Location, from: u64) -> Result<(), Stop> {
        let range = ByteRange {
            start: from,
            end: self.as_recorded.then_some(self.blob.size),
        };
        let mut stream: ObjectStream = source
            .read(&self.blob.key(), range)
            .await
            .map_err(|error| Stop::Source(CopyError::from_source(error)))?
            .read_ahead();
        let announced = from + stream.remaining();
        loop {
            let next = stream.try_next().await;
            let Some(chunk) = next.map_err(|error| Stop::Source(CopyError::from_source(error)))?
            else {
                break;
            };
            self.take(source.name(), chunk).await?;
        }
        let read = self.digester.bytes_hashed();
        if read < announced {
            return Err(Stop::Source(CopyError::SourceCutOff {
                location: source.name().clone(),
                read,
                announced,
            }));
        }
        Ok(())
    }

    /// Takes what a source has sent, with a stop where everything is to be made safe.
    async fn take(&mut self, source: &LocationName, mut chunk: Bytes) -> Result<(), Stop> {
        while !chunk.is_empty() {
            let until_safe = self.safe_at.saturating_sub(self.digester.bytes_hashed());
            let until_safe = usize::try_from(until_safe).unwrap_or(usize::MAX);
            let piece = chunk.split_to(until_safe.clamp(1, chunk.len()));
            self.take_piece(source, piece).await?;
        }
        Ok(())
    }

    async fn take_piece(&mut self, source: &LocationName, chunk: Bytes) -> Result<(), Stop> {
        let live: Vec<&LocationName> = self.live().map(|arm| arm.target.name()).collect();
        if live.is_empty() {
            return Err(Stop::NoTarget);
        }
        self.attend
            .before(source, &live, chunk.len())
            .await
            .map_err(Stop::Attendant)?;
        let at = self.digester.bytes_hashed();
        // The writes go on in the background while this thread hashes.
        join_all(self.arms.iter_mut().map(|arm| arm.write(&chunk, at))).await;
        self.digester.update(&chunk);
        if let Some(held) = &mut self.held {
            held.push(chunk);
        }
        if self.digester.bytes_hashed() > self.blob.size {
            // More than there should be; what it hashes to still tells whose mistake it is.
            self.held = None;
        }
        if self.digester.bytes_hashed() >= self.safe_at {
            self.make_safe().await;
        }
        Ok(())
    }

    fn live(&self) -> impl Iterator<Item = &Arm<'a>> {
        self.arms.iter().filter(|arm| arm.failure.is_none())
    }

    async fn make_safe(&mut self) {
        self.safe_at = self.digester.bytes_hashed() + SAFE_EVERY;
        join_all(self.arms.iter_mut().map(Arm::sync)).await;
        let staged: Vec<(LocationName, Uuid, Staged)> = self
            .live()
            .filter_map(|arm| {
                let staged = arm.writer.as_ref()?.staged();
                Some((arm.target.name().clone(), arm.upload, staged))
            })
            .collect();
        if self.attend.safe(&staged, &self.digester.save()).await {
            for arm in self.arms.iter_mut().filter(|arm| arm.failure.is_none()) {
                arm.safe = true;
            }
        }
    }

    /// Whether the bytes are those of the digest, and as many as the database says.
    fn judge(
        &self,
        source: &Location,
        contributors: Vec<LocationName>,
        failures: &mut Vec<(LocationName, CopyError)>,
    ) -> Result<(), PassEnd> {
        let actual = self.digester.clone().finish();
        if actual != self.blob.digest {
            // Of several it is not known which one it was: whoever hears of it looks again.
            failures.extend(contributors.iter().map(|location| {
                let damaged = CopyError::SourceDamaged {
                    location: location.clone(),
                    actual: Some(actual.clone()),
                };
                (location.clone(), damaged)
            }));
            return Err(PassEnd::Wrong { contributors });
        }
        let size = self.digester.bytes_hashed();
        if size != self.blob.size {
            return Err(PassEnd::Stopped(CopyError::SizeDisagrees {
                location: source.name().clone(),
                recorded: self.blob.size,
                actual: size,
            }));
        }
        Ok(())
    }

    /// Makes everything safe and reads back what no store has checked.
    async fn seal(&mut self) -> PassEnd {
        let blob = self.blob;
        join_all(self.arms.iter_mut().map(|arm| arm.seal(blob))).await;
        PassEnd::Done
    }

    /// What there is to publish, and what has failed.
    async fn finish(self) -> Vec<Result<StagedCopy<'a>, CopyError>> {
        let Self {
            blob, arms, held, ..
        } = self;
        join_all(
            arms.into_iter()
                .map(|arm| finish_arm(arm, blob, held.as_deref())),
        )
        .await
    }

    /// After the bytes turned out wrong.
    async fn discard(self) {
        let blob = self.blob;
        join_all(self.arms.into_iter().map(|arm| arm.discard(blob))).await;
    }

    /// What was written down is there for whoever goes on; the rest goes.
    async fn keep_what_is_safe(self) {
        let blob = self.blob;
        let lost = self.arms.into_iter().filter(|arm| !arm.safe);
        join_all(lost.map(|arm| arm.discard(blob))).await;
    }
}

/// Why a reading came to an end.
enum Stop {
    Source(CopyError),
    NoTarget,
    Attendant(CopyError),
}

async fn finish_arm<'a>(
    mut arm: Arm<'a>,
    blob: &'a BlobContent,
    held: Option<&[Bytes]>,
) -> Result<StagedCopy<'a>, CopyError> {
    let whole = arm.is_whole(blob);
    if let Some(failure) = arm.failure.take() {
        arm.discard(blob).await;
        return Err(failure);
    }
    let prepared = match (arm.writer, held) {
        (_, Some(held)) if whole => Prepared::Whole(held.to_vec()),
        (Some(writer), _) => Prepared::Staged {
            upload: arm.upload,
            staged: writer.staged(),
        },
        // It has neither staged nor failed: nobody waited for it.
        (None, _) => return Err(CopyError::Interrupted),
    };
    Ok(StagedCopy {
        target: arm.target,
        blob,
        prepared,
    })
}
