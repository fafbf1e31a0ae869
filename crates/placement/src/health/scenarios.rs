//! Stores that fail in the ways stores do, on a simulated timeline: how soon they are given up, what they cost meanwhile, and how
//! soon they are used again.
//!
//! A client goes to a location as often as the scenario says, if it is admitted, and elsewhere if not. A fault begins after half a
//! minute and lasts for three. It is not noticed by what was under way when it began.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::*;
use crate::{HedgeBudget, HedgeOptions, hedge_after};

const START: Moment = Moment::from_milliseconds(1_700_000_000_000);
const FAULT_BEGINS: u64 = 30_000;
/// How long a fault lasts: long enough for the longest open time, several times.
const FAULT_LASTS: u64 = 180_000;
/// How long is watched what comes afterwards.
const AFTERMATH: u64 = 60_000;

/// How often a probe is made, and how long it waits.
const PROBE_EVERY: u64 = 2_000;
const PROBE_DEADLINE: u64 = 2_000;
/// How long a request waits for an answer.
const DEADLINE: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Connections are refused.
    Dead,
    /// Nothing comes back.
    BlackHole,
    /// Answers are quick, bodies come at 10 KB/s; after five seconds the client goes on elsewhere.
    Slow,
    /// Every request is answered with 500.
    Errors,
    /// Every object has other bytes.
    Corrupt,
    /// Every connection ends in the middle of the body.
    Cut,
    /// There is no space: nothing can be written.
    Full,
}

/// What one request leads to: outcomes, each after so many milliseconds.
type Course = Vec<(u64, Outcome)>;

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn answered(after: u64) -> (u64, Outcome) {
    let latency = milliseconds(after);
    (after, Outcome::Answered { latency })
}

fn request(fault: Option<Fault>, serial: u64, hedged_after: Option<Duration>) -> Course {
    let Some(fault) = fault else {
        let transferred = Outcome::Transferred {
            bytes: 4_000_000,
            waited: milliseconds(80),
            progress: Progress::Verified,
        };
        return vec![answered(20), (100, transferred)];
    };
    match fault {
        Fault::Dead => vec![(1, Outcome::Failed(FailureKind::Unreachable))],
        Fault::BlackHole => match hedged_after {
            // The other location takes 40 ms.
            Some(wait) => {
                let waited = wait + milliseconds(40);
                vec![(
                    u64::try_from(waited.as_millis()).unwrap(),
                    Outcome::Overtaken { waited },
                )]
            }
            None => vec![(DEADLINE, Outcome::Failed(FailureKind::Timeout))],
        },
        Fault::Slow => {
            let piece = Outcome::Transferred {
                bytes: 10_000,
                waited: milliseconds(1_000),
                progress: Progress::Part,
            };
            let mut course = vec![answered(50)];
            course.extend((1..=5).map(|second| (50 + second * 1_000, piece)));
            course
        }
        Fault::Errors => vec![(20, Outcome::Failed(FailureKind::ServerError))],
        Fault::Corrupt => vec![answered(20), (100, Outcome::Damaged { object: serial })],
        Fault::Cut => vec![
            answered(20),
            (60, Outcome::Broken(FailureKind::Interrupted)),
        ],
        Fault::Full => vec![(30, Outcome::Failed(FailureKind::Full))],
    }
}

/// A probe asks whether an object is there, which costs little and does not notice everything.
fn probe(fault: Option<Fault>) -> Course {
    match fault {
        Some(Fault::BlackHole) => vec![(PROBE_DEADLINE, Outcome::Failed(FailureKind::Timeout))],
        Some(Fault::Dead | Fault::Errors | Fault::Full) => request(fault, 0, None),
        Some(Fault::Slow | Fault::Corrupt | Fault::Cut) | None => vec![answered(10)],
    }
}

#[derive(Clone, Copy, Debug)]
struct Scenario {
    fault: Fault,
    wanted: Use,
    /// Milliseconds between requests.
    every: u64,
    probes: bool,
    hedges: bool,
    lasts: u64,
}

/// What came of it, in milliseconds and requests.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    /// From the beginning of the fault until the location was given up.
    opened: u64,
    /// Requests sent there until then.
    until_opened: u64,
    /// Requests sent there in the rest of the fault.
    afterwards: u64,
    /// From the end of the fault until every request is sent there again.
    home: u64,
    /// Requests sent elsewhere after the end of the fault.
    away: u64,
}

fn play(scenario: &Scenario) -> Figures {
    let at = |time| START.plus(milliseconds(time));
    let mut health = LocationHealth::new(HealthOptions::default(), START);
    let hedges = HedgeOptions::default();
    let mut budget = HedgeBudget::new(hedges, START);
    let mut due: BinaryHeap<Reverse<(u64, u64, usize)>> = BinaryHeap::new();
    let mut reports = Vec::new();
    let mut figures = Figures {
        opened: u64::MAX,
        until_opened: 0,
        afterwards: 0,
        home: 0,
        away: 0,
    };
    let fault_ends = FAULT_BEGINS + scenario.lasts;
    for time in 0..fault_ends + AFTERMATH {
        let fault = Some(scenario.fault).filter(|_| (FAULT_BEGINS..fault_ends).contains(&time));
        let mut schedule = |course: Course, report: Report| {
            for (after, outcome) in course {
                reports.push(Report { outcome, ..report });
                let order = reports.len();
                due.push(Reverse((time + after, order as u64, order - 1)));
            }
        };
        let dummy = answered(0).1;
        if scenario.probes && time % PROBE_EVERY == 0 {
            schedule(probe(fault), Report::of_probe(scenario.wanted, dummy));
        }
        if time % scenario.every == 0 {
            budget.note_read(at(time));
            let view = *health.view(at(time)).of(scenario.wanted);
            let admission = health.admit(at(time), scenario.wanted);
            let trial = match admission {
                Admission::Trial(trial) => Some(trial),
                Admission::Yes | Admission::No { .. } => None,
            };
            if let Admission::No { .. } = admission {
                if time >= fault_ends {
                    figures.away += 1;
                    figures.home = time + scenario.every - fault_ends;
                }
            } else {
                if fault.is_some() {
                    let count = if figures.opened == u64::MAX {
                        &mut figures.until_opened
                    } else {
                        &mut figures.afterwards
                    };
                    *count += 1;
                }
                let slow = fault == Some(Fault::BlackHole);
                let hedged = scenario.hedges && slow && budget.take(at(time));
                let wait = hedged.then(|| hedge_after(&view, &hedges));
                let report = Report::of_traffic(scenario.wanted, dummy).in_trial(trial);
                schedule(request(fault, time, wait), report);
            }
        }
        let mut any = false;
        while due.peek().is_some_and(|Reverse((when, ..))| *when <= time) {
            let Reverse((_, _, index)) = due.pop().expect("it was just looked at");
            health.record(at(time), reports[index]);
            any = true;
        }
        let down = any && health.view(at(time)).of(scenario.wanted).state == HealthState::Down;
        if down && figures.opened == u64::MAX {
            assert!(time >= FAULT_BEGINS, "given up while it was well");
            figures.opened = time - FAULT_BEGINS;
        }
    }
    figures
}

/// Plays a fault at one, ten and a hundred requests a second, with probes and without, and holds what comes of it against the
/// most seconds until it is given up, one for each rate, and the most requests that then meet it.
fn show(fault: Fault, wanted: Use, hedges: bool, opened_max: [f64; 3], afterwards_max: u64) {
    let mut beyond = Vec::new();
    for (per_second, opened_max) in [1_u32, 10, 100].into_iter().zip(opened_max) {
        for probes in [true, false] {
            let figures = play(&Scenario {
                fault,
                wanted,
                every: u64::from(1_000 / per_second),
                probes,
                hedges,
                lasts: FAULT_LASTS,
            });
            println!(
                "{fault:?}, {} at {per_second}/s, probes {probes}, hedges {hedges}: opened after {} ms and {} requests, {} more in three \
                 minutes, home {} ms after recovery with {} away",
                wanted.as_str(),
                figures.opened,
                figures.until_opened,
                figures.afterwards,
                figures.home,
                figures.away,
            );
            let opened_max = Duration::from_secs_f64(opened_max);
            if milliseconds(figures.opened) > opened_max
                || figures.afterwards > afterwards_max
                || figures.home > 60_000
            {
                beyond.push((per_second, probes, figures));
            }
        }
    }
    assert!(beyond.is_empty(), "{beyond:?}");
}

#[test]
fn a_dead_store_is_given_up_at_the_first_refused_connection() {
    show(Fault::Dead, Use::Read, true, [0.01, 0.01, 0.01], 10);
    show(Fault::Dead, Use::Write, false, [0.01, 0.01, 0.01], 10);
}

#[test]
fn a_black_hole_is_given_up_after_some_overtaken_reads_or_two_timeouts() {
    show(Fault::BlackHole, Use::Read, true, [4.3, 0.6, 0.2], 60);
    show(Fault::BlackHole, Use::Read, false, [6.1, 5.2, 5.1], 60);
    show(Fault::BlackHole, Use::Write, false, [6.1, 5.2, 5.1], 60);
}

#[test]
fn a_store_slowed_to_ten_kilobytes_a_second_is_given_up_within_three_seconds() {
    show(Fault::Slow, Use::Read, true, [2.2, 1.3, 1.1], 30);
}

#[test]
fn a_store_that_answers_500_is_given_up_after_five() {
    show(Fault::Errors, Use::Read, true, [4.1, 0.5, 0.1], 30);
}

#[test]
fn a_store_that_returns_wrong_bytes_is_given_up_after_three_objects() {
    show(Fault::Corrupt, Use::Read, true, [2.2, 0.4, 0.2], 30);
}

#[test]
fn a_store_that_cuts_bodies_is_given_up_after_five() {
    show(Fault::Cut, Use::Read, true, [4.1, 0.5, 0.2], 30);
}

#[test]
fn a_full_store_is_given_up_for_writing_at_once() {
    show(Fault::Full, Use::Write, false, [0.1, 0.1, 0.1], 30);
}

#[test]
fn whenever_a_store_recovers_its_traffic_is_home_within_a_minute() {
    for fault in [
        Fault::Dead,
        Fault::BlackHole,
        Fault::Slow,
        Fault::Errors,
        Fault::Corrupt,
        Fault::Cut,
    ] {
        for probes in [true, false] {
            // The longest open time is half a minute.
            let home = (0..10).map(|step| {
                let scenario = Scenario {
                    fault,
                    wanted: Use::Read,
                    every: 500,
                    probes,
                    hedges: true,
                    lasts: FAULT_LASTS + step * 3_300,
                };
                play(&scenario).home
            });
            let home = home.max().expect("there are ten");
            println!("{fault:?}, probes {probes}: home {home} ms after recovery at the latest");
            assert!(home < 45_000, "{fault:?}, {probes}: {home}");
        }
    }
}
