//! What the running processes tell of their configurations.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{self, Table, Usage, WIDE_ID, text, timestamp, unique, varchar};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000013_configurations"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::create(manager, TABLES).await
    }
}

const TABLES: &[Table] = &[
    // A process and keyed hashes of what counts of its configuration (JSON). It ends with the process's row in `roadstead_instance`.
    Table {
        name: "roadstead_configuration",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[varchar("instance"), text("fingerprint")],
        indexes: &[unique(&["instance"])],
        references: &[],
    },
    // What goes into the hashes beside the key, one row.
    Table {
        name: "roadstead_configuration_salt",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[varchar("purpose"), varchar("salt"), timestamp("created_at")],
        indexes: &[unique(&["purpose"])],
        references: &[],
    },
];
