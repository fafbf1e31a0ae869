//! One question for many who ask at the same moment: while the answer to some is awaited, the next gather, and are asked about together.
//!
//! A statement or a transaction costs a database much the same for one as for twenty. Nobody waits for others to come: who is alone asks at once.
//! And nobody is given an answer to a question that was put before they asked.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::tasks::Tasks;

/// Where those who ask the same meet.
#[derive(Debug)]
pub struct Gather<Q, A> {
    state: Arc<Mutex<State<Q, A>>>,
    limits: Limits,
    tasks: Tasks,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    together_max: usize,
    at_once_max: usize,
    /// Answers that took no longer come from nearby.
    near: Duration,
}

impl Limits {
    /// How many may ask at the same time, when the last answer took so long.
    fn at_once(self, took: Option<Duration>) -> usize {
        match took {
            Some(took) if took < self.near => 1,
            _ => self.at_once_max,
        }
    }
}

#[derive(Debug)]
struct State<Q, A> {
    waiting: VecDeque<Asking<Q, A>>,
    /// How many are asking for all.
    running: usize,
    /// How long the last answer took.
    took: Option<Duration>,
}

#[derive(Debug)]
struct Asking<Q, A> {
    question: Q,
    answer: oneshot::Sender<A>,
    /// In which trace it is asked.
    span: Span,
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// Puts up to `together_max` questions as one, and up to `at_once_max` of those at the same time: the more, the sooner somebody's turn comes
    /// where answers take long, and the fewer ask together. Neither is less than one.
    #[must_use]
    pub fn new(together_max: usize, at_once_max: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                waiting: VecDeque::new(),
                running: 0,
                took: None,
            })),
            limits: Limits {
                together_max: together_max.max(1),
                at_once_max: at_once_max.max(1),
                near: Duration::ZERO,
            },
            tasks: Tasks::new(),
        }
    }

    /// Puts one at a time while answers take less than this: nobody waits long then, and the more ask together.
    #[must_use]
    pub fn one_by_one_within(mut self, near: Duration) -> Self {
        self.limits.near = near;
        self
    }

    /// Asks this together with whatever others ask by then. `ask` gives an answer to each question, in their order; every caller's does the same.
    /// None if it gave none, or panicked.
    ///
    /// There are at most as many questions waiting as there are callers at a time. Dropped, it leaves the question to be asked.
    pub async fn ask<F>(
        &self,
        question: Q,
        ask: impl Fn(Vec<Q>) -> F + Send + Sync + 'static,
    ) -> Option<A>
    where
        F: Future<Output = Vec<A>> + Send,
    {
        let (sender, receiver) = oneshot::channel();
        let begins = {
            let mut state = lock(&self.state);
            state.waiting.push_back(Asking {
                question,
                answer: sender,
                span: Span::current(),
            });
            let begins = state.running < self.limits.at_once(state.took);
            state.running += usize::from(begins);
            begins
        };
        if begins {
            // By itself, so that nobody's answer depends on whether somebody else is still interested in theirs.
            let (state, limits) = (Arc::clone(&self.state), self.limits);
            self.tasks
                .spawn(async move { ask_for_all(&state, limits, ask).await });
        }
        receiver.await.ok()
    }
}

/// Asks until nobody waits.
async fn ask_for_all<Q, A, F>(state: &Mutex<State<Q, A>>, limits: Limits, ask: impl Fn(Vec<Q>) -> F)
where
    F: Future<Output = Vec<A>> + Send,
{
    let mut took = None;
    loop {
        let mut questions = Vec::new();
        let mut answers_to = Vec::new();
        let mut span = None;
        {
            let mut state = lock(state);
            state.took = took.or(state.took);
            let together = state.waiting.len().min(limits.together_max);
            // Whoever waits is asked for by another.
            let too_many = state.running > limits.at_once(state.took);
            if together == 0 || too_many {
                state.running -= 1;
                return;
            }
            for asking in state.waiting.drain(..together) {
                questions.push(asking.question);
                answers_to.push(asking.answer);
                span.get_or_insert(asking.span);
            }
        }
        let asked = async { ask(questions).await }.instrument(span.unwrap_or_else(Span::none));
        // Whoever asks next must not find that this one never ends.
        let began = Instant::now();
        let answers = AssertUnwindSafe(asked).catch_unwind().await;
        took = Some(began.elapsed());
        for (answer_to, answer) in answers_to.into_iter().zip(answers.unwrap_or_default()) {
            // Whoever has gone needs no answer.
            answer_to.send(answer).ok();
        }
    }
}

fn lock<Q, A>(state: &Mutex<State<Q, A>>) -> MutexGuard<'_, State<Q, A>> {
    // A list and a number are whole whoever panicked.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::future::{Join, join, join_all};
    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles numbers when it may, and keeps which it was asked together.
    #[derive(Clone)]
    struct Doubling {
        gather: Arc<Gather<u32, u32>>,
        may: Arc<Semaphore>,
        asked: Arc<Mutex<Vec<Vec<u32>>>>,
    }

    impl Doubling {
        fn new(together_max: usize, at_once_max: usize) -> Self {
            Self {
                gather: Arc::new(Gather::new(together_max, at_once_max)),
                may: Arc::new(Semaphore::new(0)),
                asked: Arc::default(),
            }
        }

        async fn double(&self, number: u32) -> Option<u32> {
            let this = self.clone();
            let ask = move |numbers: Vec<u32>| {
                let this = this.clone();
                async move {
                    this.asked.lock().unwrap().push(numbers.clone());
                    this.may.acquire().await.unwrap().forget();
                    assert!(!numbers.contains(&0), "it is meant to panic");
                    numbers.iter().map(|number| number * 2).collect()
                }
            };
            self.gather.ask(number, ask).await
        }

        /// What was asked, once that is so many statements.
        async fn asked(&self, statements: usize) -> Vec<Vec<u32>> {
            loop {
                let asked = self.asked.lock().unwrap().clone();
                if asked.len() >= statements {
                    return asked;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Two futures that have both begun.
    fn begun<A, B>(first: A, second: B) -> std::pin::Pin<Box<Join<A, B>>>
    where
        A: Future,
        B: Future,
        A::Output: std::fmt::Debug,
        B::Output: std::fmt::Debug,
    {
        let mut both = Box::pin(join(first, second));
        assert!((&mut both).now_or_never().is_none());
        both
    }

    #[tokio::test]
    async fn what_is_asked_while_an_answer_is_awaited_is_asked_together() {
        let doubling = Doubling::new(50, 1);
        let others = join_all((2..=100).map(|number| doubling.double(number)));
        let both = begun(doubling.double(1), others);
        doubling.may.add_permits(100);
        let (first, others) = both.await;
        assert_eq!(first, Some(2));
        let expected: Vec<Option<u32>> = (2..=100).map(|number| Some(number * 2)).collect();
        assert_eq!(others, expected);
        // The first began alone, or with those that came before its task ran; at most fifty ask together.
        let asked = doubling.asked(2).await;
        assert!(asked.len() <= 3, "{asked:?}");
        assert!(asked.iter().all(|numbers| numbers.len() <= 50), "{asked:?}");
    }

    #[tokio::test]
    async fn nobody_is_answered_by_a_question_that_was_put_before() {
        let doubling = Doubling::new(50, 1);
        let mut first = Box::pin(doubling.double(1));
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(doubling.asked(1).await, [[1]]);
        let both = begun(first, doubling.double(1));
        doubling.may.add_permits(2);
        assert_eq!(both.await, (Some(2), Some(2)));
        assert_eq!(doubling.asked(2).await, [[1], [1]]);
    }

    #[tokio::test]
    async fn as_many_are_asked_at_once_as_may_be() {
        let doubling = Doubling::new(50, 2);
        let mut first = Box::pin(doubling.double(1));
        assert!((&mut first).now_or_never().is_none());
        doubling.asked(1).await;
        let two = begun(first, doubling.double(2));
        // Nobody has been answered, and yet the second is being asked.
        assert_eq!(doubling.asked(2).await, [[1], [2]]);
        let three = begun(two, doubling.double(3));
        tokio::task::yield_now().await;
        assert_eq!(doubling.asked(2).await.len(), 2);
        doubling.may.add_permits(3);
        assert_eq!(three.await, ((Some(2), Some(4)), Some(6)));
    }

    #[tokio::test]
    async fn while_answers_come_soon_one_is_asked_at_a_time() {
        let mut doubling = Doubling::new(50, 2);
        let gather = Gather::new(50, 2).one_by_one_within(Duration::from_hours(1));
        doubling.gather = Arc::new(gather);
        // It is not known yet how long an answer takes.
        let mut first = Box::pin(doubling.double(1));
        assert!((&mut first).now_or_never().is_none());
        doubling.asked(1).await;
        let two = begun(first, doubling.double(2));
        doubling.asked(2).await;
        doubling.may.add_permits(2);
        assert_eq!(two.await, (Some(2), Some(4)));
        let mut third = Box::pin(doubling.double(3));
        assert!((&mut third).now_or_never().is_none());
        doubling.asked(3).await;
        let both = begun(third, join(doubling.double(4), doubling.double(5)));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(doubling.asked(3).await.len(), 3);
        doubling.may.add_permits(2);
        assert_eq!(both.await, (Some(6), (Some(8), Some(10))));
        assert_eq!(
            doubling.asked(4).await,
            [vec![1], vec![2], vec![3], vec![4, 5]]
        );
    }

    #[tokio::test]
    async fn who_goes_away_takes_nobodys_answer_along() {
        let doubling = Doubling::new(50, 1);
        let mut first = Box::pin(doubling.double(1));
        assert!((&mut first).now_or_never().is_none());
        doubling.asked(1).await;
        let mut second = Box::pin(doubling.double(2));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        doubling.may.add_permits(2);
        assert_eq!(second.await, Some(4));
    }

    #[tokio::test]
    async fn a_panic_is_no_answer_and_stops_nobody_else() {
        let doubling = Doubling::new(1, 1);
        doubling.may.add_permits(3);
        let asked = join(doubling.double(0), doubling.double(2));
        assert_eq!(asked.await, (None, Some(4)));
        assert_eq!(doubling.double(3).await, Some(6));
    }
}
