//! Opening a blob at the first of its locations that delivers. While one takes long, the next is asked too, within a budget: whichever answers
//! first is read.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use roadstead_locations::Admitted;
use roadstead_placement::{LocationName, Outcome, Use};
use roadstead_runtime::Timestamp;
use roadstead_storage::{ObjectKey, ObjectStream, StorageError};

use super::candidates::{Candidate, Candidates};
use crate::body::within;
use crate::registry::Inner;

/// A location that is being read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) location: LocationName,
    pub(super) stream: ObjectStream,
    _admitted: Option<Admitted>,
}

/// What came of asking some locations.
pub(super) struct Opened {
    /// The one that answered first.
    pub(super) source: Option<Source>,
    /// Whether it answered before one that was asked sooner.
    pub(super) overtook: bool,
    /// Those that failed.
    pub(super) failures: Vec<NotOpened>,
}

/// Why a location is not read.
pub(super) enum NotOpened {
    /// It failed.
    Failed(StorageError),
    /// It did not answer in [`DistributionOptions::read_idle_timeout`](crate::DistributionOptions::read_idle_timeout).
    Silent(LocationName),
}

impl NotOpened {
    fn location(&self) -> &LocationName {
        match self {
            Self::Failed(error) => error.location(),
            Self::Silent(location) => location,
        }
    }
}

type Attempt = BoxFuture<'static, Result<Source, NotOpened>>;

/// A location that was asked and has not answered.
struct Asked {
    location: LocationName,
    since: Timestamp,
}

/// Opens the bytes of an object at the best location that delivers them, or at none.
pub(super) async fn open(
    inner: &Arc<Inner>,
    candidates: &mut Candidates,
    key: &ObjectKey,
    wanted: &Range<u64>,
) -> Opened {
    let mut failures = Vec::new();
    while let Some(candidate) = candidates.next() {
        let asked = vec![Asked {
            location: candidate.location.name().clone(),
            since: inner.now(),
        }];
        let patience = inner.locations.hedge_after(candidate.location.name());
        let attempts = FuturesUnordered::from_iter([attempt(inner, candidate, key, wanted)]);
        let mut race = Race {
            inner,
            candidates,
            key,
            wanted,
            asked,
            attempts,
        };
        if let Some((source, overtook)) = race.run(Some(patience), &mut failures).await {
            return Opened {
                source: Some(source),
                overtook,
                failures,
            };
        }
    }
    Opened {
        source: None,
        overtook: false,
        failures,
    }
}

/// What happens while locations are asked.
enum Event {
    /// One has answered; none if all have.
    Answered(Option<Result<Source, NotOpened>>),
    /// The only one that was asked takes long.
    Late,
    /// The only one that was asked is not used any more.
    GivenUp,
}

/// One location, and after a while a second one.
struct Race<'a> {
    inner: &'a Arc<Inner>,
    candidates: &'a mut Candidates,
    key: &'a ObjectKey,
    wanted: &'a Range<u64>,
    asked: Vec<Asked>,
    attempts: FuturesUnordered<Attempt>,
}

impl Race<'_> {
    async fn run(
        &mut self,
        mut patience: Option<Duration>,
        failures: &mut Vec<NotOpened>,
    ) -> Option<(Source, bool)> {
        loop {
            let answered = match self.next_answer(patience).await {
                Event::Answered(answered) => answered,
                Event::Late => {
                    patience = None;
                    if self.inner.locations.take_hedge() {
                        self.ask_another();
                    }
                    continue;
                }
                // Nobody is waited for who has been given up meanwhile, whatever it costs.
                Event::GivenUp => {
                    self.ask_another();
                    continue;
                }
            };
            match answered? {
                Ok(source) => {
                    let overtook = self.tell_overtaken(&source.location);
                    return Some((source, overtook));
                }
                Err(failure) => {
                    self.asked
                        .retain(|asked| asked.location != *failure.location());
                    failures.push(failure);
                }
            }
        }
    }

    /// Waits for an answer, and while only one location is asked and there is another: not beyond `patience`, and not for one whose circuit
    /// opens.
    async fn next_answer(&mut self, patience: Option<Duration>) -> Event {
        let alone = match self.asked.as_slice() {
            [asked] if self.candidates.has_another() => Some(asked.location.clone()),
            _ => None,
        };
        let Some(location) = alone else {
            return Event::Answered(self.attempts.next().await);
        };
        let inner = self.inner;
        let late = async {
            match patience {
                Some(wait) => inner.environment.clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let late = pin!(late);
        let given_up = pin!(inner.locations.shut(&location, Use::Read));
        match select(self.attempts.next(), select(late, given_up)).await {
            Either::Left((answered, _)) => Event::Answered(answered),
            Either::Right((Either::Left(_), _)) => Event::Late,
            Either::Right((Either::Right(_), _)) => Event::GivenUp,
        }
    }

    /// Asks the next location that lets requests through, if there is one.
    fn ask_another(&mut self) {
        let Some(candidate) = self.candidates.next_that_admits() else {
            return;
        };
        self.asked.push(Asked {
            location: candidate.location.name().clone(),
            since: self.inner.now(),
        });
        self.attempts
            .push(attempt(self.inner, candidate, self.key, self.wanted));
    }

    /// Tells of those that were asked before the winner and have not answered, and whether there are any. All others are where to go on if the
    /// winner fails or crawls.
    fn tell_overtaken(&mut self, winner: &LocationName) -> bool {
        let now = self.inner.now();
        let mut overtook = false;
        for asked in &self.asked {
            if asked.location == *winner {
                break;
            }
            overtook = true;
            let waited = (now - asked.since).to_std().unwrap_or_default();
            self.inner
                .locations
                .tell(&asked.location, Use::Read, Outcome::Overtaken { waited });
        }
        for asked in self.asked.drain(..) {
            if asked.location != *winner {
                self.candidates.ask_next(asked.location);
            }
        }
        overtook
    }
}

fn attempt(
    inner: &Arc<Inner>,
    candidate: Candidate,
    key: &ObjectKey,
    wanted: &Range<u64>,
) -> Attempt {
    let (inner, key, wanted) = (Arc::clone(inner), key.clone(), wanted.clone());
    Box::pin(async move {
        let Candidate { location, admitted } = candidate;
        let clock = &*inner.environment.clock;
        let opening = location.read(&key, wanted);
        let opened = within(clock, inner.options.read_idle_timeout, opening).await;
        let stream = opened
            .ok_or_else(|| NotOpened::Silent(location.name().clone()))?
            .map_err(NotOpened::Failed)?;
        Ok(Source {
            location: location.name().clone(),
            // The next chunk comes from the disk while the client takes this one.
            stream: stream.read_ahead(),
            _admitted: admitted,
        })
    })
}
