//! Where the bytes of an upload lie in a store that does not keep them in one file.

use sea_orm_migration::prelude::{
    Alias, ColumnDef, DbErr, MigrationName, MigrationTrait, SchemaManager, Table,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000006_staged_parts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut parts = ColumnDef::new(Alias::new("staged_parts"));
        manager
            .alter_table(
                Table::alter()
                    .table(Alias::new("roadstead_upload"))
                    .add_column(parts.text().not_null().default(""))
                    .to_owned(),
            )
            .await
    }
}
