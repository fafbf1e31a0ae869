//! Health checks: which services an answer covers, and what it says. Bodies and paths are Quay's, so that balancers and monitors keep working.
//!
//! - `/health`, `/health/instance`: this process and what it needs by itself.
//! - `/health/endtoend`, `/status`: whether this region can serve.
//! - `/health/ready/pull`, `/health/ready/push`: whether it can take pulls and pushes, each by itself. Ours alone.
//! - `/health/warning`: what will need an operator soon.
//! - `/health/dbrevision`: whether the schema is the one that this program knows, where that is switched on.
//! - `/health/locations`: how every storage location fares; see [`locations`].
//!
//! Every service is asked in the background ([`Health::keep_probed`]), by itself and again and again, so that an answer is what is known already:
//! nothing that hangs is waited for. What was not asked for long counts as failed. Redis is told of and decides nothing: it holds hints only.

mod answer;
pub(crate) mod locations;
mod metrics;
mod report;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use roadstead_runtime::{Clock, Shutdown};

pub(crate) use self::answer::{answer, answer_revision};
pub use self::report::{HealthReport, RevisionReport};
use self::watched::Watched;
use crate::route::HealthRoute;

/// Asks one service whether it works.
#[async_trait::async_trait]
pub trait Probe: std::fmt::Debug + Send + Sync {
    /// Whether the service works, with a remark for superusers if there is one, or what is wrong with it in words for them and for the log. It is
    /// never called twice at a time.
    ///
    /// It has to come to an end by itself within some seconds: when it takes longer than [`HealthOptions::deadline`], the service counts as
    /// failed until it has. It may be dropped.
    async fn probe(&self) -> Result<Option<String>, String>;
}

/// What is asked. The services' names in answers are Quay's where it has them.
#[derive(Clone, Debug)]
pub struct HealthServices {
    /// `database`: the shared database can be read.
    pub database: Arc<dyn Probe>,
    /// `database` of pushes: it takes writes.
    pub database_writes: Arc<dyn Probe>,
    /// `auth`: whatever checks passwords.
    pub auth: Arc<dyn Probe>,
    /// `rights`: whether those who pull can be let in, also by what the database said lately.
    pub rights: Arc<dyn Probe>,
    /// `service_key`: the key that this instance signs tokens with is still approved.
    pub service_key: Arc<dyn Probe>,
    /// `disk_space`: there is room on the disks that this instance writes to.
    pub disk_space: Arc<dyn Probe>,
    /// `disk_space_warning`: there is plenty of it.
    pub disk_space_warning: Arc<dyn Probe>,
    /// `redis`, where one is configured.
    pub redis: Option<Arc<dyn Probe>>,
    /// `storage`: this region can serve.
    pub storage: Arc<dyn Probe>,
    /// `preferred_storage` of the instance check, where it is asked for.
    pub preferred_storage: Option<Arc<dyn Probe>>,
    /// `storage_read`: some location can be read.
    pub storage_read: Arc<dyn Probe>,
    /// `storage_write`: some location takes bytes.
    pub storage_write: Arc<dyn Probe>,
    /// `pushes`: this registry is meant to take them.
    pub pushes: Arc<dyn Probe>,
    /// `site`: no operator has taken this region out. In answers only when one has.
    pub site: Arc<dyn Probe>,
    /// What `/health/dbrevision` says, by remark; none: there is no such check.
    pub revision: Option<Arc<dyn Probe>>,
}

/// How health checks are made.
#[derive(Clone, Debug)]
pub struct HealthOptions {
    /// How long it is from an answer of a service to the next question. Default 3 s: a balancer learns within seconds.
    pub interval: Duration,
    /// How long a service may take before it counts as failed. Default 2 s.
    pub deadline: Duration,
    /// The services that the instance check leaves out. Default `redis` and `storage`, as in Quay.
    pub instance_skips: Vec<String>,
    /// The schema that this program knows, for `/health/dbrevision`.
    pub local_revision: String,
    /// What superusers are told besides.
    pub details: HealthDetails,
}

/// What superusers are told of an instance besides its services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthDetails {
    /// `TESTING`.
    pub is_testing: bool,
    /// Where the configuration is from.
    pub config_provider: String,
    /// The name of the machine or container.
    pub hostname: String,
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3),
            deadline: Duration::from_secs(2),
            instance_skips: vec!["redis".to_owned(), "storage".to_owned()],
            local_revision: String::new(),
            details: HealthDetails::default(),
        }
    }
}

impl HealthOptions {
    /// After how long an answer says nothing any more: three questions have been missed.
    fn stale_after(&self) -> Duration {
        self.interval * 3
    }
}

/// Answers health checks.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    options: HealthOptions,
    instance: Vec<Service>,
    end_to_end: Vec<Service>,
    warning: Vec<Service>,
    pull: Vec<Service>,
    push: Vec<Service>,
    revision: Option<Arc<Watched>>,
    all: Vec<Arc<Watched>>,
    /// Whether this process is about to end.
    ending: AtomicBool,
}

#[derive(Clone, Debug)]
struct Service {
    name: &'static str,
    watched: Arc<Watched>,
    part: Part,
}

/// What a service does in a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Decides,
    /// It is told of, and nothing else.
    Told,
    /// It decides, and is told of only when it fails: Quay knows no such service.
    DecidesWhenItFails,
}

impl Health {
    /// Checks of these services. Asks none of them yet: see [`Health::keep_probed`].
    #[must_use]
    pub fn new(services: HealthServices, options: HealthOptions, clock: Arc<dyn Clock>) -> Self {
        let mut all = Vec::new();
        let mut service = |name: &'static str, probe: Arc<dyn Probe>, part: Part| {
            let watched = Arc::new(Watched::new(name, probe));
            all.push(Arc::clone(&watched));
            Service {
                name,
                watched,
                part,
            }
        };
        let database = service("database", services.database, Part::Decides);
        let auth = service("auth", services.auth, Part::Decides);
        let storage = service("storage", services.storage, Part::Decides);
        let site = service("site", services.site, Part::DecidesWhenItFails);
        let redis = services
            .redis
            .map(|redis| service("redis", redis, Part::Told));
        let preferred = services
            .preferred_storage
            .map(|preferred| service("preferred_storage", preferred, Part::Decides));
        let key = service("service_key", services.service_key, Part::Decides);
        let disk = service("disk_space", services.disk_space, Part::Decides);
        let warning = service(
            "disk_space_warning",
            services.disk_space_warning,
            Part::Decides,
        );
        let rights = service("rights", services.rights, Part::Decides);
        let read = service("storage_read", services.storage_read, Part::Decides);
        let write = service("storage_write", services.storage_write, Part::Decides);
        let writes = service("database", services.database_writes, Part::Decides);
        let pushes = service("pushes", services.pushes, Part::Decides);
        let revision = services
            .revision
            .map(|revision| service("dbrevision", revision, Part::Decides).watched);
        let instance = [database.clone(), auth.clone(), storage.clone(), key, disk]
            .into_iter()
            .chain(redis.clone())
            .filter(|service| {
                !options
                    .instance_skips
                    .iter()
                    .any(|skip| skip == service.name)
            })
            .chain(preferred)
            .collect();
        Self {
            instance,
            end_to_end: [database, auth, storage, site.clone()]
                .into_iter()
                .chain(redis)
                .collect(),
            warning: vec![warning],
            pull: vec![read, rights],
            push: vec![writes, write, pushes, site],
            revision,
            all,
            ending: AtomicBool::new(false),
            clock,
            options,
        }
    }

    /// Asks every service, each by itself, until the shutdown.
    pub async fn keep_probed(&self, shutdown: &Shutdown) {
        let asking = self
            .all
            .iter()
            .map(|watched| watched.keep_asking(&*self.clock, &self.options, shutdown));
        join_all(asking).await;
    }

    /// Asks every service once.
    #[cfg(test)]
    pub(crate) async fn ask_all(&self) {
        let asking = self
            .all
            .iter()
            .map(|watched| watched.ask(&*self.clock, self.options.deadline));
        join_all(asking).await;
    }

    /// What is known of the services that the check covers. Nobody is asked.
    pub fn check(&self, route: HealthRoute) -> HealthReport {
        let services = match route {
            HealthRoute::Instance => &self.instance,
            HealthRoute::EndToEnd => &self.end_to_end,
            HealthRoute::Warning => &self.warning,
            HealthRoute::ReadyToPull => &self.pull,
            HealthRoute::ReadyToPush => &self.push,
        };
        let mut report = HealthReport::default();
        if route == HealthRoute::Instance {
            // Quay's two processes. That this code runs is what they would answer.
            report.insert_fact("registry_gunicorn", Ok(()));
            report.insert_fact("web_gunicorn", Ok(()));
        }
        let (now, stale_after) = (self.clock.now(), self.options.stale_after());
        for service in services {
            let known = service.watched.known(now, stale_after);
            // A region is taken out by a word, not by not knowing.
            if service.part == Part::DecidesWhenItFails
                && (known.outcome.is_ok() || known.age.is_none_or(|age| age > stale_after))
            {
                continue;
            }
            report.insert(service.name, known, service.part != Part::Told);
        }
        if route != HealthRoute::Warning && self.ending.load(Ordering::Acquire) {
            report.insert_fact("serving", Err("this process is ending".into()));
        }
        report
    }

    /// Whether it is known of a service of the end-to-end check that it fails; none where there is no such service, or it was not asked lately.
    fn end_to_end_fails(&self, name: &str) -> Option<bool> {
        let service = self
            .end_to_end
            .iter()
            .find(|service| service.name == name)?;
        let (now, stale_after) = (self.clock.now(), self.options.stale_after());
        let known = service.watched.known(now, stale_after);
        let asked_lately = known.age.is_some_and(|age| age <= stale_after);
        asked_lately.then(|| known.outcome.is_err())
    }

    /// What is known of the database's schema; none where that is not to be asked.
    pub fn check_revision(&self) -> Option<RevisionReport> {
        let watched = self.revision.as_ref()?;
        let known = watched.known(self.clock.now(), self.options.stale_after());
        Some(RevisionReport {
            db_revision: known.outcome.ok().flatten().map(|text| text.to_string()),
            local_revision: self.options.local_revision.clone(),
        })
    }

    /// Says from now on that this process is not to be sent anything, whatever is asked: it is about to end. What comes all the same is served.
    pub fn drain(&self) {
        self.ending.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
