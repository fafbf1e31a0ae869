//! Who gets which token while the database is away.

use roadstead_secrets::Secret;

use super::*;
use crate::grant::TokenRequest;
use crate::options::AuthOptions;
use crate::testing::{HOST, World, credentials, field_key};

const PASSWORD: &str = "secret";
const PULL: &str = "repository:alice/tools:pull";
const PUSH: &str = "repository:alice/tools:pull,push";
const PUBLIC: &str = "repository:acme/public:pull";

async fn world() -> World {
    let options = AuthOptions {
        field_key: Some(field_key()),
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = World::with(options).await;
    for username in ["admin", "alice", "bob"] {
        world.user(username, PASSWORD).await;
    }
    world.repository("alice/tools", false).await;
    world.repository("alice/more", false).await;
    world.repository("acme/public", true).await;
    world
}

/// Asks for a token and tells what it is good for in each repository of the scopes, as a level each; or why there is none.
async fn token(
    world: &World,
    credentials: Option<Credentials>,
    scopes: &[&str],
) -> Result<String, TokenRefusal> {
    let request = TokenRequest {
        credentials,
        scopes: scopes.to_vec(),
        service: None,
    };
    let token = world.authenticator.token(request).await?.token;
    let access = world
        .authenticator
        .verify(token.value.expose())
        .await
        .unwrap();
    let levels = scopes.iter().map(|scope| {
        let name: RepositoryName = scope.split(':').nth(1).unwrap().parse().unwrap();
        if access.allows(&name, Action::Push) {
            "push"
        } else if access.allows(&name, Action::Pull) {
            "pull"
        } else {
            "nothing"
        }
    });
    Ok(levels.collect::<Vec<_>>().join(" "))
}

async fn alice(world: &World, scopes: &[&str]) -> Result<String, TokenRefusal> {
    token(world, Some(credentials("alice", PASSWORD)), scopes).await
}

#[track_caller]
fn is_the_databases(outcome: Result<String, TokenRefusal>) {
    let refusal = outcome.expect_err("the database is away");
    assert!(is_outage(&refusal), "{refusal}");
}

#[tokio::test]
async fn what_was_granted_lately_is_granted_again_for_pulling_only() {
    let world = world().await;
    assert_eq!(alice(&world, &[PUSH, PUBLIC]).await.unwrap(), "push pull");
    assert_eq!(token(&world, None, &[PUBLIC]).await.unwrap(), "pull");
    world.lose_database().await;

    assert_eq!(alice(&world, &[PULL]).await.unwrap(), "pull");
    assert_eq!(alice(&world, &[PULL, PUBLIC]).await.unwrap(), "pull pull");
    assert_eq!(alice(&world, &[]).await.unwrap(), "");
    assert_eq!(token(&world, None, &[PUBLIC]).await.unwrap(), "pull");
    // What was not asked for lately is not known, and a token to push with is of no use.
    is_the_databases(alice(&world, &["repository:alice/more:pull"]).await);
    is_the_databases(alice(&world, &[PULL, "repository:alice/more:pull"]).await);
    is_the_databases(alice(&world, &[PUSH]).await);
    is_the_databases(alice(&world, &["repository:alice/tools:*"]).await);
    is_the_databases(token(&world, None, &[PULL]).await);
    is_the_databases(token(&world, Some(credentials("bob", PASSWORD)), &[PUBLIC]).await);

    world.clock.advance(GRANTED_FOR);
    is_the_databases(alice(&world, &[PULL]).await);
    is_the_databases(token(&world, None, &[PUBLIC]).await);
}

#[tokio::test]
async fn a_wrong_password_gets_nothing_and_after_a_few_the_right_one_does_not_either() {
    let world = world().await;
    alice(&world, &[PULL]).await.unwrap();
    token(&world, Some(credentials("bob", PASSWORD)), &[PUBLIC])
        .await
        .unwrap();
    world.lose_database().await;
    for number in 0..MISSES_MAX {
        assert_eq!(alice(&world, &[PULL]).await.unwrap(), "pull");
        let wrong = credentials("alice", &format!("wrong {number}"));
        is_the_databases(token(&world, Some(wrong), &[PULL]).await);
    }
    is_the_databases(alice(&world, &[PULL]).await);
    // Somebody else is not kept out by that.
    let bob = token(&world, Some(credentials("bob", PASSWORD)), &[PUBLIC]).await;
    assert_eq!(bob.unwrap(), "pull");
}

#[tokio::test]
async fn what_the_database_has_taken_back_is_not_granted_again() {
    let world = world().await;
    // A right that is gone.
    let bob = || Some(credentials("bob", PASSWORD));
    assert_eq!(token(&world, bob(), &[PUBLIC]).await.unwrap(), "pull");
    world
        .execute("UPDATE repository SET visibility_id = (SELECT id FROM visibility WHERE name = 'private')")
        .await;
    assert_eq!(token(&world, bob(), &[PUBLIC]).await.unwrap(), "nothing");
    // A password that is changed, with which somebody tried.
    alice(&world, &[PULL]).await.unwrap();
    world.set_password("alice", "changed").await;
    assert!(alice(&world, &[PULL]).await.is_err());
    world.lose_database().await;
    is_the_databases(token(&world, bob(), &[PUBLIC]).await);
    is_the_databases(alice(&world, &[PULL]).await);
}

#[tokio::test]
async fn robots_are_remembered_and_tokens_that_end_by_themselves_are_not() {
    let world = world().await;
    let owner = world.id("alice").await;
    world.robot("alice+ci", "ROBOT").await;
    world
        .execute(
            "INSERT INTO repositorypermission (user_id, repository_id, role_id)
             SELECT u.id, r.id, o.id FROM user u, repository r, role o
             WHERE u.username = 'alice+ci' AND r.name = 'tools' AND o.name = 'read'",
        )
        .await;
    let (name, secret) = ("A".repeat(60), "B".repeat(60));
    world.app_token(owner, &name, &secret).await;
    let robot = || Some(credentials("alice+ci", "ROBOT"));
    let app = || Some(credentials("$app", &format!("{name}{secret}")));
    assert_eq!(token(&world, robot(), &[PULL]).await.unwrap(), "pull");
    assert_eq!(token(&world, app(), &[PULL]).await.unwrap(), "pull");
    world.lose_database().await;
    assert_eq!(token(&world, robot(), &[PULL]).await.unwrap(), "pull");
    is_the_databases(token(&world, app(), &[PULL]).await);
}

#[test]
fn what_is_remembered_says_nothing_of_passwords() {
    let outage = Outage::new(&Environment::system());
    let asker = outage.asker(Some(&Credentials {
        username: "alice".to_owned(),
        password: Secret::new(PASSWORD),
    }));
    let decision = (Identity::Anonymous, Vec::new());
    outage.remember(&asker, &decision, Timestamp::UNIX_EPOCH);
    assert!(!format!("{outage:?} {asker:?}").contains(PASSWORD));
    let another = Outage::new(&Environment::system());
    let same = another.asker(Some(&credentials("alice", PASSWORD)));
    assert_ne!(asker.hash, same.hash);
}
