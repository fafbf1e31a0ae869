//! What owners change and look up: repositories, permissions, tags, and the log of all that.

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
async fn a_tag_is_moved_made_and_brought_back_with_the_copies_that_its_image_lacks() {
    for world in worlds().await {
        for content in ["{}", "one", "two"] {
            world.blob(content, &us()).await;
        }
        let (one, two) = (image(&["one"]), image(&["two"]));
        let [first, second] = [&one, &two].map(|image| image.digest(Algorithm::Sha256));
        let at = |seconds| later(world.now, seconds);
        world.put(&one, &["v1"], world.now).await;
        world.put(&two, &["v2"], world.now).await;
        world.sql("DELETE FROM roadstead_copy").await;
        world.sql("DELETE FROM queueitem").await;

        let present = PointedFrom::Present;
        assert_eq!(
            world.point("v1", &second, present, at(1)).await,
            TagMove::Pointed { copies: 2 },
            "what the image lacks is wanted again"
        );
        assert!(matches!(
            world.point("new", &second, present, at(2)).await,
            TagMove::Pointed { copies: 0 }
        ));
        assert_eq!(world.points_to("v1", at(2)).await.as_ref(), Some(&second));
        assert_eq!(world.points_to("new", at(2)).await.as_ref(), Some(&second));
        assert_eq!(
            world.point("v1", &first, present, at(3)).await,
            TagMove::ManifestUnknown,
            "no tag holds it any more"
        );
        assert_eq!(
            world
                .point("v1", &digest_of("other"), PointedFrom::Past, at(3))
                .await,
            TagMove::ManifestUnknown
        );
        assert!(matches!(
            world.point("v1", &first, PointedFrom::Past, at(4)).await,
            TagMove::Pointed { copies: 1 }
        ));
        assert_eq!(world.points_to("v1", at(4)).await.as_ref(), Some(&first));
        let told = world.told().await;
        let tag = |kind: &str, tag: &str, digest: &Digest, more: &str| {
            format!(
                r#"{kind} by admin {{"username": "admin", "repo": "app", "tag": "{tag}", "namespace": "acme", "manifest_digest": "{digest}"{more}}}"#
            )
        };
        assert_eq!(
            told[2..],
            [
                tag(
                    "move_tag",
                    "v1",
                    &second,
                    &format!(r#", "original_manifest_digest": "{first}""#)
                ),
                tag(
                    "create_tag",
                    "new",
                    &second,
                    r#", "original_manifest_digest": null"#
                ),
                tag("revert_tag", "v1", &first, ""),
            ]
        );
        let page = TagPage {
            repository: world.repository.id,
            filter: TagFilter::Named("v1"),
            live_only: false,
            skip: 0,
            limit: 10,
            now: at(4),
        };
        let history = world.database.tag_history(&page).await.unwrap();
        let shown: Vec<_> = history
            .iter()
            .map(|row| (row.digest.as_str(), row.start, row.end, row.reversion))
            .collect();
        assert_eq!(
            shown,
            [
                (first.as_str(), at(4), None, true),
                (second.as_str(), at(1), Some(at(4)), false),
                (first.as_str(), world.now, Some(at(1)), false),
            ]
        );
        let count = async |filter, live_only, skip| {
            let page = TagPage {
                filter,
                live_only,
                skip,
                ..page
            };
            world.database.tag_history(&page).await.unwrap().len()
        };
        assert_eq!(count(TagFilter::All, false, 0).await, 5);
        assert_eq!(count(TagFilter::All, true, 0).await, 3);
        assert_eq!(count(TagFilter::All, false, 4).await, 1);
        assert_eq!(count(TagFilter::Containing("V"), true, 0).await, 2);
        assert_eq!(count(TagFilter::Containing("%"), false, 0).await, 0);
    }
}

#[tokio::test]
async fn only_what_the_window_still_holds_can_be_brought_back_and_all_that_was_hidden_comes_with_it()
 {
    for world in worlds().await {
        for content in ["{}", "one"] {
            world.blob(content, &us()).await;
        }
        let one = image(&["one"]);
        let multi = index(&[&one]);
        let [child, digest] = [&one, &multi].map(|image| image.digest(Algorithm::Sha256));
        world.put(&one, &[], world.now).await;
        world.put(&multi, &["v1"], world.now).await;
        let gone = later(world.now, 10);
        assert_eq!(world.delete(child.as_str(), gone).await, Deletion::Deleted);
        assert_eq!(world.delete(digest.as_str(), gone).await, Deletion::Deleted);
        let layer = digest_of("one");
        let deleted = world
            .database
            .delete_blob(world.repository.id, &layer, gone)
            .await
            .unwrap();
        assert_eq!(deleted, BlobDeletion::Deleted);

        let over = later(gone, WINDOW_SECONDS);
        assert_eq!(
            world.point("v1", &digest, PointedFrom::Past, over).await,
            TagMove::ManifestUnknown
        );
        let in_time = later(gone, WINDOW_SECONDS - 1);
        assert_eq!(
            world
                .point("v1", &digest, PointedFrom::Present, in_time)
                .await,
            TagMove::ManifestUnknown
        );
        assert!(matches!(
            world.point("v1", &digest, PointedFrom::Past, in_time).await,
            TagMove::Pointed { .. }
        ));
        assert_eq!(world.points_to("v1", in_time).await, Some(digest));
        assert_eq!(world.points_to(child.as_str(), in_time).await, Some(child));
        assert!(
            world
                .database
                .find_blob(world.repository.id, &layer, in_time)
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn an_immutable_tag_is_not_moved_ended_or_brought_back_and_one_that_ends_is_not_made_immutable()
 {
    for mut world in worlds().await {
        for content in ["{}", "one", "two"] {
            world.blob(content, &us()).await;
        }
        let (one, two) = (image(&["one"]), image(&["two"]));
        let [first, second] = [&one, &two].map(|image| image.digest(Algorithm::Sha256));
        world.put(&one, &["v1"], world.now).await;
        world.put(&two, &["v2"], world.now).await;
        let now = later(world.now, 5);
        assert_eq!(world.protect("v1", true, now).await, TagChange::Changed);
        world.features.immutable_tags = ImmutableTags::Kept;
        assert_eq!(
            world.change_end("v1", Some(later(now, 60)), now).await,
            TagChange::Changed,
            "without the feature nothing was made immutable"
        );
        assert_eq!(world.protect("v1", true, now).await, TagChange::Ends);
        assert_eq!(world.change_end("v1", None, now).await, TagChange::Changed);
        assert_eq!(world.protect("v1", true, now).await, TagChange::Changed);
        for from in [PointedFrom::Present, PointedFrom::Past] {
            assert_eq!(
                world.point("v1", &second, from, now).await,
                TagMove::Immutable
            );
        }
        for until in [None, Some(later(now, 60))] {
            assert_eq!(
                world.change_end("v1", until, now).await,
                TagChange::Immutable
            );
        }
        assert_eq!(world.points_to("v1", later(now, 61)).await, Some(first));
        assert_eq!(world.protect("v1", false, now).await, TagChange::Changed);
        assert_eq!(
            world.change_end("v1", Some(later(now, 60)), now).await,
            TagChange::Changed
        );
        assert_eq!(world.points_to("v1", later(now, 60)).await, None);
        world.features.immutable_tags = ImmutableTags::KeptUntilTheyExpire;
        assert_eq!(world.protect("v1", true, now).await, TagChange::Changed);
        for unknown in ["never", "v1"] {
            let after = later(now, 61);
            assert_eq!(
                world.change_end(unknown, None, after).await,
                TagChange::Unknown
            );
            assert_eq!(
                world.protect(unknown, true, after).await,
                TagChange::Unknown
            );
        }
        let told = world.told().await;
        let change = |kind: &str, more: &str| {
            format!(
                r#"{kind} by admin {{"username": "admin", "repo": "app", "tag": "v1", "namespace": "acme", {more}}}"#
            )
        };
        let end = later(now, 60).timestamp();
        assert_eq!(
            told[2..5],
            [
                change(
                    "change_tag_expiration",
                    &format!(r#""expiration_date": {end}, "old_expiration_date": null"#)
                ),
                change(
                    "change_tag_expiration",
                    &format!(r#""expiration_date": null, "old_expiration_date": {end}"#)
                ),
                change(
                    "change_tag_immutability",
                    r#""immutable": true, "previous_immutable": false"#
                ),
            ]
        );
    }
}

#[tokio::test]
async fn two_tags_of_one_name_may_end_in_the_same_millisecond() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let one = image(&[]);
        world.put(&one, &["v1"], world.now).await;
        let end = later(world.now, 100);
        assert_eq!(
            world.change_end("v1", Some(end), world.now).await,
            TagChange::Changed
        );
        // The row that ends then is not live any more, and another takes its name.
        let now = later(world.now, 1);
        world.sql("UPDATE tag SET hidden = true").await;
        world.put(&one, &["v1"], now).await;
        assert_eq!(
            world.change_end("v1", Some(end), now).await,
            TagChange::Changed
        );
        assert!(
            world.points_to("v1", end).await.is_some(),
            "a millisecond later"
        );
        assert_eq!(world.points_to("v1", later(end, 1)).await, None);
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
