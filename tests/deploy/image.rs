//! The container image under the command lines of Quay's documentation.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use http::Request;
use roadstead_client::{Client, Credentials, RequestBody};
use roadstead_test_servers::{Postgres, S3Server, free_port};
use roadstead_testkit::{ImageKind, TestImage, attempt, within};

use crate::TURN;
use crate::podman::{HOST, IMAGE, Podman, modes};

const PASSWORD_FILE: &str = "/datastorage/admin-password";

/// The chapter's configuration with stores that exist here, as a container reaches them.
fn configuration(hostname: &str, database: &str, stores: &[(&str, &S3Server)]) -> String {
    let locations: Vec<String> = stores
        .iter()
        .map(|(name, store)| {
            let port = store.port();
            format!(
                "  {name}: [RadosGWStorage, {{hostname: {HOST}, port: {port}, is_secure: false, access_key: '{}', secret_key: '{}', \
                 bucket_name: quay, storage_path: /quaygcp}}]\n",
                store.access_key(),
                store.secret_key()
            )
        })
        .collect();
    let locations = locations.concat();
    let names: Vec<&str> = stores.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    format!(
        "SERVER_HOSTNAME: {hostname}\nPREFERRED_URL_SCHEME: http\nSETUP_COMPLETE: true\nAUTHENTICATION_TYPE: Database\n\
         DATABASE_SECRET_KEY: '1234567890'\nSECRET_KEY: '0987654321'\nSUPER_USERS: [admin]\nCREATE_NAMESPACE_ON_PUSH: true\n\
         DB_CONNECTION_ARGS: {{autorollback: true, threadlocals: true}}\nDB_URI: {database}\n\
         DISTRIBUTED_STORAGE_CONFIG:\n{locations}\
         DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [{names}]\nDISTRIBUTED_STORAGE_PREFERENCE: [{names}]\nFEATURE_STORAGE_REPLICATION: true\n\
         FEATURE_PROXY_STORAGE: true\n"
    )
}

/// A directory that a container may read, as root owns it, and what is in it.
fn mount(podman: &Podman, name: &str, text: &str) -> String {
    let directory = podman.directory(name);
    fs::write(directory.join("config.yaml"), text).unwrap();
    format!("{}:/conf/stack:Z", directory.display())
}

/// How often a container is looked at, 50 ms apart: two minutes, for a debug build on a busy machine.
const CHECKS_MAX: u32 = 2400;

/// Returns once the container called `name`, whose port 8080 is this one here, says that it serves.
async fn serves(podman: &Podman, name: &str, port: u16) {
    let client = Client::new(&format!("http://{}:{port}", Ipv4Addr::LOCALHOST), None).unwrap();
    let served = attempt(CHECKS_MAX, async || {
        let request = Request::get("/health/endtoend").body(RequestBody::empty());
        let answer = client.exchange(request.unwrap(), "").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    if served.is_none() {
        let log = podman.attempt(&["logs", "--tail", "30", name]).await;
        panic!("{name} does not serve:\n{}{}", log.stdout, log.stderr);
    }
}

/// Building the image takes longer than all the rest, so that this is one test.
#[tokio::test]
async fn the_image_does_under_podman_what_quays_documentation_says() {
    let _turn = TURN.lock().await;
    let podman = Podman::with_image().await;
    it_gives_nobody_rights_and_says_what_it_is(&podman).await;
    the_entry_point_has_the_modes_of_quays(&podman).await;
    two_regions_run_by_the_chapters_line_replicate_and_obey_its_commands(&podman).await;
}

async fn two_regions_run_by_the_chapters_line_replicate_and_obey_its_commands(podman: &Podman) {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let uri = database.uri().replace("127.0.0.1", HOST);
    let (us, europe) = (S3Server::start(), S3Server::start());
    us.create_bucket("quay");
    europe.create_bucket("quay");
    let stores = [("usstorage", &us), ("europestorage", &europe)];

    // As printed, but for the ports of the host, which may be taken here.
    let (http, https) = (free_port(), free_port());
    // Where tokens are fetched, too.
    let hostname = format!("127.0.0.1:{http}");
    let config = mount(podman, "config", &configuration(&hostname, &uri, &stores));
    let (http_flag, https_flag) = (format!("{http}:8080"), format!("{https}:8443"));
    let preference = "QUAY_DISTRIBUTED_STORAGE_PREFERENCE=europestorage";
    podman
        .go(&[
            "run",
            "-d",
            "--rm",
            "-p",
            &http_flag,
            "-p",
            &https_flag,
            "--name=quay",
            "-v",
            &config,
            "-e",
            preference,
            IMAGE,
        ])
        .await;
    serves(podman, "quay", http).await;
    assert_eq!(podman.go(&["exec", "quay", "id", "-u"]).await, "1001");
    assert_eq!(podman.go(&["exec", "quay", "id", "-g"]).await, "0");

    // The other region: any user of group 0, and nothing to write to but the volumes.
    let second = free_port();
    podman
        .go(&[
            "run",
            "-d",
            "--rm",
            "-p",
            &format!("{second}:8080"),
            "--name=quay-us",
            "-v",
            &config,
            "-e",
            "QUAY_DISTRIBUTED_STORAGE_PREFERENCE=usstorage",
            "--user",
            "1000680000:0",
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            IMAGE,
        ])
        .await;
    serves(podman, "quay-us", second).await;

    let password = podman.go(&["exec", "quay", "cat", PASSWORD_FILE]).await;
    let client = |port: u16| {
        let url = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        Client::new(&url, Some(Credentials::new("admin", &password))).unwrap()
    };
    let image = TestImage::new(1, ImageKind::Oci, &[100_000, 3_000_000]);
    let repository = "team/app".parse().unwrap();
    let reference = "1.0".parse().unwrap();
    image
        .push(&client(http), &repository, &reference)
        .await
        .unwrap();
    podman
        .go(&[
            "exec",
            "quay",
            "admin",
            "replication",
            "status",
            "--wait",
            "--timeout",
            "9m",
        ])
        .await;
    image
        .pull(&client(second), &repository, &reference)
        .await
        .unwrap();

    // What the documentation has people run inside.
    let backfill = ["exec", "quay", "python", "-m", "util.backfillreplication"];
    assert_eq!(podman.go(&backfill).await, "");
    let shell = [
        "exec",
        "quay",
        "scl",
        "enable",
        "python27",
        "bash -c 'echo $0'",
    ];
    assert_eq!(podman.go(&shell).await, "bash");
    let configured = ["exec", "quay", "cat", "/conf/stack/config.yaml"];
    assert!(podman.go(&configured).await.contains(&hostname));
    let curl = [
        "exec",
        "quay",
        "curl",
        "-sf",
        "http://localhost:9091/metrics",
    ];
    assert!(podman.go(&curl).await.contains("roadstead_location_state"));
    let copied = podman.directory("copied");
    podman
        .go(&[
            "cp",
            "quay:/quay-registry/conf/stack/config.yaml",
            &copied.display().to_string(),
        ])
        .await;
    assert!(copied.join("config.yaml").is_file());
    let unknown = ["exec", "quay", "python", "-m", "util.somethingelse"];
    let refused = podman.attempt(&unknown).await;
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);

    let log = podman.go(&["logs", "quay"]).await;
    assert!(!log.contains("ERROR"), "{log}");
    // SIGTERM alone, which ends nothing that it does not reach: `podman stop` would kill what it waits for in vain.
    for name in ["quay", "quay-us"] {
        podman.go(&["kill", "--signal", "TERM", name]).await;
        let filter = format!("name=^{name}$");
        let running = ["ps", "--quiet", "--filter", filter.as_str()];
        within(CHECKS_MAX, "SIGTERM ends the registry", async || {
            podman.go(&running).await.is_empty().then_some(())
        })
        .await;
    }
}

async fn the_entry_point_has_the_modes_of_quays(podman: &Podman) {
    let help = podman.go(&["run", "--rm", IMAGE, "help"]).await;
    assert!(help.contains("registry-nomigrate"), "{help}");
    assert_eq!(podman.go(&["run", "--rm", IMAGE, "echo", "x"]).await, "x");
    let shell = ["run", "--rm", IMAGE, "shell", "-c", "echo $0-$HOME"];
    assert_eq!(podman.go(&shell).await, "bash-/quay-registry");
    for mode in ["repomirror", "repomirror-nomigrate", "config"] {
        let refused = podman.attempt(&["run", "--rm", IMAGE, mode]).await;
        assert_eq!(refused.status.code(), Some(2), "{mode}: {}", refused.stderr);
        assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
    }

    // Without a configuration it starts no registry of its own, which nobody would notice; a bad one is told whole.
    let none = podman.attempt(&["run", "--rm", IMAGE]).await;
    assert!(
        none.expect_failure().contains("/conf/stack/config.yaml"),
        "{}",
        none.stderr
    );
    let bad = mount(podman, "bad", "SERVER_HOSTNAME: 5\nDB_URI: mysql://db\n");
    let refused = podman.attempt(&["run", "--rm", "-v", &bad, IMAGE]).await;
    let told = refused.expect_failure();
    assert!(
        told.contains("SERVER_HOSTNAME") && told.contains("DB_URI"),
        "{told}"
    );

    // Migrating is a mode of its own, by argument and by variable, and registry-nomigrate waits for it.
    let config = "SERVER_HOSTNAME: localhost\nDB_URI: sqlite:////datastorage/quay.db\nSETUP_COMPLETE: true\n\
         DATABASE_SECRET_KEY: '1'\nDISTRIBUTED_STORAGE_CONFIG: {local: [LocalStorage, {storage_path: /datastorage/registry}]}\n\
         DISTRIBUTED_STORAGE_PREFERENCE: [local]\nDISTRIBUTED_STORAGE_DEFAULT_LOCATIONS: [local]\n";
    let config = mount(podman, "sqlite", config);
    let early = podman
        .attempt(&["run", "--rm", "-v", &config, IMAGE, "registry-nomigrate"])
        .await;
    assert!(
        early.expect_failure().contains("quay.db"),
        "{}",
        early.stderr
    );
    for mode in [
        &[
            "run",
            "--rm",
            "-v",
            &config,
            "-v",
            "data:/datastorage",
            IMAGE,
            "migrate",
            "head",
        ][..],
        &[
            "run",
            "--rm",
            "-v",
            &config,
            "-v",
            "data:/datastorage",
            "-e",
            "QUAYENTRY=migrate",
            IMAGE,
        ],
    ] {
        let migrated = podman.attempt(mode).await;
        migrated.expect_success();
        assert!(
            migrated.stderr.contains("up to date"),
            "{}",
            migrated.stderr
        );
    }
    let other = [
        "run",
        "--rm",
        "-v",
        &config,
        IMAGE,
        "migrate",
        "9fa37f66a9b6",
    ];
    assert_eq!(podman.attempt(&other).await.status.code(), Some(2));
}

async fn it_gives_nobody_rights_and_says_what_it_is(podman: &Podman) {
    let described = podman.go(&["image", "inspect", IMAGE]).await;
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    let config = &described[0]["Config"];
    assert_eq!(config["User"], "1001");
    assert_eq!(config["Cmd"], serde_json::json!(["registry"]));
    for port in ["8080/tcp", "8443/tcp", "7443/tcp", "9091/tcp"] {
        assert!(config["ExposedPorts"].get(port).is_some(), "{config}");
    }
    for volume in ["/datastorage", "/tmp", "/conf/stack"] {
        assert!(config["Volumes"].get(volume).is_some(), "{config}");
    }
    assert_eq!(
        described[0]["RootFS"]["Layers"].as_array().unwrap().len(),
        2
    );
    let root = podman.unpacked().await;
    let root = Path::new(&root);
    let raised: Vec<_> = modes(root)
        .into_iter()
        .filter(|(_, mode)| mode & 0o6000 != 0)
        .collect();
    assert!(raised.is_empty(), "{raised:?}");
    assert_eq!(
        fs::read_link(root.join("conf")).unwrap(),
        Path::new("/quay-registry/conf")
    );
    // Nothing is left of how it was made.
    assert!(!root.join("debootstrap").exists());
}
