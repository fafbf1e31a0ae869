//! What counts of a configuration that changes under a running server.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use roadstead_api::Probe as _;
use roadstead_distribution::Writes;
use roadstead_runtime::{ManualClock, Tasks};

use super::*;
use crate::probes::PushesAreMeant;
use crate::{Running, Settings};

fn write(directory: &Path, lines: &str) {
    let yaml = format!(
        "SERVER_HOSTNAME: registry.example.org\nDB_URI: sqlite:///DIR/registry.db\n\
         DISTRIBUTED_STORAGE_CONFIG: {{us: [LocalStorage, {{storage_path: DIR/us}}]}}\n{lines}\n"
    );
    let yaml = yaml.replace("DIR", directory.to_str().unwrap());
    fs::write(directory.join("config.yaml"), yaml).unwrap();
}

fn origin(directory: &Path) -> Origin {
    let source = Source::Directory(directory.to_owned());
    let variables = Variables::empty();
    let raw = roadstead_config::load(&source, &variables)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .raw;
    Origin {
        source,
        variables,
        raw,
    }
}

async fn started(origin: &Origin) -> Running {
    let config = roadstead_config::load(&origin.source, &origin.variables)
        .unwrap()
        .config;
    let settings = Settings::new(config, (Ipv4Addr::LOCALHOST, 0).into());
    Running::start(settings).await.unwrap()
}

fn live(running: &Running) -> Live {
    Live {
        superusers: Names::from(["alice"]),
        readonly_superusers: Names::default(),
        registry: running.registry.clone(),
    }
}

#[tokio::test]
async fn what_may_change_counts_at_once_and_what_may_not_or_cannot_be_used_does_not() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "SUPER_USERS: [alice]");
    let origin = origin(directory.path());
    let running = started(&origin).await;
    let live = live(&running);
    let mut reloading = Reloading::new(origin, live.clone());
    let in_effect = reloading.in_effect();
    let pushes = PushesAreMeant(running.registry.clone());
    assert!(pushes.probe().await.is_ok());

    write(
        directory.path(),
        "SUPER_USERS: [bob]\nGLOBAL_READONLY_SUPER_USERS: [carol]\nDISABLE_PUSHES: true\nV2_PAGINATION_SIZE: 70",
    );
    reloading.read(true).await;
    assert!(live.superusers.contains("bob") && !live.superusers.contains("alice"));
    assert!(live.readonly_superusers.contains("carol"));
    assert_eq!(running.registry.writes(), Writes::PushesDisabled);
    assert!(
        pushes.probe().await.is_err(),
        "balancers send pushes elsewhere"
    );
    let counts = in_effect.borrow().clone();
    assert_eq!(counts.get("DISABLE_PUSHES"), Some(&true.into()));
    assert_eq!(counts.get("V2_PAGINATION_SIZE"), None, "it needs a restart");

    write(
        directory.path(),
        "SUPER_USERS: mallory\nDISABLE_PUSHES: false",
    );
    reloading.read(true).await;
    assert!(live.superusers.contains("bob"), "nothing of it counts");
    assert_eq!(running.registry.writes(), Writes::PushesDisabled);
    fs::write(
        directory.path().join("config.yaml"),
        "SUPER_USERS: [mallory",
    )
    .unwrap();
    reloading.read(true).await;
    fs::remove_file(directory.path().join("config.yaml")).unwrap();
    reloading.read(true).await;
    assert!(live.superusers.contains("bob"));

    write(
        directory.path(),
        "SUPER_USERS: [bob]\nFEATURE_SUPER_USERS: false",
    );
    reloading.read(true).await;
    assert!(!live.superusers.contains("bob"));
    assert_eq!(running.registry.writes(), Writes::Taken);
    assert!(running.stop().await);
}

/// A configuration that is looked at.
struct Watch {
    clock: Arc<ManualClock>,
    asked: Arc<Notify>,
    in_effect: watch::Receiver<RawKeys>,
    tasks: Tasks,
}

impl Watch {
    fn begin(reloading: Reloading) -> Self {
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let (asked, tasks) = (Arc::new(Notify::new()), Tasks::new());
        let in_effect = reloading.in_effect();
        tasks.spawn({
            let (asked, clock) = (Arc::clone(&asked), Arc::clone(&clock));
            let shutdown = tasks.shutdown();
            async move {
                reloading.keep_current(asked, &*clock, &shutdown).await;
            }
        });
        Self {
            clock,
            asked,
            in_effect,
            tasks,
        }
    }

    /// Until the file was read again without being asked for.
    async fn wait(&mut self) {
        while !self.in_effect.has_changed().unwrap() {
            self.clock.advance(EVERY);
            tokio::task::yield_now().await;
        }
        self.in_effect.mark_unchanged();
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_without_being_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "");
    let origin = origin(directory.path());
    let running = started(&origin).await;
    let live = live(&running);
    let mut watch = Watch::begin(Reloading::new(origin, live.clone()));
    watch.wait().await;
    write(directory.path(), "SUPER_USERS: [bob]");
    watch.wait().await;
    assert!(live.superusers.contains("bob"));
    watch.asked.notify_one();
    watch.in_effect.changed().await.unwrap();
    assert!(watch.tasks.stop(Duration::from_secs(10)).await && running.stop().await);
}

#[tokio::test]
async fn a_file_that_changed_during_the_start_counts_from_the_first_look_on() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "SUPER_USERS: [alice]");
    let origin = origin(directory.path());
    let running = started(&origin).await;
    let live = live(&running);
    write(directory.path(), "SUPER_USERS: [bob]");
    let mut watch = Watch::begin(Reloading::new(origin, live.clone()));
    watch.wait().await;
    assert!(live.superusers.contains("bob") && !live.superusers.contains("alice"));
    assert!(watch.tasks.stop(Duration::from_secs(10)).await && running.stop().await);
}
