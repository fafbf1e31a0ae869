//! Log lines on standard error, for people or for machines.

use std::io;

use roadstead_runtime::Environment;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter, fmt};

use crate::collector::{CollectorError, ExportOptions};
use crate::export::Exporter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people, in colour on a terminal.
    #[default]
    Text,
    /// A JSON object: `timestamp`, `level`, `target`, `message`, the fields beside them and the `span`s around.
    Json,
}

/// Why [`init`] failed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not in the grammar of directives.
    #[error(
        "log filter `{filter}` is not understood; write directives such as `info,roadstead_storage=debug`"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is something wrong with the collector of traces.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// Log output is set up already in this process.
    #[error("log output is set up already")]
    Twice {
        /// What refused.
        #[source]
        source: tracing_subscriber::util::TryInitError,
    },
}

/// Sends the process's events that pass `filter` to standard error, one line each.
///
/// `filter` is a level, or directives as `tracing-subscriber` takes them (`info,roadstead_storage=debug`); empty means
/// `info`. Times are in UTC. A line that cannot be written is lost; logging never blocks on anything but standard error.
///
/// With `export` the spans of this program go to a collector too, whatever the filter says, and this has to be called on a tokio runtime. Without
/// it a span that is not in the log costs nothing.
///
/// # Errors
///
/// A filter that is not understood, a collector whose address or header fields cannot be used, and a second call in one process. Then what was set
/// up before stays as it is, and nothing is sent. Whether the collector answers is not looked at here.
pub fn init(
    format: LogFormat,
    filter: &str,
    export: Option<(&ExportOptions, Environment)>,
) -> Result<Option<Exporter>, InitError> {
    let colour = io::IsTerminal::is_terminal(&io::stderr());
    let lines = layer(format, io::stderr, colour).with_filter(parse(filter)?);
    let exporter = export
        .map(|(options, environment)| Exporter::start(options, environment))
        .transpose()?;
    let traces = exporter.as_ref().map(|exporter| {
        tracing_opentelemetry::layer()
            .with_tracer(exporter.tracer())
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(filter::filter_fn(is_traced).and(LevelFilter::DEBUG))
    });
    Registry::default()
        .with(lines)
        .with(traces)
        .try_init()
        .map_err(|source| InitError::Twice { source })?;
    Ok(exporter)
}

/// Whether something belongs into traces: the spans of this program, and none of its log lines.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("roadstead")
}

fn parse(filter: &str) -> Result<EnvFilter, InitError> {
    let directives = if filter.trim().is_empty() {
        "info"
    } else {
        filter
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| InitError::Filter {
            filter: filter.to_owned(),
            source,
        })
}

fn layer<W>(format: LogFormat, writer: W, colour: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(colour).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(writer)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = layer(format, move || writer.clone(), false);
        let subscriber =
            Registry::default().with(lines.with_filter(parse(filter).expect("a filter")));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("job.run", job.id = 7);
            let _entered = span.enter();
            tracing::info!(blob.digest = "sha256:ab", "Replicated a blob");
            tracing::debug!("a detail");
        });
        let bytes = sink
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        String::from_utf8(bytes).expect("log lines are UTF-8")
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_at_the_top() {
        let lines = logged(LogFormat::Json, "");
        let line: serde_json::Value = serde_json::from_str(&lines).expect("one object");
        assert_eq!(line["message"], "Replicated a blob");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["blob.digest"], "sha256:ab");
        assert_eq!(line["spans"][0]["job.id"], 7);
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z')),
            "{line}"
        );
    }

    #[test]
    fn text_lines_are_for_people_and_the_filter_decides_which() {
        let lines = logged(LogFormat::Text, "debug");
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(lines.contains("INFO job.run{job.id=7}"), "{lines}");
        assert!(
            lines.contains("Replicated a blob blob.digest=\"sha256:ab\""),
            "{lines}"
        );
        assert!(!lines.contains('\u{1b}'), "{lines}");
        assert_eq!(logged(LogFormat::Text, "warn"), "");
    }

    #[test]
    fn a_filter_that_is_not_understood_is_named() {
        let error = parse("info,roadstead=loud").expect_err("no such level");
        assert!(
            error.to_string().contains("`info,roadstead=loud`"),
            "{error}"
        );
    }

    #[test]
    fn setting_up_twice_is_refused() {
        init(LogFormat::Text, "off", None).expect("nothing is set up yet");
        assert!(matches!(
            init(LogFormat::Json, "info", None),
            Err(InitError::Twice { .. })
        ));
        assert!(matches!(
            init(LogFormat::Json, "a=b=c", None),
            Err(InitError::Filter { .. })
        ));
    }
}
