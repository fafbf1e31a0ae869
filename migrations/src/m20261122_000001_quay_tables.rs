//! Quay's tables in an empty database. A database that Quay made has them already, and nothing of Quay's is changed there.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::quay_tables::{self, ALEMBIC_TABLE};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261122_000001_quay_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_table(ALEMBIC_TABLE).await? {
            return Ok(());
        }
        quay_tables::create(manager).await
    }
}
