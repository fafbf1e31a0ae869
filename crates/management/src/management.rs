//! What the methods work with.

use roadstead_auth::Authenticator;
use roadstead_metadata::Database;
use roadstead_runtime::Environment;

/// The methods of this crate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Management {
    pub(crate) database: Database,
    /// Hashes passwords, encrypts tokens, and knows the operator's settings.
    pub(crate) authenticator: Authenticator,
    pub(crate) environment: Environment,
}

impl Management {
    /// Takes what it works with; asks nobody yet.
    pub const fn new(
        database: Database,
        authenticator: Authenticator,
        environment: Environment,
    ) -> Self {
        Self {
            database,
            authenticator,
            environment,
        }
    }
}
