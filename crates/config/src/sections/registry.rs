//! What clients may push, pull and see.

use std::num::NonZeroU64;
use std::time::Duration;

use figment::value::Value;

use crate::reader::Keys;

/// What clients may push, pull and see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// `REGISTRY_STATE`: `normal` (the default) or `readonly`.
    pub state: RegistryState,
    /// `DISABLE_PUSHES`: pulls go on, pushes and deletes are refused (default: false). Needed to remove a location.
    pub disable_pushes: bool,
    /// `CREATE_NAMESPACE_ON_PUSH`: whether a push into a namespace that does not exist makes it (default: false; true for a
    /// registry without a configuration).
    pub create_namespace_on_push: bool,
    /// `CREATE_PRIVATE_REPO_ON_PUSH`: whether a repository that a push makes is private (default: true) or public.
    pub create_private_repo_on_push: bool,
    /// `FEATURE_ANONYMOUS_ACCESS`: whether public repositories can be pulled without an account (default: true).
    pub anonymous_access: bool,
    /// `FEATURE_PUBLIC_CATALOG`: whether the catalog lists public repositories to those without rights in them (default:
    /// false).
    pub public_catalog: bool,
    /// `FEATURE_PROXY_CACHE`: whether the members of an organisation that caches another registry may pull everything in it
    /// (default: false).
    pub proxy_cache: bool,
    /// `LIBRARY_NAMESPACE` with `FEATURE_LIBRARY_SUPPORT` (default: true): the namespace that a name of one part stands in
    /// (default: `library`). `None`: such names are refused.
    pub library_namespace: Option<String>,
    /// `MAXIMUM_LAYER_SIZE`: the largest blob, in bytes (default: `20G`). Units are binary, as in Quay's proxy; Quay itself
    /// counts in powers of 1000. There is no upper limit; `null` means none at all.
    pub maximum_layer_size: Option<u64>,
    /// `ROADSTEAD_MANIFEST_SIZE_LIMIT`: the largest manifest, in bytes, 64K to 64M (default: `4M`, what the distribution
    /// specification asks registries to take).
    pub manifest_size_limit: usize,
    /// `ROADSTEAD_UPLOAD_CHUNK_MIN_LENGTH`: the least bytes of a chunk that is not the last, announced to clients as
    /// `OCI-Chunk-Min-Length`, up to `1G`. Default: none is announced.
    pub upload_chunk_min_length: Option<NonZeroU64>,
    /// `PUSH_TEMP_TAG_EXPIRATION_SEC`: for how long an uploaded blob that no manifest names yet is kept (default: 3600).
    pub push_temp_tag_expiration: Duration,
    /// `BLOBUPLOAD_DELETION_DATE_THRESHOLD`, in minutes: after how long without progress an unfinished upload is given up
    /// (default: 2880).
    pub blob_upload_threshold: Duration,
    /// `V2_PAGINATION_SIZE`: the most entries of a page of tags or repositories (default: 50). Pages hold at least 1000
    /// here, so that only a larger number changes anything.
    pub pagination_size: usize,
}

/// What a registry as a whole may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryState {
    /// Everything.
    Normal,
    /// Serve what is there; change nothing, neither in the database nor in the stores.
    ReadOnly,
}

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

impl Registry {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let standalone = keys.data_dir().is_some();
        let library_namespace = keys
            .text("LIBRARY_NAMESPACE")
            .unwrap_or_else(|| "library".to_owned());
        let library_support = keys.flag("FEATURE_LIBRARY_SUPPORT", true);
        Self {
            state: keys.choice(
                "REGISTRY_STATE",
                RegistryState::Normal,
                &[
                    ("normal", RegistryState::Normal),
                    ("readonly", RegistryState::ReadOnly),
                ],
            ),
            disable_pushes: keys.flag("DISABLE_PUSHES", false),
            create_namespace_on_push: keys.flag("CREATE_NAMESPACE_ON_PUSH", standalone),
            create_private_repo_on_push: keys.flag("CREATE_PRIVATE_REPO_ON_PUSH", true),
            anonymous_access: keys.flag("FEATURE_ANONYMOUS_ACCESS", true),
            public_catalog: keys.flag("FEATURE_PUBLIC_CATALOG", false),
            proxy_cache: keys.flag("FEATURE_PROXY_CACHE", false),
            library_namespace: library_support.then_some(library_namespace),
            maximum_layer_size: match keys.value("MAXIMUM_LAYER_SIZE") {
                Some(Value::Empty(..)) => None,
                _ => Some(keys.size("MAXIMUM_LAYER_SIZE", 20 * GIB, 1..=u64::MAX)),
            },
            manifest_size_limit: usize::try_from(keys.size(
                "ROADSTEAD_MANIFEST_SIZE_LIMIT",
                4 * MIB,
                MIB / 16..=64 * MIB,
            ))
            .unwrap_or(usize::MAX),
            upload_chunk_min_length: NonZeroU64::new(keys.size(
                "ROADSTEAD_UPLOAD_CHUNK_MIN_LENGTH",
                0,
                0..=GIB,
            )),
            push_temp_tag_expiration: keys.seconds(
                "PUSH_TEMP_TAG_EXPIRATION_SEC",
                3600,
                1..=31_536_000,
            ),
            blob_upload_threshold: Duration::from_secs(
                60 * keys.number("BLOBUPLOAD_DELETION_DATE_THRESHOLD", 2880, 1..=525_600),
            ),
            pagination_size: usize::try_from(keys.number("V2_PAGINATION_SIZE", 50, 1..=10_000))
                .unwrap_or(usize::MAX),
        }
    }
}
