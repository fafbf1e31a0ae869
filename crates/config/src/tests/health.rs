//! What health checks ask for.

use super::*;

fn with(lines: &str) -> Fixture {
    Fixture::new(format!("{SMALL}{lines}"))
}

#[test]
fn health_checks_are_as_in_quay_unless_told_otherwise() {
    let health = with("").loaded().config.health;
    assert_eq!(
        health,
        Health {
            instance_skips: vec!["redis".to_owned(), "storage".to_owned()],
            instance_checks_preferred_storage: false,
            storage: StorageCheck::Any,
            disk_free_min: 0.01,
            disk_free_warning: 0.1,
            database_revision: false,
        }
    );
    let health = with(
        "\
HEALTH_CHECKER: [RDSAwareHealthCheck, {access_key: a, secret_key: b, instance_skips: [redis]}]
HEALTH_CHECKER_INSTANCE_CHECK_PREFERRED_STORAGE: true
DISTRIBUTED_STORAGE_VALIDATE_ENDTOEND: true
DISKSPACE_HEALTH_THRESHOLD: 0
DISKSPACE_HEALTH_WARNING_THRESHOLD: 0.25
FEATURE_BILLING: true
",
    )
    .loaded()
    .config
    .health;
    assert_eq!(
        health,
        Health {
            instance_skips: vec!["redis".to_owned()],
            instance_checks_preferred_storage: true,
            storage: StorageCheck::Preferred,
            disk_free_min: 0.0,
            disk_free_warning: 0.25,
            database_revision: true,
        }
    );
    let all = with("DISTRIBUTED_STORAGE_REQUIRES_ALL_AVAILABLE: true\n");
    assert_eq!(all.loaded().config.health.storage, StorageCheck::All);
}

#[test]
fn what_no_health_check_can_ask_for_is_refused() {
    for (line, problem) in [
        ("HEALTH_CHECKER: LocalHealthCheck", "HEALTH_CHECKER"),
        ("HEALTH_CHECKER: []", "HEALTH_CHECKER"),
        (
            "HEALTH_CHECKER: [LocalHealthChek, {}]",
            "did you mean LocalHealthCheck?",
        ),
        ("HEALTH_CHECKER: [LocalHealthCheck, 3]", "HEALTH_CHECKER[1]"),
        (
            "HEALTH_CHECKER: [LocalHealthCheck, {instance_skips: redis}]",
            "instance_skips",
        ),
        (
            "HEALTH_CHECKER: [LocalHealthCheck, {instance_skips: [rediss]}]",
            "did you mean redis?",
        ),
        ("DISKSPACE_HEALTH_THRESHOLD: 1.5", "from 0 to 1"),
        ("DISKSPACE_HEALTH_THRESHOLD: -1", "from 0 to 1"),
        ("DISKSPACE_HEALTH_THRESHOLD: .nan", "from 0 to 1"),
        (
            "DISKSPACE_HEALTH_WARNING_THRESHOLD: '0.1'",
            "without quotes",
        ),
    ] {
        let refused = with(&format!("{line}\n")).refused();
        assert_eq!(refused.len(), 1, "{line}: {refused:?}");
        assert!(refused[0].contains(problem), "{line}: {refused:?}");
    }
}
