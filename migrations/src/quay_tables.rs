//! Quay's tables, all of them: names, types, indexes, foreign keys and enumeration rows of a database that Quay itself migrated to
//! the last of [`QUAY_REVISIONS`].
//!
//! One description serves twice: it creates the tables in an empty database, and a database that Quay made is compared with it, as far as
//! each table's [`Usage`] asks for it.

mod accounts;
mod builds;
mod content;
mod enumerations;
mod operation;
mod policies;
mod repositories;
mod rows;

use sea_orm_migration::prelude::{DbErr, SchemaManager};
use sea_orm_migration::sea_orm::DbBackend;

use crate::schema::{self, Table};

#[cfg(doc)]
use crate::schema::Usage;

/// The alembic revisions on which this program was tried. The tables are those of the last.
pub const QUAY_REVISIONS: &[&str] = &["9fa37f66a9b6"];

/// The table in which Quay notes its revision: where it is, the tables are Quay's to migrate.
pub const ALEMBIC_TABLE: &str = "alembic_version";

/// Quay's tables, in an order in which every table comes after those it refers to.
pub fn quay_tables() -> impl Iterator<Item = &'static Table> {
    [
        enumerations::TABLES,
        accounts::TABLES,
        repositories::TABLES,
        content::TABLES,
        operation::TABLES,
        policies::TABLES,
        builds::TABLES,
    ]
    .into_iter()
    .flatten()
}

/// The names that Quay's migrations leave in its enumerations, by table; the first has id 1.
pub fn enumeration_rows() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    rows::NAMES.iter().copied()
}

/// Creates every table and its rows.
pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let postgres = manager.get_database_backend() == DbBackend::Postgres;
    if postgres {
        // The operator classes of the trigram indexes. The extension is trusted, so that a role that may create in the database may create it.
        schema::execute(
            manager,
            &["CREATE EXTENSION IF NOT EXISTS pg_trgm".to_owned()],
        )
        .await?;
    }
    schema::create(manager, quay_tables()).await?;

    let mut statements: Vec<String> = enumeration_rows()
        .map(|(table, names)| {
            let mut columns = "id, name";
            let mut rows: Vec<String> = (1..)
                .zip(names)
                .map(|(id, name)| format!("({id}, '{name}')"))
                .collect();
            if table == "labelsourcetype" {
                // Only what a client attached may be changed by one.
                columns = "id, name, mutable";
                rows = (1..)
                    .zip(names)
                    .map(|(id, name)| format!("({id}, '{name}', {})", *name == "api"))
                    .collect();
            }
            format!("INSERT INTO {table} ({columns}) VALUES {}", rows.join(", "))
        })
        .collect();
    if postgres {
        // Rows with ids of their own do not move a sequence on; the next row would get one of theirs.
        statements.extend(enumeration_rows().map(|(table, names)| {
            format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), {})",
                names.len()
            )
        }));
    }
    schema::execute(manager, &statements).await
}
