//! Health checks: which services an answer covers, and what it says. Bodies and paths are Quay's, so that balancers and monitors keep working.
//!
//! - `/health`, `/health/instance`: this process and what it needs by itself.
//! - `/health/endtoend`, `/status`: the services shared by all regions, and this region's preferred storage. Storage at other
//!   locations is asked too; its failure is logged and does not drain this region.
//! - `/health/warning`: what will need an operator soon.
//! - `/health/locations`: how every storage location fares; see [`locations`].
//!
//! All services are asked at once, and the answer is there within [`HealthOptions::deadline`] whatever hangs: a service that has
//! not answered by then counts as failed. Answers are kept for [`HealthOptions::fresh`], so that probes by many balancers do not
//! add up, and a probe that is still running is waited for instead of started again.

pub(crate) mod locations;
mod watched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use http::StatusCode;
use roadstead_runtime::Clock;
use serde::Serialize;

use self::watched::Watched;
use crate::route::HealthRoute;

/// Asks one service whether it works.
#[async_trait::async_trait]
pub trait Probe: std::fmt::Debug + Send + Sync {
    /// Whether the service works, or what is wrong with it in words for the log. It is called seldom and never twice at a time.
    ///
    /// It has to come to an end by itself within some seconds: while it runs, the service counts as failed. It may be dropped.
    async fn probe(&self) -> Result<(), String>;
}

/// Storage at one location, as the end-to-end check sees it.
#[derive(Clone, Debug)]
pub struct StorageProbe {
    /// The location's name, for the log.
    pub location: String,
    /// Whether this region cannot do without it. In Quay: whether the preference lists it, or lists nothing.
    pub preferred: bool,
    /// Asks it.
    pub probe: Arc<dyn Probe>,
}

/// What is asked. The services' names in answers are Quay's.
#[derive(Clone, Debug)]
pub struct HealthServices {
    /// `database`: the shared database.
    pub database: Arc<dyn Probe>,
    /// `auth`: whatever checks passwords.
    pub auth: Arc<dyn Probe>,
    /// `service_key`: the key that this instance signs tokens with is still approved.
    pub service_key: Arc<dyn Probe>,
    /// `disk_space`: there is room on the disks that this instance writes to.
    pub disk_space: Arc<dyn Probe>,
    /// `disk_space_warning`: there is plenty of it.
    pub disk_space_warning: Arc<dyn Probe>,
    /// `redis`, where one is configured.
    pub redis: Option<Arc<dyn Probe>>,
    /// `storage`: every location that is configured.
    pub storage: Vec<StorageProbe>,
}

/// How long health checks take.
#[derive(Clone, Copy, Debug)]
pub struct HealthOptions {
    /// The longest that an answer takes. Default 1 s: balancers commonly give up after 2 s or more.
    pub deadline: Duration,
    /// How long the answer of a service is used again. Default 5 s, half of the usual interval between a balancer's checks.
    pub fresh: Duration,
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(1),
            fresh: Duration::from_secs(5),
        }
    }
}

/// Answers health checks.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    options: HealthOptions,
    instance: Vec<Service>,
    global: Vec<Service>,
    warning: Vec<Service>,
}

#[derive(Clone, Debug)]
struct Service {
    name: &'static str,
    preferred: bool,
    probe: Arc<Watched>,
}

/// The answer to one health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    services: BTreeMap<&'static str, bool>,
}

impl Health {
    /// Checks of these services. Asks none of them yet.
    #[must_use]
    pub fn new(services: HealthServices, options: HealthOptions, clock: Arc<dyn Clock>) -> Self {
        let service = |name: &'static str, probe: Arc<dyn Probe>| Service {
            name,
            preferred: true,
            probe: Arc::new(Watched::new(name.to_owned(), probe)),
        };
        let (database, auth) = (
            service("database", services.database),
            service("auth", services.auth),
        );
        let storage = services.storage.into_iter().map(|storage| Service {
            name: "storage",
            preferred: storage.preferred,
            probe: Arc::new(Watched::new(
                format!("storage at location {}", storage.location),
                storage.probe,
            )),
        });
        Self {
            clock,
            options,
            instance: vec![
                service("service_key", services.service_key),
                service("disk_space", services.disk_space),
                database.clone(),
                auth.clone(),
            ],
            global: [database, auth]
                .into_iter()
                .chain(services.redis.map(|redis| service("redis", redis)))
                .chain(storage)
                .collect(),
            warning: vec![service("disk_space_warning", services.disk_space_warning)],
        }
    }

    /// Asks the services that the check covers. Returns within [`HealthOptions::deadline`]. A dropped future leaves probes
    /// unfinished, which the next check goes on with.
    pub async fn check(&self, route: HealthRoute) -> HealthReport {
        let services = match route {
            HealthRoute::Instance => &self.instance,
            HealthRoute::EndToEnd => &self.global,
            HealthRoute::Warning => &self.warning,
        };
        let answers = join_all(services.iter().map(|service| self.ask(service))).await;
        let mut report = BTreeMap::new();
        if route == HealthRoute::Instance {
            // Quay's two processes. That this code runs is what they would answer.
            report.extend([("registry_gunicorn", true), ("web_gunicorn", true)]);
        }
        for (service, works) in services.iter().zip(answers) {
            *report.entry(service.name).or_insert(true) &= works || !service.preferred;
        }
        HealthReport { services: report }
    }

    async fn ask(&self, service: &Service) -> bool {
        let answer = std::pin::pin!(service.probe.ask(&*self.clock, self.options.fresh));
        match select(answer, self.clock.sleep(self.options.deadline)).await {
            Either::Left((works, _)) => works,
            Either::Right(((), _)) => {
                tracing::warn!(
                    service = service.probe.name(),
                    "A service did not answer a health check in time"
                );
                false
            }
        }
    }
}

impl HealthReport {
    /// Whether every service works.
    pub fn healthy(&self) -> bool {
        self.services.values().all(|works| *works)
    }

    /// 200 or 503.
    pub fn status(&self) -> StatusCode {
        if self.healthy() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// The body, as Quay writes it: JSON without spaces and with sorted keys, and a line feed.
    #[expect(
        clippy::missing_panics_doc,
        reason = "text and truth values can always be written"
    )]
    pub fn body(&self) -> Bytes {
        #[derive(Serialize)]
        struct Report<'a> {
            data: Data<'a>,
            status_code: u16,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            services: &'a BTreeMap<&'static str, bool>,
        }
        let report = Report {
            data: Data {
                services: &self.services,
            },
            status_code: self.status().as_u16(),
        };
        let mut body = serde_json::to_vec(&report).expect("names and truth values can be written");
        body.push(b'\n');
        body.into()
    }
}

#[cfg(test)]
mod tests;
