//! What was seen of each location, by everybody in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use roadstead_placement::{
    Admission, FailureKind, HealthOptions, HealthState, HealthView, HedgeBudget, HedgeOptions,
    LocationHealth, LocationName, Moment, Outcome, Progress, Report, Standings, Transition, Trial,
    Use,
};
use roadstead_runtime::Clock;
use roadstead_storage::{Observation, Observer, Operation, StorageErrorKind};
use tokio::sync::watch;

use crate::metrics::Counters;

#[derive(Debug)]
pub(crate) struct Seen {
    health: Mutex<BTreeMap<LocationName, LocationHealth>>,
    hedges: Mutex<HedgeBudget>,
    hedge_options: HedgeOptions,
    clock: Arc<dyn Clock>,
    /// For Prometheus.
    pub(crate) counters: Counters,
    /// Counts changes of any location's state.
    changed: watch::Sender<u64>,
}

impl Seen {
    pub(crate) fn new(
        names: impl Iterator<Item = LocationName>,
        health: HealthOptions,
        hedge: HedgeOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = moment(&*clock);
        Self {
            health: Mutex::new(
                names
                    .map(|name| (name, LocationHealth::new(health, now)))
                    .collect(),
            ),
            hedges: Mutex::new(HedgeBudget::new(hedge, now)),
            hedge_options: hedge,
            clock,
            counters: Counters::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub(crate) fn observer(
        seen: &Arc<Self>,
        location: LocationName,
        trial: Option<Trial>,
    ) -> Arc<dyn Observer> {
        Arc::new(OneLocation {
            seen: Arc::clone(seen),
            location,
            trial,
        })
    }

    pub(crate) const fn hedge_options(&self) -> &HedgeOptions {
        &self.hedge_options
    }

    pub(crate) fn now(&self) -> Moment {
        moment(&*self.clock)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn with<T>(
        &self,
        location: &LocationName,
        work: impl FnOnce(&mut LocationHealth, Moment) -> T,
    ) -> Option<T> {
        let now = self.now();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        Some(work(health.get_mut(location)?, now))
    }

    pub(crate) fn view(&self, location: &LocationName) -> HealthView {
        self.with(location, LocationHealth::view)
            .unwrap_or_default()
    }

    pub(crate) fn standings(&self) -> Standings {
        let now = self.now();
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
            .map(|(name, health)| (name.clone(), health.view(now)))
            .collect()
    }

    /// A location of which nothing is kept is let through to.
    pub(crate) fn admit(&self, location: &LocationName, wanted: Use) -> Admission {
        self.with(location, |health, now| health.admit(now, wanted))
            .unwrap_or(Admission::Yes)
    }

    pub(crate) fn release(&self, location: &LocationName, trial: Trial) {
        self.with(location, |health, _| health.release(trial));
    }

    pub(crate) fn note_read(&self) {
        let now = self.now();
        self.hedges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note_read(now);
    }

    pub(crate) fn take_hedge(&self) -> bool {
        let now = self.now();
        let taken = self
            .hedges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(now);
        if taken {
            self.counters.count_hedge();
        }
        taken
    }

    pub(crate) fn record(&self, location: &LocationName, wanted: Use, outcome: Outcome) {
        // A name that is not configured gets no series.
        if self.with(location, |_, _| ()).is_some() {
            self.counters.count(location, wanted, outcome);
        }
        self.report(location, Report::of_traffic(wanted, outcome));
    }

    fn report(&self, location: &LocationName, report: Report) {
        let changed = self.with(location, |health, now| {
            let before = health.view(now).of(report.wanted).admits();
            let transition = health.record(now, report);
            let after = health.view(now).of(report.wanted).admits();
            (transition, before != after)
        });
        let Some((transition, admission_changed)) = changed else {
            return;
        };
        if let Some(transition) = transition {
            tell_people(location, transition);
        }
        if transition.is_some() || admission_changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    fn observed(&self, location: &LocationName, observation: Observation, trial: Option<Trial>) {
        let (operation, outcome) = match observation {
            Observation::Answered { operation, took } => {
                (operation, Outcome::Answered { latency: took })
            }
            Observation::Failed {
                operation,
                kind,
                midway,
            } => {
                let kind = failure(kind);
                let outcome = if midway {
                    Outcome::Broken(kind)
                } else {
                    Outcome::Failed(kind)
                };
                (operation, outcome)
            }
            Observation::Moved {
                operation,
                bytes,
                waited,
                whole,
            } => {
                let progress = if whole {
                    Progress::Whole
                } else {
                    Progress::Part
                };
                let outcome = Outcome::Transferred {
                    bytes,
                    waited,
                    progress,
                };
                (operation, outcome)
            }
        };
        // Whoever cannot be reached, or says nothing at all, can be neither read nor written.
        let concerns_both = matches!(
            outcome,
            Outcome::Failed(FailureKind::Unreachable | FailureKind::Timeout)
        );
        let (read, write) = uses(operation);
        let is_probe = operation == Operation::Probe;
        for (wanted, asked) in [(Use::Read, read), (Use::Write, write)] {
            if asked {
                self.counters.count(location, wanted, outcome);
            }
            if asked || concerns_both {
                let report = if is_probe {
                    Report::of_probe(wanted, outcome)
                } else {
                    Report::of_traffic(wanted, outcome).in_trial(trial.filter(|_| asked))
                };
                self.report(location, report);
            }
        }
    }
}

/// Which uses of a location an operation says something about.
fn uses(operation: Operation) -> (bool, bool) {
    match operation {
        Operation::Open | Operation::CreateRoot | Operation::Probe => (true, true),
        Operation::Stat | Operation::Read | Operation::List | Operation::SignUrl => (true, false),
        Operation::Stage
        | Operation::Write
        | Operation::Sync
        | Operation::Publish
        | Operation::Discard
        | Operation::Delete => (false, true),
    }
}

fn failure(kind: StorageErrorKind) -> FailureKind {
    match kind {
        StorageErrorKind::Unavailable => FailureKind::Unreachable,
        StorageErrorKind::Timeout => FailureKind::Timeout,
        StorageErrorKind::Interrupted => FailureKind::Interrupted,
        StorageErrorKind::Denied => FailureKind::Refused,
        StorageErrorKind::Full => FailureKind::Full,
        StorageErrorKind::Throttled => FailureKind::Throttled,
        StorageErrorKind::ServerError => FailureKind::ServerError,
        StorageErrorKind::Misconfigured
        | StorageErrorKind::NotFound
        | StorageErrorKind::Busy
        | StorageErrorKind::Corrupt
        | StorageErrorKind::StagedShort { .. }
        | StorageErrorKind::Unexpected => FailureKind::Other,
    }
}

fn tell_people(location: &LocationName, transition: Transition) {
    let Transition {
        wanted,
        from,
        to,
        reason,
    } = transition;
    let (wanted, from, to) = (wanted.as_str(), from.as_str(), to);
    match (to, reason) {
        (HealthState::Healthy, _) => tracing::info!(
            location.id = %location,
            location.state = to.as_str(),
            "Location {location} is healthy again for {wanted}s (was {from})"
        ),
        (_, reason) => {
            let reason = reason.map_or("its state is not known", |reason| reason.as_str());
            tracing::warn!(
                location.id = %location,
                location.state = to.as_str(),
                "Location {location} is {} for {wanted}s: it {reason} (was {from})",
                to.as_str()
            );
        }
    }
}

fn moment(clock: &dyn Clock) -> Moment {
    Moment::from_milliseconds(u64::try_from(clock.now().timestamp_millis()).unwrap_or(0))
}

/// Notes what is seen of one location.
#[derive(Debug)]
struct OneLocation {
    seen: Arc<Seen>,
    location: LocationName,
    trial: Option<Trial>,
}

impl Observer for OneLocation {
    fn observed(&self, observation: Observation) {
        self.seen.observed(&self.location, observation, self.trial);
    }
}
