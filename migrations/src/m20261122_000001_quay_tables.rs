//! Quay's tables in an empty database. See [`crate::quay_tables()`].

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::quay_tables;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        QUAY_MIGRATION
    }
}

/// Its name. A database that Quay made has these tables already.
pub const QUAY_MIGRATION: &str = "m20261122_000001_quay_tables";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        quay_tables::create(manager).await
    }
}
