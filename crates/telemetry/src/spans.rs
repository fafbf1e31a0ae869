//! Spans on their way to the collector: a bounded queue that drops what it has no room for, and a task that empties it in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use roadstead_runtime::Shutdown;
use tokio::sync::mpsc;

use crate::collector::Collector;

/// The most spans that wait. One takes about a kilobyte.
pub(crate) const WAITING_MAX: usize = 4096;

/// The most spans of one message.
const BATCH_MAX: usize = 512;

/// How long a span waits for company.
const LINGER: Duration = Duration::from_millis(500);

/// Takes spans that have ended, without ever waiting.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

/// What the spans are taken out of again.
pub(crate) type Waiting = mpsc::Receiver<SpanData>;

impl Queue {
    pub(crate) fn new(dropped: Arc<AtomicU64>) -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender, dropped }, receiver)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what waits until the shutdown, and then what is left.
pub(crate) async fn keep_sending(
    mut waiting: Waiting,
    collector: Collector,
    dropped: Arc<AtomicU64>,
    shutdown: Shutdown,
) {
    let clock = Arc::clone(&collector.environment().clock);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let more = tokio::select! {
            received = waiting.recv_many(&mut batch, BATCH_MAX) => received > 0,
            () = shutdown.wait() => {
                waiting.close();
                while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
                    send(&collector, &mut batch, &dropped).await;
                }
                false
            }
        };
        if !more {
            return;
        }
        if batch.len() < BATCH_MAX {
            tokio::select! {
                () = clock.sleep(LINGER) => {}
                () = shutdown.wait() => {}
            }
            while batch.len() < BATCH_MAX
                && let Ok(span) = waiting.try_recv()
            {
                batch.push(span);
            }
        }
        send(&collector, &mut batch, &dropped).await;
    }
}

async fn send(collector: &Collector, batch: &mut Vec<SpanData>, dropped: &AtomicU64) {
    let spans = std::mem::take(batch);
    let count = spans.len() as u64;
    let resource = ResourceAttributesWithSchema::default();
    let mut resource_spans = group_spans_by_resource_and_scope(spans, &resource);
    for of_resource in &mut resource_spans {
        of_resource.resource = Some(collector.resource());
    }
    let request = ExportTraceServiceRequest { resource_spans };
    if !collector.send("/v1/traces", &request).await {
        dropped.fetch_add(count, Ordering::Relaxed);
    }
}
