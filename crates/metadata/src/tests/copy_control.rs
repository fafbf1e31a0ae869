//! Pauses and limits of copying: what is said is read by everybody, replaced by what is said later, and taken back.

use std::num::NonZeroU64;

use roadstead_placement::{CopyControl, CopyLimit, Link};

use super::*;

fn limit(link: Link, rate: u64, window: Option<&str>) -> CopyLimit {
    CopyLimit {
        link,
        bytes_per_second: NonZeroU64::new(rate).unwrap(),
        window: window.map(|window| window.parse().unwrap()),
    }
}

fn us_to_eu() -> Link {
    Link::Pair {
        source: us(),
        target: eu(),
    }
}

#[tokio::test]
async fn a_pause_lasts_until_the_same_pause_is_taken_back() {
    for world in worlds().await {
        let database = &world.database;
        assert_eq!(
            database.copy_control().await.unwrap(),
            CopyControl::default()
        );
        for _ in 0..2 {
            database.pause_copies(Some(&eu()), world.now).await.unwrap();
            database.pause_copies(None, world.now).await.unwrap();
        }
        let paused = database.copy_control().await.unwrap().paused;
        assert!(paused.everything);
        assert_eq!(paused.locations, BTreeSet::from([eu()]));
        assert!(database.resume_copies(None).await.unwrap());
        let control = database.copy_control().await.unwrap();
        assert!(control.is_paused(Some(&us()), &eu()) && !control.is_paused(None, &us()));
        assert!(!database.resume_copies(Some(&us())).await.unwrap());
        assert!(database.resume_copies(Some(&eu())).await.unwrap());
        assert!(database.copy_control().await.unwrap().paused.is_none());
    }
}

#[tokio::test]
async fn a_link_has_one_limit_for_each_window_and_the_last_one_said_counts() {
    for world in worlds().await {
        let database = &world.database;
        let said = [
            limit(Link::All, 1, None),
            limit(Link::All, 1_000, None),
            limit(Link::Location(eu()), u64::MAX, None),
            limit(us_to_eu(), 20, Some("22:00-06:00")),
            limit(us_to_eu(), 10, Some("06:00-22:00")),
        ];
        for limit in &said {
            database.limit_copies(limit, world.now).await.unwrap();
        }
        let control = database.copy_control().await.unwrap();
        assert_eq!(
            control.limits,
            [
                limit(Link::All, 1_000, None),
                // As much as the column holds.
                limit(Link::Location(eu()), i64::MAX.cast_unsigned(), None),
                limit(us_to_eu(), 10, Some("06:00-22:00")),
                limit(us_to_eu(), 20, Some("22:00-06:00")),
            ]
        );
        assert!(control.paused.is_none());
        let night = Some("22:00-06:00".parse().unwrap());
        assert_eq!(
            database.unlimit_copies(&us_to_eu(), night).await.unwrap(),
            1
        );
        assert_eq!(database.unlimit_copies(&us_to_eu(), None).await.unwrap(), 1);
        assert_eq!(database.unlimit_copies(&us_to_eu(), None).await.unwrap(), 0);
        assert_eq!(database.unlimit_copies(&Link::All, None).await.unwrap(), 1);
        let left = database.copy_control().await.unwrap().limits;
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[tokio::test]
async fn a_row_that_nobody_writes_is_named_and_no_copy_goes_on_without_it() {
    for (row, column) in [
        ("'rest', '', '', '', NULL", "kind"),
        ("'limit', '', '', '', 0", "bytes_per_second"),
        ("'limit', '', '', '', NULL", "bytes_per_second"),
        ("'limit', '', '', 'nights', 1", "hours"),
    ] {
        let world = World::on_sqlite().await;
        world
            .sql(&format!(
                "INSERT INTO roadstead_copy_control (kind, source, target, hours, bytes_per_second, changed)
                 VALUES ({row}, '2026-01-01 00:00:00')"
            ))
            .await;
        let error = world.database.copy_control().await.unwrap_err().to_string();
        assert!(
            error.contains("roadstead_copy_control") && error.contains(column),
            "{error}"
        );
    }
}

#[tokio::test]
async fn there_is_an_end_to_the_number_of_limits() {
    for world in worlds().await {
        world
            .sql(
                "INSERT INTO roadstead_copy_control (kind, source, target, hours, bytes_per_second, changed)
                 WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
                 SELECT 'limit', '', 'location' || CAST(n AS varchar), '', 1, '2026-01-01 00:00:00' FROM n",
            )
            .await;
        let database = &world.database;
        let error = database.pause_copies(None, world.now).await.unwrap_err();
        assert!(matches!(error, MetadataError::Conflict { .. }), "{error}");
        let known = limit(
            Link::Location(LocationName::new("location7").unwrap()),
            2,
            None,
        );
        database.limit_copies(&known, world.now).await.unwrap();
        let control = database.copy_control().await.unwrap();
        assert_eq!(
            (control.limits.len(), control.paused.everything),
            (1_000, false)
        );
    }
}
