//! Reading everything back: how far each location has come, what was found, and objects that nothing accounts for. And what the removal of a
//! location looks for.

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};

use crate::schema::{
    self, Index, Table, Usage, WIDE_ID, big_integer, boolean, index, integer, timestamp, unique,
    varchar,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000010_scrub"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::create_indexes(manager, INDEXES).await?;
        schema::create(manager, TABLES).await
    }
}

const INDEXES: &[(&str, Index)] = &[
    // What is still wanted at a location that is removed goes with it, batch by batch.
    ("roadstead_copy", index(&["location_id"])),
];

const TABLES: &[Table] = &[
    // How far the round of a location has come: behind which digest its placements go on, how many shards of its store were listed,
    // what it has read and found.
    Table {
        name: "roadstead_scrub",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("location"),
            timestamp("round_began"),
            varchar("after_digest"),
            integer("shards").or_integer(0),
            big_integer("objects").or_integer(0),
            big_integer("bytes").or_integer(0),
            big_integer("found").or_integer(0),
            timestamp("lease_until").nullable(),
            varchar("lease_token").nullable(),
            timestamp("last_ended").nullable(),
        ],
        indexes: &[unique(&["location"])],
        references: &[],
    },
    // An object that a placement promised and that was not there, or not with its bytes. Kept: its placement stays, because no other
    // copy is known.
    Table {
        name: "roadstead_scrub_finding",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("digest"),
            varchar("location"),
            varchar("defect"),
            big_integer("size"),
            // What is there instead, if anything is.
            big_integer("found_size").nullable(),
            varchar("found_digest").nullable(),
            boolean("kept"),
            timestamp("found_at"),
            timestamp("repaired_at").nullable(),
        ],
        indexes: &[
            unique(&["location", "digest"]),
            index(&["repaired_at", "found_at"]),
        ],
        references: &[],
    },
    // An object that no row accounts for, and when it was seen so.
    Table {
        name: "roadstead_scrub_orphan",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("digest"),
            varchar("location"),
            big_integer("size"),
            timestamp("first_seen"),
            timestamp("last_seen"),
        ],
        indexes: &[unique(&["location", "digest"])],
        references: &[],
    },
];
