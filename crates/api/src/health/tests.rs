//! Health checks with services that fail and hang when told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use roadstead_runtime::{ManualClock, Timestamp};

use super::*;

/// Works, fails or hangs, and counts how often it was asked.
#[derive(Debug, Default)]
struct Switch {
    broken: AtomicBool,
    hangs: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl Probe for Switch {
    async fn probe(&self) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.broken.load(Ordering::SeqCst) {
            Err("broken".to_owned())
        } else {
            Ok(())
        }
    }
}

#[derive(Default)]
struct World {
    database: Arc<Switch>,
    auth: Arc<Switch>,
    service_key: Arc<Switch>,
    disk_space: Arc<Switch>,
    disk_space_warning: Arc<Switch>,
    near: Arc<Switch>,
    far: Arc<Switch>,
}

impl World {
    fn health(&self, clock: &Arc<ManualClock>) -> Health {
        let services = HealthServices {
            database: self.database.clone(),
            auth: self.auth.clone(),
            service_key: self.service_key.clone(),
            disk_space: self.disk_space.clone(),
            disk_space_warning: self.disk_space_warning.clone(),
            redis: None,
            storage: vec![
                StorageProbe {
                    location: "near".to_owned(),
                    preferred: true,
                    probe: self.near.clone(),
                },
                StorageProbe {
                    location: "far".to_owned(),
                    preferred: false,
                    probe: self.far.clone(),
                },
            ],
        };
        Health::new(services, HealthOptions::default(), clock.clone())
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH))
}

async fn body(health: &Health, route: HealthRoute) -> String {
    String::from_utf8(health.check(route).await.body().to_vec()).expect("JSON is UTF-8")
}

#[tokio::test]
async fn healthy_answers_have_the_bytes_of_quay() {
    let health = World::default().health(&clock());
    for (route, expected) in [
        (
            HealthRoute::Instance,
            "{\"data\":{\"services\":{\"auth\":true,\"database\":true,\"disk_space\":true,\"registry_gunicorn\":true,\
             \"service_key\":true,\"web_gunicorn\":true}},\"status_code\":200}\n",
        ),
        (
            HealthRoute::EndToEnd,
            "{\"data\":{\"services\":{\"auth\":true,\"database\":true,\"storage\":true}},\"status_code\":200}\n",
        ),
        (
            HealthRoute::Warning,
            "{\"data\":{\"services\":{\"disk_space_warning\":true}},\"status_code\":200}\n",
        ),
    ] {
        assert_eq!(body(&health, route).await, expected);
    }
}

#[tokio::test]
async fn each_check_fails_for_its_own_services_only() {
    use HealthRoute::{EndToEnd, Instance, Warning};
    type Pick = fn(&World) -> &Arc<Switch>;
    let cases: [(Pick, &[HealthRoute]); 7] = [
        (|world| &world.database, &[Instance, EndToEnd]),
        (|world| &world.auth, &[Instance, EndToEnd]),
        (|world| &world.service_key, &[Instance]),
        (|world| &world.disk_space, &[Instance]),
        (|world| &world.disk_space_warning, &[Warning]),
        (|world| &world.near, &[EndToEnd]),
        (|world| &world.far, &[]),
    ];
    for (number, (pick, failing)) in cases.into_iter().enumerate() {
        let world = World::default();
        pick(&world).broken.store(true, Ordering::SeqCst);
        let health = world.health(&clock());
        for route in [Instance, EndToEnd, Warning] {
            let report = health.check(route).await;
            assert_eq!(
                !report.healthy(),
                failing.contains(&route),
                "case {number}, {route:?}: {report:?}"
            );
            let text = String::from_utf8(report.body().to_vec()).expect("JSON is UTF-8");
            assert!(
                text.contains(&format!("\"status_code\":{}}}", report.status().as_u16())),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_check_is_answered_by_its_deadline_whatever_hangs_and_a_hanging_probe_is_not_started_again()
 {
    let world = World::default();
    world.near.hangs.store(true, Ordering::SeqCst);
    world.far.hangs.store(true, Ordering::SeqCst);
    world.database.hangs.store(true, Ordering::SeqCst);
    let clock = clock();
    let health = world.health(&clock);
    for _ in 0..3 {
        // The check is polled first and waits; then its deadline comes.
        let (report, ()) = tokio::join!(biased; health.check(HealthRoute::EndToEnd), async {
            clock.advance(HealthOptions::default().deadline);
        });
        assert_eq!(
            String::from_utf8(report.body().to_vec()).expect("JSON is UTF-8"),
            "{\"data\":{\"services\":{\"auth\":true,\"database\":false,\"storage\":false}},\"status_code\":503}\n"
        );
    }
    assert_eq!(world.near.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_is_used_again_while_it_is_fresh() {
    let world = World::default();
    let clock = clock();
    let health = world.health(&clock);
    let fresh = HealthOptions::default().fresh;
    assert!(health.check(HealthRoute::EndToEnd).await.healthy());
    world.near.broken.store(true, Ordering::SeqCst);
    clock.advance(
        fresh
            .checked_sub(Duration::from_millis(1))
            .expect("some time"),
    );
    assert!(health.check(HealthRoute::EndToEnd).await.healthy());
    assert_eq!(world.near.asked.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_millis(1));
    assert!(!health.check(HealthRoute::EndToEnd).await.healthy());
    assert_eq!(world.near.asked.load(Ordering::SeqCst), 2);
}
