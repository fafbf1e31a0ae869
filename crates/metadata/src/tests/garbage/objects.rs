//! Doomed objects and publications: who may delete and who may publish, in every order.

use super::*;

impl World {
    async fn claim_at(&self, location: &LocationName, now: Timestamp) -> Vec<DoomedObject> {
        self.database
            .claim_doomed_objects(&ClaimObjects {
                location,
                limit: 100,
                now,
                lease_until: later(now, 300),
                token: self.ids.uuid(),
            })
            .await
            .unwrap()
    }

    async fn publishing(&self, content: &str, now: Timestamp) -> Publishing {
        self.database
            .begin_publication(&digest_of(content), &us(), later(now, 3600), now)
            .await
            .unwrap()
    }

    async fn commit(
        &self,
        content: &str,
        publication: &Publication,
        now: Timestamp,
    ) -> Result<Blob, MetadataError> {
        self.database
            .commit_blob(&CommitBlob {
                repository: self.repository.id,
                publication,
                size: content.len() as u64,
                protect_until: later(now, 3600),
                upload: None,
                uuid: self.ids.uuid(),
                now,
            })
            .await?;
        let blob = self
            .database
            .find_blob_anywhere(&digest_of(content))
            .await?;
        Ok(blob.expect("it was just recorded"))
    }

    /// A blob at both locations whose objects are doomed since `now`.
    async fn doomed_blob(&self, content: &str) -> Timestamp {
        let blob = self.blob(content, &us()).await;
        assert_eq!(self.copied(&blob, &eu()).await, Recorded::Yes);
        let now = later(self.now, 3600);
        assert_eq!(self.collect(now).await.blobs, 1);
        assert_eq!(self.doomed().await.len(), 2);
        now
    }
}

#[tokio::test]
async fn a_collected_blob_dooms_its_object_at_every_location_and_each_is_deleted_by_one() {
    for world in worlds().await {
        let now = world.doomed_blob("blob").await;
        let claimed = world.claim_at(&us(), now).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].digest, digest_of("blob"));
        assert!(world.claim_at(&us(), now).await.is_empty());
        let placed = world
            .database
            .complete_doomed_objects(&us(), &claimed)
            .await
            .unwrap();
        assert!(placed.is_empty());
        assert_eq!(
            world.doomed().await,
            [format!("eustorage {}", digest_of("blob"))]
        );
    }
}

#[tokio::test]
async fn a_blob_stays_at_a_location_where_a_second_row_of_its_digest_has_it() {
    for world in worlds().await {
        world.blob("twice", &us()).await;
        world
            .sql(
                "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
                  SELECT 'quays', image_size, true, true, content_checksum FROM imagestorage",
            )
            .await;
        world
            .sql("INSERT INTO imagestorageplacement (storage_id, location_id)
                  SELECT s.id, p.location_id FROM imagestorage s, imagestorageplacement p WHERE s.uuid = 'quays'")
            .await;
        world
            .sql(
                "INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at)
                  SELECT u.repository_id, s.id, u.uploaded_at, '2099-01-01 00:00:00'
                  FROM uploadedblob u, imagestorage s WHERE s.uuid = 'quays'",
            )
            .await;
        let removed = world.collect(later(world.now, 3600)).await;
        assert_eq!(removed.blobs, 1);
        assert!(world.doomed().await.is_empty());
        assert!(world.has_blob("twice").await);
    }
}

#[tokio::test]
async fn whoever_publishes_takes_an_object_off_the_list_and_keeps_it_there() {
    for world in worlds().await {
        let now = world.doomed_blob("blob").await;
        let publication = world.publishing("blob", now).await.begun().unwrap();
        assert_eq!(
            world.doomed().await,
            [format!("eustorage {}", digest_of("blob"))]
        );
        assert!(world.claim_at(&us(), now).await.is_empty());
        let blob = world.commit("blob", &publication, now).await.unwrap();
        assert_eq!(blob.present, BTreeSet::from([us()]));
        assert_eq!(world.count("roadstead_publication").await, 0);
        // The object at the other location is still unwanted, until a copy publishes there.
        assert_eq!(world.claim_at(&eu(), now).await.len(), 1);
    }
}

#[tokio::test]
async fn nobody_publishes_while_an_object_is_being_deleted_until_the_lease_ends() {
    for world in worlds().await {
        let now = world.doomed_blob("blob").await;
        let claimed = world.claim_at(&us(), now).await;
        assert!(matches!(
            world.publishing("blob", later(now, 299)).await,
            Publishing::BeingDeleted
        ));
        // The deletion runs out of time, and may still happen.
        world
            .database
            .postpone_doomed_object(
                &claimed[0],
                &FailedDeletion {
                    failure: "the step took too long",
                    not_before: later(now, 900),
                    closed_until: Some(later(now, 900)),
                    now,
                },
            )
            .await
            .unwrap();
        assert!(matches!(
            world.publishing("blob", later(now, 899)).await,
            Publishing::BeingDeleted
        ));
        let waiting = world.database.doomed_objects().await.unwrap();
        assert_eq!(waiting[1].failing, 1);
        assert_eq!(
            waiting[1].last_failure.as_deref(),
            Some("the step took too long")
        );
        assert!(matches!(
            world.publishing("blob", later(now, 900)).await,
            Publishing::Begun(_)
        ));
    }
}

#[tokio::test]
async fn a_blob_that_somebody_publishes_is_not_collected_and_looked_at_again_later() {
    for world in worlds().await {
        world.blob("blob", &us()).await;
        let now = later(world.now, 3600);
        let publication = world.publishing("blob", now).await.begun().unwrap();
        assert_eq!(world.collect(now).await.blobs, 0);
        assert_eq!(world.count("roadstead_freed_blob").await, 1);
        let kept = world.commit("blob", &publication, now).await.unwrap();
        assert_eq!(world.collect(later(now, 60)).await.blobs, 0);
        assert_eq!(world.count("roadstead_freed_blob").await, 0);
        assert_eq!(
            world
                .database
                .find_blob(world.repository.id, &kept.digest, later(now, 60))
                .await
                .unwrap()
                .unwrap()
                .storage,
            kept.storage
        );
        assert_eq!(world.collect(later(now, 3600)).await.blobs, 1);
    }
}

#[tokio::test]
async fn a_publication_that_lapsed_dooms_its_object_and_can_no_longer_be_recorded() {
    for world in worlds().await {
        let publication = world.publishing("blob", world.now).await.begun().unwrap();
        let before = milliseconds(world.now, 3_600_000 - 1);
        assert_eq!(
            world
                .database
                .end_lapsed_publications(before, 10)
                .await
                .unwrap(),
            0
        );
        // Nobody has ended it yet: late is not too late.
        let late = later(world.now, 3600);
        assert_eq!(
            world
                .database
                .end_lapsed_publications(late, 10)
                .await
                .unwrap(),
            1
        );
        assert_eq!(
            world.doomed().await,
            [format!("usstorage {}", digest_of("blob"))]
        );
        let refused = world.commit("blob", &publication, late).await.unwrap_err();
        assert!(
            matches!(refused, MetadataError::Conflict { .. }),
            "{refused}"
        );
        assert_eq!(world.count("imagestorage").await, 0);
        let blob = world.blob("other", &us()).await;
        let publication = world.publishing("other", world.now).await.begun().unwrap();
        world
            .database
            .end_lapsed_publications(late, 10)
            .await
            .unwrap();
        assert_eq!(
            world
                .database
                .record_copy(blob.storage, &publication, late)
                .await
                .unwrap(),
            Recorded::Lapsed
        );
        // The blob's own object is placed, so that nothing is doomed for it.
        assert_eq!(world.doomed().await.len(), 1);
    }
}

#[tokio::test]
async fn of_two_who_publish_the_same_object_the_last_to_give_up_dooms_it() {
    for world in worlds().await {
        let one = world.publishing("blob", world.now).await.begun().unwrap();
        let two = world.publishing("blob", world.now).await.begun().unwrap();
        world
            .database
            .withdraw_publication(one, world.now)
            .await
            .unwrap();
        assert!(world.doomed().await.is_empty());
        world
            .database
            .withdraw_publication(two, world.now)
            .await
            .unwrap();
        assert_eq!(world.doomed().await.len(), 1);
    }
}

#[tokio::test]
async fn a_copy_that_comes_too_late_is_doomed_and_not_if_the_bytes_were_pushed_again() {
    for world in worlds().await {
        let blob = world.blob("blob", &us()).await;
        let late = world
            .database
            .begin_publication(&blob.digest, &eu(), later(world.now, 9000), world.now)
            .await
            .unwrap()
            .begun()
            .unwrap();
        let later_still = world
            .database
            .begin_publication(&blob.digest, &eu(), later(world.now, 9000), world.now)
            .await
            .unwrap()
            .begun()
            .unwrap();
        // As Quay does it, who does not ask who publishes.
        for table in ["uploadedblob", "imagestorageplacement", "imagestorage"] {
            world.sql(&format!("DELETE FROM {table}")).await;
        }
        let recorded = world
            .database
            .record_copy(blob.storage, &late, world.now)
            .await
            .unwrap();
        assert_eq!(recorded, Recorded::BlobGone);
        assert!(world.doomed().await.is_empty(), "somebody else publishes");
        let again = world.blob("blob", &us()).await;
        assert_eq!(world.copied(&again, &eu()).await, Recorded::Yes);
        let recorded = world
            .database
            .record_copy(blob.storage, &later_still, world.now)
            .await
            .unwrap();
        assert_eq!(recorded, Recorded::BlobGone);
        assert!(
            world.doomed().await.is_empty(),
            "the object is placed again"
        );
        let now = later(world.now, 3600);
        world.collect(now).await;
        assert_eq!(world.doomed().await.len(), 2);
    }
}

#[tokio::test]
async fn an_entry_of_an_object_that_came_to_be_wanted_is_dropped_when_it_is_due() {
    for world in worlds().await {
        let now = world.doomed_blob("blob").await;
        // As Quay does it, who does not ask.
        world
            .sql(&format!(
                "INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
                 VALUES ('quays', 4, true, true, '{}')",
                digest_of("blob")
            ))
            .await;
        world
            .sql("INSERT INTO imagestorageplacement (storage_id, location_id)
                  SELECT s.id, l.id FROM imagestorage s, imagestoragelocation l WHERE l.name = 'usstorage'")
            .await;
        assert!(world.claim_at(&us(), now).await.is_empty());
        assert_eq!(
            world.doomed().await,
            [format!("eustorage {}", digest_of("blob"))]
        );
    }
}

#[tokio::test]
async fn a_deletion_that_outlived_its_lease_stops_whoever_published_meanwhile_from_recording() {
    for world in worlds().await {
        let now = world.doomed_blob("blob").await;
        // The process stands still for longer than its lease, and then deletes.
        let claimed = world.claim_at(&us(), now).await;
        let much_later = later(now, 301);
        let publication = world.publishing("blob", much_later).await.begun().unwrap();
        let placed = world
            .database
            .complete_doomed_objects(&us(), &claimed)
            .await
            .unwrap();
        assert!(placed.is_empty());
        world
            .commit("blob", &publication, much_later)
            .await
            .unwrap_err();
        let publication = world.publishing("blob", much_later).await.begun().unwrap();
        let blob = world
            .commit("blob", &publication, much_later)
            .await
            .unwrap();
        // Had it been recorded already, it is told.
        let placed = world
            .database
            .complete_doomed_objects(&us(), &claimed)
            .await
            .unwrap();
        assert_eq!(placed, [blob.storage]);
    }
}

#[tokio::test]
async fn what_a_location_lost_is_kept_for_a_day_and_then_deleted_unless_a_copy_replaced_it() {
    for world in worlds().await {
        let blob = world.blob("blob", &us()).await;
        world.copied(&blob, &eu()).await;
        let lost = LostObjects {
            location: &eu(),
            storages: &[blob.storage],
            reason: "the store holds other bytes than the digest says",
            queue: QUEUE,
            ids: &world.ids,
            now: world.now,
        };
        world.database.report_lost(&lost).await.unwrap();
        let day = later(world.now, 86_400);
        assert!(
            world
                .claim_at(&eu(), milliseconds(world.now, 86_400_000 - 1))
                .await
                .is_empty()
        );
        assert_eq!(world.claim_at(&eu(), day).await.len(), 1);
        let blob = world.blob("other", &us()).await;
        world.copied(&blob, &eu()).await;
        let lost = LostObjects {
            storages: &[blob.storage],
            ..lost
        };
        world.database.report_lost(&lost).await.unwrap();
        world.copied(&blob, &eu()).await;
        assert!(world.claim_at(&eu(), day).await.is_empty());
    }
}
