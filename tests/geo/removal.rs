//! A location is removed with Quay's question and Quay's lines, and never with the only copy of anything.

use roadstead_oci::{Reference, RepositoryName};
use roadstead_testkit::{ImageKind, RegistrySettings, TestImage};

const QUESTION: &str = "WARNING: This is a destructive operation. Are you sure you want to remove usstorage from your storage \
                        locations? [y/n] ";

fn name() -> (RepositoryName, Reference) {
    ("team/app".parse().unwrap(), "1.0".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removelocation_refuses_while_it_holds_an_only_copy_and_removes_once_replication_is_complete()
 {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = RegistrySettings::new(directory.path().join("data"));
    settings.arguments = vec!["--no-replicator".to_owned()];
    let registry = settings.start().await;
    let client = settings.client();
    let (repository, tag) = name();
    let image = TestImage::new(1, ImageKind::Oci, &[10_000, 20_000]);
    image.push(&client, &repository, &tag).await.unwrap();

    let admin = settings.admin();
    let refused = admin
        .run_answering(&["removelocation", "usstorage"], "y\n")
        .await;
    let reason = refused.expect_failure();
    assert!(reason.contains("team/app:1.0"), "{reason}");
    assert_eq!(refused.stdout, QUESTION);
    assert_eq!(settings.files("usstorage").objects().len(), 3);
    image.pull(&client, &repository, &tag).await.unwrap();

    let canceled = admin
        .run_answering(&["removelocation", "usstorage"], "maybe\nn\n")
        .await;
    assert_eq!(
        canceled.expect_success(),
        format!(
            "{QUESTION}Please respond with 'yes' or 'no' (or 'y' or 'n').\n{QUESTION}Canceling operation...\n"
        )
    );

    let unknown = admin
        .run_answering(&["removelocation", "nowhere"], "y\n")
        .await;
    assert!(unknown.expect_failure().contains("eustorage"));

    admin
        .run(&["replication", "status", "--wait", "--run", "--timeout", "60s"])
        .await
        .expect_success();
    let removed = admin
        .run_answering(&["removelocation", "usstorage"], "y\n")
        .await;
    let lines: Vec<&str> = removed
        .expect_success()
        .strip_prefix(QUESTION)
        .unwrap_or_else(|| panic!("{}", removed.stdout))
        .lines()
        .collect();
    assert_eq!(
        lines.first(),
        Some(&"Removed 0 temporary blobs from blobupload table.")
    );
    assert_eq!(lines.last(), Some(&"Deleted location usstorage"));
    let placements = lines.get(1..lines.len() - 1).unwrap();
    assert_eq!(placements.len(), 3);
    assert!(
        placements.iter().all(|line| line
            .strip_prefix("Deleted placement ")
            .is_some_and(|id| id.parse::<u32>().is_ok())),
        "{lines:?}"
    );

    // The registry that still names the location in its configuration goes on without it, before and after a restart.
    image.pull(&client, &repository, &tag).await.unwrap();
    let later = TestImage::new(2, ImageKind::Oci, &[5_000]);
    let (other, _) = (
        "team/other".parse::<RepositoryName>().unwrap(),
        tag.clone(),
    );
    later.push(&client, &other, &tag).await.unwrap();
    assert!(registry.stop().await.success());
    let registry = settings.start().await;
    later.pull(&client, &other, &tag).await.unwrap();
    image.pull(&client, &repository, &tag).await.unwrap();
    assert!(
        registry.log().contains("usstorage was removed"),
        "{}",
        registry.log()
    );
    let listed = admin.run(&["location", "list", "--json"]).await;
    assert!(listed.expect_success().contains("\"removed\""), "{}", listed.stdout);
    assert!(registry.stop().await.success());
}
