//! Pushes that meet at the database: each fares as it would by itself, and what is wrong with one is nobody else's.

use futures_util::future::join_all;

use super::*;
use crate::blob_commits::Commit;
use crate::meetings::{Change as _, Undo};

/// A push whose object is at its location.
struct Push {
    size: u64,
    upload: Upload,
    publication: Publication,
}

impl World {
    async fn begun(&self, location: &LocationName) -> Upload {
        let state = Digester::new(Algorithm::Sha256).save();
        self.database
            .create_upload(&NewUpload {
                uuid: self.ids.uuid(),
                repository: self.repository.id,
                location,
                hash_state: &state,
                now: self.now,
            })
            .await
            .unwrap()
    }

    async fn push(&self, content: &str, location: &LocationName) -> Push {
        Push {
            size: content.len() as u64,
            upload: self.begun(location).await,
            publication: self.publication(content, location).await,
        }
    }

    fn commit_of<'a>(&self, push: &'a Push) -> CommitBlob<'a> {
        CommitBlob {
            repository: self.repository.id,
            publication: &push.publication,
            size: push.size,
            protect_until: later(self.now, 3600),
            upload: Some(&push.upload),
            uuid: self.ids.uuid(),
            now: self.now,
        }
    }

    /// Records all of them in one transaction. Tells of each whether it was.
    async fn commit_together(&self, pushes: &[&Push]) -> Vec<bool> {
        let commits: Vec<Commit> = pushes
            .iter()
            .map(|push| Commit::from(&self.commit_of(push)))
            .collect();
        let answers = {
            let transaction = self.database.begin("record blobs").await.unwrap();
            let answers = Commit::make(&transaction, &commits, Undo::All)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
            answers
        };
        let recorded = answers.into_iter().map(|answer| match answer {
            Ok(()) => true,
            Err(MetadataError::Conflict { .. }) => false,
            Err(error) => panic!("{error:?}"),
        });
        recorded.collect()
    }

    async fn held(&self, content: &str) -> Option<BTreeSet<LocationName>> {
        let digest = digest_of(content);
        let found = self
            .database
            .find_blob(self.repository.id, &digest, self.now);
        found.await.unwrap().map(|blob| blob.present)
    }

    async fn session(&self, upload: &Upload) -> Option<Upload> {
        self.database
            .find_upload(self.repository.id, upload.uuid)
            .await
            .unwrap()
    }

    /// Somebody else adds bytes to a session.
    async fn overtake(&self, upload: &Upload) {
        let state = state_after(b"other");
        let advanced = self
            .database
            .advance_upload(&advance(upload, 5, &state, self.now))
            .await;
        assert!(advanced.unwrap().is_some());
    }

    async fn publications(&self) -> usize {
        let rows = self.texts("SELECT digest AS name FROM roadstead_publication");
        rows.await.len()
    }
}

fn state_after(bytes: &[u8]) -> DigestState {
    let mut digester = Digester::new(Algorithm::Sha256);
    digester.update(bytes);
    digester.save()
}

#[tokio::test]
async fn many_pushes_at_once_are_all_recorded_and_each_digest_has_one_row() {
    for world in worlds().await {
        let contents: Vec<String> = (0..10).map(|number| format!("blob {number}")).collect();
        let mut pushes = Vec::new();
        for content in contents.iter().cycle().take(40) {
            pushes.push(world.push(content, &us()).await);
        }
        let (together, one_by_one) = pushes.split_at(20);
        let together: Vec<&Push> = together.iter().collect();
        assert_eq!(world.commit_together(&together).await, [true; 20]);
        let commits: Vec<CommitBlob<'_>> = one_by_one
            .iter()
            .map(|push| world.commit_of(push))
            .collect();
        let recorded = commits
            .iter()
            .map(|commit| world.database.commit_blob(commit));
        for recorded in join_all(recorded).await {
            recorded.unwrap();
        }
        for content in &contents {
            assert_eq!(world.held(content).await, Some(BTreeSet::from([us()])));
        }
        let rows = world.texts("SELECT content_checksum AS name FROM imagestorage");
        assert_eq!(rows.await.len(), 10);
        let sessions = world.texts("SELECT uuid AS name FROM blobupload");
        assert!(sessions.await.is_empty());
        assert_eq!(world.publications().await, 0);
    }
}

#[tokio::test]
async fn a_push_whose_session_was_changed_is_refused_alone() {
    for world in worlds().await {
        let one = world.push("one", &us()).await;
        let two = world.push("two", &us()).await;
        let three = world.push("three", &eu()).await;
        world.overtake(&two.upload).await;
        let recorded = world.commit_together(&[&one, &two, &three]).await;
        assert_eq!(recorded, [true, false, true]);
        assert_eq!(world.held("one").await, Some(BTreeSet::from([us()])));
        assert_eq!(world.held("two").await, None);
        assert_eq!(world.held("three").await, Some(BTreeSet::from([eu()])));
        let left = world.session(&two.upload).await.unwrap();
        assert_eq!((left.offset, left.version), (5, 2));
        assert_eq!(world.publications().await, 1, "its own stays");
    }
}

#[tokio::test]
async fn a_push_to_a_location_that_is_being_removed_is_refused_alone() {
    for world in worlds().await {
        let one = world.push("one", &us()).await;
        let two = world.push("two", &eu()).await;
        world
            .database
            .set_location_state(&eu(), LocationState::Removing, world.now)
            .await
            .unwrap();
        assert_eq!(world.commit_together(&[&two, &one]).await, [false, true]);
        assert_eq!(world.held("one").await, Some(BTreeSet::from([us()])));
        assert_eq!(world.held("two").await, None);
        assert!(world.session(&one.upload).await.is_none());
        assert!(world.session(&two.upload).await.is_some());
    }
}

#[tokio::test]
async fn a_push_whose_publication_has_lapsed_is_refused_alone() {
    for world in worlds().await {
        let two = world.push("two", &us()).await;
        let late = later(world.now, 3600);
        let ended = world.database.end_lapsed_publications(late, 10).await;
        assert_eq!(ended.unwrap(), 1);
        let one = world.push("one", &us()).await;
        assert_eq!(world.commit_together(&[&two, &one]).await, [false, true]);
        assert_eq!(world.held("two").await, None);
        assert!(world.session(&two.upload).await.is_some());
    }
}

#[tokio::test]
async fn a_session_ends_once_however_many_ask_for_it_together() {
    for world in worlds().await {
        let one = world.push("one", &us()).await;
        let two = Push {
            upload: one.upload.clone(),
            ..world.push("two", &us()).await
        };
        assert_eq!(world.commit_together(&[&one, &two]).await, [true, false]);
        assert_eq!(world.held("two").await, None);
    }
}

#[tokio::test]
async fn a_push_of_a_blob_that_is_known_corrects_its_size_and_shows_it_again() {
    for world in worlds().await {
        let blob = world.blob("blob", &us()).await;
        world.sql("UPDATE imagestorage SET image_size = NULL").await;
        let deleted = world
            .database
            .delete_blob(world.repository.id, &blob.digest, world.now)
            .await;
        assert_eq!(deleted.unwrap(), BlobDeletion::Deleted);
        assert_eq!(world.held("blob").await, None);
        let push = world.push("blob", &eu()).await;
        assert_eq!(world.commit_together(&[&push]).await, [true]);
        assert_eq!(world.held("blob").await, Some(both()));
        let found = world.database.find_blob_anywhere(&blob.digest).await;
        assert_eq!(found.unwrap().unwrap().size, 4);
    }
}

#[tokio::test]
async fn uploads_begin_together_and_only_at_locations_that_take_new_bytes() {
    for world in worlds().await {
        world
            .database
            .set_location_state(&eu(), LocationState::Draining, world.now)
            .await
            .unwrap();
        let state = Digester::new(Algorithm::Sha256).save();
        let (open, closed) = (us(), eu());
        let new = |location| NewUpload {
            uuid: world.ids.uuid(),
            repository: world.repository.id,
            location,
            hash_state: &state,
            now: world.now,
        };
        let all: Vec<NewUpload<'_>> = [&open, &closed, &open].into_iter().map(new).collect();
        let begun = join_all(all.iter().map(|new| world.database.create_upload(new))).await;
        let [Ok(one), Err(MetadataError::Conflict { .. }), Ok(three)] = begun.as_slice() else {
            panic!("{begun:?}");
        };
        for upload in [one, three] {
            let found = world.session(upload).await.unwrap();
            assert_eq!((found.id, found.version), (upload.id, 1));
        }
    }
}

#[tokio::test]
async fn an_upload_is_closed_with_its_publication_or_left_to_whoever_changed_it() {
    for world in worlds().await {
        let state = state_after(b"hello");
        let (upload, overtaken) = (world.begun(&us()).await, world.begun(&us()).await);
        world.overtake(&overtaken).await;
        let (digest, until) = (digest_of("hello"), later(world.now, 3600));
        let advances = [
            advance(&upload, 5, &state, world.now),
            advance(&overtaken, 5, &state, world.now),
        ];
        let closed = advances
            .iter()
            .map(|advance| world.database.close_upload(advance, &digest, until));
        let mut closed = join_all(closed).await.into_iter();
        let (advanced, publishing) = closed.next().unwrap().unwrap().unwrap();
        assert!(closed.next().unwrap().unwrap().is_none());
        assert_eq!((advanced.offset, advanced.version), (5, 2));
        let found = world.session(&upload).await.unwrap();
        assert_eq!((found.offset, found.version), (5, 2));
        assert_eq!(found.hash_state, state);
        let publication = publishing.begun().unwrap();
        assert_eq!(publication.digest(), &digest);
        assert_eq!(publication.location(), &us());
        assert_eq!(world.publications().await, 1);
        assert_eq!(world.session(&overtaken).await.unwrap().version, 2);
    }
}

#[tokio::test]
async fn an_upload_keeps_its_last_bytes_while_the_object_is_being_deleted() {
    for world in worlds().await {
        let upload = world.begun(&us()).await;
        let digest = digest_of("hello");
        world
            .sql(&format!(
                "INSERT INTO roadstead_doomed_object (digest, location, since, not_before, lease_until)
                 VALUES ('{digest}', 'usstorage', '2026-11-01 00:00:00', '2026-11-01 00:00:00', '2099-01-01 00:00:00')"
            ))
            .await;
        let state = state_after(b"hello");
        let advance = advance(&upload, 5, &state, world.now);
        let closed = world
            .database
            .close_upload(&advance, &digest, later(world.now, 3600))
            .await;
        let (advanced, publishing) = closed.unwrap().unwrap();
        assert!(matches!(publishing, Publishing::BeingDeleted));
        assert_eq!(advanced.offset, 5);
        assert_eq!(world.session(&upload).await.unwrap().offset, 5);
        assert_eq!(world.publications().await, 0);
    }
}
