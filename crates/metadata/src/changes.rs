//! What changes of accounts, teams, robots, tokens and quotas have in common: who makes them, and what they may come to.

use roadstead_runtime::{Ids, Timestamp};
use serde_json::Value;

use crate::audit::{self, Actor, LogEntry};
use crate::database::{Connection, Identified, Transaction, params};
use crate::error::MetadataError;
use crate::ids::UserId;

/// Who changes something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Who, for the log of actions.
    pub actor: &'a Actor,
    /// Source of identifiers.
    pub ids: &'a dyn Ids,
    /// Now.
    pub now: Timestamp,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// There is no such thing.
    Unknown {
        /// What sort of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is such a thing already.
    Taken {
        /// What sort of thing, with its article.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Nobody would be left who administers the organisation.
    LastAdmin,
    /// The robot copies a repository or an organisation from elsewhere.
    UsedByMirror,
    /// The organisation's or user's robots only may be in its teams.
    ForeignRobot,
    /// There are accounts already.
    NotEmpty,
}

/// What a change came to. Nothing was changed unless it is `Ok(Ok(_))`.
pub type Changed<T> = Result<Result<T, Unchanged>, MetadataError>;

impl Unchanged {
    pub(crate) fn unknown(what: &'static str, name: impl Into<String>) -> Self {
        Self::Unknown {
            what,
            name: name.into(),
        }
    }

    pub(crate) fn taken(what: &'static str, name: impl Into<String>) -> Self {
        Self::Taken {
            what,
            name: name.into(),
        }
    }
}

impl Change<'_> {
    /// Writes an entry of the log of actions in the transaction of what it tells.
    pub(crate) async fn log(
        &self,
        transaction: &Transaction,
        kind: &'static str,
        namespace: UserId,
        members: &[(&str, Value)],
    ) -> Result<(), MetadataError> {
        let entry = LogEntry::change(self.actor, kind, namespace, None, members, self.now);
        audit::write(transaction, &[entry]).await
    }
}

/// Which accounts are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Person,
    Organization,
    /// Either of the two.
    Namespace,
    /// Persons and robots.
    Actor,
}

impl Sort {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Person | Self::Actor => "user",
            Self::Organization => "organization",
            Self::Namespace => "namespace",
        }
    }

    pub(crate) const fn condition(self) -> &'static str {
        match self {
            Self::Person => "NOT robot AND NOT organization",
            Self::Organization => "organization",
            Self::Namespace => "NOT robot",
            Self::Actor => "NOT organization",
        }
    }
}

/// The account of this name and sort, kept from being deleted until the transaction ends.
pub(crate) async fn find(transaction: &Transaction, sort: Sort, name: &str) -> Changed<UserId> {
    let row: Option<Identified> = transaction
        .row(
            "look up an account",
            &format!(
                r#"SELECT id FROM "user" WHERE username = $1 AND {} @lock"#,
                sort.condition()
            ),
            params![name],
        )
        .await?;
    Ok(row
        .map(|row| UserId(row.id))
        .ok_or_else(|| Unchanged::unknown(sort.name(), name)))
}

/// Takes what a part of a change gave, or ends the change with why it was not made.
macro_rules! made {
    ($part:expr) => {
        match $part {
            Ok(made) => made,
            Err(unchanged) => return Ok(Err(unchanged)),
        }
    };
}
pub(crate) use made;
