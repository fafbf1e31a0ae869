//! Sending traces and metrics away, from the start of a process to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use prometheus::IntCounter;
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use roadstead_runtime::{Environment, Tasks, Timestamp};

use crate::collector::{Collector, CollectorError, ExportOptions};
use crate::sampler::Share;
use crate::{otlp_metrics, spans};

/// How long what is left may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Sends the traces and metrics of this process to a collector. Clones are the same.
#[derive(Clone, Debug)]
pub struct Exporter {
    collector: Collector,
    provider: SdkTracerProvider,
    tasks: Tasks,
    began: Timestamp,
    dropped: Arc<AtomicU64>,
}

impl Exporter {
    /// Begins to send, on the tokio runtime that this is called on.
    pub(crate) fn start(
        options: &ExportOptions,
        environment: Environment,
    ) -> Result<Self, CollectorError> {
        let began = environment.now();
        let collector = Collector::new(options, environment)?;
        let dropped = Arc::<AtomicU64>::default();
        let (queue, waiting) = spans::Queue::new(Arc::clone(&dropped));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Share::of(options.ratio, options.parent_based))
            // What it is goes with every message, from the collector's own side.
            .with_resource(Resource::builder_empty().build())
            .with_span_processor(queue)
            .build();
        let tasks = Tasks::new();
        tasks.spawn(spans::keep_sending(
            waiting,
            collector.clone(),
            Arc::clone(&dropped),
            tasks.shutdown(),
        ));
        Ok(Self {
            collector,
            provider,
            tasks,
            began,
            dropped,
        })
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("roadstead")
    }

    /// Sends metrics as they are now. Takes a few seconds at most, whatever the collector does; what it does not take is told it with the next.
    pub async fn send_metrics(&self, families: &[MetricFamily]) {
        let now = self.collector.environment().now();
        let resource = self.collector.resource();
        let request = otlp_metrics::request(resource, families, (self.began, now));
        self.collector.send("/v1/metrics", &request).await;
    }

    /// What there is to tell of the sending itself.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        [
            (
                "roadstead_trace_spans_dropped_total",
                "Spans that the collector of traces was not told, because it did not take them in time",
                self.dropped.load(Ordering::Relaxed),
            ),
            (
                "roadstead_collector_failures_total",
                "Messages that the collector of traces and metrics did not take",
                self.collector.failures(),
            ),
        ]
        .into_iter()
        .flat_map(|(name, help, value)| {
            let counter = made(IntCounter::new(name, help));
            counter.inc_by(value);
            counter.collect()
        })
        .collect()
    }

    /// Sends what is left, for two seconds at most. What the collector does not take until then is lost.
    pub async fn stop(&self) {
        self.tasks.stop(FLUSH).await;
    }
}

/// Names are written here, and are right or wrong whatever happens.
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("valid names")
}
