//! Which of several servers is the one to work with: a pure decision over what each of them said of itself.

use super::TargetSessionAttrs;

/// What a server said when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It takes our sessions.
    Serves(Role),
    /// It is there and has no session free for another question. The sessions that we have go on.
    Busy,
    /// It is there and does not let us in, and will not when asked again.
    Refuses(String),
    /// It is not there, or is starting or ending.
    Down(String),
    /// It did not say anything in time, or the line broke.
    Silent,
}

/// What a server is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// It follows another server.
    pub(super) in_recovery: bool,
    /// It takes no writes, because it is in recovery or was told so.
    pub(super) read_only: bool,
    /// The history that it writes, which each promotion begins anew with the next number. None in recovery, and where the server does not say.
    pub(super) timeline: Option<u32>,
}

/// The server to work with, by its place in the list.
///
/// `present` is the one that is worked with now; it stays unless another is better. Of two that take writes, which nobody wants but a
/// network that was cut may leave behind, the later timeline is right: it is the one that was promoted. A timeline before
/// `timeline_min`, the latest ever seen, is that of a server which was left behind and came back: what was acknowledged since is not in it,
/// so it is never chosen.
pub(super) fn choose(
    wanted: TargetSessionAttrs,
    answers: &[Answer],
    present: Option<usize>,
    timeline_min: u32,
) -> Option<usize> {
    let several = answers.len() > 1;
    let found = answers
        .iter()
        .enumerate()
        .filter_map(|(place, answer)| match answer {
            Answer::Serves(role) if is_wanted(wanted, *role, several) => Some((place, *role)),
            _ => None,
        })
        .filter(|(_, role)| {
            role.timeline
                .is_none_or(|timeline| timeline >= timeline_min)
        })
        .max_by_key(|(place, role)| {
            (
                wanted == TargetSessionAttrs::PreferStandby && role.in_recovery,
                role.timeline
                    .filter(|_| wanted != TargetSessionAttrs::ReadOnly),
                present == Some(*place),
                std::cmp::Reverse(*place),
            )
        })
        .map(|(place, _)| place);
    // What cannot be asked because it is busy is not gone.
    let busy = present.filter(|place| answers.get(*place) == Some(&Answer::Busy));
    found.or(busy)
}

/// Whether this answer by itself ends the search, save for a rival's.
pub(super) fn is_best(wanted: TargetSessionAttrs, answer: &Answer, several: bool) -> bool {
    match answer {
        Answer::Serves(role) if wanted == TargetSessionAttrs::PreferStandby => role.in_recovery,
        Answer::Serves(role) => is_wanted(wanted, *role, several),
        _ => false,
    }
}

fn is_wanted(wanted: TargetSessionAttrs, role: Role, several: bool) -> bool {
    match wanted {
        TargetSessionAttrs::Any => !several || !role.read_only,
        TargetSessionAttrs::ReadWrite => !role.read_only,
        TargetSessionAttrs::ReadOnly => role.read_only,
        TargetSessionAttrs::Primary => !role.in_recovery,
        TargetSessionAttrs::Standby => role.in_recovery,
        TargetSessionAttrs::PreferStandby => true,
    }
}

/// Several servers that take writes although one is to: their places. Empty when all is well.
pub(super) fn rivals(answers: &[Answer]) -> Vec<usize> {
    let places: Vec<usize> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| matches!(answer, Answer::Serves(role) if !role.in_recovery))
        .map(|(place, _)| place)
        .collect();
    if places.len() > 1 { places } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(timeline: u32) -> Answer {
        Answer::Serves(Role {
            in_recovery: false,
            read_only: false,
            timeline: Some(timeline),
        })
    }

    const STANDBY: Answer = Answer::Serves(Role {
        in_recovery: true,
        read_only: true,
        timeline: None,
    });

    fn locked(timeline: u32) -> Answer {
        Answer::Serves(Role {
            in_recovery: false,
            read_only: true,
            timeline: Some(timeline),
        })
    }

    fn down() -> Answer {
        Answer::Down("connection refused".to_owned())
    }

    #[test]
    fn each_word_of_target_session_attrs_finds_its_server() {
        use TargetSessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        let servers = [down(), STANDBY, locked(1), primary(1)];
        for (wanted, expected) in [
            (Any, Some(3)),
            (ReadWrite, Some(3)),
            (ReadOnly, Some(1)),
            (Primary, Some(2)),
            (Standby, Some(1)),
            (PreferStandby, Some(1)),
        ] {
            assert_eq!(choose(wanted, &servers, None, 0), expected, "{wanted:?}");
        }
        assert_eq!(
            choose(ReadWrite, &[down(), STANDBY, locked(1)], None, 0),
            None
        );
        assert_eq!(choose(Any, &[STANDBY, STANDBY], None, 0), None);
        assert_eq!(
            choose(PreferStandby, &[down(), primary(1)], None, 0),
            Some(1)
        );
    }

    #[test]
    fn a_single_server_is_taken_as_it_is_unless_something_is_asked_of_it() {
        use TargetSessionAttrs::{Any, ReadWrite};
        assert_eq!(choose(Any, &[STANDBY], None, 0), Some(0));
        assert_eq!(choose(ReadWrite, &[STANDBY], None, 0), None);
        assert_eq!(choose(Any, &[down()], None, 0), None);
        assert_eq!(choose(Any, &[Answer::Silent], Some(0), 0), None);
    }

    #[test]
    fn of_two_that_take_writes_the_later_promoted_one_is_right_and_else_the_present_one() {
        let attrs = TargetSessionAttrs::ReadWrite;
        assert_eq!(
            choose(attrs, &[primary(1), primary(2)], Some(0), 1),
            Some(1)
        );
        assert_eq!(
            choose(attrs, &[primary(2), primary(1)], Some(1), 1),
            Some(0)
        );
        assert_eq!(
            choose(attrs, &[primary(2), primary(2)], Some(1), 2),
            Some(1)
        );
        assert_eq!(choose(attrs, &[primary(2), primary(2)], None, 0), Some(0));
        assert_eq!(rivals(&[primary(1), STANDBY, primary(2)]), [0, 2]);
        assert!(rivals(&[primary(1), STANDBY, down()]).is_empty());
    }

    #[test]
    fn a_server_that_was_left_behind_is_not_gone_back_to() {
        let attrs = TargetSessionAttrs::ReadWrite;
        assert_eq!(choose(attrs, &[primary(1), down()], Some(1), 2), None);
        assert_eq!(choose(attrs, &[primary(3), down()], Some(1), 2), Some(0));
    }

    #[test]
    fn a_present_server_without_a_free_session_stays_unless_another_is_there() {
        let attrs = TargetSessionAttrs::Any;
        assert_eq!(choose(attrs, &[Answer::Busy, STANDBY], Some(0), 1), Some(0));
        assert_eq!(
            choose(attrs, &[Answer::Busy, primary(2)], Some(0), 1),
            Some(1)
        );
        assert_eq!(choose(attrs, &[Answer::Busy, STANDBY], None, 0), None);
    }
}
