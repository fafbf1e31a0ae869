//! When to stop: SIGTERM and SIGINT, and at once when either comes a second time. When to read files again: SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a process listens to from its first step on, so that whoever can reach it can also stop it properly.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From now on neither signal ends the process by itself.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Runs what comes before serving. None when the process is asked to stop before that is done: it is dropped where it stands.
    pub async fn unless_asked<T>(&mut self, start: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            started = start => Some(started),
            () = self.next() => {
                tracing::info!("Stopping before the start was done");
                None
            }
        }
    }

    /// Returns when the process is asked to stop. From then on a second signal ends it at once, as if none were caught.
    pub async fn asked(mut self) {
        self.next().await;
        tracing::info!(
            "Stopping: requests in flight are finished first; a second signal ends them"
        );
        end_at_second_signal(async move { self.next().await });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// When to read the configuration and the certificate again: SIGHUP, which would otherwise end the process.
#[derive(Debug)]
pub struct ReloadSignals(Signal);

impl ReloadSignals {
    /// From now on the signal does not end the process.
    pub fn catch() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Returns when the signal comes, once for all that came since the last time. Dropped, it loses none.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
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
