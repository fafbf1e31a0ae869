//! bcrypt: checking and making password hashes in Quay's form (`$2b$`, cost 12), on blocking threads, a few at a time.
//!
//! Whose hash it is and what follows from a wrong password is not known here.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bcrypt::HashParts;
use roadstead_runtime::{Environment, Recent, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use roadstead_secrets::Secret;

/// The cost of new hashes, Quay's. One check takes about 0.3 s of one core.
pub(crate) const PASSWORD_COST: u32 = 12;

/// The highest cost of a stored hash that is checked at all: 16 takes about 5 s, and each further step twice as long.
const COST_MAX: u32 = 16;

/// How many checks run at once: each occupies a core, and pulls want cores too.
const CHECKS_MAX: usize = 2;

/// How many checks may wait for their turn: at 0.3 s each, two at a time, the last one waits about 10 s.
const WAITING_MAX: usize = 64;

/// How many right passwords are remembered.
const REMEMBERED_MAX: usize = 1024;

/// How long a right password is remembered, so that a client that asks for a token per blob costs one check.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// Checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    cost: u32,
    /// What is checked when there is no account, so that it takes as long as when there is one.
    nobodys_hash: String,
    /// Pairs of a stored hash and the password that is right for it, through SHA-256 with `key` before them. A changed password means another
    /// stored hash, so what is remembered never outlives a change: the bound on honouring a changed password is zero.
    remembered: Mutex<Recent<[u8; 32], ()>>,
    key: [u8; 32],
    #[cfg(test)]
    checks: std::sync::atomic::AtomicUsize,
}

/// Too many checks are waiting already.
#[derive(Debug)]
pub(crate) struct TooManyWaiting;

/// The check was cut off by the end of the program.
#[derive(Debug)]
pub(crate) struct CutOff;

/// The right to run one check.
#[derive(Debug)]
pub(crate) struct Turn {
    _running: OwnedSemaphorePermit,
}

impl Passwords {
    pub(crate) fn new(environment: &Environment, cost: u32) -> Self {
        let mut key = [0; 32];
        environment.ids.fill(&mut key);
        Self {
            running: Arc::new(Semaphore::new(CHECKS_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            cost,
            // `.` is bcrypt's digit zero. That a password has just this hash is as likely as guessing a 184-bit key.
            nobodys_hash: format!("$2b${cost:02}${}", ".".repeat(53)),
            remembered: Mutex::new(Recent::new(REMEMBERED_MAX)),
            key,
            #[cfg(test)]
            checks: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Whether this password was found right for this hash a short while ago.
    pub(crate) fn remembers(&self, hash: &str, password: &Secret, now: Timestamp) -> bool {
        let pair = self.pair(hash, password);
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered.get(&pair, now).is_some()
    }

    /// Remembers that this password is right for this hash.
    pub(crate) fn remember(&self, hash: &str, password: &Secret, now: Timestamp) {
        let pair = self.pair(hash, password);
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pair, (), now + REMEMBERED_FOR);
    }

    fn pair(&self, hash: &str, password: &Secret) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.key)
            .chain_update(hash.len().to_le_bytes())
            .chain_update(hash)
            .chain_update(password.expose())
            .finalize()
            .into()
    }

    /// Waits for the right to run a check. A dropped future gives up its place.
    pub(crate) async fn turn(&self) -> Result<Turn, TooManyWaiting> {
        let place = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| TooManyWaiting)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| TooManyWaiting)?;
        drop(place);
        Ok(Turn { _running: running })
    }

    /// Runs one check. Without a hash, or with one that no bcrypt made, it takes as long and says no. Gives the turn back, to be kept until what
    /// follows from a wrong password is done. A dropped future leaves the check running to its end, which its turn lasts to.
    pub(crate) async fn check(
        &self,
        turn: Turn,
        hash: Option<&str>,
        password: &Secret,
    ) -> Result<(bool, Turn), CutOff> {
        let usable = hash.filter(|hash| match HashParts::from_str(hash) {
            Ok(parts) => parts.get_cost() <= COST_MAX,
            Err(_) => false,
        });
        if hash.is_some() && usable.is_none() {
            tracing::error!(
                "Refused a login: the stored password hash is not bcrypt's, or costs too much to check"
            );
        }
        let checked = usable.unwrap_or(&self.nobodys_hash).to_owned();
        let known = usable.is_some();
        let password = password.clone();
        #[cfg(test)]
        self.checks
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let check = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(password.expose(), &checked).unwrap_or(false);
            (right && known, turn)
        });
        check.await.map_err(|_| CutOff)
    }

    /// Hashes a new password. bcrypt reads its first 72 bytes.
    pub(crate) async fn hash(
        &self,
        password: &Secret,
        environment: &Environment,
    ) -> Result<String, CutOff> {
        let mut salt = [0; 16];
        environment.ids.fill(&mut salt);
        let password = password.clone();
        let cost = self.cost;
        let hashed = tokio::task::spawn_blocking(move || {
            bcrypt::hash_with_salt(password.expose(), cost, salt)
                .expect("a cost from 4 to 31 is bcrypt's only condition, and ours is a constant")
                .to_string()
        });
        hashed.await.map_err(|_| CutOff)
    }

    /// How many right passwords are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// How many checks have been run.
    #[cfg(test)]
    pub(crate) fn checks(&self) -> usize {
        self.checks.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: u32 = 4;

    async fn check(passwords: &Passwords, hash: Option<&str>, password: &str) -> bool {
        let turn = passwords.turn().await.unwrap();
        passwords
            .check(turn, hash, &Secret::new(password))
            .await
            .unwrap()
            .0
    }

    #[tokio::test]
    async fn a_new_hash_is_quays_form_and_is_right_for_its_password_only() {
        let environment = Environment::system();
        let passwords = Passwords::new(&environment, PASSWORD_COST);
        let hash = passwords
            .hash(&Secret::new("correct horse"), &environment)
            .await
            .unwrap();
        assert!(hash.starts_with("$2b$12$") && hash.len() == 60, "{hash}");
        assert!(check(&passwords, Some(&hash), "correct horse").await);
        assert!(!check(&passwords, Some(&hash), "correct horsf").await);
        assert!(!check(&passwords, Some(&hash), "").await);
    }

    #[tokio::test]
    async fn a_hash_that_quay_made_is_checked() {
        // From the `user` table of a sample database that Quay filled.
        let quays = "$2b$12$MicZq93fCtY5ocFH1xLIO.Pa.MntIRQAY.CeHUOZqDg5kP1fycS0i";
        let passwords = Passwords::new(&Environment::system(), CHEAP);
        assert!(check(&passwords, Some(quays), "adminpass123").await);
        assert!(!check(&passwords, Some(quays), "adminpass124").await);
    }

    #[tokio::test]
    async fn no_password_is_right_for_no_hash_or_a_broken_one_and_each_costs_a_check() {
        let passwords = Passwords::new(&Environment::system(), CHEAP);
        let costly = format!("$2b$31${}", ".".repeat(53));
        let hashes = [
            None,
            Some(""),
            Some("x"),
            Some(costly.as_str()),
            Some("$2b$12$short"),
        ];
        for hash in hashes {
            assert!(!check(&passwords, hash, "").await, "{hash:?}");
        }
        assert_eq!(passwords.checks(), hashes.len());
    }

    #[tokio::test]
    async fn what_is_remembered_is_one_password_for_one_hash_for_a_while() {
        let passwords = Passwords::new(&Environment::system(), CHEAP);
        let now = Timestamp::UNIX_EPOCH;
        let secret = Secret::new("secret");
        passwords.remember("hash", &secret, now);
        assert!(passwords.remembers("hash", &secret, now));
        assert!(!passwords.remembers("hash", &Secret::new("secre"), now));
        assert!(!passwords.remembers("hashs", &Secret::new("ecret"), now));
        assert!(!passwords.remembers("another hash", &secret, now));
        assert!(!passwords.remembers("hash", &secret, now + REMEMBERED_FOR));
    }

    #[tokio::test]
    async fn the_queue_for_checks_is_bounded() {
        let passwords = Arc::new(Passwords::new(&Environment::system(), CHEAP));
        let mut turns = Vec::new();
        for _ in 0..CHECKS_MAX {
            turns.push(passwords.turn().await.unwrap());
        }
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING_MAX {
            let passwords = Arc::clone(&passwords);
            waiting.spawn(async move { passwords.turn().await.is_ok() });
        }
        while passwords.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(passwords.turn().await.is_err());
        turns.clear();
        while let Some(had_its_turn) = waiting.join_next().await {
            assert!(had_its_turn.unwrap());
        }
    }
}
