//! A running server: what is started, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roadstead_api::{ActivityListener, Health, RegistryService, ServiceParts};
use roadstead_auth::{Authenticator, SigningKeyOptions, SigningKeys};
use roadstead_config::{Config, RawKeys, UrlScheme};
use roadstead_distribution::{GarbageCollector, Registry, RegistryParts};
use roadstead_listener::Certificates;
use roadstead_locations::ProbeOptions;
use roadstead_management::Management;
use roadstead_queue::{Carrier, Relay, Worker, WorkerOptions};
use roadstead_replication::{Replication, ScrubOptions};
use roadstead_runtime::{Environment, Shutdown, Tasks};
use roadstead_telemetry::Exporter;
use roadstead_webhooks::Webhooks;
use tokio::sync::{Notify, watch};

use crate::deployment::{Deployment, Migrations, OpenLocal};
use crate::drift::{Comparison, ConfigurationDrift};
use crate::encrypted_fields;
use crate::error::StartError;
use crate::first_start::{FirstAccount, make_first_account};
use crate::front_door::{Addresses, Ports, load_certificates};
use crate::hints::{Hearers, Hints, HintsParts, RedisWorks};
use crate::instance;
use crate::management::management_options;
use crate::metrics::{MetricsListener, Serving, Told, spawn_metrics, told};
use crate::options::{api_options, auth_options, distribution_options};
use crate::probes;
use crate::reload::{Live, Origin, Reloading};

/// How often uploads that were given up are looked for: Quay's `BLOBUPLOAD_CLEANUP_FREQUENCY`.
const UPLOAD_CLEAN_UP_INTERVAL: Duration = Duration::from_hours(1);

/// How long background work may take to end after the requests in flight, of which uploads that were cut off are the last.
const STOP: Duration = Duration::from_secs(10);

/// How long the database may take to note the last pulls.
const LAST_NOTES: Duration = Duration::from_secs(5);

/// How to run a server.
#[derive(Clone)]
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// Where it came from, so that the running processes compare it and a change of it is taken; none: this one does neither.
    pub origin: Option<Origin>,
    /// Where to listen for HTTP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to listen for HTTPS, if the configuration has a certificate. Default: port 8443 of the same address.
    pub listen_tls: Option<SocketAddr>,
    /// Where to listen for HTTPS behind the PROXY protocol, if it has one. Default: port 7443 of the same address with
    /// `FEATURE_PROXY_PROTOCOL`, else nowhere.
    pub listen_tls_proxy: Option<SocketAddr>,
    /// Where to tell Prometheus how this process fares; none: nowhere.
    pub listen_for_metrics: Option<SocketAddr>,
    /// Whether to copy blobs between locations in this process, when the configuration has replication switched on.
    pub replicate: bool,
    /// What to do about a database whose schema is not this program's.
    pub migrations: Migrations,
    /// Time, ids, chance.
    pub environment: Environment,
    /// How locations are made; none: as the configuration says. Tests put faults in here.
    pub open_local: Option<OpenLocal>,
    /// Where else metrics are sent. Whoever made it ends it, after the server.
    pub exporter: Option<Exporter>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("listen", &self.listen)
            .field("listen_tls", &self.listen_tls)
            .field("listen_tls_proxy", &self.listen_tls_proxy)
            .field("listen_for_metrics", &self.listen_for_metrics)
            .field("replicate", &self.replicate)
            .field("migrations", &self.migrations)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// A server of this configuration on this address, replicating, bringing the schema up to date, on the machine's clock.
    pub fn new(config: Config, listen: SocketAddr) -> Self {
        Self {
            config,
            origin: None,
            listen,
            listen_tls: None,
            listen_tls_proxy: None,
            listen_for_metrics: None,
            replicate: true,
            migrations: Migrations::default(),
            environment: Environment::system(),
            open_local: None,
            exporter: None,
        }
    }
}

/// A server that runs. Dropping it leaves its tasks running; end it with [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    /// Where it listens for HTTP.
    pub address: SocketAddr,
    /// Where it listens for HTTPS, if it does.
    pub tls_address: Option<SocketAddr>,
    /// Where it listens for HTTPS behind the PROXY protocol, if it does.
    pub tls_proxy_address: Option<SocketAddr>,
    /// The certificate that it serves, if it has one.
    pub certificates: Option<Certificates>,
    /// Where it tells metrics, if it does.
    pub metrics_address: Option<SocketAddr>,
    /// What it stands on.
    pub deployment: Deployment,
    /// What copies, compares and forgets on it.
    pub replication: Replication,
    /// What collects its garbage. It does so by itself, and whenever it is told to.
    pub garbage: GarbageCollector,
    /// In what the running processes differ that should not.
    pub drift: ConfigurationDrift,
    /// The account that this start made.
    pub first_account: Option<FirstAccount>,
    reload: Arc<Notify>,
    health: Arc<Health>,
    pub(crate) registry: Registry,
    tasks: Tasks,
    /// How long requests in flight may take to end.
    drain: Duration,
}

impl Running {
    /// Starts a server: when this returns, it answers.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        // What a start makes on its way is too much for the future of every caller.
        Box::pin(Self::begin(settings)).await
    }

    async fn begin(settings: Settings) -> Result<Self, StartError> {
        let Settings {
            config,
            origin,
            listen,
            listen_tls,
            listen_tls_proxy,
            listen_for_metrics,
            replicate,
            migrations,
            environment,
            open_local,
            exporter,
        } = settings;
        // First of all: a port that is taken must not leave a half-made data directory behind.
        let wanted = Addresses {
            http: listen,
            tls: listen_tls,
            tls_proxy: listen_tls_proxy,
        };
        let ports = Ports::bind(&config.hosting, wanted)?;
        let addresses = ports.addresses();
        let address = addresses.http;
        let certificates = load_certificates(&config.hosting, &environment.clock).await?;
        let metrics = match listen_for_metrics {
            Some(address) => Some(MetricsListener::bind(address)?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(MetricsListener::address);
        let deployment = match open_local {
            Some(open_local) => {
                Deployment::open_with(&config, migrations, environment.clone(), open_local).await?
            }
            None => Deployment::open(&config, migrations, environment.clone()).await?,
        };

        let tasks = Tasks::new();
        let auth_options = auth_options(&config, &deployment)?;
        let (superusers, readonly_superusers) = (
            auth_options.superusers.clone(),
            auth_options.readonly_superusers.clone(),
        );
        let keys = SigningKeys::new(
            deployment.database.clone(),
            environment.clone(),
            tasks.clone(),
            SigningKeyOptions {
                service: config.accounts.token_service.clone(),
                name: address_for_people(&config, address),
            },
        );
        let authenticator = Authenticator::new(
            deployment.database.clone(),
            environment.clone(),
            tasks.clone(),
            keys.clone(),
            auth_options,
        );
        encrypted_fields::check(&authenticator).await?;
        // Where the first account is made over HTTP, it is not made here.
        let first_account = if config.management.user_initialize {
            None
        } else {
            make_first_account(
                &authenticator,
                environment.ids.as_ref(),
                &deployment.data_directory,
            )
            .await?
        };

        let registry = Registry::new(RegistryParts {
            database: deployment.database.clone(),
            locations: deployment.locations.clone(),
            topology: Arc::clone(&deployment.topology),
            environment: environment.clone(),
            tasks: tasks.clone(),
            options: distribution_options(&config, &deployment),
        });
        let redis = RedisWorks::of(&config, &deployment.trust, &environment);
        let health = Arc::new(probes::health(&config, &deployment, &keys, redis).await?);
        let hints = Hints::of(&config, &deployment.trust, &environment);
        let replication = deployment.replication(&config);
        let webhooks = deployment.webhooks()?;
        let service = RegistryService::new(ServiceParts {
            registry: registry.clone(),
            replication: replication.clone(),
            webhooks: webhooks.clone(),
            management: Management::new(
                deployment.database.clone(),
                authenticator.clone(),
                environment.clone(),
            )
            .with_options(management_options(&config)),
            authenticator: authenticator.clone(),
            health: Arc::clone(&health),
            environment: environment.clone(),
            tasks: tasks.clone(),
            wake_up: deployment.wake_up.clone(),
            listener: hints
                .as_ref()
                .map(|hints| Arc::new(hints.hints()) as Arc<dyn ActivityListener>),
            options: api_options(&config, &deployment)?,
        });

        let shutdown = tasks.shutdown();
        tasks.spawn({
            let shutdown = shutdown.clone();
            async move { keys.keep_fresh(shutdown).await }
        });
        tasks.spawn({
            let (registry, shutdown) = (registry.clone(), shutdown.clone());
            async move { registry.keep_books(&shutdown).await }
        });
        tasks.spawn(clean_up_uploads(
            registry.clone(),
            environment.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(keep_probed(&deployment, &tasks));
        let drift = ConfigurationDrift::default();
        let reload = Arc::new(Notify::new());
        let mut comparison = None;
        if let Some(origin) = origin {
            let live = Live {
                superusers,
                readonly_superusers,
                registry: registry.clone(),
            };
            let reloading = Reloading::new(origin, live);
            comparison = Some(Comparison::new(reloading.in_effect(), drift.clone()));
            let (asked, clock) = (Arc::clone(&reload), Arc::clone(&environment.clock));
            let shutdown = shutdown.clone();
            tasks.spawn(async move {
                reloading
                    .keep_current(asked, clock.as_ref(), &shutdown)
                    .await;
            });
        }
        tasks.spawn({
            let (health, shutdown) = (Arc::clone(&health), shutdown.clone());
            async move { health.keep_probed(&shutdown).await }
        });
        tasks.spawn({
            let (deployment, replication) = (deployment.clone(), replication.clone());
            let shutdown = shutdown.clone();
            let name = format!(
                "{} {}",
                address_for_people(&config, address),
                environment.ids.uuid()
            );
            async move {
                instance::keep_telling(&deployment, &replication, comparison, name, &shutdown)
                    .await;
            }
        });
        let garbage = deployment.garbage(&config);
        tasks.spawn({
            let (garbage, shutdown) = (garbage.clone(), shutdown.clone());
            async move { garbage.keep_collecting(&shutdown).await }
        });
        let told = Told {
            serving: Some(Serving {
                service: service.clone(),
                registry: registry.clone(),
                authenticator: authenticator.clone(),
                garbage: garbage.clone(),
                health: Arc::clone(&health),
                certificates: certificates.clone(),
                drift: drift.clone(),
            }),
            ..told(&deployment, &replication, &webhooks)
        };
        if replicate {
            spawn_replicator(&config, &deployment, &replication, webhooks, &tasks);
        }
        tasks.spawn(relay(&deployment, hints.as_ref(), replicate, &tasks));
        if let Some(hints) = hints {
            let hearers = Hearers {
                wake_up: deployment.wake_up.clone(),
                serving: Some((authenticator, registry.clone())),
            };
            hints.start(hearers, &tasks);
        }
        spawn_metrics(&config, (metrics, exporter), told, &tasks);
        if let Some(certificates) = certificates.clone() {
            tasks.spawn(async move { certificates.keep_fresh(&shutdown).await });
        }
        ports.serve(
            &config,
            certificates.as_ref(),
            &service,
            &environment.clock,
            &tasks,
        );
        Ok(Self {
            address,
            tls_address: addresses.tls,
            tls_proxy_address: addresses.tls_proxy,
            certificates,
            metrics_address,
            deployment,
            replication,
            garbage,
            drift,
            first_account,
            reload,
            health,
            registry,
            tasks,
            drain: config.limits.shutdown,
        })
    }

    /// Has the configuration read again and the certificate's files looked at, both of which also happen by themselves some seconds after
    /// a file changed. Waits for neither; what came of it is logged.
    pub fn reload(&self) {
        self.reload.notify_one();
        if let Some(certificates) = &self.certificates {
            certificates.ask_for_refresh();
        }
    }

    /// Has health checks say from now on that this process is about to end, so that balancers leave it. What comes all the same is served.
    pub fn drain(&self) {
        self.health.drain();
    }

    /// Stops accepting, lets requests in flight end within `ROADSTEAD_SHUTDOWN_SECONDS`, cuts off the rest, gives leases back, and closes the
    /// database. Says whether all ended in time.
    pub async fn stop(self) -> bool {
        self.drain();
        let ended = self.tasks.stop(self.drain + STOP).await;
        // Of the requests that ended last.
        match tokio::time::timeout(LAST_NOTES, self.registry.write_pull_notes()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "Could not write the last notes of pulls"),
            Err(_) => tracing::warn!("The database did not take the last notes of pulls in time"),
        }
        self.deployment.database.close().await;
        ended
    }
}

/// A replicator without a registry.
#[derive(Debug)]
pub struct Replicator {
    deployment: Deployment,
    tasks: Tasks,
}

impl Replicator {
    /// Starts copying, and tells metrics at an address and sends them where there is one. None when the configuration has replication switched
    /// off. The schema must be there: a registry makes it. What is in `raw` is compared with the other processes' configurations.
    pub async fn start(
        config: &Config,
        raw: Option<RawKeys>,
        (listen_for_metrics, exporter): (Option<SocketAddr>, Option<Exporter>),
        environment: Environment,
    ) -> Result<Option<Self>, StartError> {
        let metrics = match listen_for_metrics {
            Some(address) => Some(MetricsListener::bind(address)?),
            None => None,
        };
        let deployment = Deployment::open(config, Migrations::Refuse, environment).await?;
        if deployment.queue.is_none() {
            return Ok(None);
        }
        let tasks = Tasks::new();
        let replication = deployment.replication(config);
        let webhooks = deployment.webhooks()?;
        tasks.spawn(keep_probed(&deployment, &tasks));
        let told = told(&deployment, &replication, &webhooks);
        spawn_metrics(config, (metrics, exporter), told, &tasks);
        tasks.spawn({
            let (deployment, replication) = (deployment.clone(), replication.clone());
            let comparison = raw.map(|raw| {
                let (_, raw) = watch::channel(raw);
                Comparison::new(raw, ConfigurationDrift::default())
            });
            let shutdown = tasks.shutdown();
            let name = format!("replicator {}", deployment.environment.ids.uuid());
            async move {
                instance::keep_telling(&deployment, &replication, comparison, name, &shutdown)
                    .await;
            }
        });
        spawn_replicator(config, &deployment, &replication, webhooks, &tasks);
        let hints = Hints::of(config, &deployment.trust, &deployment.environment);
        tasks.spawn(relay(&deployment, hints.as_ref(), true, &tasks));
        if let Some(hints) = hints {
            let hearers = Hearers {
                wake_up: deployment.wake_up.clone(),
                serving: None,
            };
            hints.start(hearers, &tasks);
        }
        Ok(Some(Self { deployment, tasks }))
    }

    /// Gives leases back and closes the database. Says whether all ended in time.
    pub async fn stop(self) -> bool {
        let ended = self.tasks.stop(STOP).await;
        self.deployment.database.close().await;
        ended
    }
}

/// Tells the workers of other processes when copies are wanted here, and hears of theirs.
fn relay(
    deployment: &Deployment,
    hints: Option<&HintsParts>,
    listens: bool,
    tasks: &Tasks,
) -> impl Future<Output = ()> + use<> {
    let relay = Relay::new(
        deployment.database.clone(),
        deployment.environment.clone(),
        deployment.wake_up.clone(),
    )
    .with_carrier(hints.map(|hints| Arc::new(hints.hints()) as Arc<dyn Carrier>));
    let shutdown = tasks.shutdown();
    async move { relay.run(listens, &shutdown).await }
}

/// Keeps an eye on every location.
fn keep_probed(deployment: &Deployment, tasks: &Tasks) -> impl Future<Output = ()> + use<> {
    let (locations, environment) = (deployment.locations.clone(), deployment.environment.clone());
    let shutdown = tasks.shutdown();
    async move {
        let options = ProbeOptions::default();
        locations
            .keep_probed(options, &environment, &shutdown)
            .await;
    }
}

fn spawn_replicator(
    config: &Config,
    deployment: &Deployment,
    replication: &Replication,
    webhooks: Webhooks,
    tasks: &Tasks,
) {
    let Some(queue) = &deployment.queue else {
        return;
    };
    let worker = Worker::new(
        deployment.database.clone(),
        deployment.environment.clone(),
        WorkerOptions {
            concurrency: config.replication.concurrency,
            region: Some(deployment.topology.preferred().clone()),
            ..WorkerOptions::new(queue.clone())
        },
        deployment.wake_up.clone(),
    );
    let shutdown = tasks.shutdown();
    let handler = Arc::new(replication.clone());
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move { worker.run(handler, shutdown).await }
    });
    tasks.spawn({
        let (replication, shutdown) = (replication.clone(), shutdown.clone());
        async move { replication.keep_prompt(&shutdown).await }
    });
    tasks.spawn({
        let (replication, shutdown) = (replication.clone(), shutdown.clone());
        async move { replication.keep_images_noted(&shutdown).await }
    });
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move { webhooks.keep_delivering(&shutdown).await }
    });
    if let Some(scrub) = config.replication.scrub {
        let (replication, shutdown) = (replication.clone(), shutdown.clone());
        let options = ScrubOptions {
            period: scrub.period,
            bytes_per_second: scrub.bytes_per_second,
        };
        tasks.spawn(async move { replication.keep_scrubbed(options, &shutdown).await });
    }
    let replication = replication.clone();
    let interval = config.replication.reconcile;
    tasks.spawn(async move { replication.keep_reconciled(interval, &shutdown).await });
}

async fn clean_up_uploads(registry: Registry, environment: Environment, shutdown: Shutdown) {
    while !shutdown.requested() {
        match registry.clean_up_uploads().await {
            Ok(abandoned) => tracing::debug!(?abandoned, "Looked for abandoned uploads"),
            Err(error) => {
                tracing::warn!(%error, "Could not clean up abandoned uploads; trying again in an hour");
            }
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = environment.clock.sleep(UPLOAD_CLEAN_UP_INTERVAL) => {}
        }
    }
}

/// Where an instance is from, as Quay names its keys: the registry's address.
fn address_for_people(config: &Config, listening: SocketAddr) -> String {
    let scheme = match config.hosting.preferred_url_scheme {
        UrlScheme::Http => "http",
        UrlScheme::Https => "https",
    };
    match &config.hosting.server_hostname {
        Some(hostname) => format!("{scheme}://{hostname}"),
        None => format!("{scheme}://{listening}"),
    }
}
