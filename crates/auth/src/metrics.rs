//! What Prometheus is told of what is remembered of those who ask.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, Opts};

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
pub(crate) struct MemoryCounters {
    asked: IntCounterVec,
    bearers: Asked,
    standings: Asked,
}

/// The series of one memory.
#[derive(Debug)]
struct Asked {
    hit: IntCounter,
    miss: IntCounter,
}

impl Default for MemoryCounters {
    fn default() -> Self {
        let asked = IntCounterVec::new(
            Opts::new(
                "roadstead_auth_cache_requests_total",
                "Questions about the bearers of tokens: hit: the last answer of the database still held, miss: it was asked",
            ),
            &["cache", "outcome"],
        );
        let asked = asked.expect("valid names");
        let of = |cache| Asked {
            hit: asked.with_label_values(&[cache, "hit"]),
            miss: asked.with_label_values(&[cache, "miss"]),
        };
        Self {
            bearers: of("bearers"),
            standings: of("standings"),
            asked,
        }
    }
}

impl MemoryCounters {
    pub(crate) fn note(&self, memory: Memory, hit: bool) {
        let asked = match memory {
            Memory::Bearers => &self.bearers,
            Memory::Standings => &self.standings,
        };
        if hit {
            asked.hit.inc();
        } else {
            asked.miss.inc();
        }
    }
}

impl Authenticator {
    /// Everything that there is to tell Prometheus of what is remembered here. Asks nobody.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        self.inner.present.counters.asked.collect()
    }
}
