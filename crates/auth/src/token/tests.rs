//! What issued tokens look like, beside tokens of a running Quay.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::rights::Action;
use crate::testing::{HOST, World, private_key, start};

/// A part of a token, read without any check.
fn part(token: &Token, number: usize) -> Value {
    let part = token.value.expose().split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn granted(name: &str, actions: &[Action]) -> GrantedScope {
    GrantedScope {
        name: name.parse().unwrap(),
        actions: actions.iter().copied().collect(),
    }
}

#[tokio::test]
async fn a_users_token_has_quays_claims() {
    let world = World::new().await;
    world.user("bob", "secret").await;
    let bob = world.log_in("bob", "secret").await.unwrap();
    let account = world.database.find_account("bob").await.unwrap().unwrap();
    let actions = [Action::Admin, Action::Pull, Action::Push];
    let grants = [granted("acme/app", &actions), granted("busybox", &[])];
    let token = world
        .authenticator
        .issue(&bob, &grants, None)
        .await
        .unwrap();
    assert_eq!(
        part(&token, 0),
        json!({"typ": "JWT", "alg": "RS256", "kid": private_key(0).kid})
    );
    let now = start().timestamp();
    assert_eq!(
        part(&token, 1),
        json!({
            "iss": "quay",
            "aud": HOST,
            "nbf": now,
            "iat": now,
            "exp": now + 3600,
            "sub": "bob",
            "access": [
                {"type": "repository", "name": "acme/app", "actions": ["push", "pull", "*"]},
                {"type": "repository", "name": "busybox", "actions": []},
            ],
            "context": {
                "version": 2,
                "entity_kind": "user",
                "entity_reference": account.uuid,
                "kind": "user",
                "user": "bob",
                "com.apostille.roots": {"acme/app": "$disabled", "library/busybox": "$disabled"},
                "com.apostille.root": "$disabled",
            },
        })
    );
    assert_eq!((token.issued, token.life), (start(), TOKEN_LIFE));
    assert!(!format!("{token:?}").contains(token.value.expose()));
}

#[tokio::test]
async fn an_anonymous_token_has_no_user_in_its_context() {
    let world = World::new().await;
    let grants = [granted("acme/public", &[Action::Pull])];
    let token = world
        .authenticator
        .issue(&Identity::Anonymous, &grants, Some("elsewhere:443"))
        .await
        .unwrap();
    let claims = part(&token, 1);
    assert_eq!(claims["sub"], "(anonymous)");
    assert_eq!(claims["aud"], "elsewhere:443");
    assert_eq!(
        claims["context"],
        json!({"com.apostille.roots": {"acme/public": "$disabled"}, "com.apostille.root": "$disabled"})
    );
}

#[tokio::test]
async fn an_endless_audience_is_refused() {
    let world = World::new().await;
    let outcome = world
        .authenticator
        .issue(&Identity::Anonymous, &[], Some(&"x".repeat(513)))
        .await;
    assert!(matches!(outcome, Err(IssueError::Audience { bytes: 513 })));
}

#[tokio::test]
async fn the_largest_token_is_accepted() {
    let world = World::new().await;
    let actions = [Action::Push, Action::Pull, Action::Admin];
    let grants: Vec<GrantedScope> = (0..crate::SCOPES_MAX)
        .map(|number| granted(&format!("{number}/{}", "x".repeat(252)), &actions))
        .collect();
    let token = world
        .authenticator
        .issue(&Identity::Anonymous, &grants, None)
        .await
        .unwrap();
    assert!(token.value.expose().len() < crate::TOKEN_BYTES_MAX);
    let access = world
        .authenticator
        .verify(token.value.expose())
        .await
        .unwrap();
    assert!(
        grants
            .iter()
            .all(|grant| access.allows(&grant.name, Action::Admin))
    );
}

#[tokio::test]
async fn who_asks_for_the_same_within_a_minute_gets_the_same_token_and_nobody_else_does() {
    let world = World::new().await;
    world.user("bob", "secret").await;
    let bob = world.log_in("bob", "secret").await.unwrap();
    let pull = [granted("acme/app", &[Action::Pull])];
    let issue = async |identity: &Identity, grants: &[GrantedScope], audience| {
        let issued = world.authenticator.issue(identity, grants, audience).await;
        issued.unwrap()
    };
    let first = issue(&bob, &pull, None).await;
    world.clock.advance(std::time::Duration::from_secs(59));
    let again = issue(&bob, &pull, None).await;
    assert_eq!(again.value.expose(), first.value.expose());
    assert_eq!((again.issued, again.life), (start(), TOKEN_LIFE));
    let push = [granted("acme/app", &[Action::Pull, Action::Push])];
    let others = [
        issue(&Identity::Anonymous, &pull, None).await,
        issue(&bob, &push, None).await,
        issue(&bob, &[], None).await,
        issue(&bob, &pull, Some("elsewhere")).await,
    ];
    for other in &others {
        assert_ne!(other.value.expose(), first.value.expose());
        assert_eq!(other.issued, start() + std::time::Duration::from_secs(59));
    }
    world.clock.advance(std::time::Duration::from_secs(1));
    let later = issue(&bob, &pull, None).await;
    assert_eq!(later.issued, start() + std::time::Duration::from_mins(1));
}
