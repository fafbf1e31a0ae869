//! What Prometheus is told of what is remembered of those who ask.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use crate::authenticator::Authenticator;

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Who has a token.
    Bearers,
    /// Where they stand.
    Standings,
}

/// Counts how often what is remembered was enough.
#[derive(Debug)]
pub(crate) struct MemoryCounters(IntCounterVec);

impl Default for MemoryCounters {
    fn default() -> Self {
        let asked = IntCounterVec::new(
            Opts::new(
                "roadstead_auth_cache_requests_total",
                "Questions about the bearers of tokens: hit: the last answer of the database still held, miss: it was asked",
            ),
            &["cache", "outcome"],
        );
        let new = Self(asked.expect("valid names"));
        for memory in [Memory::Bearers, Memory::Standings] {
            for hit in [true, false] {
                new.0.with_label_values(&labels(memory, hit));
            }
        }
        new
    }
}

impl MemoryCounters {
    pub(crate) fn note(&self, memory: Memory, hit: bool) {
        self.0.with_label_values(&labels(memory, hit)).inc();
    }
}

const fn labels(memory: Memory, hit: bool) -> [&'static str; 2] {
    [
        match memory {
            Memory::Bearers => "bearers",
            Memory::Standings => "standings",
        },
        if hit { "hit" } else { "miss" },
    ]
}

impl Authenticator {
    /// Everything that there is to tell Prometheus of what is remembered here. Asks nobody.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        self.inner.present.counters.0.collect()
    }
}
