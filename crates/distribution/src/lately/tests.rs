//! What is remembered, for how long, and what is forgotten.

use super::*;
use bytes::Bytes;
use roadstead_metadata::{ManifestId, RepositoryState, UserId};
use roadstead_oci::Algorithm;
use roadstead_runtime::ManualClock;

fn manifest(content: String) -> StoredManifest {
    StoredManifest {
        id: ManifestId(1),
        digest: Digest::of(Algorithm::Sha256, content.as_bytes()),
        media_type: "application/vnd.oci.image.manifest.v1+json"
            .parse()
            .unwrap(),
        bytes: Bytes::from(content),
    }
}

#[test]
fn what_is_remembered_is_bounded_in_number_and_bytes_and_the_latest_stays() {
    let asked = Asked {
        since: Timestamp::UNIX_EPOCH,
        changes: 0,
        epochs: EpochsNow::default(),
    };
    let by_number = OutageOptions {
        entries_max: 5,
        ..OutageOptions::default()
    };
    let by_bytes = OutageOptions {
        bytes_max: 5 * (ENTRY_BYTES + 100),
        ..OutageOptions::default()
    };
    let nothing = OutageOptions {
        entries_max: 0,
        ..OutageOptions::default()
    };
    for (options, kept) in [(by_number, 5), (by_bytes, 5), (nothing, 0)] {
        let mut entries = Entries::default();
        for number in 0..100 {
            let manifest = manifest(format!("{number:0100}"));
            let key = Key::Manifest(RepositoryId(1), manifest.digest.clone());
            // The first one is confirmed again and again.
            let first = self::manifest(format!("{:0100}", 0));
            let first_key = Key::Manifest(RepositoryId(1), first.digest.clone());
            entries.put(key, Value::Manifest(manifest), asked, &options);
            entries.put(first_key, Value::Manifest(first), asked, &options);
            assert_eq!(entries.by_key.len(), entries.order.len());
            assert!(entries.by_key.len() <= options.entries_max);
            assert!(entries.bytes <= options.bytes_max);
        }
        assert_eq!(entries.by_key.len(), kept);
        assert_eq!(entries.bytes, kept * (ENTRY_BYTES + 100));
        let digests: Vec<String> = (0..100)
            .map(|number| manifest(format!("{number:0100}")).digest)
            .filter(|digest| {
                entries
                    .by_key
                    .contains_key(&Key::Manifest(RepositoryId(1), digest.clone()))
            })
            .map(|digest| digest.to_string())
            .collect();
        let expected: Vec<String> = [0, 96, 97, 98, 99]
            .into_iter()
            .take(kept)
            .map(|number| manifest(format!("{number:0100}")).digest.to_string())
            .collect();
        assert_eq!(digests, expected);
    }
}

#[test]
fn what_was_read_before_a_change_is_not_remembered_after_it() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let lately = Lately::new(OutageOptions::default(), clock);
    let (repository, tag): (_, Tag) = (RepositoryId(1), "latest".parse().unwrap());
    let reference = Reference::Tag(tag.clone());
    let found = || Ok(ManifestLookup::Found(manifest("old".to_owned())));
    let key = Key::Tag(repository, tag.clone());

    let asked = lately.asking(EpochsNow::default());
    lately.tags_changed(repository, &[tag]);
    lately
        .manifest(repository, &reference, asked, found())
        .unwrap();
    assert!(lately.recall(&key).is_none());

    let asked = lately.asking(EpochsNow::default());
    lately
        .manifest(repository, &reference, asked, found())
        .unwrap();
    assert!(lately.recall(&key).is_some());
}

#[test]
fn a_server_is_asked_for_commits_only_while_a_repository_is_asked_for() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let lately = Lately::new(
        OutageOptions::default(),
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    let path = RepositoryPath {
        namespace: "acme".to_owned(),
        name: "app".to_owned(),
    };
    assert!(!lately.worth_asking(&path), "nobody has asked for it");
    let repository = Repository {
        id: RepositoryId(1),
        namespace_id: UserId(1),
        path: path.clone(),
        public: true,
        state: RepositoryState::Normal,
        holds_images: true,
        mirror_robot: None,
    };
    let asked = lately.asking(EpochsNow::default());
    lately
        .repository(&path, asked, Ok(Some(repository)))
        .unwrap();
    assert!(lately.worth_asking(&path));
    clock.advance(LIKELY_FOR);
    assert!(!lately.worth_asking(&path));
}

/// Remembers what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<ContentChange>>);

impl ContentListener for Told {
    fn content_changed(&self, change: &ContentChange) {
        self.0.lock().unwrap().push(change.clone());
    }
}

#[test]
fn what_changes_elsewhere_is_forgotten_here_and_told_once() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let here = Lately::new(OutageOptions::default(), Arc::clone(&clock));
    let there = Lately::new(OutageOptions::default(), clock);
    let (repository, tag): (_, Tag) = (RepositoryId(1), "latest".parse().unwrap());
    let digest = manifest("old".to_owned()).digest;
    let keys = [
        Key::Tag(repository, tag.clone()),
        Key::Manifest(repository, digest.clone()),
    ];
    let (told, echo) = (Arc::new(Told::default()), Arc::new(Told::default()));
    here.tell(Arc::clone(&told) as Arc<dyn ContentListener>);
    there.tell(Arc::clone(&echo) as Arc<dyn ContentListener>);
    let found = || Ok(ManifestLookup::Found(manifest("old".to_owned())));
    there
        .manifest(
            repository,
            &Reference::Tag(tag.clone()),
            there.asking(EpochsNow::default()),
            found(),
        )
        .unwrap();
    assert!(keys.iter().all(|key| there.recall(key).is_some()));

    here.tags_changed(repository, &[tag]);
    here.manifest_deleted(repository, &digest);
    here.blob_deleted(repository, &digest);
    let changes = told.0.lock().unwrap().clone();
    assert_eq!(changes.len(), 3);
    let before = there.asking(EpochsNow::default());
    for change in &changes {
        there.changed(change);
    }
    assert!(keys.iter().all(|key| there.recall(key).is_none()));
    // What is heard of others is not told on.
    assert_eq!(*echo.0.lock().unwrap(), []);
    // Nor is what was read before it remembered.
    there
        .manifest(repository, &Reference::Digest(digest), before, found())
        .unwrap();
    assert!(keys.iter().all(|key| there.recall(key).is_none()));
}

#[test]
fn what_was_confirmed_before_the_clock_was_set_back_does_not_count_until_it_catches_up() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let lately = Lately::new(
        OutageOptions::default(),
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    let found = manifest("old".to_owned());
    let key = Key::Manifest(RepositoryId(1), found.digest.clone());
    let asked = Asked {
        since: Timestamp::UNIX_EPOCH + Duration::from_secs(1),
        ..lately.asking(EpochsNow::default())
    };
    lately.confirm(key.clone(), Value::Manifest(found), asked);
    assert!(lately.recall(&key).is_none());
    clock.advance(Duration::from_secs(1));
    assert!(lately.recall(&key).is_some());
}
