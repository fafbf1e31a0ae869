//! What pushes change all the time, of many with one transaction: whoever asks while one is on its way waits for the next, together with all others
//! who do. A transaction costs a sync of a disk, and each of its statements a way to the database and back, whatever they change.
//!
//! A SQLite file has one writer at a time, so all kinds of changes take the same turns: whatever waits when a transaction has begun is made in it. At
//! a server, where transactions go on side by side, each kind has its own.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use roadstead_runtime::Tasks;
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use crate::blob_commits::Commit;
use crate::database::{CONTENDED_ATTEMPTS, Database, Transaction, params};
use crate::dialect::Engine;
use crate::epoch::Epochs;
use crate::error::MetadataError;
use crate::garbage::BeginPublication;
use crate::lookups::{at_once_max, unasked};
use crate::manifests::Putting;
use crate::upload_steps::{Advance, Beginning, Closing};

/// How many of a kind change something with one transaction, which others wait for that want the same rows or, on SQLite, any.
const TOGETHER_MAX: usize = 64;

/// An answer to each change, in their order, or why none was made.
pub(crate) type Answers<A> = Result<Vec<Result<A, MetadataError>>, MetadataError>;

/// A change that others may want to make at the same moment.
pub(crate) trait Change: Debug + Send + Sync + Sized + 'static {
    /// What is told to whoever wants it.
    type Answer: Debug + Send + Sync + 'static;

    /// What it is, for the error message.
    const OPERATION: &'static str;

    /// Makes some of them, with as many statements as it takes for one. What is wrong with one of them is its own answer, and it has changed nothing
    /// then. Where that takes a savepoint and there are to be none, it is an error for all of them.
    fn make(
        transaction: &Transaction,
        changes: &[Self],
        undo: Undo,
    ) -> impl Future<Output = Answers<Self::Answer>> + Send;
}

/// What is undone when one of several changes fails. A savepoint costs more than most changes, and hardly any fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// The whole transaction.
    All,
    /// What that one has changed.
    One,
}

/// Where those meet who change something.
#[derive(Debug)]
pub(crate) struct Meetings {
    pub(crate) beginnings: Meeting<Beginning>,
    pub(crate) advances: Meeting<Advance>,
    pub(crate) closings: Meeting<Closing>,
    pub(crate) publications: Meeting<BeginPublication>,
    pub(crate) commits: Meeting<Commit>,
    pub(crate) manifests: Meeting<Putting>,
}

impl Meetings {
    pub(crate) fn new(engine: Engine) -> Self {
        let mut queues: Vec<Arc<dyn Queue>> = Vec::new();
        let (beginnings, advances, closings) = (
            Waiting::among(&mut queues),
            Waiting::among(&mut queues),
            Waiting::among(&mut queues),
        );
        let (publications, commits, manifests) = (
            Waiting::among(&mut queues),
            Waiting::among(&mut queues),
            Waiting::among(&mut queues),
        );
        let together = Arc::new(Turns::new(queues, engine));
        Self {
            beginnings: Meeting::new(beginnings, &together, engine),
            advances: Meeting::new(advances, &together, engine),
            closings: Meeting::new(closings, &together, engine),
            publications: Meeting::new(publications, &together, engine),
            commits: Meeting::new(commits, &together, engine),
            manifests: Meeting::new(manifests, &together, engine),
        }
    }
}

/// Where those meet who make one kind of change.
#[derive(Debug)]
pub(crate) struct Meeting<C: Change> {
    waiting: Arc<Waiting<C>>,
    turns: Arc<Turns>,
}

impl<C: Change> Meeting<C> {
    fn new(waiting: Arc<Waiting<C>>, together: &Arc<Turns>, engine: Engine) -> Self {
        let turns = match engine {
            Engine::Sqlite => Arc::clone(together),
            Engine::Postgres => {
                let alone = Arc::clone(&waiting) as Arc<dyn Queue>;
                Arc::new(Turns::new(vec![alone], engine))
            }
        };
        Self { waiting, turns }
    }

    /// Makes a change together with all who want to make one. Dropped, it leaves the change to be made.
    pub(crate) async fn make(
        &self,
        database: &Database,
        change: C,
    ) -> Result<C::Answer, MetadataError> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().push_back(Asking {
            change,
            answer: sender,
            span: Span::current(),
        });
        Turns::come(&self.turns, database);
        let lost = |_| Err(unasked(C::OPERATION));
        receiver.await.unwrap_or_else(lost)
    }
}

/// Those who wait for their turn to make one kind of change. As many as there are callers.
#[derive(Debug)]
struct Waiting<C: Change>(Mutex<VecDeque<Asking<C>>>);

#[derive(Debug)]
struct Asking<C: Change> {
    change: C,
    answer: oneshot::Sender<Result<C::Answer, MetadataError>>,
    /// In which trace it is asked.
    span: Span,
}

impl<C: Change> Default for Waiting<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C: Change> Waiting<C> {
    /// Nobody yet, as one of these.
    fn among(queues: &mut Vec<Arc<dyn Queue>>) -> Arc<Self> {
        let waiting = Arc::<Self>::default();
        queues.push(Arc::clone(&waiting) as Arc<dyn Queue>);
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Asking<C>>> {
        // A list is whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some who wait for their turn, whatever they want to change.
trait Queue: Debug + Send + Sync {
    fn is_empty(&self) -> bool;

    /// Those whose turn it is.
    fn take(&self) -> Option<Box<dyn Round>>;
}

impl<C: Change> Queue for Waiting<C> {
    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn take(&self) -> Option<Box<dyn Round>> {
        let mut waiting = self.lock();
        let together = waiting.len().min(TOGETHER_MAX);
        let mut batch = Batch::<C> {
            changes: Vec::with_capacity(together),
            answers_to: Vec::with_capacity(together),
            span: waiting.front()?.span.clone(),
            made: None,
        };
        for asking in waiting.drain(..together) {
            batch.changes.push(asking.change);
            batch.answers_to.push(asking.answer);
        }
        Some(Box::new(batch))
    }
}

/// Changes of one kind whose turn it is.
trait Round: Send {
    /// Makes them. An error is everybody's whose turn it is.
    fn make<'a>(
        &'a mut self,
        transaction: &'a Transaction,
        undo: Undo,
    ) -> BoxFuture<'a, Result<(), MetadataError>>;

    /// Tells what became of them, once the transaction has ended.
    fn tell(self: Box<Self>, ended: &Result<(), MetadataError>);
}

struct Batch<C: Change> {
    changes: Vec<C>,
    answers_to: Vec<oneshot::Sender<Result<C::Answer, MetadataError>>>,
    span: Span,
    made: Option<Answers<C::Answer>>,
}

impl<C: Change> Round for Batch<C> {
    fn make<'a>(
        &'a mut self,
        transaction: &'a Transaction,
        undo: Undo,
    ) -> BoxFuture<'a, Result<(), MetadataError>> {
        let span = self.span.clone();
        let making = async move {
            if undo == Undo::All {
                self.made = Some(Ok(C::make(transaction, &self.changes, undo).await?));
                return Ok(());
            }
            let step = async |sql| transaction.execute(C::OPERATION, sql, params![]).await;
            step("SAVEPOINT kind").await?;
            let made = C::make(transaction, &self.changes, undo).await;
            if made.is_err() {
                step("ROLLBACK TO kind").await?;
            }
            step("RELEASE kind").await?;
            self.made = Some(made);
            Ok(())
        };
        making.instrument(span).boxed()
    }

    fn tell(self: Box<Self>, ended: &Result<(), MetadataError>) {
        let made = match ended {
            Ok(()) => self.made.unwrap_or_else(|| Ok(Vec::new())),
            Err(error) => Err(error.clone()),
        };
        let answers = made.unwrap_or_else(|error| {
            let failed = self.answers_to.iter().map(|_| Err(error.clone()));
            failed.collect()
        });
        for (answer_to, answer) in self.answers_to.into_iter().zip(answers) {
            // Whoever has gone needs no answer.
            answer_to.send(answer).ok();
        }
    }
}

/// Whose turn it is.
#[derive(Debug)]
struct Turns {
    queues: Vec<Arc<dyn Queue>>,
    at_once_max: usize,
    /// How many transactions are on their way.
    running: Mutex<usize>,
    tasks: Tasks,
}

impl Turns {
    fn new(queues: Vec<Arc<dyn Queue>>, engine: Engine) -> Self {
        Self {
            queues,
            at_once_max: at_once_max(engine),
            running: Mutex::new(0),
            tasks: Tasks::new(),
        }
    }

    fn running(&self) -> MutexGuard<'_, usize> {
        // A number is whole whoever panicked.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that those who wait have their turn.
    fn come(turns: &Arc<Self>, database: &Database) {
        {
            let mut running = turns.running();
            if *running >= turns.at_once_max {
                return;
            }
            *running += 1;
        }
        // By itself, so that nobody's change depends on whether somebody else is still interested in theirs.
        let (turns, database) = (Arc::clone(turns), database.clone());
        let taking = Arc::clone(&turns);
        let take = move |database: Database| taking.take_turns(database).boxed();
        turns.tasks.spawn(async move {
            database.in_one_go(take).await;
        });
    }

    /// Takes turns until nobody waits.
    async fn take_turns(self: Arc<Self>, database: Database) {
        loop {
            {
                let mut running = self.running();
                if self.queues.iter().all(|queue| queue.is_empty()) {
                    *running -= 1;
                    return;
                }
            }
            // Whoever asks next must not find that this one never ends.
            let turn = AssertUnwindSafe(self.take_turn(&database));
            drop(turn.catch_unwind().await);
        }
    }

    async fn take_turn(&self, database: &Database) {
        let mut rounds = None;
        let mut ended = self.attempt(database, &mut rounds, Undo::All).await;
        for _ in 1..CONTENDED_ATTEMPTS {
            if !matches!(ended, Err(MetadataError::Contended { .. })) {
                break;
            }
            ended = self.attempt(database, &mut rounds, Undo::All).await;
        }
        // Of changes of several kinds, and of manifests, whoever fails must not fail the others.
        if ended.is_err() && database.engine() == Engine::Sqlite {
            ended = self.attempt(database, &mut rounds, Undo::One).await;
        }
        for round in rounds.unwrap_or_else(|| self.all()) {
            round.tell(&ended);
        }
    }

    fn all(&self) -> Vec<Box<dyn Round>> {
        self.queues
            .iter()
            .filter_map(|queue| queue.take())
            .collect()
    }

    /// Makes what waits when the transaction has begun, or what waited when the first attempt began.
    async fn attempt(
        &self,
        database: &Database,
        rounds: &mut Option<Vec<Box<dyn Round>>>,
        undo: Undo,
    ) -> Result<(), MetadataError> {
        let transaction = database.begin("make what pushes change").await?;
        let epochs = database.epochs();
        let before = epochs.and_then(Epochs::now);
        for round in rounds.get_or_insert_with(|| self.all()) {
            round.make(&transaction, undo).await?;
        }
        transaction.commit().await?;
        if let Some(epochs) = epochs {
            epochs.only_pushed(before);
        }
        Ok(())
    }
}
