//! Limits and times of push, pull and lists.

use std::time::Duration;

use roadstead_metadata::Features;

/// Whether the registry takes anything new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// Pushes and deletes are taken.
    #[default]
    Taken,
    /// Pushes and deletes are refused (`DISABLE_PUSHES`).
    PushesDisabled,
    /// The whole registry only reads (`REGISTRY_STATE: readonly`).
    ReadOnly,
}

/// What [`Registry`](crate::Registry) keeps to.
#[derive(Clone, Debug)]
pub struct DistributionOptions {
    /// Whether anything new is taken.
    pub writes: Writes,
    /// The largest blob, in bytes. Default 20 · 2³⁰: Quay's `MAXIMUM_LAYER_SIZE` of `20G` in the larger of its two readings
    /// (its proxy reads 2³⁰, its application 10⁹), so that nothing that passed there is refused here.
    pub blob_bytes_max: u64,
    /// How long the next piece of a request's body may take. Default 60 s, as long as Quay's proxy waits for a client.
    pub body_idle_timeout: Duration,
    /// How long the next piece of an object may take before the next location is asked. Default 30 s, the storage's own
    /// deadline for one step; a caller with a faster store may lower it.
    pub read_idle_timeout: Duration,
    /// How long a request waits for another one that is writing to the same upload in this process. Default 2 s: enough for the
    /// last flush of a request whose client went away; one that is still at work after that is a second client.
    pub session_wait: Duration,
    /// How many bytes of an upload without a stated range arrive before they are flushed to the disk and acknowledged in
    /// the database. Default 64 MiB: a crash costs at most that much of the transfer, and at 100 MB/s the database is asked
    /// less than twice a second.
    pub checkpoint_bytes: u64,
    /// How many bytes of an upload are kept until they are published, so that they can go to another location when theirs fails. Default
    /// 8 MiB: most layers, and as much as one part. A longer upload fails with its location, and its client begins again elsewhere.
    pub kept_bytes_max: u64,
    /// The most memory for that, of all uploads of the process. Default 128 MiB: sixteen uploads of the largest size at once, many more of small
    /// ones. An upload that finds none left fails with its location, as one that is longer.
    pub kept_memory_bytes: u64,
    /// The largest blob whose bytes are all read and checked before the first of them is passed on, so that wrong ones of one location are
    /// followed by another's. Default 8 MiB: of a larger one a client has most when the last chunk shows that they are wrong, and the
    /// transfer is broken off.
    pub verified_bytes_max: u64,
    /// The most memory for that, of all requests of the process. Default 64 MiB. What finds none left is checked while it is passed on.
    pub verified_memory_bytes: u64,
    /// How long the file of a blob that was read to its end, and had its digest, is read without hashing it, while its size, its times and its place on
    /// the disk stay what they were; and how long a blob of up to 8 KiB that was right is answered from memory. Zero: everything is read and hashed every
    /// time. What comes from object stores is hashed every time anyway. Default 10 min.
    pub hashed_again_after: Duration,
    /// The most blobs that are brought to this region at a time because clients wait for them. Default 4, each with the memory of an upload
    /// and 32 MiB for those who wait. What finds no place is passed on, and brought by replication.
    pub fills_max: usize,
    /// How long a request waits for the deletion of an older object of the same digest that is under way at this moment. Default 5 s: a
    /// deletion takes milliseconds, and one that takes longer is that of a store in trouble.
    pub deletion_wait: Duration,
    /// How long an object that was published and not recorded is kept, because its process may have died in between and the client may come
    /// back to finish the upload. Default 1 h.
    pub publication_life: Duration,
    /// How long a blob that was pushed or mounted is kept without a manifest that refers to it, and a manifest that was pushed by
    /// digest without a tag. Default 1 h, Quay's `PUSH_TEMP_TAG_EXPIRATION_SEC`.
    pub unreferenced_hold: Duration,
    /// How long an upload may rest before it is given up. Default 48 h, Quay's `BLOBUPLOAD_DELETION_DATE_THRESHOLD`.
    pub abandoned_after: Duration,
    /// The most tags that come with one manifest. Default 100; the distribution specification asks for 10 or more.
    pub tags_per_push_max: usize,
    /// The most entries of one page of tags or repositories, also when the client asks for more or names no number. Default
    /// 1000: at most 250 kB; Quay stops at 100.
    pub page_entries_max: u32,
    /// The most bytes of manifests whose descriptors share one page of referrers; a page has at least one. Default 4 MiB, what
    /// clients accept as an index. A descriptor carries its manifest's annotations, so manifests bound it.
    pub referrers_page_bytes_max: u64,
    /// The longest that a push waits for the locations that its namespace demands, whatever that says. Default 5 min.
    pub push_wait_max: Duration,
    /// The queue into which a pushed manifest puts the copies of its blobs that are missing, Quay's `REPLICATION_QUEUE_NAME`. `None`
    /// when replication is off. Default `imagestoragereplication`.
    pub replication_queue: Option<String>,
    /// The namespace of repositories whose names have a single segment, Quay's `LIBRARY_NAMESPACE`. Default `library`.
    pub library_namespace: String,
    /// Which of Quay's optional bookkeeping is kept. Default: what Quay keeps without a configuration, which is none of it.
    pub features: Features,
    /// From what pulls are answered while the database is not available.
    pub outage: OutageOptions,
}

/// What is remembered for pulls while the database is not available, and how long it counts.
#[derive(Clone, Copy, Debug)]
pub struct OutageOptions {
    /// The most answers of the database that are remembered: repositories, tags, manifests and blobs. 0: none. Default 10,000, some
    /// 1,000 images of ten layers.
    pub entries_max: usize,
    /// The most bytes that they take, manifests included. Default 32 MiB.
    pub bytes_max: usize,
    /// How long an answer counts after the database gave it. Default 1 h, as long as a token.
    pub content_for: Duration,
    /// How long a repository that was public is taken for one, and pulled from by those who have no grant. Default 10 min.
    pub public_for: Duration,
}

impl Default for OutageOptions {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            bytes_max: 32 << 20,
            content_for: Duration::from_hours(1),
            public_for: Duration::from_mins(10),
        }
    }
}

impl Default for DistributionOptions {
    fn default() -> Self {
        Self {
            writes: Writes::Taken,
            blob_bytes_max: 20 << 30,
            body_idle_timeout: Duration::from_mins(1),
            read_idle_timeout: Duration::from_secs(30),
            session_wait: Duration::from_secs(2),
            checkpoint_bytes: 64 << 20,
            kept_bytes_max: 8 << 20,
            kept_memory_bytes: 128 << 20,
            verified_bytes_max: 8 << 20,
            verified_memory_bytes: 64 << 20,
            hashed_again_after: Duration::from_mins(10),
            fills_max: 4,
            deletion_wait: Duration::from_secs(5),
            publication_life: Duration::from_hours(1),
            unreferenced_hold: Duration::from_hours(1),
            abandoned_after: Duration::from_hours(48),
            tags_per_push_max: 100,
            page_entries_max: 1000,
            referrers_page_bytes_max: 4 << 20,
            push_wait_max: Duration::from_mins(5),
            replication_queue: Some("imagestoragereplication".to_owned()),
            library_namespace: "library".to_owned(),
            features: Features::default(),
            outage: OutageOptions::default(),
        }
    }
}
