//! The yardsticks: CNCF Distribution as Debian packages it, nginx serving files by sendfile, and a bare server that receives, hashes, flushes
//! and renames. None of them asks who somebody is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use roadstead_test_servers::free_port;

/// Servers, and the generator that puts load to them. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) generator: PathBuf,
    distribution: (Running, u16),
    nginx: (Running, u16),
    sink: (Running, u16),
    files: PathBuf,
}

impl Peers {
    /// Builds the generator and starts the servers.
    ///
    /// # Panics
    /// When one of them cannot be built or started.
    pub(crate) fn start(harness: &Path, scratch: &Path) -> Self {
        let generator = build(harness);
        let distribution = start_distribution(&scratch.join("distribution"), None);
        let nginx = start_nginx(&scratch.join("nginx"), None);
        let (port, home) = (free_port(), scratch.join("sink"));
        fs::create_dir_all(&home).expect("a directory can be made");
        let mut command = Command::new(&generator);
        command.args(["sink", "--listen", &format!("127.0.0.1:{port}"), "--dir"]);
        command.arg(home);
        let sink = (Running::start(command, port), port);
        Self {
            generator,
            distribution,
            nginx,
            sink,
            files: static_files(&scratch.join("nginx")),
        }
    }

    /// As the generator is told of them, the first being the one that the others are compared with.
    pub(crate) fn targets(&self) -> Vec<String> {
        let target = |name: &str, (running, port): &(Running, u16), more: &str| {
            let pids = running.with_children().join(":");
            format!("{name}=http://127.0.0.1:{port},pid={pids}{more}")
        };
        let files = format!(",static={}", self.files.display());
        vec![
            target("v2", &self.distribution, ""),
            target("nginx", &self.nginx, &files),
            target("sink", &self.sink, ",sink=1"),
        ]
    }
}

/// Workers of nginx: their processor time is its own.
const WORKERS: usize = 2;

/// A certificate and its key, which a server shows.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// Starts CNCF Distribution on a directory, over TLS where there is a certificate, and tells its port. What it holds stays when it is started anew.
///
/// # Panics
/// When it does not start.
pub(crate) fn start_distribution(home: &Path, certificate: Option<&Certificate>) -> (Running, u16) {
    fs::create_dir_all(home).expect("a directory can be made");
    let port = free_port();
    let tls = certificate.map(|Certificate { chain, key }| {
        let (chain, key) = (chain.display(), key.display());
        format!(", tls: {{certificate: {chain}, key: {key}}}")
    });
    let configuration = format!(
        "version: 0.1\n\
         log: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage:\n  \
           cache: {{blobdescriptor: inmemory}}\n  \
           filesystem: {{rootdirectory: {}, maxthreads: 100}}\n  \
           delete: {{enabled: true}}\n  \
           maintenance: {{uploadpurging: {{enabled: false}}}}\n\
         http: {{addr: 127.0.0.1:{port}, secret: yardstick{}}}\n",
        home.join("content").display(),
        tls.unwrap_or_default()
    );
    let file = home.join("config.yml");
    fs::write(&file, configuration).expect("a file can be written");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(file);
    (Running::start(command, port), port)
}

/// Starts nginx, which serves the files of [`static_files`], over TLS where there is a certificate, and tells its port.
///
/// # Panics
/// When it does not start.
pub(crate) fn start_nginx(home: &Path, certificate: Option<&Certificate>) -> (Running, u16) {
    fs::create_dir_all(static_files(home)).expect("a directory can be made");
    let port = free_port();
    let listen = match certificate {
        None => format!("listen 127.0.0.1:{port};"),
        Some(Certificate { chain, key }) => format!(
            "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};",
            chain.display(),
            key.display()
        ),
    };
    let configuration = format!(
        // As root, its workers would be somebody who may not read a temporary directory.
        "user root; daemon off; worker_processes {WORKERS}; pid nginx.pid; error_log nginx.err warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n  \
           open_file_cache max=10000; default_type application/octet-stream;\n  \
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n  \
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n  \
           server {{ {listen} root static; }} }}\n"
    );
    fs::write(home.join("nginx.conf"), configuration).expect("a file can be written");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(home).args(["-c", "nginx.conf"]);
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let running = Running::start(command, port);
    // It listens before they are there.
    for _ in 0..10_000 {
        if running.with_children().len() > WORKERS {
            return (running, port);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!(
        "nginx has no workers: {} says why",
        home.join("nginx.err").display()
    );
}

/// What the nginx of this directory serves.
pub(crate) fn static_files(home: &Path) -> PathBuf {
    home.join("static")
}

fn build(harness: &Path) -> PathBuf {
    let target = harness.join("target");
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(harness.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the generator cannot be built: {status}");
    target.join("release/regbench")
}

/// A program that runs, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, and returns once it takes connections at this port.
    ///
    /// # Panics
    /// When it does not, within a minute.
    pub(crate) fn start(mut command: Command, port: u16) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let running = Self(child);
        for _ in 0..60_000 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return running;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("{command:?} does not listen at port {port}");
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its id and those of its children.
    pub(crate) fn with_children(&self) -> Vec<String> {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        std::iter::once(id.to_string())
            .chain(children.split_whitespace().map(str::to_owned))
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Workers end with their master where it is asked and not killed.
        let asked = Command::new("kill").arg(self.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}
