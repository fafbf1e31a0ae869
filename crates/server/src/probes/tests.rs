//! What probes say while the database says nothing.

use roadstead_metadata::DatabaseOptions;
use roadstead_runtime::ManualClock;

use super::*;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()))
}

/// Lets the patience with the database end as soon as it has begun.
async fn end_patience(clock: &ManualClock) {
    tokio::task::yield_now().await;
    clock.advance(PATIENCE);
}

#[tokio::test]
async fn a_database_that_hangs_has_said_nothing_before_the_deadline_of_health_checks() {
    assert!(PATIENCE < HealthOptions::default().deadline);
    let clock = clock();
    let question = std::future::pending::<Result<bool, MetadataError>>();
    let (answer, ()) = tokio::join!(answered(&*clock, question), end_patience(&clock));
    assert_eq!(answer, None);
}

#[tokio::test]
async fn a_region_that_was_taken_out_stays_out_while_the_database_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registry.db");
    let database = Database::open(&DatabaseOptions::Sqlite { path })
        .await
        .unwrap();
    database.migrate().await.unwrap();
    let (clock, region) = (clock(), "us".parse::<LocationName>().unwrap());
    let site = SiteIsOpen {
        database: database.clone(),
        clock: Arc::<ManualClock>::clone(&clock),
        region: region.clone(),
        last: Mutex::new(Ok(None)),
    };
    assert_eq!(site.probe().await, Ok(None));
    let now = clock.now();
    let drained = database.drain_site(&region, now, now, |_| true).await;
    assert!(drained.unwrap().0);
    assert!(site.probe().await.is_err());
    database.close().await;
    let (said, ()) = tokio::join!(site.probe(), end_patience(&clock));
    assert!(said.is_err());
}
