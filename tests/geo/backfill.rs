//! `admin backfillreplication`, and one job per blob and target.

use std::collections::BTreeSet;

use crate::deployment::{Deployment, NamedImage, location, stop};

#[tokio::test]
async fn blobs_pushed_before_replication_was_switched_on_are_queued_once_each() {
    let mut deployment = Deployment::new();
    let off = (
        "QUAY_OVERRIDE_CONFIG".to_owned(),
        r#"{"FEATURE_STORAGE_REPLICATION": false}"#.to_owned(),
    );
    deployment.settings.environment.push(off);
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    let images: Vec<NamedImage> = (0..4).map(NamedImage::new).collect();
    for named in &images {
        named
            .image
            .push(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    let disabled = deployment
        .settings
        .admin()
        .run(&["backfillreplication"])
        .await;
    assert_eq!(
        disabled.expect_success(),
        "Storage replication is not enabled\n"
    );
    stop(registry).await;
    assert!(deployment.settings.files("eustorage").objects().is_empty());

    deployment.settings.environment.clear();
    let admin = deployment.settings.admin();
    let blobs: BTreeSet<_> = images
        .iter()
        .flat_map(|named| named.image.blobs.iter().cloned())
        .collect();
    let queued = admin.run(&["backfillreplication"]).await;
    let uuids: BTreeSet<&str> = queued
        .expect_success()
        .lines()
        .map(|line| {
            line.strip_prefix("Enqueueing manifest blob ")
                .and_then(|rest| rest.strip_suffix(" to be replicated"))
                .unwrap_or_else(|| panic!("{line}"))
        })
        .collect();
    assert_eq!(uuids.len(), blobs.len());
    let again = admin.run(&["backfillreplication"]).await;
    assert_eq!(
        again.expect_success(),
        "",
        "what is queued is not queued again"
    );
    assert_eq!(admin.replication_status().await["jobs"], blobs.len());

    let registry = deployment.settings.start().await;
    deployment.wait_until_replicated().await;
    assert!(blobs.iter().all(|blob| {
        deployment
            .settings
            .files("eustorage")
            .objects()
            .contains_key(blob)
    }));
    stop(registry).await;
}

#[tokio::test]
async fn a_blob_has_one_job_per_target_however_often_it_is_pushed() {
    let mut deployment = Deployment::new();
    deployment
        .settings
        .arguments
        .push("--no-replicator".to_owned());
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    let named = NamedImage::new(8);
    for number in 0..3 {
        let (repository, reference) = (
            format!("team/copy-{number}").parse().unwrap(),
            format!("v{number}").parse().unwrap(),
        );
        named
            .image
            .push(&client, &repository, &reference)
            .await
            .unwrap();
        named
            .image
            .push(&client, &repository, &named.reference)
            .await
            .unwrap();
    }
    let status = deployment.settings.admin().replication_status().await;
    assert_eq!(status["jobs"], named.image.blobs.len(), "{status}");
    assert_eq!(
        location(&status, "eustorage")["queued"],
        named.image.blobs.len(),
        "{status}"
    );
    assert_eq!(
        location(&status, "eustorage")["missing"]["blobs"],
        named.image.blobs.len(),
        "{status}"
    );
    stop(registry).await;
}
