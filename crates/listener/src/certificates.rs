//! The certificate that is served: read from two files, and replaced when they change, while connections go on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roadstead_runtime::{Clock, Shutdown, Timestamp};
use rustls::crypto::ring;
use rustls::server::ServerConfig;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use crate::certificate::{
    CertificateError, CertificateProblem, Leaf, Pair, check, problem_of_time, problems, read_pair,
    with_cause,
};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// The largest file that is read, in bytes: the bound that Kubernetes sets on the secret that both usually come from.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a certificate and its key are, both in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and behind it those that lead to an authority.
    pub certificate: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2
    V12,
    /// 1.3
    V13,
}

/// What TLS is spoken with.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The certificate.
    pub files: TlsFiles,
    /// The versions that are offered; at least one.
    pub versions: Vec<TlsVersion>,
    /// The name that clients use, perhaps with a port. A certificate that is not for it is warned of.
    pub hostname: Option<String>,
}

/// What is known of the certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// Since when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
    /// The host names and addresses that it is for, at most 100.
    pub names: Vec<String>,
    /// When it was read.
    pub since: Timestamp,
    /// What is wrong with its time, as of the last look; none while it holds for thirty days.
    pub problem: Option<CertificateProblem>,
    /// Why what lies in the files now is not served; none where it is.
    pub last_error: Option<String>,
}

/// The certificate that is served. A clone is the same one.
#[derive(Clone)]
pub struct Certificates {
    inner: Arc<Inner>,
}

struct Inner {
    options: TlsOptions,
    clock: Arc<dyn Clock>,
    /// Replaced as a whole: a connection that resumes a session of an old one shakes hands anew.
    served: RwLock<Served>,
    /// What lay in the files when they were last looked at.
    seen: tokio::sync::Mutex<[u8; 32]>,
    asked: Notify,
}

struct Served {
    config: Arc<ServerConfig>,
    leaf: Leaf,
    /// What was last said of its time.
    told: Option<CertificateProblem>,
    since: Timestamp,
    last_error: Option<String>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificates")
            .field("files", &self.inner.options.files)
            .field("state", &self.state())
            .finish()
    }
}

impl Certificates {
    /// Reads both files. What clients will refuse although it can be served is logged.
    pub async fn load(
        options: TlsOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CertificateError> {
        let contents = Contents::read(&options.files).await;
        let seen = contents.fingerprint();
        let (served, found) = serve(contents, &options, clock.now())?;
        log(&found);
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                clock,
                served: RwLock::new(served),
                seen: tokio::sync::Mutex::new(seen),
                asked: Notify::new(),
            }),
        })
    }

    /// What is served now, and what is wrong with the files.
    pub fn state(&self) -> CertificateState {
        let served = self.inner.served.read();
        let served = served.unwrap_or_else(PoisonError::into_inner);
        CertificateState {
            not_before: served.leaf.not_before,
            not_after: served.leaf.not_after,
            names: served.leaf.names.clone(),
            since: served.since,
            problem: served.told.clone(),
            last_error: served.last_error.clone(),
        }
    }

    /// Looks at the files every two seconds, and whenever that is asked for, until the shutdown, which does not wait for a disk.
    pub async fn keep_fresh(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.inner.asked.notified() => {}
                () = self.inner.clock.sleep(INTERVAL) => {}
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.refresh() => {}
            }
        }
    }

    /// Has [`Certificates::keep_fresh`] look at the files at once.
    pub fn ask_for_refresh(&self) {
        self.inner.asked.notify_one();
    }

    /// Looks at the files now, through every link, and serves what is in them from the next handshake on. What cannot be served is
    /// logged once, and the certificate stays.
    pub async fn refresh(&self) {
        let inner = &self.inner;
        let mut seen = inner.seen.lock().await;
        let contents = Contents::read(&inner.options.files).await;
        let fingerprint = contents.fingerprint();
        if *seen == fingerprint {
            self.tell_of_time();
            return;
        }
        *seen = fingerprint;
        let fresh = serve(contents, &inner.options, inner.clock.now());
        let mut served = inner.served.write().unwrap_or_else(PoisonError::into_inner);
        match fresh {
            Ok((fresh, found)) => {
                *served = fresh;
                let leaf = &served.leaf;
                tracing::info!(
                    certificate.not_after = %leaf.not_after,
                    "Serving the new certificate, for {}, until {}", leaf.names.join(", "), leaf.not_after
                );
                log(&found);
            }
            Err(error) => {
                let error = with_cause(&error);
                tracing::error!(
                    %error,
                    "The certificate or its key was replaced by what cannot be served, so that the old one is served on, until {}: {error}",
                    served.leaf.not_after
                );
                served.last_error = Some(error);
            }
        }
    }

    /// Says once that the certificate that is served is about to expire, and once that it has.
    fn tell_of_time(&self) {
        let mut served = self.inner.served.write();
        let served = served.as_mut().unwrap_or_else(PoisonError::get_mut);
        let problem = problem_of_time(&served.leaf, self.inner.clock.now());
        if served.told != problem {
            log(problem.as_slice());
            served.told = problem;
        }
    }

    /// What the next handshake is made with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let served = self.inner.served.read();
        Arc::clone(&served.unwrap_or_else(PoisonError::into_inner).config)
    }
}

/// Everything that is wrong with the certificate and the key in these files, for a server of this name (`SERVER_HOSTNAME`, perhaps with a
/// port) at this time. A chain of authorities is not looked at, since clients know their own.
pub async fn check_files(
    files: &TlsFiles,
    hostname: Option<&str>,
    now: Timestamp,
) -> Vec<CertificateProblem> {
    check(Contents::read(files).await.pair(), hostname, now)
}

/// What lies in the files.
struct Contents {
    certificate: Result<Vec<u8>, CertificateError>,
    key: Result<Vec<u8>, CertificateError>,
}

impl Contents {
    async fn read(files: &TlsFiles) -> Self {
        Self {
            certificate: read(&files.certificate).await,
            key: read(&files.key).await,
        }
    }

    fn pair(self) -> Result<Pair, CertificateError> {
        read_pair(&self.certificate?, &self.key?)
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for content in [&self.certificate, &self.key] {
            match content {
                Ok(bytes) => {
                    hasher.update((bytes.len() as u64).to_be_bytes());
                    hasher.update(bytes);
                }
                Err(error) => hasher.update(with_cause(error)),
            }
        }
        hasher.finalize().into()
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let reading = async {
        // Asked first, because opening a pipe would wait for somebody to write to it.
        if !tokio::fs::metadata(path).await?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            ));
        }
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .await?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is larger than 1 MiB",
            ));
        }
        Ok(bytes)
    };
    reading.await.map_err(|source| CertificateError::File {
        path: path.to_owned(),
        source,
    })
}

fn serve(
    contents: Contents,
    options: &TlsOptions,
    now: Timestamp,
) -> Result<(Served, Vec<CertificateProblem>), CertificateError> {
    let pair = contents.pair()?;
    let found = problems(&pair, options.hostname.as_deref(), now);
    let versions: Vec<_> = options
        .versions
        .iter()
        .map(|version| match version {
            TlsVersion::V12 => &TLS12,
            TlsVersion::V13 => &TLS13,
        })
        .collect();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions)
        .map_err(CertificateError::Unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let served = Served {
        config: Arc::new(config),
        told: problem_of_time(&pair.leaf, now),
        leaf: pair.leaf,
        since: now,
        last_error: None,
    };
    Ok((served, found))
}

fn log(problems: &[CertificateProblem]) {
    for problem in problems {
        if problem.keeps_clients_out() {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
}
