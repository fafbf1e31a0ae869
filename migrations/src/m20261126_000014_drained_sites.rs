//! Regions that an operator has taken out.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{self, ID, Table, Usage, timestamp, unique, varchar};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000014_drained_sites"
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
    // A region, by the location that it prefers, that balancers are to leave alone, and since when.
    Table {
        name: "roadstead_drained_site",
        usage: Usage::Written,
        id: ID,
        columns: &[varchar("region"), timestamp("since")],
        indexes: &[unique(&["region"])],
        references: &[],
    },
];
