//! What holds of a location's health whatever is reported of it, and however the clock is set.

use std::time::Duration;

use proptest::prelude::*;

use super::tests::{START, World, answer, piece, seconds};
use super::*;

fn some_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => (0_u64..8_000).prop_map(answer),
        2 => (0_u64..2_000_000, 0.0_f64..3.0, 0_usize..3).prop_map(|(bytes, waited, progress)| {
            piece(bytes, waited, [Progress::Part, Progress::Whole, Progress::Verified][progress])
        }),
        1 => (0_u64..6).prop_map(|object| Outcome::Damaged { object }),
        3 => prop::sample::select(FailureKind::ALL.to_vec()).prop_map(Outcome::Failed),
        1 => prop::sample::select(FailureKind::ALL.to_vec()).prop_map(Outcome::Broken),
        1 => (0_u64..3_000).prop_map(|waited| Outcome::Overtaken { waited: Duration::from_millis(waited) }),
    ]
}

/// What happens next: time passes by so many milliseconds, maybe backwards, and then this.
#[derive(Clone, Debug)]
enum Step {
    Admit,
    Report {
        outcome: Outcome,
        by_probe: bool,
        /// Which of the trials so far.
        trial: Option<prop::sample::Index>,
        wanted: Use,
    },
    View,
}

fn some_step() -> impl Strategy<Value = Step> {
    let report = (
        some_outcome(),
        any::<bool>(),
        any::<Option<prop::sample::Index>>(),
        any::<bool>(),
    )
        .prop_map(|(outcome, by_probe, trial, read)| Step::Report {
            outcome,
            by_probe,
            trial,
            wanted: if read { Use::Read } else { Use::Write },
        });
    prop_oneof![2 => Just(Step::Admit), 3 => report, 1 => Just(Step::View)]
}

/// Steps of up to two seconds, and now and then a clock that is set by up to an hour and more.
fn some_time() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0_i64..2_000, 1 => -4_000_000_i64..4_000_000]
}

fn later(now: Moment, milliseconds: i64) -> Moment {
    let duration = Duration::from_millis(milliseconds.unsigned_abs());
    if milliseconds < 0 {
        now.minus(duration)
    } else {
        now.plus(duration)
    }
}

/// Carries steps out. Returns everything that was answered.
fn carry_out(world: &mut World, steps: &[(i64, Step)]) -> Vec<String> {
    let mut trials = Vec::new();
    let mut answers = Vec::new();
    for (time, step) in steps {
        world.now = later(world.now, *time);
        match step {
            Step::Admit => {
                let admission = world.admit();
                if let Admission::Trial(trial) = admission {
                    trials.push(trial);
                }
                answers.push(format!("{admission:?}"));
            }
            Step::Report {
                outcome,
                by_probe,
                trial,
                wanted,
            } => {
                let of = if *by_probe {
                    Report::of_probe
                } else {
                    Report::of_traffic
                };
                let trial = trial.filter(|_| !trials.is_empty());
                let trial = trial.map(|index| *index.get(&trials));
                let transition = world.record(of(*wanted, *outcome).in_trial(trial));
                answers.push(format!("{transition:?}"));
            }
            Step::View => answers.push(format!("{:?}", world.health.view(world.now))),
        }
    }
    answers
}

fn some_steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    prop::collection::vec((some_time(), some_step()), 0..200)
}

proptest! {
    #[test]
    fn whatever_happened_a_location_whose_probes_succeed_is_back_within_a_minute(steps in some_steps(), interval in 0.1_f64..3.0, back: bool) {
        let mut world = World::new();
        carry_out(&mut world, &steps);
        // The clock may be set once more, and nobody sends any traffic.
        world.now = later(world.now, if back { -3_600_000 } else { 0 });
        let since = world.now;
        while world.state() == HealthState::Down {
            world.pass(interval);
            world.probe(answer(5));
            let took = world.now.since(since);
            prop_assert!(took < Duration::from_mins(1), "not back after {took:?}: {:?}", world.view());
        }
        prop_assert_eq!(world.admit(), Admission::Yes);
    }

    #[test]
    fn whatever_happened_a_location_that_gets_only_its_trials_is_back_within_a_minute(steps in some_steps()) {
        let mut world = World::new();
        carry_out(&mut world, &steps);
        let since = world.now;
        while world.state() == HealthState::Down {
            world.pass(0.5);
            if let Admission::Trial(trial) = world.admit() {
                for outcome in [answer(20), piece(1_000_000, 0.1, Progress::Verified)] {
                    world.record(Report::of_traffic(Use::Read, outcome).in_trial(Some(trial)));
                }
            }
            // Ten seconds for trials that never reported, thirty for the open time.
            prop_assert!(world.now.since(since) < Duration::from_secs(45));
        }
    }

    #[test]
    fn trials_in_flight_are_never_more_than_allowed(steps in some_steps(), allowed in 0_u32..20) {
        let mut options = HealthOptions::default();
        options.circuit.trials = allowed;
        let mut world = World::new();
        world.health = LocationHealth::new(options, START);
        carry_out(&mut world, &steps);
        let mut admitted = 0;
        for _ in 0..30 {
            match world.admit() {
                Admission::Trial(_) => admitted += 1,
                Admission::Yes => break,
                Admission::No { .. } => {}
            }
        }
        prop_assert!(admitted <= allowed.clamp(1, CircuitOptions::TRIALS_MAX));
        if let CircuitState::HalfOpen { trials_free } = world.view().circuit {
            prop_assert_eq!(trials_free, 0);
        }
    }

    #[test]
    fn open_circuits_tell_when_they_are_asked_again_and_it_is_soon(steps in some_steps()) {
        let mut world = World::new();
        carry_out(&mut world, &steps);
        if let Admission::No { until } = world.admit() {
            prop_assert!(until.since(world.now) <= Duration::from_secs(30));
            world.now = until.max(world.now);
            prop_assert!(matches!(world.admit(), Admission::Trial(_)));
        }
    }

    #[test]
    fn equal_reports_at_equal_times_have_equal_answers(steps in some_steps()) {
        prop_assert_eq!(carry_out(&mut World::new(), &steps), carry_out(&mut World::new(), &steps));
    }

    #[test]
    fn transitions_are_changes_and_follow_each_other(steps in some_steps()) {
        let mut world = World::new();
        carry_out(&mut world, &steps);
        for wanted in [Use::Read, Use::Write] {
            let mut state = HealthState::Healthy;
            for (_, transition) in world.transitions.iter().filter(|(_, transition)| transition.wanted == wanted) {
                prop_assert_eq!(transition.from, state);
                prop_assert!(transition.from != transition.to);
                prop_assert_eq!(transition.reason.is_none(), transition.to == HealthState::Healthy);
                state = transition.to;
            }
        }
    }

    #[test]
    fn flapping_leads_to_few_transitions_a_minute(outcomes in prop::collection::vec((some_outcome(), 1_u64..1_000), 1..40), probes: bool) {
        let mut world = World::new();
        // Two minutes of the same again and again, each report by whoever is let through.
        for (outcome, step) in outcomes.iter().cycle() {
            world.pass(seconds(0.001).as_secs_f64() * f64::from(u32::try_from(*step).unwrap()));
            if world.now.since(START) > Duration::from_mins(2) {
                break;
            }
            if probes {
                world.probe(*outcome);
                continue;
            }
            match world.admit() {
                Admission::Yes => { world.see(*outcome); }
                Admission::Trial(trial) => { world.record(Report::of_traffic(Use::Read, *outcome).in_trial(Some(trial))); }
                Admission::No { .. } => {}
            }
        }
        for (from, _) in &world.transitions {
            let within = world.transitions.iter().filter(|(moment, _)| moment >= from && moment.since(*from) < Duration::from_mins(1)).count();
            prop_assert!(within <= 20, "{within} transitions in a minute");
        }
    }
}
