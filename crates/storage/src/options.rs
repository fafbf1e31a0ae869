//! Deadlines and sizes of a location in a local directory.

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
