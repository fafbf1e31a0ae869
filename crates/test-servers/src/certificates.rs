//! A certificate authority, and what it issues.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority that only tests know.
#[derive(Debug)]
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

/// A server's certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate in PEM form, without its authority.
    pub certificate: String,
    /// Its key in PEM form, PKCS#8.
    pub key: String,
    /// The certificate in DER form.
    pub der: Vec<u8>,
    /// The key in DER form, PKCS#8.
    pub key_der: Vec<u8>,
}

/// Years in which a certificate holds: from the first day of one to the first day of the other.
pub type Years = (i32, i32);

/// A time that no test leaves.
const ALWAYS: Years = (2000, 2200);

impl Default for CertificateAuthority {
    fn default() -> Self {
        Self::new("an authority for tests")
    }
}

impl CertificateAuthority {
    /// An authority with a new key.
    ///
    /// # Panics
    /// When no key can be made.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params(&[], ALWAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("it can sign itself");
        Self {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its certificate in PEM form.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate in DER form.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// A certificate for these names and addresses, with a new key, that holds for ever.
    ///
    /// # Panics
    /// When a name cannot be one.
    pub fn issue(&self, names: &[&str]) -> IssuedCertificate {
        self.issue_for(names, ALWAYS)
    }

    /// As [`CertificateAuthority::issue`], for some years.
    ///
    /// # Panics
    /// When a name cannot be one.
    pub fn issue_for(&self, names: &[&str], years: Years) -> IssuedCertificate {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params(names, years)
            .signed_by(&key, &self.issuer)
            .expect("an authority can sign");
        IssuedCertificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }
}

fn params(names: &[&str], (from, to): Years) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("these are names");
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}
