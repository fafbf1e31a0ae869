//! Every account of the sample: who is let in, and who is not and why.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_client::Client;
use roadstead_testkit::RegistrySettings;
use roadstead_tests::{Reply, call};

use crate::sample::Sample;

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
