//! What pushes change all the time, of many with one transaction: whoever asks while one is on its way waits for the next, together with all others
//! who do. A transaction costs a sync of a disk, and each of its statements a way to the database and back, whatever they change.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use roadstead_runtime::Gather;

use crate::blob_commits::Commit;
use crate::database::Database;
use crate::dialect::Engine;
use crate::error::MetadataError;
use crate::garbage::{BeginPublication, Publishing};
use crate::lookups::{at_once_max, unasked};
use crate::upload_steps::{Beginning, Closing};
use crate::uploads::Upload;

/// How many change something with one transaction, which others wait for that want the same rows or, on SQLite, any.
const TOGETHER_MAX: usize = 64;

/// An answer to each change, in their order, or why none was made.
pub(crate) type Answers<A> = Result<Vec<Result<A, MetadataError>>, MetadataError>;

/// Makes some changes in one transaction, with as many statements as it takes for one. What is wrong with one of them is its own answer.
pub(crate) type Make<Q, A> = for<'a> fn(&'a Database, &'a [Q]) -> BoxFuture<'a, Answers<A>>;

/// Where those meet who make the same kind of change.
#[derive(Debug)]
pub(crate) struct Meetings {
    pub(crate) beginnings: Meeting<Beginning, Upload>,
    pub(crate) closings: Meeting<Closing, Option<(Upload, Publishing)>>,
    pub(crate) publications: Meeting<BeginPublication, Publishing>,
    pub(crate) commits: Meeting<Commit, ()>,
}

impl Meetings {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            beginnings: Meeting::new("begin an upload", engine),
            closings: Meeting::new("acknowledge the last bytes of an upload", engine),
            publications: Meeting::new("note that an object is about to appear", engine),
            commits: Meeting::new("record a blob", engine),
        }
    }
}

/// Where those meet who make one kind of change.
#[derive(Debug)]
pub(crate) struct Meeting<Q, A> {
    gather: Gather<Q, Result<A, MetadataError>>,
    operation: &'static str,
}

impl<Q, A> Meeting<Q, A>
where
    Q: Debug + Send + Sync + 'static,
    A: Debug + Send + 'static,
{
    fn new(operation: &'static str, engine: Engine) -> Self {
        Self {
            gather: Gather::new(TOGETHER_MAX, at_once_max(engine)),
            operation,
        }
    }

    /// Makes a change together with all who want to make one. Dropped, it leaves the change to be made.
    pub(crate) async fn make(
        &self,
        database: &Database,
        change: Q,
        make: Make<Q, A>,
    ) -> Result<A, MetadataError> {
        let database = database.clone();
        let answer = self.gather.ask(change, move |changes: Vec<Q>| {
            let database = database.clone();
            async move {
                match make(&database, &changes).await {
                    Ok(answers) => answers,
                    // The database's failure is everybody's.
                    Err(error) => changes.iter().map(|_| Err(error.clone())).collect(),
                }
            }
        });
        answer.await.unwrap_or_else(|| Err(unasked(self.operation)))
    }
}
