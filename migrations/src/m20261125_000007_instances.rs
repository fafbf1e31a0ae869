//! What the running processes tell of themselves.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{self, Table, Usage, WIDE_ID, index, text, timestamp, unique, varchar};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000007_instances"
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
    // A process, the location that its region prefers, and how every location fares as it sees them (JSON). A row of which nothing is heard
    // any more is that of a process that has ended.
    Table {
        name: "roadstead_instance",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("instance"),
            varchar("region"),
            timestamp("seen_at"),
            text("locations"),
        ],
        indexes: &[unique(&["instance"]), index(&["seen_at"])],
        references: &[],
    },
];
