//! When to stop: SIGTERM and SIGINT, and at once when either comes a second time.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the process is asked to stop. From then on a second signal ends it at once, as if none were caught.
pub async fn stop_requested() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Stopping: requests in flight are finished first; a second signal ends them");
    end_at_second_signal(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "it must not be waited for: it ends the process itself"
)]
#[expect(clippy::exit, reason = "the operator asked twice")]
fn end_at_second_signal(second: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(async move {
        second.await;
        std::process::exit(130);
    }));
}
