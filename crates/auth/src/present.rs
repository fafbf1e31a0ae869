//! What the bearer of a token may do now: what its token grants is capped by that, so that what was taken away since the token was issued is gone for
//! it too, within [`REVOCATION_BOUND`], whichever instance issued the token and whichever made the change.
//!
//! What allows is believed for that long without asking. What does not allow is always asked again, so that what was given just now counts at
//! once. While the database does not answer, its last word counts if that is younger than the token; else the token's own is the last word, for pulling.

#[cfg(test)]
mod tests;

use std::time::Duration;

use roadstead_metadata::{
    Bearer, Database, MetadataError, PathStanding, Repository, RepositoryPath, UserId,
};
use roadstead_runtime::{Environment, Tasks, Timestamp};

use crate::access::TokenError;
use crate::answers::{Answer, Answers, NoAnswer};
use crate::authenticator::Authenticator;
use crate::bearer::{Claimed, Revoked, bearer};
use crate::grant::Found;
use crate::identity::{Identity, User};
use crate::metrics::{Memory, MemoryCounters};
use crate::rights::{Action, Target};
use crate::token::TOKEN_LIFE;

/// How long what was taken away may still be used: the bound, in every region, on honouring that an account was disabled or deleted, a password changed, a
/// token withdrawn or a permission lost, with tokens that were issued before. Counted by the instance's own clock, from the change on.
pub const REVOCATION_BOUND: Duration = Duration::from_secs(10);

/// How many bearers are remembered. One takes some 500 bytes.
pub(crate) const BEARERS_MAX: usize = 16_384;

/// In how many repositories it is remembered where a bearer stands, counted for each bearer. One takes some 300 bytes.
pub(crate) const STANDINGS_MAX: usize = 32_768;

/// What is known of those who have tokens.
#[derive(Debug)]
pub(crate) struct Present {
    database: Database,
    environment: Environment,
    /// By the name, and the identifier of an app token or OAuth token.
    bearers: Answers<(String, Option<String>), Option<Bearer>>,
    /// By who asks, none for everybody, and where.
    standings: Answers<(Option<UserId>, RepositoryPath), PathStanding>,
    pub(crate) counters: MemoryCounters,
}

/// Whose token it is, as far as that is known.
#[derive(Clone, Debug)]
pub(crate) enum Holder {
    Anonymous,
    Known(User),
    /// The database does not answer, and never said anything about them that is younger than the token.
    Unconfirmed,
}

impl Present {
    pub(crate) fn new(database: Database, environment: &Environment, tasks: &Tasks) -> Self {
        Self {
            bearers: Answers::new(
                environment.clone(),
                tasks.clone(),
                (BEARERS_MAX, TOKEN_LIFE),
            ),
            standings: Answers::new(
                environment.clone(),
                tasks.clone(),
                (STANDINGS_MAX, TOKEN_LIFE),
            ),
            database,
            environment: environment.clone(),
            counters: MemoryCounters::default(),
        }
    }

    /// Has everything asked again: what was remembered may be out of date.
    pub(crate) fn expire(&self) {
        self.bearers.expire();
        self.standings.expire();
    }

    fn is_fresh<V>(&self, answer: &Answer<V>) -> bool {
        let now = self.environment.now();
        // A clock that was set back makes answers of the future, of which nobody knows how old they are.
        answer.read <= now && now < answer.read + REVOCATION_BOUND
    }

    async fn ask_bearer(
        &self,
        key: (String, Option<String>),
    ) -> Result<Answer<Option<Bearer>>, NoAnswer> {
        let (database, (username, token)) = (self.database.clone(), key.clone());
        let question = || async move { database.find_bearer(&username, token.as_deref()).await };
        self.bearers.ask(key, question).await
    }

    async fn ask_standing(
        &self,
        key: (Option<UserId>, RepositoryPath),
    ) -> Result<Answer<PathStanding>, NoAnswer> {
        let (database, (asker, path)) = (self.database.clone(), key.clone());
        let question = || async move {
            let standings = database.standings(asker, &[path]).await?;
            Ok(standings.into_iter().next().unwrap_or_default())
        };
        self.standings.ask(key, question).await
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> (usize, usize) {
        (self.bearers.len(), self.standings.len())
    }
}

impl Authenticator {
    /// Has accounts, permissions and repositories asked about again that were asked about before: somebody has changed something. Without this word
    /// a change counts within [`REVOCATION_BOUND`].
    pub fn rights_changed(&self) {
        self.inner.present.expire();
    }

    /// Finds out whether a token is still good for whoever it was issued to.
    pub(crate) async fn holder(&self, claimed: &Claimed) -> Result<Holder, TokenError> {
        let present = &self.inner.present;
        let now = self.inner.environment.now();
        // PostgreSQL has no text with such a character, and so nobody's name.
        let unspeakable = |text: &str| text.contains('\0');
        if unspeakable(&claimed.username) || claimed.by.token().is_some_and(unspeakable) {
            return Err(TokenError::Revoked {
                reason: Revoked::AccountGone,
            });
        }
        let judge = |answer: &Answer<Option<Bearer>>| {
            bearer(claimed, answer.value.as_ref(), &self.inner.options, now)
        };
        let key = (
            claimed.username.clone(),
            claimed.by.token().map(str::to_owned),
        );
        let last = present.bearers.last(&key);
        if let Some((last, true)) = &last
            && present.is_fresh(last)
            && let Ok(user) = judge(last)
        {
            present.counters.note(Memory::Bearers, true);
            return Ok(Holder::Known(user));
        }
        present.counters.note(Memory::Bearers, false);
        let answer = match present.ask_bearer(key).await {
            Ok(answer) => answer,
            Err(reason) if is_outage(&reason) => match last {
                Some((last, _)) if last.read >= claimed.issued => last,
                _ => return Ok(Holder::Unconfirmed),
            },
            Err(reason) => return Err(reason.into()),
        };
        let user = judge(&answer).map_err(|reason| TokenError::Revoked { reason })?;
        Ok(Holder::Known(user))
    }

    /// Whether the holder of a token that grants `action` at `path` may do it now. `found` is what is there.
    pub(crate) async fn still_may(
        &self,
        (holder, issued): (&Holder, Timestamp),
        action: Action,
        path: &RepositoryPath,
        found: Option<&Repository>,
    ) -> Result<bool, TokenError> {
        let present = &self.inner.present;
        let identity = match holder {
            Holder::Anonymous => Identity::Anonymous,
            Holder::Known(user) => Identity::User(user.clone()),
            // Nothing but pulling goes on without the database.
            Holder::Unconfirmed if action == Action::Pull => return Ok(true),
            Holder::Unconfirmed => return Err(TokenError::Busy),
        };
        let asker = match &identity {
            Identity::Anonymous => None,
            Identity::User(user) => Some(user.id),
        };
        let key = (asker, path.clone());
        let last = present.standings.last(&key);
        if let Some((last, true)) = &last
            && present.is_fresh(last)
            && is_about(&last.value, found)
            && self.allows(&identity, action, path, &last.value)
        {
            present.counters.note(Memory::Standings, true);
            return Ok(true);
        }
        present.counters.note(Memory::Standings, false);
        let answer = match present.ask_standing(key).await {
            Ok(answer) => answer,
            Err(reason) if is_outage(&reason) => match last {
                Some((last, _)) if last.read >= issued => last,
                _ if action == Action::Pull => return Ok(true),
                _ => return Err(reason.into()),
            },
            Err(reason) => return Err(reason.into()),
        };
        Ok(self.allows(&identity, action, path, &answer.value))
    }

    fn allows(
        &self,
        identity: &Identity,
        action: Action,
        path: &RepositoryPath,
        standing: &PathStanding,
    ) -> bool {
        let Ok(found) = Found::new(path.clone(), standing.clone()) else {
            return false;
        };
        let rights = self.rights(identity, found.target);
        match found.target {
            Target::Repository { .. } => rights.allow(action),
            // Whoever may read what is not there, or make it, is told that it is not there.
            Target::MissingRepository { .. }
            | Target::DeletedRepository { .. }
            | Target::MissingNamespace => rights.pull || rights.create,
        }
    }
}

/// Whether a standing is that in the repository as it was found, and not as it was before, or in one that was there before under its name.
fn is_about(standing: &PathStanding, found: Option<&Repository>) -> bool {
    let known = standing
        .repository
        .as_ref()
        .filter(|known| known.state.is_some());
    known.map(|known| (known.id, known.public, known.state))
        == found.map(|found| (found.id, found.public, Some(found.state)))
}

fn is_outage(reason: &NoAnswer) -> bool {
    match reason {
        NoAnswer::Backend(error) => matches!(**error, MetadataError::Unavailable { .. }),
        NoAnswer::CutOff => false,
    }
}

impl From<NoAnswer> for TokenError {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::Backend(source) => Self::Backend { source },
            NoAnswer::CutOff => Self::Busy,
        }
    }
}
