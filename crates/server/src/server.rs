//! A running server: what is started, in which order, and how it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use roadstead_api::{
    ActivityListener, ApiOptions, ExternalUrl, Health, RateLimits, Redirects, RegistryService,
    ServiceParts, StorageProxy,
};
use roadstead_auth::{AuthOptions, Authenticator, PasswordKey, SigningKeyOptions, SigningKeys};
use roadstead_config::{Config, Delivery, Network, Rate, RawKeys, RegistryState, UrlScheme};
use roadstead_distribution::{
    DistributionOptions, GarbageCollector, Registry, RegistryParts, Writes,
};
use roadstead_listener::Certificates;
use roadstead_locations::ProbeOptions;
use roadstead_management::Management;
use roadstead_metadata::{Features, ImmutableTags, QuotaChecks, QuotaSizes};
use roadstead_queue::{Carrier, Relay, Worker, WorkerOptions};
use roadstead_replication::{Replication, ScrubOptions};
use roadstead_runtime::{Environment, Shutdown, Tasks};
use roadstead_telemetry::Exporter;
use roadstead_webhooks::Webhooks;
use tokio::sync::{Notify, watch};

use crate::deployment::{Deployment, Migrations, OpenLocal};
use crate::drift::{Comparison, ConfigurationDrift};
use crate::encrypted_fields;
use crate::error::{StartError, secret_key};
use crate::first_start::{FirstAccount, make_first_account};
use crate::front_door::{Addresses, Ports, load_certificates};
use crate::gauges::Gauges;
use crate::hints::{Hearers, Hints, HintsParts, RedisWorks};
use crate::instance;
use crate::management::management_options;
use crate::metrics::{MetricsListener, Serving, Told};
use crate::probes;
use crate::reload::{Live, Origin, Reloading};

/// How often metrics are sent to a collector.
const EXPORT_INTERVAL: Duration = Duration::from_mins(1);

/// How long that may take after the shutdown.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// How often uploads that were given up are looked for: Quay's `BLOBUPLOAD_CLEANUP_FREQUENCY`.
const UPLOAD_CLEAN_UP_INTERVAL: Duration = Duration::from_hours(1);

/// How long background work may take to end after the requests in flight, of which uploads that were cut off are the last.
const STOP: Duration = Duration::from_secs(10);

/// How long the database may take to note the last pulls.
const LAST_NOTES: Duration = Duration::from_secs(5);

/// What tokens are for when the configuration names no host: every region of a registry on one machine shares it.
const STANDALONE_HOSTNAME: &str = "localhost";

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

    /// Has the configuration read again, and looks at the certificate's files at once, both of which also happen by themselves some
    /// seconds after a file changed. What came of it is logged.
    pub async fn reload(&self) {
        self.reload.notify_one();
        if let Some(certificates) = &self.certificates {
            certificates.refresh().await;
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

/// What every process has to tell.
fn told(deployment: &Deployment, replication: &Replication, webhooks: &Webhooks) -> Told {
    Told {
        locations: deployment.locations.clone(),
        replication: replication.clone(),
        database: deployment.database.clone(),
        webhooks: webhooks.clone(),
        exporter: None,
        gauges: Gauges::new(
            deployment.database.clone(),
            deployment.environment.clone(),
            deployment.queue.clone(),
        ),
        serving: None,
    }
}

/// Tells how this process and the replication fare, if anybody is to be told: nothing is measured for nobody.
fn spawn_metrics(
    config: &Config,
    (listener, exporter): (Option<MetricsListener>, Option<Exporter>),
    mut told: Told,
    tasks: &Tasks,
) {
    if listener.is_none() && exporter.is_none() {
        return;
    }
    told.exporter.clone_from(&exporter);
    let (measured, shutdown) = (told.replication.clone(), tasks.shutdown());
    tasks.spawn(async move { measured.keep_measured(&shutdown).await });
    let (gauges, shutdown) = (told.gauges.clone(), tasks.shutdown());
    let interval = config.telemetry.refresh;
    tasks.spawn(async move { gauges.keep_fresh(interval, &shutdown).await });
    if let Some(exporter) = exporter {
        let (told, shutdown) = (told.clone(), tasks.shutdown());
        let clock = Arc::clone(&told.gauges.environment().clock);
        tasks.spawn(async move {
            while !shutdown.requested() {
                tokio::select! {
                    () = clock.sleep(EXPORT_INTERVAL) => {}
                    () = shutdown.wait() => {}
                }
                let sent = async { exporter.send_metrics(&told.gather().await).await };
                let given_up = async {
                    shutdown.wait().await;
                    clock.sleep(LAST_EXPORT).await;
                };
                tokio::select! {
                    () = sent => {}
                    () = given_up => {}
                }
            }
        });
    }
    if let Some(listener) = listener {
        let clock = Arc::clone(&told.gauges.environment().clock);
        tasks.spawn(listener.serve(told, clock, tasks.clone()));
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

pub(crate) fn auth_options(
    config: &Config,
    deployment: &Deployment,
) -> Result<AuthOptions, StartError> {
    let accounts = &config.accounts;
    let hostname = config
        .hosting
        .server_hostname
        .clone()
        .unwrap_or_else(|| STANDALONE_HOSTNAME.to_owned());
    let names = |names: &[String]| names.iter().cloned().collect();
    Ok(AuthOptions {
        service: accounts.token_service.clone(),
        superusers: accounts.super_users.iter().collect(),
        superusers_full_access: accounts.super_users_full_access,
        readonly_superusers: accounts.global_readonly_super_users.iter().collect(),
        robots: !accounts.robots_disallow,
        robots_allowed: names(&accounts.robots_whitelist),
        app_tokens: accounts.app_specific_tokens,
        note_use: accounts.user_last_accessed,
        field_key: deployment.field_key.clone(),
        password_key: accounts
            .secret_key
            .as_ref()
            .map(|key| PasswordKey::new(key.expose()))
            .transpose()
            .map_err(secret_key("SECRET_KEY"))?,
        encrypted_passwords_only: accounts.encrypted_passwords_only,
        user_creation: accounts.user_creation,
        superusers_create_organizations: accounts.superusers_create_organizations,
        restricted_users: accounts.restricted_users,
        unrestricted_users: names(&accounts.restricted_users_whitelist),
        proxy_cache: config.registry.proxy_cache,
        anonymous_access: config.registry.anonymous_access,
        public_catalog: config.registry.public_catalog,
        create_namespace_on_push: config.registry.create_namespace_on_push,
        tag_window: config.tags.default_expiration,
        private_on_push: config.registry.create_private_repo_on_push,
        library_namespace: config.registry.library_namespace.clone(),
        token_life_max: accounts.token_lifetime_max,
        ..AuthOptions::new(hostname)
    })
}

fn distribution_options(config: &Config, deployment: &Deployment) -> DistributionOptions {
    let defaults = DistributionOptions::default();
    DistributionOptions {
        writes: match (config.registry.state, config.registry.disable_pushes) {
            (RegistryState::ReadOnly, _) => Writes::ReadOnly,
            (RegistryState::Normal, true) => Writes::PushesDisabled,
            (RegistryState::Normal, false) => Writes::Taken,
        },
        blob_bytes_max: config
            .registry
            .maximum_layer_size
            .unwrap_or(defaults.blob_bytes_max),
        unreferenced_hold: config.registry.push_temp_tag_expiration,
        abandoned_after: config.registry.blob_upload_threshold,
        // Quay's pages end at 100 entries unless told otherwise; ours are never shorter than our own default.
        page_entries_max: u32::try_from(config.registry.pagination_size)
            .unwrap_or(u32::MAX)
            .max(defaults.page_entries_max),
        push_wait_max: config.replication.push_wait_max,
        replication_queue: deployment.queue.clone(),
        features: features(config),
        library_namespace: config
            .registry
            .library_namespace
            .clone()
            .unwrap_or(defaults.library_namespace.clone()),
        ..defaults
    }
}

pub(crate) fn features(config: &Config) -> Features {
    Features {
        quota: match (config.quota.enabled, config.quota.invalidated) {
            (true, _) => QuotaSizes::Kept,
            (false, true) => QuotaSizes::Invalidated,
            (false, false) => QuotaSizes::Left,
        },
        quota_checks: if config.quota.enabled && config.quota.verified {
            let default = config.quota.default_bytes;
            QuotaChecks::Held {
                default_bytes: default.and_then(|bytes| i64::try_from(bytes).ok()),
            }
        } else {
            QuotaChecks::None
        },
        immutable_tags: match (config.tags.immutable, config.tags.immutable_can_expire) {
            (false, _) => ImmutableTags::Ignored,
            (true, false) => ImmutableTags::Kept,
            (true, true) => ImmutableTags::KeptUntilTheyExpire,
        },
    }
}

fn api_options(config: &Config, deployment: &Deployment) -> Result<ApiOptions, StartError> {
    let scheme = match config.hosting.preferred_url_scheme {
        UrlScheme::Http => roadstead_api::UrlScheme::Http,
        UrlScheme::Https => roadstead_api::UrlScheme::Https,
    };
    Ok(ApiOptions {
        external_url: config
            .hosting
            .server_hostname
            .as_deref()
            .map(|host| ExternalUrl::new(scheme, host))
            .transpose()?,
        manifest_bytes_max: config.registry.manifest_size_limit,
        redirects: redirects(&config.delivery),
        storage_proxy: config
            .delivery
            .proxy_storage
            .then(|| StorageProxy::new(deployment.http.clone())),
        rate_limits: config.limits.rates.as_ref().map(rate_limits),
        cdn_namespaces: config.delivery.cdn_namespaces.iter().cloned().collect(),
        chunk_bytes_min: config.registry.upload_chunk_min_length.map(Into::into),
        ..ApiOptions::default()
    })
}

fn rate_limits(rates: &roadstead_config::RateLimits) -> RateLimits {
    let rate = |rate: Rate| roadstead_api::Rate {
        per_second: u32::try_from(rate.per_second).unwrap_or(u32::MAX),
        burst: u32::try_from(rate.burst).unwrap_or(u32::MAX),
    };
    RateLimits {
        address: rate(rates.address),
        account: rate(rates.account),
        exempt: rates.exempt.iter().cloned().collect(),
    }
}

/// Who is sent to a store: everybody, as with Quay, but for networks that are streamed to.
fn redirects(delivery: &Delivery) -> Redirects {
    let Delivery {
        stream_networks,
        redirect_networks,
        ..
    } = delivery.clone();
    let within = |networks: &[Network], client: Option<IpAddr>| {
        client.is_some_and(|client| networks.iter().any(|network| network.contains(client)))
    };
    Redirects::of(move |client| {
        !within(&stream_networks, client)
            && redirect_networks
                .as_deref()
                .is_none_or(|networks| within(networks, client))
    })
}
