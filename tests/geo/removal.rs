//! `admin removelocation`: never the last copy of anything, and Quay's lines.

use roadstead_testkit::{RegistrySettings, StoreFiles};

use crate::deployment::{Deployment, NamedImage, is_empty, location, stop};

const QUESTION: &str = "WARNING: This is a destructive operation. Are you sure you want to remove usstorage from your storage locations? [y/n] ";

async fn start_without_replicator(
    settings: &RegistrySettings,
) -> roadstead_testkit::RegistryProcess {
    let mut settings = settings.clone();
    settings.arguments.push("--no-replicator".to_owned());
    settings.start().await
}

#[tokio::test]
async fn a_location_with_the_only_copy_of_anything_stays_and_the_image_is_named() {
    let deployment = Deployment::new();
    let registry = start_without_replicator(&deployment.settings).await;
    let client = deployment.settings.client();
    let (safe, alone) = (NamedImage::new(1), NamedImage::new(2));
    let admin = deployment.settings.admin();
    safe.image
        .push(&client, &safe.repository, &safe.reference)
        .await
        .unwrap();
    // Nobody copies in the background; the first image is copied by the waiting command itself.
    let copied = admin
        .run(&[
            "replication",
            "status",
            "--wait",
            "--run",
            "--timeout",
            "60s",
        ])
        .await;
    copied.expect_success();
    alone
        .image
        .push(&client, &alone.repository, &alone.reference)
        .await
        .unwrap();

    let refused = admin
        .run_answering(&["removelocation", "usstorage"], "y\n")
        .await;
    let reason = refused.expect_failure();
    assert!(reason.contains(&alone.name()), "{reason}");
    assert!(!reason.contains(&safe.name()), "{reason}");
    assert!(!refused.stdout.contains("Deleted"), "{}", refused.stdout);
    // Everything is as it was, and the location takes part again.
    alone
        .image
        .pull(&client, &alone.repository, &alone.reference)
        .await
        .unwrap();
    let status = admin.replication_status().await;
    assert_eq!(
        location(&status, "usstorage")["state"],
        "active",
        "{status}"
    );
    let next = NamedImage::new(3);
    next.image
        .push(&client, &next.repository, &next.reference)
        .await
        .unwrap();
    assert!(next.image.blobs.iter().all(|blob| {
        deployment
            .settings
            .files("usstorage")
            .objects()
            .contains_key(blob)
    }));
    stop(registry).await;
}

#[tokio::test]
async fn a_location_whose_blobs_are_elsewhere_too_is_removed_in_quays_words() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    let images: Vec<NamedImage> = (0..5).map(NamedImage::new).collect();
    for named in &images {
        named
            .image
            .push(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    // An upload that is under way at the location ends with it.
    let mut upload = client.start_upload(&images[0].repository).await.unwrap();
    client
        .upload_chunk(&mut upload, "unfinished".into())
        .await
        .unwrap();
    deployment.wait_until_replicated().await;
    let (us, eu) = (
        deployment.settings.files("usstorage"),
        deployment.settings.files("eustorage"),
    );
    let objects = us.objects();

    let admin = deployment.settings.admin();
    let removed = admin
        .run_answering(&["removelocation", "usstorage"], "maybe\nYES\n")
        .await;
    let printed = removed.expect_success();
    let rest = printed
        .strip_prefix(QUESTION)
        .and_then(|rest| rest.strip_prefix("Please respond with 'yes' or 'no' (or 'y' or 'n').\n"))
        .and_then(|rest| rest.strip_prefix(QUESTION))
        .and_then(|rest| rest.strip_prefix("Removed 1 temporary blobs from blobupload table.\n"))
        .and_then(|rest| rest.strip_suffix("Deleted location usstorage\n"))
        .unwrap_or_else(|| panic!("{printed}"));
    let placements: Vec<u32> = rest
        .lines()
        .map(|line| {
            line.strip_prefix("Deleted placement ")
                .and_then(|id| id.parse().ok())
                .unwrap_or_else(|| panic!("{line}"))
        })
        .collect();
    assert_eq!(placements.len(), objects.len(), "{printed}");

    // The registry goes on with the other location; the removed store is left alone.
    for named in &images {
        named
            .image
            .pull(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    let after = NamedImage::new(17);
    after
        .image
        .push(&client, &after.repository, &after.reference)
        .await
        .unwrap();
    after
        .image
        .pull(&client, &after.repository, &after.reference)
        .await
        .unwrap();
    assert!(
        after
            .image
            .blobs
            .iter()
            .all(|blob| eu.objects().contains_key(blob))
    );
    assert_eq!(us.objects(), objects);
    let again = admin
        .run_answering(&["removelocation", "usstorage"], "y\n")
        .await;
    assert!(
        again.expect_failure().contains("usstorage"),
        "{}",
        again.stderr
    );
    stop(registry).await;

    // A restart with the same configuration neither uses nor misses it.
    std::fs::remove_dir_all(StoreFiles::root(&us)).unwrap();
    let registry = deployment.settings.start().await;
    let client = deployment.settings.client();
    for named in images.iter().chain([&after]) {
        named
            .image
            .pull(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    assert!(!us.root().exists() || is_empty(us.root()));
    stop(registry).await;
}

#[tokio::test]
async fn no_means_no_and_an_unknown_location_is_told_from_the_known() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let admin = deployment.settings.admin();
    let kept = admin
        .run_answering(&["removelocation", "usstorage"], "n\n")
        .await;
    assert_eq!(
        kept.expect_success(),
        format!("{QUESTION}Canceling operation...\n")
    );
    let silent = admin
        .run_answering(&["removelocation", "usstorage"], "")
        .await;
    silent.expect_failure();
    let unknown = admin
        .run_answering(&["removelocation", "mars"], "y\n")
        .await;
    let reason = unknown.expect_failure();
    assert!(
        reason.contains("mars") && reason.contains("usstorage") && reason.contains("eustorage"),
        "{reason}"
    );
    let listed = admin.run(&["location", "list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(listed.expect_success()).unwrap();
    let states: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|location| location["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["active", "active"], "{listed}");
    stop(registry).await;
}
