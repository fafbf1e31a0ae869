//! What a bucket's location says when its store, the network or the configuration is wrong.

use std::time::Duration;

use roadstead_secrets::Secret;
use roadstead_storage::{
    S3Credentials, S3Options, Staged, StorageErrorKind, StoreOptions, Verification,
};
use roadstead_test_servers::{Fault, FaultProxy};

use crate::s3::{open, options, started};
use crate::{append, content, digest, id, key, put, read};

/// Deadlines that a test can wait for, of a store that hangs.
fn impatient() -> StoreOptions {
    StoreOptions {
        step_timeout: Duration::from_millis(500),
        probe_timeout: Duration::from_millis(300),
        part_bytes_per_second_min: 64 << 20,
        ..StoreOptions::default()
    }
}

#[tokio::test]
async fn every_failure_of_a_store_has_its_kind_and_passes_with_it() {
    let server = started();
    let proxy = FaultProxy::start(server.port());
    let s3 = options(&server, proxy.endpoint());
    let (patient, hasty) = (open(&s3, StoreOptions::default()), open(&s3, impatient()));
    let bytes = content(1, 300_000);
    let object = put(&patient, id(1), &bytes).await.unwrap();
    let size = bytes.len() as u64;
    for (fault, kinds) in [
        (Fault::Refuse, vec![StorageErrorKind::Unavailable]),
        (
            Fault::Reset,
            vec![StorageErrorKind::Interrupted, StorageErrorKind::Unavailable],
        ),
        (Fault::BlackHole, vec![StorageErrorKind::Timeout]),
        (
            Fault::Status { code: 500 },
            vec![StorageErrorKind::ServerError],
        ),
        (
            Fault::Status { code: 503 },
            vec![StorageErrorKind::ServerError, StorageErrorKind::Throttled],
        ),
        (
            Fault::Status { code: 429 },
            vec![StorageErrorKind::Throttled],
        ),
        (Fault::Status { code: 403 }, vec![StorageErrorKind::Denied]),
        (
            Fault::CutAfter { bytes: 0 },
            vec![StorageErrorKind::Interrupted, StorageErrorKind::Unavailable],
        ),
    ] {
        proxy.set(fault);
        // What answers may take its time.
        let location = if fault == Fault::BlackHole {
            &hasty
        } else {
            &patient
        };
        for failure in [
            location.stat(&object).await.err(),
            read(location, &object, 0..size).await.err(),
            location.probe().await.err(),
            append(location, id(2), &Staged::NOTHING, b"more")
                .await
                .err(),
            location.delete(&key(b"something")).await.err(),
            location.discard(id(3)).await.err(),
        ] {
            let failure = failure.unwrap_or_else(|| panic!("{fault:?} goes unnoticed"));
            assert!(kinds.contains(&failure.kind()), "{fault:?}: {failure:?}");
            assert!(failure.kind().is_the_locations());
        }
        proxy.set(Fault::Pass);
        assert_eq!(read(&patient, &object, 0..size).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_or_shorter_than_announced_never_ends_well() {
    let server = started();
    let proxy = FaultProxy::start(server.port());
    let location = open(&options(&server, proxy.endpoint()), StoreOptions::default());
    let bytes = content(4, 2_000_000);
    let object = put(&location, id(4), &bytes).await.unwrap();
    proxy.set(Fault::CutAfter { bytes: 1_000_000 });
    let cut = read(&location, &object, 0..2_000_000).await.unwrap_err();
    assert_eq!(cut.kind(), StorageErrorKind::Interrupted, "{cut:?}");
    for by in [-1, 1, -1_000_000] {
        // The object's length is asked for, and what is said is wrong.
        proxy.set(Fault::LyingLength { by });
        let verified = location.verify(&digest(&bytes)).await;
        assert!(
            !matches!(verified, Ok(Verification::Intact { .. })),
            "{by}: {verified:?}"
        );
    }
    proxy.set(Fault::Corrupt { every: 700_000 });
    let verified = location.verify(&digest(&bytes)).await.unwrap();
    assert!(matches!(verified, Verification::Damaged { .. }));
    proxy.set(Fault::Pass);
    let verified = location.verify(&digest(&bytes)).await.unwrap();
    assert_eq!(verified, Verification::Intact { size: 2_000_000 });
}

#[tokio::test]
async fn a_store_that_recovers_in_a_moment_is_asked_again_and_nobody_notices() {
    let server = started();
    let proxy = FaultProxy::start(server.port());
    let location = open(&options(&server, proxy.endpoint()), StoreOptions::default());
    let bytes = content(5, 100_000);
    proxy.set(Fault::Status { code: 503 });
    let (put, ()) = tokio::join!(put(&location, id(5), &bytes), async {
        while proxy.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        proxy.set(Fault::Pass);
    });
    put.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_told() {
    let server = started();
    let right = options(&server, server.endpoint());
    let wrong_bucket = S3Options {
        bucket: "no-such-bucket".to_owned(),
        ..right.clone()
    };
    let keys = |access: &str, secret: &str| S3Credentials::Keys {
        access_key: Secret::new(access),
        secret_key: Secret::new(secret),
        session_token: None,
    };
    let wrong_secret = S3Options {
        credentials: keys(server.access_key(), "hunter2"),
        ..right.clone()
    };
    let wrong_key = S3Options {
        credentials: keys("AKIAUNKNOWN", server.secret_key()),
        ..right.clone()
    };
    let nobody = S3Options {
        endpoint: format!("http://127.0.0.1:{}", roadstead_test_servers::free_port()),
        ..right.clone()
    };
    for (s3, kinds) in [
        (&wrong_bucket, vec![StorageErrorKind::Misconfigured]),
        (&wrong_secret, vec![StorageErrorKind::Denied]),
        (
            &wrong_key,
            vec![StorageErrorKind::Denied, StorageErrorKind::Unexpected],
        ),
        (&nobody, vec![StorageErrorKind::Unavailable]),
    ] {
        let location = open(s3, StoreOptions::default());
        let failure = location.probe().await.unwrap_err();
        assert!(kinds.contains(&failure.kind()), "{failure:?}");
        let told = format!("{failure} {failure:?}");
        assert!(!told.contains("hunter2") && !told.contains(server.secret_key()));
    }
}
