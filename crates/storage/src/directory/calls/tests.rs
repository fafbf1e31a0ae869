//! Stores that hang.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use crate::fixture::{Fixture, SHORT, key_of, read};
use crate::{LocalOptions, StorageErrorKind};

/// `asm-generic/fcntl.h`.
const O_NONBLOCK: i32 = 0o4000;

/// A named pipe that nobody writes to hangs whoever opens it inside the kernel, as a dead network file system does.
#[tokio::test]
async fn a_store_that_hangs_costs_a_bounded_number_of_threads_and_recovers() {
    let fixture = Fixture::with_options(LocalOptions {
        step_timeout: SHORT,
        calls_max: 2,
        ..LocalOptions::default()
    })
    .await;
    let good = fixture.put(b"good").await;
    let hanging = key_of(b"hanging");
    let pipe = fixture.path(&hanging.path());
    std::fs::create_dir_all(pipe.parent().unwrap()).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );

    for _ in 0..2 {
        let error = fixture.location.read(&hanging, 0..1).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Timeout);
    }
    // Both threads are still inside the kernel, so that no further one is risked.
    let error = fixture.location.read(&good, 0..4).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Timeout);
    assert_eq!(
        fixture
            .location
            .directory()
            .calls
            .permits
            .available_permits(),
        0
    );

    // The store answers again.
    while fixture
        .location
        .directory()
        .calls
        .permits
        .available_permits()
        < 2
    {
        let writer = OpenOptions::new()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(&pipe);
        // Fails while nobody has come as far as opening it.
        drop(writer);
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&fixture.location, &good, 0..4).await.unwrap(), b"good");
}

#[tokio::test]
async fn a_caller_that_gives_up_while_it_waits_for_leave_touches_nothing() {
    let fixture = Fixture::with_options(LocalOptions {
        calls_max: 1,
        ..LocalOptions::default()
    })
    .await;
    let key = fixture.put(b"kept").await;
    let permit = std::sync::Arc::clone(&fixture.location.directory().calls.permits)
        .acquire_owned()
        .await
        .unwrap();
    tokio::select! {
        biased;
        _ = fixture.location.delete(&key) => panic!("no leave was given"),
        () = tokio::task::yield_now() => {}
    }
    drop(permit);
    // Comes after whatever was waiting for leave.
    assert!(fixture.location.stat(&key).await.unwrap().is_some());
}
