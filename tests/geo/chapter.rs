//! The documented configuration of geo-replication, with stores that exist here: two regions start with the same file and differ in one variable.

use std::fs;
use std::path::PathBuf;

use roadstead_oci::{Reference, RepositoryName};
use roadstead_test_servers::{Postgres, S3Server};
use roadstead_testkit::{ImageKind, RegistrySettings, TestImage, eventually};
use serde_json::json;

use crate::deployment::{Deployment, stop};

const CHAPTER: &str = include_str!("../fixtures/geo-replication/config.yaml");

/// What the documentation leaves to others: an account, and where its password goes.
fn further_keys(deployment: &Deployment) -> String {
    json!({
        "SUPER_USERS": ["admin"],
        "FEATURE_SUPERUSERS_FULL_ACCESS": true,
        "CREATE_NAMESPACE_ON_PUSH": true,
        "DATABASE_SECRET_KEY": "the same in every region",
        "ROADSTEAD_DATA_DIRECTORY": deployment.settings.data_dir,
    })
    .to_string()
}

struct Chapter {
    deployment: Deployment,
    directory: PathBuf,
    yaml: String,
    // Ended with the test.
    _server: S3Server,
}

impl Chapter {
    fn new(hostname: &str, database: &str, deployment: Deployment) -> Self {
        let server = S3Server::start();
        for bucket in ["georep-test-bucket-0", "georep-test-bucket-1"] {
            server.create_bucket(bucket);
        }
        fs::create_dir_all(&deployment.settings.data_dir).unwrap();
        let directory = deployment.settings.data_dir.with_file_name("stack");
        fs::create_dir(&directory).unwrap();
        let port = server.port().to_string();
        let yaml = CHAPTER
            // First, as ports that are put in may have these digits.
            .replace("9000", &port)
            .replace("georep.example.org", hostname)
            .replace(
                "postgresql://postgres:password@10.19.0.1:5432/quay",
                database,
            )
            // Redis: an address that nobody has, on no network.
            .replace("10.19.0.2", "192.0.2.1")
            .replace("GOOGAAAA", server.access_key())
            .replace("GOOGBBBB", server.access_key())
            .replace("SECRETAAAA", server.secret_key())
            .replace("SECRETBBBB", server.secret_key());
        let chapter = Self {
            deployment,
            directory,
            yaml,
            _server: server,
        };
        chapter.write("");
        chapter
    }

    /// Writes the file with these lines more, as a whole.
    fn write(&self, more: &str) {
        let new = self.directory.join("new");
        fs::write(&new, format!("{}{more}", self.yaml)).unwrap();
        fs::rename(new, self.directory.join("config.yaml")).unwrap();
    }

    fn region(&self, mut settings: RegistrySettings, preferred: &str) -> RegistrySettings {
        settings.configuration = Some(self.directory.clone());
        settings.environment = vec![
            (
                "QUAY_DISTRIBUTED_STORAGE_PREFERENCE".to_owned(),
                preferred.to_owned(),
            ),
            (
                "QUAY_OVERRIDE_CONFIG".to_owned(),
                further_keys(&self.deployment),
            ),
        ];
        settings
    }
}

#[tokio::test]
async fn the_documented_configuration_starts_two_regions_and_a_change_of_it_counts_without_a_restart()
 {
    let database = Postgres::shared().database();
    let deployment = Deployment::new();
    let data_dir = &deployment.settings.data_dir;
    let (us, eu) = (
        RegistrySettings::new(data_dir),
        RegistrySettings::new(data_dir),
    );
    let chapter = Chapter::new(&us.address.to_string(), &database.uri(), deployment);
    let us = chapter.region(us, "usstorage eustorage");
    let eu = chapter.region(eu, "eustorage usstorage");

    let checked = us.admin().run(&["config", "check", "--online"]).await;
    assert!(
        checked
            .expect_success()
            .contains("works: location eustorage from region usstorage"),
        "{checked:?}"
    );
    let in_us = us.start().await;
    let in_eu = eu.start().await;
    let repository: RepositoryName = "team/app".parse().unwrap();
    let pushed: Reference = "v1".parse().unwrap();
    let image = TestImage::new(1, ImageKind::Oci, &[40_000, 300_000]);
    image
        .push(&us.client(), &repository, &pushed)
        .await
        .unwrap();
    let status = ["replication", "status", "--wait", "--timeout", "5m"];
    us.admin().run(&status).await.expect_success();
    image
        .pull(&eu.client(), &repository, &pushed)
        .await
        .unwrap();

    eventually("both regions tell of their configurations", async || {
        let drift = eu
            .admin()
            .run(&["config", "drift", "--format", "json"])
            .await;
        let report: serde_json::Value = serde_json::from_str(&drift.stdout).unwrap();
        let processes = report["processes"].as_array().unwrap().len();
        assert_eq!(
            report["keys"],
            json!([]),
            "they differ in their preference alone"
        );
        (processes == 2).then_some(())
    })
    .await;

    // One hears of it by its signal, the other by looking.
    chapter.write("DISABLE_PUSHES: true\nV2_PAGINATION_SIZE: 70\n");
    in_us.signal("-HUP").await;
    for registry in [&in_us, &in_eu] {
        eventually("the change is told", async || {
            let log = registry.log();
            let told = log.contains("DISABLE_PUSHES count as they are now")
                && log.contains("V2_PAGINATION_SIZE were changed since the start");
            told.then_some(())
        })
        .await;
    }
    let refused: Reference = "v2".parse().unwrap();
    for region in [&us, &eu] {
        let other = TestImage::new(2, ImageKind::Oci, &[1000]);
        assert!(
            other
                .push(&region.client(), &repository, &refused)
                .await
                .is_err()
        );
        image
            .pull(&region.client(), &repository, &pushed)
            .await
            .unwrap();
    }

    chapter.write("DISABLE_PUSHES: perhaps\n");
    eventually("what cannot be used is told", async || {
        let told = in_eu.log().contains("nothing of it counts");
        told.then_some(())
    })
    .await;
    chapter.write("");
    let other = TestImage::new(3, ImageKind::Oci, &[1000]);
    eventually("pushes are taken again", async || {
        let pushed = other.push(&us.client(), &repository, &refused).await;
        pushed.ok()
    })
    .await;
    stop(in_us).await;
    stop(in_eu).await;
}
