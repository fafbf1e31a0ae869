//! Service keys: the public halves of the keys with which instances sign tokens, shared so that each can verify the others'.

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Database, Identified, params};
use crate::error::MetadataError;
use crate::row::FromRow;

/// A row of `servicekey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    /// The key's id, as tokens name it.
    pub kid: String,
    /// The service that it signs for: `quay` for the registry.
    pub service: String,
    /// The public key as a JSON web key.
    pub jwk: String,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
    /// Whether somebody, or the program itself, has approved it.
    pub approved: bool,
}

/// A key to be shared.
#[derive(Clone, Debug)]
pub struct NewServiceKey<'a> {
    /// The key's id.
    pub kid: &'a str,
    /// The service that it signs for.
    pub service: &'a str,
    /// A name for people: where the key is from.
    pub name: &'a str,
    /// The public key as a JSON web key.
    pub jwk: &'a str,
    /// Since when.
    pub created: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

/// Who made the keys, where Quay writes that its tool did.
const METADATA: &str = r#"{"created_by": "Roadstead"}"#;

#[derive(Debug, FromRow)]
struct KeyRow {
    kid: String,
    service: String,
    jwk: String,
    expiration_date: Option<NaiveDateTime>,
    approval_id: Option<i32>,
}

impl Database {
    /// Finds a key by its id.
    pub async fn find_service_key(&self, kid: &str) -> Result<Option<ServiceKey>, MetadataError> {
        let row: Option<KeyRow> = self
            .pull_reader()
            .row(
                "look up a service key",
                "SELECT kid, service, jwk, expiration_date, approval_id FROM servicekey WHERE kid = $1",
                params![kid],
            )
            .await?;
        Ok(row.map(|row| ServiceKey {
            kid: row.kid,
            service: row.service,
            jwk: row.jwk,
            expires: row.expiration_date.map(|date| date.and_utc()),
            approved: row.approval_id.is_some(),
        }))
    }

    /// Shares a key, approved as Quay's instances approve their own.
    pub async fn add_service_key(&self, key: &NewServiceKey<'_>) -> Result<(), MetadataError> {
        const OPERATION: &str = "share a service key";
        let transaction = self.begin(OPERATION).await?;
        let approval: Option<Identified> = transaction
            .row(
                OPERATION,
                // The text is what Quay writes: the enumeration's name, not its value.
                "INSERT INTO servicekeyapproval (approval_type, approved_date, notes)
                 VALUES ('ServiceKeyApprovalType.AUTOMATIC', $1, '') RETURNING id",
                params![key.created.naive_utc()],
            )
            .await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO servicekey (name, kid, service, jwk, metadata, created_date, expiration_date, approval_id)
                 VALUES ($1, $2, $3, $4, $8, $5, $6, $7)",
                params![
                    key.name,
                    key.kid,
                    key.service,
                    key.jwk,
                    key.created.naive_utc(),
                    key.expires.naive_utc(),
                    approval.map(|row| row.id),
                    METADATA,
                ],
            )
            .await?;
        transaction.commit().await
    }

    /// Moves the end of a key. False when the key is gone.
    pub async fn extend_service_key(
        &self,
        kid: &str,
        expires: Timestamp,
    ) -> Result<bool, MetadataError> {
        let changed = self
            .execute(
                "extend a service key",
                "UPDATE servicekey SET expiration_date = $2 WHERE kid = $1",
                params![kid, expires.naive_utc()],
            )
            .await?;
        Ok(changed == 1)
    }
}
