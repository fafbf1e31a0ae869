//! What an operator does to a registry that runs: reading everything back, emptying a location and removing it, under Quay's names too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roadstead_oci::{Algorithm, Digest};
use roadstead_testkit::{Finished, binary, run_answering};
use tokio::process::Command;

use crate::deployment::{Deployment, NamedImage, location, stop};

async fn push(deployment: &Deployment, numbers: std::ops::Range<u64>) -> Vec<NamedImage> {
    let client = deployment.settings.client();
    let images: Vec<NamedImage> = numbers.map(NamedImage::new).collect();
    for named in &images {
        named
            .image
            .push(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
    images
}

async fn pull(deployment: &Deployment, images: &[NamedImage]) {
    let client = deployment.settings.client();
    for named in images {
        named
            .image
            .pull(&client, &named.repository, &named.reference)
            .await
            .unwrap();
    }
}

/// Truncates, flips, removes and swaps an object each, and tells which.
pub(crate) fn damage(path: impl Fn(&Digest) -> PathBuf, blobs: &[Digest]) -> Vec<(Digest, String)> {
    let [truncated, flipped, gone, swapped, other, ..] = blobs else {
        panic!("there are too few blobs");
    };
    let content = fs::read(path(truncated)).unwrap();
    fs::write(path(truncated), &content[..content.len() / 2]).unwrap();
    let mut content = fs::read(path(flipped)).unwrap();
    *content.last_mut().unwrap() ^= 0x80;
    fs::write(path(flipped), content).unwrap();
    fs::remove_file(path(gone)).unwrap();
    fs::copy(path(other), path(swapped)).unwrap();
    [
        (truncated, "truncated"),
        (flipped, "damaged"),
        (gone, "missing"),
        (swapped, "swapped"),
    ]
    .map(|(digest, defect)| (digest.clone(), defect.to_owned()))
    .into()
}

#[tokio::test]
async fn every_damaged_object_is_named_and_repaired_while_the_registry_runs() {
    let deployment = Deployment::new();
    let registry = deployment.settings.start().await;
    let images = push(&deployment, 0..4).await;
    deployment.wait_until_replicated().await;
    let admin = deployment.settings.admin();
    admin.run(&["verifyplacements"]).await.expect_success();

    let eu = deployment.settings.files("eustorage");
    let blobs: Vec<Digest> = eu.objects().into_keys().collect();
    let damaged = damage(|digest| eu.path(digest), &blobs);
    let found = admin.run(&["verifyplacements", "eustorage"]).await;
    found.expect_failure();
    assert_eq!(
        found.stdout.lines().count(),
        damaged.len(),
        "{}",
        found.stdout
    );
    for (digest, defect) in &damaged {
        let expected = format!("location `eustorage`: {digest} is {defect}");
        assert!(
            found.stdout.lines().any(|line| line.starts_with(&expected)),
            "{expected} is not in {}",
            found.stdout
        );
    }
    // The registry that runs makes the copies.
    deployment.wait_until_replicated().await;
    admin.run(&["verifyplacements"]).await.expect_success();
    for blob in &blobs {
        let content = fs::read(eu.path(blob)).unwrap();
        assert_eq!(Digest::of(Algorithm::Sha256, &content), *blob);
    }
    let noted = admin.run(&["verifyplacements", "--status"]).await;
    let noted = noted.expect_success();
    for (digest, _) in &damaged {
        let line = noted.lines().find(|line| line.contains(digest.as_str()));
        assert!(
            line.is_some_and(|line| line.contains("repaired")),
            "{noted}"
        );
    }
    pull(&deployment, &images).await;
    stop(registry).await;
}

#[tokio::test]
async fn a_location_that_nothing_is_copied_from_is_drained_and_removed_while_pushes_go_on() {
    let mut deployment = Deployment::new();
    let only_us = (
        "QUAY_OVERRIDE_CONFIG".to_owned(),
        r#"{"DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS": ["usstorage"]}"#.to_owned(),
    );
    deployment.settings.environment.push(only_us);
    let registry = deployment.settings.start().await;
    let admin = deployment.settings.admin();
    let before = push(&deployment, 0..5).await;
    let eu = deployment.settings.files("eustorage");
    assert!(eu.objects().is_empty(), "nothing demands a second copy");
    let refused = admin
        .run_answering(&["removelocation", "usstorage"], "y\n")
        .await;
    assert!(
        refused
            .expect_failure()
            .contains("admin location drain usstorage --wait"),
        "{}",
        refused.stderr
    );

    let meanwhile = tokio::join!(
        push(&deployment, 5..15),
        admin.run(&[
            "location",
            "drain",
            "usstorage",
            "--wait",
            "--timeout",
            "5m"
        ]),
    );
    let (during, drained) = meanwhile;
    assert!(
        drained
            .expect_success()
            .contains("Nothing is at usstorage only"),
        "{}",
        drained.stdout
    );
    let status = admin.replication_status().await;
    assert_eq!(
        location(&status, "usstorage")["state"],
        "draining",
        "{status}"
    );
    let us: BTreeSet<Digest> = deployment
        .settings
        .files("usstorage")
        .objects()
        .into_keys()
        .collect();
    let after = push(&deployment, 15..18).await;
    let us_now = deployment.settings.files("usstorage").objects();
    assert!(
        us_now.keys().all(|digest| us.contains(digest)),
        "it takes no new bytes"
    );
    let removed = admin
        .run_answering(&["removelocation", "usstorage"], "y\n")
        .await;
    removed.expect_success();
    fs::remove_dir_all(deployment.store("usstorage")).unwrap();
    for images in [&before, &during, &after] {
        pull(&deployment, images).await;
    }
    stop(registry).await;
}

/// Runs what Quay's documentation says, where `python` is that of our image.
async fn python(deployment: &Deployment, arguments: &[&str], input: &str) -> Finished {
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image/python");
    let mut path = binary("admin").parent().unwrap().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    let mut command = Command::new(shim);
    command
        .env_clear()
        .env("PATH", path)
        .current_dir(deployment.settings.data_dir.parent().unwrap())
        .args(arguments)
        .arg("--data-dir")
        .arg(&deployment.settings.data_dir);
    run_answering(&mut command, input, Duration::from_mins(5)).await
}

#[tokio::test]
async fn what_quays_documentation_says_works_in_the_image() {
    let mut deployment = Deployment::new();
    deployment
        .settings
        .arguments
        .push("--no-replicator".to_owned());
    let registry = deployment.settings.start().await;
    let images = push(&deployment, 0..2).await;
    let blobs: BTreeSet<&Digest> = images.iter().flat_map(|named| &named.image.blobs).collect();
    let planned = python(
        &deployment,
        &["-m", "util.backfillreplication", "--dry-run"],
        "",
    )
    .await;
    let lacks = format!("eustorage lacks {} blobs", blobs.len());
    assert!(planned.stderr.contains(&lacks), "{}", planned.stderr);
    planned.expect_success();
    python(&deployment, &["-m", "util.backfillreplication"], "")
        .await
        .expect_success();
    stop(registry).await;
    deployment.settings.arguments.clear();
    let registry = deployment.settings.start().await;
    deployment.wait_until_replicated().await;
    python(
        &deployment,
        &["-m", "util.verifyplacements", "eustorage"],
        "",
    )
    .await
    .expect_success();
    let kept = python(
        &deployment,
        &["-m", "util.removelocation", "eustorage"],
        "n\n",
    )
    .await;
    assert!(
        kept.expect_success().ends_with("Canceling operation...\n"),
        "{}",
        kept.stdout
    );
    let removed = python(
        &deployment,
        &["-m", "util.removelocation", "eustorage"],
        "y\n",
    )
    .await;
    assert!(
        removed
            .expect_success()
            .ends_with("Deleted location eustorage\n"),
        "{}",
        removed.stdout
    );
    for arguments in [&["-m", "util.other"][..], &["script.py"], &[]] {
        let refused = python(&deployment, arguments, "").await;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            refused.stderr.contains("There is no Python"),
            "{}",
            refused.stderr
        );
    }
    stop(registry).await;
}
