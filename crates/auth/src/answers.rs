//! What the database said lately, and each question put to it once however many want to know at the same moment.
//!
//! How old an answer may be to count is for those who ask to say; it is kept for longer, for when the database does not answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use roadstead_metadata::MetadataError;
use roadstead_runtime::{Environment, Recent, Tasks, Timestamp};
use tokio::sync::oneshot;

/// Answers by their questions, the latest of each, bounded in number.
#[derive(Debug)]
pub(crate) struct Answers<K, V> {
    state: Arc<Mutex<State<K, V>>>,
    environment: Environment,
    tasks: Tasks,
    kept_for: Duration,
}

#[derive(Debug)]
struct State<K, V> {
    last: Recent<K, Answer<V>>,
    /// The questions that are being put just now, each with the generation of its moment: no more than there are requests.
    asked: HashMap<K, (u64, Run<V>)>,
    /// Grows with every word that answers may be out of date.
    generation: u64,
}

/// An answer and how old it is.
#[derive(Clone, Debug)]
pub(crate) struct Answer<V> {
    pub(crate) value: V,
    /// When the question was put.
    pub(crate) read: Timestamp,
    /// The generation of the moment.
    generation: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum NoAnswer {
    Backend(Arc<MetadataError>),
    /// The program is ending.
    CutOff,
}

type Run<V> = Shared<oneshot::Receiver<Result<Answer<V>, NoAnswer>>>;

impl<K, V> Answers<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(
        environment: Environment,
        tasks: Tasks,
        (capacity, kept_for): (usize, Duration),
    ) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                last: Recent::new(capacity),
                asked: HashMap::new(),
                generation: 0,
            })),
            environment,
            tasks,
            kept_for,
        }
    }

    /// Has every question put anew that is asked from now on: something has changed, and it is not known what. The answers stay for when the
    /// database does not give others.
    pub(crate) fn expire(&self) {
        let mut state = lock(&self.state);
        state.generation += 1;
        // Nor may anybody join a question that was put before.
        state.asked.clear();
    }

    /// The last answer, however old within the time for which they are kept, and whether its question was put after the last word that answers may
    /// be out of date.
    pub(crate) fn last(&self, key: &K) -> Option<(Answer<V>, bool)> {
        let now = self.environment.now();
        let state = lock(&self.state);
        let answer = state.last.get(key, now)?.clone();
        let is_current = answer.generation == state.generation;
        Some((answer, is_current))
    }

    /// Puts the question, or waits with the others while it is being put. A dropped future leaves it to its end.
    pub(crate) async fn ask<F>(
        &self,
        key: K,
        question: impl FnOnce() -> F,
    ) -> Result<Answer<V>, NoAnswer>
    where
        F: Future<Output = Result<V, MetadataError>> + Send + 'static,
    {
        let run = {
            let mut state = lock(&self.state);
            if let Some((_, run)) = state.asked.get(&key) {
                run.clone()
            } else {
                let (answer, answered) = oneshot::channel();
                let run = answered.shared();
                let generation = state.generation;
                state.asked.insert(key.clone(), (generation, run.clone()));
                self.put(key, generation, question(), answer);
                run
            }
        };
        run.await.unwrap_or(Err(NoAnswer::CutOff))
    }

    fn put<F>(
        &self,
        key: K,
        generation: u64,
        question: F,
        answer: oneshot::Sender<Result<Answer<V>, NoAnswer>>,
    ) where
        F: Future<Output = Result<V, MetadataError>> + Send + 'static,
    {
        let read = self.environment.now();
        let until = read + self.kept_for;
        let state = Arc::clone(&self.state);
        self.tasks.spawn(async move {
            let asked = Asked {
                state,
                key,
                generation,
            };
            let outcome = match question.await {
                Ok(value) => Ok(Answer {
                    value,
                    read,
                    generation,
                }),
                Err(error) => Err(NoAnswer::Backend(Arc::new(error))),
            };
            if let Ok(answer) = &outcome {
                let mut state = lock(&asked.state);
                let now = answer.read;
                // One that took long must not take the place of a later one.
                let later = state.last.get(&asked.key, now);
                if later.is_none_or(|later| later.generation <= generation) {
                    state.last.insert(asked.key.clone(), answer.clone(), until);
                }
            }
            drop(asked);
            // Nobody waits any more: the answer is kept for the next one.
            answer.send(outcome).ok();
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).last.len()
    }
}

/// A question that is being put; whatever ends it, the next one to ask puts it anew.
struct Asked<K: Eq + Hash, V> {
    state: Arc<Mutex<State<K, V>>>,
    key: K,
    generation: u64,
}

impl<K: Eq + Hash, V> Drop for Asked<K, V> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let own = state
            .asked
            .get(&self.key)
            .is_some_and(|(generation, _)| *generation == self.generation);
        // One that was put after a change is for others to join.
        if own {
            state.asked.remove(&self.key);
        }
    }
}

fn lock<K, V>(state: &Mutex<State<K, V>>) -> MutexGuard<'_, State<K, V>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use roadstead_runtime::ManualClock;
    use tokio::sync::Notify;

    use super::*;

    const KEPT_FOR: Duration = Duration::from_mins(1);

    fn answers(clock: &Arc<ManualClock>, capacity: usize) -> Answers<u32, u32> {
        let environment = Environment {
            clock: Arc::clone(clock) as _,
            ..Environment::system()
        };
        Answers::new(environment, Tasks::new(), (capacity, KEPT_FOR))
    }

    #[tokio::test]
    async fn a_thousand_who_ask_at_once_put_one_question() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let answers = Arc::new(answers(&clock, 10));
        let (questions, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let (answers, questions, go) = (
                Arc::clone(&answers),
                Arc::clone(&questions),
                Arc::clone(&go),
            );
            asking.spawn(async move {
                let question = || async move {
                    questions.fetch_add(1, Ordering::Relaxed);
                    go.notified().await;
                    Ok(7)
                };
                answers.ask(1, question).await.unwrap().value
            });
        }
        while questions.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        while let Some(answer) = asking.join_next().await {
            assert_eq!(answer.unwrap(), 7);
        }
        assert_eq!(questions.load(Ordering::Relaxed), 1);
        assert!(lock(&answers.state).asked.is_empty());
    }

    #[tokio::test]
    async fn an_answer_is_as_old_as_its_question_and_kept_for_its_time() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let answers = answers(&clock, 10);
        let slow = Arc::clone(&clock);
        let question = || async move {
            slow.advance(Duration::from_secs(20));
            Ok(7)
        };
        let answer = answers.ask(1, question).await.unwrap();
        assert_eq!(answer.read, Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(39));
        assert_eq!(answers.last(&1).unwrap().0.value, 7);
        clock.advance(Duration::from_secs(1));
        assert!(answers.last(&1).is_none());
    }

    #[tokio::test]
    async fn a_question_that_was_put_before_a_change_answers_nobody_who_asks_after_it() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let answers = Arc::new(answers(&clock, 10));
        let go = Arc::new(Notify::new());
        let early = {
            let (answers, go) = (Arc::clone(&answers), Arc::clone(&go));
            let question = || async move {
                go.notified().await;
                Ok(1)
            };
            async move { answers.ask(1, question).await.unwrap() }
        };
        let late = async {
            answers.expire();
            let late = answers.ask(1, || async { Ok(2) }).await.unwrap();
            go.notify_one();
            late
        };
        let (early, late) = tokio::join!(early, late);
        assert_eq!((early.value, late.value), (1, 2));
        let (last, is_current) = answers.last(&1).unwrap();
        assert_eq!((last.value, is_current), (2, true));
        answers.expire();
        let (last, is_current) = answers.last(&1).unwrap();
        assert_eq!((last.value, is_current), (2, false));
    }

    #[tokio::test]
    async fn a_question_that_was_put_before_a_change_leaves_a_later_one_to_be_joined() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let answers = Arc::new(answers(&clock, 10));
        let questions = Arc::new(AtomicU32::new(0));
        let mut asking = tokio::task::JoinSet::new();
        let mut ask = |go: &Arc<Notify>| {
            let (answers, questions, go) =
                (Arc::clone(&answers), Arc::clone(&questions), Arc::clone(go));
            asking.spawn(async move {
                let question = || async move {
                    let number = questions.fetch_add(1, Ordering::Relaxed) + 1;
                    go.notified().await;
                    Ok(number)
                };
                answers.ask(1, question).await.unwrap().value
            });
        };
        let put = async |number| {
            while questions.load(Ordering::Relaxed) < number {
                tokio::task::yield_now().await;
            }
        };
        let (early, late) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        ask(&early);
        put(1).await;
        answers.expire();
        ask(&late);
        put(2).await;
        early.notify_one();
        while answers.len() == 0 {
            tokio::task::yield_now().await;
        }
        ask(&late);
        tokio::task::yield_now().await;
        // Twice, for a question that should not have been put.
        late.notify_one();
        late.notify_one();
        let mut values = asking.join_all().await;
        values.sort_unstable();
        assert_eq!(values, [1, 2, 2]);
    }

    #[tokio::test]
    async fn answers_are_bounded_in_number() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let answers = answers(&clock, 3);
        for key in 0..100 {
            answers.ask(key, || async move { Ok(key) }).await.unwrap();
        }
        assert_eq!(answers.len(), 3);
        assert!(lock(&answers.state).asked.is_empty());
    }
}
