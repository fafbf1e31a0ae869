//! Tokens, against the stand-in.

use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use roadstead_runtime::{Clock, ManualClock, SystemClock, SystemIds};

use super::*;

fn keystone(mock: &Mock, version: SwiftAuthVersion) -> SwiftOptions {
    SwiftOptions {
        auth_url: mock.url(""),
        auth_version: version,
        user: "tester".to_owned(),
        os_options: OpenStackOptions {
            project_name: Some("test".to_owned()),
            region_name: Some("here".to_owned()),
            ..OpenStackOptions::default()
        },
        ..options(mock)
    }
}

#[tokio::test]
async fn every_version_of_the_identity_service_leads_to_the_store() {
    let mock = Mock::start().await;
    for swift in [
        options(&mock),
        keystone(&mock, SwiftAuthVersion::V2),
        keystone(&mock, SwiftAuthVersion::V3),
    ] {
        let location = at(&swift);
        location.probe().await.unwrap();
    }
    assert_eq!(mock.state().tokens_given, 3);
}

#[tokio::test]
async fn many_requests_share_one_token() {
    let mock = Mock::start().await;
    let location = at(&keystone(&mock, SwiftAuthVersion::V3));
    let key = key_of(b"layer");
    let answers = join_all((0..50).map(|_| location.stat(&key))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(None))));
    assert_eq!(mock.state().tokens_given, 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all() {
    let mock = Mock::start().await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let environment = Environment {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ids: Arc::new(SystemIds),
    };
    let location = in_environment(&keystone(&mock, SwiftAuthVersion::V3), environment);
    location.probe().await.unwrap();
    clock.advance(Duration::from_mins(1));
    mock.state().tokens.clear();
    let key = key_of(b"layer");
    let answers = join_all((0..50).map(|_| location.stat(&key))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(None))));
    assert_eq!(mock.state().tokens_given, 2);
}

#[tokio::test]
async fn a_store_that_refuses_every_token_denies() {
    let mock = Mock::start().await;
    let location = at(&options(&mock));
    let refusals = (Method::HEAD, String::new(), 401, u64::MAX);
    mock.state().refusals = vec![refusals];
    for _ in 0..10 {
        let error = location.stat(&key_of(b"layer")).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Denied);
    }
    assert_eq!(mock.state().tokens_given, 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let mock = Mock::start().await;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let environment = Environment {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ids: Arc::new(SystemIds),
    };
    let location = in_environment(&keystone(&mock, SwiftAuthVersion::V2), environment);
    let key = key_of(b"layer");
    location.stat(&key).await.unwrap();
    clock.advance(Duration::from_secs(3500));
    location.stat(&key).await.unwrap();
    assert_eq!(mock.state().tokens_given, 1);
    clock.advance(Duration::from_mins(1));
    // The identity service is down, the token still good.
    mock.state().identity_answers = Some(StatusCode::SERVICE_UNAVAILABLE);
    location.stat(&key).await.unwrap();
    mock.state().identity_answers = None;
    clock.advance(Duration::from_secs(2));
    mock.state().token_seconds = Some(7200);
    location.stat(&key).await.unwrap();
    let tokens = mock.state().tokens.clone();
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    // Ended, and no other to be had.
    clock.advance(Duration::from_hours(2));
    mock.state().identity_answers = Some(StatusCode::SERVICE_UNAVAILABLE);
    let error = location.read(&key, 0..1).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::ServerError);
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_not_tried_again_at_once() {
    let mock = Mock::start().await;
    for swift in [
        options(&mock),
        keystone(&mock, SwiftAuthVersion::V2),
        keystone(&mock, SwiftAuthVersion::V3),
    ] {
        let mut swift = swift;
        swift.password = Secret::new("hunter2");
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let environment = Environment {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::new(SystemIds),
        };
        let location = in_environment(&swift, environment);
        let before = mock.state().requests.len();
        for _ in 0..5 {
            let error = location.stat(&key_of(b"layer")).await.unwrap_err();
            assert_eq!(error.kind(), StorageErrorKind::Denied);
            let shown = format!("{error:?}");
            assert!(
                shown.contains("swift_password") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        assert_eq!(mock.state().requests.len(), before + 1);
        clock.advance(Duration::from_secs(31));
        location.stat(&key_of(b"layer")).await.unwrap_err();
        assert_eq!(mock.state().requests.len(), before + 2);
    }
}

#[tokio::test]
async fn a_dead_identity_service_stops_nothing_but_the_location() {
    let mock = Mock::start().await;
    let mut swift = options(&mock);
    swift.auth_url = "http://127.0.0.1:1/auth/v1.0".to_owned();
    let location = at(&swift);
    let key = key_of(b"layer");
    let started = tokio::time::Instant::now();
    let answers = join_all((0..100).map(|_| location.stat(&key))).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), StorageErrorKind::Unavailable);
    }
    // Another service answers there.
    swift.auth_url = mock.url("/v1/AUTH_test/registry");
    let error = at(&swift).stat(&key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Denied);
    swift.auth_url = mock.url("/info");
    let error = at(&swift).stat(&key).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured);
}

#[tokio::test]
async fn an_identity_service_that_is_silent_is_waited_for_once() {
    let mock = Mock::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut swift = options(&mock);
    swift.auth_url = format!("http://{}/auth/v1.0", silent.local_addr().unwrap());
    let location = at(&swift);
    let started = tokio::time::Instant::now();
    let key = key_of(b"layer");
    let answers = join_all((0..100).map(|_| location.stat(&key))).await;
    assert!(started.elapsed() < Duration::from_secs(16));
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), StorageErrorKind::Timeout);
    }
}

#[tokio::test]
async fn a_configured_token_and_address_ask_nobody_until_they_are_refused() {
    let mock = Mock::start().await;
    mock.state().tokens.insert("configured".to_owned());
    let mut swift = options(&mock);
    swift.os_options.object_storage_url = Some(mock.url("/v1/AUTH_test/"));
    swift.os_options.auth_token = Some(Secret::new("configured"));
    let location = at(&swift);
    location.probe().await.unwrap();
    assert_eq!(mock.state().tokens_given, 0);
    mock.state().tokens.clear();
    location.probe().await.unwrap();
    assert_eq!(mock.state().tokens_given, 1);
    // An address alone replaces the one that is found.
    swift.os_options.auth_token = None;
    swift.os_options.object_storage_url = Some(mock.url("/v1/AUTH_other"));
    let error = at(&swift).probe().await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Misconfigured);
}
