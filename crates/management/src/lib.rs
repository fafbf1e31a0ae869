//! What owners and operators change and look up: accounts, organisations, teams, robots, tokens, repositories, permissions, quotas, the log of actions.
//!
//! Everything is a method of [`Management`]: one decision about names and forms, one transaction, one entry in the log of actions. The HTTP API and the
//! commands are two doors to the same methods; who may come through the first is decided by `auth`, and the second is the operator's.
//! What the methods give are documents in Quay's form, which both doors print as they are.
//!
//! Invariant: no HTTP and no SQL here; a secret is in a document only where it has just been made or was asked for; nothing is changed that is not logged.

mod error;
mod management;

pub use error::ManagementError;
pub use management::Management;
