//! The garbage collection of a deployment, as its configuration has it.

use roadstead_config::{Config, RegistryState};
use roadstead_distribution::{GarbageCollector, GarbageOptions, GarbageParts};

use crate::deployment::Deployment;
use crate::options::features;

impl Deployment {
    /// What collects garbage at the locations of this deployment. A registry that only reads collects none.
    pub fn garbage(&self, config: &Config) -> GarbageCollector {
        let writes = config.registry.state != RegistryState::ReadOnly;
        GarbageCollector::new(GarbageParts {
            database: self.database.clone(),
            locations: self.locations.clone(),
            environment: self.environment.clone(),
            options: GarbageOptions {
                content: writes && config.garbage.enabled,
                repositories: writes && config.garbage.repositories,
                namespaces: writes && config.garbage.namespaces,
                pause: config.garbage.pause,
                features: features(config),
                replication_queue: config.replication.queue_name.clone(),
            },
        })
    }
}
