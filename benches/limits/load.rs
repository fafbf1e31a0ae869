//! Puts load to the registry, and tells what it was answered and what that cost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use roadstead_benches::client::Client;
use roadstead_benches::process::{cpu_time, watch};
use roadstead_benches::registry::Registry;

/// What a request that was not answered counts as.
pub(crate) const NO_ANSWER: u16 = 0;

/// How long a client that is refused waits before it asks again: a tenth of the least that `Retry-After` says.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// When so much has been asked.
    Asked(u64),
    /// When so much time has passed.
    Over(Duration),
}

impl Until {
    fn is_over(self, number: u64, began: Instant) -> bool {
        match self {
            Self::Asked(count) => number >= count,
            Self::Over(time) => began.elapsed() >= time,
        }
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the first request to the last answer.
    wall: Duration,
    /// The registry's processor time meanwhile.
    cpu: Duration,
    /// How long answers took, by their status.
    answers: BTreeMap<u16, Vec<Duration>>,
}

/// Has each client ask one after the other over a new connection, all at the same time. What is asked gets numbers from 0 on and tells the status.
pub(crate) fn put(
    registry: &Registry,
    clients: &mut [Client],
    until: Until,
    ask: impl Fn(&mut Client, u64) -> u16 + Sync,
) -> Seen {
    // The registry closes those that have rested for long.
    for client in clients.iter_mut() {
        client.reconnect();
    }
    let process = registry.id().to_string();
    let numbers = AtomicU64::new(0);
    let (ask, numbers) = (&ask, &numbers);
    let (began, before) = (watch(), cpu_time(&process).0);
    let mut answers: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                scope.spawn(move || {
                    let mut answers: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
                    loop {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        if until.is_over(number, began) {
                            return answers;
                        }
                        let asked = watch();
                        let status = ask(client, number);
                        answers.entry(status).or_default().push(asked.elapsed());
                        if matches!(status, 429 | 503) {
                            thread::sleep(REFUSED_PAUSE);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            for (status, times) in thread.join().expect("a client gets its answers") {
                answers.entry(status).or_default().extend(times);
            }
        }
    });
    for times in answers.values_mut() {
        times.sort_unstable();
    }
    Seen {
        wall: began.elapsed(),
        cpu: cpu_time(&process).0.saturating_sub(before),
        answers,
    }
}

impl Seen {
    /// Microseconds of the registry's processor time for each answer.
    pub(crate) fn cpu_us(&self) -> f64 {
        let answers: usize = self.answers.values().map(Vec::len).sum();
        self.cpu.as_secs_f64() * 1e6 / number(answers).max(1.0)
    }

    /// Answers with this status in a second.
    pub(crate) fn rate(&self, status: u16) -> f64 {
        number(self.times(status).len()) / self.wall.as_secs_f64()
    }

    /// Within how many milliseconds so many hundredths of the answers with this status came.
    pub(crate) fn percentile_ms(&self, status: u16, hundredths: usize) -> f64 {
        let times = self.times(status);
        let at = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
        times
            .get(at)
            .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    /// The statuses that there were.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.answers.keys().copied().collect()
    }

    fn times(&self, status: u16) -> &[Duration] {
        self.answers.get(&status).map_or(&[], Vec::as_slice)
    }
}

/// As a float: there are never more than 32 bits hold.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
