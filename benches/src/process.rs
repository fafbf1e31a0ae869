//! What a process costs, and how a run is set.

use std::fs;
use std::time::{Duration, Instant};

/// A number that whoever runs a bench says in the environment.
///
/// # Panics
/// When it is none.
#[expect(
    clippy::disallowed_methods,
    reason = "how large a bench is, is for whoever runs it to say, and no part of the configuration"
)]
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect("it is a number"))
}

/// Begins to measure real time.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the time that passes"
)]
pub fn watch() -> Instant {
    Instant::now()
}

/// The processor time of a process (`self` or its id), and of those of its children that have ended.
///
/// # Panics
/// When it does not run.
pub fn cpu_time(process: &str) -> (Duration, Duration) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("its name is in parentheses");
    let ticks: Vec<u64> = fields
        .split(' ')
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    // A hundred ticks a second, on every Linux.
    let time = |from: usize| {
        let sum: u64 = ticks.iter().skip(from).take(2).sum();
        Duration::from_millis(sum * 10)
    };
    (time(11), time(13))
}

/// The most memory that a process has had resident.
pub fn peak_mib(process: &str) -> Option<u64> {
    memory_mib(process, "VmHWM:")
}

/// The memory that a process has resident now.
pub fn resident_mib(process: &str) -> Option<u64> {
    memory_mib(process, "VmRSS:")
}

fn memory_mib(process: &str, label: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(label))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes / 1024)
}

/// Forgets the peak of this process: what came before is not that of what follows.
///
/// # Panics
/// When the system does not let us.
pub fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("it is our own");
}
