//! What clients may push, pull and see.

use super::{Key, Kind, absent, fixed, harmless, live, refused, used};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const V1: &str = "The first version of the protocol is not spoken here.";
const KINDS: &str = "Manifests of every media type are taken.";

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    used("REGISTRY_STATE", Kind::Choice(&["normal", "readonly"]), "normal", "`readonly`: what is there is served, nothing is changed."),
    live("DISABLE_PUSHES", Kind::Flag, "false", "Pulls go on, pushes and deletes are refused."),
    refused("ACCOUNT_RECOVERY_MODE", Kind::Flag, "false", "There is no such mode here: use REGISTRY_STATE or DISABLE_PUSHES."),
    used("CREATE_NAMESPACE_ON_PUSH", Kind::Flag, "false", "Whether a push into a namespace that does not exist makes it."),
    used("CREATE_PRIVATE_REPO_ON_PUSH", Kind::Flag, "true", "Whether a repository that a push makes is private."),
    used("FEATURE_ANONYMOUS_ACCESS", Kind::Flag, "true", "Whether public repositories can be pulled without an account."),
    used("FEATURE_PUBLIC_CATALOG", Kind::Flag, "false", "Whether the catalogue lists public repositories to those without rights in them."),
    used("FEATURE_PROXY_CACHE", Kind::Flag, "false", "Whether members of an organisation that caches another registry may pull everything in it."),
    harmless("FEATURE_PROXY_CACHE_BLOB_DOWNLOAD", Kind::Flag, "true", "What another registry has is not fetched here."),
    harmless("PROXY_CACHE_BLOB_QUEUE_NAME", Kind::Text, "proxycacheblob", "What another registry has is not fetched here."),
    used("LIBRARY_NAMESPACE", Kind::Text, "library", "The namespace that a name of one part stands in."),
    used("FEATURE_LIBRARY_SUPPORT", Kind::Flag, "true", "Whether names of one part are taken."),
    used("MAXIMUM_LAYER_SIZE", Kind::Size(1, u64::MAX), "20G", "The largest blob; units are binary. `null`: none is too large."),
    used("ROADSTEAD_MANIFEST_SIZE_LIMIT", Kind::Size(MIB / 16, 64 * MIB), "4M", "The largest manifest."),
    used("ROADSTEAD_UPLOAD_CHUNK_MIN_LENGTH", Kind::Size(0, GIB), "0", "The least bytes of a chunk that is not the last, as clients are told; 0: none."),
    used("PUSH_TEMP_TAG_EXPIRATION_SEC", Kind::Number(1, 31_536_000), "3600", "For how long an uploaded blob that no manifest names yet is kept."),
    used("BLOBUPLOAD_DELETION_DATE_THRESHOLD", Kind::Number(1, 525_600), "2880", "After how many minutes without progress an unfinished upload is given up."),
    used("V2_PAGINATION_SIZE", Kind::Number(1, 10_000), "50", "The most entries of a page. Pages hold at least 1000 here."),
    fixed("FEATURE_EXTENDED_REPOSITORY_NAMES", Kind::Flag, "true", "true", "Names of repositories may hold slashes."),
    fixed("FEATURE_ADVERTISE_V2", Kind::Flag, "true", "true", "The protocol is always spoken."),
    harmless("BLACKLIST_V2_SPEC", Kind::Text, "<1.6.0", V1),
    harmless("FEATURE_RESTRICTED_V1_PUSH", Kind::Flag, "false", V1),
    harmless("V1_PUSH_WHITELIST", Kind::Texts, "[]", V1),
    harmless("SIGNED_GRANT_EXPIRATION_SEC", Kind::Number(0, 31_536_000), "86400", V1),
    fixed("FEATURE_GENERAL_OCI_SUPPORT", Kind::Flag, "true", "true", KINDS),
    fixed("FEATURE_HELM_OCI_SUPPORT", Kind::Flag, "true", "true", KINDS),
    harmless("ALLOWED_OCI_ARTIFACT_TYPES", Kind::Map, "{}", KINDS),
    absent("V22_NAMESPACE_BLACKLIST", Kind::Texts, "[]", KINDS),
    harmless("OCI_NAMESPACE_WHITELIST", Kind::Texts, "[]", KINDS),
    fixed("FEATURE_REFERRERS_API", Kind::Flag, "true", "true", "Referrers are always answered."),
    fixed("FEATURE_SPARSE_INDEX", Kind::Flag, "false", "false", "An index is taken when all that it names is there."),
    fixed("FEATURE_SIGNING", Kind::Flag, "false", "false", "Signatures of Notary's first version."),
    harmless("TUF_SERVER", Kind::Any, "", "Signatures of Notary's first version."),
    harmless("TUF_GUN_PREFIX", Kind::Any, "", "Signatures of Notary's first version."),
    harmless("FEATURE_APP_REGISTRY", Kind::Flag, "false", "Applications of Quay's own kind are not kept here."),
    harmless("FEATURE_READONLY_APP_REGISTRY", Kind::Flag, "false", "Applications of Quay's own kind are not kept here."),
    harmless("MAXIMUM_CNR_LAYER_SIZE", Kind::Any, "1G", "Applications of Quay's own kind are not kept here."),
];
