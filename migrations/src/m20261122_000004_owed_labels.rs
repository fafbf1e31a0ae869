//! What is still owed to manifests that were pushed while their configurations could not be read.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{self, Table, Usage, WIDE_ID, integer, timestamp, unique};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261122_000004_owed_labels"
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
    // A manifest without its labels. `due` is when its configuration is looked for again.
    Table {
        name: "roadstead_owed_labels",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            integer("manifest_id"),
            timestamp("due"),
            integer("attempts"),
        ],
        indexes: &[unique(&["manifest_id"])],
        references: &[],
    },
];
