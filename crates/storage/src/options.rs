//! Deadlines and sizes of a location.

use std::time::Duration;

/// How long a local location waits, and how much it holds.
///
/// All times are for one step (one chunk read or written, one directory entry), not for a whole transfer: a transfer
/// may take as long as it moves.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// One step: opening, looking up, renaming, moving one chunk. Default 30 s: beyond any local disk that works, and
    /// as long as NFS needs to ride out the restart of its server.
    pub step_timeout: Duration,
    /// Flushing to the disk what was written. Default 120 s: at most [`UNSYNCED_BYTES_MAX`] are waiting, so that even a
    /// disk of 2 MB/s gets there.
    ///
    /// [`UNSYNCED_BYTES_MAX`]: crate::StagedWriter::UNSYNCED_BYTES_MAX
    pub sync_timeout: Duration,
    /// One step of a probe. Default 5 s: health must be known before clients give up.
    pub probe_timeout: Duration,
    /// How long [`crate::Location::stage`] and [`crate::Location::publish`] wait for another writer of the same upload in
    /// this process. Default 2 s: enough for the last flush of a writer whose client went away; a writer that is still
    /// at work after that is a second client, and is reported as [`crate::StorageErrorKind::Busy`].
    pub lock_timeout: Duration,
    /// Size of a chunk that is read. Default 1 MiB: measured as the point where larger chunks stop paying. A stream
    /// holds one chunk, two with [`crate::ObjectStream::read_ahead`].
    pub read_chunk_bytes: usize,
    /// Size from which gathered bytes are handed to the disk. Default 1 MiB. A writer holds at most twice this and two
    /// of the caller's own chunks.
    pub write_chunk_bytes: usize,
    /// Calls that may be inside the kernel at a time. Default 64: as deep as a disk's queue, and an eighth of the 512
    /// blocking threads of the async runtime, so that a store that hangs leaves threads to the others.
    pub calls_max: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            step_timeout: Duration::from_secs(30),
            sync_timeout: Duration::from_mins(2),
            probe_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            read_chunk_bytes: 1024 * 1024,
            write_chunk_bytes: 1024 * 1024,
            calls_max: 64,
        }
    }
}

/// How long a location in an object store waits, and how much it holds.
///
/// All times are for one step (one answer, one chunk of a body, one part of an upload), not for a whole transfer: a transfer may take as
/// long as it moves.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// One step that moves little: the answer to a question, the first and each further chunk of a body. Default 10 s: a store that works
    /// answers within one; whoever waits has another location to go to.
    pub step_timeout: Duration,
    /// The slowest that a part of an upload may move, in bytes per second, before it is given up: its deadline is
    /// [`StoreOptions::step_timeout`] and as long as its bytes take at this rate. Default 64 KiB/s: half a megabit.
    pub part_bytes_per_second_min: u64,
    /// Putting an object together from its parts, which the store does by itself: the longest that one request for it may take. Default
    /// 5 min; S3 says that it may take minutes.
    pub assembly_timeout: Duration,
    /// The largest object that the store is asked to copy in one request; larger ones are copied by ranges of a quarter of this, 8 MiB at least.
    /// Default 1 GiB: S3 takes 5, which a store of less than 17 MB/s would not have done within [`StoreOptions::assembly_timeout`].
    pub whole_copy_bytes_max: u64,
    /// One step of a probe. Default 2 s: health must be known before clients give up.
    pub probe_timeout: Duration,
    /// As [`LocalOptions::lock_timeout`].
    pub lock_timeout: Duration,
    /// The most bytes that one upload holds: parts on their way and the one that is gathered. Default 64 MiB; the least is
    /// [`StoreOptions::UPLOAD_MEMORY_BYTES_MIN`].
    pub upload_memory_bytes: u64,
    /// Requests that may be under way at a time, the bodies of reads not counted. Default 256.
    pub calls_max: usize,
}

impl StoreOptions {
    /// The least memory of an upload: two parts of the smallest size.
    pub const UPLOAD_MEMORY_BYTES_MIN: u64 = 2 * PART_BYTES_MIN;

    /// The most parts of one upload that are on their way at a time, however much memory there is. To a store 20 ms away four are as fast as
    /// eight; 100 ms away they move 200 MiB/s, and eight 280.
    pub const UPLOAD_PARTS_AT_ONCE_MAX: usize = 4;

    /// The most parts of one copy, which may go to the other end of the world, that are on their way at a time.
    pub const COPY_PARTS_AT_ONCE_MAX: usize = 8;

    /// How long a part of so many bytes may take.
    pub(crate) fn part_deadline(&self, bytes: u64) -> Duration {
        let moving = bytes / self.part_bytes_per_second_min.max(1);
        self.step_timeout + Duration::from_secs(moving)
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            step_timeout: Duration::from_secs(10),
            part_bytes_per_second_min: 64 << 10,
            assembly_timeout: Duration::from_mins(5),
            whole_copy_bytes_max: 1 << 30,
            probe_timeout: Duration::from_secs(2),
            lock_timeout: Duration::from_secs(2),
            upload_memory_bytes: 64 << 20,
            calls_max: 256,
        }
    }
}

/// The size of the first parts of an upload.
const PART_BYTES_MIN: u64 = 8 << 20;

/// Up to which byte of an upload its parts have 8, 16 and 32 MiB; behind that they have 64. S3 takes 10,000 parts for an object
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>): these are 1,024 + 1,536 + 3,072, which leaves 4,368 for another
/// 273 GiB.
const PART_STEPS: [(u64, u64); 3] = [
    (8 << 30, 8 << 20),
    (32 << 30, 16 << 20),
    (128 << 30, 32 << 20),
];

/// How large the part is that begins at byte `start`. It grows with the upload and never beyond half of the memory.
pub(crate) fn part_bytes(start: u64, memory: u64) -> u64 {
    let wanted = PART_STEPS
        .iter()
        .find(|(until, _)| start < *until)
        .map_or(64 << 20, |(_, bytes)| *bytes);
    wanted.min(memory / 2).max(PART_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_largest_layers_are_no_more_than_s3_takes() {
        for (memory, bytes) in [
            (128 << 20, 400_u64 << 30),
            (64 << 20, 260 << 30),
            (16 << 20, 78 << 30),
        ] {
            let (mut start, mut parts) = (0, 0);
            while start < bytes {
                let part = part_bytes(start, memory);
                assert!(part * 2 <= memory);
                start += part;
                parts += 1;
            }
            assert!(
                parts <= 10_000,
                "{parts} parts with {memory} bytes of memory"
            );
        }
    }
}
