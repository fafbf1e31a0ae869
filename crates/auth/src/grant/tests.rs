//! What is granted, beside what a running Quay granted on the same questions.

use roadstead_runtime::Clock;

use super::*;
use crate::options::AuthOptions;
use crate::testing::{HOST, World, credentials, field_key};

const PASSWORD: &str = "secret";

/// `admin` is a superuser, `alice` and `bob` are not; `acme` belongs to none of them.
async fn world_with(options: AuthOptions) -> World {
    let world = World::with(options).await;
    for username in ["admin", "alice", "bob"] {
        world.user(username, PASSWORD).await;
    }
    world.repository("acme/app", false).await;
    world.repository("acme/public", true).await;
    world.repository("alice/tools", false).await;
    world
}

async fn world() -> World {
    world_with(AuthOptions::standalone(HOST, "admin")).await
}

async fn who(world: &World, username: &str) -> Identity {
    match username {
        "" => Identity::Anonymous,
        username => world.log_in(username, PASSWORD).await.unwrap(),
    }
}

/// What is granted of one scope, as the words of the token.
async fn granted(world: &World, username: &str, scope: &str) -> String {
    try_granted(world, username, scope).await.unwrap()
}

async fn try_granted(world: &World, username: &str, scope: &str) -> Result<String, GrantError> {
    let identity = who(world, username).await;
    let scopes = RequestedScope::parse_all([scope], HOST).unwrap();
    let grants = world.authenticator.grant(&identity, &scopes).await?;
    let words = |grant: &GrantedScope| {
        let actions = grant.actions.iter().map(|action| action.as_str());
        actions.collect::<Vec<_>>().join(",")
    };
    Ok(grants.iter().map(words).collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn rights_on_what_exists_are_quays() {
    let world = world().await;
    // By who asks; the columns are acme/app, acme/public and alice/tools.
    for (username, expected) in [
        ("", ["", "pull", ""]),
        ("admin", ["push,pull,*", "push,pull,*", "push,pull,*"]),
        ("alice", ["", "pull", "push,pull,*"]),
        ("bob", ["", "pull", ""]),
    ] {
        for (repository, expected) in ["acme/app", "acme/public", "alice/tools"]
            .iter()
            .zip(expected)
        {
            let scope = format!("repository:{repository}:pull,push,*");
            assert_eq!(
                granted(&world, username, &scope).await,
                expected,
                "{username} {repository}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_granted_that_was_not_asked_for() {
    let world = world().await;
    for (scope, expected) in [
        ("repository:acme/app:pull", "pull"),
        ("repository:acme/app:push", "push"),
        ("repository:acme/app:*", "*"),
        ("repository:acme/app:delete", "push"),
        ("repository:acme/app:delete,pull", "push,pull"),
        ("repository:acme/app:nonsense", ""),
        ("registry:catalog:*", ""),
        (
            "repository:acme/app:pull repository:acme/public:pull,push",
            "pull push,pull",
        ),
    ] {
        assert_eq!(granted(&world, "admin", scope).await, expected, "{scope}");
    }
}

#[tokio::test]
async fn asking_to_push_makes_the_repository_private_once() {
    let world = world().await;
    let count = "SELECT count(*) FROM repository WHERE name = 'new'";
    assert_eq!(
        granted(&world, "alice", "repository:alice/new:pull").await,
        "pull"
    );
    assert_eq!(
        granted(&world, "alice", "repository:alice/new:delete").await,
        ""
    );
    assert_eq!(granted(&world, "alice", "repository:alice/new:*").await, "");
    assert_eq!(world.number(count).await, 0);
    for _ in 0..2 {
        let scope = "repository:alice/new:pull,push,*";
        assert_eq!(granted(&world, "alice", scope).await, "push,pull,*");
        assert_eq!(world.number(count).await, 1);
    }
    assert_eq!(
        granted(&world, "bob", "repository:alice/new:pull").await,
        ""
    );
}

#[tokio::test]
async fn those_without_rights_make_nothing() {
    let options = AuthOptions {
        create_namespace_on_push: false,
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = world_with(options).await;
    let before = world.number("SELECT count(*) FROM repository").await;
    for username in ["", "bob"] {
        for name in ["alice/new", "acme/new", "nowhere/new", "new"] {
            let scope = format!("repository:{name}:pull,push,*");
            assert_eq!(
                granted(&world, username, &scope).await,
                "",
                "{username} {name}"
            );
        }
    }
    assert_eq!(
        world.number("SELECT count(*) FROM repository").await,
        before
    );
    assert!(
        world
            .database
            .find_namespace("nowhere")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_namespace_springs_into_being_on_a_superusers_push_where_that_is_allowed() {
    let world = world().await;
    let scope = "repository:fresh/deep/app:push,pull";
    assert_eq!(
        granted(&world, "admin", "repository:fresh/deep/app:pull").await,
        "pull",
        "the answer to a superuser's pull is that there is no such repository"
    );
    assert!(
        world
            .database
            .find_namespace("fresh")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(granted(&world, "admin", scope).await, "push,pull");
    assert_eq!(
        granted(&world, "admin", "repository:busybox:push,pull").await,
        "push,pull"
    );
    assert!(
        world
            .database
            .find_namespace("library")
            .await
            .unwrap()
            .is_some()
    );

    let quays = AuthOptions {
        create_namespace_on_push: false,
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = world_with(quays).await;
    assert_eq!(
        granted(&world, "admin", scope).await,
        "",
        "of a namespace that nobody can make, nothing is granted to anybody"
    );
    assert!(
        world
            .database
            .find_namespace("fresh")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn whoever_makes_a_namespace_by_pushing_owns_it() {
    let world = world().await;
    let scope = "repository:bobs/app:push,pull,*";
    assert_eq!(granted(&world, "", scope).await, "");
    assert_eq!(granted(&world, "bob", scope).await, "push,pull,*");
    assert_eq!(
        granted(&world, "bob", "repository:bobs/other:pull,push").await,
        "push,pull"
    );
    assert_eq!(granted(&world, "alice", scope).await, "");
}

#[tokio::test]
async fn the_restricted_make_no_repositories_of_their_own_and_no_namespaces() {
    let world = world_with(AuthOptions {
        restricted_users: true,
        unrestricted_users: ["alice".to_owned()].into(),
        ..AuthOptions::standalone(HOST, "admin")
    })
    .await;
    // Bob may make repositories in a team's namespace all the same, as in Quay.
    for statement in [
        "INSERT INTO team (name, organization_id, role_id, description)
         SELECT 'makers', u.id, t.id, '' FROM \"user\" u, teamrole t WHERE u.username = 'acme' AND t.name = 'creator'",
        "INSERT INTO teammember (user_id, team_id)
         SELECT u.id, t.id FROM \"user\" u, team t WHERE u.username = 'bob' AND t.name = 'makers'",
    ] {
        world.execute(statement).await;
    }
    for (username, name, made) in [
        ("bob", "bob/own", ""),
        ("bob", "bobs/new", ""),
        ("bob", "acme/new", "push"),
        ("alice", "alice/own", "push"),
        ("alice", "alices/new", "push"),
        ("admin", "admin/own", "push"),
        ("admin", "admins/new", "push"),
    ] {
        let scope = format!("repository:{name}:push");
        assert_eq!(granted(&world, username, &scope).await, made, "{name}");
    }
    // What was made before stays theirs.
    world.repository("bob/old", false).await;
    assert_eq!(
        granted(&world, "bob", "repository:bob/old:pull,push").await,
        "push,pull"
    );
}

#[tokio::test]
async fn only_superusers_make_namespaces_where_the_operator_says_so() {
    let world = world_with(AuthOptions {
        superusers_create_organizations: true,
        ..AuthOptions::standalone(HOST, "admin")
    })
    .await;
    for (username, name, made) in [
        ("alice", "alices/new", ""),
        ("alice", "alice/own", "push"),
        ("admin", "admins/new", "push"),
    ] {
        let scope = format!("repository:{name}:push");
        assert_eq!(granted(&world, username, &scope).await, made, "{name}");
    }
}

#[tokio::test]
async fn new_repositories_are_public_where_the_operator_says_so() {
    let options = AuthOptions {
        private_on_push: false,
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = world_with(options).await;
    assert_eq!(
        granted(&world, "alice", "repository:alice/new:push").await,
        "push"
    );
    assert_eq!(
        granted(&world, "", "repository:alice/new:pull,push").await,
        "pull"
    );
}

#[tokio::test]
async fn superusers_without_full_access_are_users_like_others() {
    let options = AuthOptions {
        superusers_full_access: false,
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = world_with(options).await;
    // The rights that came with making the organisation and the repository.
    world.execute("DELETE FROM teammember").await;
    world.execute("DELETE FROM repositorypermission").await;
    assert_eq!(
        granted(&world, "admin", "repository:acme/app:pull,push,*").await,
        ""
    );
    assert_eq!(
        granted(&world, "admin", "repository:admin/new:pull,push,*").await,
        "push,pull,*"
    );
}

#[tokio::test]
async fn a_disabled_namespace_is_named_to_everybody() {
    let world = world().await;
    world
        .execute(r#"UPDATE "user" SET enabled = false WHERE username = 'acme'"#)
        .await;
    for username in ["", "admin", "bob"] {
        for scope in ["repository:acme/public:pull", "repository:acme/new:push"] {
            let error = try_granted(&world, username, scope).await.unwrap_err();
            assert_eq!(
                error.client_message(),
                "Namespace acme has been disabled. Please contact a system administrator."
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_image_repository_is_refused_to_those_who_may_know_of_it() {
    let world = world().await;
    world
        .execute("UPDATE repository SET kind_id = 2 WHERE name = 'app'")
        .await;
    let error = try_granted(&world, "admin", "repository:acme/app:pull").await;
    assert!(
        matches!(error, Err(GrantError::NoImages { .. })),
        "{error:?}"
    );
    assert_eq!(granted(&world, "bob", "repository:acme/app:pull").await, "");
}

#[tokio::test]
async fn a_repository_that_is_read_only_is_pulled_from_only() {
    let world = world().await;
    world
        .execute("UPDATE repository SET state = 1 WHERE name = 'app'")
        .await;
    assert_eq!(
        granted(&world, "admin", "repository:acme/app:pull,push,*").await,
        "pull"
    );
}

#[tokio::test]
async fn names_with_one_segment_are_nobodys_without_a_library() {
    let options = AuthOptions {
        library_namespace: None,
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = world_with(options).await;
    assert_eq!(
        granted(&world, "admin", "repository:busybox:pull,push,*").await,
        ""
    );
}

async fn token(
    world: &World,
    login: Option<(&str, &str)>,
    scopes: &[&str],
) -> Result<Access, TokenRefusal> {
    let request = TokenRequest {
        credentials: login.map(|(username, password)| credentials(username, password)),
        scopes: scopes.to_vec(),
        service: Some(HOST),
    };
    let token = world.authenticator.token(request).await?.token;
    Ok(world
        .authenticator
        .verify(token.value.expose())
        .await
        .unwrap())
}

#[tokio::test]
async fn a_request_for_a_token_is_answered_with_one_that_grants_what_was_asked() {
    let world = world().await;
    let login = Some(("alice", PASSWORD));
    let access = token(&world, login, &["repository:alice/tools:pull,push"])
        .await
        .unwrap();
    let name = "alice/tools".parse().unwrap();
    assert_eq!(access.username(), Some("alice"));
    assert!(access.allows(&name, Action::Push) && access.allows(&name, Action::Delete));
    assert!(!access.allows(&name, Action::Admin));
    assert!(!access.allows(&"alice/other".parse().unwrap(), Action::Pull));
}

#[tokio::test]
async fn a_token_is_issued_to_an_account_whatever_the_name_that_was_sent() {
    let world = world_with(AuthOptions {
        field_key: Some(field_key()),
        ..AuthOptions::standalone(HOST, "admin")
    })
    .await;
    let alice = world.id("alice").await;
    world.app_token(alice, &"a".repeat(60), "app-secret").await;
    let app_token = format!("{}app-secret", "a".repeat(60));
    for (login, username) in [
        (None, None),
        (Some(("alice", PASSWORD)), Some("alice")),
        (Some(("$app", app_token.as_str())), Some("alice")),
    ] {
        let request = TokenRequest {
            credentials: login.map(|(username, password)| credentials(username, password)),
            scopes: vec!["repository:acme/public:pull"],
            service: None,
        };
        let issued = world.authenticator.token(request).await.unwrap();
        assert_eq!(issued.username.as_deref(), username);
    }
}

#[tokio::test]
async fn a_login_without_scopes_is_enough_and_scopes_without_a_login_too_but_not_nothing() {
    let world = world().await;
    let login = Some(("alice", PASSWORD));
    for scopes in [&[][..], &[""], &["registry:catalog:*"]] {
        assert!(token(&world, login, scopes).await.is_ok());
    }
    assert!(
        token(&world, None, &["repository:acme/app:pull"])
            .await
            .is_ok()
    );
    for scopes in [&[][..], &["", ""]] {
        let refusal = token(&world, None, scopes).await.unwrap_err();
        assert!(matches!(refusal, TokenRefusal::LoginRequired));
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_an_anonymous_request() {
    let world = world().await;
    let refusal = token(
        &world,
        Some(("bob", "wrong")),
        &["repository:acme/public:pull"],
    )
    .await;
    assert!(matches!(
        refusal,
        Err(TokenRefusal::Login(LoginError::Invalid { .. }))
    ));
}

#[tokio::test]
async fn without_anonymous_access_every_token_needs_a_login() {
    let options = AuthOptions {
        anonymous_access: false,
        ..AuthOptions::standalone(HOST, "admin")
    };
    let world = world_with(options).await;
    let scopes = ["repository:acme/public:pull"];
    let refusal = token(&world, None, &scopes).await.unwrap_err();
    assert!(matches!(refusal, TokenRefusal::LoginRequired));
    let access = token(&world, Some(("bob", PASSWORD)), &scopes)
        .await
        .unwrap();
    assert!(access.allows(&"acme/public".parse().unwrap(), Action::Pull));
}

#[tokio::test]
async fn a_scope_that_cannot_be_read_refuses_the_request_before_anything_is_made() {
    let world = world().await;
    let scopes = ["repository:alice/new:push", "repository:alice/New:push"];
    let refusal = token(&world, Some(("alice", PASSWORD)), &scopes)
        .await
        .unwrap_err();
    assert!(matches!(
        refusal,
        TokenRefusal::Scope(ScopeError::Name { .. })
    ));
    assert_eq!(
        world
            .number("SELECT count(*) FROM repository WHERE name = 'new'")
            .await,
        0
    );
}

#[tokio::test]
async fn listings_show_what_their_reader_may_see() {
    let world = world().await;
    let login = |username| Some((username, PASSWORD));
    let admin = token(&world, login("admin"), &[]).await.unwrap();
    let alice = token(&world, login("alice"), &[]).await.unwrap();
    let viewer = async |access: &Access| world.authenticator.catalog_viewer(access).await.unwrap();
    assert_eq!(viewer(&admin).await, Some(CatalogViewer::All));
    let id = world.id("alice").await;
    assert_eq!(viewer(&alice).await, Some(CatalogViewer::Account(id)));
    assert_eq!(viewer(&Access::anonymous()).await, None);
    let open = world.neighbour(
        AuthOptions {
            public_catalog: true,
            ..AuthOptions::new(HOST)
        },
        1,
    );
    let viewer = open.catalog_viewer(&Access::anonymous()).await.unwrap();
    assert_eq!(viewer, Some(CatalogViewer::PublicOnly));
}

#[tokio::test]
async fn a_database_that_is_gone_is_said_to_be() {
    let world = world().await;
    let identity = who(&world, "alice").await;
    let scopes = RequestedScope::parse_all(["repository:acme/public:pull"], HOST).unwrap();
    world.lose_database().await;
    let outcome = world.authenticator.grant(&identity, &scopes).await;
    assert!(
        matches!(outcome, Err(GrantError::Backend { .. })),
        "{outcome:?}"
    );
    assert!(world.clock.now() >= crate::testing::start());
}
