//! What the running processes tell of their configurations, so that those that should be alike can be compared.

use roadstead_runtime::Timestamp;

use crate::database::{Connection as _, Database, params};
use crate::error::MetadataError;
use crate::row::FromRow;

/// What the one salt is for.
const PURPOSE: &str = "fingerprint";

/// A running process and the fingerprint of its configuration: a document of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ToldConfiguration {
    /// The name of the process.
    pub instance: String,
    /// The location that its region prefers.
    pub region: String,
    /// The fingerprint.
    pub fingerprint: String,
}

#[derive(Debug, FromRow)]
struct Salt {
    salt: String,
}

impl Database {
    /// The salt of all fingerprints in this database: `proposed`, if there was none.
    pub async fn configuration_salt(
        &self,
        proposed: &str,
        now: Timestamp,
    ) -> Result<String, MetadataError> {
        const OPERATION: &str = "look up the salt of fingerprints";
        let existing = "SELECT salt FROM roadstead_configuration_salt WHERE purpose = $1";
        let found: Option<Salt> = self
            .reader()
            .row(OPERATION, existing, params![PURPOSE])
            .await?;
        if let Some(Salt { salt }) = found {
            return Ok(salt);
        }
        self.execute(
            OPERATION,
            "INSERT INTO roadstead_configuration_salt (purpose, salt, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (purpose) DO NOTHING",
            params![PURPOSE, proposed, now.naive_utc()],
        )
        .await?;
        let found: Option<Salt> = self
            .reader()
            .row(OPERATION, existing, params![PURPOSE])
            .await?;
        found.map(|found| found.salt).ok_or_else(|| {
            MetadataError::corrupt(
                "roadstead_configuration_salt",
                "purpose",
                PURPOSE,
                "the row is gone again",
            )
        })
    }

    /// Notes the fingerprint of a process, if it is another than before, and forgets those of processes that are not in `roadstead_instance` any more.
    pub async fn note_configuration(
        &self,
        instance: &str,
        fingerprint: &str,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "note what this process tells of its configuration";
        self.execute(
            OPERATION,
            "INSERT INTO roadstead_configuration (instance, fingerprint) VALUES ($1, $2)
             ON CONFLICT (instance) DO UPDATE SET fingerprint = excluded.fingerprint
             WHERE roadstead_configuration.fingerprint <> excluded.fingerprint",
            params![instance, fingerprint],
        )
        .await?;
        self.execute(
            OPERATION,
            "DELETE FROM roadstead_configuration WHERE NOT EXISTS (
               SELECT 1 FROM roadstead_instance WHERE roadstead_instance.instance = roadstead_configuration.instance)",
            params![],
        )
        .await?;
        Ok(())
    }

    /// The processes that were heard of since then and tell of their configurations, by region and name. At most 1000.
    pub async fn configurations(
        &self,
        since: Timestamp,
    ) -> Result<Vec<ToldConfiguration>, MetadataError> {
        self.reader()
            .rows(
                "list the configurations of the running processes",
                "SELECT i.instance AS instance, i.region AS region, c.fingerprint AS fingerprint
                 FROM roadstead_instance i JOIN roadstead_configuration c ON c.instance = i.instance
                 WHERE i.seen_at >= $1 ORDER BY i.region, i.instance LIMIT 1000",
                params![since.naive_utc()],
            )
            .await
    }
}
