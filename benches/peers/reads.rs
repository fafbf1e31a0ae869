//! Reads that the generator cannot make: over TLS, and by nobody who could have pushed what is read. `wrk` makes them, with the same content at the registry in
//! its embedded form, v2 and nginx.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use roadstead_benches::client::{Client, REPOSITORY};
use roadstead_benches::content::Hashed;
use roadstead_benches::figures::median;
use roadstead_benches::process::cpu_time;
use roadstead_benches::registry::{Home, Registry};
use roadstead_oci::MediaType;
use roadstead_test_servers::{CertificateAuthority, free_port};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::peers::{Certificate, start_distribution, start_nginx, static_files};

/// How long anybody may take for a part of an answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long each of them is asked in a round.
const SECONDS: u32 = 5;

const BIG_BYTES: usize = 256 << 20;
const SMALL_BYTES: usize = 4 << 10;

/// In which way is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Over TLS, with the token of an account; v2 and nginx show the same certificate.
    Tls,
    /// Without TLS, from a public repository, with the token of nobody; and with that of an account, to compare.
    Anonymous,
}

impl Reading {
    pub(crate) const ALL: [Self; 2] = [Self::Tls, Self::Anonymous];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "embedded-tls",
            Self::Anonymous => "embedded-anonymous",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Tls => "SQLite and a directory, over TLS with one certificate for all",
            Self::Anonymous => "SQLite and a directory, a public repository without an account",
        }
    }
}

/// Something that is read.
struct Work {
    name: &'static str,
    /// In the repository.
    path: String,
    connections: u32,
    /// What is told: microseconds of processor time for an operation, or seconds for a GiB.
    by_bytes: bool,
}

/// Somebody who is asked.
struct Contender {
    name: &'static str,
    /// Such as `https://127.0.0.1:8443`.
    url: String,
    /// Processes, whose time counts.
    processes: Vec<String>,
    /// The header with the token, where it takes one.
    authorization: Option<String>,
}

/// What `wrk` has seen.
struct Seen {
    cost: f64,
    raw: Value,
}

/// Measures, prints the medians and leaves the raw data in a file.
///
/// # Panics
/// When a server does not start or answers anything but what it is asked for.
pub(crate) fn measure(reading: Reading, arguments: &Arguments, scratch: &Path, file: &Path) {
    let config = Hashed::new(b"{}".to_vec());
    let blobs = [
        Hashed::of_chance(1, BIG_BYTES),
        Hashed::of_chance(2, SMALL_BYTES),
    ];
    let manifest = manifest(&config, &blobs);
    let push = |client: &mut Client| {
        for blob in std::iter::once(&config).chain(&blobs) {
            client.push_blob(blob);
        }
        client.push_manifest("latest", &manifest);
    };
    let certificate = (reading == Reading::Tls).then(|| issue(scratch));
    let certificate = certificate.as_ref();
    let (registry, mut contenders) = start_registry(arguments, scratch, certificate, push);

    let home = scratch.join("distribution");
    let (running, port) = start_distribution(&home, None);
    push(&mut Client::of_nobody(loopback(port), PATIENCE));
    drop(running);
    let v2 = start_distribution(&home, certificate);
    let home = scratch.join("nginx");
    let files = static_files(&home).join("v2").join(REPOSITORY);
    for directory in ["blobs", "manifests"] {
        fs::create_dir_all(files.join(directory)).expect("a directory can be made");
    }
    for blob in &blobs {
        let file = files.join("blobs").join(blob.digest.to_string());
        fs::write(file, &blob.bytes).expect("there is room");
    }
    fs::write(files.join("manifests/latest"), &manifest.bytes).expect("there is room");
    let nginx = start_nginx(&home, certificate);
    for (name, (running, port)) in [("v2", &v2), ("nginx", &nginx)] {
        contenders.push(Contender {
            name,
            url: url(certificate, *port),
            processes: running.with_children(),
            authorization: None,
        });
    }

    let [big, small] = &blobs;
    let work = |name, path: String, connections, by_bytes| Work {
        name,
        path,
        connections,
        by_bytes,
    };
    let works = [
        work(
            "manifest GET by tag",
            "manifests/latest".to_owned(),
            32,
            false,
        ),
        work(
            "GET blob of 4 KiB",
            format!("blobs/{}", small.digest),
            32,
            false,
        ),
        work(
            "pull of 256 MiB, 8 clients",
            format!("blobs/{}", big.digest),
            8,
            true,
        ),
    ];
    let raw = measure_works(&works, &contenders, arguments, scratch);
    fs::write(file, format!("{raw:#}\n")).expect("a file can be written");
    registry.stop();
}

/// Asks each in turns, prints a table, and returns what was seen.
fn measure_works(
    works: &[Work],
    contenders: &[Contender],
    arguments: &Arguments,
    scratch: &Path,
) -> Value {
    println!("| work | | who | median | us to them |");
    println!("|---|---|---|---|---|");
    let mut raw = Map::new();
    for work in works {
        let mut costs = vec![Vec::new(); contenders.len()];
        let mut seen = vec![Vec::new(); contenders.len()];
        for _ in 0..arguments.rounds {
            for (index, contender) in contenders.iter().enumerate() {
                let one = ask(work, contender, &arguments.harness, scratch);
                costs[index].push(one.cost);
                seen[index].push(one.raw);
            }
        }
        let unit = if work.by_bytes { "s/GiB" } else { "us/op" };
        let ours = costs.first().map_or(0.0, |costs| median(costs));
        for (contender, costs) in contenders.iter().zip(&costs) {
            let theirs = median(costs);
            println!(
                "| {} | {unit} | {} | {theirs:.3} | {:.3} |",
                work.name,
                contender.name,
                ours / theirs
            );
        }
        let seen = contenders.iter().zip(seen);
        let seen: Map<String, Value> = seen
            .map(|(contender, seen)| (contender.name.to_owned(), Value::Array(seen)))
            .collect();
        raw.insert(work.name.to_owned(), Value::Object(seen));
    }
    Value::Object(raw)
}

/// Has `wrk` ask somebody for some seconds.
fn ask(work: &Work, contender: &Contender, harness: &Path, scratch: &Path) -> Seen {
    let paths = scratch.join("paths");
    fs::write(&paths, format!("/v2/{REPOSITORY}/{}\n", work.path)).expect("there is room");
    let mut command = Command::new("wrk");
    command
        .args(["-t2", "--timeout", "60s", "--latency"])
        .arg(format!("-c{}", work.connections))
        .arg(format!("-d{SECONDS}s"))
        .arg("-s")
        .arg(harness.join("req.lua"))
        .env("WRK_PATHS", &paths)
        .env("WRK_METHOD", "GET")
        .env("WRK_OK", "200");
    if work.by_bytes {
        // Else it would keep each body until its end. Whoever does not send them shows by the bytes.
        command.env("WRK_NORESP", "1");
    }
    if let Some(authorization) = &contender.authorization {
        command.args(["-H", &format!("Authorization: {authorization}")]);
    }
    let before = cpu(&contender.processes);
    let output = command.arg(&contender.url).output().expect("wrk runs");
    let spent = cpu(&contender.processes).saturating_sub(before);
    let said = String::from_utf8_lossy(&output.stdout);
    let mut raw: Value = said
        .lines()
        .find_map(|line| line.strip_prefix("JSON "))
        .and_then(|document| serde_json::from_str(document).ok())
        .unwrap_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            panic!("wrk and {}: {said}{errors}", contender.name)
        });
    let figure = |name: &str| raw[name].as_f64().unwrap_or_default();
    let (operations, bytes) = (figure("ops"), figure("bytes"));
    assert!(
        operations > 0.0 && figure("errors") < 1.0,
        "{}, {}: {raw}",
        work.name,
        contender.name
    );
    let cost = if work.by_bytes {
        let gibibytes = bytes / f64::from(1 << 30);
        assert!(gibibytes > 0.1, "{} sent no blobs: {raw}", contender.name);
        spent.as_secs_f64() / gibibytes
    } else {
        spent.as_secs_f64() * 1e6 / operations
    };
    raw["server_cpu_s"] = json!(spent.as_secs_f64());
    Seen { cost, raw }
}

/// Starts the registry, has it filled, and starts it anew as it is measured. The first of those who are asked is it.
fn start_registry(
    arguments: &Arguments,
    scratch: &Path,
    certificate: Option<&Certificate>,
    push: impl Fn(&mut Client),
) -> (Registry, Vec<Contender>) {
    let directory = scratch.join("registry");
    fs::create_dir_all(&directory).expect("a directory can be made");
    let home = Home::new(&arguments.registry, &directory);
    home.configure("CREATE_PRIVATE_REPO_ON_PUSH: false\n");
    let registry = home.start();
    push(&mut registry.client());
    registry.stop();
    let plain = home.address().port();
    let mut command = Command::new(&arguments.registry);
    let port = match certificate {
        None => plain,
        Some(Certificate { chain, key }) => {
            // Where it looks for them: beside its configuration.
            for (from, to) in [(chain, "ssl.cert"), (key, "ssl.key")] {
                fs::copy(from, directory.join(to)).expect("there is room");
            }
            let port = free_port();
            command.args(["--listen-tls", &loopback(port).to_string()]);
            port
        }
    };
    let registry = home.start_by(command, PATIENCE);
    let url = url(certificate, port);
    let password = fs::read_to_string(directory.join("admin-password")).expect("there is one");
    let credentials = format!("admin:{}", password.trim());
    let contender = |name, credentials| Contender {
        name,
        url: url.clone(),
        processes: vec![registry.id().to_string()],
        authorization: Some(format!("Bearer {}", token(&url, plain, credentials))),
    };
    let contenders = if certificate.is_some() {
        vec![contender("us", Some(&credentials))]
    } else {
        vec![
            contender("us", None),
            contender("us, with an account", Some(&credentials)),
        ]
    };
    (registry, contenders)
}

/// A token to pull with. The registry is called by its plain port, whichever is asked.
fn token(url: &str, plain: u16, credentials: Option<&String>) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--insecure"]);
    if let Some(credentials) = credentials {
        command.args(["--user", credentials]);
    }
    command.arg(format!(
        "{url}/v2/auth?service=127.0.0.1:{plain}&scope=repository:{REPOSITORY}:pull"
    ));
    let answer = command.output().expect("curl runs");
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("a token is given");
    answer["token"].as_str().expect("there is one").to_owned()
}

/// A certificate for this machine, in files.
fn issue(scratch: &Path) -> Certificate {
    let issued = CertificateAuthority::default().issue(&["127.0.0.1", "localhost"]);
    let certificate = Certificate {
        chain: scratch.join("certificate.pem"),
        key: scratch.join("key.pem"),
    };
    fs::write(&certificate.chain, issued.certificate).expect("there is room");
    fs::write(&certificate.key, issued.key).expect("there is room");
    certificate
}

fn manifest(config: &Hashed, layers: &[Hashed]) -> Hashed {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| layer.descriptor(&MediaType::OCI_LAYER_GZIP))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": config.descriptor(&MediaType::OCI_CONFIG), "layers": layers,
    });
    Hashed::new(manifest.to_string().into_bytes())
}

/// The processor time of them all.
fn cpu(processes: &[String]) -> Duration {
    processes.iter().map(|process| cpu_time(process).0).sum()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn url(certificate: Option<&Certificate>, port: u16) -> String {
    let scheme = if certificate.is_some() {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{}", loopback(port))
}
