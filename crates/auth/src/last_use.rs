//! When robots and tokens were last used: gathered in memory and written a little later, many at once, so that no answer waits for it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_metadata::{AppTokenId, Database, OauthTokenId, UsedCredentials, UserId};
use roadstead_runtime::{Environment, Recent, Tasks, Timestamp};

/// How old a noted use must be for the next one to be noted.
pub(crate) const NOTED_EVERY: Duration = Duration::from_mins(1);

/// How long uses are gathered before they are written.
pub(crate) const GATHERED_FOR: Duration = Duration::from_secs(5);

/// How many wait to be written, at most; and how many are known to have been noted. What does not fit is noted at a later use.
const CREDENTIALS_MAX: usize = 8192;

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Used {
    Robot(UserId),
    AppToken(AppTokenId),
    OauthToken(OauthTokenId),
}

/// Notes uses.
#[derive(Debug)]
pub(crate) struct LastUse {
    shared: Arc<Shared>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    environment: Environment,
    gathered: Mutex<Gathered>,
}

#[derive(Debug)]
struct Gathered {
    /// What has been noted lately, whether or not it is written yet.
    noted: Recent<Used, ()>,
    waiting: HashSet<Used>,
    /// Whether a task is under way that will write what waits.
    writing: bool,
}

impl LastUse {
    pub(crate) fn new(database: Database, environment: Environment, tasks: Tasks) -> Self {
        Self {
            shared: Arc::new(Shared {
                database,
                environment,
                gathered: Mutex::new(Gathered {
                    noted: Recent::new(CREDENTIALS_MAX),
                    waiting: HashSet::new(),
                    writing: false,
                }),
            }),
            tasks,
        }
    }

    /// Notes a use. `before` is the last one that the database knows of.
    ///
    /// Returns at once; the database learns of it within some seconds, or not at all if it does not answer then.
    pub(crate) fn note(&self, used: Used, before: Option<Timestamp>) {
        let now = self.shared.environment.now();
        if before.is_some_and(|before| now < before + NOTED_EVERY) {
            return;
        }
        let mut gathered = self.shared.gathered();
        if gathered.noted.get(&used, now).is_some() || gathered.waiting.len() >= CREDENTIALS_MAX {
            return;
        }
        gathered.noted.insert(used, (), now + NOTED_EVERY);
        gathered.waiting.insert(used);
        if !gathered.writing {
            gathered.writing = true;
            let shared = Arc::clone(&self.shared);
            let shutdown = self.tasks.shutdown();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = shutdown.wait() => {}
                    () = shared.environment.clock.sleep(GATHERED_FOR) => {}
                }
                shared.write().await;
            });
        }
    }
}

impl Shared {
    fn gathered(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self) {
        let waiting = {
            let mut gathered = self.gathered();
            gathered.writing = false;
            std::mem::take(&mut gathered.waiting)
        };
        let mut used = UsedCredentials::default();
        for credential in waiting {
            match credential {
                Used::Robot(id) => used.robots.push(id),
                Used::AppToken(id) => used.app_tokens.push(id),
                Used::OauthToken(id) => used.oauth_tokens.push(id),
            }
        }
        let now = self.environment.now();
        if let Err(error) = self.database.note_used_credentials(&used, now).await {
            // For people to look at only; the next use is noted again.
            tracing::debug!(%error, "Could not note when robots and tokens were last used");
        }
    }
}
