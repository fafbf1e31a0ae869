//! What only Quay's user interface, its builds and its hosted service have.

use super::{Key, Kind, absent, fixed, harmless, used};

const INTERFACE: &str = "Of the user interface.";
const BUILD: &str = "There are no builds here.";
const SALES: &str = "Of Quay's hosted service.";

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    harmless("AVATAR_KIND", Kind::Text, "local", INTERFACE),
    harmless("BRANDING", Kind::Map, "{}", INTERFACE),
    harmless("CONTACT_INFO", Kind::Texts, "[]", INTERFACE),
    harmless("ENTERPRISE_LOGO_URL", Kind::Text, "", INTERFACE),
    harmless("FEATURE_PARTIAL_USER_AUTOCOMPLETE", Kind::Flag, "true", INTERFACE),
    harmless("FEATURE_READER_BUILD_LOGS", Kind::Flag, "false", BUILD),
    harmless("FEATURE_UI_MODELCARD", Kind::Flag, "true", INTERFACE),
    harmless("FEATURE_UI_V2", Kind::Flag, "false", INTERFACE),
    harmless("FEATURE_UI_V2_REPO_SETTINGS", Kind::Flag, "false", INTERFACE),
    harmless("FOOTER_LINKS", Kind::Any, "{}", INTERFACE),
    harmless("PRIVACY_POLICY_URL", Kind::Text, "", INTERFACE),
    harmless("REGISTRY_TITLE", Kind::Text, "Project Quay", INTERFACE),
    harmless("REGISTRY_TITLE_SHORT", Kind::Text, "Project Quay", INTERFACE),
    harmless("SEARCH_MAX_RESULT_PAGE_COUNT", Kind::Number(0, 1_000_000), "10", INTERFACE),
    harmless("SEARCH_RESULTS_PER_PAGE", Kind::Number(0, 1_000_000), "10", INTERFACE),
    harmless("TERMS_OF_SERVICE_URL", Kind::Text, "", INTERFACE),
    harmless("UI_MODELCARD_ARTIFACT_TYPE", Kind::Any, "", INTERFACE),
    harmless("UI_V2_FEEDBACK_FORM", Kind::Any, "", INTERFACE),
    fixed("FEATURE_BUILD_SUPPORT", Kind::Flag, "true", "false", BUILD),
    harmless("FEATURE_BITBUCKET_BUILD", Kind::Flag, "false", BUILD),
    harmless("FEATURE_GITHUB_BUILD", Kind::Flag, "false", BUILD),
    harmless("FEATURE_GITLAB_BUILD", Kind::Flag, "false", BUILD),
    harmless("BITBUCKET_TRIGGER_CONFIG", Kind::Map, "", BUILD),
    harmless("GITHUB_TRIGGER_CONFIG", Kind::Map, "", BUILD),
    harmless("GITLAB_TRIGGER_CONFIG", Kind::Map, "", BUILD),
    absent("BUILD_MANAGER", Kind::Any, "", BUILD),
    harmless("BUILDMAN_HOSTNAME", Kind::Text, "", BUILD),
    harmless("DEFAULT_NAMESPACE_MAXIMUM_BUILD_COUNT", Kind::Any, "", BUILD),
    harmless("DOCKERFILE_BUILD_QUEUE_NAME", Kind::Text, "dockerfilebuild", BUILD),
    used("FEATURE_BILLING", Kind::Flag, "false", "Whether there is `/health/dbrevision`. It changes nothing else."),
    harmless("FEATURE_ENTITLEMENT_RECONCILIATION", Kind::Flag, "false", SALES),
    harmless("FEATURE_EXPORT_COMPLIANCE", Kind::Flag, "false", SALES),
    harmless("EXPORT_COMPLIANCE_ENDPOINT", Kind::Text, "", SALES),
    harmless("FEATURE_RH_MARKETPLACE", Kind::Flag, "false", SALES),
];
