//! Telling the others, through the database, that this process runs, how it sees the locations, how fast it copies to them, and how it is configured.

use std::time::Duration;

use roadstead_locations::LocationDocument;
use roadstead_metadata::{Instance, MetadataError};
use roadstead_replication::{ENDED_AFTER, Replication};
use roadstead_runtime::Shutdown;

use crate::deployment::Deployment;
use crate::drift::Comparison;

/// How often a process tells. Twelve writes a minute for two regions; an operator who looks sees what is a few seconds old.
const EVERY: Duration = Duration::from_secs(10);

/// How long the disks of local locations may take to say how full they are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells for as long as the process lives. The database's outages are waited for without a word: others tell of them.
pub(crate) async fn keep_telling(
    deployment: &Deployment,
    replication: &Replication,
    mut comparison: Option<Comparison>,
    name: String,
    shutdown: &Shutdown,
) {
    while !shutdown.requested() {
        if let Err(error) = tell(deployment, replication, &name).await {
            tracing::debug!(%error, "Could not tell how this process sees the locations");
        } else if let Some(comparison) = &mut comparison {
            let (database, environment) = (&deployment.database, &deployment.environment);
            if let Err(error) = comparison.tell(database, environment, &name).await {
                tracing::debug!(%error, "Could not compare the configurations of the running processes");
            }
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = deployment.environment.clock.sleep(EVERY) => {}
        }
    }
}

async fn tell(
    deployment: &Deployment,
    replication: &Replication,
    name: &str,
) -> Result<(), MetadataError> {
    let now = deployment.environment.now();
    let mut documents = deployment.locations.documents(PATIENCE).await;
    let copied = replication.bytes_per_second();
    for document in &mut documents {
        document.copied_bytes_per_second = copied.get(document.location.as_str()).copied();
    }
    let instance = Instance {
        name: name.to_owned(),
        region: deployment.topology.preferred().clone(),
        seen_at: now,
        locations: LocationDocument::list_as_text(&documents),
    };
    deployment
        .database
        .note_instance(&instance, now - ENDED_AFTER)
        .await
}
