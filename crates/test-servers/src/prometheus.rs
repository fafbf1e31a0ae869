//! Prometheus, as Debian packages it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::http::Client;
use crate::server::{Program, Server};

/// A Prometheus that reads metrics every second. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
}

impl Prometheus {
    /// Starts one that reads the metrics of these addresses, as the job `roadstead`, and keeps these rules.
    ///
    /// # Panics
    /// When it is not installed, or does not start: it refuses rules that are wrong.
    pub fn start(targets: &[SocketAddr], rules: &Path) -> Self {
        let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: roadstead\n  static_configs: [{{targets: [{}]}}]\n",
            rules.display(),
            targets.join(", ")
        );
        let server = Server::start("prometheus", |directory, port| {
            let file = directory.join("prometheus.yml");
            fs::write(&file, configuration).expect("a temporary directory can be written");
            Program {
                path: "prometheus".into(),
                arguments: vec![
                    format!("--config.file={}", file.display()).into(),
                    format!("--storage.tsdb.path={}", directory.join("data").display()).into(),
                    format!("--web.listen-address=127.0.0.1:{port}").into(),
                ],
                environment: Vec::new(),
            }
        });
        Self { server }
    }

    /// Asks its API: the path behind `/api/v1/`, and a query in the form of a form. The answer is JSON; none while it does not answer.
    pub fn ask(&self, path: &str, query: &[(&str, &str)]) -> Option<String> {
        let form: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .collect();
        let form = form.join("&");
        let answer = Client::connect(self.server.port())
            .and_then(|mut client| {
                client.exchange("GET", &format!("/api/v1/{path}?{form}"), "", b"")
            })
            .ok()?;
        // While it starts it says so in words.
        if answer.status >= 500 {
            return None;
        }
        String::from_utf8(answer.body).ok()
    }
}

/// A text as it stands in a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
