//! Accounts, tokens and rights: what is found of them, on both engines.

use super::*;

/// Users, an organisation's team, robots and tokens beside the world's own `admin` and `acme/app`.
const PEOPLE: &[&str] = &[
    r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email, last_invalid_login)
       SELECT 'uuid of ' || value, value, value || '.example', true, false, value LIKE '%+%', false, '2026-01-01 00:00:00'
       FROM @texts('["alice", "bob", "acme+ci", "acme+mirror", "alice.example"]') AS names"#,
    // An organisation's address may be a person's.
    r#"UPDATE "user" SET email = 'bob.example' WHERE username = 'acme'"#,
    "INSERT INTO team (name, organization_id, role_id, description)
     SELECT tr.name || 's', u.id, tr.id, '' FROM teamrole tr, \"user\" u WHERE u.username = 'acme' AND tr.name <> 'admin'",
    r#"INSERT INTO robotaccounttoken (robot_account_id, token, fully_migrated)
       SELECT id, 'v0$$encrypted for ' || username, true FROM "user" WHERE username = 'acme+ci'"#,
    r#"INSERT INTO appspecificauthtoken (user_id, uuid, title, created, token_name, token_secret)
       SELECT id, 'app', 'laptop', '2026-01-01 00:00:00', 'app token', 'v0$$encrypted' FROM "user" WHERE username = 'alice'"#,
    r#"INSERT INTO oauthapplication (client_id, redirect_uri, application_uri, organization_id, name, description)
       SELECT 'id', '', '', id, 'automation', '' FROM "user" WHERE username = 'acme'"#,
    r#"INSERT INTO oauthaccesstoken (uuid, application_id, authorized_user_id, scope, token_type, expires_at, data, token_code, token_name)
       SELECT 'oauth', a.id, u.id, 'repo:read', 'token', '2026-11-22 14:14:59', '', '$2b$12$hash', 'oauth token'
       FROM "user" u, oauthapplication a WHERE u.username = 'alice'"#,
];

async fn furnished() -> [World; 2] {
    let furnished = worlds().await;
    for world in &furnished {
        for statement in PEOPLE {
            world.sql(statement).await;
        }
    }
    furnished
}

impl World {
    async fn account(&self, name: &str) -> UserId {
        let account = self.database.find_account(name).await.unwrap();
        account.unwrap_or_else(|| panic!("{name} is there")).id
    }

    /// Makes somebody a member of a team of `acme`.
    async fn join(&self, name: &str, team: &str) {
        self.sql(&format!(
            r#"INSERT INTO teammember (user_id, team_id)
               SELECT u.id, t.id FROM "user" u, team t WHERE u.username = '{name}' AND t.name = '{team}'"#
        ))
        .await;
    }

    /// Gives a user a role in a repository.
    async fn permit(&self, name: &str, repository: &str, role: &str) {
        self.sql(&format!(
            r#"INSERT INTO repositorypermission (user_id, repository_id, role_id)
               SELECT u.id, r.id, o.id FROM "user" u, repository r, role o
               WHERE u.username = '{name}' AND r.name = '{repository}' AND o.name = '{role}'"#
        ))
        .await;
    }

    /// Gives a team a role in a repository.
    async fn permit_team(&self, team: &str, repository: &str, role: &str) {
        self.sql(&format!(
            "INSERT INTO repositorypermission (team_id, repository_id, role_id)
             SELECT t.id, r.id, o.id FROM team t, repository r, role o
             WHERE t.name = '{team}' AND r.name = '{repository}' AND o.name = '{role}'"
        ))
        .await;
    }

    async fn standing(&self, asker: Option<&str>, path: &str) -> PathStanding {
        let asker = match asker {
            Some(name) => Some(self.account(name).await),
            None => None,
        };
        let found = self
            .database
            .standings(asker, &[path_of(path)])
            .await
            .unwrap();
        let [standing] = found.try_into().expect("one for each path");
        standing
    }

    async fn role(&self, asker: &str, path: &str) -> Option<RepositoryRole> {
        self.standing(Some(asker), path)
            .await
            .repository
            .unwrap()
            .role
    }

    async fn listed(&self, viewer: &CatalogViewer) -> Vec<String> {
        self.database.catalog(viewer, None, 100).await.unwrap()
    }
}

fn path_of(path: &str) -> RepositoryPath {
    let (namespace, name) = path.split_once('/').unwrap();
    RepositoryPath {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn a_login_is_a_name_or_a_persons_address() {
    for world in furnished().await {
        let login = async |login: &str| {
            let found = world.database.find_login(login).await.unwrap();
            found.map(|account| account.username)
        };
        assert_eq!(login("bob").await.as_deref(), Some("bob"));
        assert_eq!(login("bob.example").await.as_deref(), Some("bob"));
        // Who is named so goes before who has the address.
        assert_eq!(
            login("alice.example").await.as_deref(),
            Some("alice.example")
        );
        assert_eq!(login("acme").await.as_deref(), Some("acme"));
        for nobody in ["Bob", "BOB.example", "acme+ci", "acme+ci.example", ""] {
            assert_eq!(login(nobody).await, None, "{nobody}");
        }
    }
}

#[tokio::test]
async fn robots_and_tokens_are_found_by_their_names_with_those_who_answer_for_them() {
    for world in furnished().await {
        let database = &world.database;
        let robot = database.find_robot("acme+ci").await.unwrap().unwrap();
        assert_eq!(robot.account.id, world.account("acme+ci").await);
        assert_eq!(robot.token.as_deref(), Some("v0$$encrypted for acme+ci"));
        assert_eq!((robot.owner_enabled, robot.last_used), (Some(true), None));
        let tokenless = database.find_robot("acme+mirror").await.unwrap().unwrap();
        assert_eq!(tokenless.token, None);
        for nobody in ["acme+other", "acme", "alice"] {
            assert!(database.find_robot(nobody).await.unwrap().is_none());
        }

        let token = database.find_app_token("app token").await.unwrap().unwrap();
        assert_eq!(token.owner.username, "alice");
        assert_eq!(
            (token.secret.as_str(), token.expires),
            ("v0$$encrypted", None)
        );
        let token = database
            .find_oauth_token("oauth token")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(token.owner.id, world.account("alice").await);
        assert_eq!(token.code_hash, "$2b$12$hash");
        assert_eq!(token.expires.timestamp(), 1_795_356_899);
        assert!(
            !format!("{robot:?} {token:?}").contains("$$")
                && !format!("{token:?}").contains("$2b$")
        );
        assert!(
            database
                .find_app_token("oauth token")
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            database
                .find_oauth_token("app token")
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[tokio::test]
async fn the_bearer_of_a_token_is_found_with_what_the_token_stands_on() {
    for world in furnished().await {
        let database = &world.database;
        let find = async |name: &str, token: Option<&str>| {
            database.find_bearer(name, token).await.unwrap()
        };
        assert_eq!(find("nobody", None).await, None);
        assert_eq!(find("ALICE", None).await, None);
        let alice = find("alice", None).await.unwrap();
        assert_eq!(alice.account.id, world.account("alice").await);
        assert_eq!((alice.organization, alice.robot.is_some()), (false, false));
        assert_eq!((alice.app_token, &alice.oauth_token), (None, &None));
        let robot = find("acme+ci", None).await.unwrap().robot.unwrap();
        assert_eq!(robot.owner_enabled, Some(true));
        assert_eq!(robot.token.as_deref(), Some("v0$$encrypted for acme+ci"));
        assert!(find("acme", None).await.unwrap().organization);

        let app = database.find_app_token("app token").await.unwrap().unwrap();
        let oauth = database
            .find_oauth_token("oauth token")
            .await
            .unwrap()
            .unwrap();
        let by_app = find("alice", Some(&app.uuid)).await.unwrap();
        assert_eq!(by_app.app_token, Some(Timestamp::MAX_UTC));
        let by_oauth = find("alice", Some(&oauth.uuid)).await.unwrap();
        assert_eq!(by_oauth.oauth_token, Some((oauth.expires, oauth.scope)));
        // Another's token is nobody's.
        let bob = find("bob", Some(&app.uuid)).await.unwrap();
        assert_eq!((bob.app_token, bob.oauth_token), (None, None));
        assert!(!format!("{by_oauth:?} {robot:?}").contains("$$"));
    }
}

#[tokio::test]
async fn uses_are_noted_and_never_set_back() {
    for world in furnished().await {
        let database = &world.database;
        let used = UsedCredentials {
            robots: vec![world.account("acme+ci").await],
            app_tokens: vec![
                database
                    .find_app_token("app token")
                    .await
                    .unwrap()
                    .unwrap()
                    .id,
            ],
            oauth_tokens: vec![
                database
                    .find_oauth_token("oauth token")
                    .await
                    .unwrap()
                    .unwrap()
                    .id,
            ],
        };
        let late = later(world.now, 100);
        database.note_used_credentials(&used, late).await.unwrap();
        database
            .note_used_credentials(&used, world.now)
            .await
            .unwrap();
        database
            .note_used_credentials(&UsedCredentials::default(), late)
            .await
            .unwrap();
        let robot = database.find_robot("acme+ci").await.unwrap().unwrap();
        let app = database.find_app_token("app token").await.unwrap().unwrap();
        let oauth = database
            .find_oauth_token("oauth token")
            .await
            .unwrap()
            .unwrap();
        for noted in [robot.last_used, app.last_used, oauth.last_used] {
            assert_eq!(noted, Some(late));
        }
        let unused = database.find_robot("acme+mirror").await.unwrap().unwrap();
        assert_eq!(unused.last_used, None);
    }
}

#[tokio::test]
async fn encrypted_columns_are_counted_and_their_newest_values_shown() {
    for world in furnished().await {
        let columns = world.database.encrypted_columns(1).await.unwrap();
        let shown: Vec<String> = columns
            .iter()
            .map(|column| {
                format!(
                    "{}.{} {} {:?}",
                    column.table, column.column, column.rows, column.newest
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"appspecificauthtoken.token_secret 1 ["v0$$encrypted"]"#,
                r#"robotaccounttoken.token 1 ["v0$$encrypted for acme+ci"]"#,
            ]
        );
        assert!(!format!("{columns:?}").contains("$$"));
    }
}

#[tokio::test]
async fn what_is_missing_is_told_from_what_is_there() {
    for world in furnished().await {
        let standing = async |path| world.standing(None, path).await;
        assert_eq!(standing("nowhere/app").await, PathStanding::default());
        assert_eq!(standing("acme+ci/app").await, PathStanding::default());
        let missing = standing("acme/other").await;
        let acme = missing.namespace.unwrap();
        assert_eq!(acme.id, world.account("acme").await);
        assert!(acme.enabled && !acme.proxy_cache && acme.team_role.is_none());
        assert_eq!(missing.repository, None);
        let app = standing("acme/app").await.repository.unwrap();
        assert_eq!(app.id, world.repository.id);
        assert_eq!(app.state, Some(RepositoryState::Normal));
        assert!(!app.public && app.holds_images && app.role.is_none());

        world
            .sql(r#"UPDATE "user" SET enabled = false WHERE username = 'acme'"#)
            .await;
        world.sql("UPDATE repository SET state = 3").await;
        world
            .sql(
                r#"INSERT INTO proxycacheconfig (organization_id, creation_date, upstream_registry)
                   SELECT id, '2026-01-01 00:00:00', 'localhost' FROM "user" WHERE username = 'acme'"#,
            )
            .await;
        let gone = standing("acme/app").await;
        let acme = gone.namespace.unwrap();
        assert!(!acme.enabled && acme.proxy_cache);
        assert_eq!(gone.repository.unwrap().state, None);
    }
}

#[tokio::test]
async fn the_highest_of_a_users_and_their_teams_roles_counts() {
    for world in furnished().await {
        assert_eq!(
            world.role("admin", "acme/app").await,
            Some(RepositoryRole::Admin)
        );
        assert_eq!(world.role("bob", "acme/app").await, None);
        world.permit_team("members", "app", "read").await;
        assert_eq!(world.role("bob", "acme/app").await, None);
        world.join("bob", "members").await;
        assert_eq!(
            world.role("bob", "acme/app").await,
            Some(RepositoryRole::Read)
        );
        world.permit("bob", "app", "write").await;
        assert_eq!(
            world.role("bob", "acme/app").await,
            Some(RepositoryRole::Write)
        );
        world.permit("acme+ci", "app", "write").await;
        assert_eq!(
            world.role("acme+ci", "acme/app").await,
            Some(RepositoryRole::Write)
        );

        let team_role = async |name| {
            let standing = world.standing(Some(name), "acme/app").await;
            standing.namespace.unwrap().team_role
        };
        assert_eq!(team_role("admin").await, Some(TeamRole::Admin));
        assert_eq!(team_role("bob").await, Some(TeamRole::Member));
        world.join("bob", "creators").await;
        assert_eq!(team_role("bob").await, Some(TeamRole::Creator));
        assert_eq!(team_role("alice").await, None);
    }
}

#[tokio::test]
async fn many_paths_are_answered_in_their_order_and_none_for_another() {
    for world in furnished().await {
        world.repository("other").await;
        let admin = world.account("admin").await;
        let paths = [
            "admin/app",
            "acme/other",
            "nowhere/app",
            "acme/app",
            "acme/app",
        ];
        let found = world
            .database
            .standings(Some(admin), &paths.map(path_of))
            .await
            .unwrap();
        let ids: Vec<Option<RepositoryId>> = found
            .iter()
            .map(|standing| standing.repository.as_ref().map(|repository| repository.id))
            .collect();
        let app = Some(world.repository.id);
        assert!(ids[1].is_some() && ids[1] != app);
        assert_eq!([ids[0], ids[2], ids[3], ids[4]], [None, None, app, app]);
        assert!(found[0].namespace.is_some() && found[2].namespace.is_none());
        assert_eq!(world.database.standings(None, &[]).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_mirror_names_its_robot() {
    for world in furnished().await {
        let robot = world.account("acme+mirror").await;
        let rule =
            "INSERT INTO repomirrorrule (uuid, repository_id, creation_date, rule_type, rule_value)
                    SELECT 'rule', id, '2026-01-01 00:00:00', 1, '[]' FROM repository";
        world.sql(rule).await;
        world
            .sql(&format!(
                "INSERT INTO repomirrorconfig (repository_id, creation_date, is_enabled, mirror_type, internal_robot_id,
                                               external_registry_config, sync_status, root_rule_id, external_reference)
                 SELECT r.id, '2026-01-01 00:00:00', false, 1, {robot}, '{{}}', 0, u.id, 'localhost/app'
                 FROM repository r, repomirrorrule u"
            ))
            .await;
        let mirror_robot = async || {
            let found = world
                .database
                .find_repository(&world.repository.path)
                .await
                .unwrap();
            let standing = world.standing(None, "acme/app").await;
            (
                found.unwrap().mirror_robot,
                standing.repository.unwrap().mirror_robot,
            )
        };
        assert_eq!(mirror_robot().await, (None, None), "it is no mirror yet");
        world.sql("UPDATE repository SET state = 2").await;
        assert_eq!(
            mirror_robot().await,
            (Some("acme+mirror".to_owned()), Some(robot))
        );
    }
}

#[tokio::test]
async fn a_new_repository_gets_the_organisations_default_permissions() {
    const PERMISSIONS: &str = "SELECT count(*) AS count FROM repositorypermission p JOIN repository r ON r.id = p.repository_id
                              WHERE r.name = $1";
    for world in furnished().await {
        // For everybody's repositories: the members read, bob writes and (by a younger row) reads, admin reads. For alice's: bob administers.
        for (activating, user, team, role) in [
            ("NULL", "NULL", "members", "read"),
            ("NULL", "bob", "NULL", "write"),
            ("NULL", "bob", "NULL", "read"),
            ("NULL", "admin", "NULL", "read"),
            ("alice", "bob", "NULL", "admin"),
        ] {
            world
                .sql(&format!(
                    r#"INSERT INTO permissionprototype (org_id, uuid, activating_user_id, delegate_user_id, delegate_team_id, role_id)
                       SELECT o.id, '', (SELECT id FROM "user" WHERE username = '{activating}'),
                              (SELECT id FROM "user" WHERE username = '{user}'), (SELECT id FROM team WHERE name = '{team}'), r.id
                       FROM "user" o, role r WHERE o.username = 'acme' AND r.name = '{role}'"#
                ))
                .await;
        }
        let make = async |creator: &str, name: &str| {
            let path = path_of(&format!("acme/{name}"));
            let new = NewRepository {
                path: &path,
                creator: world.account(creator).await,
                private: true,
                create_namespace: false,
                tag_window: crate::TAG_WINDOW,
                ids: &world.ids,
                now: world.now,
            };
            let made = world.database.ensure_repository(&new).await.unwrap();
            assert!(matches!(made, Ensured::Created(_)));
        };
        let count = async |name: &str| -> i64 {
            let counted: Option<crate::database::Counted> = crate::database::Connection::row(
                world.database.reader(),
                "count permissions",
                PERMISSIONS,
                params![name],
            )
            .await
            .unwrap();
            counted.unwrap().count
        };
        make("admin", "one").await;
        assert_eq!(
            world.role("admin", "acme/one").await,
            Some(RepositoryRole::Admin)
        );
        assert_eq!(
            world.role("bob", "acme/one").await,
            Some(RepositoryRole::Write)
        );
        assert_eq!(count("one").await, 3);
        make("alice", "two").await;
        assert_eq!(
            world.role("bob", "acme/two").await,
            Some(RepositoryRole::Admin)
        );
        assert_eq!(
            world.role("admin", "acme/two").await,
            Some(RepositoryRole::Read)
        );
        assert_eq!(
            world.role("alice", "acme/two").await,
            Some(RepositoryRole::Admin)
        );
        assert_eq!(count("two").await, 4);
        world.join("alice", "members").await;
        assert_eq!(
            world.role("alice", "acme/one").await,
            Some(RepositoryRole::Read)
        );
    }
}

#[tokio::test]
async fn a_listing_shows_where_its_reader_has_rights() {
    for world in furnished().await {
        for name in ["open", "shared", "team"] {
            world.repository(name).await;
        }
        world
            .sql("UPDATE repository SET visibility_id = 1 WHERE name = 'open'")
            .await;
        world.permit("bob", "shared", "read").await;
        world.permit_team("members", "team", "read").await;
        world.join("bob", "members").await;
        world
            .sql(
                r#"INSERT INTO repository (namespace_user_id, name, visibility_id, badge_token, kind_id)
                   SELECT id, 'own', 2, '', 1 FROM "user" WHERE username = 'bob'"#,
            )
            .await;
        let bob = world.account("bob").await;
        let alice = world.account("alice").await;
        let admin = world.account("admin").await;
        let all = [
            "acme/app",
            "acme/open",
            "acme/shared",
            "acme/team",
            "bob/own",
        ];
        assert_eq!(world.listed(&CatalogViewer::All).await, all);
        assert_eq!(
            world.listed(&CatalogViewer::PublicOnly).await,
            ["acme/open"]
        );
        assert_eq!(
            world.listed(&CatalogViewer::Account(bob)).await,
            ["acme/shared", "acme/team", "bob/own"]
        );
        assert_eq!(
            world.listed(&CatalogViewer::AccountAndPublic(bob)).await,
            ["acme/open", "acme/shared", "acme/team", "bob/own"]
        );
        assert_eq!(world.listed(&CatalogViewer::Account(admin)).await, all[..4]);
        assert!(
            world
                .listed(&CatalogViewer::Account(alice))
                .await
                .is_empty()
        );
        let page = world
            .database
            .catalog(&CatalogViewer::Account(bob), Some("acme/shared"), 1)
            .await
            .unwrap();
        assert_eq!(page, ["acme/team"]);
        world
            .sql("UPDATE repository SET state = 3 WHERE name = 'team'")
            .await;
        assert_eq!(
            world.listed(&CatalogViewer::Account(bob)).await,
            ["acme/shared", "bob/own"]
        );
    }
}
