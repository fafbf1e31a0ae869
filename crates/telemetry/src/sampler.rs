//! Which traces are kept.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Keeps a share of the traces. None begins with a statement or a call to a store: those of the work in the background tell nothing by themselves.
#[derive(Clone, Debug)]
pub(crate) struct Share(Sampler);

impl Share {
    /// Keeps `ratio` of the traces that begin here, 0 to 1, and if `parent_based`, of the others what their parents keep.
    pub(crate) fn of(ratio: f64, parent_based: bool) -> Self {
        let share = Sampler::TraceIdRatioBased(ratio);
        Self(if parent_based {
            Sampler::ParentBased(Box::new(share))
        } else {
            share
        })
    }
}

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let begins =
            !parent_context.is_some_and(|context| context.span().span_context().is_valid());
        if begins && *span_kind == SpanKind::Client {
            return SamplingResult {
                decision: SamplingDecision::Drop,
                attributes: Vec::new(),
                trace_state: TraceState::NONE,
            };
        }
        self.0
            .should_sample(parent_context, trace_id, name, span_kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    /// Whether a span of this kind is kept, within a trace that is kept or not, or at the beginning of one.
    fn keeps(share: &Share, kind: &SpanKind, parent: Option<bool>) -> bool {
        let trace = TraceId::from_bytes([1; 16]);
        let context = parent.map(|kept| {
            let flags = if kept {
                TraceFlags::SAMPLED
            } else {
                TraceFlags::NOT_SAMPLED
            };
            let span = SpanId::from_bytes([1; 8]);
            let parent = SpanContext::new(trace, span, flags, true, TraceState::NONE);
            Context::new().with_remote_span_context(parent)
        });
        let result = share.should_sample(context.as_ref(), trace, "", kind, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_client_decides_for_its_trace_and_the_share_for_the_others() {
        let (none, all) = (Share::of(0.0, true), Share::of(1.0, true));
        for kind in [SpanKind::Server, SpanKind::Internal] {
            assert!(keeps(&none, &kind, Some(true)));
            assert!(!keeps(&none, &kind, None));
            assert!(!keeps(&all, &kind, Some(false)));
            assert!(keeps(&all, &kind, None));
        }
        assert!(!keeps(
            &Share::of(0.0, false),
            &SpanKind::Server,
            Some(true)
        ));
    }

    #[test]
    fn no_trace_begins_with_a_statement_or_a_call_to_a_store() {
        let all = Share::of(1.0, true);
        assert!(!keeps(&all, &SpanKind::Client, None));
        assert!(keeps(&all, &SpanKind::Client, Some(true)));
    }
}
