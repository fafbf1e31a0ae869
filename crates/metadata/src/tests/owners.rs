//! What owners change and look up: repositories, permissions, tags, and the log of all that.

mod tags;

use chrono::NaiveDate;

use super::*;

impl World {
    /// The log since the world began, the oldest first, without the time.
    async fn told(&self) -> Vec<String> {
        self.texts(
            r#"SELECT k.name || ' by ' || COALESCE(p.username, '-') || ' ' || l.metadata_json AS name
               FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id LEFT JOIN "user" p ON p.id = l.performer_id
               ORDER BY l.id"#,
        )
        .await
    }

    async fn create(&self, name: &str, private: bool) -> RepositoryCreation {
        let path: (&str, &str) = name.split_once('/').unwrap();
        let path = RepositoryPath {
            namespace: path.0.to_owned(),
            name: path.1.to_owned(),
        };
        self.database
            .create_repository(&CreateRepository {
                new: NewRepository {
                    path: &path,
                    creator: self.creator,
                    private,
                    create_namespace: false,
                    tag_window: crate::TAG_WINDOW,
                    ids: &self.ids,
                    now: self.now,
                },
                description: "ö \"quoted\"",
                actor: &self.actor,
            })
            .await
            .unwrap()
    }

    async fn change(&self, change: RepositoryChange<'_>) -> bool {
        self.database
            .change_repository(&ChangeRepository {
                repository: &self.repository,
                change,
                actor: &self.actor,
                now: self.now,
            })
            .await
            .unwrap()
    }

    async fn change_role(
        &self,
        grantee: Grantee<'_>,
        role: Option<RepositoryRole>,
    ) -> PermissionChange {
        self.database
            .change_permission(&ChangePermission {
                repository: &self.repository,
                grantee,
                role,
                actor: &self.actor,
                now: self.now,
            })
            .await
            .unwrap()
    }

    /// An account without a password.
    async fn add_account(&self, username: &str, robot: bool) {
        self.sql(&format!(
            r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email, last_invalid_login, removed_tag_expiration_s)
               VALUES ('{username}', '{username}', 'mail of {username}', true, false, {robot}, false, '2026-01-01 00:00:00', 1209600)"#
        ))
        .await;
    }

    async fn shown(&self, list: ListRepositories<'_>) -> Vec<String> {
        let found = self.database.list_repositories(&list).await.unwrap();
        found.iter().map(|one| one.path.to_string()).collect()
    }

    async fn point(
        &self,
        tag: &str,
        digest: &Digest,
        from: PointedFrom,
        now: Timestamp,
    ) -> TagMove {
        self.database
            .point_tag(&PointTag {
                repository: &self.repository,
                tag: &tag.parse().unwrap(),
                digest,
                from,
                demand: Some(Demand {
                    defaults: &self.required,
                    configured: &both(),
                }),
                queue: QUEUE,
                features: self.features,
                actor: &self.actor,
                ids: &self.ids,
                now,
            })
            .await
            .unwrap()
    }

    async fn change_end(&self, tag: &str, until: Option<Timestamp>, now: Timestamp) -> TagChange {
        let tag = tag.parse().unwrap();
        self.database
            .change_tag_end(&self.change_of(&tag, now), until)
            .await
            .unwrap()
    }

    async fn protect(&self, tag: &str, immutable: bool, now: Timestamp) -> TagChange {
        let tag = tag.parse().unwrap();
        self.database
            .change_tag_immutability(&self.change_of(&tag, now), immutable)
            .await
            .unwrap()
    }

    fn change_of<'a>(&'a self, tag: &'a roadstead_oci::Tag, now: Timestamp) -> ChangeTag<'a> {
        ChangeTag {
            repository: &self.repository,
            tag,
            features: self.features,
            actor: &self.actor,
            now,
        }
    }

    async fn points_to(&self, tag: &str, now: Timestamp) -> Option<Digest> {
        let reference = tag.parse().unwrap();
        match self
            .database
            .find_manifest(self.repository.id, &reference, now)
            .await
            .unwrap()
        {
            ManifestLookup::Found(manifest) => Some(manifest.digest),
            ManifestLookup::TagExpired | ManifestLookup::Unknown => None,
        }
    }
}

const WINDOW_SECONDS: u64 = 14 * 24 * 3600;

#[tokio::test]
async fn a_repository_is_made_once_in_a_namespace_that_there_is_and_its_changes_are_logged() {
    for world in worlds().await {
        let RepositoryCreation::Created(made) = world.create("acme/team/tool", false).await else {
            panic!("made");
        };
        assert!(made.public && made.holds_images);
        assert!(matches!(
            world.create("acme/team/tool", true).await,
            RepositoryCreation::Taken
        ));
        assert!(matches!(
            world.create("nobody/tool", true).await,
            RepositoryCreation::NoNamespace
        ));
        let details = world
            .database
            .repository_details(&made, Some(world.creator))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(details.description.as_deref(), Some("ö \"quoted\""));
        assert!(details.in_organization && !details.starred);
        assert_eq!(details.tag_window_seconds, 1_209_600);

        assert!(world.change(RepositoryChange::Description("new")).await);
        assert!(world.change(RepositoryChange::Public(true)).await);
        assert!(
            world
                .change(RepositoryChange::State(RepositoryState::ReadOnly))
                .await
        );
        let found = world
            .database
            .find_repository(&world.repository.path)
            .await
            .unwrap()
            .unwrap();
        assert!(found.public);
        assert_eq!(found.state, RepositoryState::ReadOnly);
        let marked = MarkDeleted {
            subject: world.repository.id,
            ids: &world.ids as &dyn Ids,
            available_at: world.now,
            now: world.now,
        };
        assert!(
            world
                .database
                .mark_repository_deleted(&marked, &world.actor)
                .await
                .unwrap()
        );
        assert!(
            !world.change(RepositoryChange::Description("late")).await,
            "what is deleted is not changed any more"
        );
        assert_eq!(
            world.told().await,
            [
                r#"create_repo by admin {"repo": "team/tool", "namespace": "acme"}"#,
                r#"set_repo_description by admin {"repo": "app", "namespace": "acme", "description": "new"}"#,
                r#"change_repo_visibility by admin {"repo": "app", "namespace": "acme", "visibility": "public"}"#,
                r#"change_repo_state by admin {"repo": "app", "namespace": "acme", "state_changed": "READ_ONLY"}"#,
                r#"delete_repo by admin {"repo": "app", "namespace": "acme"}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_list_shows_what_its_reader_may_see_page_by_page() {
    for world in worlds().await {
        world.add_account("bob", false).await;
        let bob = world
            .database
            .find_account("bob")
            .await
            .unwrap()
            .unwrap()
            .id;
        for (name, private) in [("acme/open", false), ("acme/shut", true), ("bob/own", true)] {
            assert!(matches!(
                world.create(name, private).await,
                RepositoryCreation::Created(_)
            ));
        }
        world
            .sql(
                r#"INSERT INTO star (user_id, repository_id, created)
                   SELECT u.id, r.id, '2026-01-01 00:00:00' FROM "user" u, repository r WHERE u.username = 'bob' AND r.name IN ('open', 'shut')"#,
            )
            .await;
        world
            .sql("INSERT INTO repositoryactioncount (repository_id, count, date) SELECT id, 7, '2026-11-20' FROM repository WHERE name = 'open'")
            .await;
        world.blob("{}", &us()).await;
        world.put(&image(&[]), &["v1"], world.now).await;

        let viewer = CatalogViewer::AccountAndPublic(bob);
        let list = ListRepositories {
            viewer: &viewer,
            namespace: None,
            starred_only: false,
            asker: Some(bob),
            after: RepositoryId(0),
            limit: 100,
            last_modified: true,
            actions_since: NaiveDate::from_ymd_opt(2026, 11, 20),
            now: later(world.now, 1),
        };
        assert_eq!(world.shown(list).await, ["acme/open", "bob/own"]);
        for (viewer, namespace, expected) in [
            (CatalogViewer::Account(bob), None, &["bob/own"][..]),
            (CatalogViewer::PublicOnly, Some("acme"), &["acme/open"]),
            (CatalogViewer::Account(bob), Some("acme"), &[]),
            (
                CatalogViewer::Account(world.creator),
                Some("acme"),
                &["acme/app", "acme/open", "acme/shut"],
            ),
            (CatalogViewer::All, Some("nobody"), &[]),
        ] {
            let list = ListRepositories {
                viewer: &viewer,
                namespace,
                ..list
            };
            assert_eq!(
                world.shown(list).await,
                expected,
                "{viewer:?} {namespace:?}"
            );
        }
        let starred = ListRepositories {
            starred_only: true,
            ..list
        };
        assert_eq!(
            world.shown(starred).await,
            ["acme/open"],
            "a star is no permission"
        );
        let all = ListRepositories {
            viewer: &CatalogViewer::All,
            limit: 2,
            ..list
        };
        let first = world.database.list_repositories(&all).await.unwrap();
        assert_eq!(first.len(), 2);
        assert_eq!(first[0].last_modified, Some(world.now));
        assert!(first[1].starred && first[1].public);
        assert_eq!((first[0].actions, first[1].actions), (0, 7));
        let next = ListRepositories {
            after: first[1].id,
            ..all
        };
        assert_eq!(world.shown(next).await, ["acme/shut", "bob/own"]);
        let days = world
            .database
            .repository_actions(first[1].id, NaiveDate::from_ymd_opt(2026, 11, 1).unwrap())
            .await
            .unwrap();
        assert!(days.iter().any(|day| day.count == 7));
    }
}

#[tokio::test]
async fn permissions_are_given_changed_and_taken_and_each_change_names_whom_it_is_about() {
    for world in worlds().await {
        world.add_account("bob", false).await;
        world.add_account("acme+ci", true).await;
        world
            .sql(
                r#"INSERT INTO teammember (user_id, team_id) SELECT u.id, t.id FROM "user" u, team t WHERE u.username = 'bob' AND t.name = 'owners'"#,
            )
            .await;
        let (write, admin) = (Some(RepositoryRole::Write), Some(RepositoryRole::Admin));
        let bob = Grantee::Account("bob");
        assert_eq!(
            world.change_role(bob, write).await,
            PermissionChange::Changed
        );
        assert_eq!(
            world.change_role(bob, admin).await,
            PermissionChange::Changed
        );
        assert_eq!(
            world.change_role(Grantee::Account("acme+ci"), write).await,
            PermissionChange::Changed
        );
        let owners = Grantee::Team("owners");
        assert_eq!(
            world.change_role(owners, write).await,
            PermissionChange::Changed
        );
        for nobody in [
            Grantee::Account("nobody"),
            Grantee::Account("acme"),
            Grantee::Team("nobody"),
        ] {
            assert_eq!(
                world.change_role(nobody, write).await,
                PermissionChange::NoGrantee,
                "{nobody:?}"
            );
        }
        let id = world.repository.id;
        let accounts = world
            .database
            .account_permissions(id, None, 10)
            .await
            .unwrap();
        let accounts: Vec<_> = accounts
            .iter()
            .map(|one| {
                (
                    one.username.as_str(),
                    one.robot,
                    one.in_organization,
                    one.role,
                )
            })
            .collect();
        assert_eq!(
            accounts,
            [
                ("acme+ci", true, Some(true), RepositoryRole::Write),
                ("admin", false, Some(true), RepositoryRole::Admin),
                ("bob", false, Some(true), RepositoryRole::Admin),
            ]
        );
        let mut roles = world.database.transitive_roles(id, "bob").await.unwrap();
        roles.sort();
        assert_eq!(roles, [RepositoryRole::Write, RepositoryRole::Admin]);
        assert_eq!(
            world.change_role(bob, None).await,
            PermissionChange::Changed
        );
        assert_eq!(
            world.change_role(bob, None).await,
            PermissionChange::NoPermission
        );
        assert_eq!(
            world
                .database
                .account_permissions(id, Some("bob"), 1)
                .await
                .unwrap(),
            []
        );
        assert_eq!(
            world.database.transitive_roles(id, "bob").await.unwrap(),
            [RepositoryRole::Write]
        );
        let teams = world.database.team_permissions(id, None, 10).await.unwrap();
        assert_eq!(teams.len(), 1);
        assert_eq!(
            (teams[0].team.as_str(), teams[0].role),
            ("owners", RepositoryRole::Write)
        );
        let told = world.told().await;
        assert_eq!(
            [&told[1], &told[3], &told[4]],
            [
                r#"change_repo_permission by admin {"username": "bob", "repo": "app", "namespace": "acme", "role": "admin"}"#,
                r#"change_repo_permission by admin {"team": "owners", "repo": "app", "namespace": "acme", "role": "write"}"#,
                r#"delete_repo_permission by admin {"username": "bob", "repo": "app", "namespace": "acme"}"#,
            ]
        );
    }
}

#[tokio::test]
async fn the_log_is_read_by_scope_time_and_performer_page_by_page() {
    for world in worlds().await {
        let other = world.repository("other").await;
        let entry = |repository: &Repository, who: Option<&str>, seconds: u64| {
            LogEntry::change(
                &Actor::new(who.map(str::to_owned)).with_client("192.0.2.1".parse().ok(), "curl"),
                "change_repo_visibility",
                repository.namespace_id,
                Some(repository.id),
                &[("number", serde_json::json!(seconds))],
                later(world.now, seconds),
            )
        };
        let entries: Vec<LogEntry> = (0..10)
            .map(|number| entry(&world.repository, Some("admin"), number / 2))
            .chain([entry(&other, None, 3), entry(&other, Some("admin"), 90_000)])
            .collect();
        world.database.write_log(&entries).await.unwrap();
        let day = LogPage {
            scope: LogScope::Everything,
            performer: None,
            from: world.now,
            until: later(world.now, 86_400),
            after: None,
            limit: 4,
        };
        let read = async |page: LogPage<'_>| world.database.log_page(&page).await.unwrap();
        let mut seen = Vec::new();
        let mut page = day;
        loop {
            let found = read(page).await;
            page.after = found.last().map(|last| last.position);
            let more = found.len() == 4;
            seen.extend(found);
            if !more {
                break;
            }
        }
        assert_eq!(seen.len(), 11, "each once, and not that of the next day");
        assert!(seen.is_sorted_by(|one, other| {
            (one.position.at, one.position.id) > (other.position.at, other.position.id)
        }));
        let first = &seen[0];
        assert_eq!(first.kind, "change_repo_visibility");
        assert_eq!(first.metadata, r#"{"number": 4}"#);
        assert_eq!(first.ip.as_deref(), Some("192.0.2.1"));
        assert_eq!(first.performer.as_deref(), Some("admin"));
        assert_eq!(first.namespace.as_deref(), Some("acme"));
        assert!(first.namespace_is_organization && !first.performer_is_robot);
        let count = async |scope, performer| {
            let page = LogPage {
                scope,
                performer,
                limit: 100,
                ..day
            };
            read(page).await.len()
        };
        assert_eq!(count(LogScope::Repository(other.id), None).await, 1);
        assert_eq!(
            count(LogScope::Repository(other.id), Some("admin")).await,
            0
        );
        let acme = LogScope::Namespace(world.repository.namespace_id);
        assert_eq!(count(acme, None).await, 11);
        assert_eq!(count(acme, Some("admin")).await, 10);
        assert_eq!(count(acme, Some("nobody")).await, 0);
        assert_eq!(count(LogScope::Namespace(world.creator), None).await, 0);
        let counts = world
            .database
            .log_counts(acme, None, (world.now, later(world.now, 200_000)))
            .await
            .unwrap();
        let counts: Vec<u64> = counts.iter().map(|day| day.count).collect();
        assert_eq!(counts.iter().sum::<u64>(), 12);
        assert!(counts.len() >= 2);
    }
}
