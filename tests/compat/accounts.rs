//! Every account of the sample: who is let in, and who is not and why.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_client::Client;
use roadstead_testkit::RegistrySettings;
use roadstead_tests::{Reply, call};

use crate::sample::Sample;

/// How long a registry may take to find out that it cannot start.
const START: Duration = Duration::from_mins(1);

/// Asks for a token, as `docker login` does.
async fn log_in(settings: &RegistrySettings, account: &str, secret: &str) -> Reply {
    let client = Client::new(&settings.url(), None).unwrap();
    let basic = STANDARD.encode(format!("{account}:{secret}"));
    let service = settings.address.to_string().replace(':', "%3A");
    call("GET", format!("/v2/auth?service={service}"))
        .header("authorization", format!("Basic {basic}"))
        .send(&client)
        .await
}

/// Whether a token that was handed out opens the registry.
async fn is_let_in(settings: &RegistrySettings, token: &str) -> bool {
    let client = Client::new(&settings.url(), None).unwrap();
    let reply = call("GET", "/v2/")
        .header("authorization", format!("Bearer {token}"))
        .send(&client)
        .await;
    reply.status == 200
}

/// Users that may log in, robots and the application token.
fn accounts(sample: &Sample) -> Vec<String> {
    let names = |key: &str| sample.contents[key].as_object().unwrap().keys().cloned();
    let enabled = |name: &String| sample.contents["users"][name]["enabled"] != false;
    let users = names("users").filter(enabled);
    users
        .chain(names("robots"))
        .chain(["$app".to_owned()])
        .collect()
}

#[tokio::test]
async fn every_account_of_quays_is_accepted_and_a_wrong_password_is_not() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    let accounts = accounts(&sample);
    assert_eq!(
        accounts.len(),
        9,
        "three users, five robots, one application token: {accounts:?}"
    );
    for account in &accounts {
        let secret = sample.secret(account);
        let answer = log_in(&settings, account, secret).await.expect(200).json();
        let token = answer["token"].as_str().unwrap();
        assert!(
            is_let_in(&settings, token).await,
            "the token of {account} opens nothing"
        );
        let (kept, _) = secret.split_at(secret.len() - 1);
        let reply = log_in(&settings, account, &format!("{kept}~")).await;
        reply.refused(401, "UNAUTHORIZED");
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_disabled_user_and_an_expired_token_are_refused_as_what_they_are() {
    let sample = Sample::restore();
    let settings = sample.settings();
    let registry = settings.start().await;
    for (account, word) in [("carol", "disabled"), ("$oauthtoken", "expired")] {
        let reply = log_in(&settings, account, sample.secret(account)).await;
        let answer = reply.refused(401, "UNAUTHORIZED").json();
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(word), "{account}: {message}");
    }
    // Both in order again, as an administrator would have it.
    sample
        .database
        .run("UPDATE \"user\" SET enabled = true WHERE username = 'carol'");
    sample
        .database
        .run("UPDATE oauthaccesstoken SET expires_at = expires_at + interval '1 day'");
    for account in ["carol", "$oauthtoken"] {
        log_in(&settings, account, sample.secret(account))
            .await
            .expect(200);
    }
    assert!(registry.stop().await.success());
}

#[tokio::test]
async fn a_key_that_does_not_fit_the_database_is_said_before_anybody_signs_in() {
    const KEY: &str = "DATABASE_SECRET_KEY";
    let mut sample = Sample::restore();
    sample.set(KEY, "another key");
    let mut refused = sample.settings().spawn();
    let status = refused.wait(START).await;
    let log = refused.log();
    assert!(!status.success() && log.contains(KEY), "{status}: {log}");
    assert!(
        log.contains("robotaccounttoken.token: 5 of 5 rows"),
        "{log}"
    );

    // With the right key and one field that it does not fit, only the robot that this belongs to is out.
    sample.overrides.remove(KEY);
    sample.database.run(
        "UPDATE robotaccounttoken SET token = (SELECT token_secret || 'AAAA' FROM appspecificauthtoken)
         WHERE robot_account_id = (SELECT id FROM \"user\" WHERE username = 'acme+ci')",
    );
    let settings = sample.settings();
    let registry = settings.start().await;
    let log = registry.log();
    assert!(
        log.contains("robotaccounttoken.token: 1 of 5 rows"),
        "{log}"
    );
    let secret = |account| sample.secret(account);
    let out = log_in(&settings, "acme+ci", secret("acme+ci")).await;
    out.refused(401, "UNAUTHORIZED");
    log_in(&settings, "acme+puller", secret("acme+puller"))
        .await
        .expect(200);
    assert!(registry.stop().await.success());
}
