//! The one thing that the rest of the registry holds of this crate. What it does is in the modules named after it.

use std::sync::Arc;

use roadstead_metadata::Database;
use roadstead_runtime::{Environment, Tasks, Timestamp};

use crate::issued::IssuedTokens;
use crate::known_keys::KnownKeys;
use crate::known_tokens::KnownTokens;
use crate::last_use::{LastUse, Used};
use crate::options::AuthOptions;
use crate::outage::Outage;
use crate::passwords::{PASSWORD_COST, Passwords};
use crate::present::Present;
use crate::signing_keys::SigningKeys;

/// Finds out who asks and what they may do. Cheap to clone; clones share what they remember.
#[derive(Clone, Debug)]
pub struct Authenticator {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) environment: Environment,
    pub(crate) tasks: Tasks,
    pub(crate) keys: SigningKeys,
    pub(crate) known_keys: KnownKeys,
    pub(crate) known_tokens: KnownTokens,
    pub(crate) issued: IssuedTokens,
    pub(crate) passwords: Passwords,
    pub(crate) last_use: LastUse,
    pub(crate) outage: Outage,
    pub(crate) present: Present,
    pub(crate) options: Arc<AuthOptions>,
}

impl Authenticator {
    /// Takes what it works with. Reads nothing yet and starts nothing; attempts to sign in run in `tasks`.
    pub fn new(
        database: Database,
        environment: Environment,
        tasks: Tasks,
        keys: SigningKeys,
        options: AuthOptions,
    ) -> Self {
        Self::with_password_cost(database, environment, tasks, keys, (options, PASSWORD_COST))
    }

    pub(crate) fn with_password_cost(
        database: Database,
        environment: Environment,
        tasks: Tasks,
        keys: SigningKeys,
        (options, cost): (AuthOptions, u32),
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                known_keys: KnownKeys::new(
                    database.clone(),
                    environment.clone(),
                    options.service.clone(),
                ),
                known_tokens: KnownTokens::default(),
                issued: IssuedTokens::default(),
                passwords: Passwords::new(&environment, cost),
                outage: Outage::new(&environment),
                present: Present::new(database.clone(), &environment, &tasks),
                last_use: LastUse::new(database.clone(), environment.clone(), tasks.clone()),
                database,
                environment,
                tasks,
                keys,
                options: Arc::new(options),
            }),
        }
    }

    /// The settings.
    pub fn options(&self) -> &AuthOptions {
        &self.inner.options
    }

    /// The keys that it signs with.
    pub fn keys(&self) -> &SigningKeys {
        &self.inner.keys
    }
}

impl Inner {
    /// Notes that a robot or a token was used, where the operator wants that.
    pub(crate) fn note_use(&self, used: Used, before: Option<Timestamp>) {
        if self.options.note_use {
            self.last_use.note(used, before);
        }
    }
}
