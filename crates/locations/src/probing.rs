//! Asking locations that nobody asks, and those that are in trouble more often, so that their return is noticed.

use std::time::Duration;

use roadstead_placement::{HealthState, LocationName};
use roadstead_runtime::{Environment, Shutdown};

use crate::locations::Locations;

/// How often locations are probed.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// How long between two probes of a healthy location. Default 10 s: a probe writes and reads eleven bytes, which is half a million
    /// requests a month for each process and location.
    pub healthy: Duration,
    /// How long between two probes of one that is not. Default 2 s: two or three probes bring a location back, well within a minute.
    pub in_trouble: Duration,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            healthy: Duration::from_secs(10),
            in_trouble: Duration::from_secs(2),
        }
    }
}

impl Locations {
    /// Probes every location for as long as the process lives, each at its own pace: one that hangs keeps no other from being probed.
    pub async fn keep_probed(
        &self,
        options: ProbeOptions,
        environment: &Environment,
        shutdown: &Shutdown,
    ) {
        let mut probing = tokio::task::JoinSet::new();
        for name in self.names() {
            probing.spawn(keep_one_probed(
                self.clone(),
                name.clone(),
                options,
                environment.clone(),
                shutdown.clone(),
            ));
        }
        probing.join_all().await;
    }
}

async fn keep_one_probed(
    locations: Locations,
    name: LocationName,
    options: ProbeOptions,
    environment: Environment,
    shutdown: Shutdown,
) {
    let Some(location) = locations.get(&name).cloned() else {
        return;
    };
    let mut changes = locations.seen.changes();
    while !shutdown.requested() {
        // The observer of the location hears of it.
        if let Err(error) = location.probe().await {
            tracing::debug!(
                location.id = %name,
                error = &error as &dyn std::error::Error,
                "A probe of location {name} failed"
            );
        }
        changes.mark_unchanged();
        let healthy = locations.seen.view(&name).state() == HealthState::Healthy;
        let pause = if healthy {
            options.healthy
        } else {
            options.in_trouble
        };
        // Processes that were started together do not probe together for ever.
        let pause = pause.mul_f64(1.0 - environment.ids.fraction() / 4.0);
        tokio::select! {
            () = shutdown.wait() => return,
            () = environment.clock.sleep(pause) => {}
            // What traffic has noticed is looked into at once.
            () = got_into_trouble(&locations, &name, healthy, &mut changes) => {}
        }
    }
}

/// Returns when a location that was healthy is not any more.
async fn got_into_trouble(
    locations: &Locations,
    name: &LocationName,
    was_healthy: bool,
    changes: &mut tokio::sync::watch::Receiver<u64>,
) {
    if !was_healthy {
        std::future::pending::<()>().await;
    }
    while changes.changed().await.is_ok() {
        if locations.seen.view(name).state() != HealthState::Healthy {
            return;
        }
    }
    std::future::pending::<()>().await;
}
