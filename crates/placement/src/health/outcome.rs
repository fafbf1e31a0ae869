//! What is reported about a location: one observation of real traffic or of a probe.

use std::time::Duration;

use super::circuit::Trial;

/// What a location is wanted for. A full or read-only one can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Reading objects.
    Read,
    /// Writing objects.
    Write,
}

impl Use {
    /// The word for it: `read`, `write`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Who saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A request that somebody waits for.
    Traffic,
    /// A request made to find out how the location is. Probes need no admission.
    Probe,
}

/// One observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the location was used for.
    pub wanted: Use,
    /// Who saw it.
    pub origin: Origin,
    /// The trial that the request was admitted as, if it was one. The same in every report about that request.
    pub trial: Option<Trial>,
    /// What was seen.
    pub outcome: Outcome,
}

impl Report {
    /// A report about a request that was admitted as usual, or in spite of everything.
    pub const fn of_traffic(wanted: Use, outcome: Outcome) -> Self {
        Self {
            wanted,
            origin: Origin::Traffic,
            trial: None,
            outcome,
        }
    }

    /// A report about a probe. One that reads says nothing about writing.
    pub const fn of_probe(wanted: Use, outcome: Outcome) -> Self {
        Self {
            wanted,
            origin: Origin::Probe,
            trial: None,
            outcome,
        }
    }

    /// The same report, about a trial.
    #[must_use]
    pub const fn in_trial(mut self, trial: Option<Trial>) -> Self {
        self.trial = trial;
        self
    }
}

/// What was seen of a location. A request is reported first as [`Answered`](Self::Answered), [`Failed`](Self::Failed) or
/// [`Overtaken`](Self::Overtaken), and one that was answered and has a body further, as that goes on and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered: the first byte of a read, or the end of a small request. "Not there" is an answer like any other.
    Answered {
        /// From the request to the answer.
        latency: Duration,
    },
    /// Bytes went over, all of a body or a part of one. A long transfer is reported every second or so, not only at its end,
    /// or a slow one is noticed when it is over.
    Transferred {
        /// How many, since the last such report of the same transfer.
        bytes: u64,
        /// For how long the location was waited for meanwhile. Time in which a client was waited for does not count.
        waited: Duration,
        /// How far the body has come.
        progress: Progress,
    },
    /// An object was read to its end and had other bytes than its digest says.
    Damaged {
        /// Which one: a hash of its digest, so that one damaged object that everybody asks for is counted once.
        object: u64,
    },
    /// It failed instead of answering.
    Failed(FailureKind),
    /// It failed after it had answered, in the middle of the body: [`FailureKind::Interrupted`] or [`FailureKind::Timeout`], as
    /// a rule.
    Broken(FailureKind),
    /// It had not answered when another location, asked later, did; the request was dropped.
    Overtaken {
        /// For how long it had been waited for.
        waited: Duration,
    },
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// There is more to come, or the client has gone and nobody knows.
    Part,
    /// It is over, and had as many bytes as it was to have.
    Whole,
    /// It is over and was a whole object, and its bytes were hashed and are right. Of a write: it was read back.
    Verified,
}

/// How a location failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// There is nobody: connection refused, no such host, no route, root not mounted.
    Unreachable,
    /// No answer, or no further byte, within the deadline.
    Timeout,
    /// Credentials or permissions do not suffice.
    Refused,
    /// No space or no quota is left.
    Full,
    /// It said that something is wrong with itself: 500, an I/O error.
    ServerError,
    /// It asked to be asked less: 429, 503 with "slow down".
    Throttled,
    /// The connection ended before the answer did.
    Interrupted,
    /// Something else that is the location's fault.
    Other,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Refused,
        Self::Full,
        Self::ServerError,
        Self::Throttled,
        Self::Interrupted,
        Self::Other,
    ];

    /// What the location does, in words that go on after its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "cannot be reached",
            Self::Timeout => "does not answer in time",
            Self::Refused => "refuses our credentials",
            Self::Full => "has no space left",
            Self::ServerError => "answers with server errors",
            Self::Throttled => "asks us to slow down",
            Self::Interrupted => "breaks off in the middle",
            Self::Other => "fails in an unexpected way",
        }
    }
}

/// Why a location is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It fails like this; of several kinds the last one.
    Failure(FailureKind),
    /// It takes long to answer.
    SlowAnswers,
    /// It answers, and then sends or takes few bytes a second.
    SlowTransfers,
    /// It sent other bytes than it was given.
    WrongBytes,
}

impl Reason {
    /// What the location does, in words that go on after its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failure(kind) => kind.as_str(),
            Self::SlowAnswers => "is slow to answer",
            Self::SlowTransfers => "transfers slowly",
            Self::WrongBytes => "returns wrong bytes",
        }
    }
}

impl From<FailureKind> for Reason {
    fn from(kind: FailureKind) -> Self {
        Self::Failure(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_words_of_its_own() {
        let mut reasons: Vec<_> = FailureKind::ALL.map(Reason::from).to_vec();
        reasons.extend([
            Reason::SlowAnswers,
            Reason::SlowTransfers,
            Reason::WrongBytes,
        ]);
        let words: BTreeSet<_> = reasons.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), reasons.len());
        assert_eq!(Use::Read.as_str(), "read");
        assert_eq!(Use::Write.as_str(), "write");
    }
}
