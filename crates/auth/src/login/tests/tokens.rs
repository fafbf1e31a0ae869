//! Robots, app tokens and OAuth tokens.

use roadstead_runtime::Timestamp;

use super::*;
use crate::AuthOptions;
use crate::last_use::{GATHERED_FOR, NOTED_EVERY};
use crate::testing::HOST;

const TOKEN: &str = "ROBOTTOKEN";
const NAME: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SECRET: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const OAUTH: &str = "CCCCCCCCCCCCCCCCCCCCDDDDDDDDDDDDDDDDDDDD";

/// A user `admin`, a robot of hers, and a token of each kind.
async fn world() -> World {
    let world = World::new().await;
    furnish(&world).await;
    world
}

async fn furnish(world: &World) {
    let admin = world.user("admin", "right").await;
    world.robot("admin+ci", TOKEN).await;
    world.app_token(admin, NAME, SECRET).await;
    let (name, code) = OAUTH.split_at(20);
    world.oauth_token(admin, name, code, "repo:read").await;
}

fn app_token() -> String {
    format!("{NAME}{SECRET}")
}

#[tokio::test]
async fn each_token_says_who_sent_it() {
    let world = world().await;
    for (login, token, username, robot) in [
        ("admin+ci", TOKEN, "admin+ci", true),
        ("$app", &app_token(), "admin", false),
        ("$oauthtoken", OAUTH, "admin", false),
    ] {
        let Identity::User(user) = world.log_in(login, token).await.unwrap() else {
            panic!("somebody");
        };
        assert_eq!(user.username(), username, "{login}");
        assert_eq!(user.id(), world.id(username).await, "{login}");
        assert_eq!(user.is_robot(), robot, "{login}");
    }
}

#[tokio::test]
async fn a_wrong_token_gets_quays_answer_and_closes_nothing() {
    let world = world().await;
    let robot = "Could not find robot with username: admin+ci and supplied password.";
    let cut = app_token().replace('B', "");
    let other = app_token().replace('B', "C");
    let endless = "x".repeat(PASSWORD_BYTES_MAX + 1);
    for (login, token, expected) in [
        ("admin+ci", "", robot),
        ("admin+ci", "ROBOTTOKEM", robot),
        ("admin+ci", "right", robot),
        ("admin+ci", endless.as_str(), robot),
        (
            "admin+other",
            TOKEN,
            "Could not find robot with specified username",
        ),
        (
            "nobody+ci",
            TOKEN,
            "Could not find robot with specified username",
        ),
        ("$app", "", "Invalid token"),
        ("$app", "ä", "Invalid token"),
        ("$app", TOKEN, "Invalid token"),
        ("$app", &cut, "Invalid token"),
        ("$app", &other, "Invalid token"),
        ("$app", "\0", "Invalid token"),
        (
            "$oauthtoken",
            "",
            "OAuth access token could not be validated",
        ),
        (
            "$oauthtoken",
            "CCCCCCCCCCCCCCCCCCCC",
            "OAuth access token could not be validated",
        ),
        (
            "$oauthtoken",
            "CCCCCCCCCCCCCCCCCCCCE",
            "OAuth access token could not be validated",
        ),
        (
            "$oauthtoken",
            "CCCCCCCCCCCCCCCCCCCEE",
            "OAuth access token could not be validated",
        ),
        ("admin", TOKEN, "Invalid Username or Password"),
    ] {
        assert_eq!(
            message(world.log_in(login, token).await),
            expected,
            "{login} {token}"
        );
    }
    world.log_in("admin+ci", TOKEN).await.unwrap();
    world.log_in("$app", &app_token()).await.unwrap();
    world.log_in("$oauthtoken", OAUTH).await.unwrap();
}

#[tokio::test]
async fn the_tokens_of_a_disabled_user_are_refused_at_once() {
    let world = world().await;
    world.log_in("$oauthtoken", OAUTH).await.unwrap();
    world
        .execute(r#"UPDATE "user" SET enabled = false WHERE username = 'admin'"#)
        .await;
    let disabled = "This user has been disabled. Please contact your administrator.";
    for (login, token, expected) in [
        ("admin+ci", TOKEN, "Robot admin+ci owner admin is disabled"),
        ("$app", &app_token(), disabled),
        ("$oauthtoken", OAUTH, disabled),
    ] {
        assert_eq!(message(world.log_in(login, token).await), expected);
    }
    assert_eq!(
        message(world.log_in("admin+ci", "wrong").await),
        "Could not find robot with username: admin+ci and supplied password."
    );
}

#[tokio::test]
async fn a_robot_may_be_disabled_by_itself_or_have_lost_its_owner() {
    let world = world().await;
    world
        .execute(r#"UPDATE "user" SET enabled = false WHERE username = 'admin+ci'"#)
        .await;
    assert_eq!(
        message(world.log_in("admin+ci", TOKEN).await),
        "This user has been disabled. Please contact your administrator."
    );
    world
        .execute(r#"UPDATE "user" SET username = 'renamed' WHERE username = 'admin'"#)
        .await;
    assert_eq!(
        message(world.log_in("admin+ci", TOKEN).await),
        "Could not find robot with specified username"
    );
}

#[tokio::test]
async fn tokens_end_when_they_expire() {
    let world = world().await;
    world.log_in("$oauthtoken", OAUTH).await.unwrap();
    world
        .execute("UPDATE appspecificauthtoken SET expiration = '2026-01-01 00:00:00'")
        .await;
    world
        .execute("UPDATE oauthaccesstoken SET expires_at = '2026-01-01 00:00:00'")
        .await;
    assert_eq!(
        message(world.log_in("$app", &app_token()).await),
        "Invalid token"
    );
    assert_eq!(
        message(world.log_in("$oauthtoken", OAUTH).await),
        "OAuth access token has expired"
    );
    assert_eq!(
        message(world.log_in("$oauthtoken", "CCCCCCCCCCCCCCCCCCCCE").await),
        "OAuth access token could not be validated"
    );
}

#[tokio::test]
async fn a_token_that_was_replaced_or_withdrawn_counts_for_nothing_at_once() {
    let world = world().await;
    world.log_in("admin+ci", TOKEN).await.unwrap();
    world.log_in("$oauthtoken", OAUTH).await.unwrap();
    world
        .execute(
            "UPDATE robotaccounttoken SET token = (SELECT token_secret FROM appspecificauthtoken)",
        )
        .await;
    world.execute("DELETE FROM oauthaccesstoken").await;
    world.log_in("admin+ci", TOKEN).await.unwrap_err();
    world.log_in("admin+ci", SECRET).await.unwrap();
    world.log_in("$oauthtoken", OAUTH).await.unwrap_err();
}

#[tokio::test]
async fn an_oauth_token_costs_one_check_and_unknown_ones_none() {
    let world = world().await;
    let passwords = &world.authenticator.inner.passwords;
    for _ in 0..5 {
        world.log_in("$oauthtoken", OAUTH).await.unwrap();
        world
            .log_in("$oauthtoken", "unknown unknown unknown")
            .await
            .unwrap_err();
    }
    assert_eq!(passwords.checks(), 1);
}

#[tokio::test]
async fn without_the_key_or_with_another_what_is_encrypted_proves_nobody() {
    let world = world().await;
    for field_key in [
        None,
        Some(roadstead_secrets::FieldKey::new("another").unwrap()),
    ] {
        let options = AuthOptions {
            field_key,
            ..AuthOptions::standalone(HOST, "admin")
        };
        let other = world.neighbour(options, 1);
        let log_in = async |login: &str, token: &str| {
            message(other.authenticate(credentials(login, token)).await)
        };
        assert_eq!(
            log_in("admin+ci", TOKEN).await,
            "Could not find robot with username: admin+ci and supplied password."
        );
        assert_eq!(log_in("$app", &app_token()).await, "Invalid token");
        other
            .authenticate(credentials("$oauthtoken", OAUTH))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn robots_and_app_tokens_stay_out_where_the_operator_says_so() {
    let options = AuthOptions {
        robots: false,
        robots_allowed: ["admin+deploy".to_owned()].into(),
        app_tokens: false,
        field_key: Some(crate::testing::field_key()),
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = World::with(options).await;
    furnish(&world).await;
    world.robot("admin+deploy", TOKEN).await;
    world.log_in("admin+deploy", TOKEN).await.unwrap();
    assert_eq!(
        message(world.log_in("admin+ci", TOKEN).await),
        "Robot accounts have been disabled. Please contact your administrator."
    );
    assert_eq!(
        message(world.log_in("$app", &app_token()).await),
        "Invalid token"
    );
}

#[tokio::test]
async fn uses_are_noted_later_and_once_a_minute() {
    const NOTED: &str = r#"SELECT
        (SELECT count(*) FROM "user" WHERE last_accessed IS NOT NULL)
        + (SELECT count(*) FROM appspecificauthtoken WHERE last_accessed IS NOT NULL)
        + (SELECT count(*) FROM oauthaccesstoken WHERE last_accessed IS NOT NULL)"#;
    let world = world().await;
    let use_all = async || {
        world.log_in("admin", "right").await.unwrap();
        world.log_in("admin+ci", TOKEN).await.unwrap();
        world.log_in("$app", &app_token()).await.unwrap();
        world.log_in("$oauthtoken", OAUTH).await.unwrap();
    };
    use_all().await;
    assert_eq!(world.number(NOTED).await, 0);
    let first = written(&world, NOTED, 3).await;

    use_all().await;
    world.clock.advance(NOTED_EVERY);
    use_all().await;
    let second = written(
        &world,
        r#"SELECT count(*) FROM "user" u, appspecificauthtoken a, oauthaccesstoken o
           WHERE u.last_accessed > '2026-11-18 11:07:30' AND a.last_accessed > '2026-11-18 11:07:30'
             AND o.last_accessed > '2026-11-18 11:07:30'"#,
        1,
    )
    .await;
    assert!(second - first >= chrono::TimeDelta::seconds(60));
}

/// Lets time pass until the database says `expected`, and says when that was. Whoever gathers uses may not have begun to wait when the clock
/// moves; then the next step wakes it.
async fn written(world: &World, query: &'static str, expected: i64) -> Timestamp {
    for _ in 0..1_000 {
        world.clock.advance(GATHERED_FOR);
        for _ in 0..100 {
            if world.number(query).await == expected {
                return world.environment.now();
            }
            tokio::task::yield_now().await;
        }
    }
    panic!("never {expected}: {query}")
}

#[tokio::test]
async fn the_end_of_the_program_does_not_lose_what_was_gathered() {
    let world = world().await;
    world.log_in("admin+ci", TOKEN).await.unwrap();
    assert!(world.tasks.stop(Duration::from_secs(10)).await);
    assert_eq!(
        world
            .number(r#"SELECT count(*) FROM "user" WHERE last_accessed IS NOT NULL"#)
            .await,
        1
    );
}
