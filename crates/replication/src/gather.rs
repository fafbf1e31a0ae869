//! One question for many who ask at the same moment: while the answer to some is awaited, the next gather, and are asked about together.
//!
//! A transaction costs the database much the same for one copy as for twenty. Nobody waits for others to come: who is alone asks at once.

use std::sync::{Arc, Mutex, PoisonError};

use roadstead_runtime::Tasks;
use tokio::sync::oneshot;
use tracing::Instrument as _;

/// Where those who ask the same meet.
#[derive(Debug)]
pub(crate) struct Gather<Q, A> {
    asking: Mutex<Vec<Asking<Q, A>>>,
    /// Whoever has it asks for all.
    turn: Arc<tokio::sync::Mutex<()>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Asking<Q, A> {
    question: Q,
    answer: oneshot::Sender<A>,
}

impl<Q, A> Default for Gather<Q, A> {
    fn default() -> Self {
        Self {
            asking: Mutex::default(),
            turn: Arc::default(),
            tasks: Tasks::new(),
        }
    }
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// Asks this together with whatever others ask by then. `ask` gives an answer to each question, in their order. None if it gave none, or
    /// panicked.
    ///
    /// There are at most as many questions in one as there are callers at a time. Dropped, it leaves the question to be asked.
    pub(crate) async fn ask<F>(
        &self,
        question: Q,
        ask: impl FnOnce(Vec<Q>) -> F + Send + 'static,
    ) -> Option<A>
    where
        F: Future<Output = Vec<A>> + Send,
    {
        let (sender, receiver) = oneshot::channel();
        self.asking().push(Asking {
            question,
            answer: sender,
        });
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let asking = std::mem::take(&mut *self.asking());
        if !asking.is_empty() {
            // By itself, so that nobody's answer depends on whether somebody else is still interested in theirs.
            let asked = async move {
                let (questions, waiting): (Vec<Q>, Vec<oneshot::Sender<A>>) = asking
                    .into_iter()
                    .map(|asking| (asking.question, asking.answer))
                    .unzip();
                let answers = ask(questions).await;
                drop(turn);
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    // Whoever has gone needs no answer.
                    waiting.send(answer).ok();
                }
            };
            self.tasks.spawn(asked.in_current_span());
        }
        receiver.await.ok()
    }

    fn asking(&self) -> std::sync::MutexGuard<'_, Vec<Asking<Q, A>>> {
        // A list is whole whoever panicked.
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_is_asked_while_an_answer_is_awaited_is_asked_together() {
        let gather = Arc::new(Gather::<u32, u32>::default());
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = |question: u32| {
            let (gather, asked, answer) = (gather.clone(), asked.clone(), answer.clone());
            async move {
                gather
                    .ask(question, move |questions| async move {
                        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                            answer.notified().await;
                        }
                        questions.iter().map(|question| question * 2).collect()
                    })
                    .await
            }
        };
        let mut first = Box::pin(ask(1));
        while asked.load(Ordering::Relaxed) == 0 {
            assert_eq!((&mut first).now_or_never(), None);
            tokio::task::yield_now().await;
        }
        let mut others = Box::pin(join_all((2..100).map(ask)));
        assert_eq!((&mut others).now_or_never(), None);
        answer.notify_one();
        assert_eq!(first.await, Some(2));
        let expected: Vec<Option<u32>> = (2..100).map(|question| Some(question * 2)).collect();
        assert_eq!(others.await, expected);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn who_goes_away_takes_nobodys_answer_along() {
        let gather = Gather::<u32, u32>::default();
        let answer = Arc::new(Notify::new());
        let waiting = Arc::clone(&answer);
        let mut first = Box::pin(gather.ask(1, move |questions| async move {
            waiting.notified().await;
            questions
        }));
        assert_eq!((&mut first).now_or_never(), None);
        let mut second = Box::pin(gather.ask(2, |questions| async { questions }));
        assert_eq!((&mut second).now_or_never(), None);
        drop(first);
        answer.notify_one();
        assert_eq!(second.await, Some(2));
    }

    #[tokio::test]
    async fn a_panic_is_no_answer_and_stops_nobody_else() {
        let gather = Gather::<u32, u32>::default();
        let none = gather.ask(1, |_| async { panic!("it is meant to") }).await;
        assert_eq!(none, None);
        let some = gather.ask(2, |questions| async { questions }).await;
        assert_eq!(some, Some(2));
    }
}
