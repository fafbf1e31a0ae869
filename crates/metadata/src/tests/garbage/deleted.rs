//! Deleted repositories and namespaces: marked as Quay marks them, removed with everything that refers to them.

use roadstead_migrations::{Kind, Table, quay_tables};

use super::*;

impl World {
    async fn mark_repository(&self, repository: &Repository, now: Timestamp) -> bool {
        self.database
            .mark_repository_deleted(
                &MarkDeleted {
                    subject: repository.id,
                    ids: &self.ids,
                    available_at: now,
                    now,
                },
                &self.actor,
            )
            .await
            .unwrap()
    }

    async fn mark_namespace(&self, now: Timestamp) -> bool {
        self.database
            .mark_namespace_deleted(&MarkDeleted {
                subject: self.repository.namespace_id,
                ids: &self.ids,
                available_at: now,
                now,
            })
            .await
            .unwrap()
    }

    async fn jobs_of(&self, queue: &str, now: Timestamp) -> Vec<Job> {
        self.claim_of(queue, 10, now).await
    }

    /// Removes a repository batch by batch.
    async fn purge(&self, repository: RepositoryId, limit: u32) -> Purged {
        let collection = self.collection().await;
        let mut total = Purged::default();
        for _ in 0..1000 {
            let purged = self
                .database
                .purge_repository(&collection, repository, self.now, limit)
                .await
                .unwrap();
            total.tags += purged.tags;
            total.manifests += purged.manifests;
            if purged.finished {
                return Purged {
                    finished: true,
                    ..total
                };
            }
        }
        panic!("the removal does not come to an end");
    }

    async fn purge_namespace(&self) {
        let collection = self.collection().await;
        loop {
            match self
                .database
                .purge_namespace(&collection, self.repository.namespace_id)
                .await
                .unwrap()
            {
                NamespacePurge::Repository(repository) => {
                    self.purge(repository, 100).await;
                }
                NamespacePurge::Finished => return,
            }
        }
    }

    async fn text(&self, sql: &str) -> String {
        let row: Option<Named> = self
            .database
            .reader()
            .row("look into a test's database", sql, params![])
            .await
            .unwrap();
        row.unwrap().name
    }

    /// Puts a row into every table of Quay's that refers to something, so that it refers to the namespace, the repository, or the youngest row
    /// of another table.
    async fn fill_every_table(&self) {
        let tables: Vec<&Table> = quay_tables().collect();
        let mut waiting: Vec<&Table> = tables
            .iter()
            .copied()
            .filter(|table| !["user", "repository", "alembic_version"].contains(&table.name))
            .collect();
        let mut filled = BTreeSet::new();
        while !waiting.is_empty() {
            let (ready, rest): (Vec<&Table>, Vec<&Table>) = waiting.iter().partition(|table| {
                table.references.iter().all(|reference| {
                    reference.target == table.name
                        || filled.contains(reference.target)
                        || !waiting.iter().any(|other| other.name == reference.target)
                })
            });
            assert!(!ready.is_empty(), "tables refer to each other in a circle");
            for table in ready {
                self.fill(table).await;
                filled.insert(table.name);
            }
            waiting = rest;
        }
    }

    async fn fill(&self, table: &Table) {
        if table.references.is_empty() && self.count(table.name).await > 0 {
            return;
        }
        let values: Vec<(&str, String)> = table
            .columns
            .iter()
            .map(|column| {
                let target = table
                    .references
                    .iter()
                    .find(|reference| reference.column == column.name)
                    .map(|reference| reference.target);
                let value = match (target, column.kind) {
                    (Some("user"), _) => self.repository.namespace_id.to_string(),
                    (Some("repository"), _) => self.repository.id.to_string(),
                    (Some(target), _) if target == table.name => "NULL".to_owned(),
                    (Some(target), _) => format!("(SELECT max(id) FROM {target})"),
                    (None, Kind::Integer | Kind::BigInteger) => "1".to_owned(),
                    (None, Kind::Boolean) => "false".to_owned(),
                    (None, Kind::Timestamp) => "'2026-01-01 00:00:00'".to_owned(),
                    (None, Kind::Date) => "'2026-01-01'".to_owned(),
                    (None, Kind::Varchar(_) | Kind::Text) => {
                        format!("'{:.30}'", self.ids.uuid().to_string())
                    }
                };
                (column.name, value)
            })
            .collect();
        let columns: Vec<String> = values
            .iter()
            .map(|(column, _)| format!("\"{column}\""))
            .collect();
        let values: Vec<String> = values.into_iter().map(|(_, value)| value).collect();
        self.sql(&format!(
            "INSERT INTO \"{}\" ({}) VALUES ({}) ON CONFLICT DO NOTHING",
            table.name,
            columns.join(", "),
            values.join(", ")
        ))
        .await;
        assert!(
            self.count(&format!("\"{}\"", table.name)).await > 0,
            "{} is empty",
            table.name
        );
    }
}

#[tokio::test]
async fn a_deleted_repository_is_marked_as_quay_marks_it_and_its_name_is_free() {
    for world in worlds().await {
        let first = world.repository.clone();
        assert!(world.mark_repository(&first, world.now).await);
        assert!(!world.mark_repository(&first, world.now).await);
        assert!(
            world
                .database
                .find_repository(&first.path)
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(
            world
                .count("repository WHERE state = 3 AND length(name) = 36")
                .await,
            1
        );
        let jobs = world.jobs_of(REPOSITORY_QUEUE, world.now).await;
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].name, format!("repositorygc/acme/{}/", first.id));
        assert_eq!(jobs[0].body, r#"{"marker_id": 1, "original_name": "app"}"#);
        assert_eq!(
            world
                .text("SELECT queue_id AS name FROM deletedrepository")
                .await,
            jobs[0].id.to_string()
        );
        assert_eq!(
            world.database.deleted_repository(&jobs[0]).await.unwrap(),
            Some(first.id)
        );
        let second = world.repository("app").await;
        assert_ne!(second.id, first.id);
    }
}

#[tokio::test]
async fn a_deleted_repository_is_removed_in_batches_and_frees_what_only_it_held() {
    for world in worlds().await {
        let other = world.repository("other").await;
        world.image_in(&other, &["shared"], &["v1"]).await;
        let child = world
            .image_in(&world.repository, &["shared", "own"], &["v1"])
            .await;
        let parent = index(&[&child]);
        world.put_in(&world.repository, &parent, &["many"]).await;
        world.blob("only uploaded", &us()).await;
        world.mark_repository(&world.repository, world.now).await;
        let forecast = world.database.garbage_forecast(world.now).await.unwrap();
        assert_eq!((forecast.repositories, forecast.blobs), (1, 2));
        let names = world.database.garbage_names(world.now, 10).await.unwrap();
        assert_eq!(names.repositories, ["acme/app"]);
        let purged = world.purge(world.repository.id, 1).await;
        assert_eq!((purged.tags, purged.manifests), (2, 2));
        for table in [
            "deletedrepository",
            "queueitem WHERE queue_name LIKE 'repositorygc%'",
        ] {
            assert_eq!(world.count(table).await, 0, "{table}");
        }
        assert_eq!(world.count("repository").await, 1);
        let removed = world.collect(world.now).await;
        assert_eq!(removed.blobs, 2);
        assert!(world.has_blob("shared").await);
        assert!(!world.has_blob("own").await);
        assert!(!world.has_blob("only uploaded").await);
    }
}

#[tokio::test]
async fn what_is_not_marked_as_deleted_is_not_removed() {
    for world in worlds().await {
        let collection = world.collection().await;
        let refused = world
            .database
            .purge_repository(&collection, world.repository.id, world.now, 10)
            .await
            .unwrap_err();
        assert!(matches!(refused, MetadataError::Conflict { .. }));
        let refused = world
            .database
            .purge_namespace(&collection, world.repository.namespace_id)
            .await
            .unwrap_err();
        assert!(matches!(refused, MetadataError::Conflict { .. }));
        world.mark_repository(&world.repository, world.now).await;
        // As an operator may do it who wants it back.
        world.sql("UPDATE repository SET state = 0").await;
        let jobs = world.jobs_of(REPOSITORY_QUEUE, world.now).await;
        assert_eq!(
            world.database.deleted_repository(&jobs[0]).await.unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn a_deleted_namespace_is_disabled_renamed_and_without_robots_at_once() {
    for world in worlds().await {
        world
            .sql(r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email, last_invalid_login)
                    VALUES ('r', 'acme+bot', 'r', true, false, true, false, '2026-01-01 00:00:00'),
                           ('s', 'acmes+bot', 's', true, false, true, false, '2026-01-01 00:00:00')"#)
            .await;
        world
            .sql(
                r#"INSERT INTO robotaccounttoken (robot_account_id, token, fully_migrated)
                    SELECT id, 'secret', true FROM "user" WHERE robot"#,
            )
            .await;
        world
            .sql(
                r#"INSERT INTO repositorypermission (user_id, repository_id, role_id)
                    SELECT u.id, r.id, 1 FROM "user" u, repository r WHERE u.robot"#,
            )
            .await;
        assert!(world.mark_namespace(world.now).await);
        assert!(!world.mark_namespace(world.now).await);
        assert_eq!(world.database.find_namespace("acme").await.unwrap(), None);
        assert_eq!(
            world
                .text(r#"SELECT username AS name FROM "user" WHERE robot"#)
                .await,
            "acmes+bot"
        );
        let jobs = world.jobs_of(NAMESPACE_QUEUE, world.now).await;
        assert_eq!(
            jobs[0].name,
            format!("namespacegc/{}/", world.repository.namespace_id)
        );
        assert_eq!(
            jobs[0].body,
            r#"{"marker_id": 1, "original_username": "acme"}"#
        );
        assert_eq!(
            world.database.deleted_namespace(&jobs[0]).await.unwrap(),
            Some(world.repository.namespace_id)
        );
        assert!(
            world
                .database
                .find_repository(&world.repository.path)
                .await
                .unwrap()
                .is_none()
        );
        let names = world.database.garbage_names(world.now, 10).await.unwrap();
        assert_eq!(names.namespaces, ["acme"]);
    }
}

#[tokio::test]
async fn a_namespace_with_a_row_in_every_table_of_quays_is_removed_to_the_last_of_them() {
    for world in worlds().await {
        world.image_in(&world.repository, &["layer"], &["v1"]).await;
        world.fill_every_table().await;
        // The repository of the generated rows was marked by hand, and the namespace too.
        world.sql("DELETE FROM deletedrepository").await;
        world.sql("DELETE FROM deletednamespace").await;
        world.mark_repository(&world.repository, world.now).await;
        world.mark_namespace(world.now).await;
        world.purge_namespace().await;
        for table in [
            "repository",
            "tag",
            "manifest",
            "team",
            "oauthapplication",
            "queueitem WHERE queue_name NOT LIKE 'imagestoragereplication/%'",
        ] {
            assert_eq!(world.count(table).await, 0, "{table}");
        }
        assert_eq!(world.count(r#""user""#).await, 1);
    }
}

#[tokio::test]
async fn a_deletion_whose_queue_row_is_gone_gets_it_back_in_quays_form() {
    for world in worlds().await {
        world.mark_repository(&world.repository, world.now).await;
        world.mark_namespace(world.now).await;
        let mut before = world.jobs_of(REPOSITORY_QUEUE, world.now).await;
        before.extend(world.jobs_of(NAMESPACE_QUEUE, world.now).await);
        for lost in [false, true] {
            if lost {
                world.sql("DELETE FROM queueitem").await;
            }
            let now = later(world.now, 120);
            for waiting in [
                world
                    .database
                    .requeue_deleted_repositories(&world.ids, now)
                    .await,
                world
                    .database
                    .requeue_deleted_namespaces(&world.ids, now)
                    .await,
            ] {
                assert_eq!(waiting.unwrap(), 1);
            }
            assert_eq!(world.count("queueitem").await, 2);
        }
        let now = later(world.now, 120);
        let mut after = world.jobs_of(REPOSITORY_QUEUE, now).await;
        after.extend(world.jobs_of(NAMESPACE_QUEUE, now).await);
        let bodies = |jobs: &[Job]| jobs.iter().map(|job| job.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&after), bodies(&before));
        assert_eq!(after[1].name, before[1].name);
        assert_eq!(
            world
                .text("SELECT queue_id AS name FROM deletedrepository")
                .await,
            after[0].id.to_string()
        );
        assert_eq!(
            world.database.deleted_repository(&after[0]).await.unwrap(),
            Some(world.repository.id)
        );
    }
}
