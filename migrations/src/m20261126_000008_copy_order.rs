//! In which order wanted copies are made, by whom, and how failures were classed.

use sea_orm_migration::prelude::{
    Alias, ColumnDef, ConnectionTrait, DbErr, MigrationName, MigrationTrait, SchemaManager,
    Table as TableStatement,
};

use crate::schema::{self, Index, Table, Usage, WIDE_ID, index, timestamp, unique, varchar};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000008_copy_order"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = |name: &str| ColumnDef::new(Alias::new(name));
        let columns = [
            // Somebody waits for it: 0; just pushed: 1; everything else: 2.
            column("lane").integer().not_null().default(2).to_owned(),
            // Whose turn it is, so that no namespace waits for all of another's.
            column("namespace_id")
                .integer()
                .not_null()
                .default(0)
                .to_owned(),
            // The location whose region makes it; 0: any region.
            column("home").integer().not_null().default(0).to_owned(),
            // Whether it may be taken now. If not, it is looked at again when it is due: its time has come, or its lease is over.
            column("ready")
                .boolean()
                .not_null()
                .default(true)
                .to_owned(),
            column("due").timestamp().null().to_owned(),
            column("failure_class").string_len(32).null().to_owned(),
            // How far a large copy has come: what is staged as which upload, and the digester's state at its end.
            column("upload_id").string_len(36).null().to_owned(),
            column("staged_offset").big_integer().null().to_owned(),
            column("staged_parts").text().null().to_owned(),
            column("hash_state").text().null().to_owned(),
        ];
        for column in columns {
            manager
                .alter_table(
                    TableStatement::alter()
                        .table(Alias::new("roadstead_copy"))
                        .add_column(column)
                        .to_owned(),
                )
                .await?;
        }
        manager
            .get_connection()
            .execute_unprepared("UPDATE roadstead_copy SET home = location_id")
            .await?;
        schema::create_indexes(manager, INDEXES).await?;
        schema::create(manager, TABLES).await
    }
}

const INDEXES: &[(&str, Index)] = &[
    (
        "roadstead_copy",
        index(&[
            "ready",
            "lane",
            "home",
            "namespace_id",
            "wanted_since",
            "id",
        ])
        .named("roadstead_copy_order"),
    ),
    ("roadstead_copy", index(&["ready", "due"])),
    ("roadstead_copy", index(&["upload_id"])),
];

const TABLES: &[Table] = &[
    // A process that makes copies, and the location that its region prefers. One of which nothing is heard any more has ended, and others
    // make what its region would have.
    Table {
        name: "roadstead_replicator",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[varchar("instance"), varchar("region"), timestamp("seen_at")],
        indexes: &[unique(&["instance"]), index(&["seen_at"])],
        references: &[],
    },
];
