//! Where a trace stands, in the form that goes from one process to another: W3C's `traceparent`.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A place in a trace: the trace, the span that is the parent of what follows, and whether the trace is kept.
///
/// Its text is that of version 0 of `traceparent`: 55 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(SpanContext);

/// A text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATraceParent;

impl TraceParent {
    /// Where `span` stands; none if it belongs to no trace, as when traces are off.
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let span = context.span().span_context().clone();
        span.is_valid().then_some(Self(span))
    }

    /// Where the caller stands.
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// The trace, in 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// Has `span`, which has just been made, go on here.
    pub fn begin(&self, span: &Span) {
        let context = Context::new().with_remote_span_context(self.0.clone());
        // Traces are off, or this span is not in them.
        span.set_parent(context).ok();
    }

    /// Has `span` point here.
    pub fn link(&self, span: &Span) {
        span.add_link(self.0.clone());
    }
}

/// Notes something of a span that its log lines need not show.
pub fn describe(span: &Span, name: &'static str, value: impl Into<opentelemetry::Value>) {
    let KeyValue { key, value, .. } = KeyValue::new(name, value);
    span.set_attribute(key, value);
}

/// Notes that what a span is about failed.
pub fn failed(span: &Span, why: impl Into<std::borrow::Cow<'static, str>>) {
    span.set_status(opentelemetry::trace::Status::error(why));
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// As the recommendation has it: versions that are not known are read as far as version 0 goes, version 255 is none.
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let mut parts = text.split('-');
        let mut hexadecimal = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            part.bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                .then_some(part)
        };
        let version = hexadecimal(2).ok_or(NotATraceParent)?;
        let trace = hexadecimal(32).and_then(|part| TraceId::from_hex(part).ok());
        let span = hexadecimal(16).and_then(|part| SpanId::from_hex(part).ok());
        let flags = hexadecimal(2).and_then(|part| u8::from_str_radix(part, 16).ok());
        let more = parts.next().is_some();
        let (Some(trace), Some(span), Some(flags)) = (trace, span, flags) else {
            return Err(NotATraceParent);
        };
        if version == "ff" || (version == "00" && more) {
            return Err(NotATraceParent);
        }
        let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
        let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
        context
            .is_valid()
            .then_some(Self(context))
            .ok_or(NotATraceParent)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "00-{}-{}-{:02x}",
            self.0.trace_id(),
            self.0.span_id(),
            self.0.trace_flags().to_u8()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        let parent: TraceParent = TEXT.parse().unwrap();
        assert_eq!(parent.to_string(), TEXT);
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let later = TEXT.replacen("00-", "01-", 1) + "-more";
        assert_eq!(later.parse(), Ok(parent));
    }

    #[test]
    fn what_is_not_one_is_refused() {
        let zero_trace = TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_span = TEXT.replace("b7ad6b7169203331", &"0".repeat(16));
        for text in [
            "",
            "00",
            TEXT.trim_end_matches('1'),
            &TEXT.to_uppercase(),
            &format!("{TEXT}-more"),
            &TEXT.replacen("00-", "ff-", 1),
            &TEXT.replacen("00-", "0g-", 1),
            &TEXT.replace('7', "ß"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(NotATraceParent), "{text}");
        }
    }

    #[test]
    fn without_traces_nothing_stands_anywhere() {
        assert_eq!(TraceParent::current(), None);
        let parent: TraceParent = TEXT.parse().unwrap();
        parent.begin(&Span::none());
        parent.link(&Span::none());
    }
}
