//! Two regions over TLS behind the balancers' configurations, under load, while something of one region goes away.
//!
//! Settings: `ROADSTEAD_TEST_BALANCED_REQUESTS` (200), how many requests have to succeed before a failure, and after it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use roadstead_oci::{Algorithm, Digest};
use roadstead_test_servers::{
    CertificateAuthority, Postgres, PostgresDatabase, S3Server, free_port,
};
use roadstead_testkit::{Content, RegistryProcess, RegistrySettings, run, setting, within};
use roadstead_tests::store_driver;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{TURN, shipped};

/// How many clients there are at once.
const CLIENTS: u64 = 4;

/// How often the state of the world is looked at, 50 ms apart: a minute.
const CHECKS_MAX: u32 = 1200;

/// The longest that a command may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Two regions, of which each has a store and a registry that speaks HTTPS, for a balancer on `port`.
struct Regions {
    us: Region,
    eu: Region,
    port: u16,
    authority: CertificateAuthority,
    directory: TempDir,
    _database: PostgresDatabase,
}

struct Region {
    store: S3Server,
    settings: RegistrySettings,
    registry: Option<RegistryProcess>,
    tls: u16,
    tls_proxy: u16,
}

impl Regions {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Postgres::shared().database();
        let port = free_port();
        let stores = [S3Server::start(), S3Server::start()];
        let driver = |store: &S3Server| {
            store.create_bucket("quay");
            store_driver(store, store.port(), "quay", "/registry")
        };
        let config = json!({
            "SERVER_HOSTNAME": format!("localhost:{port}"),
            "PREFERRED_URL_SCHEME": "https",
            "SETUP_COMPLETE": true,
            "DB_URI": database.uri(),
            "DATABASE_SECRET_KEY": "1234567890",
            "SECRET_KEY": "0987654321",
            "SUPER_USERS": ["admin"],
            "FEATURE_SUPERUSERS_FULL_ACCESS": true,
            "CREATE_NAMESPACE_ON_PUSH": true,
            "FEATURE_STORAGE_REPLICATION": true,
            "FEATURE_PROXY_PROTOCOL": true,
            "TRUSTED_PROXY_CIDR": "127.0.0.1/32",
            "ROADSTEAD_DATA_DIRECTORY": directory.path().join("data").to_str().unwrap(),
            // A client that was sent to a store does not come back when that fails; what is measured here is the registry.
            "ROADSTEAD_STREAM_NETWORKS": ["127.0.0.0/8"],
            "DISTRIBUTED_STORAGE_CONFIG": {"usstorage": driver(&stores[0]), "eustorage": driver(&stores[1])},
            "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS": ["usstorage", "eustorage"],
            "DISTRIBUTED_STORAGE_PREFERENCE": ["usstorage", "eustorage"],
        });
        let authority = CertificateAuthority::default();
        let issued = authority.issue(&["localhost", "127.0.0.1"]);
        let stack = directory.path().join("stack");
        fs::create_dir(&stack).unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        // JSON is YAML.
        fs::write(stack.join("config.yaml"), config.to_string()).unwrap();
        fs::write(stack.join("ssl.cert"), &issued.certificate).unwrap();
        fs::write(stack.join("ssl.key"), &issued.key).unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("ca.crt"), authority.pem()).unwrap();
        fs::write(place("balancer.crt"), &issued.certificate).unwrap();
        fs::write(place("balancer.key"), &issued.key).unwrap();
        fs::write(place("balancer.pem"), issued.certificate + &issued.key).unwrap();

        let [us, eu] = stores;
        let region = |store, preference: &str| {
            let (tls, tls_proxy) = (free_port(), free_port());
            let mut settings = RegistrySettings::new(place("data"));
            settings.configuration = Some(stack.clone());
            settings.environment = vec![(
                "QUAY_DISTRIBUTED_STORAGE_PREFERENCE".to_owned(),
                preference.to_owned(),
            )];
            let local = |port| format!("{}:{port}", Ipv4Addr::LOCALHOST);
            settings.arguments = vec![
                "--listen-tls".to_owned(),
                local(tls),
                "--listen-tls-proxy".to_owned(),
                local(tls_proxy),
            ];
            Region {
                store,
                settings,
                registry: None,
                tls,
                tls_proxy,
            }
        };
        let mut regions = Self {
            us: region(us, "usstorage eustorage"),
            eu: region(eu, "eustorage usstorage"),
            port,
            authority,
            _database: database,
            directory,
        };
        for region in [&mut regions.us, &mut regions.eu] {
            region.registry = Some(region.settings.start().await);
        }
        regions
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// HAProxy with this configuration.
    async fn haproxy(&self, configuration: &Path, us: u16, eu: u16) -> Balancer {
        let status = self.path("haproxy.sock");
        // A socket to ask it through, which is nothing for clients.
        let asked = self.path("status.cfg");
        let text = format!(
            "global\n    stats socket {} level admin\n",
            status.display()
        );
        fs::write(&asked, text).unwrap();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(&asked)
            .arg("-f")
            .arg(configuration)
            .env("ROADSTEAD_BIND", local(self.port))
            .env("ROADSTEAD_HOSTNAME", "localhost")
            .env("ROADSTEAD_CA", self.path("ca.crt"))
            .env("ROADSTEAD_CERTIFICATE", self.path("balancer.pem"))
            .env("ROADSTEAD_US", local(us))
            .env("ROADSTEAD_EU", local(eu))
            .env("ROADSTEAD_US_CHECK", self.us.tls.to_string())
            .env("ROADSTEAD_EU_CHECK", self.eu.tls.to_string());
        let balancer = Balancer::spawn(command, &self.path("balancer.log"), Some(status));
        self.client().wait().await;
        balancer
    }

    fn client(&self) -> Client {
        self.client_waiting(Duration::from_mins(2))
    }

    /// A client that gives an answer so long. Every request has a connection of its own, for which the balancer chooses anew.
    fn client_waiting(&self, patience: Duration) -> Client {
        let certificate = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([certificate])
            .http1_only()
            .pool_max_idle_per_host(0)
            .timeout(patience)
            .build()
            .unwrap();
        Client {
            http,
            base: format!("https://localhost:{}", self.port),
            password: self.us.settings.password(),
        }
    }

    async fn stop(mut self) {
        for region in [&mut self.us, &mut self.eu] {
            if let Some(registry) = region.registry.take() {
                let status = registry.stop().await;
                assert!(status.success(), "{status}");
            }
        }
    }
}

impl Region {
    /// Has it stand still, or go on: it accepts connections, and answers nothing.
    async fn signal(&self, name: &str) {
        self.registry.as_ref().unwrap().signal(name).await;
    }

    fn registry(&mut self) -> &mut RegistryProcess {
        self.registry.as_mut().unwrap()
    }

    /// How many requests its log has.
    fn requests(&self) -> usize {
        let log = self.registry.as_ref().unwrap().log();
        log.lines()
            .filter(|line| line.contains("request_log") && line.contains(" /v2/"))
            .count()
    }
}

/// A balancer that runs. Killed when dropped.
struct Balancer {
    _child: Child,
    status: Option<PathBuf>,
}

impl Balancer {
    fn spawn(mut command: Command, log: &Path, status: Option<PathBuf>) -> Self {
        let log = fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            _child: child,
            status,
        }
    }

    /// Waits until HAProxy says this of a region: `UP` or `DOWN`.
    async fn until(&self, region: &str, state: &str) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let socket = self.status.as_ref().unwrap();
        within(CHECKS_MAX, &format!("{region} is {state}"), async || {
            let mut stream = tokio::net::UnixStream::connect(socket).await.ok()?;
            stream.write_all(b"show stat\n").await.ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.ok()?;
            let server = format!("regions,{region},");
            let line = text.lines().find(|line| line.starts_with(&server))?;
            let said = line.split(',').nth(17)?;
            (said == state).then_some(())
        })
        .await;
    }
}

/// A client behind the balancer, which tries nothing twice.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    base: String,
    password: String,
}

impl Client {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("https://") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.http
            .request(method, url)
            .basic_auth("admin", Some(&self.password))
    }

    /// Sends it; says what failed if the answer is not this one.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        wanted: StatusCode,
    ) -> Result<reqwest::Response, String> {
        let (http, request) = request.build_split();
        let request = request.map_err(|error| error.to_string())?;
        let said = format!("{} {}", request.method(), request.url().path());
        let answer = http
            .execute(request)
            .await
            .map_err(|error| format!("{said}: {error:?}"))?;
        if answer.status() == wanted {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        Err(format!("{said}: {status} {body}"))
    }

    async fn wait(&self) {
        within(CHECKS_MAX, "the balancer answers", async || {
            let request = self.request(Method::GET, "/v2/");
            self.send(request, StatusCode::OK).await.ok()
        })
        .await;
    }

    /// Pushes an artifact of one small blob under a tag.
    async fn push(&self, content: &Content, tag: &str) -> Result<u64, String> {
        let digest = content.digest(Algorithm::Sha256);
        let begin = self.request(Method::POST, "/v2/team/app/blobs/uploads/");
        let begun = self.send(begin, StatusCode::ACCEPTED).await?;
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let joint = if location.contains('?') { '&' } else { '?' };
        let put = self
            .request(Method::PUT, &format!("{location}{joint}digest={digest}"))
            .body(content.bytes());
        self.send(put, StatusCode::CREATED).await?;
        let blob = |media_type: &str| json!({"mediaType": media_type, "digest": digest.as_str(), "size": content.size()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.example.test",
            "config": blob("application/vnd.example.config"),
            "layers": [blob("application/vnd.example.layer")],
        });
        let put = self
            .request(Method::PUT, &format!("/v2/team/app/manifests/{tag}"))
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(manifest.to_string());
        self.send(put, StatusCode::CREATED).await?;
        Ok(3)
    }

    /// Pulls it, and looks at every byte.
    async fn pull(&self, digest: &Digest, tag: &str) -> Result<u64, String> {
        let get = self.request(Method::GET, &format!("/v2/team/app/manifests/{tag}"));
        self.send(get, StatusCode::OK).await?;
        let get = self.request(Method::GET, &format!("/v2/team/app/blobs/{digest}"));
        let answer = self.send(get, StatusCode::OK).await?;
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| format!("GET blob {digest}: {error:?}"))?;
        if Digest::of(Algorithm::Sha256, &bytes) == *digest {
            Ok(2)
        } else {
            Err(format!("GET blob {digest}: other bytes"))
        }
    }
}

/// Clients that push and pull without a pause until they are told to stop.
struct Load {
    clients: JoinSet<Vec<String>>,
    succeeded: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// They pull what is everywhere already: what was only pushed a moment ago is as available as the one store that has it.
    fn start(client: &Client, name: &str, known: &[(Digest, String)]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let succeeded = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (client, stopped, succeeded) =
                (client.clone(), stopped.clone(), Arc::clone(&succeeded));
            let (name, known) = (name.to_owned(), known.to_vec());
            clients.spawn(async move {
                let mut failures = Vec::new();
                let mut count = 0_u64;
                while !*stopped.borrow() {
                    count += 1;
                    let content = Content::new(number << 32 | count, 50_000);
                    let (digest, pulled) = &known[usize::try_from(count).unwrap() % known.len()];
                    for outcome in [
                        client
                            .push(&content, &format!("{name}-{number}-{count}"))
                            .await,
                        client.pull(digest, pulled).await,
                    ] {
                        match outcome {
                            Ok(requests) => {
                                succeeded.fetch_add(requests, Ordering::Relaxed);
                            }
                            Err(failure) => failures.push(failure),
                        }
                    }
                }
                failures
            });
        }
        Self {
            clients,
            succeeded,
            stop,
        }
    }

    /// Waits until some more requests have succeeded.
    async fn go_on(&self) {
        let more = setting("ROADSTEAD_TEST_BALANCED_REQUESTS", 200);
        let until = self.succeeded.load(Ordering::Relaxed) + more;
        within(CHECKS_MAX * 2, "requests succeed", async || {
            (self.succeeded.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
    }

    /// Stops the clients: what failed, of how many.
    async fn failures(self, what: &str) -> Vec<String> {
        self.stop.send(true).unwrap();
        let failures = self.clients.join_all().await.concat();
        let succeeded = self.succeeded.load(Ordering::Relaxed);
        told(&format!(
            "{what}: {} failed, {succeeded} succeeded",
            failures.len()
        ));
        failures
    }
}

/// The figures that the tests are about.
fn told(figures: &str) {
    println!("{figures}");
}

/// Pushes some artifacts, and waits until both stores have them.
async fn known(regions: &Regions, client: &Client) -> Vec<(Digest, String)> {
    let mut known = Vec::new();
    for number in 0..10 {
        let content = Content::new(u64::MAX - number, 200_000);
        let tag = format!("known-{number}");
        client.push(&content, &tag).await.unwrap();
        known.push((content.digest(Algorithm::Sha256), tag));
    }
    let wait = ["replication", "status", "--wait", "--timeout", "9m"];
    let waited = regions.us.settings.admin().run(&wait).await;
    waited.expect_success();
    known
}

async fn site(region: &Region, arguments: &[&str]) {
    let arguments = [&["site"], arguments].concat();
    region
        .settings
        .admin()
        .run(&arguments)
        .await
        .expect_success();
}

#[tokio::test]
async fn behind_haproxy_a_lost_store_or_a_drained_region_fails_no_request_and_a_killed_region_only_those_in_flight()
 {
    let _turn = TURN.lock().await;
    install_provider();
    let mut regions = Regions::start().await;
    let configuration = shipped("haproxy/terminating.cfg");
    let (us, eu) = (regions.us.tls, regions.eu.tls);
    let balancer = regions.haproxy(&configuration, us, eu).await;
    let client = regions.client();
    balancer.until("us", "UP").await;
    balancer.until("eu", "UP").await;

    let known = known(&regions, &client).await;
    let load = Load::start(&client, "store", &known);
    load.go_on().await;
    regions.us.store.kill();
    load.go_on().await;
    regions.us.store.restart();
    load.go_on().await;
    let failures = load
        .failures("the store of us was killed and came back")
        .await;
    assert!(failures.is_empty(), "{failures:#?}");

    let load = Load::start(&client, "drain", &known);
    load.go_on().await;
    site(&regions.us, &["drain", "usstorage"]).await;
    balancer.until("us", "DOWN").await;
    let before = regions.us.requests();
    load.go_on().await;
    // It was in the middle of some when it went out.
    let after = regions.us.requests();
    assert!(
        after - before <= usize::try_from(CLIENTS * 5).unwrap(),
        "{before} {after}"
    );
    site(&regions.us, &["undrain", "usstorage"]).await;
    balancer.until("us", "UP").await;
    load.go_on().await;
    let failures = load.failures("us was drained and came back").await;
    assert!(failures.is_empty(), "{failures:#?}");

    let load = Load::start(&client, "region", &known);
    load.go_on().await;
    regions.us.registry().kill().await;
    load.go_on().await;
    balancer.until("us", "DOWN").await;
    load.go_on().await;
    let failures = load.failures("the registry of us was killed").await;
    // Each client had one request in flight at the most.
    let in_flight = usize::try_from(CLIENTS).unwrap();
    assert!(failures.len() <= in_flight, "{failures:#?}");
    regions.us.registry = Some(regions.us.settings.start().await);
    balancer.until("us", "UP").await;

    // A region that hangs: once it is out, it costs nothing.
    regions.us.signal("-STOP").await;
    balancer.until("us", "DOWN").await;
    let load = Load::start(&client, "hanging", &known);
    load.go_on().await;
    let failures = load.failures("us hung and was out").await;
    assert!(failures.is_empty(), "{failures:#?}");
    regions.us.signal("-CONT").await;
    balancer.until("us", "UP").await;
    drop(balancer);
    regions.stop().await;
}

/// The configuration in many people's documentation: whether a port is open.
#[tokio::test]
async fn behind_a_check_of_the_port_alone_a_drained_or_hanging_region_goes_on_getting_requests() {
    let _turn = TURN.lock().await;
    install_provider();
    let regions = Regions::start().await;
    let text = fs::read_to_string(shipped("haproxy/passthrough.cfg")).unwrap();
    let plain: String = text
        .lines()
        .filter(|line| !line.contains("httpchk") && !line.contains("http-check"))
        .map(|line| match line.split_once(" check check-ssl ") {
            Some((before, _)) => format!("{before} check\n"),
            None => line.replace("leastconn", "roundrobin") + "\n",
        })
        .collect();
    assert!(plain.contains("send-proxy-v2 check\n"), "{plain}");
    let configuration = regions.path("plain.cfg");
    fs::write(&configuration, plain).unwrap();
    let (us, eu) = (regions.us.tls_proxy, regions.eu.tls_proxy);
    let balancer = regions.haproxy(&configuration, us, eu).await;
    let client = regions.client();
    // Each process tells of itself within seconds, and the last region that runs is not drained.
    within(CHECKS_MAX, "the other region runs", async || {
        let drain = ["site", "drain", "usstorage"];
        let drained = regions.us.settings.admin().run(&drain).await;
        drained.status.success().then_some(())
    })
    .await;
    let health = format!("https://localhost:{}/health/endtoend", regions.us.tls);
    within(CHECKS_MAX, "us says that it is drained", async || {
        let asked = client.send(
            client.request(Method::GET, &health),
            StatusCode::SERVICE_UNAVAILABLE,
        );
        asked.await.ok()
    })
    .await;
    let known = known(&regions, &client).await;
    let load = Load::start(&client, "plain", &known);
    load.go_on().await;
    let before = regions.us.requests();
    load.go_on().await;
    let failures = load
        .failures("us was drained behind a check of the port")
        .await;
    assert!(failures.is_empty(), "it serves all the same: {failures:#?}");
    balancer.until("us", "UP").await;
    assert!(
        regions.us.requests() > before + 20,
        "half of them still go to us"
    );

    // And a region that hangs is never out: half of the requests fail for as long as it does.
    regions.us.signal("-STOP").await;
    let hasty = regions.client_waiting(Duration::from_secs(2));
    let (mut failed, asked) = (0, 20);
    for _ in 0..asked {
        let request = hasty.request(Method::GET, "/v2/");
        failed += usize::from(hasty.send(request, StatusCode::OK).await.is_err());
    }
    told(&format!(
        "us hung behind a check of the port: {failed} of {asked} failed"
    ));
    assert!(failed >= 5, "{failed} of {asked}");
    balancer.until("us", "UP").await;
    regions.us.signal("-CONT").await;
    drop(balancer);
    regions.stop().await;
}

#[tokio::test]
async fn through_haproxy_and_the_proxy_protocol_the_registry_knows_who_the_client_is() {
    let _turn = TURN.lock().await;
    install_provider();
    let regions = Regions::start().await;
    // Another client each time: the log keeps those of before.
    for (configuration, us, eu, address) in [
        (
            "haproxy/passthrough.cfg",
            regions.us.tls_proxy,
            regions.eu.tls_proxy,
            "127.0.0.7",
        ),
        (
            "haproxy/terminating.cfg",
            regions.us.tls,
            regions.eu.tls,
            "127.0.0.8",
        ),
    ] {
        let balancer = regions.haproxy(&shipped(configuration), us, eu).await;
        balancer.until("us", "UP").await;
        balancer.until("eu", "UP").await;
        asks_as(&regions, address).await;
        drop(balancer);
    }
    regions.stop().await;
}

#[tokio::test]
async fn behind_nginx_a_killed_region_fails_only_what_was_in_flight() {
    let _turn = TURN.lock().await;
    install_provider();
    let mut regions = Regions::start().await;
    let text = fs::read_to_string(shipped("nginx/nginx.conf")).unwrap();
    let mut changed = text.clone();
    for (from, to) in [
        (
            "us.example.com:8443",
            format!("127.0.0.1:{}", regions.us.tls),
        ),
        (
            "eu.example.com:8443",
            format!("127.0.0.1:{}", regions.eu.tls),
        ),
        (
            "listen 443 ssl",
            format!("listen 127.0.0.1:{} ssl", regions.port),
        ),
        ("registry.example.com", "localhost".to_owned()),
        (
            "/etc/nginx/registry.crt",
            regions.path("balancer.crt").display().to_string(),
        ),
        (
            "/etc/nginx/registry.key",
            regions.path("balancer.key").display().to_string(),
        ),
        (
            "/etc/ssl/certs/ca-certificates.crt",
            regions.path("ca.crt").display().to_string(),
        ),
        (
            "/var/log/nginx/error.log",
            regions.path("nginx.log").display().to_string(),
        ),
        (
            "/run/nginx.pid",
            regions.path("nginx.pid").display().to_string(),
        ),
    ] {
        assert!(changed.contains(from), "{from}");
        changed = changed.replace(from, &to);
    }
    let configuration = regions.path("nginx.conf");
    fs::write(&configuration, changed).unwrap();
    let mut command = Command::new("nginx");
    command
        // One process, so that no worker outlives it.
        .args(["-g", "daemon off; master_process off;", "-e"])
        .arg(regions.path("nginx.log"))
        .arg("-c")
        .arg(&configuration);
    let balancer = Balancer::spawn(command, &regions.path("balancer.log"), None);
    let client = regions.client();
    client.wait().await;
    asks_as(&regions, "127.0.0.7").await;

    let known = known(&regions, &client).await;
    let load = Load::start(&client, "region", &known);
    load.go_on().await;
    regions.us.registry().kill().await;
    load.go_on().await;
    let failures = load
        .failures("the registry of us was killed behind nginx")
        .await;
    let in_flight = usize::try_from(CLIENTS).unwrap();
    assert!(failures.len() <= in_flight, "{failures:#?}");
    drop(balancer);
    regions.us.registry = None;
    regions.stop().await;
}

/// A request from this address is logged with this address.
async fn asks_as(regions: &Regions, address: &str) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--ipv4", "--interface", address])
        .arg("--cacert")
        .arg(regions.path("ca.crt"))
        .arg(format!("https://localhost:{}/v2/", regions.port));
    run(&mut curl, LIMIT).await.expect_success();
    let logged = format!("client.address={address}");
    within(CHECKS_MAX, "the client's address is logged", async || {
        [&regions.us, &regions.eu]
            .into_iter()
            .any(|region| {
                let log = region.registry.as_ref().unwrap().log();
                log.contains(&logged)
            })
            .then_some(())
    })
    .await;
}

/// Of TLS, for clients.
fn install_provider() {
    // Another test may have been faster.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
}
