//! What copies: in a process of its own, or beside a registry.

use std::sync::Arc;
use std::time::Duration;

use roadstead_config::{Config, RawKeys};
use roadstead_locations::ProbeOptions;
use roadstead_queue::{Carrier, Relay, Worker, WorkerOptions};
use roadstead_replication::{Replication, ScrubOptions};
use roadstead_runtime::{Environment, Tasks};
use roadstead_webhooks::Webhooks;
use tokio::sync::watch;

use crate::deployment::{Deployment, Migrations};
use crate::drift::{Comparison, ConfigurationDrift};
use crate::error::StartError;
use crate::hints::{Hearers, Hints, HintsParts};
use crate::instance;
use crate::metrics::{MetricsOptions, spawn_metrics, told};

/// How long copies that are running may take to end.
const STOP: Duration = Duration::from_secs(10);

/// A replicator without a registry.
#[derive(Debug)]
pub struct Replicator {
    deployment: Deployment,
    tasks: Tasks,
}

impl Replicator {
    /// Starts copying. None when the configuration has replication switched off. The schema must be there: a registry makes it. What is in
    /// `raw` is compared with the other processes' configurations.
    pub async fn start(
        config: &Config,
        raw: Option<RawKeys>,
        metrics: MetricsOptions,
        environment: Environment,
    ) -> Result<Option<Self>, StartError> {
        let metrics = metrics.bind()?;
        let deployment = Deployment::open(config, Migrations::Refuse, environment).await?;
        if deployment.queue.is_none() {
            return Ok(None);
        }
        let tasks = Tasks::new();
        let replication = deployment.replication(config);
        let webhooks = deployment.webhooks()?;
        tasks.spawn(keep_probed(&deployment, &tasks));
        let told = told(&deployment, &replication, &webhooks);
        spawn_metrics(config, metrics, told, &tasks);
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
pub(crate) fn relay(
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
pub(crate) fn keep_probed(
    deployment: &Deployment,
    tasks: &Tasks,
) -> impl Future<Output = ()> + use<> {
    let (locations, environment) = (deployment.locations.clone(), deployment.environment.clone());
    let shutdown = tasks.shutdown();
    async move {
        let options = ProbeOptions::default();
        locations
            .keep_probed(options, &environment, &shutdown)
            .await;
    }
}

/// Copies, compares and delivers in this process, where the configuration has replication switched on.
pub(crate) fn spawn_replicator(
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
