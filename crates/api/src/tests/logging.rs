//! What a request leaves in the log, and what it never does.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::world::{APP, PASSWORD, World, basic};

/// Keeps what is logged.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_request_leaves_one_line_without_secrets() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .finish();
    // While a process has a single subscriber, other tests' threads, which have none, decide for all which lines are wanted.
    let _second = tracing::Dispatch::new(
        tracing_subscriber::fmt()
            .with_writer(Log::default())
            .finish(),
    );
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    let digest = world.push_blob(b"0123456789").await;
    world
        .request(
            "GET",
            &format!("/v2/{APP}/blobs/{digest}?secret=in-the-query"),
        )
        .with("x-request-id", "blob-pull")
        .with(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .send()
        .await;
    let password = basic("admin", PASSWORD);
    world
        .request("GET", "/v2/")
        .anonymously()
        .with("authorization", &password)
        .with("x-request-id", "login")
        .send()
        .await;
    world
        .request("GET", "/nothing%0a")
        .with("x-request-id", "nowhere")
        .with("traceparent", "00-nonsense-01")
        .send()
        .await;
    world.us.take_down();
    world
        .request("GET", &format!("/v2/{APP}/blobs/{digest}"))
        .with("x-request-id", "failed")
        .send()
        .await;

    let text = log.text();
    let lines = |id: &str| -> Vec<String> {
        let field = format!("request.id={id} http.request.method");
        text.lines()
            .filter(|line| line.contains(&field))
            .map(ToOwned::to_owned)
            .collect()
    };
    let [pull] = &*lines("blob-pull") else {
        panic!("{text}")
    };
    for field in [
        "INFO",
        "http.request.method=GET",
        "http.response.status_code=200",
        "http.route=\"blob\"",
        &format!("repository.name=\"{APP}\""),
        "user.name=\"admin\"",
        "http.response.body.bytes=10",
        "http.response.complete=true",
        "http.request.body.bytes=0",
        "trace.id=\"0af7651916cd43dd8448eb211c80319c\"",
        "duration_ms=0",
    ] {
        assert!(pull.contains(field), "{field} in {pull}");
    }
    let [login] = &*lines("login") else {
        panic!("{text}")
    };
    assert!(login.contains("user.name=\"admin\""), "{login}");
    let [nowhere] = &*lines("nowhere") else {
        panic!("{text}")
    };
    assert!(
        nowhere.contains("http.route=\"none\"")
            && nowhere.contains("404")
            && !nowhere.contains("trace.id"),
        "{nowhere}"
    );
    let [failed] = &*lines("failed") else {
        panic!("{text}")
    };
    assert!(
        failed.contains("WARN") && failed.contains("http.response.status_code=503"),
        "{failed}"
    );
    // The reason is told once, to the operator.
    let reasons = text
        .lines()
        .filter(|line| line.contains("could not be served at present") && line.contains("failed"))
        .count();
    assert_eq!(reasons, 1, "{text}");
    for secret in [PASSWORD, &password, &world.token, "in-the-query", "Bearer"] {
        assert!(!text.contains(secret), "{secret} in the log");
    }
}
