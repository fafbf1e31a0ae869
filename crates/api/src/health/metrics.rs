//! What Prometheus is told of health.

use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::Health;
use crate::metrics::made;
use crate::route::HealthRoute;

/// The checks, as the label `check` calls them.
const CHECKS: [(&str, HealthRoute); 5] = [
    ("instance", HealthRoute::Instance),
    ("endtoend", HealthRoute::EndToEnd),
    ("warning", HealthRoute::Warning),
    ("pull", HealthRoute::ReadyToPull),
    ("push", HealthRoute::ReadyToPush),
];

impl Health {
    /// What each check would answer now, whether this region is drained, and whether Redis answers, if one is configured. Nobody is asked.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let healthy = made(IntGaugeVec::new(
            Opts::new(
                "roadstead_healthy",
                "Whether a health check would be answered with 200",
            ),
            &["check"],
        ));
        for (name, route) in CHECKS {
            let works = self.check(route).healthy();
            healthy.with_label_values(&[name]).set(works.into());
        }
        let mut families = healthy.collect();
        let drained = made(IntGauge::new(
            "roadstead_site_drained",
            "Whether this region is to be left alone by balancers",
        ));
        drained.set(self.end_to_end_fails("site").unwrap_or(false).into());
        families.extend(drained.collect());
        if let Some(fails) = self.end_to_end_fails("redis") {
            let up = made(IntGauge::new("roadstead_redis_up", "Whether Redis answers"));
            up.set((!fails).into());
            families.extend(up.collect());
        }
        families
    }
}
