//! Certificates: checked, served, replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, TimeZone as _, Utc};
use roadstead_runtime::{ManualClock, Timestamp};
use roadstead_test_servers::CertificateAuthority;

use super::world::{Conversation, Files, NAME, Served, clock, shown};
use crate::certificate::{check, read_pair};
use crate::{CertificateProblem, Certificates, check_files};

fn year(year: i32) -> Timestamp {
    Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap()
}

fn check_certificate(
    chain: &[u8],
    key: &[u8],
    hostname: &str,
    now: Timestamp,
) -> Vec<CertificateProblem> {
    check(read_pair(chain, key), Some(hostname), now)
}

#[test]
fn every_problem_of_a_certificate_is_found_and_said() {
    let authority = CertificateAuthority::default();
    let good = authority.issue_for(
        &[NAME, "*.wild.example.org", "192.0.2.1", "2001:db8::1"],
        (2020, 2030),
    );
    let check = |hostname: &str, now| {
        check_certificate(
            good.certificate.as_bytes(),
            good.key.as_bytes(),
            hostname,
            now,
        )
    };
    for hostname in [
        NAME,
        "registry.example.org:8443",
        "REGISTRY.example.org",
        "a.wild.example.org",
        "192.0.2.1",
        "192.0.2.1:443",
        "[2001:db8::1]",
        "[2001:db8::1]:443",
    ] {
        assert_eq!(check(hostname, year(2025)), [], "{hostname}");
    }
    for hostname in [
        "example.org",
        "a.b.wild.example.org",
        "192.0.2.2",
        "[2001:db8::2]:443",
        "no name",
    ] {
        let found = check(hostname, year(2025));
        let [CertificateProblem::WrongName { names, .. }] = found.as_slice() else {
            panic!("{hostname}: {found:?}");
        };
        assert_eq!(names.len(), 4);
        assert!(found[0].to_string().contains(hostname) && found[0].to_string().contains(NAME));
        assert!(found[0].keeps_clients_out() && !found[0].is_fatal());
    }
    assert_eq!(
        check(NAME, year(2019)),
        [CertificateProblem::NotYetValid {
            not_before: year(2020)
        }]
    );
    assert_eq!(
        check("other.org", year(2031)).first(),
        Some(&CertificateProblem::Expired {
            not_after: year(2030)
        })
    );
    assert_eq!(check("other.org", year(2031)).len(), 2);
    let soon = check(NAME, year(2030) - TimeDelta::days(29));
    assert_eq!(
        soon,
        [CertificateProblem::ExpiresSoon {
            not_after: year(2030)
        }]
    );
    assert!(!soon[0].keeps_clients_out());

    let other = authority.issue(&[NAME]);
    let (certificate, key) = (good.certificate.as_str(), good.key.as_str());
    let (cut, _) = certificate.split_at(certificate.len() / 2);
    let text = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
    for (certificate, key, word) in [
        (
            certificate,
            other.key.as_str(),
            "does not belong to the certificate",
        ),
        ("", key, "holds none"),
        ("garbage", key, "holds none"),
        (cut, key, "not in PEM form"),
        (key, key, "holds none"),
        (text, key, "X.509"),
        (certificate, "", "holds none that can be used"),
        (certificate, "garbage", "holds none that can be used"),
        (certificate, certificate, "holds none that can be used"),
        (
            certificate,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "not encrypted",
        ),
        (
            certificate,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "key",
        ),
    ] {
        let found = check_certificate(certificate.as_bytes(), key.as_bytes(), NAME, year(2025));
        let [problem @ CertificateProblem::Unusable { reason }] = found.as_slice() else {
            panic!("{word}: {found:?}");
        };
        assert!(
            reason.contains(word) && problem.is_fatal(),
            "{word}: {reason}"
        );
        assert!(!reason.contains("BEGIN PRIVATE"), "{reason}");
    }
}

#[test]
fn a_chain_and_a_key_in_the_older_form_are_taken() {
    let authority = CertificateAuthority::default();
    let issued = authority.issue(&[NAME]);
    let chain = format!("a comment\n{}\n{}", issued.certificate, authority.pem());
    // The older form, SEC1, stands inside the newer one: a sequence that begins with the number 1 and 32 bytes.
    let begins = |bytes: &[u8]| bytes[0] == 0x30 && bytes[2..7] == [2, 1, 1, 4, 32];
    let begin = issued.key_der.windows(7).position(begins).unwrap();
    let inner = &issued.key_der[begin..];
    let key = format!(
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
        STANDARD.encode(inner)
    );
    assert_eq!(
        check_certificate(chain.as_bytes(), key.as_bytes(), NAME, year(2025)),
        []
    );
}

#[tokio::test]
async fn files_are_checked_as_they_would_be_served() {
    let files = Files::new();
    let options = files.options();
    let check = async |hostname| check_files(&options.files, hostname, year(2025)).await;
    assert_eq!(check(Some(NAME)).await, []);
    assert_eq!(check(None).await, []);
    let other = check(Some("other.example.org")).await;
    assert!(
        matches!(other.as_slice(), [CertificateProblem::WrongName { .. }]),
        "{other:?}"
    );
    let assert_unusable = async |word: &str| {
        let found = check(Some(NAME)).await;
        let [CertificateProblem::Unusable { reason }] = found.as_slice() else {
            panic!("{word}: {found:?}");
        };
        assert!(reason.contains(word), "{word}: {reason}");
    };
    files.write_as("ssl.cert", &"x".repeat((1 << 20) + 1));
    assert_unusable("larger than 1 MiB").await;
    fs::remove_file(files.path().join("ssl.cert")).unwrap();
    assert_unusable("ssl.cert").await;
    fs::create_dir(files.path().join("ssl.cert")).unwrap();
    assert_unusable("not a file").await;
}

#[tokio::test]
async fn what_replaces_the_files_is_served_from_the_next_handshake_on() {
    let files = Files::new();
    let certificates = files.load().await;
    assert_eq!(certificates.state().names, [NAME, "192.0.2.1"]);
    assert_eq!(certificates.state().not_after, year(2200));
    let served = Served::new(Some(certificates.clone()), None);
    let stream = files.connect(served.address, &[]).await;
    assert_eq!(shown(&stream), files.issued.der);
    let mut old = Conversation::begin(stream).await;

    let next = files.authority.issue(&[NAME]);
    files.write(&next);
    certificates.refresh().await;
    assert_eq!(certificates.state().names, [NAME]);
    let stream = files.connect(served.address, &[]).await;
    assert_eq!(shown(&stream), next.der);
    old.ask("/").await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_served_leaves_the_old_certificate_and_is_told_until_it_is_mended() {
    let files = Files::new();
    let certificates = files.load().await;
    let served = Served::new(Some(certificates.clone()), None);
    let next = files.authority.issue(&[NAME]);
    let assert_old = async |word: &str| {
        certificates.refresh().await;
        let error = certificates.state().last_error.unwrap_or_default();
        assert!(error.contains(word), "{word}: {error}");
        let stream = files.connect(served.address, &[]).await;
        assert_eq!(shown(&stream), files.issued.der);
    };
    files.write_as("ssl.cert", "garbage");
    assert_old("holds none").await;
    // One of the two comes first.
    files.write_as("ssl.cert", &next.certificate);
    assert_old("does not belong").await;
    fs::remove_file(files.path().join("ssl.key")).unwrap();
    assert_old("ssl.key").await;
    fs::create_dir(files.path().join("ssl.key")).unwrap();
    assert_old("not a file").await;
    fs::remove_dir(files.path().join("ssl.key")).unwrap();
    files.write_as("ssl.key", &"x".repeat((1 << 20) + 1));
    assert_old("larger than 1 MiB").await;

    files.write_as("ssl.key", &next.key);
    certificates.refresh().await;
    assert_eq!(certificates.state().last_error, None);
    let stream = files.connect(served.address, &[]).await;
    assert_eq!(shown(&stream), next.der);
}

#[tokio::test]
async fn links_are_followed_anew_each_time_and_the_files_are_looked_at_by_the_clock() {
    // As Kubernetes mounts a secret: files that are links, through a link that is swapped.
    let files = Files::new();
    let next = files.authority.issue(&[NAME]);
    for (version, issued) in [("1", &files.issued), ("2", &next)] {
        fs::create_dir(files.path().join(version)).unwrap();
        files.write_as(&format!("{version}/ssl.cert"), &issued.certificate);
        files.write_as(&format!("{version}/ssl.key"), &issued.key);
    }
    symlink("1", files.path().join("..data")).unwrap();
    for name in ["ssl.cert", "ssl.key"] {
        fs::remove_file(files.path().join(name)).unwrap();
        symlink(format!("..data/{name}"), files.path().join(name)).unwrap();
    }
    let time = Arc::new(ManualClock::at(year(2025)));
    let certificates = Certificates::load(files.options(), Arc::clone(&time) as _)
        .await
        .unwrap();
    let served = Served::new(Some(certificates.clone()), None);
    let tasks = &served.tasks;
    tasks.spawn({
        let (certificates, shutdown) = (certificates.clone(), tasks.shutdown());
        async move { certificates.keep_fresh(&shutdown).await }
    });
    symlink("2", files.path().join("..data_tmp")).unwrap();
    fs::rename(files.path().join("..data_tmp"), files.path().join("..data")).unwrap();
    loop {
        time.advance(Duration::from_secs(2));
        let stream = files.connect(served.address, &[]).await;
        if shown(&stream) == next.der {
            break;
        }
        assert_eq!(shown(&stream), files.issued.der);
    }
    assert!(certificates.state().since > year(2025));
}

#[tokio::test]
async fn the_files_are_looked_at_whenever_that_is_asked_for() {
    let files = Files::new();
    // It stands still.
    let time = Arc::new(ManualClock::at(year(2025)));
    let certificates = Certificates::load(files.options(), time as _)
        .await
        .unwrap();
    let served = Served::new(Some(certificates.clone()), None);
    let tasks = &served.tasks;
    tasks.spawn({
        let (certificates, shutdown) = (certificates.clone(), tasks.shutdown());
        async move { certificates.keep_fresh(&shutdown).await }
    });
    let next = files.authority.issue(&[NAME]);
    files.write(&next);
    certificates.ask_for_refresh();
    loop {
        let stream = files.connect(served.address, &[]).await;
        if shown(&stream) == next.der {
            break;
        }
        assert_eq!(shown(&stream), files.issued.der);
    }
}

#[tokio::test]
async fn a_certificate_that_clients_refuse_is_served_and_one_that_cannot_be_is_not() {
    let files = Files::new();
    files.write(
        &files
            .authority
            .issue_for(&["other.example.org"], (2000, 2001)),
    );
    let certificates = files.load().await;
    assert_eq!(certificates.state().not_after, year(2001));
    files.write_as("ssl.key", &files.issued.key);
    let error = Certificates::load(files.options(), clock())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
    fs::remove_file(files.path().join("ssl.cert")).unwrap();
    let error = Certificates::load(files.options(), clock())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ssl.cert"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_grows_old_while_it_is_served_is_told() {
    let files = Files::new();
    files.write(&files.authority.issue_for(&[NAME], (2020, 2030)));
    let days = |days: u64| Duration::from_hours(24 * days);
    let time = Arc::new(ManualClock::at(year(2030) - TimeDelta::days(31)));
    let certificates = Certificates::load(files.options(), Arc::clone(&time) as _)
        .await
        .unwrap();
    assert_eq!(certificates.state().problem, None);
    let not_after = year(2030);
    for (passed, problem) in [
        (days(2), CertificateProblem::ExpiresSoon { not_after }),
        (days(30), CertificateProblem::Expired { not_after }),
    ] {
        time.advance(passed);
        certificates.refresh().await;
        assert_eq!(certificates.state().problem, Some(problem));
    }
}
