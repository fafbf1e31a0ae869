//! A registry opened for a command: that of the configuration, which must exist.

use roadstead_config::Config;
use roadstead_distribution::GarbageCollector;
use roadstead_management::Management;
use roadstead_replication::{LocationName, Replication};
use roadstead_runtime::Environment;
use roadstead_server::{Deployment, Migrations};
use roadstead_webhooks::Webhooks;

/// What every command works on.
pub(crate) struct Opened {
    pub(crate) deployment: Deployment,
    pub(crate) replication: Replication,
    pub(crate) webhooks: Webhooks,
    pub(crate) garbage: GarbageCollector,
    pub(crate) management: Management,
    /// The name of the replication queue; none when replication is switched off.
    pub(crate) queue: Option<String>,
    /// How many copies one process makes at a time.
    pub(crate) concurrency: std::num::NonZeroUsize,
}

impl Opened {
    /// Opens the registry that the configuration describes. Unlike the server it makes none, and it leaves the schema as it is.
    pub(crate) async fn open(config: &Config, environment: Environment) -> anyhow::Result<Self> {
        let deployment = Deployment::open(config, Migrations::Refuse, environment).await?;
        Ok(Self {
            replication: deployment.replication(config),
            webhooks: deployment.webhooks()?,
            garbage: deployment.garbage(config),
            management: deployment.management(config)?,
            queue: deployment.queue.clone(),
            concurrency: config.replication.concurrency,
            deployment,
        })
    }

    /// Whether the configuration names the location.
    pub(crate) fn is_configured(&self, location: &LocationName) -> bool {
        self.deployment
            .locations
            .iter()
            .any(|configured| configured.name() == location)
            || self.deployment.removed.contains(location)
    }
}
