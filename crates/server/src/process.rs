//! What Prometheus is told of this process itself, under the names that all programs share, and which build it is.
//!
//! Linux tells it in `/proc`. What cannot be read has no series.

use std::fs;

use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGaugeVec, Opts};

/// The unit of the times in `/proc`: part of the kernel's interface, on every machine the same.
const TICKS_PER_SECOND: u64 = 100;

/// Everything that there is to tell Prometheus of this process.
pub(crate) fn metrics() -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let mut gauge = |name, help, value: Option<f64>| {
        let Some(value) = value else { return };
        let gauge = made(Gauge::new(name, help));
        gauge.set(value);
        families.extend(gauge.collect());
    };
    let state = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let state = State::parse(&state);
    gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is in use",
        resident_bytes().map(number),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Addresses of this process that stand for something",
        state.map(|state| number(state.virtual_bytes)),
    );
    gauge(
        "process_threads",
        "Threads of this process",
        state.map(|state| number(state.threads)),
    );
    gauge(
        "process_start_time_seconds",
        "When this process began",
        state
            .zip(boot_time())
            .map(|(state, boot)| number(boot) + seconds(state.started_ticks)),
    );
    gauge(
        "process_open_fds",
        "File descriptors that are open",
        fs::read_dir("/proc/self/fd")
            .ok()
            // One of them is the directory itself.
            .map(|open| number((open.count() as u64).saturating_sub(1))),
    );
    gauge(
        "process_max_fds",
        "File descriptors that may be open",
        open_files_max().map(number),
    );
    if let Some(state) = state {
        let cpu = made(prometheus::Counter::new(
            "process_cpu_seconds_total",
            "Time of processors that this process has taken",
        ));
        cpu.inc_by(seconds(state.cpu_ticks));
        families.extend(cpu.collect());
    }
    let build = made(IntGaugeVec::new(
        Opts::new("roadstead_build_info", "1, with the version of the program"),
        &["version"],
    ));
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    families.extend(build.collect());
    families
}

/// What `/proc/self/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    cpu_ticks: u64,
    threads: u64,
    started_ticks: u64,
    virtual_bytes: u64,
}

impl State {
    /// The name of the program stands in parentheses and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind_name) = text.rsplit_once(')')?;
        // Field 3 is the first behind the name.
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

/// In kibibytes there: how large the kernel's pages are does not matter.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// When the machine was started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_files_max() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn seconds(ticks: u64) -> f64 {
    number(ticks) / number(TICKS_PER_SECOND)
}

/// Prometheus has no other numbers: exact up to 8 PiB.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no other numbers"
)]
pub(crate) const fn number(value: u64) -> f64 {
    value as f64
}

/// Names and labels are written here, and are right or wrong whatever happens.
pub(crate) fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("valid names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_read_whatever_its_name() {
        let behind = "S 1 2 3 4 5 6 7 8 9 10 140 60 0 0 20 0 7 0 5000 8192 3 rest";
        let state = State::parse(&format!("42 (a) b ( c)) {behind}")).unwrap();
        assert_eq!(
            state,
            State {
                cpu_ticks: 200,
                threads: 7,
                started_ticks: 5000,
                virtual_bytes: 8192,
            }
        );
        for bad in ["", "42", "42 (a)", "42 (a) S 1", "42 (a) S x x x x x x"] {
            assert_eq!(State::parse(bad), None, "{bad}");
        }
    }
}
