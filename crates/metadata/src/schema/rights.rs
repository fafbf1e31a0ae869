//! What our role must be able to do on a PostgreSQL server before a schema can be made there. Each look names what is missing and who can give it.

use super::{MIGRATE, SchemaError};
use crate::database::{Connection, Transaction, params};
use crate::error::{DriverError, MetadataError};
use crate::row::FromRow;

#[derive(Debug, FromRow)]
struct Place {
    database: String,
    role: String,
    /// Where new tables go.
    schema: Option<String>,
    may_create: Option<bool>,
    read_only: bool,
    standby: bool,
}

async fn place(connection: &impl Connection) -> Result<Place, MetadataError> {
    let place: Option<Place> = connection
        .row(
            MIGRATE,
            "SELECT quote_ident(current_database()) AS database, quote_ident(current_user) AS role,
                    quote_ident(current_schema()) AS schema,
                    has_schema_privilege(current_schema(), 'CREATE') AS may_create,
                    current_setting('transaction_read_only') = 'on' AS read_only,
                    pg_is_in_recovery() AS standby",
            params![],
        )
        .await?;
    place.ok_or_else(|| {
        MetadataError::corrupt(
            "pg_database",
            "datname",
            "this",
            "the server does not know itself",
        )
    })
}

/// Refuses a server or a session that takes no writes.
pub(super) async fn refuse_read_only(connection: &impl Connection) -> Result<(), MetadataError> {
    let place = place(connection).await?;
    if place.read_only {
        return Err(SchemaError::ReadOnly {
            database: place.database,
            standby: place.standby,
        }
        .into());
    }
    Ok(())
}

/// Refuses a role that may not create tables.
pub(super) async fn refuse_without_create(
    connection: &impl Connection,
) -> Result<(), MetadataError> {
    let Place {
        database,
        role,
        schema,
        may_create,
        ..
    } = place(connection).await?;
    match schema {
        None => Err(SchemaError::NoSchema { database, role }.into()),
        Some(schema) if may_create != Some(true) => Err(SchemaError::MayNotCreate {
            database,
            schema,
            role,
        }
        .into()),
        Some(_) => Ok(()),
    }
}

#[derive(Debug, FromRow)]
struct Trigrams {
    /// Whether the operator class is found by its bare name.
    visible: bool,
    /// The extension's schema, if the database has it.
    schema: Option<String>,
    /// Whether the server could create it.
    available: bool,
}

/// Creates the extension if the database does not have it.
pub(super) async fn need_trigrams(connection: &Transaction) -> Result<(), MetadataError> {
    let found: Option<Trigrams> = connection
        .row(
            MIGRATE,
            "SELECT EXISTS (SELECT FROM pg_opclass WHERE opcname = 'gin_trgm_ops' AND pg_opclass_is_visible(oid)) AS visible,
                    (SELECT CAST(CAST(extnamespace AS regnamespace) AS text) FROM pg_extension WHERE extname = 'pg_trgm') AS schema,
                    EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') AS available",
            params![],
        )
        .await?;
    let Some(found) = found else { return Ok(()) };
    if found.visible {
        return Ok(());
    }
    let Place { database, role, .. } = place(connection).await?;
    if let Some(schema) = found.schema {
        return Err(SchemaError::TrigramsElsewhere {
            database,
            role,
            schema,
        }
        .into());
    }
    let available = found.available;
    let refused = |source| {
        Err(SchemaError::NoTrigrams {
            database,
            role,
            available,
            source,
        }
        .into())
    };
    if !available {
        return refused(None);
    }
    // Trusted since PostgreSQL 13: whoever may create in the database may create it.
    match connection
        .execute(MIGRATE, "CREATE EXTENSION IF NOT EXISTS pg_trgm", params![])
        .await
    {
        Ok(_) => Ok(()),
        Err(MetadataError::Driver { source, .. }) => refused(Some::<DriverError>(source)),
        Err(error) => Err(error),
    }
}
