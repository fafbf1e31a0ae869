//! Accounts as they are made and changed, where the API cannot look: races, and what is left of a change that was not made.

use super::*;

const TOKEN: NewOauthToken<'static> = NewOauthToken {
    name: "name of the token",
    code_hash: "$2b$04$hash",
    scope: "org:admin",
    expires: Timestamp::UNIX_EPOCH,
};

impl World {
    const fn by_admin(&self) -> Change<'_> {
        Change {
            actor: &self.actor,
            ids: &self.ids,
            now: self.now,
        }
    }
}

const fn named(username: &str) -> NewUser<'_> {
    NewUser {
        username,
        email: None,
        password_hash: "$2b$04$hash",
        tag_window_s: 60,
    }
}

/// A migrated database of each engine without any account.
async fn empty() -> Vec<(Database, Place)> {
    let directory = tempfile::tempdir().unwrap();
    let file = DatabaseOptions::Sqlite {
        path: directory.path().join("roadstead.db"),
    };
    let server = Postgres::shared().database();
    let mut databases = Vec::new();
    for (options, place) in [
        (file, Place::File(directory)),
        (options_of(&server), Place::Server(server)),
    ] {
        let database = Database::open(&options).await.unwrap();
        database.migrate().await.unwrap();
        databases.push((database, place));
    }
    databases
}

#[tokio::test]
async fn of_two_that_initialize_a_registry_at_once_one_does_and_leaves_one_account_with_its_token()
{
    for (database, _place) in empty().await {
        let (actor, ids) = (Actor::default(), SeededIds::new(7));
        let change = Change {
            actor: &actor,
            ids: &ids,
            now: Timestamp::UNIX_EPOCH,
        };
        let application = |client_id| NewApplication {
            client_id,
            client_secret: None,
            about: ApplicationAbout {
                name: "automation",
                ..ApplicationAbout::default()
            },
        };
        let (one, two) = (named("one"), named("two"));
        let (of_one, of_two) = (application("one"), application("two"));
        let (first, second) = tokio::join!(
            database.initialize(&one, Some((&of_one, &TOKEN)), &change),
            database.initialize(&two, Some((&of_two, &TOKEN)), &change),
        );
        let outcomes = [first.unwrap(), second.unwrap()];
        assert_eq!(outcomes.iter().filter(|made| made.is_ok()).count(), 1);
        assert!(outcomes.contains(&Err(Unchanged::NotEmpty)));
        let of = AccountsOf {
            organizations: false,
            disabled: true,
            after: None,
            limit: 10,
        };
        let accounts = database.accounts(of).await.unwrap();
        assert_eq!(accounts.len(), 1);
        let tokens = database.oauth_tokens(None, None, 10).await.unwrap();
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens[0].owner, accounts[0].username);
        let found = database.find_oauth_token(TOKEN.name).await.unwrap();
        assert_eq!(found.unwrap().scope, "org:admin");
    }
}

#[tokio::test]
async fn of_two_that_want_the_same_name_at_once_one_gets_it() {
    for world in worlds().await {
        let change = world.by_admin();
        let user = named("alice");
        let organization = NewOrganization {
            name: "alice",
            email: None,
            owner: "admin",
            tag_window_s: 60,
        };
        let (user, organization) = tokio::join!(
            world.database.create_user(&user, &change),
            world.database.create_organization(&organization, &change),
        );
        let made = [user.unwrap().is_ok(), organization.unwrap().is_ok()];
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
    }
}

#[tokio::test]
async fn two_administrators_that_leave_at_once_leave_one_behind() {
    for world in worlds().await {
        let change = world.by_admin();
        let database = &world.database;
        database
            .create_user(&named("alice"), &change)
            .await
            .unwrap()
            .unwrap();
        database
            .add_team_member("acme", "owners", "alice", &change)
            .await
            .unwrap()
            .unwrap();
        let (one, two) = tokio::join!(
            database.remove_team_member("acme", "owners", "admin", &change),
            database.remove_member("acme", "alice", &change),
        );
        let outcomes = [one.unwrap(), two.unwrap()];
        assert!(
            outcomes.contains(&Err(Unchanged::LastAdmin)),
            "{outcomes:?}"
        );
        let team = database.find_team("acme", "owners").await.unwrap().unwrap();
        assert_eq!(database.team_members(team, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_changed_password_or_address_gives_a_person_another_identifier() {
    for world in worlds().await {
        let change = world.by_admin();
        let database = &world.database;
        database
            .create_user(&named("alice"), &change)
            .await
            .unwrap()
            .unwrap();
        let identifier = async || database.find_account("alice").await.unwrap().unwrap().uuid;
        let mut seen = vec![identifier().await];
        for changes in [
            AccountChanges {
                password_hash: Some("$2b$04$other"),
                ..AccountChanges::default()
            },
            AccountChanges {
                email: Some("alice@example.test"),
                ..AccountChanges::default()
            },
        ] {
            database
                .change_account("alice", &changes, &change)
                .await
                .unwrap()
                .unwrap();
            let now = identifier().await;
            assert!(!seen.contains(&now));
            seen.push(now);
        }
        let taken = AccountChanges {
            password_hash: Some("$2b$04$third"),
            email: Some("admin@localhost"),
            ..AccountChanges::default()
        };
        let refused = database.change_account("alice", &taken, &change).await;
        assert!(matches!(refused.unwrap(), Err(Unchanged::Taken { .. })));
        let account = database.find_account("alice").await.unwrap().unwrap();
        assert_eq!(account.password_hash.as_deref(), Some("$2b$04$other"));
        assert_eq!(seen.last().unwrap(), &account.uuid);
    }
}

#[tokio::test]
async fn a_mirrors_robot_is_not_deleted_and_a_team_takes_its_roles_with_it() {
    for world in worlds().await {
        let change = world.by_admin();
        let database = &world.database;
        let robot = NewRobot {
            owner: "acme",
            short: "mirror",
            token: "v0$$encrypted",
            description: "",
            metadata: &serde_json::json!({}),
        };
        database
            .create_robot(&robot, &change)
            .await
            .unwrap()
            .unwrap();
        let found = database.find_robot("acme+mirror").await.unwrap().unwrap();
        assert_eq!(found.token.as_deref(), Some("v0$$encrypted"));
        assert_eq!(found.owner_enabled, Some(true));
        world
            .sql(
                "INSERT INTO repomirrorrule (uuid, repository_id, creation_date, rule_type, rule_value)
                 SELECT 'rule', id, '2026-01-01 00:00:00', 1, '[]' FROM repository",
            )
            .await;
        world
            .sql(
                r#"INSERT INTO repomirrorconfig (repository_id, creation_date, is_enabled, mirror_type, internal_robot_id,
                                                 external_registry_config, sync_status, root_rule_id, external_reference)
                   SELECT r.id, '2026-01-01 00:00:00', false, 1, u.id, '{}', 0, m.id, 'localhost/app'
                   FROM repository r, repomirrorrule m, "user" u WHERE u.username = 'acme+mirror'"#,
            )
            .await;
        let refused = database.delete_robot("acme", "mirror", &change).await;
        assert_eq!(refused.unwrap(), Err(Unchanged::UsedByMirror));

        let (_, new) = database
            .put_team(
                "acme",
                "devs",
                TeamRole::Creator,
                Some("who builds"),
                &change,
            )
            .await
            .unwrap()
            .unwrap();
        assert!(new);
        world
            .sql(
                "INSERT INTO repositorypermission (team_id, repository_id, role_id)
                 SELECT t.id, r.id, o.id FROM team t, repository r, role o WHERE t.name = 'devs' AND o.name = 'write'",
            )
            .await;
        let delegate = Delegate::Team("devs".to_owned());
        database
            .create_prototype("acme", None, &delegate, RepositoryRole::Write, &change)
            .await
            .unwrap()
            .unwrap();
        let acme = database.account("acme").await.unwrap().unwrap();
        let teams = database.teams(acme.id, None, 10).await.unwrap();
        let devs = teams.iter().find(|team| team.name == "devs").unwrap();
        assert_eq!((devs.repositories, devs.members), (1, 0));
        let granted = database.team_repositories(devs.id, 10).await.unwrap();
        assert_eq!(granted[0].role, RepositoryRole::Write);
        database
            .delete_team("acme", "devs", &change)
            .await
            .unwrap()
            .unwrap();
        assert!(database.prototypes(acme.id, 10).await.unwrap().is_empty());
        let left = "SELECT CAST(count(*) AS varchar) AS name FROM repositorypermission WHERE team_id IS NOT NULL";
        assert_eq!(world.texts(left).await, ["0"]);
    }
}
