//! In which order the copies of a blob are tried.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{HealthState, LocationName, Reason, Standings, Topology, UseView};

/// A healthy location is much better than a degraded one if so many times faster. Less is no more than the difference between
/// two regions, for which nobody gives up the store next door.
const MUCH_FASTER: u32 = 4;

/// ... and, in answers, by so much. What a person does not notice is not worth another region's traffic.
const MUCH_SOONER: Duration = Duration::from_millis(250);

/// It is much better if so many fewer of its requests fail: one in five costs every fifth pull a second attempt.
const MUCH_SAFER: f64 = 0.2;

/// Ranks the locations that hold a blob for reading it. None that is configured is left out, however it is; those that are not
/// configured (any more) cannot be read from and are.
///
/// 1. The preferred ones whose circuit lets requests through, in the order of the preference. A degraded one keeps its place
///    unless a healthy one is much better: its answers four times as fast (and by a quarter of a second), its transfers four
///    times as fast, or its share of failures lower by a fifth. A half-open one keeps its place while a trial is free.
/// 2. The other healthy ones: by coarse bands of latency, those not measured last, then by cost, then as configured.
/// 3. Preferred ones that lost their place by rule 1.
/// 4. The other degraded ones, ordered as under 2, and then the half-open ones.
/// 5. Those whose circuit lets nothing through: first what transfers slowly, last what returned wrong bytes, else as configured.
///
/// Whoever goes down the list asks each location for [admission](crate::LocationHealth::admit), and asks those that refused it
/// after all others.
pub fn rank_reads(
    topology: &Topology,
    present: &BTreeSet<LocationName>,
    standings: &Standings,
) -> Vec<LocationName> {
    let mut candidates: Vec<(&LocationName, UseView)> = topology
        .rank(present)
        .map(|location| (location, standings.get(location).read))
        .collect();
    let healthy: Vec<UseView> = candidates
        .iter()
        .map(|(_, view)| *view)
        .filter(|view| view.admits() && view.state == HealthState::Healthy)
        .collect();
    // The sort is stable: what is equal stays as configured.
    candidates.sort_by_key(|(location, view)| {
        let group = group(topology.prefers(location), view, &healthy);
        let (band, cost) = match group {
            Group::Preferred | Group::Displaced | Group::Shut(_) => (0, 0),
            Group::Healthy | Group::Degraded | Group::HalfOpen => (
                view.latency_band.unwrap_or(u8::MAX),
                topology.cost(location),
            ),
        };
        (group, band, cost)
    });
    candidates
        .into_iter()
        .map(|(location, _)| location.clone())
        .collect()
}

/// In the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Preferred,
    Healthy,
    Displaced,
    Degraded,
    HalfOpen,
    /// How bad it is.
    Shut(u8),
}

fn group(preferred: bool, view: &UseView, healthy: &[UseView]) -> Group {
    if !view.admits() {
        return Group::Shut(match view.reason {
            Some(Reason::SlowTransfers) => 0,
            Some(Reason::SlowAnswers | Reason::Failure(_)) | None => 1,
            Some(Reason::WrongBytes) => 2,
        });
    }
    match (preferred, view.state) {
        (true, HealthState::Degraded) if healthy.iter().any(|one| is_much_better(one, view)) => {
            Group::Displaced
        }
        (true, _) => Group::Preferred,
        (false, HealthState::Healthy) => Group::Healthy,
        (false, HealthState::Degraded) => Group::Degraded,
        (false, HealthState::Down) => Group::HalfOpen,
    }
}

/// What is not known of either makes neither better.
fn is_much_better(healthy: &UseView, degraded: &UseView) -> bool {
    let sooner = healthy.latency_p95.zip(degraded.latency_p95);
    let sooner = sooner.is_some_and(|(healthy, degraded)| {
        degraded >= healthy.saturating_mul(MUCH_FASTER)
            && degraded.saturating_sub(healthy) >= MUCH_SOONER
    });
    let faster = healthy.bytes_per_second.zip(degraded.bytes_per_second);
    let faster = faster.is_some_and(|(healthy, degraded)| {
        healthy >= degraded.saturating_mul(u64::from(MUCH_FASTER))
    });
    let safer = degraded.error_share - healthy.error_share >= MUCH_SAFER;
    sooner || faster || safer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;
    use crate::standings::tests::{degraded, half_open, healthy, open, some_standings, standings};
    use crate::topology::tests::{name, names, some_names, some_topology, topology};
    use proptest::prelude::*;

    fn ranked(topology: &Topology, views: &[(&str, UseView)]) -> Vec<LocationName> {
        let all = topology.locations().iter().cloned().collect();
        rank_reads(topology, &all, &standings(views))
    }

    #[test]
    fn reads_follow_the_preference_and_pass_over_unknown_locations() {
        let topology = topology("us eu ap", "eu", "us");
        for (present, expected) in [
            ("us eu ap", "eu us ap"),
            ("ap us", "us ap"),
            ("gone ap", "ap"),
            ("gone", ""),
            ("", ""),
        ] {
            assert_eq!(
                rank_reads(&topology, &names(present), &Standings::unknown()),
                names::<Vec<_>>(expected),
                "{present}"
            );
        }
    }

    #[test]
    fn what_is_preferred_comes_before_what_is_nearer() {
        let topology = topology("us eu ap", "eu", "us");
        let views = [("eu", healthy(4)), ("us", healthy(2)), ("ap", healthy(0))];
        assert_eq!(ranked(&topology, &views), names::<Vec<_>>("eu ap us"));
    }

    #[test]
    fn without_preference_the_nearer_then_the_cheaper_then_the_first_comes_first() {
        let topology = topology("a b c d", "", "")
            .with_costs([(name("b"), 2), (name("c"), 1)].into())
            .unwrap();
        let views = [("b", healthy(1)), ("c", healthy(1)), ("d", healthy(0))];
        assert_eq!(ranked(&topology, &views), names::<Vec<_>>("d c b a"));
        assert_eq!(ranked(&topology, &[]), names::<Vec<_>>("a d c b"));
    }

    #[test]
    fn open_circuits_come_last_and_are_not_left_out() {
        let topology = topology("a b c d", "a b", "");
        let down = open(FailureKind::Unreachable.into());
        assert_eq!(
            ranked(&topology, &[("a", down)]),
            names::<Vec<_>>("b c d a")
        );
        let everything = ["a", "b", "c", "d"].map(|name| (name, down));
        assert_eq!(ranked(&topology, &everything), names::<Vec<_>>("a b c d"));
        let mixed = [
            ("a", open(Reason::WrongBytes)),
            ("b", down),
            ("c", open(Reason::SlowTransfers)),
            ("d", down),
        ];
        assert_eq!(ranked(&topology, &mixed), names::<Vec<_>>("c b d a"));
    }

    #[test]
    fn a_preferred_location_gets_its_trials_and_no_more() {
        let topology = topology("a b", "a", "");
        assert_eq!(
            ranked(&topology, &[("a", half_open(1))]),
            names::<Vec<_>>("a b")
        );
        assert_eq!(
            ranked(&topology, &[("a", half_open(0))]),
            names::<Vec<_>>("b a")
        );
        let others = topology.clone();
        assert_eq!(
            ranked(
                &others,
                &[("a", open(Reason::SlowAnswers)), ("b", half_open(1))]
            ),
            names::<Vec<_>>("b a")
        );
    }

    #[test]
    fn a_degraded_preferred_location_keeps_its_place_unless_another_is_much_better() {
        let topology = topology("a b c", "a", "");
        let slow = |milliseconds| UseView {
            latency_p95: Some(Duration::from_millis(milliseconds)),
            ..degraded(Reason::SlowAnswers)
        };
        let away = |milliseconds| UseView {
            latency_p95: Some(Duration::from_millis(milliseconds)),
            ..healthy(3)
        };
        let dripping = UseView {
            bytes_per_second: Some(100_000),
            ..degraded(Reason::SlowTransfers)
        };
        let flowing = |bytes_per_second| UseView {
            bytes_per_second: Some(bytes_per_second),
            ..healthy(3)
        };
        let failing = |error_share| UseView {
            error_share,
            ..degraded(FailureKind::ServerError.into())
        };
        for (first, second, keeps) in [
            (slow(1_200), away(400), true),
            (slow(1_200), away(300), false),
            (slow(1_200), UseView::default(), true),
            (dripping, flowing(399_999), true),
            (dripping, flowing(400_000), false),
            (failing(0.15), healthy(3), true),
            (failing(0.25), healthy(3), false),
            (failing(0.25), degraded(Reason::SlowAnswers), true),
        ] {
            let expected = if keeps { "a b" } else { "b a" };
            let present = names("a b");
            let views = standings(&[("a", first), ("b", second)]);
            let ranked = rank_reads(&topology, &present, &views);
            assert_eq!(
                ranked,
                names::<Vec<_>>(expected),
                "{first:?} before {second:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_configured_copy_is_ranked_once_and_nothing_else(topology in some_topology(), present in some_names(), standings in some_standings()) {
            let ranked = rank_reads(&topology, &present, &standings);
            let set: BTreeSet<_> = ranked.iter().cloned().collect();
            prop_assert_eq!(set.len(), ranked.len());
            let expected: BTreeSet<_> = present.iter().filter(|location| topology.contains(location)).cloned().collect();
            prop_assert_eq!(set, expected);
            prop_assert_eq!(&ranked, &rank_reads(&topology, &present, &standings), "the same question has the same answer");
        }

        #[test]
        fn what_lets_nothing_through_comes_after_what_does(topology in some_topology(), present in some_names(), standings in some_standings()) {
            let ranked = rank_reads(&topology, &present, &standings);
            let admits: Vec<_> = ranked.iter().map(|location| standings.get(location).read.admits()).collect();
            prop_assert!(admits.is_sorted_by(|earlier, later| earlier >= later));
        }

        #[test]
        fn of_healthy_locations_the_preference_is_followed(topology in some_topology(), present in some_names()) {
            let expected: Vec<_> = topology.locations().iter().filter(|location| present.contains(*location)).cloned().collect();
            prop_assert_eq!(rank_reads(&topology, &present, &Standings::unknown()), expected);
        }
    }
}
