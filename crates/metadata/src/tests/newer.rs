//! What is logged of a database that a newer version has migrated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

/// Counts what this crate warns of.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("roadstead_metadata")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn that_a_newer_version_has_added_to_the_schema_is_logged_by_a_start_and_by_no_look() {
    for world in worlds().await {
        world
            .sql("INSERT INTO roadstead_migration (version, applied_at) VALUES ('m20990101_000001_later', 0)")
            .await;
        let warnings = Warnings::default();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        world.database.migrate().await.unwrap();
        assert_eq!(warnings.count(), 1);
        world.database.check_schema().await.unwrap();
        assert_eq!(warnings.count(), 2);
        for _ in 0..3 {
            let revisions = world.database.revisions().await.unwrap();
            assert_eq!(revisions.database, "m20990101_000001_later");
        }
        assert_eq!(warnings.count(), 2);
    }
}
