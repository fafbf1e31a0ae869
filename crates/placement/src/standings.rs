//! How every location is, at one moment: what rankings go by.

use std::collections::BTreeMap;

use crate::{HealthView, LocationName};

/// How the locations of a registry are.
///
/// A location that is not in it is one of which nothing is known: healthy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standings(BTreeMap<LocationName, HealthView>);

impl Standings {
    /// Nothing is known of any location.
    pub const fn unknown() -> Self {
        Self(BTreeMap::new())
    }

    /// How a location is.
    pub fn get(&self, location: &LocationName) -> HealthView {
        self.0.get(location).copied().unwrap_or_default()
    }

    /// Notes how a location is.
    pub fn insert(&mut self, location: LocationName, view: HealthView) {
        self.0.insert(location, view);
    }
}

impl FromIterator<(LocationName, HealthView)> for Standings {
    fn from_iter<I: IntoIterator<Item = (LocationName, HealthView)>>(views: I) -> Self {
        Self(views.into_iter().collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::topology::tests::name;
    use crate::{CircuitState, FailureKind, HealthState, Moment, Reason, UseView};
    use proptest::prelude::*;
    use std::time::Duration;

    /// Standings in which the uses of each location are as a word says.
    pub(crate) fn standings(list: &[(&str, UseView)]) -> Standings {
        list.iter()
            .map(|(location, view)| {
                (
                    name(location),
                    HealthView {
                        read: *view,
                        write: *view,
                    },
                )
            })
            .collect()
    }

    pub(crate) fn healthy(latency_band: u8) -> UseView {
        UseView {
            latency_band: Some(latency_band),
            latency_p95: Some(Duration::from_millis(1 << (2 * latency_band))),
            ..UseView::default()
        }
    }

    pub(crate) fn open(reason: Reason) -> UseView {
        UseView {
            state: HealthState::Down,
            reason: Some(reason),
            circuit: CircuitState::Open {
                until: Moment::from_milliseconds(1),
            },
            ..UseView::default()
        }
    }

    pub(crate) fn half_open(trials_free: u32) -> UseView {
        UseView {
            circuit: CircuitState::HalfOpen { trials_free },
            ..open(FailureKind::Unreachable.into())
        }
    }

    pub(crate) fn degraded(reason: Reason) -> UseView {
        UseView {
            state: HealthState::Degraded,
            reason: Some(reason),
            ..UseView::default()
        }
    }

    fn some_use() -> impl Strategy<Value = UseView> {
        let kind = prop_oneof![
            Just(Reason::WrongBytes),
            Just(Reason::SlowTransfers),
            Just(Reason::SlowAnswers),
            Just(Reason::Failure(FailureKind::Full)),
            Just(Reason::Failure(FailureKind::Timeout)),
        ];
        let plain = prop_oneof![
            (0_u8..3).prop_map(healthy),
            kind.clone().prop_map(open),
            kind.prop_map(degraded),
            (0_u32..3).prop_map(half_open),
            Just(UseView::default()),
        ];
        let speed = prop::option::of(0_u64..1_000_000);
        (
            plain,
            prop::option::of(0_u64..10_000),
            speed,
            0.0_f64..=1.0,
            0_u32..30,
        )
            .prop_map(
                |(plain, p95, bytes_per_second, error_share, outcomes)| UseView {
                    latency_p95: p95.map(Duration::from_millis),
                    bytes_per_second,
                    error_share,
                    outcomes,
                    ..plain
                },
            )
    }

    pub(crate) fn some_standings() -> impl Strategy<Value = Standings> {
        let views = prop::collection::vec((some_use(), some_use()), 8);
        views.prop_map(|views| {
            let names = "a b c d e f g h".split(' ').map(name);
            let views = views
                .into_iter()
                .map(|(read, write)| HealthView { read, write });
            names.zip(views).collect()
        })
    }

    #[test]
    fn a_location_that_is_not_listed_is_healthy() {
        let view = Standings::unknown().get(&name("us"));
        assert_eq!(view.state(), HealthState::Healthy);
        assert!(view.read.admits() && view.write.admits());
        let mut standings = Standings::unknown();
        let shut = open(Reason::WrongBytes);
        standings.insert(
            name("us"),
            HealthView {
                read: shut,
                write: shut,
            },
        );
        assert!(!standings.get(&name("us")).read.admits());
    }
}
