//! Passwords that come encrypted, as Quay and this registry make them for clients to keep.

use roadstead_secrets::PasswordKey;

use super::*;
use crate::options::AuthOptions;
use crate::testing::{HOST, field_key};

/// `{"password": "adminpass123"}` under the key `not a secret`, made by Python's `cryptography`, with which Quay does it.
const QUAYS: &str = "AAECAwQFBgcICQoLDA0OD5Awo9EniopzkwnEoMDc0nVd3Fkzaka752SyQJjBDGde";

async fn world(encrypted_passwords_only: bool) -> World {
    let world = World::with(AuthOptions {
        password_key: Some(PasswordKey::new("not a secret").unwrap()),
        encrypted_passwords_only,
        field_key: Some(field_key()),
        ..AuthOptions::standalone(HOST, "admin")
    })
    .await;
    world.user("admin", "adminpass123").await;
    world
}

fn name(outcome: Result<Identity, LoginError>) -> String {
    outcome.unwrap().username().unwrap().to_owned()
}

#[tokio::test]
async fn a_password_is_taken_as_it_is_and_encrypted_by_us_or_by_quay() {
    let world = world(false).await;
    let ours = world
        .authenticator
        .encrypted_password(&Secret::new("adminpass123"))
        .unwrap();
    assert_ne!(ours.expose(), QUAYS);
    for password in ["adminpass123", QUAYS, ours.expose()] {
        assert_eq!(name(world.log_in("admin", password).await), "admin");
    }
    let by_address = world.log_in("admin@registry.example", ours.expose()).await;
    assert_eq!(name(by_address), "admin");
    // The same password, however it came: it is checked once.
    assert_eq!(world.authenticator.inner.passwords.checks(), 1);
    world.set_password("admin", "another").await;
    assert_eq!(
        message(world.log_in("admin", QUAYS).await),
        "Invalid Username or Password"
    );
}

#[tokio::test]
async fn where_only_encrypted_passwords_are_taken_the_others_are_not_looked_at() {
    let world = world(true).await;
    let passwords = &world.authenticator.inner.passwords;
    for username in ["admin", "nobody", "admin@registry.example"] {
        let refused = world.log_in(username, "adminpass123").await;
        assert!(
            matches!(refused, Err(LoginError::Unencrypted)),
            "{refused:?}"
        );
        assert_eq!(
            message(refused),
            "Client login with unencrypted passwords is disabled. Please generate an encrypted password in the user \
             admin panel for use here."
        );
    }
    assert_eq!(passwords.checks(), 0);
    assert_eq!(name(world.log_in("admin", QUAYS).await), "admin");
    // What robots send is no password.
    world.robot("admin+ci", "robot-token").await;
    assert_eq!(
        name(world.log_in("admin+ci", "robot-token").await),
        "admin+ci"
    );
}

#[tokio::test]
async fn what_is_not_to_be_decrypted_costs_what_a_wrong_password_costs_and_counts_as_one() {
    let other = PasswordKey::new("another").unwrap();
    let sealed = |text: &str| other.seal(&Secret::new(text), [7; 16]);
    let ours = PasswordKey::new("not a secret").unwrap();
    let no_password = ours.seal(&Secret::new("[1]"), [7; 16]);
    for only in [false, true] {
        let world = world(only).await;
        let passwords = &world.authenticator.inner.passwords;
        for (username, password) in [
            ("admin", sealed(r#"{"password": "adminpass123"}"#)),
            ("nobody", sealed(r#"{"password": "adminpass123"}"#)),
            ("admin", no_password.clone()),
            (
                "admin",
                ours.seal(&Secret::new(r#"{"password": "wrong"}"#), [7; 16]),
            ),
        ] {
            let before = passwords.checks();
            assert_eq!(
                message(world.log_in(username, &password).await),
                "Invalid Username or Password",
                "{username}"
            );
            assert_eq!(passwords.checks(), before + 1, "{username}");
            world.clock.advance(Duration::from_secs(10));
        }
        assert_eq!(
            world
                .number(r#"SELECT invalid_login_attempts FROM "user" WHERE username = 'admin'"#)
                .await,
            3
        );
    }
}

#[tokio::test]
async fn without_a_key_a_password_is_what_it_is() {
    let world = World::new().await;
    world.user("admin", QUAYS).await;
    assert_eq!(name(world.log_in("admin", QUAYS).await), "admin");
    assert!(
        world
            .authenticator
            .encrypted_password(&Secret::new("x"))
            .is_none()
    );
}
