//! Garbage that Quay left: its deleted repository, a namespace that is deleted as Quay does it, tags past their window, collected at both
//! locations; and nothing else.

use roadstead_testkit::RegistrySettings;

use crate::sample::Sample;
use crate::takeover::pull_everything;

/// A registry that has been started once, so that our tables are there, and may collect from now on.
async fn taken_over(sample: &mut Sample) -> RegistrySettings {
    let settings = sample.settings();
    assert!(settings.start().await.stop().await.success());
    sample.collect();
    sample.settings()
}

/// Nothing is left that nobody holds, in the database or in a store, and nothing is amiss.
fn assert_collected(sample: &Sample) {
    let mut world = sample.world();
    world.collected = true;
    world.assert_sound();
}

#[tokio::test]
async fn what_quay_had_deleted_leaves_and_every_tag_still_pulls() {
    let mut sample = Sample::restore();
    let settings = taken_over(&mut sample).await;
    let admin = settings.admin();
    let dry = admin.run(&["gc", "run", "--dry-run"]).await;
    assert!(dry.stdout.contains("\n  acme/doomed\n"), "{dry:?}");
    assert!(dry.status.success());
    assert_eq!(
        sample
            .database
            .number("SELECT count(*) FROM deletedrepository"),
        1
    );
    let run = admin.run(&["gc", "run"]).await;
    assert!(run.status.success(), "{run:?}");
    assert!(run.stdout.contains("1 repository"), "{run:?}");
    for gone in [
        "repository WHERE state = 3",
        "deletedrepository",
        "queueitem WHERE queue_name LIKE 'repositorygc/%'",
        "uploadedblob",
    ] {
        let left = sample
            .database
            .number(&format!("SELECT count(*) FROM {gone}"));
        assert_eq!(left, 0, "{gone}");
    }
    assert_collected(&sample);
    assert_eq!(pull_everything(&sample, &settings, |_| true).await, 43);
}

#[tokio::test]
async fn a_namespace_that_quay_deleted_leaves_with_everything_that_no_other_holds() {
    let mut sample = Sample::restore();
    let settings = taken_over(&mut sample).await;
    // As Quay marks an organisation: its robots gone, disabled, renamed, a marker and a row of its queue.
    for (table, column) in [
        ("federatedlogin", "user_id"),
        ("robotaccounttoken", "robot_account_id"),
        ("robotaccountmetadata", "robot_account_id"),
        ("repositorypermission", "user_id"),
        ("permissionprototype", "delegate_user_id"),
        ("teammember", "user_id"),
        ("repomirrorconfig", "internal_robot_id"),
        ("\"user\"", "id"),
    ] {
        sample.database.run(&format!(
            "DELETE FROM {table} WHERE {column} IN (SELECT id FROM \"user\" WHERE username LIKE 'acme+%')"
        ));
    }
    sample.database.run(
        "WITH gone AS (SELECT id, username, email FROM \"user\" WHERE username = 'acme'),
              queued AS (INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
                         SELECT 'namespacegc/' || id || '/', '{\"marker_id\": 1, \"original_username\": \"acme\"}',
                                now() AT TIME ZONE 'UTC', true, 5, gen_random_uuid()::text FROM gone RETURNING id)
         INSERT INTO deletednamespace (id, namespace_id, marked, original_username, original_email, queue_id)
         SELECT 1, gone.id, now() AT TIME ZONE 'UTC', username, email, queued.id::text FROM gone, queued;
         UPDATE \"user\" SET username = gen_random_uuid()::text, email = gen_random_uuid()::text, enabled = false
         WHERE username = 'acme'",
    );
    let run = settings.admin().run(&["gc", "run"]).await;
    assert!(run.status.success(), "{run:?}");
    assert!(run.stdout.contains("1 namespace"), "{run:?}");
    for gone in [
        "deletednamespace",
        "queueitem WHERE queue_name LIKE 'namespacegc/%'",
        "repository WHERE state = 3",
        "\"user\" WHERE NOT enabled AND organization",
    ] {
        let left = sample
            .database
            .number(&format!("SELECT count(*) FROM {gone}"));
        assert_eq!(left, 0, "{gone}");
    }
    // What was done in the namespace stays in the log, as Quay keeps it.
    let mut world = sample.world();
    world.collected = true;
    let violations: Vec<String> = world
        .violations()
        .into_iter()
        .filter(|violation| !violation.starts_with("logentry3 "))
        .collect();
    assert_eq!(violations, Vec::<String>::new());
    let others = |repository: &str| !repository.starts_with("acme/");
    assert!(pull_everything(&sample, &settings, others).await > 0);
}

#[tokio::test]
async fn two_collections_beside_a_registry_come_to_the_same_end() {
    let mut sample = Sample::restore();
    let settings = taken_over(&mut sample).await;
    // Every tag that ended has ended longer ago than any window.
    sample
        .database
        .run("UPDATE tag SET lifetime_end_ms = lifetime_end_ms - 31536000000 WHERE lifetime_end_ms < extract(epoch FROM now()) * 1000");
    let registry = settings.start().await;
    let admin = settings.admin();
    let (one, two) = tokio::join!(
        admin.run(&["gc", "run", "--json"]),
        admin.run(&["gc", "run", "--json"])
    );
    for run in [one, two] {
        assert!(run.status.success(), "{run:?}");
    }
    // What one of the three had just taken, another finishes.
    let status = admin.run(&["gc", "run", "--json"]).await;
    assert!(status.status.success(), "{status:?}");
    assert!(registry.stop().await.success());
    assert_collected(&sample);
    assert_eq!(pull_everything(&sample, &settings, |_| true).await, 43);
}
