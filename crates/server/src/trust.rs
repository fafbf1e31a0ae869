//! Certificate authorities that are trusted besides the system's: `extra_ca_certs` in the directory of the configuration, as a directory of
//! files or as a file, and every file there whose name begins with `extra_ca`. Each is in PEM form and may hold several certificates.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// What the names of the files and of the directory begin with.
const PREFIX: &str = "extra_ca";

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most files that are read.
const FILES_MAX: usize = 1_000;

/// Characters of a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// The authorities of a configuration, each once. They hold for object stores, webhooks, Redis, and PostgreSQL where it names no
/// certificate of its own. Read once, at the start.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Reads the files of this directory. What is no certificate is named in the log and left out, as Quay accepts it, too.
    pub fn read(directory: Option<&Path>) -> Self {
        let mut trust = Self::default();
        let Some(directory) = directory else {
            return trust;
        };
        let mut known = BTreeSet::new();
        for path in files(directory) {
            match certificates_in(&path) {
                Ok(found) => {
                    let new = found
                        .into_iter()
                        .filter(|certificate| known.insert(certificate.to_vec()));
                    trust.certificates.extend(new);
                }
                Err(error) => tracing::warn!(
                    file = %path.display(), %error,
                    "{} is not trusted: {error}", path.display()
                ),
            }
        }
        trust
    }

    /// The certificates.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// All of them in PEM form; empty where there are none.
    pub fn pem(&self) -> String {
        let mut pem = String::new();
        for certificate in &self.certificates {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            for (position, character) in STANDARD.encode(certificate).chars().enumerate() {
                if position > 0 && position % LINE == 0 {
                    pem.push('\n');
                }
                pem.push(character);
            }
            pem.push_str("\n-----END CERTIFICATE-----\n");
        }
        pem
    }

    /// All of them as other crates take them, with where they are from.
    pub(crate) fn named(&self) -> Vec<(String, Vec<u8>)> {
        if self.certificates.is_empty() {
            return Vec::new();
        }
        vec![("extra_ca_certs".to_owned(), self.pem().into_bytes())]
    }
}

/// The files, in order. A directory that cannot be listed is named in the log.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in entries(directory) {
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        if path.is_dir() {
            // Kubernetes mounts links, through a directory whose name begins with two dots.
            files.extend(entries(&path).into_iter().filter(|path| path.is_file()));
        } else {
            files.push(path);
        }
    }
    if files.len() > FILES_MAX {
        tracing::warn!(
            "There are more than {FILES_MAX} files of certificate authorities; the rest is not trusted"
        );
        files.truncate(FILES_MAX);
    }
    files
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    match listed {
        Ok(mut paths) => {
            paths.sort();
            paths
        }
        Err(error) => {
            tracing::warn!(%error, "Could not look for certificate authorities in {}", directory.display());
            Vec::new()
        }
    }
}

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
enum NotTrusted {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is larger than 1 MiB")]
    TooLarge,
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    #[error("what stands in it as a certificate is none")]
    Malformed,
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, NotTrusted> {
    // Asked first, because opening a pipe would wait for somebody to write to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(NotTrusted::NoCertificate);
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(NotTrusted::TooLarge);
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| NotTrusted::Malformed)?;
    if certificates.is_empty() {
        return Err(NotTrusted::NoCertificate);
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store
            .add(certificate.clone())
            .map_err(|_| NotTrusted::Malformed)?;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use roadstead_test_servers::CertificateAuthority;
    use std::fs;

    fn authorities(names: &[&str]) -> Vec<CertificateAuthority> {
        names
            .iter()
            .map(|name| CertificateAuthority::new(name))
            .collect()
    }

    fn trusted(trust: &Trust) -> Vec<&[u8]> {
        trust.certificates().iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn a_directory_a_file_and_files_with_the_prefix_are_read_and_what_is_no_certificate_is_left_out()
     {
        let made = authorities(&["one", "two", "three"]);
        let [one, two, three] = made.as_slice() else {
            unreachable!()
        };
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            fs::write(directory.path().join(name), content).unwrap();
        };
        fs::create_dir(directory.path().join("extra_ca_certs")).unwrap();
        fs::create_dir(directory.path().join("extra_ca_certs/..data")).unwrap();
        write(
            "extra_ca_certs/a.crt",
            &format!("text\n{}{}", one.pem(), two.pem()),
        );
        write("extra_ca_certs/empty", "");
        write(
            "extra_ca_certs/key.pem",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        );
        write(
            "extra_ca_certs/none.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        write(
            "extra_ca_certs/torn.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA",
        );
        write("extra_ca_certs/twice.crt", one.pem());
        write("extra_ca_cert_three.crt", three.pem());
        write("other.crt", CertificateAuthority::new("four").pem());
        let trust = Trust::read(Some(directory.path()));
        // The file comes before the directory, by name.
        assert_eq!(trusted(&trust), [three.der(), one.der(), two.der()]);

        let again = tempfile::tempdir().unwrap();
        fs::write(again.path().join("extra_ca_certs"), trust.pem()).unwrap();
        assert_eq!(trusted(&Trust::read(Some(again.path()))), trusted(&trust));
    }

    #[test]
    fn where_there_is_nothing_nothing_is_trusted_besides() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        for directory in [None, Some(directory.path()), Some(missing.as_path())] {
            let trust = Trust::read(directory);
            assert!(trust.certificates().is_empty() && trust.pem().is_empty());
            assert!(trust.named().is_empty());
        }
    }
}
