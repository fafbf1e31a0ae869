//! A collector of traces and metrics: keeps what it is sent, or does what collectors do on bad days.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message as _;

/// How a collector behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CollectorMood {
    /// It takes what it is sent.
    #[default]
    Takes,
    /// It reads what it is sent and never answers.
    Hangs,
    /// It answers 503.
    Refuses,
    /// It answers something that is not HTTP.
    Babbles,
}

/// A span as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// In hexadecimal digits, as all ids.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span that it is in; empty: none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Those of the service that it comes from.
    pub service: BTreeMap<String, String>,
    /// Header fields that came with it, by lower-case name.
    pub headers: BTreeMap<String, String>,
}

/// A collector that takes OTLP over HTTP, as protocol buffers, on a free loopback port.
#[derive(Debug)]
pub struct OtlpCollector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    mood: CollectorMood,
    requests: u64,
    spans: Vec<ReceivedSpan>,
    metrics: BTreeMap<String, usize>,
}

impl OtlpCollector {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it behaves so.
    pub fn set_mood(&self, mood: CollectorMood) {
        lock(&self.state).mood = mood;
    }

    /// How many requests have come, whatever became of them.
    pub fn requests(&self) -> u64 {
        lock(&self.state).requests
    }

    /// All spans that it took.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        lock(&self.state).spans.clone()
    }

    /// The names of the metrics that it took, and how often each of them came.
    pub fn metrics(&self) -> BTreeMap<String, usize> {
        lock(&self.state).metrics.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection until its other end closes it.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).ok()?;
            let Some((name, value)) = field.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mood = {
            let mut state = lock(state);
            state.requests += 1;
            if state.mood == CollectorMood::Takes {
                state.take(&path, &headers, &body);
            }
            state.mood
        };
        let answer: &[u8] = match mood {
            CollectorMood::Takes => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            CollectorMood::Refuses => {
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
            }
            CollectorMood::Babbles => b"\x00\x01 so, wie es war\r\n",
            // The other end gives up, which ends the next reading.
            CollectorMood::Hangs => continue,
        };
        stream.write_all(answer).ok()?;
    }
}

impl State {
    fn take(&mut self, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) {
        match path {
            "/v1/traces" => {
                let request =
                    ExportTraceServiceRequest::decode(body).expect("the message of a trace");
                for of_service in request.resource_spans {
                    let service = of_service.resource.unwrap_or_default().attributes;
                    let service = texts(&service);
                    let spans = of_service.scope_spans.into_iter();
                    for span in spans.flat_map(|of_scope| of_scope.spans) {
                        self.spans.push(ReceivedSpan {
                            trace: hexadecimal(&span.trace_id),
                            id: hexadecimal(&span.span_id),
                            parent: hexadecimal(&span.parent_span_id),
                            name: span.name,
                            attributes: texts(&span.attributes),
                            service: service.clone(),
                            headers: headers.clone(),
                        });
                    }
                }
            }
            "/v1/metrics" => {
                let request =
                    ExportMetricsServiceRequest::decode(body).expect("the message of metrics");
                let scopes = request
                    .resource_metrics
                    .into_iter()
                    .flat_map(|of_service| of_service.scope_metrics);
                for metric in scopes.flat_map(|scope| scope.metrics) {
                    *self.metrics.entry(metric.name).or_default() += 1;
                }
            }
            other => panic!("nothing is sent to {other}"),
        }
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|attribute| {
            let value = attribute.value.clone().and_then(|value| value.value);
            let text = match value {
                Some(any_value::Value::StringValue(text)) => text,
                Some(any_value::Value::IntValue(number)) => number.to_string(),
                Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
                other => format!("{other:?}"),
            };
            (attribute.key.clone(), text)
        })
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text takes all that is written to it.
        write!(text, "{byte:02x}").ok();
        text
    })
}
