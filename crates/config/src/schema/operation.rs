//! How the registry is watched and what it stands on beside the database and the stores.

use super::{Key, Kind, absent, fixed, harmless, used};

const WORKERS: &str = "Of Quay's worker processes.";
const ARCHIVE: &str = "Belongs to FEATURE_ACTION_LOG_ROTATION.";
const ANYTHING_ELSE: &str = "Every action is logged; no pull fails for want of its entry.";

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    used("ROADSTEAD_REDIS", Kind::Map, "", "Through which Redis processes wake each other and tell each other what has changed: `host`, `port`, `username`, `password`, `db`, `ssl`; or `sentinels` with `service`; or `nodes` of a cluster (default: that of USER_EVENTS_REDIS, else of DATA_MODEL_CACHE_CONFIG)."),
    used("BUILDLOGS_REDIS", Kind::Map, "", "The Redis that health checks report on."),
    used("USER_EVENTS_REDIS", Kind::Map, "", "The Redis of FEATURE_USER_EVENTS, and of hints between processes."),
    used("PULL_METRICS_REDIS", Kind::Map, "", "Read and without effect: belongs to FEATURE_IMAGE_PULL_STATS."),
    fixed("FEATURE_IMAGE_PULL_STATS", Kind::Flag, "false", "false", "Pulls are not counted in Redis."),
    used("DATA_MODEL_CACHE_CONFIG", Kind::Map, "", "The cache that Quay's processes share: here, where it is a Redis, another way for hints between processes."),
    used("FEATURE_USER_EVENTS", Kind::Flag, "false", "Whether people's browsers are told in USER_EVENTS_REDIS what their clients do."),
    used("HEALTH_CHECKER", Kind::List, "[LocalHealthCheck, {}]", "How health is judged: of the parameters, `instance_skips` counts."),
    used("HEALTH_CHECKER_INSTANCE_CHECK_PREFERRED_STORAGE", Kind::Flag, "false", "Whether the instance check fails when the first location of the preference does not work."),
    used("DISKSPACE_HEALTH_THRESHOLD", Kind::Any, "0.01", "The share of the disk that has to be free, 0 to 1."),
    used("DISKSPACE_HEALTH_WARNING_THRESHOLD", Kind::Any, "0.1", "The free share of the disk below which `/health/warning` says so, 0 to 1."),
    absent("ENABLE_HEALTH_DEBUG_SECRET", Kind::Text, "", "What makes health checks tell more: superusers are told more here."),
    used("OTEL_CONFIG", Kind::Map, "", "Where traces and metrics are sent by OTLP: `service_name`, `dt_api_url`, `dt_api_token`."),
    used("FEATURE_OTEL_TRACING", Kind::Flag, "", "Whether they are sent (default: if OTEL_EXPORTER_OTLP_ENDPOINT is set)."),
    used("QUEUE_WORKER_METRICS_REFRESH_SECONDS", Kind::Number(10, 86_400), "300", "How often what the database says is measured for metrics, in seconds."),
    absent("SENTRY_CONFIG", Kind::Map, "", "Errors are logged."),
    absent("PROMETHEUS_PUSHGATEWAY_URL", Kind::Text, "", "Prometheus finds metrics at --metrics-listen."),
    harmless("GLOBAL_PROMETHEUS_STATS_FREQUENCY", Kind::Number(0, 31_536_000), "3600", "Metrics are current when they are asked for."),
    harmless("DEBUGLOG", Kind::Flag, "false", "The environment variable DEBUGLOG, or --log, says what is logged."),
    harmless("USERS_DEBUG", Kind::Any, "", "--log says what is logged."),
    used("LOGS_MODEL", Kind::Choice(&["database", "elasticsearch", "splunk", "transition_reads_both_writes_es", "transition_reads_both_writes_splunk", "transition_reads_es_writes_both", "test"]), "database", "Where actions are logged: in the database, whatever it says."),
    harmless("LOGS_MODEL_CONFIG", Kind::Map, "", "Belongs to LOGS_MODEL."),
    harmless("ALLOW_PULLS_WITHOUT_STRICT_LOGGING", Kind::Flag, "false", ANYTHING_ELSE),
    harmless("ALLOW_WITHOUT_STRICT_LOGGING", Kind::Flag, "false", ANYTHING_ELSE),
    fixed("FEATURE_DISABLE_PULL_LOGS_FOR_FREE_NAMESPACES", Kind::Flag, "false", "false", ANYTHING_ELSE),
    harmless("ACTION_LOG_AUDIT_LOGINS", Kind::Flag, "true", "Signing in is logged by the process, not in the database."),
    absent("ACTION_LOG_AUDIT_DELETE_FAILURES", Kind::Flag, "false", "Failures are logged by the process, not in the database."),
    absent("ACTION_LOG_AUDIT_LOGIN_FAILURES", Kind::Flag, "false", "Failures are logged by the process, not in the database."),
    absent("ACTION_LOG_AUDIT_PULL_FAILURES", Kind::Flag, "false", "Failures are logged by the process, not in the database."),
    absent("ACTION_LOG_AUDIT_PUSH_FAILURES", Kind::Flag, "false", "Failures are logged by the process, not in the database."),
    harmless("ACTION_LOG_MAX_PAGE", Kind::Any, "", "Pages of the log have no end here."),
    fixed("FEATURE_ACTION_LOG_ROTATION", Kind::Flag, "false", "false", "The log of actions is not moved out of the database here; Quay's instances on it do that."),
    harmless("ACTION_LOG_ARCHIVE_LOCATION", Kind::Text, "", ARCHIVE),
    harmless("ACTION_LOG_ARCHIVE_PATH", Kind::Text, "actionlogarchive/", ARCHIVE),
    harmless("ACTION_LOG_ROTATION_THRESHOLD", Kind::Duration, "30d", ARCHIVE),
    harmless("FEATURE_AGGREGATED_LOG_COUNT_RETRIEVAL", Kind::Flag, "true", "Of the user interface."),
    harmless("FEATURE_LOG_EXPORT", Kind::Flag, "true", "The log of actions is not exported to files."),
    harmless("EXPORT_ACTION_LOGS_QUEUE_NAME", Kind::Text, "exportactionlogs", "The log of actions is not exported to files."),
    harmless("FEATURE_USER_LOG_ACCESS", Kind::Flag, "false", "Of the user interface."),
    absent("WEBHOOK_HOSTNAME_BLACKLIST", Kind::Texts, "[]", "Webhooks are made by administrators here."),
    harmless("NOTIFICATION_QUEUE_NAME", Kind::Text, "notification", WORKERS),
    harmless("NAMESPACE_GC_QUEUE_NAME", Kind::Text, "namespacegc", WORKERS),
    harmless("REPOSITORY_GC_QUEUE_NAME", Kind::Text, "repositorygc", WORKERS),
    harmless("QUEUE_CLEANUP_FREQUENCY", Kind::Number(0, 31_536_000), "86400", WORKERS),
    harmless("STAGGER_WORKERS", Kind::Flag, "true", WORKERS),
    harmless("FEATURE_CLEAR_EXPIRED_RAC_ENTRIES", Kind::Flag, "false", WORKERS),
    fixed("FEATURE_SUPERUSER_CONFIGDUMP", Kind::Flag, "false", "false", "`admin config check` and `admin config explain` show the configuration."),
];
