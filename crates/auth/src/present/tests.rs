//! What was taken away since a token was issued is gone for the token at the bound and not later; what was given counts at once.

use roadstead_oci::RepositoryName;

use super::*;
use roadstead_metadata::TokenOwner;

use crate::access::Access;
use crate::grant::{GrantedScope, TokenRequest};
use crate::identity::Proof;
use crate::testing::{World, credentials};
use crate::{AuthOptions, FieldKey, LoginError};

const TICK: Duration = Duration::from_millis(1);

/// A registry with people, a robot and tokens, and a neighbour in another region.
struct Scene {
    world: World,
    elsewhere: Authenticator,
}

/// Who signs in, and with what.
const BOB: (&str, &str) = ("bob", "secret");
const ROBOT: (&str, &str) = ("acme+ci", "robot-token");

fn app_token() -> (&'static str, String) {
    ("$app", format!("{}app-secret", "a".repeat(60)))
}

fn oauth_token() -> (&'static str, String) {
    ("$oauthtoken", format!("{}oauth-code", "o".repeat(20)))
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

impl Scene {
    /// Bob may push to `acme/app` and `acme+ci` may; both are private, as everything here.
    async fn new() -> Self {
        let world = World::new().await;
        world.user("admin", "secret").await;
        let bob = world.user(BOB.0, BOB.1).await;
        world.repository("acme/app", false).await;
        world.robot(ROBOT.0, ROBOT.1).await;
        world
            .execute(
                r#"INSERT INTO repositorypermission (user_id, repository_id, role_id)
                   SELECT u.id, r.id, o.id FROM "user" u, repository r, role o
                   WHERE u.username IN ('bob', 'acme+ci') AND r.name = 'app' AND o.name = 'write'"#,
            )
            .await;
        world.app_token(bob, &"a".repeat(60), "app-secret").await;
        world
            .oauth_token(bob, &"o".repeat(20), "oauth-code", "repo:write")
            .await;
        let options = AuthOptions {
            field_key: Some(FieldKey::new("not a secret").unwrap()),
            ..AuthOptions::standalone(crate::testing::HOST, "admin")
        };
        let elsewhere = world.neighbour(options, 1);
        Self { world, elsewhere }
    }

    async fn token(&self, (username, password): (&str, &str)) -> String {
        let request = TokenRequest {
            credentials: Some(credentials(username, password)),
            scopes: vec!["repository:acme/app:pull,push"],
            service: None,
        };
        let issued = self.world.authenticator.token(request).await.unwrap();
        issued.token.value.expose().to_owned()
    }

    /// What a request in the other region comes to.
    async fn push(&self, token: &str) -> Result<bool, TokenError> {
        self.does(Action::Push, token).await
    }

    async fn does(&self, action: Action, token: &str) -> Result<bool, TokenError> {
        let access = self.elsewhere.verify(token).await?;
        self.may(&access, action).await
    }

    async fn may(&self, access: &Access, action: Action) -> Result<bool, TokenError> {
        let path = RepositoryPath {
            namespace: "acme".to_owned(),
            name: "app".to_owned(),
        };
        let found = self.world.database.find_repository(&path).await.unwrap();
        self.elsewhere
            .may(access, action, &name("acme/app"), found.as_ref())
            .await
    }

    /// Takes something away, and sees that the token goes on until a moment before the bound, however busy its bearer is, and no longer.
    async fn revoked_at_the_bound(
        &self,
        token: &str,
        change: &'static str,
    ) -> Result<bool, TokenError> {
        assert!(self.push(token).await.unwrap());
        self.world.execute(change).await;
        for _ in 0..9 {
            self.world.clock.advance(Duration::from_secs(1));
            assert!(self.push(token).await.unwrap(), "{change}");
        }
        self.world.clock.advance(Duration::from_millis(999));
        assert!(self.push(token).await.unwrap(), "{change}");
        self.world.clock.advance(TICK);
        self.push(token).await
    }
}

macro_rules! assert_revoked {
    ($outcome:expr, $reason:expr) => {
        let outcome = $outcome;
        assert!(
            matches!(outcome, Err(TokenError::Revoked { reason }) if reason == $reason),
            "{outcome:?}"
        );
    };
}

#[tokio::test]
async fn what_was_taken_away_is_gone_at_once_where_somebody_says_so() {
    for change in [
        "DELETE FROM repositorypermission",
        r#"UPDATE "user" SET enabled = false WHERE username = 'bob'"#,
    ] {
        let scene = Scene::new().await;
        let token = scene.token(BOB).await;
        assert!(scene.push(&token).await.unwrap());
        scene.world.execute(change).await;
        assert!(scene.push(&token).await.unwrap(), "{change}");
        scene.elsewhere.rights_changed();
        let refused = scene.push(&token).await;
        assert!(!matches!(refused, Ok(true)), "{change}: {refused:?}");
    }
}

#[tokio::test]
async fn a_word_that_something_has_changed_takes_nothing_from_a_pull_during_an_outage() {
    let scene = Scene::new().await;
    let token = scene.token(BOB).await;
    assert!(scene.push(&token).await.unwrap());
    let access = scene.elsewhere.verify(&token).await.unwrap();
    scene.elsewhere.rights_changed();
    scene.world.lose_database().await;
    let may = scene
        .elsewhere
        .may(&access, Action::Pull, &name("acme/app"), None)
        .await;
    assert!(may.unwrap());
}

#[tokio::test]
async fn a_disabled_deleted_or_renamed_account_ends_its_tokens() {
    for (change, reason) in [
        (
            r#"UPDATE "user" SET enabled = false WHERE username = 'bob'"#,
            Revoked::AccountDisabled,
        ),
        (
            r#"UPDATE "user" SET username = 'robert' WHERE username = 'bob'"#,
            Revoked::AccountGone,
        ),
        (
            r#"UPDATE "user" SET organization = true WHERE username = 'bob'"#,
            Revoked::AccountGone,
        ),
        // As Quay does it.
        (
            r#"UPDATE "user" SET password_hash = 'other', uuid = 'other' WHERE username = 'bob'"#,
            Revoked::PasswordChanged,
        ),
    ] {
        let scene = Scene::new().await;
        let token = scene.token(BOB).await;
        assert_revoked!(scene.revoked_at_the_bound(&token, change).await, reason);
    }
}

#[tokio::test]
async fn a_robot_that_is_deleted_disabled_or_given_another_token_or_whose_owner_is_disabled_is_out()
{
    for (change, reason) in [
        (
            r#"UPDATE "user" SET username = 'acme+gone' WHERE username = 'acme+ci'"#,
            Revoked::AccountGone,
        ),
        (
            r#"UPDATE "user" SET enabled = false WHERE username = 'acme+ci'"#,
            Revoked::AccountDisabled,
        ),
        (
            "UPDATE robotaccounttoken SET token = 'v0$$other'",
            Revoked::RobotTokenChanged,
        ),
        ("DELETE FROM robotaccounttoken", Revoked::RobotTokenChanged),
        (
            r#"UPDATE "user" SET enabled = false WHERE username = 'acme'"#,
            Revoked::OwnerGone,
        ),
        (
            r#"UPDATE "user" SET username = 'apex' WHERE username = 'acme'"#,
            Revoked::OwnerGone,
        ),
    ] {
        let scene = Scene::new().await;
        let token = scene.token(ROBOT).await;
        assert!(scene.push(&token).await.unwrap());
        scene.world.execute(change).await;
        scene.world.clock.advance(REVOCATION_BOUND);
        assert_revoked!(scene.elsewhere.verify(&token).await, reason);
    }
}

#[tokio::test]
async fn a_withdrawn_or_ended_app_token_or_oauth_token_ends_what_was_issued_on_it() {
    let (app, oauth) = (app_token(), oauth_token());
    for ((username, secret), change) in [
        (&app, "DELETE FROM appspecificauthtoken"),
        (
            &app,
            "UPDATE appspecificauthtoken SET expiration = '2026-01-01 00:00:00'",
        ),
        (
            &app,
            r#"UPDATE appspecificauthtoken SET user_id = (SELECT id FROM "user" WHERE username = 'admin')"#,
        ),
        (&oauth, "DELETE FROM oauthaccesstoken"),
        (
            &oauth,
            "UPDATE oauthaccesstoken SET expires_at = '2026-01-01 00:00:00'",
        ),
    ] {
        let scene = Scene::new().await;
        let token = scene.token((username, secret)).await;
        assert_revoked!(
            scene.revoked_at_the_bound(&token, change).await,
            Revoked::TokenGone
        );
        // Bob's password is as good as before.
        let own = scene.token(BOB).await;
        assert!(scene.push(&own).await.unwrap());
    }
    let scene = Scene::new().await;
    let token = scene.token((oauth.0, &oauth.1)).await;
    let lowered = "UPDATE oauthaccesstoken SET scope = 'repo:read'";
    assert!(!scene.revoked_at_the_bound(&token, lowered).await.unwrap());
    assert!(scene.does(Action::Pull, &token).await.unwrap());
}

#[tokio::test]
async fn a_permission_that_is_removed_or_lowered_is_gone_at_the_bound() {
    for bearer in [BOB, ROBOT] {
        let scene = Scene::new().await;
        let token = scene.token(bearer).await;
        let lowered =
            "UPDATE repositorypermission SET role_id = (SELECT id FROM role WHERE name = 'read')";
        assert!(!scene.revoked_at_the_bound(&token, lowered).await.unwrap());
        assert!(scene.does(Action::Pull, &token).await.unwrap());
        scene
            .world
            .execute("DELETE FROM repositorypermission")
            .await;
        scene.world.clock.advance(REVOCATION_BOUND);
        assert!(!scene.does(Action::Pull, &token).await.unwrap());
    }
}

#[tokio::test]
async fn what_is_given_back_counts_at_once() {
    let scene = Scene::new().await;
    let token = scene.token(BOB).await;
    let disabled = r#"UPDATE "user" SET enabled = false WHERE username = 'bob'"#;
    let outcome = scene.revoked_at_the_bound(&token, disabled).await;
    assert_revoked!(outcome, Revoked::AccountDisabled);
    scene
        .world
        .execute(r#"UPDATE "user" SET enabled = true WHERE username = 'bob'"#)
        .await;
    assert!(scene.push(&token).await.unwrap());
    scene
        .world
        .execute(
            "UPDATE repositorypermission SET role_id = (SELECT id FROM role WHERE name = 'read')",
        )
        .await;
    scene.world.clock.advance(REVOCATION_BOUND);
    assert!(!scene.push(&token).await.unwrap());
    scene
        .world
        .execute(
            "UPDATE repositorypermission SET role_id = (SELECT id FROM role WHERE name = 'write')",
        )
        .await;
    assert!(scene.push(&token).await.unwrap());
}

#[tokio::test]
async fn a_repository_that_was_made_anew_is_another_one() {
    let scene = Scene::new().await;
    let token = scene.token(BOB).await;
    assert!(scene.push(&token).await.unwrap());
    scene
        .world
        .execute("UPDATE repository SET name = 'old' WHERE name = 'app'")
        .await;
    // Bob had a right to what is gone, and has none to what may come; the owners of the namespace are told that it is gone.
    assert!(!scene.push(&token).await.unwrap());
    let admins = scene.token(("admin", "secret")).await;
    scene.world.repository("acme/other", false).await;
    scene
        .world
        .execute("UPDATE repository SET name = 'old2' WHERE name = 'app'")
        .await;
    assert!(scene.push(&admins).await.unwrap());
    scene
        .world
        .execute("UPDATE repository SET name = 'app' WHERE name = 'other'")
        .await;
    assert!(!scene.push(&token).await.unwrap());
    assert!(!scene.does(Action::Pull, &token).await.unwrap());
}

#[tokio::test]
async fn a_repository_that_is_public_no_more_is_closed_to_tokens_of_nobody() {
    let scene = Scene::new().await;
    scene.world.repository("acme/public", true).await;
    let path = RepositoryPath {
        namespace: "acme".to_owned(),
        name: "public".to_owned(),
    };
    let request = TokenRequest {
        scopes: vec!["repository:acme/public:pull"],
        ..TokenRequest::default()
    };
    let token = scene
        .world
        .authenticator
        .token(request)
        .await
        .unwrap()
        .token;
    let pull = async || {
        let access = scene.elsewhere.verify(token.value.expose()).await.unwrap();
        let found = scene.world.database.find_repository(&path).await.unwrap();
        scene
            .elsewhere
            .may(&access, Action::Pull, &name("acme/public"), found.as_ref())
            .await
            .unwrap()
    };
    assert!(pull().await);
    scene
        .world
        .execute(
            "UPDATE repository SET visibility_id = (SELECT id FROM visibility WHERE name = 'private')",
        )
        .await;
    assert!(!pull().await);
    // Nobody was looked up.
    assert_eq!(scene.elsewhere.inner.present.remembered(), (0, 1));
}

#[tokio::test]
async fn a_repository_that_is_public_no_more_is_closed_to_accounts_without_a_permission_too() {
    let scene = Scene::new().await;
    scene.world.user("carol", "secret").await;
    let visible = |name: &str| match name {
        "public" => {
            "UPDATE repository SET visibility_id = (SELECT id FROM visibility WHERE name = 'public')"
        }
        _ => {
            "UPDATE repository SET visibility_id = (SELECT id FROM visibility WHERE name = 'private')"
        }
    };
    scene.world.execute(visible("public")).await;
    let token = scene.token(("carol", "secret")).await;
    assert!(scene.does(Action::Pull, &token).await.unwrap());
    // Where she stood while it was public is known, too.
    let asker = Some(scene.world.id("carol").await);
    let path = RepositoryPath {
        namespace: "acme".to_owned(),
        name: "app".to_owned(),
    };
    let present = &scene.elsewhere.inner.present;
    present.ask_standing((asker, path)).await.unwrap();
    scene.world.execute(visible("private")).await;
    assert!(!scene.does(Action::Pull, &token).await.unwrap());
    scene.world.execute(visible("public")).await;
    assert!(scene.does(Action::Pull, &token).await.unwrap());
}

#[tokio::test]
async fn a_disabled_namespace_is_closed_to_tokens_at_the_bound() {
    let scene = Scene::new().await;
    let token = scene.token(BOB).await;
    let disabled = r#"UPDATE "user" SET enabled = false WHERE username = 'acme'"#;
    assert!(!scene.revoked_at_the_bound(&token, disabled).await.unwrap());
    assert!(!scene.does(Action::Pull, &token).await.unwrap());
}

#[tokio::test]
async fn a_token_for_a_robot_whose_namespace_is_gone_is_refused() {
    let scene = Scene::new().await;
    let token = scene.token(ROBOT).await;
    scene
        .world
        .execute(r#"UPDATE "user" SET username = 'apex' WHERE username = 'acme'"#)
        .await;
    assert_revoked!(scene.push(&token).await, Revoked::OwnerGone);
    let refused = scene.world.log_in(ROBOT.0, ROBOT.1).await;
    assert!(
        matches!(refused, Err(LoginError::NoSuchRobot)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn without_the_database_pulls_go_on_with_the_last_word_and_the_last_word_may_be_no() {
    let scene = Scene::new().await;
    let (bobs, robots) = (scene.token(BOB).await, scene.token(ROBOT).await);
    // The key is known, and bob, and that the robot is out.
    assert!(scene.push(&bobs).await.unwrap());
    scene
        .world
        .execute(r#"UPDATE "user" SET enabled = false WHERE username = 'acme+ci'"#)
        .await;
    scene.world.clock.advance(Duration::from_secs(1));
    assert!(scene.push(&robots).await.is_err());
    let unseen = scene.token(app_token_borrowed()).await;
    let access = scene.elsewhere.verify(&bobs).await.unwrap();
    scene.world.clock.advance(REVOCATION_BOUND * 6);
    scene.world.lose_database().await;

    let pull = async |token: &str| {
        let access = scene.elsewhere.verify(token).await?;
        scene
            .elsewhere
            .may(&access, Action::Pull, &name("acme/app"), None)
            .await
    };
    assert!(pull(&bobs).await.unwrap());
    assert_revoked!(pull(&robots).await, Revoked::AccountDisabled);
    // Nothing is known of this one but what its token says.
    assert!(pull(&unseen).await.unwrap());
    let unconfirmed = scene.elsewhere.verify(&unseen).await.unwrap();
    let pushes = scene
        .elsewhere
        .may(&unconfirmed, Action::Push, &name("acme/app"), None)
        .await;
    assert!(pushes.is_err(), "{pushes:?}");
    // It had no word about other repositories.
    assert!(
        !scene
            .elsewhere
            .may(&access, Action::Pull, &name("acme/other"), None)
            .await
            .unwrap()
    );
}

fn app_token_borrowed() -> (&'static str, &'static str) {
    ("$app", Box::leak(app_token().1.into_boxed_str()))
}

#[tokio::test]
async fn a_hundred_thousand_tokens_leave_no_more_than_the_memories_hold() {
    let world = World::new().await;
    let admin = world.user("admin", "secret").await;
    let inner = &world.authenticator.inner;
    let user = User::proved(
        TokenOwner {
            id: admin,
            uuid: None,
            username: "admin".to_owned(),
            enabled: true,
        },
        Proof::Password,
    );
    // Everything that is kept of a request for a token, which is all but the signature, and of the first use of what it grants.
    for number in 0..100_000_u32 {
        let name = name(&format!("acme/app-{number}"));
        let sent = credentials(&format!("user{number}"), "secret");
        let asker = inner.outage.asker(Some(&sent));
        let grant = GrantedScope {
            name: name.clone(),
            actions: [Action::Pull].into(),
        };
        let decision = (Identity::User(user.clone()), vec![grant]);
        let now = world.environment.now();
        inner.outage.remember(&asker, &decision, now);
        inner
            .passwords
            .remember(&number.to_string(), &sent.password, now);
        let path = inner.options.path(&name).unwrap();
        let question = || async { Ok(PathStanding::default()) };
        let key = (Some(admin), path);
        inner.present.standings.ask(key, question).await.unwrap();
    }
    assert!(inner.outage.remembered() <= 8_192);
    assert!(inner.passwords.remembered() <= 1_024);
    assert_eq!(inner.present.remembered(), (0, STANDINGS_MAX));
}

#[tokio::test]
async fn what_is_remembered_of_bearers_is_bounded() {
    let world = World::new().await;
    world.user("admin", "secret").await;
    let present = &world.authenticator.inner.present;
    let bearers = u32::try_from(BEARERS_MAX).unwrap() + 100;
    for number in 0..bearers {
        let key = (format!("user{number}"), None);
        present
            .bearers
            .ask(key, || async { Ok(None) })
            .await
            .unwrap();
    }
    assert_eq!(present.remembered(), (BEARERS_MAX, 0));
}
