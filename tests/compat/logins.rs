//! Every kind of credential that an account of Quay's has, through the clients that people have: podman, skopeo and curl.

use std::fs;
use std::time::Duration;

use roadstead_testkit::{RegistrySettings, run_answering};
use roadstead_tests::Workshop;
use serde_json::Value;
use tokio::process::Command;

use crate::sample::Sample;

/// The longest that a login may take: a password is checked in a second or two on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// `adminpass123` as Quay gives it to a client to keep, encrypted with the sample's `SECRET_KEY` (by Python's `cryptography`, with which Quay does it).
const ENCRYPTED: &str = "AAECAwQFBgcICQoLDA0OD5Vy4oJHCTQKymqb+6QuiLrZYpxbGOVW/sCkAxMD1Ekw";

/// Who signs in as what, and where that may push.
fn credentials(sample: &Sample) -> [(&'static str, &'static str, String, &'static str); 6] {
    let secret = |account| sample.secret(account).to_owned();
    [
        ("a password", "admin", secret("admin"), "acme/app"),
        (
            "an address and a password",
            "alice@example.test",
            secret("alice"),
            "alice/tools",
        ),
        (
            "an encrypted password",
            "admin",
            ENCRYPTED.to_owned(),
            "acme/app",
        ),
        ("a robot", "acme+ci", secret("acme+ci"), "acme/app"),
        ("an app token", "$app", secret("$app"), "alice/tools"),
        (
            "an OAuth token",
            "$oauthtoken",
            secret("$oauthtoken"),
            "acme/app",
        ),
    ]
}

fn sample() -> Sample {
    let sample = Sample::restore();
    sample.database.run(
        "UPDATE oauthaccesstoken SET expires_at = now() AT TIME ZONE 'UTC' + interval '1 hour'",
    );
    sample
}

/// Signs in with a client that takes the password from its input.
async fn log_in(mut command: Command, settings: &RegistrySettings, login: &str, secret: &str) {
    command
        .args(["login", "--tls-verify=false", "--username", login])
        .args(["--password-stdin", &settings.address.to_string()]);
    run_answering(&mut command, secret, LIMIT)
        .await
        .expect_success();
}

#[tokio::test]
async fn podman_signs_in_pushes_pulls_and_signs_out_with_every_kind_of_credential() {
    let sample = sample();
    let settings = sample.settings();
    let registry = settings.start().await;
    let here = Workshop::new(&[]);
    let mark = here.path("mark");
    fs::write(&mark, "one layer").unwrap();
    here.build("small", "amd64", &[(&mark, "/etc/mark")]).await;
    for (number, (what, login, secret, repository)) in credentials(&sample).into_iter().enumerate()
    {
        let image = format!("{}/{repository}:podman-{number}", settings.address);
        log_in(here.podman(), &settings, login, &secret).await;
        let mut push = here.podman();
        push.args(["push", "--quiet", "--tls-verify=false", "small"])
            .arg(format!("docker://{image}"));
        here.go(&mut push).await;

        let there = Workshop::new(&[]);
        log_in(there.podman(), &settings, login, &secret).await;
        let mut pull = there.podman();
        pull.args(["pull", "--quiet", "--tls-verify=false", &image]);
        there.go(&mut pull).await;

        let mut out = here.podman();
        out.args(["logout", &settings.address.to_string()]);
        here.go(&mut out).await;
        let refused = here.attempt(&mut push).await;
        assert!(
            refused.expect_failure().contains("denied"),
            "{what}: {refused:?}"
        );
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn skopeo_and_curl_sign_in_with_every_kind_of_credential() {
    let sample = sample();
    let settings = sample.settings();
    let registry = settings.start().await;
    let address = settings.address.to_string();
    for (what, login, secret, repository) in credentials(&sample) {
        let workshop = Workshop::new(&[]);
        log_in(workshop.skopeo(), &settings, login, &secret).await;
        let mut list = workshop.skopeo();
        list.args(["list-tags", "--tls-verify=false"])
            .arg(format!("docker://{address}/{repository}"));
        let listed: Value = serde_json::from_str(&workshop.go(&mut list).await).unwrap();
        assert!(!listed["Tags"].as_array().unwrap().is_empty(), "{what}");
        let mut out = workshop.skopeo();
        out.args(["logout", &address]);
        workshop.go(&mut out).await;
        workshop.attempt(&mut list).await.expect_failure();

        // The password comes by the input, so that it is in nobody's list of processes.
        let url = format!(
            "http://{address}/v2/auth?service={address}&scope=repository:{repository}:pull"
        );
        let answer = curl(&url, &format!("user = \"{login}:{secret}\"\n")).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let token = answer["token"]
            .as_str()
            .unwrap_or_else(|| panic!("{what}: {answer}"));
        let url = format!("http://{address}/v2/{repository}/tags/list");
        let bearer = format!("header = \"Authorization: Bearer {token}\"\n");
        let listed: Value = serde_json::from_str(&curl(&url, &bearer).await).unwrap();
        assert_eq!(listed["name"], repository, "{what}: {listed}");
    }
    assert!(registry.stop().await.success());
}

async fn curl(url: &str, config: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--config", "-", url]);
    run_answering(&mut command, config, LIMIT)
        .await
        .expect_success()
        .to_owned()
}
