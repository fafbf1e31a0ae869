//! Indexes for what is asked of our tables by another column than the one that they are unique by.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{self, Index, index};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000005_indexes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::create_indexes(manager, INDEXES).await
    }
}

const INDEXES: &[(&str, Index)] = &[
    // A blob that goes takes its notes of all repositories with it.
    ("roadstead_hidden_blob", index(&["storage_id"])),
    // Labels are looked for again when they are due, uploads given up that nobody has added to for long.
    ("roadstead_owed_labels", index(&["due"])),
    ("roadstead_upload", index(&["changed"])),
];
