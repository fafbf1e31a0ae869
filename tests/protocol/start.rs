//! Starting on a machine that is not as it should be: a clear answer, a failing exit, and nothing broken.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use roadstead_testkit::{
    ImageKind, RegistryProcess, RegistrySettings, TestImage, binary, eventually, run,
};
use tokio::net::TcpStream;
use tokio::process::Command;

/// The longest that a registry may take to find out that it cannot start.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// It ends with a failure, and says these words.
async fn assert_refuses(mut registry: RegistryProcess, words: &[&str]) {
    let status = registry.wait(REFUSAL_LIMIT).await;
    let log = registry.log();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "it ended with {status}:\n{log}"
    );
    for word in words {
        assert!(log.contains(word), "{word:?} is not in:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let first = RegistrySettings::new(directory.path().join("first"));
    let running = first.start().await;
    let second = RegistrySettings {
        address: first.address,
        ..RegistrySettings::new(directory.path().join("second"))
    };
    assert_refuses(second.spawn(), &[&first.address.to_string(), "--listen"]).await;
    assert!(!second.data_dir.join("roadstead.db").exists());
    assert!(running.stop().await.success());
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    fs::write(&settings.data_dir, "a file").unwrap();
    assert_refuses(settings.spawn(), &[settings.data_dir.to_str().unwrap()]).await;
    assert_eq!(fs::read_to_string(&settings.data_dir).unwrap(), "a file");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named_also_to_root() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = RegistrySettings::new(directory.path().join("data"));
    // The directory exists on a file system that is read-only, in a mount namespace of the registry's own: root cannot write either.
    fs::create_dir(&settings.data_dir).unwrap();
    let path = settings.data_dir.display();
    settings.setup = Some(format!(
        "mount --bind '{path}' '{path}' && mount -o remount,bind,ro '{path}'"
    ));
    assert_refuses(settings.spawn(), &[settings.data_dir.to_str().unwrap()]).await;
    assert!(fs::read_dir(&settings.data_dir).unwrap().next().is_none());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_worked_with_or_left_alone_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    assert!(settings.start().await.stop().await.success());
    let database = settings.data_dir.join("roadstead.db");
    let migrated = async |name: &str| {
        let newer =
            format!("insert into roadstead_migration (version, applied_at) values ('{name}', 0)");
        run(
            Command::new("sqlite3").arg(&database).arg(newer),
            REFUSAL_LIMIT,
        )
        .await
        .expect_success();
    };

    // The next release has only added to it: this one may be started again while it is replaced.
    migrated("m29990101_000001_from_the_future").await;
    let registry = settings.start().await;
    assert!(registry.log().contains("m29990101_000001_from_the_future"));
    assert!(registry.stop().await.success());

    migrated("m29990101_000002_moved_incompatible").await;
    let before = dump(&database).await;
    assert_refuses(settings.spawn(), &["m29990101_000002_moved_incompatible"]).await;
    assert_eq!(dump(&database).await, before);
}

async fn dump(database: &Path) -> String {
    let finished = run(
        Command::new("sqlite3").arg(database).arg(".dump"),
        REFUSAL_LIMIT,
    )
    .await;
    finished.expect_success().to_owned()
}

#[tokio::test]
async fn a_stop_that_is_asked_for_as_soon_as_it_can_be_reached_ends_it_well() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    for attempt in 1..=3 {
        let registry = settings.spawn();
        eventually("the port is listened on", async || {
            TcpStream::connect(settings.address).await.ok().map(drop)
        })
        .await;
        let status = registry.stop().await;
        assert!(status.success(), "start {attempt}: {status}");
    }
    assert!(settings.start().await.stop().await.success());
}

#[tokio::test]
async fn as_quays_registry_nomigrate_it_refuses_until_another_has_made_the_tables() {
    let directory = tempfile::tempdir().unwrap();
    let migrating = RegistrySettings::new(directory.path().join("data"));
    let mut waiting = migrating.clone();
    waiting.environment = vec![("QUAYENTRY".to_owned(), "registry-nomigrate".to_owned())];
    assert_refuses(waiting.spawn(), &["there is no registry here"]).await;
    assert!(!waiting.data_dir.exists());
    assert!(migrating.start().await.stop().await.success());
    assert!(waiting.start().await.stop().await.success());
    waiting.environment = vec![("QUAYENTRY".to_owned(), "repomirror".to_owned())];
    assert_refuses(waiting.spawn(), &["registry-nomigrate"]).await;
}

#[tokio::test]
async fn a_migration_begins_where_nothing_is_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let mut migrate = Command::new(binary("registry"));
    migrate.env_clear().args(["migrate", "--data-dir"]);
    run(migrate.arg(&settings.data_dir), REFUSAL_LIMIT)
        .await
        .expect_success();
    assert!(settings.data_dir.join("roadstead.db").exists());
    assert!(settings.start().await.stop().await.success());
}

#[tokio::test]
async fn a_database_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    fs::create_dir(&settings.data_dir).unwrap();
    let database = settings.data_dir.join("roadstead.db");
    fs::write(
        &database,
        "this is no database, whatever its name says".repeat(100),
    )
    .unwrap();
    assert_refuses(settings.spawn(), &["roadstead.db"]).await;
}

#[tokio::test]
async fn the_first_start_makes_an_account_says_its_password_once_and_keeps_it_to_the_owner() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let password = settings.password();
    assert!(password.len() >= 20, "{password}");
    assert_eq!(
        registry.log().matches(&password).count(),
        1,
        "{}",
        registry.log()
    );
    let mode = fs::metadata(settings.data_dir.join("admin-password"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    settings.client().ping().await.unwrap();
    assert!(registry.stop().await.success());

    let registry = settings.start().await;
    assert_eq!(settings.password(), password);
    assert!(!registry.log().contains(&password));
    settings.client().ping().await.unwrap();
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_disk_that_is_full_stops_pushes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = RegistrySettings::new(directory.path().join("data"));
    fs::create_dir_all(settings.data_dir.join("usstorage")).unwrap();
    fs::create_dir_all(settings.data_dir.join("eustorage")).unwrap();
    // Both stores on file systems of 4 MiB, in a mount namespace of the registry's own.
    let mounts = ["usstorage", "eustorage"].map(|name| {
        format!(
            "mount -t tmpfs -o size=4m tmpfs '{}'",
            settings.data_dir.join(name).display()
        )
    });
    settings.setup = Some(mounts.join(" && "));
    let registry = settings.start().await;
    let client = settings.client();
    let repository = "team/app".parse().unwrap();
    let (small, large) = (
        TestImage::new(1, ImageKind::Oci, &[1_000_000]),
        TestImage::new(2, ImageKind::Oci, &[8_000_000]),
    );
    let (first, second) = ("small".parse().unwrap(), "large".parse().unwrap());
    small.push(&client, &repository, &first).await.unwrap();
    let error = large.push(&client, &repository, &second).await.unwrap_err();
    let status = error.status().unwrap_or_else(|| panic!("{error:?}"));
    assert!([500, 503, 507].contains(&status.as_u16()), "{error}");
    small.pull(&client, &repository, &first).await.unwrap();
    let third = TestImage::new(3, ImageKind::Oci, &[100_000]);
    third.push(&client, &repository, &second).await.unwrap();
    third.pull(&client, &repository, &second).await.unwrap();
    assert!(registry.stop().await.success());
}
