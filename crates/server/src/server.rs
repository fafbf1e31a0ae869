//! A running server: what is started, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roadstead_api::{ActivityListener, Health, RegistryService, ServiceParts};
use roadstead_auth::{Authenticator, SigningKeyOptions, SigningKeys};
use roadstead_config::{Config, UrlScheme};
use roadstead_distribution::{GarbageCollector, Registry, RegistryParts};
use roadstead_listener::Certificates;
use roadstead_management::Management;
use roadstead_replication::Replication;
use roadstead_runtime::{Environment, Shutdown, Tasks};
use tokio::sync::Notify;

use crate::deployment::{Deployment, Migrations, OpenLocal};
use crate::drift::{Comparison, ConfigurationDrift};
use crate::encrypted_fields;
use crate::error::StartError;
use crate::first_start::{FirstAccount, make_first_account};
use crate::front_door::{Addresses, Ports, load_certificates};
use crate::hints::{Hearers, Hints, RedisWorks};
use crate::instance;
use crate::management::management_options;
use crate::metrics::{MetricsOptions, Serving, Told, spawn_metrics, told};
use crate::options::{api_options, auth_options, distribution_options};
use crate::probes;
use crate::reload::{Live, Origin, Reloading};
use crate::replicator::{keep_probed, relay, spawn_replicator};

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
    /// Where to tell how this process fares.
    pub metrics: MetricsOptions,
    /// Whether to copy blobs between locations in this process, when the configuration has replication switched on.
    pub replicate: bool,
    /// What to do about a database whose schema is not this program's.
    pub migrations: Migrations,
    /// Time, ids, chance.
    pub environment: Environment,
    /// How locations are made; none: as the configuration says. Tests put faults in here.
    pub open_local: Option<OpenLocal>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("listen", &self.listen)
            .field("listen_tls", &self.listen_tls)
            .field("listen_tls_proxy", &self.listen_tls_proxy)
            .field("listen_for_metrics", &self.metrics.listen)
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
            metrics: MetricsOptions::default(),
            replicate: true,
            migrations: Migrations::default(),
            environment: Environment::system(),
            open_local: None,
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
            metrics,
            replicate,
            migrations,
            environment,
            open_local,
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
        let metrics = metrics.bind()?;
        let metrics_address = metrics.address();
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
        let health = Arc::new(probes::health(&config, &deployment, &registry, &keys, redis).await?);
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
        spawn_metrics(&config, metrics, told, &tasks);
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
