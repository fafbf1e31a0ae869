//! What an operator says about copying while it runs.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{self, ID, Table, Usage, big_integer, timestamp, unique, varchar};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000009_copy_control"
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
    // A pause or a limit. No text is null, so that no two rows say the same: without a source it is about the target alone, without
    // either about everything. Pauses have neither a source nor hours nor a rate.
    Table {
        name: "roadstead_copy_control",
        usage: Usage::Written,
        id: ID,
        columns: &[
            varchar("kind"),
            varchar("source"),
            varchar("target"),
            // The part of the day in UTC, `HH:MM-HH:MM`; empty: always.
            varchar("hours"),
            big_integer("bytes_per_second").nullable(),
            timestamp("changed"),
        ],
        indexes: &[unique(&["kind", "source", "target", "hours"])],
        references: &[],
    },
];
