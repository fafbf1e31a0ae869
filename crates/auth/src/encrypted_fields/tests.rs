//! What an operator is told about the key.

use super::*;
use crate::AuthOptions;
use crate::testing::{HOST, World, field_key};
use roadstead_secrets::FieldKey;

/// A neighbour with another key, or without one.
fn with(world: &World, field_key: Option<FieldKey>) -> Authenticator {
    let options = AuthOptions {
        field_key,
        ..AuthOptions::standalone(HOST, "admin")
    };
    world.neighbour(options, 1)
}

async fn world() -> World {
    let world = World::new().await;
    let admin = world.user("admin", "right").await;
    for number in 0..25 {
        world.robot(&format!("admin+r{number}"), "token").await;
    }
    world.app_token(admin, "name", "secret").await;
    world
}

#[tokio::test]
async fn a_database_without_encrypted_fields_needs_no_key() {
    let world = World::new().await;
    world.user("admin", "right").await;
    for key in [None, Some(field_key())] {
        assert_eq!(
            with(&world, key).check_encrypted_fields().await.unwrap(),
            []
        );
    }
}

#[tokio::test]
async fn the_right_key_reads_everything() {
    let world = world().await;
    let unreadable = world.authenticator.check_encrypted_fields().await.unwrap();
    assert_eq!(unreadable, []);
}

#[tokio::test]
async fn a_missing_and_a_wrong_key_are_told_apart_and_the_columns_named() {
    let world = world().await;
    let columns = "(appspecificauthtoken.token_secret: 1 of 1 rows; robotaccounttoken.token: 20 of the newest 20 of 25 rows)";
    let missing = with(&world, None)
        .check_encrypted_fields()
        .await
        .unwrap_err();
    assert!(
        matches!(missing, EncryptedFieldsError::KeyMissing { .. }),
        "{missing}"
    );
    assert!(missing.to_string().contains(columns), "{missing}");
    let another = FieldKey::new("another").unwrap();
    let wrong = with(&world, Some(another))
        .check_encrypted_fields()
        .await
        .unwrap_err();
    assert!(
        matches!(wrong, EncryptedFieldsError::WrongKey { .. }),
        "{wrong}"
    );
    assert!(wrong.to_string().contains(columns), "{wrong}");
}

#[tokio::test]
async fn rows_under_another_key_are_counted_and_refuse_nothing() {
    let world = world().await;
    world
        .execute("UPDATE robotaccounttoken SET token = 'v0$$AAAA' WHERE id % 10 = 0")
        .await;
    let unreadable = world.authenticator.check_encrypted_fields().await.unwrap();
    let shown: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["robotaccounttoken.token: 2 of the newest 20 of 25 rows"]
    );
}

#[tokio::test]
async fn what_is_not_encrypted_is_not_counted() {
    let world = world().await;
    world
        .execute("UPDATE robotaccounttoken SET token = ''")
        .await;
    world.execute("DELETE FROM appspecificauthtoken").await;
    assert_eq!(
        with(&world, None).check_encrypted_fields().await.unwrap(),
        []
    );
}
