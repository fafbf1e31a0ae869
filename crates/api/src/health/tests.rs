//! Health checks with services that fail and hang when told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use roadstead_runtime::{ManualClock, Tasks, Timestamp};
use tokio::sync::Notify;

use super::*;

/// Works, fails or hangs, and counts how often it was asked.
#[derive(Debug, Default)]
struct Switch {
    broken: AtomicBool,
    hangs: AtomicBool,
    released: Notify,
    asked: AtomicUsize,
}

impl Switch {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Probe for Switch {
    async fn probe(&self) -> Result<Option<String>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            self.released.notified().await;
        }
        if self.broken.load(Ordering::SeqCst) {
            Err("broken".to_owned())
        } else {
            Ok(None)
        }
    }
}

#[derive(Default)]
struct World {
    database: Arc<Switch>,
    database_writes: Arc<Switch>,
    auth: Arc<Switch>,
    rights: Arc<Switch>,
    service_key: Arc<Switch>,
    disk_space: Arc<Switch>,
    disk_space_warning: Arc<Switch>,
    redis: Arc<Switch>,
    storage: Arc<Switch>,
    preferred_storage: Arc<Switch>,
    storage_read: Arc<Switch>,
    storage_write: Arc<Switch>,
    pushes: Arc<Switch>,
    site: Arc<Switch>,
}

impl World {
    fn services(&self) -> HealthServices {
        HealthServices {
            database: self.database.clone(),
            database_writes: self.database_writes.clone(),
            auth: self.auth.clone(),
            rights: self.rights.clone(),
            service_key: self.service_key.clone(),
            disk_space: self.disk_space.clone(),
            disk_space_warning: self.disk_space_warning.clone(),
            redis: Some(self.redis.clone()),
            storage: self.storage.clone(),
            preferred_storage: None,
            storage_read: self.storage_read.clone(),
            storage_write: self.storage_write.clone(),
            pushes: self.pushes.clone(),
            site: self.site.clone(),
            revision: None,
        }
    }

    async fn asked(&self, clock: &Arc<ManualClock>) -> Health {
        let health = Health::new(self.services(), HealthOptions::default(), clock.clone());
        health.ask_all().await;
        health
    }
}

const ROUTES: [HealthRoute; 5] = [
    HealthRoute::Instance,
    HealthRoute::EndToEnd,
    HealthRoute::Warning,
    HealthRoute::ReadyToPull,
    HealthRoute::ReadyToPush,
];

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH))
}

fn body(health: &Health, route: HealthRoute) -> String {
    String::from_utf8(health.check(route).body().to_vec()).expect("JSON is UTF-8")
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn healthy_answers_have_the_bytes_of_quay() {
    let health = World::default().asked(&clock()).await;
    for (route, expected) in [
        (
            HealthRoute::Instance,
            "{\"data\":{\"services\":{\"auth\":true,\"database\":true,\"disk_space\":true,\"registry_gunicorn\":true,\
             \"service_key\":true,\"web_gunicorn\":true}},\"status_code\":200}\n",
        ),
        (
            HealthRoute::EndToEnd,
            "{\"data\":{\"services\":{\"auth\":true,\"database\":true,\"redis\":true,\"storage\":true}},\"status_code\":200}\n",
        ),
        (
            HealthRoute::Warning,
            "{\"data\":{\"services\":{\"disk_space_warning\":true}},\"status_code\":200}\n",
        ),
        (
            HealthRoute::ReadyToPull,
            "{\"data\":{\"services\":{\"rights\":true,\"storage_read\":true}},\"status_code\":200}\n",
        ),
        (
            HealthRoute::ReadyToPush,
            "{\"data\":{\"services\":{\"database\":true,\"pushes\":true,\"storage_write\":true}},\"status_code\":200}\n",
        ),
    ] {
        assert_eq!(body(&health, route), expected);
    }
}

#[tokio::test]
async fn each_check_fails_for_its_own_services_only_and_redis_fails_none() {
    use HealthRoute::{EndToEnd, Instance, ReadyToPull, ReadyToPush, Warning};
    type Pick = fn(&World) -> &Arc<Switch>;
    let cases: [(Pick, &[HealthRoute]); 13] = [
        (|world| &world.database, &[Instance, EndToEnd]),
        (|world| &world.database_writes, &[ReadyToPush]),
        (|world| &world.auth, &[Instance, EndToEnd]),
        (|world| &world.rights, &[ReadyToPull]),
        (|world| &world.service_key, &[Instance]),
        (|world| &world.disk_space, &[Instance]),
        (|world| &world.disk_space_warning, &[Warning]),
        (|world| &world.redis, &[]),
        (|world| &world.storage, &[EndToEnd]),
        (|world| &world.storage_read, &[ReadyToPull]),
        (|world| &world.storage_write, &[ReadyToPush]),
        (|world| &world.pushes, &[ReadyToPush]),
        (|world| &world.site, &[EndToEnd, ReadyToPush]),
    ];
    for (number, (pick, failing)) in cases.into_iter().enumerate() {
        let world = World::default();
        pick(&world).broken.store(true, Ordering::SeqCst);
        let health = world.asked(&clock()).await;
        for route in ROUTES {
            let report = health.check(route);
            assert_eq!(
                !report.healthy(),
                failing.contains(&route),
                "case {number}, {route:?}: {report:?}"
            );
            let text = body(&health, route);
            assert!(
                text.contains(&format!("\"status_code\":{}}}", report.status().as_u16())),
                "{text}"
            );
            assert_eq!(
                text.contains("\"site\":false"),
                number == 12 && failing.contains(&route),
                "{text}"
            );
        }
        assert_eq!(
            body(&health, EndToEnd).contains("\"redis\":false"),
            number == 7
        );
    }
}

#[tokio::test]
async fn the_instance_check_covers_what_it_is_not_told_to_skip_and_the_preferred_storage_on_demand()
{
    let world = World::default();
    let services = HealthServices {
        preferred_storage: Some(world.preferred_storage.clone()),
        ..world.services()
    };
    let options = HealthOptions {
        instance_skips: vec!["redis".to_owned(), "auth".to_owned()],
        ..HealthOptions::default()
    };
    world.preferred_storage.broken.store(true, Ordering::SeqCst);
    let health = Health::new(services, options, clock());
    health.ask_all().await;
    assert_eq!(
        body(&health, HealthRoute::Instance),
        "{\"data\":{\"services\":{\"database\":true,\"disk_space\":true,\"preferred_storage\":false,\"registry_gunicorn\":true,\
         \"service_key\":true,\"storage\":true,\"web_gunicorn\":true}},\"status_code\":503}\n"
    );
    assert!(health.check(HealthRoute::EndToEnd).healthy());
}

#[tokio::test]
async fn what_hangs_counts_as_failed_after_its_deadline_is_not_asked_twice_and_recovers() {
    let world = World::default();
    let (clock, tasks) = (clock(), Tasks::new());
    let options = HealthOptions::default();
    let health = Arc::new(Health::new(
        world.services(),
        options.clone(),
        clock.clone(),
    ));
    world.database.hangs.store(true, Ordering::SeqCst);
    tasks.spawn({
        let (health, shutdown) = (Arc::clone(&health), tasks.shutdown());
        async move { health.keep_probed(&shutdown).await }
    });
    settle().await;
    let report = health.check(HealthRoute::EndToEnd);
    assert_eq!(
        (report.healthy(), report.age()),
        (false, None),
        "{report:?}"
    );
    // The others are asked again and again, and this one waits.
    for _ in 0..4 {
        clock.advance(options.interval);
        settle().await;
        assert_eq!(
            body(&health, HealthRoute::EndToEnd),
            "{\"data\":{\"services\":{\"auth\":true,\"database\":false,\"redis\":true,\"storage\":true}},\"status_code\":503}\n"
        );
    }
    assert_eq!((world.database.asked(), world.auth.asked()), (1, 5));
    world.database.hangs.store(false, Ordering::SeqCst);
    world.database.released.notify_one();
    settle().await;
    assert!(health.check(HealthRoute::EndToEnd).healthy());
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn an_answer_tells_its_age_and_what_is_older_than_three_intervals_counts_as_failed() {
    let world = World::default();
    let clock = clock();
    let health = world.asked(&clock).await;
    let options = HealthOptions::default();
    clock.advance(options.interval * 3);
    let report = health.check(HealthRoute::EndToEnd);
    assert_eq!(
        (report.healthy(), report.age()),
        (true, Some(options.interval * 3))
    );
    clock.advance(Duration::from_millis(1));
    for route in ROUTES {
        let report = health.check(route);
        assert!(!report.healthy(), "{report:?}");
    }
    // Nobody has said that the region is to be left.
    assert!(!body(&health, HealthRoute::EndToEnd).contains("site"));
    health.ask_all().await;
    assert!(health.check(HealthRoute::EndToEnd).healthy());
}

#[tokio::test]
async fn of_what_was_not_asked_lately_it_is_not_known_whether_it_fails() {
    let world = World::default();
    let clock = clock();
    let health = world.asked(&clock).await;
    for service in ["site", "redis"] {
        assert_eq!(health.end_to_end_fails(service), Some(false));
    }
    clock.advance(HealthOptions::default().interval * 3 + Duration::from_millis(1));
    for service in ["site", "redis"] {
        assert_eq!(health.end_to_end_fails(service), None);
    }
}

#[tokio::test]
async fn a_probe_of_redis_that_hangs_turns_nothing_red_however_long() {
    let world = World::default();
    let (clock, tasks) = (clock(), Tasks::new());
    world.redis.hangs.store(true, Ordering::SeqCst);
    let health = Arc::new(Health::new(
        world.services(),
        HealthOptions::default(),
        clock.clone(),
    ));
    tasks.spawn({
        let (health, shutdown) = (Arc::clone(&health), tasks.shutdown());
        async move { health.keep_probed(&shutdown).await }
    });
    for _ in 0..20 {
        settle().await;
        assert!(health.check(HealthRoute::EndToEnd).healthy());
        clock.advance(HealthOptions::default().interval);
    }
    assert!(body(&health, HealthRoute::EndToEnd).contains("\"redis\":false"));
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_process_that_is_about_to_end_is_not_to_be_sent_anything() {
    let health = World::default().asked(&clock()).await;
    health.drain();
    for route in ROUTES {
        assert_eq!(
            health.check(route).healthy(),
            route == HealthRoute::Warning,
            "{route:?}"
        );
    }
    assert!(body(&health, HealthRoute::ReadyToPull).contains("\"serving\":false"));
}

#[tokio::test]
async fn superusers_are_told_why() {
    let world = World::default();
    world.storage.broken.store(true, Ordering::SeqCst);
    world.redis.broken.store(true, Ordering::SeqCst);
    let clock = clock();
    let health = world.asked(&clock).await;
    clock.advance(Duration::from_secs(2));
    let details = HealthDetails {
        is_testing: false,
        config_provider: "file".to_owned(),
        hostname: "box".to_owned(),
    };
    let report = health.check(HealthRoute::EndToEnd);
    let told = report.body_with_details(&details, Some("key"));
    let text = String::from_utf8(told.to_vec()).expect("JSON is UTF-8");
    assert_eq!(
        text,
        "{\"data\":{\"config_provider\":\"file\",\"hostname\":\"box\",\"is_testing\":false,\"local_service_key_id\":\"key\",\
         \"notes\":[\"redis skipped in compute health\",\"redis: broken\",\"storage: broken\"],\
         \"services\":{\"auth\":true,\"database\":true,\"redis\":false,\"storage\":false},\
         \"services_expanded\":{\"auth\":{\"age_seconds\":2,\"status\":true},\"database\":{\"age_seconds\":2,\"status\":true},\
         \"redis\":{\"age_seconds\":2,\"failure\":\"broken\",\"status\":false},\
         \"storage\":{\"age_seconds\":2,\"failure\":\"broken\",\"status\":false}}},\"status_code\":503}\n"
    );
}

#[derive(Debug)]
struct Says(&'static str);

#[async_trait::async_trait]
impl Probe for Says {
    async fn probe(&self) -> Result<Option<String>, String> {
        Ok(Some(self.0.to_owned()))
    }
}

#[tokio::test]
async fn the_schema_is_compared_where_that_is_switched_on() {
    let health = World::default().asked(&clock()).await;
    assert_eq!(health.check_revision(), None);
    for (local, status) in [("abc", 200), ("abd", 400)] {
        let services = HealthServices {
            revision: Some(Arc::new(Says("abc"))),
            ..World::default().services()
        };
        let options = HealthOptions {
            local_revision: local.to_owned(),
            ..HealthOptions::default()
        };
        let health = Health::new(services, options, clock());
        health.ask_all().await;
        let report = health.check_revision().expect("it is switched on");
        assert_eq!(report.status().as_u16(), status);
        assert_eq!(
            report.body(),
            format!(
                "{{\"data\":{{\"db_revision\":\"abc\",\"local_revision\":\"{local}\"}},\"status_code\":{status}}}\n"
            )
        );
    }
}
