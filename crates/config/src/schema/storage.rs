//! Where blobs are, how they get from there to clients, and how they are copied.

use super::{Key, Kind, absent, harmless, used};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    used("DISTRIBUTED_STORAGE_CONFIG", Kind::Map, "", "Every location of every region: a map of ids, each with `[DRIVER, {PARAMETER: VALUE}]`. The same in every region. Required."),
    used("DISTRIBUTED_STORAGE_PREFERENCE", Kind::Texts, "", "Ids in the order in which this region prefers them: the first gets what is pushed here. QUAY_DISTRIBUTED_STORAGE_PREFERENCE replaces it. Required with replication; the one key that differs between regions.").of_region(),
    used("DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS", Kind::Texts, "", "Ids of the locations that get a copy of every blob."),
    used("FEATURE_STORAGE_REPLICATION", Kind::Flag, "false", "Whether what is pushed to one location is copied to the others."),
    used("FEATURE_PROXY_STORAGE", Kind::Flag, "false", "Whether clients are redirected to addresses of the registry itself instead of the store's."),
    used("CDN_SPECIFIC_NAMESPACES", Kind::Texts, "[]", "The namespaces whose blobs come from the CDN even for clients beside the store."),
    used("REPLICATION_QUEUE_NAME", Kind::Text, "imagestoragereplication", "The name of the queue, in which Quay's workers look as well."),
    harmless("STORAGE_REPLICATION_PROCESSING_SECONDS", Kind::Number(1, 86_400), "1200", "Leases are kept alive here for as long as a copy takes."),
    used("DISTRIBUTED_STORAGE_VALIDATE_ENDTOEND", Kind::Flag, "false", "Whether the end-to-end check needs every location of the preference, not only one that can be read and one that can be written."),
    used("DISTRIBUTED_STORAGE_REQUIRES_ALL_AVAILABLE", Kind::Flag, "false", "Whether the end-to-end check needs every location."),
    used("ROADSTEAD_LOCATION_COSTS", Kind::Map, "{}", "What it costs to read from a location, by its id, 0 to 1000000000: of two that are otherwise as good, the cheaper is read.").of_region(),
    used("ROADSTEAD_STREAM_NETWORKS", Kind::Texts, "[]", "The networks, such as 10.0.0.0/8, whose clients are never redirected to a store.").of_region(),
    used("ROADSTEAD_REDIRECT_NETWORKS", Kind::Texts, "", "The networks whose clients are redirected, where only these are. Without it everybody is.").of_region(),
    used("ROADSTEAD_UPLOAD_MEMORY_BYTES", Kind::Size(16 * MIB, 16 * GIB), "64M", "The most that one upload holds in parts on their way to a store.").of_region(),
    used("ROADSTEAD_REPLICATION_CONCURRENCY", Kind::Number(1, 256), "32", "The most blobs that one process copies at a time.").of_region(),
    used("ROADSTEAD_REPLICATION_MEMORY_BYTES", Kind::Size(16 * MIB, 64 * GIB), "256M", "The most that the copies of one process hold together.").of_region(),
    used("ROADSTEAD_RECONCILE_SECONDS", Kind::Number(1, 86_400), "60", "How often a process looks for blobs that miss a copy and have no job."),
    used("ROADSTEAD_PUSH_WAIT_SECONDS", Kind::Number(1, 3600), "300", "The longest that a push waits for the locations that its namespace demands."),
    used("ROADSTEAD_SCRUB_DAYS", Kind::Number(0, 3650), "30", "In how many days every object of a location is read back; 0: never."),
    used("ROADSTEAD_SCRUB_BYTES_PER_SECOND", Kind::Size(64 << 10, 64 * GIB), "16M", "The most that one process reads back in a second.").of_region(),
    harmless("CHUNK_CLEANUP_QUEUE_NAME", Kind::Text, "chunk_cleanup", "What is left of uploads is removed without a queue."),
    harmless("CLEAN_BLOB_UPLOAD_FOLDER", Kind::Flag, "true", "What is left of uploads is always removed."),
    harmless("BLOBUPLOAD_CLEANUP_FREQUENCY", Kind::Number(1, 31_536_000), "3600", "What is left of uploads is looked for every hour."),
    harmless("FEATURE_ENABLE_STALE_MPU_CLEANUP", Kind::Flag, "true", "What is left of uploads is always removed."),
    harmless("USERFILES_LOCATION", Kind::Text, "", "Files for builds: there are no builds here."),
    harmless("USERFILES_PATH", Kind::Text, "userfiles/", "Files for builds: there are no builds here."),
    harmless("LOG_ARCHIVE_LOCATION", Kind::Text, "", "Logs of builds: there are no builds here."),
    harmless("LOG_ARCHIVE_PATH", Kind::Text, "logarchive/", "Logs of builds: there are no builds here."),
    absent("CDN_HOST", Kind::Text, "", "Files of the user interface."),
    harmless("USE_CDN", Kind::Flag, "false", "Files of the user interface."),
];
