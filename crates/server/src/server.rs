//! A running server: what is started, in which order, and how it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use roadstead_api::{
    ActivityListener, ApiOptions, ExternalUrl, Health, Redirects, RegistryService, ServiceParts,
    StorageProxy,
};
use roadstead_auth::{AuthOptions, Authenticator, PasswordKey, SigningKeyOptions, SigningKeys};
use roadstead_config::{Config, Delivery, Network, RegistryState, UrlScheme};
use roadstead_distribution::{
    DistributionOptions, GarbageCollector, Registry, RegistryParts, Writes,
};
use roadstead_locations::ProbeOptions;
use roadstead_management::Management;
use roadstead_metadata::{Features, ImmutableTags, QuotaChecks, QuotaSizes};
use roadstead_queue::{Carrier, Relay, Worker, WorkerOptions};
use roadstead_replication::{Replication, ScrubOptions};
use roadstead_runtime::{Environment, Shutdown, Tasks};
use roadstead_webhooks::Webhooks;

use crate::connections;
use crate::deployment::{Deployment, Migrations, OpenLocal};
use crate::encrypted_fields;
use crate::error::{StartError, secret_key};
use crate::first_start::{FirstAccount, make_first_account};
use crate::hints::{Hearers, Hints, HintsParts, RedisWorks};
use crate::instance;
use crate::management::management_options;
use crate::metrics::{MetricsListener, Told};
use crate::probes;

/// How often uploads that were given up are looked for: Quay's `BLOBUPLOAD_CLEANUP_FREQUENCY`.
const UPLOAD_CLEAN_UP_INTERVAL: Duration = Duration::from_hours(1);

/// Connections at once. Each holds a few kilobytes while it is idle and at most some megabytes while it carries a blob.
const CONNECTIONS_MAX: usize = 8192;

/// How long requests in flight may take to end after the shutdown.
const DRAIN: Duration = Duration::from_secs(30);

/// How long background work may take to end after that.
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
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
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
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("listen", &self.listen)
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
            listen,
            listen_for_metrics: None,
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
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it tells metrics, if it does.
    pub metrics_address: Option<SocketAddr>,
    /// What it stands on.
    pub deployment: Deployment,
    /// What copies, compares and forgets on it.
    pub replication: Replication,
    /// What collects its garbage. It does so by itself, and whenever it is told to.
    pub garbage: GarbageCollector,
    /// The account that this start made.
    pub first_account: Option<FirstAccount>,
    health: Arc<Health>,
    registry: Registry,
    tasks: Tasks,
}

impl Running {
    /// Starts a server: when this returns, it answers.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings {
            config,
            listen,
            listen_for_metrics,
            replicate,
            migrations,
            environment,
            open_local,
        } = settings;
        // First of all: a port that is taken must not leave a half-made data directory behind.
        let listener = connections::listen(listen)
            .await
            .map_err(|source| StartError::Listen {
                address: listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: listen,
            source,
        })?;
        let metrics = match listen_for_metrics {
            Some(address) => Some(MetricsListener::bind(address).await?),
            None => None,
        };
        let metrics_address = metrics.as_ref().map(|metrics| metrics.address);
        let deployment = match open_local {
            Some(open_local) => {
                Deployment::open_with(&config, migrations, environment.clone(), open_local).await?
            }
            None => Deployment::open(&config, migrations, environment.clone()).await?,
        };

        let tasks = Tasks::new();
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
            auth_options(&config, &deployment)?,
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
        let redis = RedisWorks::of(&config, &environment);
        let health = Arc::new(probes::health(&config, &deployment, &keys, redis).await?);
        let hints = Hints::of(&config, &environment);
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
            async move { instance::keep_telling(&deployment, &replication, name, &shutdown).await }
        });
        let garbage = deployment.garbage(&config);
        tasks.spawn({
            let (garbage, shutdown) = (garbage.clone(), shutdown.clone());
            async move { garbage.keep_collecting(&shutdown).await }
        });
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
        if let Some(metrics) = metrics {
            spawn_metrics(metrics, &deployment, &replication, &tasks);
        }
        tasks.spawn(connections::serve(
            listener,
            move |client| TowerToHyperService::new(service.for_client(client)),
            CONNECTIONS_MAX,
            tasks.clone(),
            shutdown,
            DRAIN,
        ));
        Ok(Self {
            address,
            metrics_address,
            deployment,
            replication,
            garbage,
            first_account,
            health,
            registry,
            tasks,
        })
    }

    /// Has health checks say from now on that this process is about to end, so that balancers leave it. What comes all the same is served.
    pub fn drain(&self) {
        self.health.drain();
    }

    /// Stops accepting, lets requests in flight end, gives leases back, and closes the database. Says whether all ended in time.
    pub async fn stop(self) -> bool {
        self.drain();
        let ended = self.tasks.stop(DRAIN + STOP).await;
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
    /// Starts copying, and tells metrics at an address if there is one. None when the configuration has replication switched off. The schema
    /// must be there: a registry makes it.
    pub async fn start(
        config: &Config,
        listen_for_metrics: Option<SocketAddr>,
        environment: Environment,
    ) -> Result<Option<Self>, StartError> {
        let metrics = match listen_for_metrics {
            Some(address) => Some(MetricsListener::bind(address).await?),
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
        if let Some(metrics) = metrics {
            spawn_metrics(metrics, &deployment, &replication, &tasks);
        }
        tasks.spawn({
            let (deployment, replication) = (deployment.clone(), replication.clone());
            let shutdown = tasks.shutdown();
            let name = format!("replicator {}", deployment.environment.ids.uuid());
            async move { instance::keep_telling(&deployment, &replication, name, &shutdown).await }
        });
        spawn_replicator(config, &deployment, &replication, webhooks, &tasks);
        let hints = Hints::of(config, &deployment.environment);
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

/// Tells Prometheus how this process and the replication fare.
fn spawn_metrics(
    metrics: MetricsListener,
    deployment: &Deployment,
    replication: &Replication,
    tasks: &Tasks,
) {
    let (measured, shutdown) = (replication.clone(), tasks.shutdown());
    tasks.spawn(async move { measured.keep_measured(&shutdown).await });
    let told = Told {
        locations: deployment.locations.clone(),
        replication: replication.clone(),
    };
    tasks.spawn(metrics.serve(told, tasks.clone(), tasks.shutdown()));
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
        superusers: names(&accounts.super_users),
        superusers_full_access: accounts.super_users_full_access,
        readonly_superusers: names(&accounts.global_readonly_super_users),
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
        cdn_namespaces: config.delivery.cdn_namespaces.iter().cloned().collect(),
        chunk_bytes_min: config.registry.upload_chunk_min_length.map(Into::into),
        ..ApiOptions::default()
    })
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
