//! What opens and closes a circuit, what degrades a location, and what is shown of it.

use std::time::Duration;

use super::*;

pub(super) const START: Moment = Moment::from_milliseconds(1_700_000_000_000);

pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A location and the time.
pub(super) struct World {
    pub(super) health: LocationHealth,
    pub(super) now: Moment,
    pub(super) transitions: Vec<(Moment, Transition)>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            health: LocationHealth::new(HealthOptions::default(), START),
            now: START,
            transitions: Vec::new(),
        }
    }

    pub(super) fn pass(&mut self, time: f64) {
        self.now = self.now.plus(seconds(time));
    }

    pub(super) fn record(&mut self, report: Report) -> Option<Transition> {
        let transition = self.health.record(self.now, report);
        self.transitions
            .extend(transition.map(|transition| (self.now, transition)));
        transition
    }

    pub(super) fn see(&mut self, outcome: Outcome) -> Option<Transition> {
        self.record(Report::of_traffic(Use::Read, outcome))
    }

    pub(super) fn probe(&mut self, outcome: Outcome) -> Option<Transition> {
        self.record(Report::of_probe(Use::Read, outcome))
    }

    pub(super) fn see_often(&mut self, times: usize, outcome: Outcome) {
        for _ in 0..times {
            self.see(outcome);
        }
    }

    pub(super) fn admit(&mut self) -> Admission {
        self.health.admit(self.now, Use::Read)
    }

    pub(super) fn trial(&mut self) -> Trial {
        match self.admit() {
            Admission::Trial(trial) => trial,
            other => panic!("no trial but {other:?}"),
        }
    }

    pub(super) fn view(&mut self) -> UseView {
        self.health.view(self.now).read
    }

    pub(super) fn state(&mut self) -> HealthState {
        self.view().state
    }
}

pub(super) fn answer(milliseconds: u64) -> Outcome {
    Outcome::Answered {
        latency: Duration::from_millis(milliseconds),
    }
}

pub(super) fn piece(bytes: u64, waited: f64, progress: Progress) -> Outcome {
    Outcome::Transferred {
        bytes,
        waited: seconds(waited),
        progress,
    }
}

pub(super) const REFUSED_CONNECTION: Outcome = Outcome::Failed(FailureKind::Unreachable);

/// A location that was given up for this.
pub(super) fn given_up(outcomes: impl IntoIterator<Item = Outcome>) -> World {
    let mut world = World::new();
    for outcome in outcomes {
        world.see(outcome);
    }
    assert_eq!(world.state(), HealthState::Down);
    world
}

#[test]
fn how_many_failures_in_a_row_open_a_circuit_depends_on_what_they_prove() {
    for (kind, number) in [
        (FailureKind::Unreachable, 1),
        (FailureKind::Full, 1),
        (FailureKind::Timeout, 2),
        (FailureKind::Refused, 2),
        (FailureKind::Throttled, 4),
        (FailureKind::ServerError, 5),
        (FailureKind::Interrupted, 5),
        (FailureKind::Other, 5),
    ] {
        let mut world = World::new();
        for _ in 1..number {
            assert_eq!(world.see(Outcome::Failed(kind)), None, "{kind:?}");
            assert_eq!(world.admit(), Admission::Yes);
        }
        let transition = world.see(Outcome::Failed(kind)).unwrap();
        assert_eq!(transition.from, HealthState::Healthy);
        assert_eq!(transition.to, HealthState::Down);
        assert_eq!(transition.reason, Some(kind.into()));
        let until = world.now.plus(seconds(1.0));
        assert_eq!(world.admit(), Admission::No { until });
        let view = world.view();
        assert_eq!(view.circuit, CircuitState::Open { until });
        assert_eq!(view.consecutive_failures, number);
        assert_eq!(view.since, world.now);
    }
}

#[test]
fn reads_and_writes_are_judged_apart() {
    let mut world = World::new();
    let full = Report::of_traffic(Use::Write, Outcome::Failed(FailureKind::Full));
    let transition = world.record(full).unwrap();
    assert_eq!(transition.wanted, Use::Write);
    assert_eq!(world.admit(), Admission::Yes);
    let view = world.health.view(world.now);
    assert_eq!(view.state(), HealthState::Degraded);
    assert_eq!(view.reason(), Some(FailureKind::Full.into()));
    assert!(view.read.admits() && !view.write.admits());
}

#[test]
fn an_answer_between_them_keeps_failures_from_adding_up() {
    let mut world = World::new();
    for _ in 0..50 {
        world.see(Outcome::Failed(FailureKind::Timeout));
        world.see_often(3, answer(20));
        world.pass(0.1);
    }
    assert_ne!(world.state(), HealthState::Down);
    assert_eq!(world.state(), HealthState::Degraded);
    assert_eq!(world.view().reason, Some(FailureKind::Timeout.into()));
}

#[test]
fn failing_half_of_the_time_opens_a_circuit() {
    let mut world = World::new();
    for _ in 0..5 {
        world.see(answer(20));
        world.see(Outcome::Failed(FailureKind::ServerError));
    }
    assert_eq!(world.state(), HealthState::Down);
    // What answers and then breaks off has failed, and was not half a success.
    let mut world = World::new();
    for _ in 0..10 {
        world.see(answer(20));
        world.see(Outcome::Broken(FailureKind::Interrupted));
    }
    assert_eq!(world.state(), HealthState::Down);
}

#[test]
fn one_damaged_object_does_not_open_a_circuit_however_often_it_is_read() {
    let mut world = World::new();
    for _ in 0..100 {
        world.see(answer(20));
        world.see(Outcome::Damaged { object: 1 });
        world.pass(0.1);
    }
    assert_eq!(world.state(), HealthState::Healthy);
    // Nor do a few among many good ones.
    let mut world = World::new();
    for object in 0..5 {
        for _ in 0..40 {
            world.see(answer(20));
            world.see(piece(1_000_000, 0.01, Progress::Verified));
        }
        world.see(answer(20));
        world.see(Outcome::Damaged { object });
    }
    assert_eq!(world.state(), HealthState::Healthy);
}

#[test]
fn three_damaged_objects_open_a_circuit_and_only_right_bytes_close_it_soon() {
    let mut world = World::new();
    for object in 0..3 {
        world.see(answer(20));
        world.see(Outcome::Damaged { object });
    }
    assert_eq!(world.view().reason, Some(Reason::WrongBytes));
    world.pass(1.0);
    for _ in 0..20 {
        assert_eq!(world.probe(answer(5)), None);
    }
    let trial = world.trial();
    for outcome in [answer(20), piece(1_000_000, 0.1, Progress::Part)] {
        world.record(Report::of_traffic(Use::Read, outcome).in_trial(Some(trial)));
    }
    assert_eq!(
        world.view().circuit,
        CircuitState::HalfOpen { trials_free: 2 }
    );
    for _ in 0..2 {
        assert_eq!(world.see(piece(1_000_000, 0.1, Progress::Verified)), None);
    }
    let right = Report::of_traffic(Use::Read, piece(1_000_000, 0.1, Progress::Verified))
        .in_trial(Some(trial));
    assert_eq!(world.record(right).unwrap().to, HealthState::Healthy);
}

#[test]
pub(super) fn answers_bring_back_in_the_end_what_nobody_can_prove() {
    for outcomes in [
        [piece(10_000, 1.0, Progress::Part); 3].to_vec(),
        (0..3).map(|object| Outcome::Damaged { object }).collect(),
    ] {
        let mut world = given_up(outcomes);
        let opened = world.now;
        while world.state() == HealthState::Down {
            world.pass(2.0);
            world.probe(answer(5));
            assert!(world.now.since(opened) < Duration::from_mins(1));
        }
        assert!(world.now.since(opened) >= HealthOptions::default().circuit.proof_lapse);
    }
}

#[test]
fn trials_are_few_and_those_that_never_report_lapse() {
    let mut world = given_up([REFUSED_CONNECTION]);
    world.pass(1.0);
    for _ in 0..3 {
        world.trial();
    }
    let lapse = world.now.plus(seconds(10.0));
    assert_eq!(world.admit(), Admission::No { until: lapse });
    assert!(!world.view().admits());
    world.pass(9.999);
    assert_eq!(world.admit(), Admission::No { until: lapse });
    world.pass(0.001);
    world.trial();
}

#[test]
fn a_trial_that_is_released_makes_room_for_another() {
    let mut world = given_up([REFUSED_CONNECTION]);
    world.pass(1.0);
    let trials = [world.trial(), world.trial(), world.trial()];
    world.health.release(trials[1]);
    world.health.release(trials[1]);
    world.trial();
    assert!(matches!(world.admit(), Admission::No { .. }));
}

#[test]
fn three_successes_close_a_circuit_and_one_failure_opens_it_for_longer() {
    let mut world = given_up([REFUSED_CONNECTION]);
    for expected in [2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        while !world.view().admits() {
            world.pass(0.5);
        }
        let trial = world.trial();
        let failed = Report::of_traffic(Use::Read, Outcome::Failed(FailureKind::ServerError));
        world.record(failed.in_trial(Some(trial)));
        let until = world.now.plus(seconds(expected));
        assert_eq!(world.admit(), Admission::No { until });
    }
    world.pass(30.0);
    for successes in 0..3 {
        assert_eq!(world.state(), HealthState::Down, "{successes}");
        let trial = world.trial();
        world.record(Report::of_traffic(Use::Read, answer(20)).in_trial(Some(trial)));
    }
    assert_eq!(world.state(), HealthState::Healthy);
    assert_eq!(world.view().outcomes, 0);
    assert_eq!(world.admit(), Admission::Yes);
}

#[test]
fn a_request_from_before_neither_counts_as_a_trial_nor_undoes_one() {
    let mut world = given_up([REFUSED_CONNECTION]);
    world.pass(1.0);
    let old = world.trial();
    world.record(Report::of_probe(Use::Read, REFUSED_CONNECTION));
    world.pass(2.0);
    let trials = [world.trial(), world.trial(), world.trial()];
    for late in [None, Some(old)] {
        let failed = Report::of_traffic(Use::Read, Outcome::Failed(FailureKind::Timeout));
        world.record(failed.in_trial(late));
        assert!(matches!(
            world.view().circuit,
            CircuitState::HalfOpen { trials_free: 0 }
        ));
    }
    for trial in trials {
        world.record(Report::of_traffic(Use::Read, answer(20)).in_trial(Some(trial)));
    }
    assert_eq!(world.state(), HealthState::Healthy);
}

#[test]
fn probes_end_a_long_open_time_early_but_not_that_of_a_location_that_flaps() {
    let mut world = given_up([REFUSED_CONNECTION]);
    for _ in 0..10 {
        world.pass(30.0);
        world.probe(REFUSED_CONNECTION);
    }
    for _ in 0..3 {
        world.pass(0.1);
        world.probe(answer(5));
    }
    assert!(world.view().admits());
    for _ in 0..3 {
        world.probe(answer(5));
    }
    assert_eq!(world.state(), HealthState::Healthy);
    world.see(REFUSED_CONNECTION);
    for _ in 0..20 {
        world.probe(answer(5));
    }
    assert!(!world.view().admits());
}

#[test]
fn slow_transfers_open_a_circuit_and_fast_ones_close_it() {
    let mut world = World::new();
    for _ in 0..2 {
        world.see(answer(20));
        assert_eq!(world.see(piece(10_240, 1.0, Progress::Part)), None);
    }
    let transition = world.see(piece(10_240, 1.0, Progress::Part)).unwrap();
    assert_eq!(transition.reason, Some(Reason::SlowTransfers));
    world.pass(1.0);
    for _ in 0..3 {
        let trial = world.trial();
        for outcome in [answer(20), piece(100_000, 0.05, Progress::Part)] {
            world.record(Report::of_traffic(Use::Read, outcome).in_trial(Some(trial)));
        }
    }
    assert_eq!(world.state(), HealthState::Healthy);
}

#[test]
fn one_slow_transfer_among_fast_ones_is_nothing() {
    let mut world = World::new();
    for _ in 0..60 {
        world.see(piece(10_240, 1.0, Progress::Part));
        world.see(piece(8_000_000, 0.2, Progress::Part));
        world.pass(1.0);
    }
    assert_eq!(world.state(), HealthState::Healthy);
    assert_eq!(world.view().consecutive_failures, 0);
}

#[test]
fn hiccups_far_apart_do_not_add_up() {
    let mut world = World::new();
    for _ in 0..20 {
        world.see(piece(10_240, 1.5, Progress::Part));
        world.pass(20.0);
    }
    assert_eq!(world.state(), HealthState::Healthy);
}

#[test]
fn tiny_bodies_say_nothing_about_speed() {
    let mut world = World::new();
    for _ in 0..1_000 {
        world.see(piece(300, 0.2, Progress::Part));
    }
    assert_eq!(world.state(), HealthState::Healthy);
    assert_eq!(world.view().bytes_per_second, None);
}

#[test]
fn a_location_that_is_overtaken_every_time_is_given_up() {
    let mut world = World::new();
    world.see_often(20, answer(20));
    let late = Outcome::Overtaken {
        waited: Duration::from_millis(150),
    };
    world.see_often(4, late);
    assert_eq!(world.state(), HealthState::Healthy);
    let transition = world.see(late).unwrap();
    assert_eq!(transition.reason, Some(Reason::SlowAnswers));
}

#[test]
fn slow_answers_degrade_and_hopelessly_slow_ones_open() {
    let mut world = World::new();
    world.see_often(10, answer(1_500));
    assert_eq!(world.state(), HealthState::Degraded);
    assert_eq!(world.view().reason, Some(Reason::SlowAnswers));
    world.see_often(3, answer(6_000));
    assert_eq!(world.state(), HealthState::Down);
}

#[test]
fn between_the_bounds_a_location_stays_as_it_is() {
    let between = 700;
    let mut world = World::new();
    for _ in 0..100 {
        world.see(answer(between));
        world.pass(0.5);
        assert_eq!(world.state(), HealthState::Healthy);
    }
    world.see_often(100, answer(1_100));
    for _ in 0..100 {
        world.see(answer(between));
        world.pass(0.5);
        assert_eq!(world.state(), HealthState::Degraded);
    }
    for _ in 0..100 {
        world.see(answer(20));
        world.pass(0.5);
    }
    assert_eq!(world.state(), HealthState::Healthy);
    assert_eq!(world.transitions.len(), 2);
}

#[test]
fn a_degraded_location_that_is_not_heard_of_any_more_is_tried_again() {
    let mut world = World::new();
    world.see_often(10, answer(1_500));
    world.pass(19.0);
    assert_eq!(world.state(), HealthState::Degraded);
    world.pass(1.0);
    assert_eq!(world.state(), HealthState::Healthy);
    assert_eq!(world.view().since, world.now);
    assert_eq!(world.see(answer(20)).unwrap().to, HealthState::Healthy);
}

#[test]
fn the_view_shows_latency_speed_and_errors() {
    let mut world = World::new();
    assert_eq!(
        world.view(),
        UseView {
            since: START,
            ..UseView::default()
        }
    );
    world.see_often(95, answer(20));
    world.see_often(5, answer(400));
    world.see(Outcome::Failed(FailureKind::ServerError));
    world.see(piece(40_000_000, 4.0, Progress::Verified));
    let view = world.view();
    assert!((20..=25).contains(&view.latency_p95.unwrap().as_millis()));
    assert!((20..=400).contains(&view.latency_mean.unwrap().as_millis()));
    assert_eq!(view.bytes_per_second, Some(10_000_000));
    assert_eq!(view.outcomes, 101);
    assert!((view.error_share - 1.0 / 101.0).abs() < 1e-9);
    assert_eq!(view.last_failure, Some(FailureKind::ServerError.into()));
    assert_eq!(view.reason, None);
    world.pass(3_600.0);
    let later = world.view();
    assert_eq!(later.outcomes, 0);
    assert_eq!(later.latency_p95, view.latency_p95);
}

#[test]
fn a_clock_that_is_set_back_an_hour_does_not_keep_a_circuit_open() {
    let mut world = given_up([REFUSED_CONNECTION]);
    world.now = world.now.minus(Duration::from_hours(1));
    let Admission::No { until } = world.admit() else {
        panic!("admitted while open");
    };
    assert_eq!(until.since(world.now), seconds(1.0));
    world.pass(1.0);
    world.trial();
    world.now = world.now.minus(Duration::from_hours(1));
    world.trial();
    world.trial();
    assert!(matches!(world.admit(), Admission::No { .. }));
    world.pass(10.0);
    world.trial();
}

#[test]
fn being_overtaken_decides_nothing_about_a_trial() {
    let mut world = given_up([REFUSED_CONNECTION]);
    world.pass(1.0);
    let trials = [world.trial(), world.trial(), world.trial()];
    let late = Outcome::Overtaken {
        waited: Duration::from_millis(100),
    };
    for trial in trials {
        world.record(Report::of_traffic(Use::Read, late).in_trial(Some(trial)));
    }
    let until = world.now.plus(seconds(10.0));
    assert_eq!(world.admit(), Admission::No { until });
    for _ in 0..3 {
        world.probe(answer(150));
    }
    assert_eq!(world.state(), HealthState::Healthy);
}

#[test]
fn what_fails_as_soon_as_it_is_back_stays_open_for_longer_each_time() {
    let mut world = World::new();
    while world.now.since(START) < Duration::from_mins(5) {
        world.pass(0.01);
        match world.admit() {
            Admission::Yes => _ = world.see(REFUSED_CONNECTION),
            Admission::Trial(trial) => {
                let success = Report::of_traffic(Use::Read, answer(20));
                world.record(success.in_trial(Some(trial)));
            }
            Admission::No { .. } => {}
        }
    }
    let minute = |number: u64| {
        let moments = world.transitions.iter().map(|(moment, _)| *moment);
        moments
            .filter(|moment| moment.since(START).as_secs() / 60 == number)
            .count()
    };
    assert_eq!([0, 1, 2, 3, 4].map(minute), [11, 4, 4, 4, 4]);
}

#[test]
fn a_location_takes_little_memory() {
    assert!(size_of::<LocationHealth>() <= 8 * 1024);
}
