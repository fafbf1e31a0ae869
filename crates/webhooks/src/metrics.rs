//! What Prometheus is told of deliveries. Of how each webhook fares the replication's gauges tell.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};
use roadstead_metadata::DeliveriesEnded;

use crate::webhooks::Webhooks;

/// Counts what this process has sent. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryCounters(IntCounterVec);

impl Default for DeliveryCounters {
    fn default() -> Self {
        let deliveries = IntCounterVec::new(
            Opts::new(
                "roadstead_webhook_deliveries_total",
                "Events that this process sent to webhooks: delivered, put off to be sent again, or given up after a day",
            ),
            &["outcome"],
        );
        let deliveries = deliveries.expect("valid names");
        for outcome in ["delivered", "put_off", "given_up"] {
            deliveries.with_label_values(&[outcome]);
        }
        Self(deliveries)
    }
}

impl DeliveryCounters {
    pub(crate) fn note(&self, ended: &DeliveriesEnded) {
        for (outcome, events) in [
            ("delivered", ended.delivered.len()),
            ("put_off", ended.put_off.len()),
            ("given_up", ended.given_up.len()),
        ] {
            self.0.with_label_values(&[outcome]).inc_by(events as u64);
        }
    }
}

impl Webhooks {
    /// Everything that there is to tell Prometheus of what this process delivered. Asks nobody.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        self.deliveries.0.collect()
    }
}
