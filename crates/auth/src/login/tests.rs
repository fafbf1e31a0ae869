//! What signing in promises, on a real database.

mod encrypted;
mod tokens;

use std::time::Duration;

use super::*;
use crate::testing::{World, credentials};

async fn world() -> World {
    let world = World::new().await;
    world.user("admin", "right").await;
    world
}

fn message(outcome: Result<Identity, LoginError>) -> String {
    outcome.unwrap_err().client_message()
}

#[tokio::test]
async fn the_right_password_says_who_it_is() {
    let world = world().await;
    let Identity::User(user) = world.log_in("admin", "right").await.unwrap() else {
        panic!("somebody");
    };
    assert_eq!(
        (user.username(), user.id()),
        ("admin", world.id("admin").await)
    );
}

#[tokio::test]
async fn an_address_is_as_good_as_a_name_and_names_go_first() {
    let world = world().await;
    let alice = world.user("alice", "secret").await;
    let named_so = world.user("alice@registry.example", "other").await;
    let whose = async |login, password| match world.log_in(login, password).await.unwrap() {
        Identity::User(user) => user.id(),
        Identity::Anonymous => panic!("somebody"),
    };
    assert_eq!(whose("alice@registry.example", "other").await, named_so);
    world
        .execute(r#"UPDATE "user" SET username = 'bob' WHERE username = 'alice@registry.example'"#)
        .await;
    assert_eq!(whose("alice@registry.example", "secret").await, alice);
    assert_eq!(
        message(world.log_in("ALICE@registry.example", "secret").await),
        "Invalid Username or Password"
    );
}

#[tokio::test]
async fn unknown_users_and_wrong_passwords_get_the_same_answer_at_the_price_of_one_check_each() {
    let world = world().await;
    let long = "x".repeat(256);
    let passwords = &world.authenticator.inner.passwords;
    for (username, password) in [
        ("nobody", "right"),
        ("nobody@registry.example", "right"),
        ("admin", "wrong"),
        ("ADMIN", "right"),
        ("jürgen", "right"),
        ("", ""),
        ("admin\0", "right"),
        (long.as_str(), "right"),
    ] {
        let before = passwords.checks();
        assert_eq!(
            message(world.log_in(username, password).await),
            "Invalid Username or Password",
            "{username}"
        );
        assert_eq!(passwords.checks(), before + 1, "{username}");
        world.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn names_that_are_not_users_get_quays_answers() {
    let world = world().await;
    for (username, expected) in [
        ("$token", "Invalid access token"),
        ("$app", "Invalid token"),
        ("$oauthtoken", "OAuth access token could not be validated"),
        ("acme+ci", "Could not find robot with specified username"),
        ("acme+\n", "Could not find robot with specified username"),
    ] {
        assert_eq!(message(world.log_in(username, "right").await), expected);
    }
    let endless = "x".repeat(PASSWORD_BYTES_MAX + 1);
    assert_eq!(
        message(world.log_in("admin", &endless).await),
        "Invalid Username or Password"
    );
    assert_eq!(world.authenticator.inner.passwords.checks(), 0);
}

#[tokio::test]
async fn wrong_passwords_close_the_account_for_longer_and_longer() {
    let world = world().await;
    for (attempt, milliseconds) in [(1, 500), (2, 1500), (3, 3500), (4, 7500)] {
        assert!(
            matches!(
                world.log_in("admin", "wrong").await,
                Err(LoginError::Invalid { .. })
            ),
            "attempt {attempt}"
        );
        let closed = Duration::from_millis(milliseconds);
        world
            .clock
            .advance(closed.saturating_sub(Duration::from_millis(1)));
        for password in ["right", "wrong"] {
            let Err(LoginError::Locked { retry_after }) = world.log_in("admin", password).await
            else {
                panic!("the account is closed after attempt {attempt}");
            };
            assert_eq!(retry_after, Duration::from_millis(1));
        }
        world.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(
        world
            .number(r#"SELECT invalid_login_attempts FROM "user""#)
            .await,
        4
    );
    world.log_in("admin", "right").await.unwrap();
    assert_eq!(
        world
            .number(r#"SELECT invalid_login_attempts FROM "user""#)
            .await,
        0
    );
}

#[tokio::test]
async fn a_closed_account_refuses_even_a_password_that_was_right_a_moment_ago() {
    let world = world().await;
    world.log_in("admin", "right").await.unwrap();
    world.log_in("admin", "wrong").await.unwrap_err();
    assert!(matches!(
        world.log_in("admin", "right").await,
        Err(LoginError::Locked { .. })
    ));
    world.clock.advance(Duration::from_millis(500));
    world.log_in("admin", "right").await.unwrap();
}

#[tokio::test]
async fn many_wrong_passwords_at_once_gain_one_guess_beyond_the_first() {
    let world = world().await;
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..20 {
        let authenticator = world.authenticator.clone();
        attempts.spawn(async move {
            authenticator
                .authenticate(credentials("admin", &format!("wrong {number}")))
                .await
        });
    }
    let mut looked_at = 0;
    while let Some(outcome) = attempts.join_next().await {
        match outcome.unwrap() {
            Err(LoginError::Invalid { .. }) => looked_at += 1,
            Err(LoginError::Locked { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=2).contains(&looked_at), "{looked_at}");
    assert_eq!(
        world
            .number(r#"SELECT invalid_login_attempts FROM "user""#)
            .await,
        looked_at
    );
}

#[tokio::test]
async fn a_wrong_password_counts_though_nobody_waits_for_the_answer() {
    let world = world().await;
    let mut attempt = Box::pin(world.log_in("admin", "wrong"));
    // Polled once, the attempt is under way; then its client hangs up.
    assert!(futures_now(&mut attempt).await.is_none());
    drop(attempt);
    while world
        .number(r#"SELECT invalid_login_attempts FROM "user""#)
        .await
        == 0
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_right_password_is_checked_once_and_then_remembered_for_a_while() {
    let world = world().await;
    let passwords = &world.authenticator.inner.passwords;
    for _ in 0..10 {
        world.log_in("admin", "right").await.unwrap();
    }
    assert_eq!(passwords.checks(), 1);
    world.clock.advance(Duration::from_mins(5));
    world.log_in("admin", "right").await.unwrap();
    assert_eq!(passwords.checks(), 2);
}

#[tokio::test]
async fn the_same_right_password_many_times_at_once_is_checked_twice_at_most() {
    let world = world().await;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let authenticator = world.authenticator.clone();
        attempts.spawn(async move {
            authenticator
                .authenticate(credentials("admin", "right"))
                .await
        });
    }
    while let Some(outcome) = attempts.join_next().await {
        outcome.unwrap().unwrap();
    }
    assert!(world.authenticator.inner.passwords.checks() <= 2);
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let world = world().await;
    world.log_in("admin", "right").await.unwrap();
    world.set_password("admin", "new").await;
    assert_eq!(
        message(world.log_in("admin", "right").await),
        "Invalid Username or Password"
    );
    world.clock.advance(Duration::from_millis(500));
    world.log_in("admin", "new").await.unwrap();
}

#[tokio::test]
async fn a_disabled_account_is_told_so_only_with_the_right_password_and_at_once() {
    let world = world().await;
    world.log_in("admin", "right").await.unwrap();
    world.execute(r#"UPDATE "user" SET enabled = false"#).await;
    let disabled = "This user has been disabled. Please contact your administrator.";
    assert_eq!(message(world.log_in("admin", "right").await), disabled);
    assert_eq!(
        message(world.log_in("admin", "wrong").await),
        "Invalid Username or Password"
    );
}

#[tokio::test]
async fn organisations_cannot_be_signed_in_to_but_are_closed_like_users() {
    let world = world().await;
    world.repository("acme/app", false).await;
    world
        .execute(r#"UPDATE "user" SET password_hash = (SELECT password_hash FROM "user" WHERE username = 'admin')"#)
        .await;
    assert_eq!(
        message(world.log_in("acme", "right").await),
        "Invalid Username or Password"
    );
    assert!(matches!(
        world.log_in("acme", "right").await,
        Err(LoginError::Locked { .. })
    ));
}

#[tokio::test]
async fn robots_cannot_be_signed_in_to_with_a_password_and_are_never_closed() {
    let world = world().await;
    world.user("robot", "right").await;
    world
        .execute(r#"UPDATE "user" SET robot = true WHERE username = 'robot'"#)
        .await;
    for _ in 0..3 {
        assert_eq!(
            message(world.log_in("robot", "right").await),
            "Invalid Username or Password"
        );
    }
}

#[tokio::test]
async fn a_database_that_is_gone_is_no_wrong_password() {
    let world = world().await;
    world.lose_database().await;
    let outcome = world.log_in("admin", "right").await;
    assert!(
        matches!(outcome, Err(LoginError::Backend { .. })),
        "{outcome:?}"
    );
}

/// Polls once.
async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! { biased; output = future => Some(output), () = std::future::ready(()) => None }
}
