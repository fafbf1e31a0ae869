//! Whether the running processes of all regions have the configuration in common that they should.
//!
//! Each tells the others through the database, by keyed hashes, and looks at theirs. One without `DATABASE_SECRET_KEY` does neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roadstead_config::{Drift, Fingerprint, RawKeys, drift};
use roadstead_metadata::{Database, MetadataError, ToldConfiguration};
use roadstead_replication::ENDED_AFTER;
use roadstead_runtime::{Environment, Timestamp};
use roadstead_secrets::KeyedHash;
use tokio::sync::watch;

use crate::deployment::Deployment;

/// What a process knows of how alike the running processes are. Its clones are one.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationDrift(Arc<AtomicUsize>);

impl ConfigurationDrift {
    /// In how many keys the processes differed when they were last compared.
    pub fn differing_keys(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// In what the running processes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftReport {
    /// The processes that were compared, each with its region in brackets.
    pub processes: Vec<String>,
    /// The keys that differ.
    pub keys: Vec<Drift>,
}

impl Deployment {
    /// Compares what the running processes have told of their configurations.
    pub async fn configuration_drift(&self) -> Result<DriftReport, MetadataError> {
        compare(&self.database, self.environment.now()).await
    }
}

async fn compare(database: &Database, now: Timestamp) -> Result<DriftReport, MetadataError> {
    let told = database.configurations(now - ENDED_AFTER).await?;
    let processes: Vec<(String, Fingerprint)> = told.iter().filter_map(readable).collect();
    Ok(DriftReport {
        keys: drift(&processes),
        processes: processes.into_iter().map(|(name, _)| name).collect(),
    })
}

/// What a process told, unless it is of a version that tells it otherwise.
fn readable(told: &ToldConfiguration) -> Option<(String, Fingerprint)> {
    let fingerprint = serde_json::from_str(&told.fingerprint).ok()?;
    Some((format!("{} ({})", told.instance, told.region), fingerprint))
}

/// Tells of one process's configuration, and logs what the processes differ in whenever that changes.
#[derive(Debug)]
pub(crate) struct Comparison {
    raw: watch::Receiver<RawKeys>,
    told: Option<String>,
    /// The keys that differed at the last look.
    seen: Vec<String>,
    logged: Vec<String>,
    /// Whether it was logged that nothing is told.
    silent: bool,
    shared: ConfigurationDrift,
}

impl Comparison {
    pub(crate) fn new(raw: watch::Receiver<RawKeys>, shared: ConfigurationDrift) -> Self {
        Self {
            raw,
            told: None,
            seen: Vec::new(),
            logged: Vec::new(),
            silent: false,
            shared,
        }
    }

    /// Tells it and compares; without `DATABASE_SECRET_KEY` neither. `instance` has to be noted already.
    pub(crate) async fn tell(
        &mut self,
        database: &Database,
        environment: &Environment,
        instance: &str,
    ) -> Result<(), MetadataError> {
        if self.raw.has_changed().unwrap_or(false) {
            // Forgotten until the new one is told, however often that fails.
            self.told = None;
        }
        let fingerprint = if let Some(told) = &self.told {
            Some(told.clone())
        } else {
            let raw = self.raw.borrow_and_update().clone();
            fingerprint(&raw, database, environment).await?
        };
        let Some(fingerprint) = fingerprint else {
            if !self.silent {
                tracing::debug!(
                    "Without DATABASE_SECRET_KEY the running processes are not told how this one is configured"
                );
                self.silent = true;
            }
            return Ok(());
        };
        database.note_configuration(instance, &fingerprint).await?;
        self.told = Some(fingerprint);
        let report = compare(database, environment.now()).await?;
        self.shared.0.store(report.keys.len(), Ordering::Relaxed);
        self.log(&report);
        Ok(())
    }

    fn log(&mut self, report: &DriftReport) {
        let keys: Vec<String> = report.keys.iter().map(|drift| drift.key.clone()).collect();
        // While regions are restarted one by one, or read a change some seconds apart, they differ for a moment.
        let lasts = keys == self.seen;
        self.seen.clone_from(&keys);
        if !lasts || keys == self.logged {
            return;
        }
        if keys.is_empty() {
            tracing::info!("The running processes are configured alike again");
        } else {
            tracing::warn!(
                configuration.keys = keys.join(" "),
                "The running processes differ in {}: `admin config drift` says which of them are alike",
                keys.join(", ")
            );
        }
        self.logged = keys;
    }
}

/// The keyed hashes of a configuration. The key is `DATABASE_SECRET_KEY` behind a salt of the database: without either nothing can be guessed. None
/// without the first: the salt lies beside the hashes, and whoever has both guesses short values.
async fn fingerprint(
    raw: &RawKeys,
    database: &Database,
    environment: &Environment,
) -> Result<Option<String>, MetadataError> {
    let Some(secret) = raw.get("DATABASE_SECRET_KEY") else {
        return Ok(None);
    };
    let (first, second) = (environment.ids.uuid(), environment.ids.uuid());
    let proposed = format!("{}{}", first.simple(), second.simple());
    let salt = database
        .configuration_salt(&proposed, environment.now())
        .await?;
    let hash = KeyedHash::new(format!("{salt}{secret}").as_bytes());
    let fingerprint = Fingerprint::of(raw, |text| hash.of(text));
    // A map of texts is always JSON.
    Ok(Some(
        serde_json::to_string(&fingerprint).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests;
