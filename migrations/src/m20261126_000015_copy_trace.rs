//! The trace of the push that wanted a copy, so that the copy, made elsewhere and later, is in the same trace.

use sea_orm_migration::prelude::{
    Alias, ColumnDef, DbErr, MigrationName, MigrationTrait, SchemaManager, Table,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000015_copy_trace"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // W3C's form of it; none: the push belongs to no trace.
        let traceparent = ColumnDef::new(Alias::new("traceparent"))
            .string_len(55)
            .null()
            .to_owned();
        let table = Table::alter()
            .table(Alias::new("roadstead_copy"))
            .add_column(traceparent)
            .to_owned();
        manager.alter_table(table).await
    }
}
