//! Whether and how TLS is spoken.

use std::path::PathBuf;

use crate::reader::{Keys, Remark, did_you_mean};

/// The certificate that is served, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `ssl.cert` in the directory of the configuration: the certificate, and behind it those that lead to an authority, in PEM form.
    pub certificate: PathBuf,
    /// `ssl.key` there: its key, in PEM form. That there is one switches TLS on.
    pub key: PathBuf,
    /// `SSL_PROTOCOLS`: the versions of TLS that are offered, of `TLSv1.2` and `TLSv1.3` (default: both). Older ones are not offered.
    pub versions: Vec<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// `TLSv1.2`
    V12,
    /// `TLSv1.3`
    V13,
}

const PROTOCOLS: &str = "SSL_PROTOCOLS";

/// Versions that Quay's proxy would offer.
const OLDER: [&str; 4] = ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"];

/// Reads the keys of TLS; `None` where `ssl.key` is missing or TLS ends before this process.
pub(super) fn read(keys: &mut Keys, ends_before: bool) -> Option<Tls> {
    let versions = versions(keys);
    for key in ["SSL_CIPHERS", "SSL_CIPHERSUITES"] {
        if let Some(value) = keys.value(key) {
            let remark = Remark::new(
                "without effect: the suites are those that the library holds for safe, with forward secrecy and authenticated encryption",
                "",
                "",
            );
            keys.warn(key, Some(&value), remark);
        }
    }
    if ends_before || keys.data_dir().is_some() {
        return None;
    }
    let directory = keys.directory();
    let (certificate, key) = (directory.join("ssl.cert"), directory.join("ssl.key"));
    // A link that leads nowhere for a moment is one that is being swapped: TLS must not be off because of that.
    let is_there = key.symlink_metadata().is_ok();
    is_there.then_some(Tls {
        certificate,
        key,
        versions,
    })
}

fn versions(keys: &mut Keys) -> Vec<TlsVersion> {
    let both = vec![TlsVersion::V12, TlsVersion::V13];
    let Some(names) = keys.texts(PROTOCOLS, "versions, such as TLSv1.2 and TLSv1.3") else {
        return both;
    };
    let value = keys.value(PROTOCOLS);
    let mut versions = Vec::new();
    for name in &names {
        match name.as_str() {
            "TLSv1.2" => versions.push(TlsVersion::V12),
            "TLSv1.3" => versions.push(TlsVersion::V13),
            older if OLDER.contains(&older) => {
                let remark = Remark::new(
                    format!("{older} is not offered: it is no longer safe"),
                    "",
                    "take it out",
                );
                keys.warn(PROTOCOLS, value.as_ref(), remark);
            }
            other => {
                let known = ["TLSv1.2", "TLSv1.3"];
                let remark = Remark::new(
                    format!("{other:?} is no version of TLS"),
                    known.join(", "),
                    did_you_mean(other, known),
                );
                keys.refuse(PROTOCOLS, value.as_ref(), remark);
                return both;
            }
        }
    }
    if versions.is_empty() {
        let remark = Remark::new(
            "it offers no version of TLS that can be offered",
            "TLSv1.2, TLSv1.3",
            "name at least one of them, or remove the key",
        );
        keys.refuse(PROTOCOLS, value.as_ref(), remark);
        return both;
    }
    versions
}
